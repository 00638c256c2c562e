//! The modelled Longhorn 1.11: what its manager, deployer, provisioner and uninstall job make of the objects that are applied, with its
//! finalizers, and with a webhook that blocks changes when the manager is gone.

use std::time::Duration;

use iris_mk8s::{
    kube::{self as kinds, Kind, longhorn as own, state},
    stack::longhorn::state::{DRIVER, KUBELET, NAMESPACE},
};
use serde_json::{Value, json};

use super::{
    cluster::{Cluster, Life, key, key_of},
    volumes,
    world::{EPOCH, World, s},
};

/// The manifest, and where it lies on a host that wants Longhorn.
pub const MANIFEST: &str = include_str!("longhorn.yaml");
pub const FILE: &str = "/home/ubuntu/longhorn.yaml";

/// Longhorn's folder on the host.
const DATA: &str = "/var/lib/longhorn";

fn own_kind(plural: &str) -> &'static Kind {
    own::kind("v1beta2", plural).expect("a kind of Longhorn's")
}

fn runs(cluster: &Cluster, kind: &Kind, name: &str) -> bool {
    cluster.find(kind, NAMESPACE, name).is_some_and(|w| !state::going(w) && state::rolled_out(w))
}

pub fn manager_runs(cluster: &Cluster) -> bool {
    runs(cluster, &kinds::DAEMON_SET, "longhorn-manager")
}

pub fn provisions(cluster: &Cluster) -> bool {
    manager_runs(cluster) && runs(cluster, &kinds::DEPLOYMENT, "csi-provisioner")
}

/// Makes an object, once.
fn once(cluster: &mut Cluster, object: Value) {
    let (kind, object_key) = key_of(&object);
    if cluster.knows(kind) && cluster.get(&object_key).is_none() {
        cluster.put(object);
    }
}

fn own_object(plural: &str, name: &str, more: Value) -> Value {
    let kind = own_kind(plural);
    let finalizers: &[&str] = if plural == "settings" { &[] } else { &["longhorn.io"] };
    let mut object = json!({"apiVersion": "longhorn.io/v1beta2", "kind": kind.kind,
        "metadata": {"name": name, "namespace": NAMESPACE, "finalizers": finalizers}});
    object.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    object
}

/// Whoever is at work brings things one move nearer.
pub fn reconcile(world: &mut World) {
    let now = world.now;
    let iscsi = world.packages.get("open-iscsi").is_some_and(|state| state == "ii");
    let Some(cluster) = world.cluster.as_mut() else { return };
    definitions(cluster);
    bare_pods(cluster);
    // Without iSCSI the manager ends at once, again and again.
    let broken = !iscsi;
    cluster.change(&key(&kinds::DAEMON_SET, NAMESPACE, "longhorn-manager"), |set| {
        if broken {
            set["status"]["numberReady"] = json!(0);
        }
    });
    let flag = cluster.find(own_kind("settings"), NAMESPACE, "deleting-confirmation-flag");
    let uninstalls = flag.is_some_and(|f| f["value"] == "true")
        && cluster.find(&kinds::JOB, NAMESPACE, "longhorn-uninstall").is_some();
    if uninstalls {
        // It makes nothing anew, while it is being taken away.
    } else if manager_runs(cluster) {
        manager(cluster);
        world.files.write(&format!("{DATA}/longhorn-disk.cfg"), "{}");
        world.files.dir(&format!("{DATA}/replicas"));
    }
    let Some(cluster) = world.cluster.as_mut() else { return };
    if !uninstalls && manager_runs(cluster) && runs(cluster, &kinds::DEPLOYMENT, "longhorn-driver-deployer") {
        driver(cluster);
    }
    job(cluster, now);
    orphans(cluster, now);
}

/// The server accepts a definition, and lets it go when no object of it is left.
fn definitions(cluster: &mut Cluster) {
    let all: Vec<Value> = cluster.of(&kinds::CUSTOM_RESOURCE_DEFINITION).cloned().collect();
    for definition in all.iter().filter(|d| d["spec"]["group"] == "longhorn.io") {
        let (_, definition_key) = key_of(definition);
        cluster.change(&definition_key, |d| {
            d["status"] = json!({"conditions": [{"type": "Established", "status": "True"}]});
        });
        if !state::going(definition) {
            continue;
        }
        let kind = own_kind(definition["spec"]["names"]["plural"].as_str().expect("a plural"));
        let left: Vec<Value> = cluster.of(kind).cloned().collect();
        for object in &left {
            delete(cluster, object);
        }
        if left.is_empty() {
            cluster.drop_object(&definition_key);
        }
    }
}

/// Deletes an object as the server does: one with a finalizer is only marked.
pub fn delete(cluster: &mut Cluster, object: &Value) {
    let (_, object_key) = key_of(object);
    if object["metadata"]["finalizers"].as_array().is_some_and(|f| !f.is_empty()) {
        cluster.change(&object_key, |o| o["metadata"]["deletionTimestamp"] = json!("2027-01-15T08:00:00Z"));
    } else {
        cluster.drop_object(&object_key);
    }
}

