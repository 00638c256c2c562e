//! Longhorn: its versions and state, its steps, its removal, its repair, and what may be wrong with it.

pub mod content;
pub(crate) mod emptied;
pub(crate) mod findings;
pub mod manifest;
#[expect(clippy::unnecessary_wraps, reason = "any look may fail")]
pub(crate) mod preflight;
pub mod repair;
pub mod space;
pub mod state;
pub(crate) mod steps;
pub mod uninstall;
