//! Ownership: which steps a teardown takes back, and what the journal and the host know about each.

use super::Engine;
use crate::{
    engine::{
        journal::Ledger,
        step::{Memory, SNAP, Scope, Step, Undo, is_named},
    },
    error::Result,
    host::microk8s::{self, Identity},
};

/// Why nothing in a MicroK8s is ours.
const REPLACED: &str =
    "MicroK8s was removed and installed anew since, and is somebody else's; `snap remove --purge microk8s` removes it";

/// What an undo is told of a step of ours.
pub(super) fn memory_of(ledger: &Ledger, step: &dyn Step) -> Option<Memory> {
    let clears_ours = step.clears().is_some_and(|id| ledger.steps().any(|key| is_named(key, id)));
    ledger.memory(&step.key()).map(|memory| Memory { clears_ours, ..memory.clone() })
}

/// Whether a step was made in a MicroK8s that is gone, and another one is there now.
pub(super) fn is_of_another(memory: &Memory, now: Option<&Identity>) -> bool {
    memory.microk8s.as_ref().zip(now).is_some_and(|(was, now)| was.is_another(now))
}

impl Engine<'_> {
    /// The steps that a teardown of this reach takes back, the last one first.
    pub(super) fn ours<'e>(&'e self, ledger: &Ledger, reach: Scope) -> Vec<&'e dyn Step> {
        let all = self.stages.iter().rev().flat_map(|stage| stage.steps.iter().rev());
        let is_ours = |step: &&dyn Step| step.scope() <= reach && ledger.memory(&step.key()).is_some();
        let mut ours: Vec<&dyn Step> = all.map(|step| &**step).filter(is_ours).collect();
        if self.agreed.is_unseen() {
            // What is in a cluster that does not answer is removed together with it: nothing in it can be taken back separately before.
            ours.sort_by_key(|step| match step.inside() {
                Some(SNAP) => 0,
                _ if step.id() == SNAP => 1,
                _ => 2,
            });
        }
        ours
    }

    /// Whether a step was made in a MicroK8s that is gone, and another one is there now. Nothing in that is ours.
    pub(super) fn is_in_another(&self, step: &dyn Step, memory: &Memory) -> Result<bool> {
        if step.inside() != Some(SNAP) && memory.microk8s.is_none() {
            return Ok(false);
        }
        let Some(snap) = self.host.snapd_get(microk8s::SNAP)? else { return Ok(false) };
        Ok(is_of_another(memory, Identity::of(self.host, &snap)?.as_ref()))
    }

    /// What is left to do for a step. In a MicroK8s that is not the one it was made in, nothing is ours; and what was in one that is gone,
    /// went with it.
    pub(super) fn todo(&self, step: &dyn Step, memory: &Memory) -> Result<Undo> {
        let is_inside = step.inside() == Some(SNAP);
        if is_inside || memory.microk8s.is_some() {
            match self.host.snapd_get(microk8s::SNAP)? {
                None if is_inside => return Ok(Undo::Done),
                Some(snap) if is_of_another(memory, Identity::of(self.host, &snap)?.as_ref()) => {
                    return Ok(Undo::Theirs(REPLACED.to_owned()));
                }
                _ => {}
            }
        }
        step.undo(self.host, memory)
    }

    /// The step whose undo takes `step` along, if that one goes for certain.
    pub(super) fn carrier<'e>(
        &'e self,
        ours: &[&'e dyn Step],
        ledger: &Ledger,
        step: &dyn Step,
    ) -> Result<Option<&'e dyn Step>> {
        let Some(carrier) = step.inside().and_then(|id| ours.iter().find(|s| s.id() == id)) else { return Ok(None) };
        let Some(memory) = memory_of(ledger, *carrier) else { return Ok(None) };
        // MicroK8s goes without a look into it: a cluster that does not answer would be waited for with each step.
        let unseen = self.agreed.is_unseen() && carrier.id() == SNAP;
        let goes = memory.prior.is_null()
            && (unseen || !matches!(self.todo(*carrier, &memory)?, Undo::Keep(_) | Undo::Theirs(_)));
        Ok(goes.then_some(*carrier))
    }

    /// Why a step stays that another one, of this key and name, uses: somebody changed it, too, or only because of the other one. None when it is
    /// the undo alone that the other could not do without, and nothing is left of it to do.
    pub(super) fn why_used(
        &self,
        ledger: &Ledger,
        step: &dyn Step,
        (key, user): (&str, &str),
    ) -> Result<Option<String>> {
        let own = memory_of(ledger, step).map(|memory| self.todo(step, &memory)).transpose();
        match own {
            Ok(Some(Undo::Done)) if !step.is_needed_by(key) => Ok(None),
            Ok(Some(Undo::Keep(why) | Undo::Theirs(why))) => Ok(Some(why)),
            Err(e) if !e.transient => Err(e.in_step(step.id())),
            _ => Ok(Some(format!("{user} stays and needs it"))),
        }
    }
}
