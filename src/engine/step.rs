//! A step is one fact about the host that we want true, and how to make it true and take it back.
//!
//! Steps only read. What they want done they return as [`Act`]s; the engine alone acts, so a plan shows exactly what a run does.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    error::Result,
    host::{Host, Progress, Watch, microk8s::Identity},
};

pub use super::act::Act;

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
    /// A transient error means "not known yet"; any other error ends the run.
    fn probe(&self, host: &dyn Host) -> Result<Probe>;

    /// What to do about the result of the probe. No acts means: wait, others will do it.
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

    /// What to write down before the first act, so that it can be undone.
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

    /// What may end a wait for it early.
    fn watches(&self) -> Vec<Watch> {
        vec![Watch::Pause(Duration::from_millis(500))]
    }

    /// Which teardown undoes it.
    fn scope(&self) -> Scope;

    /// The step whose undo removes this one, too (everything in the cluster is removed with the snap).
    fn inside(&self) -> Option<&'static str> {
        None
    }

    /// Whether stages that depend on this one's cannot be probed before it holds (there is no cluster before the snap).
    fn opens(&self) -> bool {
        false
    }

    /// Whether an undo compares the current state with the newest want only: a want that a command did not reach must not stay the newest.
    fn newest_want_counts(&self) -> bool {
        false
    }

    /// Whether this deletion changes what the step wants: what is as wanted now will not be so any more.
    ///
    /// # Errors
    /// As for [`Step::probe`].
    fn changes_with(&self, _: &dyn Host, _deletion: &Act) -> Result<bool> {
        Ok(false)
    }

    /// The step that depends on this one: while that one stays, because somebody changed it, this one stays, too. Its key, or its name
    /// where each of that name counts.
    fn used_by(&self) -> Option<String> {
        None
    }

    /// Whether the step with this key depends on this one.
    fn is_needed_by(&self, key: &str) -> bool {
        self.used_by().is_some_and(|name| is_named(key, &name))
    }

    /// Whether the step with this key depends on this one as long as it is ours.
    fn is_needed_while_ours(&self, key: &str) -> bool {
        self.is_needed_by(key)
    }

    /// The step whose traces this one's undo removes: before that one is undone, there are none.
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
    /// Something that is not ours is in the way, or the host is not fit.
    Refused {
        /// What is in the way.
        why: String,
        /// What the user can do.
        hint: String,
    },
    /// It cannot become true any more: waiting longer does not help.
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
    /// Those that it had before, the newest last.
    pub earlier: Vec<Value>,
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

impl Memory {
    /// Another spec asks for another recipe of the same step.
    pub fn renew(&mut self, recipe: &Value) {
        if self.recipe == *recipe {
            return;
        }
        let before = std::mem::replace(&mut self.recipe, recipe.clone());
        if !before.is_null() {
            self.earlier.push(before);
        }
    }
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
    /// It stays, and why. It is still ours: the journal keeps it, and a later teardown continues with it.
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

/// Whether what the step with this key makes lies in the cluster, and not on the host alone.
pub fn lies_in_the_cluster(key: &str) -> bool {
    ["addon.", "iris.", "metallb.", "longhorn."].iter().any(|area| key.starts_with(area))
}

/// Whether a step's key is the one that `name` means: the key itself, or its part before the target.
pub fn is_named(key: &str, name: &str) -> bool {
    key == name || key.split_once('@').is_some_and(|(id, _)| id == name)
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
