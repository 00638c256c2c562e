//! A step is one fact about the host that we want true, and how to make it true and take it back.
//!
//! Steps only read. What they want done they return as [`Act`]s; the engine alone acts, so a plan shows exactly what a run does.

use std::{path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    bundle::{Import, Sideload},
    error::Result,
    host::{
        Cmd, Download, FileWrite, Host, Process, Progress, SnapdChange, Watch,
        microk8s::{self, Identity},
    },
    image::{Push, registry},
    kube::{self, Kind},
};

/// One fact about the host.
pub trait Step: Send + Sync {
    /// Stable name, `area.thing`: it is in journals and events.
    fn id(&self) -> &str;

    /// Its key in the journal: its name, and after an `@` what it is about where several may be ours at a time (a namespace).
    fn key(&self) -> String {
        self.id().to_owned()
    }

    /// What it is, for people.
    fn title(&self) -> String;

    /// What an undo needs to know besides what was there before: it is written into the journal, and the step is made from it again
    /// for a teardown, by whatever version of this program that is.
    fn recipe(&self) -> Value {
        Value::Null
    }

    /// Whether the fact holds. Reads only.
    ///
    /// # Errors
    /// A transient error means "cannot be said yet"; any other one ends the run.
    fn probe(&self, host: &dyn Host) -> Result<Probe>;

    /// What to do about what the probe found. Nothing to do means: wait for others to do it.
    ///
    /// # Errors
    /// When reading what the acts depend on fails.
    fn apply(&self, host: &dyn Host, found: &Probe) -> Result<Vec<Act>>;

    /// Acts that may follow the first ones before the fact holds, for a plan.
    ///
    /// # Errors
    /// As for [`Step::apply`].
    fn follows(&self, _: &dyn Host, _: &Probe) -> Result<Vec<Act>> {
        Ok(Vec::new())
    }

    /// What to write down before the first act, so that it can be taken back.
    ///
    /// # Errors
    /// When reading fails; then nothing is done.
    fn memo(&self, host: &dyn Host, found: &Probe) -> Result<Memo>;

    /// What is left to do to get back to what was there before. Called again after its acts, until it returns [`Undo::Done`].
    ///
    /// # Errors
    /// As for [`Step::probe`].
    fn undo(&self, host: &dyn Host, memory: &Memory) -> Result<Undo>;

    /// What a dry run can say of acts that are not due yet, for people: those of an undo that has to wait for another step's, with what it would
    /// leave as things are now; and those that come after the first ones.
    ///
    /// # Errors
    /// As for [`Step::probe`].
    fn foresees(&self, _: &dyn Host, _: &Memory) -> Result<Vec<String>> {
        Ok(Vec::new())
    }

    /// How long it may take from the first probe until the fact holds.
    fn deadline(&self) -> Duration;

    /// What wakes a wait for it.
    fn watches(&self) -> Vec<Watch> {
        vec![Watch::Pause(Duration::from_millis(500))]
    }

    /// Which teardown takes it back.
    fn scope(&self) -> Scope;

    /// The step that takes this one along when it is undone (everything in the cluster goes with the snap).
    fn inside(&self) -> Option<&'static str> {
        None
    }

    /// Whether the stages that need this one's cannot be looked at before it holds (there is no cluster before the snap).
    fn opens(&self) -> bool {
        false
    }

    /// Whether an undo compares what is there with the newest want alone: one that a command did not reach must not stay the newest.
    fn newest_want_counts(&self) -> bool {
        false
    }

    /// Whether what it wants changes once this act has deleted something: what is as wanted now is not so any more by then.
    ///
    /// # Errors
    /// As for [`Step::probe`].
    fn changes_with(&self, _: &dyn Host, _deletion: &Act) -> Result<bool> {
        Ok(false)
    }

    /// The step that cannot do without this one's: while that stays, because somebody changed it, this one does too. Its key, or its name
    /// where each of that name counts.
    fn used_by(&self) -> Option<String> {
        None
    }

    /// Whether the thing of the step with this key cannot do without this one's.
    fn is_needed_by(&self, key: &str) -> bool {
        self.used_by().is_some_and(|name| is_named(key, &name))
    }

    /// Whether the thing of the step with this key cannot do without this one's as long as it is ours.
    fn is_needed_while_ours(&self, key: &str) -> bool {
        self.is_needed_by(key)
    }

    /// The step whose traces this one's undo removes: before that one is undone there is nothing to see.
    fn clears(&self) -> Option<&'static str> {
        None
    }
}

