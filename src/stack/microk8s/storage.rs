//! Volumes: the provisioner, and the claims that wait for a volume.

use crate::{
    error::finding::Finding,
    kube::state,
    stack::{iris::names as iris, observed::Cluster},
};

pub(crate) fn provisioner(cluster: &Cluster<'_>) -> Vec<Finding> {
    let spec = cluster.facts.spec;
    let mut findings = Vec::new();
    if spec.addons.iter().any(|a| a == "hostpath-storage")
        && let Some(why) = cluster.down("Deployment", "kube-system", "hostpath-provisioner")
    {
        let addon = spec.channel.row().storage_addon;
        findings.push(Finding::refused(
            format!("the storage provisioner is not running: {why}"),
            format!("`microk8s kubectl -n kube-system describe pods -l k8s-app=hostpath-provisioner`; `microk8s enable {addon}`, or run the same bootstrap again"),
        ));
    }
    let names: Vec<&str> = cluster.classes.iter().map(state::name).collect();
    let is_default = |class: &serde_json::Value| {
        let notes = &class["metadata"]["annotations"];
        notes["storageclass.kubernetes.io/is-default-class"] == "true"
    };
    let list = if names.is_empty() { "there is none".to_owned() } else { format!("there are: {}", names.join(", ")) };
    match &spec.iris.storage_class {
        Some(class) if !names.contains(&class.as_str()) => {
            findings.push(Finding::refused(
                format!("there is no StorageClass {class}; {list}"),
                "name one that is there: --storage",
            ));
        }
        None if !cluster.classes.iter().any(is_default) => findings.push(Finding::refused(
            format!("no StorageClass is the default one; {list}"),
            "run the same bootstrap again, or name a class with --storage",
        )),
        Some(_) | None => {}
    }
    findings
}

pub(crate) fn claims(cluster: &Cluster<'_>) -> Vec<Finding> {
    let iris = &cluster.facts.spec.iris;
    let wanted = iris::claim_names(iris);
    let ours = cluster.claims.iter().filter(|c| {
        c["metadata"]["namespace"] == iris.namespace.as_str() && wanted.iter().any(|(name, _)| state::name(c) == name)
    });
    let mut findings = Vec::new();
    for claim in ours {
        let name = state::name(claim);
        let phase = claim["status"]["phase"].as_str().unwrap_or("");
        if phase == "Lost" {
            findings.push(Finding::refused(
                format!("the volume of claim {name} is gone, and its data with it"),
                "to begin with new volumes, run `iris-mk8s teardown --data`, then the same bootstrap again",
            ));
        }
        if phase != "Pending" {
            continue;
        }
        let class = claim["spec"]["storageClassName"].as_str();
        let known = class.is_some_and(|class| cluster.classes.iter().any(|c| state::name(c) == class));
        let event = cluster.event(
            claim,
            &["ProvisioningFailed", "FailedBinding", "ExternalProvisioning", "WaitForFirstConsumer", "Provisioning"],
        );
        findings.push(match class {
            Some(class) if !known => Finding::refused(
                format!("claim {name} gets no volume: there is no StorageClass {class}"),
                "a claim's class cannot be changed: `iris-mk8s teardown --data`, then bootstrap with another --storage",
            ),
            None => Finding::refused(
                format!("claim {name} gets no volume: it names no StorageClass, and none is the default one"),
                "`microk8s enable hostpath-storage`, or run the same bootstrap again",
            ),
            // It waits for its pod, and the pod says why it waits.
            Some(_) if event.is_some_and(|e| e.contains("first consumer")) => continue,
            Some(class) => Finding::refused(
                format!("claim {name} has no volume of class {class} yet: {}", event.unwrap_or("nobody says why")),
                format!("`microk8s kubectl -n {} describe pvc {name}`", iris.namespace),
            ),
        });
    }
    findings
}
