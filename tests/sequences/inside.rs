//! What a person does in the cluster: things of their own, and changes to ours. Where the API does not answer, nothing.

use iris_mk8s::kube::{self as kinds, Kind, state};
use serde_json::{Value, json};

use crate::{
    model::{
        cluster::{Cluster, Key, key, key_of},
        manifests, volumes,
        world::{Era, World},
    },
    op::{Guest, Op, Ours, Part, Range},
    others::Sight,
};

const PERSON: &str = "kubectl-client-side-apply";

/// Lets a person do something in the cluster. False: it could not be done.
pub fn does(world: &mut World, op: &Op, sight: &Sight) -> bool {
    let now = world.now;
    let Some(cluster) = world.api() else { return false };
    match op {
        Op::Makes(guest) => {
            let objects = objects(*guest, sight, cluster.era);
            let mut made = false;
            let definition = key(&kinds::CUSTOM_RESOURCE_DEFINITION, "", "ipaddresspools.metallb.io");
            if *guest == Guest::Peer && cluster.get(&definition).is_none() {
                return false;
            }
            // A pool that is refused is not advertised.
            if matches!(guest, Guest::Pool | Guest::OverlappingPool)
                && objects.first().is_some_and(|object| cluster.apply(object, PERSON, true, now).is_err())
            {
                return false;
            }
            for object in &objects {
                if cluster.get(&key_of(object).1).is_none() {
                    made |= cluster.apply(object, PERSON, false, now).is_ok();
                }
            }
            if *guest == Guest::ClaimElsewhere && made {
                elsewhere(cluster);
                world.files.write("/srv/nfs/elsewhere/data", "theirs\n");
            }
            made
        }
        Op::Edits(which) => edits(cluster, *which),
        Op::Replaces(which) => replaces(cluster, *which),
        Op::Deletes(part) => {
            let keys = keys_of_part(cluster, *part, sight);
            keys.iter().for_each(|key| cluster.delete(key, now));
            !keys.is_empty()
        }
        Op::Pushes => {
            let Some(folder) = volumes::folder(cluster, "container-registry", "registry-claim") else { return false };
            world.files.write(&format!("{folder}/docker/registry/v2/repositories/team/app"), "layers\n");
            true
        }
        _ => false,
    }
}

/// The definition of a kind of somebody's own.
fn definition(kind: &str) -> Value {
    let plural = format!("{}s", kind.to_lowercase());
    json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{plural}.theirs.example")},
        "spec": {"group": "theirs.example", "scope": "Namespaced", "names": {"kind": kind, "plural": plural},
            "versions": [{"name": "v1", "served": true, "storage": true}]}})
}

