//! Kinds of objects that somebody else taught the cluster, and their objects: custom resources go with MicroK8s as everything else in it.

use serde_json::Value;

use super::Known;
use crate::{
    error::Result,
    host::Host,
    kube::{self, Kind, state},
};

/// API groups of kinds that MicroK8s, MetalLB and Longhorn bring. What people tell MetalLB is looked at as objects of known kinds.
const BROUGHT: &[&str] = &["crd.projectcalico.org", "policy.networking.k8s.io", "metallb.io", "longhorn.io"];

/// API groups of the kinds that addons bring: addon, its own namespace, and how the group ends.
const OF_ADDONS: &[(&str, &str, &str)] = &[
    ("cert-manager", "cert-manager", "cert-manager.io"),
    ("observability", "observability", "monitoring.coreos.com"),
    ("prometheus", "monitoring", "monitoring.coreos.com"),
    ("ingress", "ingress", "traefik.io"),
];

/// Objects of custom kinds that are somebody else's, and the kinds of somebody else's that have none, each with its place.
///
/// # Errors
/// The cluster cannot be asked.
pub(super) fn read(host: &dyn Host, known: &Known) -> Result<Vec<(String, String)>> {
    let mut found = Vec::new();
    for definition in host.list(&kube::CUSTOM_RESOURCE_DEFINITION, None, "")? {
        // A definition is called PLURAL.GROUP.
        let group = state::name(&definition).split_once('.').map_or("", |(_, group)| group);
        let is_in = |end: &str| group == end || group.ends_with(&format!(".{end}"));
        let is_nobodys = state::going(&definition) || kube::is_ours(&definition) || BROUGHT.iter().any(|g| is_in(g));
        if is_nobodys {
            continue;
        }
        let addon = OF_ADDONS.iter().find(|(addon, _, end)| is_in(end) && known.addons.contains(*addon));
        let of_the_addon = |object: &Value| addon.is_some_and(|(_, own, _)| object["metadata"]["namespace"] == **own);
        let kind = kind(&definition);
        let mut objects = kind.map(|kind| host.list(kind, None, "")).transpose()?.unwrap_or_default();
        objects.retain(|object| {
            let is_owned = object["metadata"]["ownerReferences"].as_array().is_some_and(|owners| !owners.is_empty());
            !state::going(object) && !kube::is_ours(object) && !is_owned && !of_the_addon(object)
        });
        if objects.is_empty() && addon.is_none() {
            found.push((CLUSTER.to_owned(), format!("kind {}", state::name(&definition))));
        }
        let called = kind.map_or("object", |kind| kind.kind);
        found.extend(objects.iter().map(|object| {
            let place = object["metadata"]["namespace"].as_str().map(|name| format!("namespace {name}"));
            (place.unwrap_or_else(|| CLUSTER.to_owned()), format!("{called} {}", state::name(object)))
        }));
    }
    Ok(found)
}

/// The place of what is in no namespace.
const CLUSTER: &str = "the cluster";

/// The kind that a definition makes, in a version that the server serves: each of these has all objects.
fn kind(definition: &Value) -> Option<&'static Kind> {
    let spec = &definition["spec"];
    let version = spec["versions"].as_array()?.iter().find(|version| version["served"] == true)?["name"].as_str()?;
    let names = &spec["names"];
    Some(kube::kind_named(spec["group"].as_str()?, version, names["kind"].as_str()?, names["plural"].as_str()?))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn objects_are_asked_for_in_a_version_that_is_served() {
        let version =
            |name: &str, served: bool, storage: bool| json!({"name": name, "served": served, "storage": storage});
        let of = |versions: Value| {
            kind(&json!({"spec": {"group": "theirs.example", "names": {"kind": "Widget", "plural": "widgets"}, "versions": versions}}))
                .map(|kind| kind.version)
        };
        assert_eq!(of(json!([version("v1", true, true)])), Some("v1"));
        assert_eq!(of(json!([version("v1", false, true), version("v2", true, false)])), Some("v2"));
        assert_eq!(of(json!([version("v1", false, true)])), None);
    }
}
