//! Connections between pods, services and hosts: foreign pods among those that services select, routes from the host to its pods, and names of the world
//! in a pod.

use serde_json::Value;

use crate::{
    error::finding::Finding,
    kube::state,
    stack::{iris::state as iris, observed::Cluster},
};

/// Pods that get requests meant for IRIS.
pub(crate) fn strangers(cluster: &Cluster<'_>) -> Vec<Finding> {
    let iris = &cluster.facts.spec.iris;
    let names = [iris.service.clone(), format!("{}-ext", iris.service)];
    let of_iris = |service: &&Value| {
        service["metadata"]["namespace"] == *iris.namespace && names.iter().any(|name| name == state::name(service))
    };
    let mut findings = Vec::new();
    for service in cluster.services.iter().filter(of_iris) {
        let Some(selector) = service["spec"]["selector"].as_object().filter(|selector| !selector.is_empty()) else {
            continue;
        };
        let selected = |pod: &&Value| {
            pod["metadata"]["namespace"] == *iris.namespace
                && selector.iter().all(|(label, value)| pod["metadata"]["labels"][label] == *value)
        };
        let strangers: Vec<&str> =
            cluster.pods.iter().filter(selected).filter(|pod| !iris::is_instance(pod, iris)).map(state::name).collect();
        if let Some(first) = strangers.first() {
            findings.push(Finding::refused(
                format!(
                    "service {} also leads to {}, which is no instance of IRIS and has the same labels: it gets requests that are meant for IRIS",
                    state::name(service),
                    strangers.join(", ")
                ),
                format!("take the label from it: `microk8s kubectl -n {} label pod {first} app-`", iris.namespace),
            ));
        }
    }
    findings
}

/// The host has a route to each pod by the pod network's own links. Whoever manages the host's network may remove them.
pub(crate) fn routes(cluster: &Cluster<'_>) -> Vec<Finding> {
    let facts = cluster.facts;
    let Ok(network) = facts.network() else { return Vec::new() };
    let uplink = network.default_route().and_then(|r| r.dev.as_deref());
    let own = |pod: &&Value| pod["spec"]["hostNetwork"] != true && state::is(pod, "Ready");
    let lost = cluster.ours().filter(own).filter_map(|pod| {
        let address = pod["status"]["podIP"].as_str()?;
        let shown = facts.ask(&["ip", "-j", "route", "get", address]).ok()??;
        let routes: Vec<Value> = serde_json::from_str(&shown.stdout).unwrap_or_default();
        // No answer at all is no route either.
        let leaves_by = routes.first().and_then(|route| route["dev"].as_str());
        (leaves_by.is_none() || leaves_by == uplink).then(|| format!("{} ({address})", state::name(pod)))
    });
    let lost: Vec<String> = lost.collect();
    if lost.is_empty() {
        return Vec::new();
    }
    vec![Finding::refused(
        format!(
            "the host has no route to {}: what manages its network removed those of the pod network",
            lost.join(", ")
        ),
        "`sudo microk8s kubectl -n kube-system rollout restart daemonset/calico-node` brings them back; against the next time: \
         ManageForeignRoutes=no in /etc/systemd/networkd.conf",
    )]
}

/// What a pod finds when it looks names up.
pub(crate) fn names(cluster: &Cluster<'_>) -> Vec<Finding> {
    let Some(names) = &cluster.names else { return Vec::new() };
    iris::told(names).into_iter().map(|(message, hint)| Finding::warned(message, hint)).collect()
}
