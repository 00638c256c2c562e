//! IRIS: its objects, its data, when it is ready, and what may be wrong with it.

pub(crate) mod bound;
pub mod claims;
pub(crate) mod cpf;
pub(crate) mod findings;
pub(crate) mod foreign;
mod guards;
pub(crate) mod images;
pub mod log;
pub(crate) mod memory;
mod meta;
pub mod names;
pub(crate) mod namespace;
pub(crate) mod objects;
pub(crate) mod password;
pub(crate) mod pods;
#[expect(clippy::unnecessary_wraps, reason = "any look may fail")]
pub(crate) mod preflight;
pub(crate) mod reach;
pub(crate) mod ready;
mod services;
pub mod state;
mod stateful_set;
pub mod summary;
