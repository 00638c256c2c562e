//! What `docker save` wrote before it knew OCI layouts, and what `podman save` and others still write: `manifest.json` names the configuration and the
//! layers of each image. There are no digests of compressed layers and no manifest for a registry: that is made here, as Docker would.

use std::io;

use serde::{Deserialize, Serialize};

use super::{
    Found, What, check_platform, damaged,
    store::{Compression, Place, Store},
};
use crate::{
    error::{Error, ExitCode, Result},
    host::digest::sha256,
    image::{Blob, Content, archive::open_blob, hashing::Hashing},
};

const MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const CONFIG: &str = "application/vnd.docker.container.image.v1+json";
const LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar";
const LAYER_GZIP: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";
const LAYER_ZSTD: &str = "application/vnd.docker.image.rootfs.diff.tar.zstd";

/// An image in `manifest.json`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Entry {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

/// What is read of an image's configuration.
#[derive(Deserialize)]
struct Config {
    architecture: String,
    os: String,
    rootfs: RootFs,
}

#[derive(Deserialize)]
struct RootFs {
    diff_ids: Vec<String>,
}

/// A manifest, its fields in Docker's order.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Manifest {
    schema_version: u8,
    media_type: &'static str,
    config: Part,
    layers: Vec<Part>,
}

#[derive(Clone, Serialize)]
#[serde(rename_all = "camelCase")]
struct Part {
    media_type: &'static str,
    size: u64,
    digest: String,
}

/// The images that a `manifest.json` names.
pub(super) fn images(list: &[u8]) -> std::result::Result<Vec<Found>, String> {
    let entries: Vec<Entry> = serde_json::from_slice(list).map_err(|e| format!("its manifest.json: {e}"))?;
    let found = |entry: Entry| Found { names: entry.repo_tags.clone().unwrap_or_default(), what: What::Docker(entry) };
    Ok(entries.into_iter().map(found).collect())
}

/// The image, with a manifest for it.
pub(super) fn content(store: &Store, shown: &str, entry: &Entry) -> Result<Content> {
    let find = |name: &str| {
        let name = name.trim_start_matches("./");
        store.find(name)?.ok_or_else(|| damaged(shown, &format!("{name} is not in it")))
    };
    let place = find(&entry.config)?;
    let bytes = store.json(&entry.config)?.unwrap_or_default();
    let config: Config =
        serde_json::from_slice(&bytes).map_err(|e| damaged(shown, &format!("{}: {e}", entry.config)))?;
    check_platform(shown, &config.architecture, &config.os)?;
    let (wanted, there) = (config.rootfs.diff_ids.len(), entry.layers.len());
    if wanted != there {
        return Err(damaged(shown, &format!("its configuration names {wanted} layers, its manifest.json {there}")));
    }
    let config_blob = blob(&place, format!("sha256:{}", sha256(&bytes)));
    let config_part = Part { media_type: CONFIG, size: config_blob.size, digest: config_blob.digest.clone() };
    let (mut layers, mut blobs) = (Vec::new(), Vec::new());
    for (name, diff_id) in entry.layers.iter().zip(&config.rootfs.diff_ids) {
        let place = find(name)?;
        let (media_type, layer) = layer(shown, &place, diff_id)?;
        layers.push(Part { media_type, size: layer.size, digest: layer.digest.clone() });
        if !blobs.iter().any(|known: &Blob| known.digest == layer.digest) {
            blobs.push(layer);
        }
    }
    blobs.push(config_blob);
    let manifest = Manifest { schema_version: 2, media_type: MANIFEST, config: config_part, layers };
    let manifest = serde_json::to_vec(&manifest).map_err(|e| Error::new(ExitCode::Bug, "not JSON").caused_by(e))?;
    let digest = format!("sha256:{}", sha256(&manifest));
    Ok(Content { manifest, media_type: MANIFEST.to_owned(), digest, blobs })
}

/// A layer: a plain one has the digest that the configuration names; of a compressed one it must be made.
fn layer(shown: &str, place: &Place, diff_id: &str) -> Result<(&'static str, Blob)> {
    let media_type = match Compression::of(&place.read(8)?) {
        Compression::No => return Ok((LAYER, blob(place, diff_id.to_owned()))),
        Compression::Gzip => LAYER_GZIP,
        Compression::Zstd => LAYER_ZSTD,
        Compression::Other(kind) => {
            return Err(Error::usage(format!(
                "{shown} holds a layer that is compressed with {kind}, which no registry takes"
            )));
        }
    };
    let unnamed = blob(place, String::new());
    let mut reader = Hashing::new(open_blob(&unnamed)?);
    io::copy(&mut reader, &mut io::sink()).map_err(|e| Error::failed(format!("cannot read {shown}")).caused_by(e))?;
    Ok((media_type, Blob { digest: reader.digest(), ..unnamed }))
}

fn blob(place: &Place, digest: String) -> Blob {
    Blob { digest, size: place.size, file: place.file.clone(), offset: place.offset }
}
