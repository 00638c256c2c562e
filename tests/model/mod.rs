//! A modelled Ubuntu in memory: snapd, groups, files, packet filter, MicroK8s with its lies, the cluster, and a clock that goes on from
//! one happening to the next. It stands in for a VM where thousands of runs are wanted; `recorded/` pins it to a real one.
//!
//! Nothing in it is by chance, so every failure can be seen again. A command or path that it does not know ends the test with its text.

pub mod bundle;
pub mod cluster;
pub mod commands;
pub mod compare;
mod controllers;
pub mod files;
pub mod foreign;
pub mod host;
pub mod initial;
pub mod longhorn;
pub mod manifests;
mod merge;
mod metallb;
pub mod microk8s;
pub mod network;
pub mod pods;
mod process;
pub mod registry;
pub mod snapd;
pub mod store;
pub mod tool;
pub mod turns;
pub mod volumes;
mod workloads;
pub mod world;
