//! Everything that is in Longhorn's namespace, of whatever kind: the server itself tells which kinds it has. It shows what is left in a namespace
//! that is gone, too; and nothing in it can be changed, so that objects with finalizers wait for ever.

use serde_json::{Value, json};

use super::state::NAMESPACE;
use crate::{
    engine::step::Act,
    error::{Error, Result},
    host::Host,
    kube::{self, Kind, state},
};

/// The label of every object of Longhorn's that we applied.
pub fn label() -> String {
    format!("{}/part", kube::MANAGER)
}

/// What has no part in it: events end by themselves, and nobody can delete what is only computed.
const PASSING: &[&str] = &["events"];

/// All objects in the namespace, with their kinds.
///
/// # Errors
/// The cluster does not answer, or a part of it does not: what cannot be asked is not empty.
pub fn all(host: &dyn Host) -> Result<Vec<(&'static Kind, Value)>> {
    let mut found = Vec::new();
    for kind in kinds(host)? {
        found.extend(host.list(kind, Some(NAMESPACE), "")?.into_iter().map(|object| (kind, object)));
    }
    // Each namespace is given these, and takes them along.
    found.retain(|(kind, object)| match (**kind == kube::CONFIG_MAP, **kind == kube::SERVICE_ACCOUNT) {
        (true, _) => state::name(object) != "kube-root-ca.crt",
        (_, true) => state::name(object) != "default",
        _ => true,
    });
    Ok(found)
}

/// What is left in a namespace that is gone.
///
/// # Errors
/// As [`all`].
pub fn orphans(host: &dyn Host) -> Result<Vec<(&'static Kind, Value)>> {
    if host.get(&kube::NAMESPACE, None, NAMESPACE)?.is_some() { Ok(Vec::new()) } else { all(host) }
}

/// Creates the namespace again, so that what is left in it can be deleted.
pub fn again() -> Act {
    Act::Apply(Box::new(json!({"apiVersion": "v1", "kind": "Namespace",
        "metadata": {"name": NAMESPACE, "labels": {label(): "longhorn"}}})))
}

/// Names of objects for people, not all of many.
pub fn names(objects: &[(&'static Kind, Value)]) -> String {
    const SHOWN: usize = 8;
    let shown: Vec<String> =
        objects.iter().take(SHOWN).map(|(kind, object)| format!("{} {}", kind.kind, state::name(object))).collect();
    let more = objects.len().saturating_sub(SHOWN);
    if more == 0 { shown.join(", ") } else { format!("{} and {more} more", shown.join(", ")) }
}

/// The kinds of objects in a namespace that can be listed and deleted, each once.
fn kinds(host: &dyn Host) -> Result<Vec<&'static Kind>> {
    let mut versions = vec![(String::new(), "v1".to_owned())];
    let groups = answer(host, "/apis")?;
    for group in groups["groups"].as_array().into_iter().flatten() {
        let name = group["name"].as_str().unwrap_or_default();
        let preferred = group["preferredVersion"]["version"].as_str();
        let all = group["versions"].as_array().into_iter().flatten().filter_map(|v| v["version"].as_str());
        let ordered = preferred.into_iter().chain(all.filter(|v| Some(*v) != preferred));
        versions.extend(ordered.map(|version| (name.to_owned(), version.to_owned())));
    }
    let mut found: Vec<&'static Kind> = Vec::new();
    for (group, version) in versions {
        let path = if group.is_empty() { format!("/api/{version}") } else { format!("/apis/{group}/{version}") };
        let resources = answer(host, &path)?;
        for resource in resources["resources"].as_array().into_iter().flatten() {
            let can = |verb: &str| resource["verbs"].as_array().is_some_and(|verbs| verbs.iter().any(|v| v == verb));
            let plural = resource["name"].as_str().unwrap_or_default();
            let known = found.iter().any(|kind| kind.group == group && kind.plural == plural);
            if resource["namespaced"] == true && can("list") && can("delete") && !known && !PASSING.contains(&plural) {
                let kind = resource["kind"].as_str().unwrap_or_default();
                found.push(kube::kind_named(&group, &version, kind, plural));
            }
        }
    }
    Ok(found)
}

fn answer(host: &dyn Host, path: &str) -> Result<Value> {
    // A kind that is being taken away is named by one list and missing in the next: the next look has it.
    let broken =
        "when it stays so, a service behind the API is broken: `microk8s kubectl get apiservices`; mend or delete it";
    let text = host.api_text(path).map_err(|e| Error { transient: true, ..e }.hint(broken))?;
    serde_json::from_str(&text)
        .map_err(|e| Error::transient("the API server's list of kinds cannot be read").because(format!("{path}: {e}")))
}
