//! Pods that do not run, in sentences: images that are not pulled, volumes that are not mounted, nodes that have no room, containers
//! that end.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::{
    error::finding::Finding,
    kube::{
        pull::{self, Failure},
        state,
    },
    stack::{iris::log, observed::Cluster},
};

fn names(pods: &[&str]) -> String {
    format!("pod{} {}", if pods.len() == 1 { "" } else { "s" }, pods.join(", "))
}

pub(crate) fn pulls(cluster: &Cluster<'_>) -> Vec<Finding> {
    // Several pods mostly wait for one image.
    let mut waiting: BTreeMap<String, (Vec<&str>, String)> = BTreeMap::new();
    for pod in cluster.ours() {
        let Some((image, words)) = pull::waiting(pod) else { continue };
        // An older kubelet only says that it backs off; an event before told why, and others that it did.
        let tells = |e: &Value| {
            matches!(e["reason"].as_str(), Some("Failed" | "InspectFailed"))
                && e["message"].as_str().is_some_and(|m| pull::read(m).is_some())
        };
        let words = match pull::read(&words) {
            Some(_) => words,
            None => cluster.event_that(pod, tells).unwrap_or(&words).to_owned(),
        };
        let (pods, said) = waiting.entry(image).or_default();
        pods.push(state::name(pod));
        *said = words;
    }
    let finding = |(image, (pods, words)): (String, (Vec<&str>, String))| {
        let who = names(&pods);
        // Of the built-in registry it is named by tag and digest.
        let tagged = image.split_once('@').map_or(image.as_str(), |(tagged, _)| tagged);
        let wanted = &cluster.facts.spec.iris.image;
        let of_iris = image.ends_with(wanted) || tagged == wanted;
        let other =
            if of_iris { "--image" } else { "a mirror for its registry (/var/snap/microk8s/current/args/certs.d)" };
        let (what, hint) = match pull::read(&words) {
            Some(Failure::NotFound) => (
                "the registry does not have the image",
                if of_iris {
                    "see the name and the tag: --image".to_owned()
                } else {
                    format!("it may have been renamed or removed; use {other}")
                },
            ),
            Some(Failure::TooMany) => (
                "the registry has counted too many pulls from this address (429)",
                format!(
                    "wait: it is tried again automatically (Docker Hub counts pulls over six hours); or use {other}"
                ),
            ),
            Some(Failure::Login) => {
                ("the registry wants a login for the image", format!("see the name of the image; or use {other}"))
            }
            Some(Failure::NoRoom) => {
                ("there is no room on the disk for the image", "make room: `df -h /var/snap`".to_owned())
            }
            Some(Failure::Away) => (
                "the registry cannot be reached for the image",
                format!("see the network, DNS and the proxy (`curl -v https://REGISTRY/v2/`); or use {other}"),
            ),
            None => ("the image is not pulled", format!("`microk8s kubectl describe {who} -A` tells more")),
        };
        Finding::refused(format!("{who}: {what} {image}: {}", last_part(&words)), hint)
    };
    waiting.into_iter().map(finding).collect()
}

/// containerd wraps each cause into the next: the last two say what happened.
fn last_part(words: &str) -> String {
    let parts: Vec<&str> = words.split(": ").collect();
    parts[parts.len().saturating_sub(4)..].join(": ")
}

pub(crate) fn volumes(cluster: &Cluster<'_>) -> Vec<Finding> {
    let finding = |pod: &Value| {
        if state::is(pod, "Ready") {
            return None;
        }
        // The latter where an init container comes first.
        let being_made = |c: &Value| {
            let reason = c["state"]["waiting"]["reason"].as_str();
            reason.is_some_and(|r| matches!(r, "ContainerCreating" | "PodInitializing"))
        };
        pod["status"]["containerStatuses"].as_array().filter(|all| all.iter().any(being_made))?;
        let message = cluster.event(pod, &["FailedMount", "FailedAttachVolume", "FailedMapVolume"])?;
        let hint = if message.contains("secret") || message.contains("configmap") {
            "something that the pod mounts was deleted: run the same bootstrap again to make it".to_owned()
        } else {
            format!(
                "`microk8s kubectl -n {} describe pod {}`",
                pod["metadata"]["namespace"].as_str().unwrap_or("default"),
                state::name(pod)
            )
        };
        Some(Finding::refused(
            format!("{}: a volume cannot be mounted: {}", names(&[state::name(pod)]), last_part(message)),
            hint,
        ))
    };
    cluster.ours().filter_map(finding).collect()
}

/// Stands for the commands that start MicroK8s anew on this host.
const RESTART: &str = "";

/// What the scheduler says, what it means, and what to do.
const SCHEDULER: &[(&str, &str, &str)] = &[
    (
        "Insufficient memory",
        "the node has not as much memory free as they ask for",
        "give the VM more memory, or take fewer instances (--replicas)",
    ),
    (
        "Insufficient cpu",
        "the node has not as many cores free as they ask for",
        "give the VM more cores, or take fewer instances (--replicas)",
    ),
    ("disk-pressure", "the node is short of disk", "make room: `df -h /var/snap`"),
    ("memory-pressure", "the node is short of memory", "give the VM more memory"),
    (
        "were unschedulable",
        "the node takes no new pods: somebody cordoned it",
        "`microk8s kubectl get nodes`, then `microk8s kubectl uncordon NODE`",
    ),
    (
        "unschedulable",
        "the node takes no new pods: somebody cordoned it",
        "`microk8s kubectl get nodes`, then `microk8s kubectl uncordon NODE`",
    ),
    ("not-ready", "the node is not ready", "`microk8s kubectl describe nodes`"),
    ("unreachable", "the node does not report", RESTART),
    ("unbound immediate PersistentVolumeClaims", "their claims have no volume", "`microk8s kubectl get pvc -A`"),
    (
        "volume node affinity",
        "their volumes are on a node of another name",
        "give the host its old name back, or begin with new volumes: `iris-mk8s teardown --data`",
    ),
    ("persistentvolumeclaim", "a claim of the pod is gone", "run the same bootstrap again to make it"),
    ("Too many pods", "the node has as many pods as it may have", "delete some"),
];

