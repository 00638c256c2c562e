//! The modelled controllers of Deployments, DaemonSets and StatefulSets.

use std::{sync::Arc, time::Duration};

use iris_mk8s::kube::{self as kinds, Kind, state};
use serde_json::{Value, json};

use super::cluster::{Cluster, Key, Life, key, key_of, stamp};

/// Brings each workload's pods one move nearer to what it asks for.
pub fn reconcile(cluster: &mut Cluster, now: Duration) {
    for kind in [&kinds::DEPLOYMENT, &kinds::DAEMON_SET, &kinds::STATEFUL_SET] {
        for workload in cluster.shared(kind) {
            one(cluster, kind, &workload, now);
        }
    }
}

fn text<'a>(object: &'a Value, field: &str) -> &'a str {
    object["metadata"][field].as_str().unwrap_or_default()
}

/// The pods that a workload owns.
fn owned(cluster: &Cluster, workload: &Value) -> Vec<Arc<Value>> {
    let owner = |pod: &Value| {
        let owner = &pod["metadata"]["ownerReferences"][0];
        owner["kind"] == workload["kind"]
            && owner["name"] == workload["metadata"]["name"]
            && text(pod, "namespace") == text(workload, "namespace")
    };
    cluster.shared(&kinds::POD).into_iter().filter(|pod| owner(pod)).collect()
}

fn life<'a>(cluster: &'a Cluster, pod: &Value) -> Option<&'a Life> {
    cluster.pods.get(&(text(pod, "namespace").to_owned(), state::name(pod).to_owned()))
}

fn one(cluster: &mut Cluster, kind: &'static Kind, workload: &Value, now: Duration) {
    let (_, workload_key) = key_of(workload);
    let pods = owned(cluster, workload);
    let stays: Vec<&Value> = pods.iter().map(|p| &**p).filter(|p| !state::going(p)).collect();
    if state::going(workload) {
        if pods.is_empty() {
            cluster.drop_object(&workload_key);
        }
        stays.into_iter().for_each(|pod| cluster.delete(&key_of(pod).1, now));
        return;
    }
    let template = &workload["spec"]["template"];
    let (new, old): (Vec<&Value>, Vec<&Value>) = stays.iter().partition(|p| p["template"] == *template);
    let ready =
        |cluster: &Cluster, pods: &[&Value]| pods.iter().filter(|p| life(cluster, p) == Some(&Life::Ready)).count();
    let wanted = if *kind == kinds::DAEMON_SET {
        usize::from(cluster.of(&kinds::NODE).next().is_some())
    } else {
        usize::try_from(workload["spec"]["replicas"].as_u64().unwrap_or(1)).expect("a small number")
    };
    // Nothing new comes into a namespace that ends.
    let ends = cluster.find(&kinds::NAMESPACE, "", text(workload, "namespace")).is_none_or(state::going);
    if ends {
        // The namespace's own controller ends those that are there.
    } else if *kind == kinds::STATEFUL_SET {
        ordered(cluster, workload, wanted, &pods, &old, now);
    } else {
        for _ in new.len()..wanted {
            // The old pod of a DaemonSet goes before the new one comes: they would share the node's ports.
            if *kind == kinds::DAEMON_SET && !pods.is_empty() {
                break;
            }
            let number = cluster.number();
            make(cluster, workload, &format!("{}-{number:05x}", state::name(workload)));
        }
        let surplus = new.iter().skip(wanted);
        let replaced = old.iter().filter(|_| *kind == kinds::DAEMON_SET || ready(cluster, &new) >= wanted);
        let gone: Vec<Key> = surplus.chain(replaced).map(|p| key_of(p).1).collect();
        gone.iter().for_each(|pod| cluster.delete(pod, now));
    }
    let ready_pods = ready(cluster, &stays);
    let generation = workload["metadata"]["generation"].clone();
    let status = if *kind == kinds::DAEMON_SET {
        json!({"observedGeneration": generation, "desiredNumberScheduled": wanted, "currentNumberScheduled": stays.len(),
            "updatedNumberScheduled": new.len(), "numberReady": ready_pods})
    } else {
        let mut status = json!({"observedGeneration": generation, "replicas": stays.len()});
        for (field, count) in
            [("updatedReplicas", new.len()), ("readyReplicas", ready_pods), ("availableReplicas", ready_pods)]
        {
            // The server leaves out what is zero.
            if count > 0 {
                status[field] = json!(count);
            }
        }
        status
    };
    cluster.change(&workload_key, |w| w["status"] = status);
}

