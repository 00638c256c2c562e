//! Longhorn, whoever installed it: a removal that hangs, a driver in the wrong directory, a host or a disk that does not carry it, and volumes
//! that are bound and never attached.

use crate::{
    error::finding::Finding,
    kube::{
        longhorn::{Unmet, unmet},
        state,
    },
    stack::{
        longhorn::{
            state::{self as longhorn, KUBELET, NAMESPACE},
            steps::{multipath, ready},
        },
        observed::Cluster,
    },
};

const REPAIR: &str =
    "`iris-mk8s repair longhorn` shows what is left, asks, and ends it; nothing of Longhorn's data survives that";

pub(crate) fn removal(cluster: &Cluster<'_>) -> Vec<Finding> {
    let longhorn = &cluster.longhorn;
    let mut findings = Vec::new();
    if let Some(found) = longhorn.installed.as_ref().filter(|found| state::going(&found.namespace)) {
        let content =
            ["NamespaceDeletionDiscoveryFailure", "NamespaceContentRemaining", "NamespaceFinalizersRemaining"];
        let why =
            content.iter().find_map(|c| state::condition(&found.namespace, c).filter(|(status, _)| *status == "True"));
        let why = why.map_or("", |(_, message)| message);
        let nobody = if found.manager.is_none() { ", and the manager that could end its objects is gone" } else { "" };
        findings
            .push(Finding::refused(format!("the namespace {NAMESPACE} is partially deleted{nobody}: {why}"), REPAIR));
    }
    if let Some(names) = &longhorn.orphans {
        findings.push(Finding::refused(
            format!("the namespace {NAMESPACE} is gone, and left objects behind that cannot be deleted: {names}"),
            REPAIR,
        ));
    }
    let stuck: Vec<&str> = longhorn.definitions.iter().filter(|d| state::going(d)).map(state::name).collect();
    if let Some(first) = stuck.first() {
        findings.push(Finding::refused(
            format!(
                "{} of Longhorn's kinds cannot end, first {first}: objects of them are left, with finalizers",
                stuck.len()
            ),
            REPAIR,
        ));
    }
    if !longhorn.webhooks.is_empty() && !longhorn.answered {
        let running = longhorn.is_there();
        findings.push(Finding::refused(
            format!(
                "no server answers behind {}: changes of Longhorn's objects and of claims are refused (`failed calling webhook`)",
                longhorn.webhooks.join(" and ")
            ),
            if running { "`microk8s kubectl -n longhorn-system get pods -l app=longhorn-manager`" } else { REPAIR },
        ));
    }
    if longhorn.installed.is_none() && stuck.is_empty() && !longhorn.definitions.is_empty() {
        findings.push(Finding::warned(
            format!("{} of Longhorn's kinds are left without a Longhorn", longhorn.definitions.len()),
            REPAIR,
        ));
    }
    findings
}

pub(crate) fn driver(cluster: &Cluster<'_>) -> Vec<Finding> {
    if !cluster.longhorn.is_there() {
        return Vec::new();
    }
    let mut findings = Vec::new();
    let remake = "microk8s kubectl -n longhorn-system delete deployments csi-attacher csi-provisioner csi-resizer csi-snapshotter; \
                  microk8s kubectl -n longhorn-system delete daemonset longhorn-csi-plugin; microk8s kubectl delete csidriver driver.longhorn.io; \
                  microk8s kubectl -n longhorn-system rollout restart deployment longhorn-driver-deployer";
    if let Some(plugin) = cluster.workload("DaemonSet", NAMESPACE, "longhorn-csi-plugin") {
        let paths = plugin["spec"]["template"]["spec"]["volumes"].as_array();
        let paths = paths.into_iter().flatten().filter_map(|v| v["hostPath"]["path"].as_str());
        if let Some(wrong) = paths.into_iter().find(|p| p.contains("kubelet") && !p.starts_with(KUBELET)) {
            findings.push(Finding::refused(
                format!("Longhorn's driver works in {wrong}, and kubelet in {KUBELET}: what pods write is not on their volumes, and is lost with the pods"),
                format!("set KUBELET_ROOT_DIR={KUBELET} on the Deployment longhorn-driver-deployer, then make the driver anew: `{remake}`"),
            ));
        }
    }
    for (kind, name) in [
        ("DaemonSet", longhorn::MANAGER),
        ("Deployment", "longhorn-driver-deployer"),
        ("Deployment", "csi-provisioner"),
        ("Deployment", "csi-attacher"),
        ("DaemonSet", "longhorn-csi-plugin"),
    ] {
        let Some(why) = cluster.down(kind, NAMESPACE, name) else { continue };
        let (means, hint) = match ready::sign_of(cluster.facts.host, kind, name) {
            Some((means, hint)) => (format!(": {means}"), hint.to_owned()),
            None => (String::new(), format!("`microk8s kubectl -n {NAMESPACE} logs {}/{name}`", kind.to_lowercase())),
        };
        findings.push(Finding::refused(format!("{name} does not work{means} ({why})"), hint));
        // What stands on it waits for it.
        break;
    }
    findings
}