pub(crate) fn scheduling(cluster: &Cluster<'_>) -> Vec<Finding> {
    let mut waiting: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for pod in cluster.ours() {
        if let Some(("False", message)) = state::condition(pod, "PodScheduled") {
            waiting.entry(message).or_default().push(state::name(pod));
        }
    }
    let finding = |(message, pods): (&str, Vec<&str>)| {
        let known = SCHEDULER.iter().find(|(words, ..)| message.contains(words));
        let (means, hint) =
            known.map_or(("no node takes them", "`microk8s kubectl describe nodes`"), |(_, means, hint)| (means, hint));
        let hint = if hint == RESTART { cluster.facts.restart() } else { hint };
        Finding::refused(format!("{} cannot be started: {means} ({message})", names(&pods)), hint)
    };
    waiting.into_iter().map(finding).collect()
}

pub(crate) fn crashes(cluster: &Cluster<'_>) -> Vec<Finding> {
    // What IRIS itself says of its end is told apart.
    let explained =
        |pod: &Value| cluster.instances.iter().any(|i| state::name(&i.pod) == state::name(pod) && i.sign().is_some());
    cluster.ours().filter(|pod| !explained(pod)).filter_map(|pod| crash(cluster, pod)).collect()
}

fn crash(cluster: &Cluster<'_>, pod: &Value) -> Option<Finding> {
    let (name, namespace) = (state::name(pod), pod["metadata"]["namespace"].as_str().unwrap_or("default"));
    if pod["status"]["reason"] == "Evicted" {
        let why = pod["status"]["message"].as_str().unwrap_or("");
        return Some(Finding::refused(
            format!("{} was evicted: {why}", names(&[name])),
            "make room, then the pod is made anew",
        ));
    }
    let statuses = |field: &str| pod["status"][field].as_array().cloned().unwrap_or_default();
    let all = [statuses("initContainerStatuses"), statuses("containerStatuses")].concat();
    all.iter().find_map(|container| {
        let backs_off = container["state"]["waiting"]["reason"] == "CrashLoopBackOff";
        let now = &container["state"]["terminated"];
        let ended = if backs_off { &container["lastState"]["terminated"] } else { now };
        let code = ended["exitCode"].as_i64()?;
        if code == 0 && !backs_off {
            return None;
        }
        let times = container["restartCount"].as_i64().unwrap_or(0);
        let what = container["name"].as_str().unwrap_or("?");
        if ended["reason"] == "OOMKilled" {
            return Some(Finding::refused(
                format!(
                    "{}: container {what} took more memory than its limit, and was ended ({times} times)",
                    names(&[name])
                ),
                "raise iris.memory_limit in a profile, or lower globals and gmheap in the CPF",
            ));
        }
        if code == log::BUS_ERROR {
            return Some(Finding::refused(
                format!(
                    "{}: container {what} ends with exit code {code} ({times} times): {}",
                    names(&[name]),
                    log::BUS_ERROR_MEANS
                ),
                log::BUS_ERROR_HINT,
            ));
        }
        let log = cluster
            .instances
            .iter()
            .find(|i| state::name(&i.pod) == name)
            .map_or("", |i| if i.log.is_empty() { &i.log_before } else { &i.log });
        let last = log.lines().rev().find(|l| !l.trim().is_empty()).map(|l| format!("; its last words: {}", l.trim()));
        Some(Finding::refused(
            format!(
                "{}: container {what} ends with exit code {code} ({times} times){}",
                names(&[name]),
                last.unwrap_or_default()
            ),
            format!("`microk8s kubectl -n {namespace} logs {name} -c {what} --previous`"),
        ))
    })
}

pub(crate) fn network(cluster: &Cluster<'_>) -> Vec<Finding> {
    // Another pod network has other names, and the node says of itself whether it works.
    if cluster.workload("DaemonSet", "kube-system", "calico-node").is_none() {
        return Vec::new();
    }
    let down = cluster.down("DaemonSet", "kube-system", "calico-node");
    let finding = |why| {
        Finding::refused(
            format!("the pod network does not work: {why}"),
            "`microk8s kubectl -n kube-system logs ds/calico-node -c calico-node`",
        )
    };
    down.map(finding).into_iter().collect()
}

pub(crate) fn dns(cluster: &Cluster<'_>) -> Vec<Finding> {
    if !cluster.facts.spec.addons.iter().any(|a| a == "dns") {
        return Vec::new();
    }
    let finding = |why| {
        Finding::refused(
            format!("names are not looked up in the cluster: {why}"),
            "run the same bootstrap again, or `microk8s disable dns; microk8s enable dns`",
        )
    };
    cluster.down("Deployment", "kube-system", "coredns").map(finding).into_iter().collect()
}
