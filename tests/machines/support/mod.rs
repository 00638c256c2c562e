//! What the tests share: a machine, a run of the product whose events can be followed, and the comparison of a machine with itself.

mod era;
mod machine;
mod neighbour;
mod run;
mod screen;
mod snapshot;

pub(crate) use era::{Era, in_both_eras};
pub(crate) use machine::{Machine, Output, kept, run as run_sandbox, sandbox as sandbox_command};
pub(crate) use neighbour::Neighbour;
pub(crate) use run::{Ended, Event};
pub(crate) use snapshot::Snapshot;
