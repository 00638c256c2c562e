//! `iris-mk8s` takes a bare Ubuntu host to InterSystems IRIS Community Edition on MicroK8s, and back.
//!
//! The protocol, in ten lines:
//!
//! 1. A [`step::Step`] is one fact about the host. Its probe says whether the fact holds; the probe alone decides what to do next.
//! 2. What a step wants done it returns as data ([`step::Act`]); the [`engine`] alone acts, so a plan cannot drift from a run.
//! 3. Before the first act, what was there before is written to the [`journal`] and synced; the first such record stands.
//! 4. Whether an act took effect is asked of the host, never of an exit code.
//! 5. The journal alone decides what may be taken back: what was there before us is not ours.
//! 6. Undo runs backwards and is three-way: ours now → undo; as before → nothing; changed by somebody since → keep, and say so.
//! 7. Nothing is rolled back on failure: what works stays, the failed step is named, the same command goes on.
//! 8. A wait always says why not yet, and ends at once on what cannot heal.
//! 9. Stages whose needs are met run side by side; `needs` and `lock` are the whole language of the graph.
//! 10. The table of all stages and steps is [`steps`]: read it first.

#![forbid(unsafe_code)]
// A watch, or `host::poll`. Tests may wait as they like.
#![cfg_attr(not(test), warn(clippy::disallowed_methods))]

pub mod app;
pub mod arp;
pub mod checks;
pub mod cli;
pub mod cluster;
pub mod credentials;
pub mod data;
pub mod defect;
pub mod digest;
pub mod doctor;
pub mod engine;
pub mod error;
pub mod event;
pub mod finding;
pub mod host;
pub mod image;
pub mod iris_log;
pub mod journal;
pub mod lb_range;
pub mod longhorn;
pub mod microk8s;
pub mod network;
pub mod profile;
pub mod proposal;
pub mod report;
pub mod secrets;
pub mod spec;
pub mod step;
pub mod steps;
pub mod summary;
pub mod version;
