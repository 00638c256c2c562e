//! What objects say of themselves: ready or not, and why not. Pure functions over what the API server returned.

use serde_json::Value;

/// A condition's status (`True`, `False`, `Unknown`), and its message.
pub fn condition<'a>(object: &'a Value, kind: &str) -> Option<(&'a str, &'a str)> {
    let found = object["status"]["conditions"].as_array()?.iter().find(|c| c["type"] == kind)?;
    Some((found["status"].as_str().unwrap_or(""), found["message"].as_str().unwrap_or("")))
}

/// Whether a condition is true.
pub fn is(object: &Value, kind: &str) -> bool {
    condition(object, kind).is_some_and(|(status, _)| status == "True")
}

/// The name of an object.
pub fn name(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap_or("?")
}

/// Whether somebody already asked for its deletion.
pub fn going(object: &Value) -> bool {
    object["metadata"]["deletionTimestamp"].is_string()
}

/// Whether a controller has seen the newest spec: before, its status tells of an older one.
fn current(object: &Value) -> bool {
    object["status"]["observedGeneration"].as_i64() >= object["metadata"]["generation"].as_i64()
}

/// Whether all of a Deployment's, StatefulSet's or DaemonSet's pods are there, of the newest template, and ready.
pub fn rolled_out(workload: &Value) -> bool {
    let status = |field: &str| workload["status"][field].as_i64().unwrap_or(0);
    if !current(workload) {
        return false;
    }
    if workload["kind"] == "DaemonSet" {
        // A DaemonSet that has not counted its nodes yet wants nobody, and would look complete.
        let wanted = status("desiredNumberScheduled");
        return wanted > 0 && status("numberReady") >= wanted && status("updatedNumberScheduled") >= wanted;
    }
    let wanted = workload["spec"]["replicas"].as_i64().unwrap_or(1);
    status("readyReplicas") >= wanted && status("updatedReplicas") >= wanted && status("replicas") == wanted
}

/// The label selector of a workload, in the API's query form.
pub fn selector(workload: &Value) -> String {
    let labels = workload["spec"]["selector"]["matchLabels"].as_object();
    let pairs = labels.into_iter().flatten().map(|(k, v)| format!("{k}={}", v.as_str().unwrap_or("")));
    pairs.collect::<Vec<_>>().join(",")
}

/// Why a pod is not ready, with its name; none when it is.
pub fn pod_trouble(pod: &Value) -> Option<String> {
    pod_state(pod).map(|why| format!("pod {}: {why}", name(pod)))
}

/// Why a pod is not ready, in its own words; none when it is.
pub fn pod_state(pod: &Value) -> Option<String> {
    if is(pod, "Ready") && !going(pod) {
        return None;
    }
    if going(pod) {
        return Some("stopping".to_owned());
    }
    let statuses = |field: &str| pod["status"][field].as_array().cloned().unwrap_or_default();
    for container in statuses("initContainerStatuses").iter().chain(&statuses("containerStatuses")) {
        let waiting = &container["state"]["waiting"];
        if let Some(reason) =
            waiting["reason"].as_str().filter(|r| !matches!(*r, "PodInitializing" | "ContainerCreating"))
        {
            let message = waiting["message"].as_str().unwrap_or("");
            return Some(format!("{reason}{}{message}", if message.is_empty() { "" } else { ": " }));
        }
        let ended = &container["state"]["terminated"];
        if let Some(code) = ended["exitCode"].as_i64().filter(|code| *code != 0) {
            return Some(format!(
                "container {} ended with exit code {code}",
                container["name"].as_str().unwrap_or("?")
            ));
        }
    }
    if let Some(("False", message)) = condition(pod, "PodScheduled") {
        return Some(format!("not scheduled: {message}"));
    }
    if statuses("containerStatuses").iter().any(|c| c["state"]["running"].is_object()) {
        return Some("started, not ready yet".to_owned());
    }
    Some(pod["status"]["phase"].as_str().unwrap_or("being made").to_lowercase())
}

