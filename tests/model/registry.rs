//! MicroK8s' built-in registry, as far as the product asks it: whether it answers, and where a tag leads.

use iris_mk8s::{
    error::{Error, Result},
    host::HttpAnswer,
    kube::{self as kinds, state},
};

use super::world::World;

/// Answers a question; nobody does while its pod is not ready.
pub fn answer(world: &World, method: &str, url: &str) -> Result<HttpAnswer> {
    let path = url.strip_prefix("http://127.0.0.1:32000").unwrap_or_else(|| panic!("the modelled host knows no {url}"));
    let ready = |cluster: &&super::cluster::Cluster| {
        let of_registry = |pod: &&serde_json::Value| pod["metadata"]["namespace"] == "container-registry";
        cluster.running
            && cluster.of(&kinds::POD).filter(of_registry).any(|pod| state::is(pod, "Ready") && !state::going(pod))
    };
    let cluster = world.cluster.as_ref().filter(ready);
    let cluster =
        cluster.ok_or_else(|| Error::transient(format!("{url} does not answer")).because("Connection refused"))?;
    let status = |status| Ok(HttpAnswer { status, ..HttpAnswer::default() });
    match (method, path.split('/').collect::<Vec<_>>().as_slice()) {
        ("GET", ["", "v2", ""]) => status(200),
        ("GET", ["", "v2", repository @ .., "manifests", reference]) => {
            let repository = repository.join("/");
            let digest = if reference.starts_with("sha256:") {
                cluster.tags.values().find(|digest| digest == reference)
            } else {
                cluster.tags.get(&format!("{repository}:{reference}"))
            };
            let Some(digest) = digest else { return status(404) };
            let headers = vec![("docker-content-digest".to_owned(), digest.clone())];
            Ok(HttpAnswer { status: 200, headers, body: b"{}".to_vec() })
        }
        _ => panic!("the modelled registry knows no {method} {path}"),
    }
}

/// The digest of a number.
pub fn digest(number: u8) -> String {
    format!("sha256:{}", iris_mk8s::host::digest::sha256([number]))
}