/// A StatefulSet's pods have fixed names and claims; a new template replaces one pod at a time, the last one first.
fn ordered(cluster: &mut Cluster, set: &Value, wanted: usize, pods: &[Arc<Value>], old: &[&Value], now: Duration) {
    let parallel = set["spec"]["podManagementPolicy"] == "Parallel";
    let namespace = text(set, "namespace");
    for n in 0..wanted {
        let name = format!("{}-{n}", state::name(set));
        match pods.iter().find(|p| state::name(p) == name) {
            None => {
                claims(cluster, set, n, now);
                make(cluster, set, &name);
                if !parallel {
                    break;
                }
            }
            Some(pod) if !parallel && life(cluster, pod) != Some(&Life::Ready) => break,
            Some(_) => {}
        }
    }
    let number = |pod: &Value| state::name(pod).rsplit('-').next().and_then(|n| n.parse::<usize>().ok()).unwrap_or(0);
    for pod in pods.iter().filter(|p| number(p) >= wanted && !state::going(p)) {
        cluster.delete(&key_of(pod).1, now);
    }
    let steady = pods.iter().all(|p| {
        !state::going(p)
            && (life(cluster, p) == Some(&Life::Ready) || old.iter().any(|o| state::name(o) == state::name(p)))
    });
    if let Some(last) = old.iter().filter(|p| number(p) < wanted).max_by_key(|p| number(p)).filter(|_| steady) {
        cluster.delete(&key(&kinds::POD, namespace, state::name(last)), now);
    }
}

/// The claims of the n-th pod, as far as they are missing.
fn claims(cluster: &mut Cluster, set: &Value, n: usize, now: Duration) {
    for template in set["spec"]["volumeClaimTemplates"].as_array().into_iter().flatten() {
        let name = format!("{}-{}-{n}", state::name(template), state::name(set));
        let namespace = text(set, "namespace");
        if cluster.find(&kinds::PERSISTENT_VOLUME_CLAIM, namespace, &name).is_none() {
            cluster.put(json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim",
                "metadata": {"name": name, "namespace": namespace, "labels": template["metadata"]["labels"],
                    "creationTimestamp": stamp(now)},
                "spec": template["spec"], "status": {"phase": "Pending"}}));
        }
    }
}

fn make(cluster: &mut Cluster, workload: &Value, name: &str) {
    let namespace = text(workload, "namespace");
    let mut volumes: Vec<Value> =
        workload["spec"]["template"]["spec"]["volumes"].as_array().cloned().unwrap_or_default();
    for template in workload["spec"]["volumeClaimTemplates"].as_array().into_iter().flatten() {
        let claim = format!("{}-{name}", state::name(template));
        volumes.push(json!({"name": state::name(template), "persistentVolumeClaim": {"claimName": claim}}));
    }
    let mut spec = workload["spec"]["template"]["spec"].clone();
    spec["volumes"] = Value::from(volumes);
    cluster.put(json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "labels": workload["spec"]["template"]["metadata"]["labels"],
            "ownerReferences": [{"kind": workload["kind"], "name": workload["metadata"]["name"]}]},
        "spec": spec,
        // Not a field of Kubernetes: which template the pod was made of.
        "template": workload["spec"]["template"],
        "status": {"phase": "Pending"}}));
    cluster.pods.insert((namespace.to_owned(), name.to_owned()), Life::Unscheduled(String::new()));
}
