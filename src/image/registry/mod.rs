//! MicroK8s' built-in registry over the OCI distribution API, at the node port of this host.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Name;
use crate::{
    error::{Error, Result, one_line},
    host::{Host, HttpAnswer, HttpContent, HttpRequest},
};

mod list;
mod refusal;
mod upload;

pub use list::{Listed, list, others_of};
pub(super) use refusal::refused;
pub use upload::push;

/// Where the registry is asked. `localhost` may also be an IPv6 address, at which a node port does not listen.
pub const ADDRESS: &str = "http://127.0.0.1:32000";

/// A question that needs no layer is answered at once, or something is broken.
const ANSWERS_WITHIN: Duration = Duration::from_secs(20);

/// What a manifest may be. The order does not matter; a registry converts nothing that is named here.
pub(crate) const MANIFESTS: &str = "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, \
                         application/vnd.docker.distribution.manifest.v2+json, \
                         application/vnd.docker.distribution.manifest.list.v2+json";

/// An image as the registry has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stored {
    /// Its digest.
    pub digest: String,
    /// The bytes of its layers and its configuration; none of an index, which holds several images.
    pub size: Option<u64>,
}

/// The image of that name; none when the registry has none.
///
/// # Errors
/// The registry does not answer (transient), or refuses.
pub fn stored(host: &dyn Host, name: &Name) -> Result<Option<Stored>> {
    let path = format!("/v2/{}/manifests/{}", name.repository, name.reference());
    let answer = ask(host, "GET", &path, vec![("accept", MANIFESTS.to_owned())])?;
    match answer.status {
        200 => {}
        404 => return Ok(None),
        _ => return Err(refused(&format!("the registry does not tell of {name}"), &answer)),
    }
    let digest = match answer.header("docker-content-digest") {
        Some(digest) => digest.to_owned(),
        None => format!("sha256:{}", crate::host::digest::sha256(&answer.body)),
    };
    Ok(Some(Stored { digest, size: size_of(&answer.body) }))
}

/// Removes an image by its digest, with all tags that it has in the repository.
///
/// # Errors
/// The registry does not answer (transient), or refuses.
pub fn remove(host: &dyn Host, repository: &str, digest: &str) -> Result<()> {
    let answer = ask(host, "DELETE", &format!("/v2/{repository}/manifests/{digest}"), Vec::new())?;
    match answer.status {
        202 | 404 => Ok(()),
        405 => Err(refused("the registry does not allow that images are removed", &answer).hint(
            "allow it with: microk8s kubectl --namespace container-registry set env deployment/registry \
             REGISTRY_STORAGE_DELETE_ENABLED=yes; then run the same command again",
        )),
        _ => Err(refused(&format!("the registry does not remove {repository}@{digest}"), &answer)),
    }
}

/// The bytes that a manifest names.
fn size_of(manifest: &[u8]) -> Option<u64> {
    let manifest: Value = serde_json::from_slice(manifest).ok()?;
    let layers = manifest["layers"].as_array()?;
    layers.iter().chain([&manifest["config"]]).map(|part| part["size"].as_u64()).sum()
}

/// A question without a body.
///
/// # Errors
/// The registry does not answer (transient).
pub(crate) fn ask(
    host: &dyn Host,
    method: &'static str,
    path: &str,
    headers: Vec<(&'static str, String)>,
) -> Result<HttpAnswer> {
    let (url, body) = (format!("{ADDRESS}{path}"), HttpContent::Bytes(Vec::new()));
    let answer = host.http(HttpRequest { method, url, headers, body, within: ANSWERS_WITHIN });
    answer.map_err(|e| Error { transient: true, ..Error::failed("the registry does not answer") }.because(one_line(&e)))
}