/// Pods that nobody owns are scheduled, too.
fn bare_pods(cluster: &mut Cluster) {
    let named = cluster.of(&kinds::POD).map(|pod| key_of(pod).1).map(|(_, namespace, name)| (namespace, name));
    let new: Vec<_> = named.filter(|pod| !cluster.pods.contains_key(pod)).collect();
    cluster.pods.extend(new.into_iter().map(|pod| (pod, Life::Unscheduled(String::new()))));
}

fn manager(cluster: &mut Cluster) {
    let node = cluster.of(&kinds::NODE).next().map_or("ubuntu", state::name).to_owned();
    // Its class comes long before its driver works, and follows the ConfigMap.
    let text = cluster.find(&kinds::CONFIG_MAP, NAMESPACE, "longhorn-storageclass");
    let text = text.and_then(|map| map["data"]["storageclass.yaml"].as_str()).unwrap_or_default().to_owned();
    if let Ok(class) = serde_json::from_str::<Value>(&text) {
        once(cluster, class);
    }
    for (kind, name) in iris_mk8s::stack::longhorn::state::WEBHOOKS {
        once(
            cluster,
            json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": kind.kind, "metadata": {"name": name}}),
        );
    }
    once(
        cluster,
        json!({"apiVersion": "v1", "kind": "Endpoints", "metadata": {"name": "longhorn-admission-webhook", "namespace": NAMESPACE},
        "subsets": [{"addresses": [{"ip": "10.1.243.9"}]}]}),
    );
    once(cluster, own_object("settings", "deleting-confirmation-flag", json!({"value": "false"})));
    let ready = json!([{"type": "Ready", "status": "True"}, {"type": "Schedulable", "status": "True"}]);
    let status = json!({"conditions": ready, "diskStatus": {"default-disk": {"conditions": ready}}});
    once(cluster, own_object("nodes", &node, json!({"status": status})));
    once(cluster, own_object("engineimages", "ei-0001", json!({"status": {"state": "deployed"}})));
    once(
        cluster,
        own_object("instancemanagers", "instance-manager-0001", json!({"status": {"currentState": "running"}})),
    );
    // What nobody uses any more goes in an orderly way.
    let gone: Vec<Value> = cluster.of(own_kind("volumes")).filter(|v| state::going(v)).cloned().collect();
    gone.iter().for_each(|volume| cluster.drop_object(&key_of(volume).1));
}

fn driver(cluster: &mut Cluster) {
    let deployer = cluster.find(&kinds::DEPLOYMENT, NAMESPACE, "longhorn-driver-deployer");
    let env = deployer.map(|d| d["spec"]["template"]["spec"]["containers"][0]["env"].clone()).unwrap_or_default();
    let root = env.as_array().into_iter().flatten().find(|e| e["name"] == "KUBELET_ROOT_DIR");
    // It does not find kubelet's directory by itself.
    if root.is_none_or(|r| r["value"] != KUBELET) {
        return;
    }
    let workload = |kind: &str, name: &str| {
        json!({"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": name, "namespace": NAMESPACE, "generation": 1},
            "spec": {"selector": {"matchLabels": {"app": name}}, "template": {"metadata": {"labels": {"app": name}},
                "spec": {"containers": [{"name": name, "image": format!("docker.io/longhornio/{name}:v1")}]}}}})
    };
    for name in ["csi-attacher", "csi-provisioner", "csi-resizer", "csi-snapshotter"] {
        once(cluster, workload("Deployment", name));
    }
    once(cluster, workload("DaemonSet", "longhorn-csi-plugin"));
    once(cluster, json!({"apiVersion": "storage.k8s.io/v1", "kind": "CSIDriver", "metadata": {"name": DRIVER}}));
    if runs(cluster, &kinds::DAEMON_SET, "longhorn-csi-plugin") {
        let node = cluster.of(&kinds::NODE).next().map_or("ubuntu", state::name).to_owned();
        once(
            cluster,
            json!({"apiVersion": "storage.k8s.io/v1", "kind": "CSINode", "metadata": {"name": node}, "spec": {"drivers": [{"name": DRIVER}]}}),
        );
    }
}

