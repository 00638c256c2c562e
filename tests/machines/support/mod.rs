//! What the tests share: a machine, a run of the product whose events can be followed, and the comparison of a machine with itself.

mod machine;
mod run;
mod snapshot;

pub(crate) use machine::{Machine, run as sandbox};
pub(crate) use run::Event;
