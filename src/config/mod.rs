//! The wanted state as plain values: from flags, environment and profile, with the differences between versions.

pub mod cpf;
pub mod credentials;
pub mod flags;
pub mod image_name;
pub mod lb_range;
pub mod place;
pub mod profile;
pub mod spec;
pub mod version;
