//! The modelled controllers: whenever they look, they bring the objects one move nearer to what their specs ask for.

use std::time::Duration;

use iris_mk8s::{
    host::CLIENT_CONFIG,
    kube::{self as kinds, state},
};
use serde_json::{Value, json};

use super::{
    cluster::{Cluster, Life, key, key_of},
    manifests, metallb, microk8s, network, pods, volumes, workloads,
    world::{Era, World, ms, s},
};

/// How long after the last of its pods the rest of a namespace goes.
const OTHERS_AFTER: Duration = s(45);

/// How long a namespace takes to end when it is empty.
const NAMESPACE_ENDS: Duration = s(3);

/// Controllers look.
pub fn tick(world: &mut World) {
    let now = world.now;
    let Some(cluster) = world.cluster.as_mut() else { return };
    cluster.due = None;
    if !cluster.answers(now) {
        cluster.look_at(cluster.api_at);
        return;
    }
    if !cluster.on_host {
        cluster.on_host = true;
        network::kubernetes_begins(world);
    }
    agent(world);
    let name = world.files.text("/proc/sys/kernel/hostname").trim().to_owned();
    let Some(cluster) = world.cluster.as_mut() else { return };
    let before: u64 = cluster.touched.values().sum();
    node(cluster, &name, now);
    super::longhorn::reconcile(world);
    let Some(cluster) = world.cluster.as_mut() else { return };
    volumes::reconcile(cluster, &mut world.files, now);
    workloads::reconcile(cluster, now);
    pods::reconcile(cluster, &mut world.files, now);
    namespaces(cluster, now);
    webhook(cluster, now);
    metallb::assign(cluster);
    if cluster.touched.values().sum::<u64>() != before {
        cluster.look_at(now + ms(100));
    }
    // Last, so that a pod that is ready has its mount.
    super::longhorn::sessions(world);
}

/// MicroK8s' cluster agent applies the launch configuration some seconds after the node is there: it enables dns.
fn agent(world: &mut World) {
    let Some(cluster) = world.cluster.as_mut() else { return };
    if cluster.launching
        || !microk8s::node_ready(cluster)
        || !world.files.has(microk8s::LAUNCH)
        || !world.files.has(CLIENT_CONFIG)
    {
        return;
    }
    cluster.launching = true;
    let group = world.start(&["cluster-agent", "enable", "dns"].map(str::to_owned), None);
    if let Some(process) = world.processes.get_mut(&group) {
        process.next = world.now + s(4);
    }
}

/// The node registers with the API, and is ready when its network is.
fn node(cluster: &mut Cluster, name: &str, now: Duration) {
    if cluster.of(&kinds::NODE).next().is_none() {
        if now < cluster.api_at + s(2) {
            cluster.look_at(cluster.api_at + s(2));
            return;
        }
        cluster.put(manifests::node(name, cluster.era));
        for object in manifests::calico(cluster.era) {
            let _ = cluster.apply(&object, "kubectl-client-side-apply", false, now);
        }
        return;
    }
    let network = cluster.pods.iter().find(|((_, pod), _)| pod.starts_with("calico-node"));
    let ready = match network.map(|(_, life)| life) {
        Some(Life::Ready) => true,
        Some(Life::Starting(at)) if now + s(3) >= *at => true,
        Some(Life::Starting(at)) => {
            let at = *at - s(3);
            cluster.look_at(at);
            false
        }
        _ => false,
    };
    let condition = if ready { "True" } else { "False" };
    let node = key(&kinds::NODE, "", name);
    cluster.change(&node, |n| n["status"]["conditions"][0]["status"] = json!(condition));
}

/// A namespace that goes takes everything in it along.
fn namespaces(cluster: &mut Cluster, now: Duration) {
    let going: Vec<Value> = cluster.of(&kinds::NAMESPACE).filter(|n| state::going(n)).cloned().collect();
    for namespace in going {
        let (_, key) = key_of(&namespace);
        let inside = cluster.inside(state::name(&namespace));
        if inside.is_empty() {
            let at = *cluster.ends.entry(key.clone()).or_insert(now + NAMESPACE_ENDS);
            if now >= at {
                cluster.drop_object(&key);
            } else {
                cluster.look_at(at);
            }
        }
        // Today's server begins with the pods, and looks again when they were given their time.
        let pods = cluster.era == Era::Today && inside.iter().any(|(plural, ..)| *plural == kinds::POD.plural);
        let next = *cluster.ends.get(&key).filter(|_| !inside.is_empty()).unwrap_or(&now);
        if pods {
            cluster.ends.insert(key.clone(), now + OTHERS_AFTER);
            cluster.look_at(now + OTHERS_AFTER);
        } else if now < next {
            cluster.look_at(next);
            continue;
        }
        for object in inside.into_iter().filter(|(plural, ..)| !pods || *plural == kinds::POD.plural) {
            if cluster.get(&object).is_some_and(|o| !state::going(o)) {
                cluster.delete(&object, now);
            }
        }
    }
    collect(cluster);
}

/// The collector lets go of what was deleted in the foreground, where it may change it.
fn collect(cluster: &mut Cluster) {
    let held = |object: &Value| object["metadata"]["finalizers"] == json!([super::cluster::FOREGROUND]);
    let ends: Vec<_> =
        cluster.all().filter(|(key, o)| held(o) && !cluster.is_orphan(key)).map(|(key, _)| key.clone()).collect();
    ends.iter().for_each(|key| cluster.drop_object(key));
}

/// The webhook answers some seconds after the controller behind it is ready: it makes its certificate first.
fn webhook(cluster: &mut Cluster, now: Duration) {
    let ready = cluster.find(&kinds::DEPLOYMENT, "metallb-system", "controller").is_some_and(state::rolled_out);
    cluster.webhook_at = ready.then(|| cluster.webhook_at.unwrap_or(now + s(2)));
}
