//! The probes of a plan run in parallel: each starts as soon as its result can matter, so that a plan takes as long as its slowest probes and not
//! as all of them together. What is made of them is the plan's, one step after the other.

use std::{
    collections::{BTreeSet, HashMap},
    sync::mpsc,
    thread,
};

use super::Engine;
use crate::{
    engine::step::{Probe, Scope, Stage, Step},
    error::{Result, defect},
};

/// What was found, by the step's name.
pub(super) type Looks = HashMap<String, Result<Probe>>;

fn keeps(looks: &Looks, step: &dyn Step) -> bool {
    matches!(looks.get(step.id()), Some(Ok(Probe::Satisfied { .. })))
}

/// A check says nothing of value before the steps ahead of it have done their work.
fn is_check(stage: &Stage, step: &dyn Step) -> bool {
    stage.id != "preflight" && step.scope() == Scope::Nothing
}

impl Engine<'_> {
    /// Looks at every step that a plan can look at.
    pub(super) fn look_abreast(&self) -> Looks {
        let mut looks = Looks::new();
        let mut begun: BTreeSet<&str> = BTreeSet::new();
        thread::scope(|scope| {
            let (ends, ended) = mpsc::channel();
            let mut running = 0;
            loop {
                for stage in self.stages {
                    for (at, step) in stage.steps.iter().enumerate() {
                        if !begun.contains(step.id()) && !self.host.stopping() && self.is_worth_while(&looks, stage, at)
                        {
                            begun.insert(step.id());
                            running += 1;
                            let ends = ends.clone();
                            scope.spawn(move || {
                                let _ = ends.send((step.id(), defect::caught(|| self.look(&**step))));
                            });
                        }
                    }
                }
                if running == 0 {
                    break;
                }
                let Ok((id, found)) = ended.recv() else { break };
                running -= 1;
                looks.insert(id.to_owned(), found);
            }
        });
        looks
    }

    /// Whether the plan will ask for this look, as far as is known.
    fn is_worth_while(&self, looks: &Looks, stage: &Stage, at: usize) -> bool {
        let step = &*stage.steps[at];
        let before = self.needed(stage);
        // What preflight finds takes longest, and is no reason not to look.
        let mut needed = before.iter().filter(|s| s.id != "preflight").flat_map(|s| &s.steps);
        if !is_check(stage, step) {
            return needed.all(|s| !s.opens() || keeps(looks, &**s));
        }
        // Of the checks ahead of it in its stage the first one is enough: what comes after hangs on that.
        let mut checks = stage.steps[..at].iter().filter(|s| is_check(stage, &***s));
        let mut others = stage.steps[..at].iter().filter(|s| !is_check(stage, &***s));
        needed.all(|s| keeps(looks, &**s))
            && others.all(|s| keeps(looks, &**s))
            && checks.next().is_none_or(|s| keeps(looks, &**s))
    }
}