pub(crate) fn on_host(cluster: &Cluster<'_>) -> Vec<Finding> {
    if !cluster.longhorn.is_there() {
        return Vec::new();
    }
    let facts = cluster.facts;
    let fine = |argv: &[&str]| facts.ask(argv).ok().flatten().is_some_and(|o| o.ok());
    let mut findings = Vec::new();
    if !facts.exists("/sys/module/iscsi_tcp") {
        findings.push(Finding::refused(
            "the kernel module iscsi_tcp is not loaded: no volume of Longhorn's is attached (`driver tcp not loaded`)",
            "`modprobe iscsi_tcp`, and `echo iscsi_tcp > /etc/modules-load.d/longhorn.conf` for the next boot",
        ));
    }
    if !fine(&["iscsiadm", "--version"]) {
        findings.push(Finding::refused(
            "open-iscsi is not installed: Longhorn's manager does not start without it",
            "`apt install open-iscsi`",
        ));
    } else if !fine(&["systemctl", "is-active", "iscsid.service"])
        && !fine(&["systemctl", "is-active", "iscsid.socket"])
    {
        findings.push(Finding::refused(
            "iscsid does not run: no volume of Longhorn's is attached",
            "`systemctl enable --now iscsid`",
        ));
    }
    if multipath::takes_disks(facts.host).unwrap_or(false) {
        findings.push(Finding::refused(
            "multipathd runs, and its blacklist lets it take Longhorn's disks: they are `already mounted or mount point busy`",
            "add `blacklist { devnode \"^sd[a-z0-9]+\" }` to /etc/multipath/conf.d/longhorn.conf (unless it joins disks of yours), \
             `systemctl restart multipathd`, then delete the pod that waits",
        ));
    }
    findings
}

pub(crate) fn disks(cluster: &Cluster<'_>) -> Vec<Finding> {
    if !cluster.longhorn.is_there() {
        return Vec::new();
    }
    let mut findings = Vec::new();
    for node in &cluster.longhorn.nodes {
        let name = state::name(node);
        for condition in ["Ready", "Schedulable"] {
            if let Some(why) = unmet(&node["status"], condition) {
                findings.push(Finding::refused(
                    format!("Longhorn places nothing on node {name}: {why}"),
                    "`microk8s kubectl -n longhorn-system describe nodes.longhorn.io`",
                ));
                break;
            }
        }
        for (disk, status) in node["status"]["diskStatus"].as_object().into_iter().flatten() {
            for condition in ["Ready", "Schedulable"] {
                if let Some(why) = unmet(status, condition) {
                    findings.push(Finding::refused(
                        format!("Longhorn takes no more volumes on disk {disk}: {why}"),
                        format!(
                            "make room on the file system of {}: more than a quarter of it must be free",
                            longhorn::DATA
                        ),
                    ));
                    break;
                }
            }
        }
    }
    findings
}

pub(crate) fn volumes(cluster: &Cluster<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for volume in cluster.longhorn.volumes.iter().filter(|v| !state::going(v)) {
        let status = &volume["status"];
        let of = &status["kubernetesStatus"];
        let name = of["pvcName"].as_str().unwrap_or_else(|| state::name(volume));
        if let Some(Unmet::Told(why)) = unmet(status, "Scheduled") {
            findings.push(Finding::refused(
                format!("claim {name} is bound, and its volume is never attached: {why}"),
                format!(
                    "smaller claims, or more room at {}: Longhorn's rules leave a quarter free and count what is promised, not what is used",
                    longhorn::DATA
                ),
            ));
        } else if status["robustness"] == "faulted" {
            findings.push(Finding::refused(
                format!("the volume of claim {name} has no replica that works"),
                "`microk8s kubectl -n longhorn-system describe volumes.longhorn.io`; its only replica lies on this host",
            ));
        } else if status["robustness"] == "degraded" && volume["spec"]["numberOfReplicas"].as_u64() > Some(1) {
            let wanted = &volume["spec"]["numberOfReplicas"];
            findings.push(Finding::warned(
                format!("the volume of claim {name} wants {wanted} replicas, and there is one node: it works, and stays degraded"),
                format!("`microk8s kubectl -n longhorn-system patch volumes.longhorn.io {} --type=merge -p '{{\"spec\":{{\"numberOfReplicas\":1}}}}'`", state::name(volume)),
            ));
        }
    }
    findings
}
