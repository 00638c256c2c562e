//! An image that was found in an archive: where its parts lie, and what they are.

use std::path::PathBuf;

use super::Name;

/// A part of an image: a layer, or its configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blob {
    /// `sha256:…`
    pub digest: String,
    /// Its length.
    pub size: u64,
    /// The file that holds it.
    pub file: PathBuf,
    /// Where in the file it begins.
    pub offset: u64,
}

/// An image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    /// Its manifest, byte for byte as it is pushed.
    pub manifest: Vec<u8>,
    /// The manifest's media type.
    pub media_type: String,
    /// The manifest's digest, by which the image is known.
    pub digest: String,
    /// Configuration and layers, each of them once.
    pub blobs: Vec<Blob>,
}

impl Content {
    /// The bytes of all parts.
    pub fn size(&self) -> u64 {
        self.blobs.iter().map(|blob| blob.size).sum()
    }
}

/// An image, and the name that it gets in the built-in registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Push {
    /// Its name there.
    pub name: Name,
    /// What is pushed.
    pub content: Content,
}
