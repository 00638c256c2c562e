//! MicroK8s: the snap, its services and addons, and everything that it leaves on the host.

pub(crate) mod addon_objects;
pub(crate) mod addons;
pub(crate) mod alias;
pub(crate) mod authority;
pub(crate) mod baseline;
pub(crate) mod certificate;
#[expect(clippy::unnecessary_wraps, reason = "any look may fail")]
pub(crate) mod ground;
pub(crate) mod group;
pub(crate) mod hold;
pub(crate) mod moved;
pub(crate) mod node;
pub(crate) mod registries;
pub(crate) mod running;
pub(crate) mod snap;
pub mod state;
pub(crate) mod storage;
