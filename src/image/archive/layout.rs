//! An OCI image layout: `index.json` names manifests, and everything lies below `blobs` by its digest.

use oci_spec::image::{Descriptor, ImageIndex, ImageManifest};
use serde_json::Value;

use super::{Found, What, check_platform, damaged, other_platform, store::Store, verified};
use crate::{
    error::Result,
    image::{Blob, Content},
};

/// Annotations that hold the whole name of an image, or its tag alone.
const NAMES: [&str; 2] = ["io.containerd.image.name", "org.opencontainers.image.ref.name"];

/// Media types of indexes; everything else is taken for a manifest.
const INDEXES: [&str; 2] =
    ["application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json"];

/// What an OCI manifest is when it does not say so itself.
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// The images that an `index.json` names. One with several names is listed several times there.
pub(super) fn images(index: &[u8]) -> std::result::Result<Vec<Found>, String> {
    let index: ImageIndex = serde_json::from_slice(index).map_err(|e| format!("its index.json: {e}"))?;
    let mut found: Vec<(String, Found)> = Vec::new();
    for descriptor in index.manifests() {
        let digest = descriptor.digest().to_string();
        let name = name_of(descriptor);
        match found.iter_mut().find(|(known, _)| *known == digest) {
            Some((_, image)) => image.names.extend(name),
            None => {
                let what = What::Layout(Box::new(descriptor.clone()));
                found.push((digest, Found { names: name.into_iter().collect(), what }));
            }
        }
    }
    Ok(found.into_iter().map(|(_, image)| image).collect())
}

fn name_of(descriptor: &Descriptor) -> Option<String> {
    let annotations = descriptor.annotations().as_ref()?;
    // A tag alone is no name.
    let mut names = NAMES.iter().filter_map(|key| annotations.get(*key));
    names.find(|name| name.contains(['/', ':'])).cloned()
}

/// The image that a descriptor leads to; of an index, the one for this host.
pub(super) fn content(store: &Store, shown: &str, descriptor: &Descriptor) -> Result<Content> {
    let bytes = json(store, shown, descriptor.digest().as_ref())?;
    let kind = descriptor.media_type().to_string();
    if is_index(&kind) {
        return content(store, shown, ours(shown, &parse(shown, &bytes)?)?);
    }
    manifest(store, shown, descriptor.digest().as_ref(), bytes)
}

/// Whether it is an index of several images that has this media type.
pub(crate) fn is_index(kind: &str) -> bool {
    INDEXES.contains(&kind)
}

/// The image of an index that is for this host.
pub(crate) fn ours<'a>(shown: &str, index: &'a ImageIndex) -> Result<&'a Descriptor> {
    let ours = |d: &&Descriptor| {
        d.platform().as_ref().is_some_and(|p| {
            p.os().to_string() == "linux" && p.architecture().to_string() == crate::image::architecture()
        })
    };
    let platform = |d: &Descriptor| {
        let platform = d.platform().as_ref()?;
        // Attestations of a build stand beside the images, as of an unknown platform.
        let name = format!("{}/{}", platform.os(), platform.architecture());
        (name != "unknown/unknown").then_some(name)
    };
    index.manifests().iter().find(ours).ok_or_else(|| {
        let has: Vec<String> = index.manifests().iter().filter_map(platform).collect();
        other_platform(shown, &has.join(", "))
    })
}

fn manifest(store: &Store, shown: &str, digest: &str, bytes: Vec<u8>) -> Result<Content> {
    let manifest: ImageManifest = parse(shown, &bytes)?;
    let config: Value = parse(shown, &json(store, shown, manifest.config().digest().as_ref())?)?;
    let field = |name: &str| config[name].as_str().unwrap_or("unknown").to_owned();
    check_platform(shown, &field("architecture"), &field("os"))?;
    let mut blobs: Vec<Blob> = Vec::new();
    for part in manifest.layers().iter().chain([manifest.config()]) {
        let digest = part.digest().to_string();
        if blobs.iter().any(|blob| blob.digest == digest) {
            continue;
        }
        let place = store
            .find(&path_of(shown, &digest)?)?
            .ok_or_else(|| damaged(shown, &format!("the layer {digest} is not in it")))?;
        if place.size != part.size() {
            let why = format!("the layer {digest} has {} bytes, not {}", place.size, part.size());
            return Err(damaged(shown, &why));
        }
        blobs.push(Blob { digest, size: place.size, file: place.file, offset: place.offset });
    }
    let media_type = manifest.media_type().as_ref().map_or_else(|| MANIFEST.to_owned(), ToString::to_string);
    Ok(Content { manifest: bytes, media_type, digest: digest.to_owned(), blobs })
}

/// A small file by its digest, which it must have.
fn json(store: &Store, shown: &str, digest: &str) -> Result<Vec<u8>> {
    let bytes = store.json(&path_of(shown, digest)?)?;
    verified(shown, digest, bytes.ok_or_else(|| damaged(shown, &format!("{digest} is not in it")))?)
}

/// Where a digest lies. It comes from the archive, and must not lead elsewhere.
fn path_of(shown: &str, digest: &str) -> Result<String> {
    let hex =
        digest.strip_prefix("sha256:").filter(|hex| hex.len() == 64 && hex.chars().all(|c| c.is_ascii_hexdigit()));
    hex.map(|hex| format!("blobs/sha256/{hex}"))
        .ok_or_else(|| damaged(shown, &format!("`{digest}` is not a digest of the kind sha256")))
}

fn parse<T: serde::de::DeserializeOwned>(shown: &str, bytes: &[u8]) -> Result<T> {
    serde_json::from_slice(bytes).map_err(|e| damaged(shown, &e.to_string()))
}
