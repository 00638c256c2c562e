//! Everything that a bootstrap would fetch, in one file: made on a host with a network, and used on one without.
//!
//! The file is a tar of `manifest.json` and of parts that are named by their digests. Each of them is a zstd frame of its own, so that a part is read
//! without those before it, and so that common tools read the whole: `zstd -dc FILE | tar t`. [`Manifest`] says what the parts are and where they lie.

mod create;
mod hand_over;
mod layout;
mod manifest;
mod name;
mod read;
#[cfg(test)]
mod tests;
mod write;

pub use create::{Login, Logins, Recipe, create};
pub use hand_over::{Import, Sideload, import, sideload};
pub use layout::Layout;
pub use manifest::{Debian, FORMAT, Image, Longhorn, Manifest, Package, Part, Snap, platform};
pub use name::{release_of, whole_name};
pub use read::Bundle;
pub use write::Writer;