/// What a probe found.
#[derive(Clone, Debug, PartialEq)]
pub enum Probe {
    /// As wanted.
    Satisfied {
        /// What is there, for the report.
        note: String,
        /// What the person should know all the same.
        warnings: Vec<String>,
    },
    /// Nothing there.
    Absent,
    /// Something else is there, and we may change it.
    Differs {
        /// What is there, in a form that [`Memory`] can compare.
        now: Value,
        /// The difference, for people.
        why: String,
    },
    /// On its way: wait, do not act again.
    Pending {
        /// Why it is not there yet.
        why: String,
        /// How far it is, where that is known.
        progress: Option<Progress>,
    },
    /// Something there is not ours to touch, or the host is not fit.
    Refused {
        /// What is in the way.
        why: String,
        /// What the user can do.
        hint: String,
    },
    /// It cannot come true any more: waiting longer is of no use.
    Hopeless {
        /// What happened.
        why: String,
        /// What the user can do.
        hint: String,
    },
}

impl Probe {
    /// As wanted.
    pub fn satisfied(note: impl Into<String>) -> Self {
        Self::Satisfied { note: note.into(), warnings: Vec::new() }
    }

    /// On its way.
    pub fn pending(why: impl Into<String>) -> Self {
        Self::Pending { why: why.into(), progress: None }
    }

    /// Something else is there.
    pub fn differs(now: Value, why: impl Into<String>) -> Self {
        Self::Differs { now, why: why.into() }
    }
}

/// What is written down before the first act of a step.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Memo {
    /// What was there before us; null = nothing. The first one that was written down stands.
    pub prior: Value,
    /// What we make it; lets an undo tell our work from somebody's change since.
    pub want: Value,
}

/// What the journal remembers of a step.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Memory {
    /// What was there before us.
    pub prior: Value,
    /// Everything we ever made it.
    pub wants: Vec<Value>,
    /// A run was interrupted between its intent and its end: what is there may be half-made, and counts as ours.
    pub open: bool,
    /// What an undo needs to know besides, as the newest intent has it.
    pub recipe: Value,
    /// Why the last teardown left it.
    pub kept: Option<String>,
    /// It came to its end at least once.
    pub was_done: bool,
    /// The MicroK8s in which it was made, where it was made in one.
    pub microk8s: Option<Identity>,
    /// When the run of its newest intent began, in seconds since 1970.
    pub at: u64,
    /// The step whose traces this one's undo removes is ours, too, and not taken back yet.
    pub clears_ours: bool,
}

/// What an undo has to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Undo {
    /// It is as it was before.
    Done,
    /// These acts bring it nearer.
    Acts(Vec<Act>),
    /// Somebody is still at it (a pod that stops): wait.
    Pending(String),
    /// It stays, and why. It is still ours: the journal keeps it, and a later teardown goes on with it.
    Keep(String),
    /// It is somebody else's by now: they made it anew, or set it to a value of their own. It stays, and is ours no longer.
    Theirs(String),
}

/// Which teardown takes a step back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// Checks: nothing to take back.
    Nothing,
    /// `teardown`.
    App,
    /// `teardown --data`.
    Data,
    /// `teardown --reset`.
    Host,
}

/// One act, as data. The engine executes it; a plan prints it.
#[derive(Clone, Debug, PartialEq)]
pub enum Act {
    /// Run a command.
    Run(Cmd),
    /// Let snapd make a change, and follow it to its end.
    Snapd(SnapdChange),
    /// Write a file.
    Write(FileWrite),
    /// Kill processes. Each is known by its number and the moment it began, so that no other one is hit.
    Kill {
        /// Which.
        processes: Vec<Process>,
        /// What they are, and how that is known.
        why: String,
    },
    /// Remove a file or an empty directory; `all` also what is in it.
    Remove {
        /// What goes.
        path: PathBuf,
        /// With everything below.
        all: bool,
    },
    /// Fetch a file over HTTPS; it is written only when its checksum is the right one.
    Download(Download),
    /// Pull an image into MicroK8s' containerd.
    Pull {
        /// Its name.
        image: String,
    },
    /// Import an image of a bundle into MicroK8s' containerd.
    Import(Box<Import>),
    /// Let snapd install a snap of a bundle, and follow it to its end.
    Sideload(Box<Sideload>),
    /// Push an image into MicroK8s' built-in registry.
    Push(Box<Push>),
    /// Remove an image from it, with all tags that it has in that repository.
    Unpush {
        /// Where it lies.
        repository: String,
        /// Which it is.
        digest: String,
    },
    /// Server-side apply of an object.
    Apply(Box<Value>),
    /// Change some fields of an object (merge patch): what holds it, for example.
    Patch {
        /// Its kind.
        kind: &'static Kind,
        /// Its namespace, if it has one.
        namespace: Option<String>,
        /// Its name.
        name: String,
        /// The fields.
        patch: Value,
    },
    /// Delete an object, and wait for nothing: the undo's next round looks.
    Delete {
        /// Its kind.
        kind: &'static Kind,
        /// Its namespace, if it has one.
        namespace: Option<String>,
        /// Its name.
        name: String,
    },
}

