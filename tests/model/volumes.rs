//! The modelled claims and volumes: a claim waits for its first pod, its volume is a folder on the host, and both end after the pods
//! that use them.

use std::time::Duration;

use iris_mk8s::kube::{self as kinds, state};
use serde_json::{Value, json};

use super::{
    cluster::{Cluster, key, key_of},
    files::Files,
    longhorn,
    world::s,
};

/// The class whose volumes Longhorn makes.
const LONGHORN: &str = "longhorn";

const FOLDER: &str = "/var/snap/microk8s/common/default-storage";

/// How long the provisioner takes to make a volume, and to delete one.
const PROVISIONED: Duration = s(2);
const DELETED: Duration = s(3);

fn default_class(cluster: &Cluster) -> Option<String> {
    let mut all = cluster.of(&kinds::STORAGE_CLASS);
    all.find(|c| c["metadata"]["annotations"]["storageclass.kubernetes.io/is-default-class"] == "true")
        .map(|c| state::name(c).to_owned())
}

fn binds_at_once(cluster: &Cluster, claim: &Value) -> bool {
    let class = claim["spec"]["storageClassName"].as_str().unwrap_or_default();
    cluster.find(&kinds::STORAGE_CLASS, "", class).is_some_and(|c| c["volumeBindingMode"] == "Immediate")
}

fn provisioner_works(cluster: &Cluster) -> bool {
    cluster.find(&kinds::DEPLOYMENT, "kube-system", "hostpath-provisioner").is_some_and(state::rolled_out)
}

/// Names of the claims that a pod mounts.
pub fn claims_of(pod: &Value) -> impl Iterator<Item = &str> {
    let volumes = pod["spec"]["volumes"].as_array();
    volumes.into_iter().flatten().filter_map(|v| v["persistentVolumeClaim"]["claimName"].as_str())
}

pub fn reconcile(cluster: &mut Cluster, files: &mut Files, now: Duration) {
    let class = default_class(cluster);
    let works = provisioner_works(cluster);
    for claim in cluster.shared(&kinds::PERSISTENT_VOLUME_CLAIM) {
        let (_, claim_key) = key_of(&claim);
        if claim["spec"]["storageClassName"].is_null()
            && let Some(class) = &class
        {
            cluster.change(&claim_key, |c| c["spec"]["storageClassName"] = json!(class));
        }
        let uses = |p: &Value| {
            p["metadata"]["namespace"] == claim["metadata"]["namespace"]
                && claims_of(p).any(|c| c == state::name(&claim))
        };
        let used = cluster.of(&kinds::POD).any(uses);
        if state::going(&claim) {
            if !used {
                cluster.drop_object(&claim_key);
            }
        } else if claim["status"]["phase"] != "Bound"
            && claim["spec"]["storageClassName"].is_string()
            && if claim["spec"]["storageClassName"] == LONGHORN {
                longhorn::provisions(cluster)
            } else {
                (used || binds_at_once(cluster, &claim)) && works
            }
        {
            let at = *cluster.ends.entry(claim_key).or_insert(now + PROVISIONED);
            if now >= at { bind(cluster, files, &claim) } else { cluster.look_at(at) }
        }
    }
    for volume in cluster.shared(&kinds::PERSISTENT_VOLUME) {
        let (_, volume_key) = key_of(&volume);
        let of = &volume["spec"]["claimRef"];
        let text = |field: &str| of[field].as_str().unwrap_or_default();
        let claim = cluster.find(&kinds::PERSISTENT_VOLUME_CLAIM, text("namespace"), text("name"));
        if claim.is_some_and(|c| c["spec"]["volumeName"] == volume["metadata"]["name"]) {
            continue;
        }
        cluster.change(&volume_key, |v| v["status"]["phase"] = json!("Released"));
        let of_longhorn = volume["spec"]["csi"].is_object();
        let works = if of_longhorn { longhorn::provisions(cluster) } else { works };
        if works && volume["spec"]["persistentVolumeReclaimPolicy"] == "Delete" {
            let at = *cluster.ends.entry(volume_key.clone()).or_insert(now + DELETED);
            if now >= at {
                files.remove(path_of(&volume));
                cluster.drop_object(&volume_key);
                if of_longhorn {
                    cluster.drop_object(&key(
                        own_volumes(),
                        iris_mk8s::stack::longhorn::state::NAMESPACE,
                        state::name(&volume),
                    ));
                }
            } else {
                cluster.look_at(at);
            }
        }
    }
}

fn bind(cluster: &mut Cluster, files: &mut Files, claim: &Value) {
    let (_, claim_key) = key_of(claim);
    let name = format!("pvc-{:04}", cluster.number());
    let of_longhorn = claim["spec"]["storageClassName"] == LONGHORN;
    let folder = if of_longhorn { "/var/lib/longhorn/replicas" } else { FOLDER };
    let path = format!("{folder}/{}-{}-{name}", claim_key.1, claim_key.2);
    files.dir(&path);
    let mut volume = json!({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name},
        "spec": {"claimRef": {"namespace": claim_key.1, "name": claim_key.2}, "hostPath": {"path": path},
            "persistentVolumeReclaimPolicy": "Delete", "storageClassName": "microk8s-hostpath"},
        "status": {"phase": "Bound"}});
    if of_longhorn {
        let csi = json!({"driver": iris_mk8s::stack::longhorn::state::DRIVER, "volumeHandle": name, "volumeAttributes": {"path": path}});
        volume["spec"] = json!({"claimRef": volume["spec"]["claimRef"], "csi": csi,
            "persistentVolumeReclaimPolicy": "Delete", "storageClassName": LONGHORN});
        cluster.put(json!({"apiVersion": "longhorn.io/v1beta2", "kind": "Volume", "metadata": {"name": name,
            "namespace": iris_mk8s::stack::longhorn::state::NAMESPACE, "finalizers": ["longhorn.io"]}}));
    }
    cluster.put(volume);
    cluster.ends.remove(&claim_key);
    cluster.change(&claim_key, |c| {
        c["spec"]["volumeName"] = json!(name);
        c["status"] = json!({"phase": "Bound"});
    });
}

/// The folder behind a claim.
pub fn folder(cluster: &Cluster, namespace: &str, claim: &str) -> Option<String> {
    let claim = cluster.find(&kinds::PERSISTENT_VOLUME_CLAIM, namespace, claim)?;
    let volume = cluster.get(&key(&kinds::PERSISTENT_VOLUME, "", claim["spec"]["volumeName"].as_str()?))?;
    Some(path_of(volume).to_owned())
}

/// Where a volume's files are: a folder stands for Longhorn's disks, too.
pub fn path_of(volume: &Value) -> &str {
    let spec = &volume["spec"];
    spec["hostPath"]["path"].as_str().or(spec["csi"]["volumeAttributes"]["path"].as_str()).unwrap_or_default()
}

fn own_volumes() -> &'static kinds::Kind {
    kinds::longhorn::kind("v1beta2", "volumes").expect("a kind of Longhorn's")
}
