//! The real binary in sandbox machines: real systemd, snapd, Kubernetes and MetalLB (tests/sandbox/README.md). Each test boots a
//! machine of its own; `scripts/test machines` builds what they need and runs them.

mod support;

mod article;
mod between_core;
mod between_cpf;
mod between_data;
mod between_door;
mod between_host;
mod between_odd;
mod bundle;
mod clash;
mod cures;
mod data;
mod doctor;
mod failures;
mod faults;
mod foreign;
mod image;
mod input;
mod kills;
mod lifecycle;
mod longhorn;
mod names;
mod preflight;
mod provisioning;
mod ranges;
mod refresh;
mod registries;
mod secrets;
mod storage;
mod symptoms;
mod undo;
