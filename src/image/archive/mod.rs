//! The input of `image push`: an OCI layout (a folder or a tar), or what `docker save` wrote. Only what is reachable by names and digests is read; layers stay
//! where they are until they are pushed.

use std::{
    fs::File,
    io::{Read, Seek, SeekFrom},
    path::Path,
};

use super::Content;
use crate::{
    config::image_name as name,
    error::{Error, Result},
    host::digest::sha256,
};

mod docker;
mod layout;
mod store;

pub(crate) use layout::{is_index, ours};
use store::Store;

/// A manifest, an index or a configuration is never longer: larger ones are refused before they are read.
const LONGEST_JSON: u64 = 4 << 20;

/// An archive: the images that are in it.
pub struct Archive {
    shown: String,
    store: Store,
    images: Vec<Found>,
}

/// An image of an archive.
struct Found {
    /// Its names; an archive need not hold any.
    names: Vec<String>,
    what: What,
}

/// Where an image begins.
enum What {
    /// A manifest or an index of an OCI layout.
    Layout(Box<oci_spec::image::Descriptor>),
    /// An entry of `manifest.json`.
    Docker(docker::Entry),
}

impl Archive {
    /// Opens a file or a folder, and finds out what images it holds.
    ///
    /// # Errors
    /// Exit code 2: it is not there, or is no archive of images.
    pub fn open(path: &Path) -> Result<Self> {
        let store = Store::open(path)?;
        let shown = path.display().to_string();
        let wrong = |why: &str| {
            Error::usage(format!("{shown} is not an archive of images: {why}")).hint(
                "write one with `docker save --output FILE NAME:TAG` or `podman save --output FILE NAME:TAG`, or give the folder of an OCI layout",
            )
        };
        // Today's Docker writes both; the layout has the digests that Docker itself shows.
        let images = match (store.json("index.json")?, store.json("manifest.json")?) {
            (Some(index), _) => layout::images(&index).map_err(|why| wrong(&why))?,
            (None, Some(list)) => docker::images(&list).map_err(|why| wrong(&why))?,
            (None, None) => return Err(wrong("it has neither an index.json nor a manifest.json")),
        };
        if images.is_empty() {
            return Err(wrong("it holds no image"));
        }
        Ok(Self { shown, store, images })
    }

    /// The image that the user means, or the only one, with its first name.
    ///
    /// # Errors
    /// Exit code 2: there are several and none is named, or none of that name, or what is there is damaged or for another platform.
    pub fn image(&self, meant: Option<&str>) -> Result<(Option<String>, Content)> {
        let found = self.choose(meant)?;
        let content = match &found.what {
            What::Layout(descriptor) => layout::content(&self.store, &self.shown, descriptor)?,
            What::Docker(entry) => docker::content(&self.store, &self.shown, entry)?,
        };
        let name = found.names.iter().find(|known| meant.is_some_and(|meant| name::is_meant(known, meant)));
        Ok((name.or(found.names.first()).cloned(), content))
    }

    fn choose(&self, meant: Option<&str>) -> Result<&Found> {
        let all: Vec<&str> = self.images.iter().flat_map(|image| &image.names).map(String::as_str).collect();
        let listed = if all.is_empty() { "images without names".to_owned() } else { all.join(", ") };
        let Some(meant) = meant else {
            return match self.images.as_slice() {
                [one] => Ok(one),
                many => Err(Error::usage(format!("{} holds {} images", self.shown, many.len()))
                    .because(listed)
                    .hint("name the one to push: iris-mk8s image push FILE NAME:TAG")),
            };
        };
        let is_it = |image: &&Found| image.names.iter().any(|known| name::is_meant(known, meant));
        self.images.iter().find(is_it).ok_or_else(|| {
            Error::usage(format!("{} holds no image {meant}", self.shown)).because(format!("it holds {listed}"))
        })
    }
}

/// A part of an image, to be read from its beginning.
///
/// # Errors
/// The file cannot be read any more.
pub(super) fn open_blob(blob: &super::Blob) -> Result<impl Read> {
    let cannot = |e| Error::failed(format!("cannot read {}", blob.file.display())).caused_by(e);
    let mut file = File::open(&blob.file).map_err(cannot)?;
    file.seek(SeekFrom::Start(blob.offset)).map_err(cannot)?;
    Ok(file.take(blob.size))
}

/// That a part of an archive is what its digest says.
fn verified(shown: &str, digest: &str, bytes: Vec<u8>) -> Result<Vec<u8>> {
    let found = format!("sha256:{}", sha256(&bytes));
    if found == digest { Ok(bytes) } else { Err(damaged(shown, &format!("{digest} is in truth {found}"))) }
}

/// What an archive that does not hold what it says is refused with.
pub(super) fn damaged(shown: &str, why: &str) -> Error {
    Error::usage(format!("{shown} is damaged: {why}"))
        .hint("write the archive again, or copy it again from where it came")
}

/// That an image is for this host.
pub(crate) fn check_platform(shown: &str, architecture: &str, os: &str) -> Result<()> {
    if (architecture, os) == (super::architecture(), "linux") {
        return Ok(());
    }
    Err(other_platform(shown, &format!("{os}/{architecture}")))
}

fn other_platform(shown: &str, has: &str) -> Error {
    let ours = super::architecture();
    Error::usage(format!("{shown} holds an image for {has}, and this host is linux/{ours}"))
        .hint(format!("build or save it for this host, for example with `docker build --platform linux/{ours}`"))
}

#[cfg(test)]
mod tests;
