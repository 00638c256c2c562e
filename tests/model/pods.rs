//! The modelled kubelet: pods begin, become ready and end. IRIS takes the password's hash at the very first start on its volume.

use std::time::Duration;

use iris_mk8s::{config::place::Place, kube as kinds};
use serde_json::{Value, json};

use super::{
    cluster::{Cluster, Key, Life, key},
    files::Files,
    microk8s, volumes,
    world::{World, s},
};

/// File in which IRIS keeps its accounts.
pub const ACCOUNTS: &str = "IRIS_conf.d/accounts";

/// How long a container takes to be ready, once its image is there.
fn start_of(pod: &Value) -> Duration {
    match container(pod)["name"].as_str() {
        Some("iris" | "controller" | "speaker") => s(8),
        Some("calico-node") => s(6),
        _ => s(3),
    }
}

/// How long the pull of an image takes.
pub fn pull_of(image: &str) -> Duration {
    if image.contains("iris") { s(15) } else { s(3) }
}

fn container(pod: &Value) -> &Value {
    &pod["spec"]["containers"][0]
}

pub fn reconcile(cluster: &mut Cluster, files: &mut Files, now: Duration) {
    let lives: Vec<((String, String), Life)> = cluster.pods.clone().into_iter().collect();
    for ((namespace, name), life) in lives {
        let pod_key = key(&kinds::POD, &namespace, &name);
        let Some(pod) = cluster.share(&pod_key) else { continue };
        match life {
            Life::Unscheduled(_) => place(cluster, &pod_key, &pod, now),
            Life::Starting(at) if now >= at => {
                cluster.images.insert(container(&pod)["image"].as_str().unwrap_or_default().to_owned());
                first_start(cluster, files, &pod);
                set(cluster, &pod_key, Life::Ready);
            }
            Life::Starting(at) => {
                show(cluster, &pod_key, &Life::Starting(at));
                cluster.look_at(at);
            }
            Life::Ready => {}
            Life::Going(at) if now >= at => cluster.drop_object(&pod_key),
            Life::Going(at) => cluster.look_at(at),
        }
    }
}

/// A pod that has no node yet gets one, or says why not.
fn place(cluster: &mut Cluster, pod_key: &Key, pod: &Value, now: Duration) {
    let of_network = pod_key.2.starts_with("calico-node");
    let why = if of_network || microk8s::node_ready(cluster) {
        missing(cluster, &pod_key.1, pod)
    } else {
        Some("0/1 nodes are available: 1 node(s) had untolerated taint {node.kubernetes.io/not-ready: }".to_owned())
    };
    let life = match why {
        Some(why) => Life::Unscheduled(why),
        None => {
            let image = container(pod)["image"].as_str().unwrap_or_default();
            let pull = if cluster.images.contains(image) { Duration::ZERO } else { pull_of(image) };
            Life::Starting(now + pull + start_of(pod))
        }
    };
    set(cluster, pod_key, life);
}

fn missing(cluster: &Cluster, namespace: &str, pod: &Value) -> Option<String> {
    for name in volumes::claims_of(pod) {
        match cluster.find(&kinds::PERSISTENT_VOLUME_CLAIM, namespace, name) {
            None => return Some(format!("persistentvolumeclaim \"{name}\" not found")),
            Some(claim) if claim["status"]["phase"] != "Bound" => return Some(format!("claim {name} is not bound")),
            Some(_) => {}
        }
    }
    for volume in pod["spec"]["volumes"].as_array().into_iter().flatten() {
        if let Some(secret) = volume["secret"]["secretName"].as_str()
            && cluster.find(&kinds::SECRET, namespace, secret).is_none()
        {
            return Some(format!("MountVolume.SetUp failed: secret \"{secret}\" not found"));
        }
    }
    let image = container(pod)["image"].as_str().unwrap_or_default();
    cluster.no_images.contains(image).then(|| format!("{image}: not found"))
}

fn set(cluster: &mut Cluster, pod_key: &Key, life: Life) {
    show(cluster, pod_key, &life);
    if let Life::Starting(at) = life {
        cluster.look_at(at);
    }
    cluster.pods.insert((pod_key.1.clone(), pod_key.2.clone()), life);
}

