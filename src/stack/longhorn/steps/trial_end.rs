//! The end of the trial: what it was made of is removed, and a note says that it was done.

use std::time::Duration;

use serde_json::{Value, json};

use super::{
    Common, removal,
    trial::{THEIRS, deleted, end, is_proven, note},
};
use crate::{
    engine::step::{Act, Memo, Memory, Probe, Scope, Step, Undo},
    error::Result,
    host::{Host, Watch},
    kube,
    stack::longhorn::state::{self as longhorn, Installed, NAMESPACE, TRIAL},
};

/// The trial is over, and noted.
pub(super) struct TestVolumeRemoved {
    pub(super) common: Common,
}

impl Step for TestVolumeRemoved {
    fn id(&self) -> &'static str {
        "longhorn.trial-end"
    }

    fn recipe(&self) -> Value {
        self.common.recipe()
    }

    fn title(&self) -> String {
        "the test volume is removed".to_owned()
    }

    fn probe(&self, host: &dyn Host) -> Result<Probe> {
        if Installed::find(host)?.is_some_and(|found| !found.is_ours()) {
            return Ok(Probe::satisfied(THEIRS));
        }
        if !is_proven(host, &self.common)? {
            return Ok(Probe::Absent);
        }
        Ok(match end(host)? {
            Undo::Acts(_) => Probe::differs(json!({"left": TRIAL}), "its claim is still there"),
            Undo::Pending(why) => Probe::pending(why),
            Undo::Done | Undo::Keep(_) | Undo::Theirs(_) => Probe::satisfied("noted; nothing of it is left"),
        })
    }

    fn apply(&self, host: &dyn Host, found: &Probe) -> Result<Vec<Act>> {
        if *found == Probe::Absent {
            // A plan asks before there is anything to delete, or even a cluster.
            let both = [&kube::POD, &kube::PERSISTENT_VOLUME_CLAIM].map(deleted);
            return Ok(std::iter::once(Act::Apply(Box::new(note(&self.common)))).chain(both).collect());
        }
        Ok(if let Undo::Acts(acts) = end(host)? { acts } else { Vec::new() })
    }

    fn memo(&self, _: &dyn Host, _: &Probe) -> Result<Memo> {
        Ok(Memo { prior: Value::Null, want: json!({"note": TRIAL}) })
    }

    fn undo(&self, host: &dyn Host, _: &Memory) -> Result<Undo> {
        if !super::has_cluster(host)? || host.get(&kube::CONFIG_MAP, Some(NAMESPACE), TRIAL)?.is_none() {
            return Ok(Undo::Done);
        }
        if longhorn::needed_by_others(host)?.is_some() {
            return Ok(Undo::Keep("Longhorn stays, and it was tried out".to_owned()));
        }
        let (kind, namespace) = (&kube::CONFIG_MAP, Some(NAMESPACE.to_owned()));
        removal::reachable(host, Undo::Acts(vec![Act::Delete { kind, namespace, name: TRIAL.to_owned() }]))
    }

    fn deadline(&self) -> Duration {
        self.common.deadline
    }

    fn watches(&self) -> Vec<Watch> {
        vec![
            Watch::Objects(&kube::POD, Some(NAMESPACE.to_owned())),
            Watch::Objects(&kube::PERSISTENT_VOLUME, None),
            Watch::Objects(&kube::PERSISTENT_VOLUME_CLAIM, Some(NAMESPACE.to_owned())),
        ]
    }

    fn scope(&self) -> Scope {
        Scope::Host
    }
}
