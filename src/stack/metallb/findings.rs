//! MetalLB: whether it runs, what it may give out, whether the service has an address, and whether the LAN gets an answer for it.

use super::state::Pool;
use crate::{error::finding::Finding, kube::state, stack::observed::Cluster};

const NAMESPACE: &str = "metallb-system";
const AGAIN: &str = "run the same bootstrap again to repair it";

pub(crate) fn runs(cluster: &Cluster<'_>) -> Vec<Finding> {
    let parts = [
        ("Deployment", "controller", "gives no addresses out"),
        ("DaemonSet", "speaker", "does not answer for its addresses on the LAN"),
    ];
    let finding = |(kind, name, means): (&str, &str, &str)| {
        let why = cluster.down(kind, NAMESPACE, name)?;
        Some(Finding::refused(
            format!("MetalLB {means}: {why}"),
            format!("`microk8s kubectl -n {NAMESPACE} get pods`; {AGAIN}"),
        ))
    };
    parts.into_iter().filter_map(finding).collect()
}

pub(crate) fn pool(cluster: &Cluster<'_>) -> Vec<Finding> {
    let wanted = &cluster.facts.spec.lb;
    let Some(pool) = &cluster.pool else {
        return vec![Finding::refused("MetalLB has no pool of addresses: services get none", AGAIN)];
    };
    let mut findings = Vec::new();
    if !pool.advertised {
        findings.push(Finding::refused(
            "MetalLB's pool is not advertised (there is no L2Advertisement): nobody answers for its addresses",
            AGAIN,
        ));
    }
    if pool.range().as_ref() != Some(wanted) {
        findings.push(Finding::warned(
            format!("MetalLB's pool is {}, and the last bootstrap wanted {wanted}", pool.addresses.join(",")),
            format!("somebody changed it; {AGAIN}, or tell it the new range: --lb"),
        ));
    }
    findings
}

pub(crate) fn address(cluster: &Cluster<'_>) -> Vec<Finding> {
    let iris = &cluster.facts.spec.iris;
    let name = format!("{}-ext", iris.service);
    let same = |s: &&serde_json::Value| s["metadata"]["namespace"] == iris.namespace.as_str() && state::name(s) == name;
    let Some(service) = cluster.services.iter().find(same) else { return Vec::new() };
    let mut findings = Vec::new();
    let addresses = state::addresses(service);
    if addresses.is_empty() {
        findings.push(without_address(cluster, service));
    }
    for (address, mac) in &cluster.claimed {
        findings.push(Finding::refused(
            format!("{address}, which MetalLB gave to a service, is also answered for by {mac}: who asks reaches one or the other"),
            "find that machine and give it another address, or take its address out of the range: --lb",
        ));
    }
    let announces = |status: &serde_json::Value| {
        status["status"]["serviceName"] == name.as_str()
            && status["status"]["serviceNamespace"] == iris.namespace.as_str()
    };
    // Without an instance that is ready there is nobody to speak for: MetalLB announces no such service.
    let ready = cluster.instances.iter().any(|i| state::is(&i.pod, "Ready"));
    let silent = ready && cluster.announced.as_ref().is_some_and(|all| !all.iter().any(announces));
    if let Some(address) = addresses.first().filter(|_| silent) {
        let label = "node.kubernetes.io/exclude-from-external-load-balancers";
        let excluded = cluster.nodes.iter().find(|n| n["metadata"]["labels"].get(label).is_some());
        findings.push(match excluded {
            Some(node) => Finding::refused(
                format!(
                    "{address} is not announced on the LAN: node {} is excluded from load balancers by a label",
                    state::name(node)
                ),
                format!("`microk8s kubectl label node {} {label}-`", state::name(node)),
            ),
            None => Finding::refused(
                format!("{address} is not announced on the LAN: no speaker of MetalLB announces it"),
                format!("`microk8s kubectl -n {NAMESPACE} logs ds/speaker`; {AGAIN}"),
            ),
        });
    }
    findings
}

fn without_address(cluster: &Cluster<'_>, service: &serde_json::Value) -> Finding {
    let name = state::name(service);
    let range = cluster.pool.as_ref().and_then(Pool::range);
    let holders: Vec<String> = cluster
        .services
        .iter()
        .filter(|s| {
            state::addresses(s).iter().any(|a| a.parse().is_ok_and(|a| range.as_ref().is_some_and(|r| r.contains(a))))
        })
        .map(|s| format!("{}/{}", s["metadata"]["namespace"].as_str().unwrap_or("?"), state::name(s)))
        .collect();
    match range {
        Some(range) if holders.len() as u64 >= range.len() => Finding::refused(
            format!(
                "service {name} has no address: all {} of {range} are given out ({})",
                range.len(),
                holders.join(", ")
            ),
            "take a larger range (--lb), or delete a service of type LoadBalancer that is not needed",
        ),
        _ => {
            let said = cluster.event(service, &["AllocationFailed", "ClearAssignment"]).map(|e| format!(": {e}"));
            Finding::refused(format!("service {name} has no address{}", said.unwrap_or_default()), AGAIN)
        }
    }
}