/// Whether what the step with this key makes lies in the cluster, and not on the host alone.
pub fn lies_in_the_cluster(key: &str) -> bool {
    ["addon.", "iris.", "metallb.", "longhorn."].iter().any(|area| key.starts_with(area))
}

/// Whether a step's key is the one that `name` means: the key itself, or its part before the target.
pub fn is_named(key: &str, name: &str) -> bool {
    key == name || key.split_once('@').is_some_and(|(id, _)| id == name)
}

impl Act {
    /// The act as a person would type it (a plan's line). Secrets are not shown.
    pub fn show(&self) -> String {
        match self {
            Self::Run(cmd) => cmd.show(),
            Self::Snapd(change) => change.shown.clone(),
            Self::Write(file) => {
                let content = if file.secret { "secret".to_owned() } else { format!("{} bytes", file.bytes.len()) };
                format!("write {} ({content}, mode {:04o})", file.path.display(), file.mode)
            }
            Self::Kill { processes, why } => {
                let pids: Vec<String> = processes.iter().map(|p| p.pid.to_string()).collect();
                let mut names: Vec<&str> = processes.iter().map(|p| p.name.as_str()).collect();
                names.sort_unstable();
                names.dedup();
                format!("kill -KILL {} # {}: {why}", pids.join(" "), names.join(", "))
            }
            Self::Remove { path, all } => format!("rm {}{}", if *all { "-r " } else { "" }, path.display()),
            Self::Download(Download { url, path, sha256 }) => {
                format!("curl --fail --location --output {} {url} # SHA-256 {sha256}", path.display())
            }
            Self::Pull { image } => {
                format!("crictl --image-endpoint unix://{} pull {image}", microk8s::CONTAINERD)
            }
            Self::Import(import) => import.show(),
            Self::Sideload(sideload) => sideload.show(),
            Self::Push(push) => {
                let file = push.content.blobs.first().map(|blob| format!(" # from {}", blob.file.display()));
                format!("docker push {}{}", push.name, file.unwrap_or_default())
            }
            Self::Unpush { repository, digest } => {
                format!("curl --request DELETE {}/v2/{repository}/manifests/{digest}", registry::ADDRESS)
            }
            Self::Patch { kind, namespace, name, patch } => {
                let ns = namespace.as_ref().map(|n| format!(" --namespace {n}")).unwrap_or_default();
                format!("kubectl patch {}/{name}{ns} --type=merge --patch='{patch}'", kind.show())
            }
            Self::Apply(object) => {
                format!("kubectl apply --server-side --field-manager=iris-mk8s -f - # {}", kube::describe(object))
            }
            Self::Delete { kind, namespace, name } => {
                let ns = namespace.as_ref().map(|n| format!(" --namespace {n}")).unwrap_or_default();
                format!("kubectl delete {}/{name}{ns}", kind.show())
            }
        }
    }
}

/// A group of steps that run one after the other.
pub struct Stage {
    /// A noun that a user knows.
    pub id: &'static str,
    /// Stages that must be done before.
    pub needs: &'static [&'static str],
    /// What only one stage at a time may use.
    pub lock: Option<Lock>,
    /// The steps, in order.
    pub steps: Vec<Box<dyn Step>>,
}

/// Something of the host that takes one change at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Lock {
    /// snapd answers a second change of the same snap with a conflict.
    Snapd,
    /// MicroK8s' addon lock: a second `enable` waits silently.
    Addons,
}

/// The step that installs and removes it: everything in the cluster goes with it.
pub const SNAP: &str = "snap.microk8s";

/// A fact that can be read and made at once.
pub const SOON: Duration = Duration::from_secs(60);
