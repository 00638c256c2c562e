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
        let group = definition["spec"]["group"].as_str().unwrap_or_default();
        let is_in = |end: &str| group == end || group.ends_with(&format!(".{end}"));
        let is_nobodys = state::going(&definition) || kube::is_ours(&definition) || BROUGHT.iter().any(|g| is_in(g));
        let Some(kind) = kind(&definition).filter(|_| !is_nobodys) else { continue };
        let addon = OF_ADDONS.iter().find(|(addon, _, end)| is_in(end) && known.addons.contains(*addon));
        let of_the_addon = |object: &Value| addon.is_some_and(|(_, own, _)| object["metadata"]["namespace"] == **own);
        let mut objects = host.list(kind, None, "")?;
        objects.retain(|object| {
            let is_owned = object["metadata"]["ownerReferences"].as_array().is_some_and(|owners| !owners.is_empty());
            !state::going(object) && !kube::is_ours(object) && !is_owned && !of_the_addon(object)
        });
        if objects.is_empty() && addon.is_none() {
            found.push((CLUSTER.to_owned(), format!("kind {}", state::name(&definition))));
        }
        found.extend(objects.iter().map(|object| {
            let place = object["metadata"]["namespace"].as_str().map(|name| format!("namespace {name}"));
            (place.unwrap_or_else(|| CLUSTER.to_owned()), format!("{} {}", kind.kind, state::name(object)))
        }));
    }
    Ok(found)
}

/// The place of what is in no namespace.
const CLUSTER: &str = "the cluster";

/// The kind that a definition makes, in the version in which its objects are stored.
fn kind(definition: &Value) -> Option<&'static Kind> {
    let spec = &definition["spec"];
    let version = spec["versions"].as_array()?.iter().find(|version| version["storage"] == true)?["name"].as_str()?;
    let names = &spec["names"];
    Some(kube::kind_named(spec["group"].as_str()?, version, names["kind"].as_str()?, names["plural"].as_str()?))
}
