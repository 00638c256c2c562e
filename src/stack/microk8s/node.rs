//! The node.

use crate::{error::finding::Finding, kube::state, stack::observed::Cluster};

pub(crate) fn ready(cluster: &Cluster<'_>) -> Vec<Finding> {
    let Some(node) = cluster.nodes.first() else {
        return vec![Finding::refused(
            "no node has registered with the API server",
            format!("`journalctl -u snap.microk8s.daemon-kubelite` tells why; {}", cluster.facts.restart()),
        )];
    };
    let mut findings = Vec::new();
    for node in &cluster.nodes {
        let name = state::name(node);
        if let Some((status, why)) = state::condition(node, "Ready").filter(|(status, _)| *status != "True") {
            let silent = if status == "Unknown" { ", and does not report any more" } else { "" };
            findings.push(Finding::refused(
                format!("node {name} is not ready{silent}: {why}"),
                format!(
                    "{}, and `journalctl -u snap.microk8s.daemon-kubelite` when it stays so",
                    cluster.facts.restart()
                ),
            ));
        }
        if node["spec"]["unschedulable"] == true {
            findings.push(Finding::refused(
                format!("node {name} takes no new pods: somebody cordoned it"),
                format!("`microk8s kubectl uncordon {name}`"),
            ));
        }
    }
    let host = cluster.facts.text("/proc/sys/kernel/hostname").unwrap_or_default().trim().to_lowercase();
    let name = state::name(node);
    if !host.is_empty() && cluster.nodes.iter().all(|n| state::name(n) != host) {
        findings.push(Finding::refused(
            format!("the host is now called {host}, and the node {name}: volumes and pods belong to the old name"),
            format!("`hostnamectl set-hostname {name}`, then {}", cluster.facts.restart()),
        ));
    }
    findings
}

/// Conditions under which kubelet evicts pods and takes no new ones: what is short, and what to do.
const PRESSURES: &[(&str, &str, &str)] = &[
    (
        "DiskPressure",
        "disk",
        "make room: `df -h /var/snap`; `microk8s ctr image ls` shows images, `du -xh --max-depth=2 /var/snap/microk8s/common` what takes it",
    ),
    ("MemoryPressure", "memory", "give the VM more memory, or end what takes it: `ps aux --sort=-rss | head`"),
    ("PIDPressure", "process numbers", "end what makes so many processes: `ps -eLf | wc -l`"),
];

pub(crate) fn pressure(cluster: &Cluster<'_>) -> Vec<Finding> {
    let of = |node| {
        PRESSURES.iter().filter_map(move |(condition, what, hint)| {
            let (status, message) = state::condition(node, condition)?;
            let said = format!(
                "node {} is short of {what} ({condition}: {message}): pods are evicted, and none are started",
                state::name(node)
            );
            (status == "True").then(|| Finding::refused(said, *hint))
        })
    };
    cluster.nodes.iter().flat_map(of).collect()
}