/// The objects of somebody's.
fn objects(guest: Guest, sight: &Sight, era: Era) -> Vec<Value> {
    let meta = |namespace: &str, name: &str| json!({"name": name, "namespace": namespace});
    let claim = |namespace: &str, name: &str, class: Option<&str>| {
        let mut claim = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": meta(namespace, name),
            "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}});
        if let Some(class) = class {
            claim["spec"]["storageClassName"] = json!(class);
        }
        claim
    };
    let pod = |namespace: &str, name: &str, claim: &str| {
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": meta(namespace, name), "spec": {
            "containers": [{"name": "main", "image": "busybox:1"}],
            "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": claim}}]}})
    };
    let map = |kind: &str, namespace: &str, name: &str| json!({"apiVersion": "v1", "kind": kind, "metadata": meta(namespace, name), "data": {"key": "dGhlaXJz"}});
    match guest {
        Guest::Claim => {
            vec![manifests::namespace("other"), claim("other", "theirs", None), pod("other", "theirs", "theirs")]
        }
        Guest::ClaimBesideIris => {
            vec![claim(&sight.namespace, "beside", None), pod(&sight.namespace, "beside", "beside")]
        }
        Guest::ClaimElsewhere => vec![manifests::namespace("other"), claim("other", "elsewhere", Some("nfs"))],
        Guest::Workload => vec![
            manifests::namespace("team"),
            map("ConfigMap", "team", "settings"),
            map("Secret", "team", "token"),
            json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": meta("team", "web"), "spec": {
                "selector": {"matchLabels": {"app": "web"}}, "template": {"metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "web", "image": "nginx:1"}]}}}}),
        ],
        Guest::Service => vec![
            manifests::namespace("front"),
            json!({"apiVersion": "v1", "kind": "Service", "metadata": meta("front", "lb"),
                "spec": {"type": "LoadBalancer", "selector": {"app": "web"}, "ports": [{"port": 80}]}}),
        ],
        Guest::ConfigMapBesideIris => vec![map("ConfigMap", &sight.namespace, "notes")],
        Guest::Namespace => vec![manifests::namespace("spare")],
        Guest::Custom => vec![
            manifests::namespace("front"),
            definition("Widget"),
            json!({"apiVersion": "theirs.example/v1", "kind": "Widget", "metadata": meta("front", "w1"), "spec": {"size": 3}}),
            json!({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": meta("front", "www"), "spec": {}}),
        ],
        Guest::Kind => vec![definition("Gadget")],
        Guest::Pool | Guest::OverlappingPool | Guest::Peer if era == Era::Old => Vec::new(),
        Guest::Peer => vec![json!({"apiVersion": "metallb.io/v1beta2", "kind": "BGPPeer",
            "metadata": {"name": "router", "namespace": "metallb-system"},
            "spec": {"myASN": 64500, "peerASN": 64501, "peerAddress": "192.168.11.1"}})],
        Guest::Pool => vec![manifests::pool("mine", &[Range::Theirs.text()]), manifests::advertisement("mine")],
        Guest::OverlappingPool => vec![manifests::pool("mine-too", &["192.168.11.125-192.168.11.135"])],
    }
}

/// The keys of what somebody has.
pub fn keys_of_guest(guest: Guest, sight: &Sight, era: Era) -> Vec<Key> {
    let volume = (guest == Guest::ClaimElsewhere).then(|| key(&kinds::PERSISTENT_VOLUME, "", "elsewhere"));
    objects(guest, sight, era).iter().map(|object| key_of(object).1).chain(volume).collect()
}

/// A volume that somebody made by hand, and that stays when its claim goes.
fn elsewhere(cluster: &mut Cluster) {
    cluster.put(json!({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "elsewhere"},
        "spec": {"claimRef": {"namespace": "other", "name": "elsewhere"}, "hostPath": {"path": "/srv/nfs/elsewhere"},
            "persistentVolumeReclaimPolicy": "Retain", "storageClassName": "nfs"}, "status": {"phase": "Bound"}}));
    cluster.change(&key(&kinds::PERSISTENT_VOLUME_CLAIM, "other", "elsewhere"), |claim| {
        claim["spec"]["volumeName"] = json!("elsewhere");
        claim["status"] = json!({"phase": "Bound"});
    });
}

/// The key of an object of ours, wherever it is.
pub fn key_of_ours(cluster: &Cluster, which: Ours) -> Option<Key> {
    let ours = |kind: &'static Kind, fits: fn(&Value) -> bool| {
        cluster.of(kind).find(|o| kinds::is_ours(o) && fits(o)).map(|o| key_of(o).1)
    };
    let named = |kind: &'static Kind, name: &str| {
        let key = key(kind, "metallb-system", name);
        cluster.get(&key).is_some().then_some(key)
    };
    match which {
        Ours::Set => ours(&kinds::STATEFUL_SET, |_| true),
        Ours::Service => ours(&kinds::SERVICE, |o| o["spec"]["type"] != "LoadBalancer"),
        Ours::External => ours(&kinds::SERVICE, |o| o["spec"]["type"] == "LoadBalancer"),
        Ours::Secret => ours(&kinds::SECRET, |_| true),
        Ours::Pool if cluster.era == Era::Old => named(&kinds::CONFIG_MAP, "config"),
        Ours::Pool => named(&kinds::IP_ADDRESS_POOL, "default-addresspool"),
        Ours::Advertisement => named(&kinds::L2_ADVERTISEMENT, "default-advertise-all-pools"),
        Ours::Namespace => {
            ["a", "b"].map(|name| key(&kinds::NAMESPACE, "", name)).into_iter().find(|key| cluster.get(key).is_some())
        }
    }
}

/// What `kubectl edit` leaves.
fn edited(object: &mut Value, which: Ours) {
    object["metadata"]["generation"] = json!(object["metadata"]["generation"].as_u64().unwrap_or(0) + 1);
    let (part, field) = match which {
        Ours::Set => ("f:spec", "f:replicas"),
        Ours::Service => ("f:spec", "f:ports"),
        Ours::External => ("f:spec", "f:sessionAffinity"),
        Ours::Secret => ("f:data", "f:merge.cpf"),
        Ours::Pool if object["kind"] == "ConfigMap" => ("f:data", "f:config"),
        Ours::Pool => ("f:spec", "f:addresses"),
        Ours::Advertisement => ("f:spec", "f:ipAddressPools"),
        Ours::Namespace => ("f:metadata", "f:labels"),
    };
    let entry = json!({"manager": "kubectl-edit", "operation": "Update", "fieldsV1": {part: {field: {}}}});
    match object["metadata"]["managedFields"].as_array_mut() {
        Some(list) if !list.contains(&entry) => list.push(entry),
        Some(_) => {}
        None => object["metadata"]["managedFields"] = json!([entry]),
    }
}