/// Whether a pod has a node and no container yet: what is in its way then, only an event tells.
pub fn is_being_made(pod: &Value) -> bool {
    let told = |container: &Value| {
        let waits = container["state"]["waiting"]["reason"].as_str();
        !waits.is_some_and(|reason| matches!(reason, "PodInitializing" | "ContainerCreating"))
    };
    let statuses = pod["status"]["containerStatuses"].as_array();
    pod["status"]["phase"] == "Pending"
        && condition(pod, "PodScheduled").is_some_and(|(status, _)| status == "True")
        && !statuses.into_iter().flatten().any(told)
}

/// Whether a pod runs what the workload asks for now: one of an older template is about to go, and what ails it says nothing.
pub fn of_template(pod: &Value, workload: &Value) -> bool {
    let images = |spec: &Value| -> Vec<(Value, Value)> {
        let containers = spec["containers"].as_array();
        containers.into_iter().flatten().map(|c| (c["name"].clone(), c["image"].clone())).collect()
    };
    images(&pod["spec"]) == images(&workload["spec"]["template"]["spec"])
}

/// The addresses that a LoadBalancer service got.
pub fn addresses(service: &Value) -> Vec<String> {
    let ingress = service["status"]["loadBalancer"]["ingress"].as_array();
    ingress.into_iter().flatten().filter_map(|i| i["ip"].as_str().map(str::to_owned)).collect()
}

/// Paths at which `now` lacks what `want` asks for. Only what `want` names is compared: servers add defaults.
pub fn differences(want: &Value, now: &Value) -> Vec<String> {
    let mut found = Vec::new();
    walk(want, now, "", &mut found);
    found
}

fn walk(want: &Value, now: &Value, path: &str, found: &mut Vec<String>) {
    match (want, now) {
        (Value::Object(want), _) => {
            for (key, value) in want {
                let below = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                walk(value, &now[key], &below, found);
            }
        }
        (Value::Array(want), Value::Array(now)) if want.iter().all(|w| w["name"].is_string()) && !want.is_empty() => {
            for (at, item) in want.iter().enumerate() {
                let same_name: Vec<&Value> = now.iter().filter(|n| n["name"] == item["name"]).collect();
                let other = match same_name.as_slice() {
                    [one] => one,
                    _ => now.get(at).unwrap_or(&Value::Null),
                };
                walk(item, other, &format!("{path}[{}]", item["name"].as_str().unwrap_or("?")), found);
            }
        }
        (Value::Array(want), Value::Array(now)) if want.len() == now.len() => {
            for (at, (w, n)) in want.iter().zip(now).enumerate() {
                walk(w, n, &format!("{path}[{at}]"), found);
            }
        }
        (want, now) => {
            if want != now && !same_quantity(want, now) {
                found.push(path.to_owned());
            }
        }
    }
}

/// The fields of what an object asks for that others than us set, by the API server's own record. Controllers set only the status, and
/// that counts as nobody's change.
pub fn changed_by_others(object: &Value) -> Vec<String> {
    let entries = object["metadata"]["managedFields"].as_array();
    let others = entries.into_iter().flatten().filter(|f| f["manager"] != super::MANAGER);
    let mut found: Vec<String> = Vec::new();
    for entry in others {
        let manager = entry["manager"].as_str().unwrap_or("somebody");
        for field in ["spec", "data", "stringData"] {
            let named = entry["fieldsV1"][format!("f:{field}")].as_object();
            let fields = named.into_iter().flat_map(|fields| fields.keys());
            found.extend(fields.map(|f| format!("{field}.{} by {manager}", f.trim_start_matches("f:"))));
        }
    }
    found
}

