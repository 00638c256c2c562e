//! Server-side apply, as far as the product's objects need it: what is named is set, what was named before and is not now is removed.

use serde_json::{Value, json};

/// Members of a list that are told apart by a name.
fn named(list: &[Value]) -> bool {
    !list.is_empty() && list.iter().all(|item| item["name"].is_string())
}

/// Sets in `now` what `want` names.
pub fn merge(now: &mut Value, want: &Value) {
    match (now, want) {
        (Value::Object(now), Value::Object(want)) => {
            for (field, value) in want {
                merge(now.entry(field.clone()).or_insert(Value::Null), value);
            }
        }
        (Value::Array(now), Value::Array(want)) if named(want) && named(now) => {
            for item in want {
                match now.iter_mut().find(|n| n["name"] == item["name"]) {
                    Some(same) => merge(same, item),
                    None => now.push(item.clone()),
                }
            }
        }
        (now @ Value::Null, Value::Object(want)) => {
            *now = json!({});
            want.iter().for_each(|(field, value)| merge(&mut now[field], value));
        }
        (now, want) => now.clone_from(want),
    }
}

/// Removes what was applied before and is not any more.
pub fn prune(now: &mut Value, before: &Value, want: &Value) {
    match (now, before) {
        (Value::Object(now), Value::Object(before)) => {
            for (field, old) in before {
                match want.get(field) {
                    None => _ = now.remove(field),
                    Some(want) => {
                        if let Some(now) = now.get_mut(field) {
                            prune(now, old, want);
                        }
                    }
                }
            }
        }
        (Value::Array(now), Value::Array(before)) if named(before) => {
            let wanted = |name: &Value| want.as_array().into_iter().flatten().find(|w| w["name"] == *name);
            now.retain(|item| wanted(&item["name"]).is_some() || !before.iter().any(|b| b["name"] == item["name"]));
            for old in before {
                if let (Some(want), Some(item)) =
                    (wanted(&old["name"]), now.iter_mut().find(|n| n["name"] == old["name"]))
                {
                    prune(item, old, want);
                }
            }
        }
        _ => {}
    }
}

/// What the server adds by itself.
pub fn defaults(object: &mut Value, is_new: bool, serial: u64, now: std::time::Duration) {
    let kind = object["kind"].as_str().unwrap_or_default().to_owned();
    let set = |object: &mut Value, field: &str, value: Value| {
        if object[field].is_null() {
            object[field] = value;
        }
    };
    if is_new {
        let seconds = i64::try_from(super::world::EPOCH + now.as_secs()).expect("a time");
        let time = jiff::Timestamp::from_second(seconds).expect("a time");
        object["metadata"]["creationTimestamp"] = json!(time.to_string());
    }
    let spec = &mut object["spec"];
    match kind.as_str() {
        "Service" => {
            set(spec, "type", json!("ClusterIP"));
            set(spec, "sessionAffinity", json!("None"));
            set(spec, "clusterIP", json!(format!("10.152.183.{}", 20 + serial % 200)));
            set(object, "status", json!({"loadBalancer": {}}));
        }
        "StatefulSet" => {
            set(spec, "replicas", json!(1));
            set(spec, "podManagementPolicy", json!("OrderedReady"));
            set(spec, "revisionHistoryLimit", json!(10));
            for template in spec["volumeClaimTemplates"].as_array_mut().into_iter().flatten() {
                set(&mut template["spec"], "volumeMode", json!("Filesystem"));
            }
        }
        "Deployment" => set(spec, "replicas", json!(1)),
        "PersistentVolumeClaim" => {
            set(spec, "volumeMode", json!("Filesystem"));
            set(object, "status", json!({"phase": "Pending"}));
        }
        "Namespace" => set(object, "status", json!({"phase": "Active"})),
        "IPAddressPool" => set(spec, "autoAssign", json!(true)),
        _ => {}
    }
}

/// The field that a change must leave as it is, and does not.
pub fn immutable(was: &Value, new: &Value) -> Option<&'static str> {
    let fields: &[&'static str] = match was["kind"].as_str() {
        Some("StatefulSet") => &["serviceName", "selector", "volumeClaimTemplates", "podManagementPolicy"],
        Some("Deployment" | "DaemonSet") => &["selector"],
        Some("PersistentVolumeClaim") => &["accessModes", "storageClassName", "resources"],
        _ => &[],
    };
    fields.iter().copied().find(|field| was["spec"][field] != new["spec"][field])
}

/// Whether an apply of this object manages any field: the server writes nobody down who manages none.
pub fn has_fields(object: &Value) -> bool {
    let identity = ["apiVersion", "kind", "metadata"];
    let more = object.as_object().is_some_and(|o| o.keys().any(|k| !identity.contains(&k.as_str())));
    more || object["metadata"].as_object().is_some_and(|m| m.keys().any(|k| k != "name" && k != "namespace"))
}

/// Writes down who manages fields: ours by server-side apply, everybody else's by an update.
pub fn managed(object: &mut Value, manager: &str) {
    let operation = if manager == iris_mk8s::kube::MANAGER { "Apply" } else { "Update" };
    let entry = json!({"manager": manager, "operation": operation});
    let fields = &mut object["metadata"]["managedFields"];
    if fields.is_null() {
        *fields = json!([]);
    }
    if let Some(list) = fields.as_array_mut().filter(|list| !list.contains(&entry)) {
        list.push(entry);
    }
}