/// The pod's status tells where it is.
fn show(cluster: &mut Cluster, pod_key: &Key, life: &Life) {
    let ready = *life == Life::Ready;
    let ip = 10 + cluster.get(pod_key).map_or(0, |_| pod_key.2.bytes().map(u64::from).sum::<u64>() % 200);
    cluster.change(pod_key, |pod| {
        let name = container(pod)["name"].clone();
        let mut status = json!({"phase": "Pending", "conditions": [
            {"type": "PodScheduled", "status": "True"},
            {"type": "Ready", "status": if ready { "True" } else { "False" }}]});
        match life {
            Life::Unscheduled(why) => {
                status["conditions"][0] = json!({"type": "PodScheduled", "status": "False", "message": why});
                if why.ends_with(": not found") {
                    let waiting = json!({"waiting": {"reason": "ErrImagePull", "message": why}});
                    status["containerStatuses"] = json!([{"name": name, "ready": false, "state": waiting}]);
                }
            }
            Life::Starting(_) => {
                status["containerStatuses"] = json!([{"name": name, "ready": false, "state": {"running": {}}}])
            }
            Life::Ready => {
                status["phase"] = json!("Running");
                status["podIP"] = json!(format!("10.1.243.{ip}"));
                status["containerStatuses"] = json!([{"name": name, "ready": true, "state": {"running": {}}}]);
            }
            Life::Going(_) => return,
        }
        pod["status"] = status;
    });
}

/// What a program writes to its volumes.
pub const DATA: &str = "data";

/// A program writes to its volumes; IRIS' system database is made once, with the accounts of that moment.
fn first_start(cluster: &Cluster, files: &mut Files, pod: &Value) {
    let namespace = pod["metadata"]["namespace"].as_str().unwrap_or_default();
    for claim in volumes::claims_of(pod) {
        let Some(folder) = volumes::folder(cluster, namespace, claim) else { continue };
        let data = format!("{folder}/{DATA}");
        if !files.has(&data) {
            files.write(&data, format!("of {namespace}/{claim}\n"));
        }
        let accounts = format!("{folder}/{ACCOUNTS}");
        if container(pod)["name"] == "iris" && claim.starts_with("dbv-mgr") && !files.has(&accounts) {
            files.write(&accounts, hash(cluster, namespace, pod).unwrap_or_else(|| "SYS".to_owned()));
        }
    }
}

/// Whether the accounts on the pod's volume have this password: the one that every image comes with, or the one whose hash they got.
pub fn takes(world: &World, pod: &Value, password: &str) -> bool {
    let cluster = world.cluster.as_ref().expect("the pod's cluster");
    let namespace = pod["metadata"]["namespace"].as_str().unwrap_or_default();
    let claim = volumes::claims_of(pod).find(|claim| claim.starts_with("dbv-mgr"));
    let accounts =
        claim.and_then(|claim| volumes::folder(cluster, namespace, claim)).map(|folder| format!("{folder}/{ACCOUNTS}"));
    let read = |path: &str| world.files.read(path).map(|bytes| String::from_utf8_lossy(bytes).trim_end().to_owned());
    let Some(hash) = accounts.and_then(|path| read(&path)) else { return false };
    if hash == "SYS" || hash == PUBLISHED {
        return password == "SYS";
    }
    let kept = Place::default();
    let same = |path: std::path::PathBuf, text: &str| read(path.to_str().expect("UTF-8")).as_deref() == Some(text);
    same(kept.password_hash(), &hash) && same(kept.password(), password)
}

/// The hash that the profile `article` brings.
const PUBLISHED: &str = "FBFE8593AEFA510C27FD184738D6E865A441DE98,u4ocm4qh";

/// `PasswordHash` of the CPF that the pod mounts.
fn hash(cluster: &Cluster, namespace: &str, pod: &Value) -> Option<String> {
    let volumes = pod["spec"]["volumes"].as_array()?;
    let name = volumes.iter().find_map(|v| v["secret"]["secretName"].as_str())?;
    let secret = cluster.find(&kinds::SECRET, namespace, name)?;
    let data: k8s_openapi::ByteString = serde_json::from_value(secret["data"]["merge.cpf"].clone()).ok()?;
    let cpf = String::from_utf8(data.0).ok()?;
    cpf.lines().find_map(|l| l.strip_prefix("PasswordHash=")).map(str::to_owned)
}
