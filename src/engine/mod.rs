//! The engine: the only code that acts. One protocol for every step:
//!
//! ```text
//! probe ── satisfied ─────────────► kept
//!   │ absent / differs / pending
//!   ├─ Intent{step, prior} ─ sync ─► act ─► probe until satisfied or the deadline ─► Done{step}
//! ```
//!
//! The probe alone decides what to do next; the journal alone decides what may be taken back. Whether an act took effect is asked
//! of the host, never of an exit code.

use std::time::Duration;

use crate::{
    engine::{
        consent::Consent,
        event::{Change, Event, Events, Outcome},
        journal::{Journal, Ledger, Record},
        step::{Memo, Probe, SNAP, Stage, Step},
    },
    error::{Error, ExitCode, Result},
    host::{Host, microk8s::Identity},
};

pub(crate) use crate::error::one_line;

mod abreast;
mod act;
pub mod altered;
mod bootstrap;
pub(crate) mod check;
pub mod consent;
pub mod event;
mod execute;
pub mod journal;
mod ours;
mod plan;
pub mod step;
mod switch;
mod take_away;
mod teardown;
mod undo_plan;
mod wait;

use wait::Wait;

pub use plan::{Plan, StepPlan, Verdict};
pub use undo_plan::{Removal, UndoPlan};

/// How often a step may act until its fact holds; after that, acting again would not help.
const ROUNDS: u32 = 3;

/// How long the host may take to show what an act brought (a controller that has not made its pods yet).
const SETTLE: Duration = Duration::from_secs(10);

/// The engine: a host, the stages, and where to tell what happens.
pub struct Engine<'a> {
    /// The host.
    pub host: &'a dyn Host,
    /// The stages, in an order in which each comes after those it needs.
    pub stages: &'a [Stage],
    /// Where to tell.
    pub events: &'a Events,
    /// Stages that may run side by side; one for a host with a modelled clock.
    pub workers: usize,
    /// The data that the person agreed to lose.
    pub agreed: &'a dyn Consent,
}

/// How a step came to be as wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reached {
    Kept,
    By(Change),
}

impl Reached {
    fn count(self, outcome: &mut Outcome) {
        match self {
            Self::Kept => outcome.kept += 1,
            Self::By(Change::Created) => outcome.created += 1,
            Self::By(Change::Changed) => outcome.changed += 1,
        }
    }
}

/// What is remembered about a step between two probes.
#[derive(Default)]
struct Tries {
    start: Duration,
    change: Option<Change>,
    /// How often it acted.
    rounds: u32,
    acted_at: Duration,
    /// Why the last act failed.
    trouble: Option<Error>,
    wait: Wait,
}

/// The result of an attempt to act.
enum Attempt {
    /// It was made: look again at once.
    Made,
    /// There is nothing to do now, and why the fact does not hold: wait.
    NotNow(String),
}

/// Whether acting again cannot help: the person interrupted the run, or what they asked for is wrong and will be.
fn is_final(error: &Error) -> bool {
    matches!(error.code, ExitCode::Interrupted | ExitCode::Unverified | ExitCode::NotOurs | ExitCode::Usage)
}

