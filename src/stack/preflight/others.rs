//! Other software on the host: another Kubernetes, leftovers of an earlier one, another kubectl.

use crate::{
    error::{Result, finding::Finding},
    stack::{facts::Facts, microk8s::state as microk8s},
};

/// Kubelet and the pod network are there once, so two of them fight.
pub(crate) fn kubernetes(facts: &Facts<'_>) -> Result<Vec<Finding>> {
    if let Some((name, path, remove)) = microk8s::OTHER_KUBERNETES.iter().find(|(_, path, _)| facts.exists(path)) {
        return Ok(vec![Finding::refused(
            format!(
                "{name} is on this host ({path}): two Kubernetes on one host fight for ports, the packet filter and the pod network"
            ),
            format!("use another host, or remove it: `{remove}`"),
        )]);
    }
    let snap = facts.host.snapd_get("/v2/snaps/k8s").unwrap_or_default();
    Ok(vec![if snap.is_some() {
        Finding::refused(
            "Canonical Kubernetes (the snap k8s) is on this host: two Kubernetes on one host fight for ports, the packet filter and the pod network",
            "use another host, or remove it: `snap remove --purge k8s`",
        )
    } else {
        Finding::fine("there is no other Kubernetes")
    }])
}

/// Where runtimes keep containers of Kubernetes.
const CONTAINERS: &str = "/run/containerd/io.containerd.runtime.v2.task/k8s.io";

/// Links of a pod network.
const LINKS: &[&str] = &["vxlan.calico", "cni0", "flannel.1", "cilium_host"];

pub(crate) fn leftovers(facts: &Facts<'_>) -> Result<Vec<Finding>> {
    if facts.installed() {
        return Ok(vec![Finding::fine("MicroK8s is there, and what it made")]);
    }
    let containers = facts.host.names(CONTAINERS.as_ref()).len();
    let links: Vec<&str> =
        LINKS.iter().filter(|link| facts.exists(&format!("/sys/class/net/{link}"))).copied().collect();
    let mut left = Vec::new();
    if containers > 0 {
        left.push(format!("{containers} containers in {CONTAINERS}"));
    }
    if !links.is_empty() {
        left.push(format!("the network device{} {}", if links.len() == 1 { "" } else { "s" }, links.join(", ")));
    }
    Ok(vec![if left.is_empty() {
        Finding::fine("no Kubernetes was here before, or it left nothing")
    } else {
        Finding::warned(
            format!("a Kubernetes that is gone left {}", left.join(" and ")),
            "restart the host before you go on: nothing else clears this away for certain",
        )
    }])
}

pub(crate) fn kubectl(facts: &Facts<'_>) -> Result<Vec<Finding>> {
    Ok(vec![match microk8s::kubectl_in_the_way(facts.host, facts.spec)? {
        Some((path, name)) => Finding::warned(
            format!("there is another kubectl ({}): the short name for MicroK8s' own will be `{name}`", path.display()),
            "remove the other one first if you do not need it",
        ),
        None => Finding::fine("the name kubectl is free"),
    }])
}
