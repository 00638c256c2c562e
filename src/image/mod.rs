//! Images of the user's own: read from an archive, pushed into MicroK8s' built-in registry, listed and removed there. No Docker is needed.
//!
//! [`archive`] reads what the user has, [`registry`] speaks the OCI distribution API. What the engine does with the two is in `stack/registry`.

pub mod archive;
mod content;
mod hashing;
pub mod registry;

pub use crate::config::image_name::Name;
pub use content::{Blob, Content, Push};
pub(crate) use hashing::Hashing;

/// The platform of this host, as images name it.
pub(crate) fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}