impl Engine<'_> {
    /// Makes one step's fact hold.
    fn converge(&self, journal: &Journal, step: &dyn Step) -> Result<Reached> {
        let mut tries = Tries { start: self.host.now(), ..Tries::default() };
        loop {
            let found = self.look(step)?;
            let why = match &found {
                Probe::Satisfied { note, warnings } => {
                    self.warn(warnings);
                    if tries.change.is_some() || journal.ledger().is_unsettled(&step.key()) {
                        self.claim(journal, step, &found)?;
                        journal.append(&Record::Done { step: step.key(), microk8s: self.microk8s_of(step) })?;
                    }
                    renew(journal, &journal.ledger(), step)?;
                    self.tell_done(step, tries.change, note, tries.start);
                    return Ok(tries.change.map_or(Reached::Kept, Reached::By));
                }
                Probe::Refused { why, hint } => {
                    return Err(Error::new(ExitCode::NotOurs, format!("refused: {why}")).hint(hint.clone()));
                }
                Probe::Hopeless { why, hint } => {
                    return Err(Error::new(ExitCode::Unverified, format!("{}: {why}", step.title())).hint(hint.clone()));
                }
                Probe::Pending { why, progress } => {
                    if let Some(progress) = progress {
                        self.tell_progress(step, why, progress);
                    }
                    why.clone()
                }
                Probe::Absent | Probe::Differs { .. } => match self.attempt(journal, step, &found, &mut tries)? {
                    Attempt::Made => continue,
                    Attempt::NotNow(why) => why,
                },
            };
            self.check(step, tries.start, &why, tries.trouble.as_ref())?;
            tries.wait.tell(self.events, step, &why);
            tries.wait.next(self.host, step);
        }
    }

    /// Acts once on what a probe found, if something is to be done about it now.
    fn attempt(&self, journal: &Journal, step: &dyn Step, found: &Probe, tries: &mut Tries) -> Result<Attempt> {
        let acts = step.apply(self.host, found)?;
        let why = if let Probe::Differs { why, .. } = found { why.clone() } else { "not there yet".to_owned() };
        if acts.is_empty() || (tries.rounds > 0 && self.host.now() < tries.acted_at + SETTLE) {
            return Ok(Attempt::NotNow(why));
        }
        if tries.rounds >= ROUNDS {
            return Err(not_verified(step, &why, tries.trouble.take()));
        }
        self.allow(&acts)?;
        self.intend(journal, step, found)?;
        let change = if *found == Probe::Absent { Change::Created } else { Change::Changed };
        tries.change.get_or_insert(change);
        let ended = self.act(step, &acts);
        tries.acted_at = self.host.now();
        match ended {
            Ok(()) => {
                tries.rounds += 1;
                // What an earlier round failed for is over: the wait that follows has a reason of its own.
                tries.trouble = None;
            }
            // A server that is not up yet costs no round: the deadline bounds it.
            Err(e) if e.transient => {
                tries.wait.tell(self.events, step, &one_line(&e));
                tries.wait.next(self.host, step);
                tries.trouble = Some(e);
                self.check(step, tries.start, &why, tries.trouble.as_ref())?;
                return Ok(Attempt::Made);
            }
            Err(e) if is_final(&e) => return Err(e),
            Err(e) => {
                // Its words count only if the host does not show the effect all the same.
                tries.rounds = if e.code == ExitCode::TimedOut { ROUNDS } else { tries.rounds + 1 };
                tries.trouble = Some(e);
            }
        }
        self.check_stop()?;
        tries.wait = Wait::default();
        Ok(Attempt::Made)
    }

    /// Writes down what is about to be done, and tells what differs.
    fn intend(&self, journal: &Journal, step: &dyn Step, found: &Probe) -> Result<()> {
        let memo = step.memo(self.host, found)?;
        let (recipe, microk8s) = (step.recipe(), self.microk8s_of(step));
        let anew = *found == Probe::Absent;
        journal.append(&Record::Intent { step: step.key(), memo, recipe, microk8s, anew })?;
        if let Probe::Differs { why, .. } = found {
            self.events.send(Event::Note { message: format!("{}: {why}", step.title()) });
        }
        Ok(())
    }

    /// Writes down that what is there is what this step wants, where an interrupted command wanted something else, or wanted it removed.
    fn claim(&self, journal: &Journal, step: &dyn Step, found: &Probe) -> Result<()> {
        let ledger = journal.ledger();
        let Some(memory) = ledger.memory(&step.key()) else { return Ok(()) };
        let last = memory.wants.last();
        let memo = match last {
            Some(want) if !step.newest_want_counts() => Memo { prior: memory.prior.clone(), want: want.clone() },
            _ => step.memo(self.host, found)?,
        };
        if last == Some(&memo.want) && !ledger.is_undoing(&step.key()) {
            return Ok(());
        }
        let (recipe, microk8s) = (step.recipe(), self.microk8s_of(step));
        journal.append(&Record::Intent { step: step.key(), memo, recipe, microk8s, anew: false })
    }

    /// Probes a step; a transient error counts as pending.
    fn look(&self, step: &dyn Step) -> Result<Probe> {
        match step.probe(self.host) {
            Err(e) if e.transient => Ok(Probe::pending(one_line(&e))),
            other => other,
        }
    }

    /// The MicroK8s that a step belongs to, if any. If it cannot be read right now, nothing is written down, and nothing is concluded from that later.
    fn microk8s_of(&self, step: &dyn Step) -> Option<Identity> {
        // IRIS on Longhorn is removed separately, but it is in MicroK8s all the same.
        let is_about = step.id() == SNAP || step.inside() == Some(SNAP) || step.id().starts_with("iris.");
        is_about.then(|| Identity::now(self.host).ok().flatten()).flatten()
    }

    fn tell_done(&self, step: &dyn Step, change: Option<Change>, note: &str, start: Duration) {
        let (step, title, note) = (step.id().to_owned(), step.title(), note.to_owned());
        let seconds = self.host.now().saturating_sub(start).as_secs_f64();
        self.events.send(match change {
            None => Event::StepKept { step, title, note, seconds },
            Some(change) => Event::StepDone { step, title, change, note, seconds },
        });
    }

    fn warn(&self, warnings: &[String]) {
        for message in warnings {
            self.events.send(Event::Warning { message: message.clone() });
        }
    }
}

/// Writes down what an undo of a step of ours needs to know, where the newest spec says something else than the journal.
fn renew(journal: &Journal, ledger: &Ledger, step: &dyn Step) -> Result<()> {
    let recipe = step.recipe();
    let is_other = |memory: &step::Memory| memory.recipe != recipe;
    if recipe.is_null() || ledger.is_undoing(&step.key()) || !ledger.memory(&step.key()).is_some_and(is_other) {
        return Ok(());
    }
    journal.append(&Record::Recipe { step: step.key(), recipe })
}

fn not_verified(step: &dyn Step, why: &str, trouble: Option<Error>) -> Error {
    let error = trouble.unwrap_or_else(|| {
        Error::new(ExitCode::Unverified, format!("{}: tried {ROUNDS} times, but {why}", step.title()))
    });
    if error.hint.is_none() {
        error.hint("`iris-mk8s status` shows what is there; run the same command again: it resumes")
    } else {
        error
    }
}
