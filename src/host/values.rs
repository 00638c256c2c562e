//! The questions to a host and its answers, as plain values.

use std::{io::Read, path::PathBuf, time::Duration};

use serde_json::Value;

use crate::kube::Kind;

/// What a running command reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard<'a> {
    /// A line of its output.
    Line(&'a str),
    /// Nothing for about a second: time to see whether what it does can still succeed.
    Silence,
}

/// A file to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileWrite {
    /// Where.
    pub path: PathBuf,
    /// Its content.
    pub bytes: Vec<u8>,
    /// Its mode.
    pub mode: u32,
    /// Its owner, by name; none = root.
    pub owner: Option<String>,
    /// Its content must not be shown.
    pub secret: bool,
    /// A file that is there already keeps its mode, owner and group.
    pub keeps: bool,
}

/// What is in the file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// A file with content.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Link,
    /// A socket, a pipe, a device.
    Other,
}

/// A process, known by its number and the moment it began: numbers are used again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Its number.
    pub pid: i32,
    /// When it began, in clock ticks since the boot (see [`super::began`]).
    pub began: u64,
    /// Its name, for people.
    pub name: String,
}

/// A process group that an earlier run left behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leftover {
    /// Process group.
    pub group: i32,
    /// Its command line.
    pub command: String,
}

/// What wakes a wait.
#[derive(Clone, Debug, PartialEq)]
pub enum Watch {
    /// A change to objects of a kind in a namespace (none = all).
    Objects(&'static Kind, Option<String>),
    /// Nothing to watch there: look again after this time.
    Pause(Duration),
}

/// A running watch.
pub trait Changes {
    /// Returns when something changed, or after `at_most`, or at once when the person asked us to stop.
    fn next(&mut self, at_most: Duration);
}

/// How far something is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Units done.
    pub done: u64,
    /// Units in all.
    pub total: u64,
    /// `bytes` or a noun.
    pub unit: &'static str,
}

/// A file of the internet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Download {
    /// Where it is published.
    pub url: String,
    /// Where it goes.
    pub path: PathBuf,
    /// What it must be: SHA-256, in small hexadecimal digits.
    pub sha256: String,
}

/// A snap for snapd, from elsewhere than its store.
pub struct Upload<'a> {
    /// The name of its file.
    pub name: String,
    /// Whether it may leave its confinement (`--classic`).
    pub classic: bool,
    /// What its store says of it, signed; snapd takes no other snap.
    pub assertions: Vec<u8>,
    /// The length of the snap.
    pub length: u64,
    /// The snap.
    pub source: &'a mut (dyn Read + Send),
    /// The same as commands, for logs.
    pub shown: String,
}

/// A change made by snapd.
#[derive(Clone, Debug, PartialEq)]
pub struct SnapdChange {
    /// HTTP method.
    pub method: &'static str,
    /// Path of its REST interface, e.g. `/v2/snaps/microk8s`.
    pub path: String,
    /// Body.
    pub body: Value,
    /// The same as a command, for plans and logs.
    pub shown: String,
}
