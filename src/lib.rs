//! `iris-mk8s` takes a bare Ubuntu host to InterSystems IRIS Community Edition on MicroK8s, and back.
//!
//! The protocol, in ten lines:
//!
//! 1. A [`engine::step::Step`] is one fact about the host. Its probe says whether the fact holds; the probe alone decides what to do next.
//! 2. What a step wants done it returns as data ([`engine::step::Act`]); the [`engine`] alone acts, so a plan cannot drift from a run.
//! 3. Before the first act, what was there before is written to the [`engine::journal`] and synced; the first such record stands.
//! 4. Whether an act took effect is asked of the host, never of an exit code.
//! 5. The journal alone decides what may be taken back: what was there before us is not ours.
//! 6. Undo runs backwards and is three-way: ours now → undo; as before → nothing; changed by somebody since → keep, and say so.
//! 7. Nothing is rolled back on failure: what works stays, the failed step is named, and the same command resumes.
//! 8. A wait always says why not yet, and ends at once on what cannot heal.
//! 9. Stages whose needs are met run side by side; `needs` and `lock` are the whole language of the graph.
//! 10. The table of all stages and steps is [`stack`]: read it first.

#![forbid(unsafe_code)]
// A watch, or `host::poll`. Tests may wait as they like.
#![cfg_attr(not(test), warn(clippy::disallowed_methods))]

pub mod bundle;
pub mod cli;
pub mod commands;
pub mod config;
pub mod doctor;
pub mod engine;
pub mod error;
pub mod host;
pub mod image;
pub mod kube;
pub mod network;
pub mod report;
pub mod secrets;
pub mod stack;