/// `1Gi` and `1024Mi` are the same quantity; the server may return either.
fn same_quantity(a: &Value, b: &Value) -> bool {
    match (a.as_str().and_then(quantity), b.as_str().and_then(quantity)) {
        (Some(a), Some(b)) => (a - b).abs() < f64::EPSILON,
        _ => false,
    }
}

/// A Kubernetes quantity as a number; none when it is none.
pub fn quantity(text: &str) -> Option<f64> {
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let factor = match unit {
        "" => 1.0,
        "m" => 1e-3,
        "k" => 1e3,
        "M" => 1e6,
        "G" => 1e9,
        "T" => 1e12,
        "Ki" => 1024.0,
        "Mi" => 1024.0 * 1024.0,
        "Gi" => 1024.0 * 1024.0 * 1024.0,
        "Ti" => 1024.0 * 1024.0 * 1024.0 * 1024.0,
        _ => return None,
    };
    number.parse::<f64>().ok().map(|n| n * factor)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_daemon_set_that_wants_nobody_is_not_rolled_out() {
        let mut set = json!({"kind": "DaemonSet", "metadata": {"generation": 1}, "status": {"observedGeneration": 1, "desiredNumberScheduled": 0, "numberReady": 0}});
        assert!(!rolled_out(&set));
        set["status"] = json!({"observedGeneration": 1, "desiredNumberScheduled": 1, "numberReady": 1, "updatedNumberScheduled": 1});
        assert!(rolled_out(&set));
    }

    #[test]
    fn an_old_status_does_not_count() {
        let set = json!({"kind": "StatefulSet", "metadata": {"generation": 2}, "spec": {"replicas": 2},
            "status": {"observedGeneration": 1, "replicas": 2, "readyReplicas": 2, "updatedReplicas": 2}});
        assert!(!rolled_out(&set));
    }

    #[test]
    fn a_pod_says_why_it_is_not_ready() {
        let pod = json!({"metadata": {"name": "data-0"}, "status": {"containerStatuses": [
            {"name": "iris", "state": {"waiting": {"reason": "ImagePullBackOff", "message": "Back-off pulling image \"x\""}}}]}});
        assert_eq!(pod_trouble(&pod).as_deref(), Some("pod data-0: ImagePullBackOff: Back-off pulling image \"x\""));
        let ready =
            json!({"metadata": {"name": "data-0"}, "status": {"conditions": [{"type": "Ready", "status": "True"}]}});
        assert_eq!(pod_trouble(&ready), None);
    }

    #[test]
    fn only_a_pod_without_a_container_is_told_of_by_events() {
        let pod = |phase: &str, scheduled: &str, waiting: &str| {
            let state = json!({"waiting": {"reason": waiting}});
            json!({"status": {"phase": phase, "containerStatuses": [{"name": "iris", "state": state}],
                "conditions": [{"type": "PodScheduled", "status": scheduled}]}})
        };
        assert!(is_being_made(&pod("Pending", "True", "ContainerCreating")));
        assert!(!is_being_made(&pod("Pending", "True", "ImagePullBackOff")));
        assert!(!is_being_made(&pod("Pending", "False", "ContainerCreating")));
        assert!(!is_being_made(&pod("Running", "True", "ContainerCreating")));
    }

    #[test]
    fn differences_name_the_fields() {
        let want = json!({"spec": {"replicas": 2, "c": [{"name": "iris", "image": "a"}], "s": "1Gi"}});
        let now = json!({"spec": {"replicas": 2, "c": [{"name": "side", "image": "x"}, {"name": "iris", "image": "b", "more": 1}], "s": "1024Mi"}});
        assert_eq!(differences(&want, &now), ["spec.c[iris].image"]);
        assert_eq!(differences(&want, &json!({})), ["spec.c", "spec.replicas", "spec.s"]);
    }

    #[test]
    fn env_with_two_of_a_name_is_compared_by_place() {
        let want = json!({"ports": [{"name": "a", "port": 1}, {"name": "a", "port": 2}]});
        assert!(differences(&want, &want).is_empty());
    }
}