/// The uninstall job: first the volumes of others would go, so it must not come too early.
fn job(cluster: &mut Cluster, now: Duration) {
    let job_key = key(&kinds::JOB, NAMESPACE, "longhorn-uninstall");
    let Some(job) = cluster.get(&job_key).cloned() else { return };
    if state::going(&job) {
        cluster.drop_object(&job_key);
        return;
    }
    if job["status"]["conditions"].is_array() {
        return;
    }
    let begun = *cluster.ends.entry(job_key.clone()).or_insert(now + s(4));
    if now < begun {
        cluster.look_at(begun);
        return;
    }
    let flag = cluster.find(own_kind("settings"), NAMESPACE, "deleting-confirmation-flag");
    let ended = |cluster: &mut Cluster, how: &str| {
        let time = jiff::Timestamp::from_second(i64::try_from(EPOCH + now.as_secs()).expect("a time")).expect("a time");
        let condition = json!({"type": how, "status": "True", "lastTransitionTime": time.to_string()});
        cluster.change(&job_key, |j| j["status"] = json!({"conditions": [condition]}));
        cluster.ends.remove(&job_key);
    };
    if flag.is_none_or(|f| f["value"] != "true") {
        return ended(cluster, "Failed");
    }
    let kinds_of_job = ["volumes", "engineimages", "nodes", "instancemanagers"];
    let holds = kinds_of_job.iter().any(|plural| cluster.of(own_kind(plural)).next().is_some());
    // With a dead manager its webhook refuses that finalizers are taken away; without any, nothing asks it.
    if holds
        && !manager_runs(cluster)
        && cluster.find(&kinds::VALIDATING_WEBHOOK, "", "longhorn-webhook-validator").is_some()
    {
        cluster.look_at(now + s(5));
        return;
    }
    // One kind after the other, and the workloads between them.
    for plural in kinds_of_job {
        let all: Vec<Value> = cluster.of(own_kind(plural)).cloned().collect();
        if !all.is_empty() {
            all.iter().for_each(|o| cluster.drop_object(&key_of(o).1));
            cluster.ends.insert(job_key.clone(), now + s(1));
            cluster.look_at(now + s(1));
            return;
        }
    }
    let mut left = false;
    for (kind, name) in [
        (&kinds::DAEMON_SET, "longhorn-manager"),
        (&kinds::DAEMON_SET, "longhorn-csi-plugin"),
        (&kinds::DEPLOYMENT, "longhorn-driver-deployer"),
        (&kinds::DEPLOYMENT, "csi-attacher"),
        (&kinds::DEPLOYMENT, "csi-provisioner"),
        (&kinds::DEPLOYMENT, "csi-resizer"),
        (&kinds::DEPLOYMENT, "csi-snapshotter"),
    ] {
        let workload_key = key(kind, NAMESPACE, name);
        if cluster.get(&workload_key).is_some() {
            left = true;
            cluster.delete(&workload_key, now);
        }
    }
    if left {
        cluster.ends.insert(job_key.clone(), now + s(1));
        cluster.look_at(now + s(1));
        return;
    }
    for (kind, name) in iris_mk8s::stack::longhorn::state::WEBHOOKS {
        cluster.drop_object(&key(kind, "", name));
    }
    cluster.drop_object(&key(&kinds::STORAGE_CLASS, "", "longhorn"));
    cluster.drop_object(&key(&kinds::CSI_DRIVER, "", DRIVER));
    ended(cluster, "Complete");
}

/// kubelet forgets a driver whose plugin is gone.
fn orphans(cluster: &mut Cluster, _: Duration) {
    if cluster.find(&kinds::DAEMON_SET, NAMESPACE, "longhorn-csi-plugin").is_none() {
        let nodes: Vec<Value> = cluster.of(&kinds::CSI_NODE).cloned().collect();
        nodes.iter().for_each(|node| cluster.drop_object(&key_of(node).1));
    }
}

/// A volume that a pod mounts is a disk of the host, with a session; both outlive a kubelet that is taken away.
pub fn sessions(world: &mut World) {
    let Some(cluster) = world.cluster.as_mut() else { return };
    if !cluster.answers(world.now) {
        return;
    }
    let mut used = std::collections::BTreeMap::new();
    for pod in cluster.of(&kinds::POD) {
        let (_, (_, namespace, name)) = key_of(pod);
        let alive = matches!(cluster.pods.get(&(namespace.clone(), name)), Some(Life::Ready | Life::Going(_)));
        for claim in volumes::claims_of(pod).filter(|_| alive) {
            let claim = cluster.find(&kinds::PERSISTENT_VOLUME_CLAIM, &namespace, claim);
            let Some(volume) = claim.and_then(|c| c["spec"]["volumeName"].as_str()) else { continue };
            let of_ours = cluster.find(&kinds::PERSISTENT_VOLUME, "", volume);
            if of_ours.is_some_and(|v| v["spec"]["csi"]["driver"] == DRIVER) {
                let uid = pod["metadata"]["uid"].as_str().unwrap_or("none").to_owned();
                used.insert(volume.to_owned(), uid);
            }
        }
    }
    world.iscsi = used;
}

/// `findmnt`, for mounts of volumes.
pub fn mounts(world: &World) -> String {
    let line = |(volume, uid): (&String, &String)| {
        format!("/dev/longhorn/{volume} {KUBELET}/pods/{uid}/volumes/kubernetes.io~csi/{volume}/mount\n")
    };
    world.iscsi.iter().map(line).collect()
}
