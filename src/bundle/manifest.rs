//! What a bundle says of itself. It is the first entry of the file.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    config::version::{Channel, LonghornVersion},
    image,
};

/// The format that this program writes and reads.
pub const FORMAT: u32 = 1;

/// The platform of this host, as images name it.
pub fn platform() -> String {
    format!("linux/{}", image::architecture())
}

/// A bundle's own description.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The version of the format.
    pub format: u32,
    /// The program that wrote it.
    pub tool: String,
    /// When, as RFC 3339.
    pub created: String,
    /// For which platform, `linux/amd64`.
    pub platform: String,
    /// The channel of the snap.
    pub channel: Channel,
    /// The snap `microk8s`, then those that it stands on.
    pub snaps: Vec<Snap>,
    /// The images, in the order in which a cluster needs them.
    pub images: Vec<Image>,
    /// What Longhorn needs besides its images, where it is wanted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub longhorn: Option<Longhorn>,
    /// The program itself, by its digest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub program: Option<String>,
    /// The profile that it was made with, where that was a file, by its digest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// The parts, by their digests.
    pub parts: BTreeMap<String, Part>,
    /// The length of the whole file.
    pub length: u64,
}

/// A part, and where it lies in the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Its length.
    pub size: u64,
    /// Where its frame begins.
    pub offset: u64,
    /// The length of its frame.
    pub length: u64,
}

/// A snap.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snap {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its revision in the store.
    pub revision: u64,
    /// Whether it is installed with `--classic`.
    pub classic: bool,
    /// The snap.
    pub file: String,
    /// What the store says of it, signed.
    pub assertions: String,
}

impl Snap {
    /// Its file's name, as `snap download` gives it.
    pub fn file_name(&self) -> String {
        format!("{}_{}.snap", self.name, self.revision)
    }
}

/// An image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// Its whole name, as containerd has it: `docker.io/library/busybox:1.28.4`.
    pub name: String,
    /// Its manifest, for the bundle's platform.
    pub digest: String,
    /// The manifest's media type.
    pub media_type: String,
    /// Its layers and its configuration.
    pub blobs: Vec<String>,
}

/// What Longhorn needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Longhorn {
    /// Its release.
    pub version: LonghornVersion,
    /// Its manifest.
    pub manifest: String,
    /// Packages of the distribution, where they could be had.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub debian: Option<Debian>,
}

/// Packages of a distribution.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Debian {
    /// Its name and version, `ubuntu 24.04`: only there they fit.
    pub release: String,
    /// The packages.
    pub packages: Vec<Package>,
}

/// A package.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Its file's name.
    pub file_name: String,
    /// The file.
    pub file: String,
}