fn edits(cluster: &mut Cluster, which: Ours) -> bool {
    let Some(key) = key_of_ours(cluster, which) else { return false };
    let era = cluster.era;
    cluster.change(&key, |object| {
        match which {
            Ours::Set => object["spec"]["replicas"] = json!(4),
            Ours::Service => object["spec"]["ports"][0]["port"] = json!(8080),
            Ours::External => object["spec"]["sessionAffinity"] = json!("None"),
            Ours::Secret => object["data"]["merge.cpf"] = json!("eA=="),
            Ours::Pool if era == Era::Old => {
                let text = object["data"]["config"].as_str().unwrap_or_default().to_owned();
                object["data"]["config"] = json!(format!("{text}# mine\n"));
            }
            Ours::Pool => {
                let mut all = object["spec"]["addresses"].as_array().cloned().unwrap_or_default();
                all.push(json!("192.168.11.180-192.168.11.181"));
                object["spec"]["addresses"] = json!(all);
            }
            Ours::Advertisement => object["spec"]["ipAddressPools"] = json!(["default-addresspool", "mine"]),
            Ours::Namespace => object["metadata"]["labels"]["team"] = json!("mine"),
        }
        edited(object, which);
    });
    true
}

/// The same object by somebody's hand: what a backup puts back.
fn replaces(cluster: &mut Cluster, which: Ours) -> bool {
    let Some(key) = key_of_ours(cluster, which) else { return false };
    let Some(was) = cluster.get(&key).cloned() else { return false };
    let mut new = json!({"apiVersion": was["apiVersion"], "kind": was["kind"],
        "metadata": {"name": key.2, "labels": {"app": "iris"}}});
    if !key.1.is_empty() {
        new["metadata"]["namespace"] = json!(key.1);
    }
    for part in ["spec", "data"] {
        if !was[part].is_null() {
            new[part] = was[part].clone();
        }
    }
    // The one text of MetalLB 0.9 is the addon's own, whoever wrote it last.
    if which == Ours::Pool && cluster.era == Era::Old {
        return false;
    }
    if which == Ours::Namespace {
        // A namespace goes with all that is in it; nobody puts it back at once.
        return false;
    }
    cluster.drop_object(&key);
    cluster.look_at(std::time::Duration::ZERO);
    cluster.apply(&new, PERSON, false, std::time::Duration::ZERO).is_ok()
}

fn keys_of_part(cluster: &Cluster, part: Part, sight: &Sight) -> Vec<Key> {
    let there = |kind: &Kind, namespace: &str, name: &str| {
        let key = key(kind, namespace, name);
        cluster.get(&key).filter(|o| !state::going(o)).map(|_| key).into_iter().collect::<Vec<_>>()
    };
    let claims = || cluster.of(&kinds::PERSISTENT_VOLUME_CLAIM).filter(|c| kinds::is_ours(c)).map(|c| key_of(c).1);
    match part {
        Part::Of(which) => key_of_ours(cluster, which).into_iter().collect(),
        Part::OneClaim => claims().take(1).collect(),
        Part::AllClaims => claims().collect(),
        Part::Pod => there(&kinds::POD, &sight.namespace, "data-0"),
        Part::RegistryService => there(&kinds::SERVICE, "container-registry", "registry"),
        Part::RegistryDeployment => there(&kinds::DEPLOYMENT, "container-registry", "registry"),
        Part::RegistryNamespace => there(&kinds::NAMESPACE, "", "container-registry"),
        Part::RegistryClaim => there(&kinds::PERSISTENT_VOLUME_CLAIM, "container-registry", "registry-claim"),
        Part::StorageDeployment => there(&kinds::DEPLOYMENT, "kube-system", "hostpath-provisioner"),
        Part::StorageClass => there(&kinds::STORAGE_CLASS, "", "microk8s-hostpath"),
        Part::DnsDeployment => there(&kinds::DEPLOYMENT, "kube-system", "coredns"),
        Part::DnsService => there(&kinds::SERVICE, "kube-system", "kube-dns"),
        Part::MetallbController => there(&kinds::DEPLOYMENT, "metallb-system", "controller"),
        Part::MetallbNamespace => there(&kinds::NAMESPACE, "", "metallb-system"),
        Part::LonghornNamespace => there(&kinds::NAMESPACE, "", iris_mk8s::stack::longhorn::state::NAMESPACE),
    }
}
