//! Bootstrap: look at everything, refuse before anything is touched, then run the stages, side by side where they allow it.

use std::{
    collections::{BTreeSet, HashSet},
    sync::mpsc,
};

use super::{Engine, Plan, Reached, Verdict};
use crate::{
    config::spec::Spec,
    engine::{
        event::{Event, Outcome},
        journal::{Journal, Record},
        step::{Stage, Step},
    },
    error::{Error, ExitCode, Result, defect},
};

/// What a stage brought.
struct StageEnd {
    at: usize,
    reached: Vec<Reached>,
    error: Option<Error>,
}

impl Engine<'_> {
    /// Makes the host match the spec. Journal and lock are taken only when there is something to do.
    ///
    /// The outcome counts what was done, whether or not an error ended it.
    pub fn bootstrap(&self, open: impl FnOnce() -> Result<Journal>, run: &str, spec: &Spec) -> (Outcome, Result<()>) {
        let mut outcome = Outcome::new(ExitCode::Done);
        let result = self.run_stages(open, run, spec, &mut outcome);
        outcome.seconds = self.events.elapsed();
        (outcome, result)
    }

    fn run_stages(
        &self,
        open: impl FnOnce() -> Result<Journal>,
        run: &str,
        spec: &Spec,
        outcome: &mut Outcome,
    ) -> Result<()> {
        // The lock comes first: what a plan saw while another run was at work would be of no use.
        let journal = open()?;
        if journal.torn > 0 {
            let message = format!(
                "the journal's last record was torn ({} bytes, cut off): an earlier run lost its power there",
                journal.torn
            );
            self.events.send(Event::Note { message });
        }
        let result = self.run_locked(&journal, run, spec, outcome);
        // A refusal leaves the host as it was: not even an empty journal stays.
        if journal.ledger().is_empty() && journal.ledger().spec.is_none() {
            journal.discard()?;
        }
        result
    }

    fn run_locked(&self, journal: &Journal, run: &str, spec: &Spec, outcome: &mut Outcome) -> Result<()> {
        self.settle_leftovers()?;
        let plan = self.plan()?;
        for step in &plan.steps {
            self.warn(&step.warnings);
        }
        plan.refusals()?;
        let command = "bootstrap".to_owned();
        // A spec that changes nothing needs no record: a second run writes nothing at all.
        if !plan.is_empty() || journal.ledger().spec.as_ref() != Some(spec) {
            let (run, at, spec) = (run.to_owned(), self.host.unix_time(), Some(Box::new(spec.clone())));
            journal.append(&Record::Run { run, command, at, spec })?;
        }
        let mut waiting: BTreeSet<usize> = (0..self.stages.len()).collect();
        let mut done: HashSet<&str> = HashSet::new();
        let mut errors: Vec<Error> = Vec::new();
        std::thread::scope(|scope| {
            let (ends, ended) = mpsc::channel::<StageEnd>();
            let mut running: BTreeSet<usize> = BTreeSet::new();
            loop {
                let free = |at: usize, running: &BTreeSet<usize>| {
                    let stage = &self.stages[at];
                    stage.needs.iter().all(|need| done.contains(need))
                        && (stage.lock.is_none() || running.iter().all(|r| self.stages[*r].lock != stage.lock))
                };
                // After a failure nothing new starts; what runs comes to its end.
                while errors.is_empty() && running.len() < self.workers {
                    let Some(at) = waiting.iter().copied().find(|at| free(*at, &running)) else { break };
                    waiting.remove(&at);
                    running.insert(at);
                    if self.workers == 1 {
                        let _ = ends.send(self.run_stage(journal, at, &plan));
                    } else {
                        let (ends, plan) = (ends.clone(), &plan);
                        scope.spawn(move || drop(ends.send(self.run_stage(journal, at, plan))));
                    }
                }
                if running.is_empty() {
                    break;
                }
                let Ok(end) = ended.recv() else { break };
                running.remove(&end.at);
                end.reached.iter().for_each(|reached| reached.count(outcome));
                match end.error {
                    None => _ = done.insert(self.stages[end.at].id),
                    Some(error) => errors.push(error),
                }
            }
        });
        // Two stages may fail at the same time: a defect is the weightiest reason, and "interrupted" says the least.
        errors.sort_by_key(|e| match e.code {
            ExitCode::Bug => 0,
            ExitCode::Interrupted => 2,
            _ => 1,
        });
        errors.into_iter().next().map_or(Ok(()), Err)
    }

    fn run_stage(&self, journal: &Journal, at: usize, plan: &Plan) -> StageEnd {
        let stage: &Stage = &self.stages[at];
        let start = self.host.now();
        self.events.send(Event::StageStarted { stage: stage.id.to_owned() });
        let mut end = StageEnd { at, reached: Vec::new(), error: None };
        for step in &stage.steps {
            // A panic must not take the thread along: nobody would learn that this stage has ended.
            match defect::caught(|| self.reach(journal, &**step, plan)).map_err(|e| e.in_step(step.id())) {
                Ok(reached) => end.reached.push(reached),
                Err(error) => {
                    self.events.send(Event::StepFailed { step: step.id().to_owned(), error: (&error).into() });
                    end.error = Some(error);
                    return end;
                }
            }
        }
        let seconds = self.host.now().saturating_sub(start).as_secs_f64();
        self.events.send(Event::StageDone { stage: stage.id.to_owned(), seconds });
        end
    }

    /// Makes one step's fact hold, unless the plan has seen that it does.
    fn reach(&self, journal: &Journal, step: &dyn Step, plan: &Plan) -> Result<Reached> {
        let ledger = journal.ledger();
        let planned = plan
            .step(step.id())
            .filter(|p| p.verdict == Verdict::Keep && p.settled && !ledger.is_unsettled(&step.key()));
        if let Some(kept) = planned {
            let (id, title, note) = (kept.step.clone(), kept.title.clone(), kept.note.clone());
            self.events.send(Event::StepKept { step: id, title, note, seconds: 0.0 });
            super::renew(journal, &ledger, step)?;
            return Ok(Reached::Kept);
        }
        self.check_stop()?;
        self.converge(journal, step)
    }
}
