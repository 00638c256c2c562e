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

use std::{ops::ControlFlow, time::Duration};

use crate::{
    bundle,
    engine::{
        consent::Consent,
        event::{Change, Event, Events, Outcome},
        journal::{Journal, Ledger, Record},
        step::{Act, Memo, Probe, SNAP, Stage, Step},
    },
    error::{Error, ExitCode, Result},
    host::{self, Changes, Heard, Host, Progress, microk8s::Identity},
    image::registry,
    secrets,
};

pub(crate) use crate::error::one_line;

mod abreast;
mod bootstrap;
pub(crate) mod check;
pub mod consent;
pub mod event;
pub mod journal;
mod plan;
pub mod step;
mod teardown;

pub use plan::{Plan, StepPlan, Verdict};
pub use teardown::{Removal, UndoPlan};

/// How often a step may act until its fact holds; after that, acting again would not help.
const ROUNDS: u32 = 3;

/// How long the host may take to show what an act brought (a controller that has not made its pods yet).
const SETTLE: Duration = Duration::from_secs(10);

/// A wait looks again after this time even when no watch fires: what it waits for may have no watch.
const LOOK_AT_LEAST_EVERY: Duration = Duration::from_secs(5);

/// How long a command of an earlier, killed run may go on before it is ended: its work is done again, or found done.
const LEFTOVER_WITHIN: Duration = Duration::from_secs(60);

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

impl Engine<'_> {
    /// Makes one step's fact hold.
    fn converge(&self, journal: &Journal, step: &dyn Step) -> Result<Reached> {
        let start = self.host.now();
        let mut change = None;
        let mut rounds = 0;
        let mut acted_at = Duration::ZERO;
        let mut trouble: Option<Error> = None;
        let mut wait = Wait::default();
        loop {
            let found = self.look(step)?;
            let why = match &found {
                Probe::Satisfied { note, warnings } => {
                    self.warn(warnings);
                    if change.is_some() || journal.ledger().is_unsettled(&step.key()) {
                        self.claim(journal, step, &found)?;
                        journal.append(&Record::Done { step: step.key(), microk8s: self.microk8s_of(step) })?;
                    }
                    renew(journal, &journal.ledger(), step)?;
                    self.tell_done(step, change, note, start);
                    return Ok(change.map_or(Reached::Kept, Reached::By));
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
                Probe::Absent | Probe::Differs { .. } => {
                    let acts = step.apply(self.host, &found)?;
                    let why =
                        if let Probe::Differs { why, .. } = &found { why.clone() } else { "not there yet".to_owned() };
                    if acts.is_empty() || (rounds > 0 && self.host.now() < acted_at + SETTLE) {
                        why
                    } else if rounds >= ROUNDS {
                        return Err(not_verified(step, &why, trouble));
                    } else {
                        self.allow(&acts)?;
                        let memo = step.memo(self.host, &found)?;
                        let (recipe, microk8s) = (step.recipe(), self.microk8s_of(step));
                        let anew = found == Probe::Absent;
                        journal.append(&Record::Intent { step: step.key(), memo, recipe, microk8s, anew })?;
                        if let Probe::Differs { why, .. } = &found {
                            self.events.send(Event::Note { message: format!("{}: {why}", step.title()) });
                        }
                        change.get_or_insert(if found == Probe::Absent { Change::Created } else { Change::Changed });
                        match self.act(step, &acts) {
                            Ok(()) => {
                                rounds += 1;
                                // What an earlier round failed for is over: the wait that follows has a reason of its own.
                                trouble = None;
                            }
                            // A server that is not up yet costs no round: the deadline bounds it.
                            Err(e) if e.transient => {
                                trouble = Some(e);
                                acted_at = self.host.now();
                                self.pause(step, trouble.as_ref(), &mut wait);
                                self.check(step, start, &why, trouble.as_ref())?;
                                continue;
                            }
                            Err(e)
                                if matches!(
                                    e.code,
                                    ExitCode::Interrupted
                                        | ExitCode::Unverified
                                        | ExitCode::NotOurs
                                        // What the user gave is wrong, and will be.
                                        | ExitCode::Usage
                                ) =>
                            {
                                return Err(e);
                            }
                            Err(e) => {
                                // Its words count only if the host does not show the effect all the same.
                                rounds = if e.code == ExitCode::TimedOut { ROUNDS } else { rounds + 1 };
                                trouble = Some(e);
                            }
                        }
                        acted_at = self.host.now();
                        self.check_stop()?;
                        wait = Wait::default();
                        continue;
                    }
                }
            };
            self.check(step, start, &why, trouble.as_ref())?;
            wait.tell(self.events, step, &why);
            wait.next(self.host, step);
        }
    }

    /// Writes down that what is there is what this step wants, where a command that was broken off wanted something else, or wanted it gone.
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

    /// Makes the facts of all steps hold, one after the other: what a person switches, and no bootstrap.
    pub fn switch(&self, journal: &Journal, run: &str, command: &str) -> (Outcome, Result<()>) {
        let mut outcome = Outcome::new(ExitCode::Done);
        let result = self.switch_all(journal, run, command, &mut outcome);
        outcome.seconds = self.events.elapsed();
        (outcome, result)
    }

    fn switch_all(&self, journal: &Journal, run: &str, command: &str, outcome: &mut Outcome) -> Result<()> {
        self.settle_leftovers()?;
        let (run, command, at) = (run.to_owned(), command.to_owned(), self.host.unix_time());
        journal.append(&Record::Run { run, command, at, spec: None })?;
        for step in self.stages.iter().flat_map(|stage| &stage.steps) {
            match self.check_stop().and_then(|()| self.converge(journal, &**step)).map_err(|e| e.in_step(step.id())) {
                Ok(reached) => reached.count(outcome),
                Err(error) => {
                    self.events.send(Event::StepFailed { step: step.id().to_owned(), error: (&error).into() });
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// A probe; what cannot be said yet is "on its way".
    fn look(&self, step: &dyn Step) -> Result<Probe> {
        match step.probe(self.host) {
            Err(e) if e.transient => Ok(Probe::pending(one_line(&e))),
            other => other,
        }
    }

    /// The MicroK8s that a step is about, if it is about one. What cannot be asked right now is not written down, and proves nothing later.
    fn microk8s_of(&self, step: &dyn Step) -> Option<Identity> {
        // What of IRIS goes before Longhorn does is in MicroK8s all the same.
        let is_about = step.id() == SNAP || step.inside() == Some(SNAP) || step.id().starts_with("iris.");
        is_about.then(|| Identity::now(self.host).ok().flatten()).flatten()
    }

    /// Whether these acts delete only data that was agreed to.
    fn allow(&self, acts: &[Act]) -> Result<()> {
        acts.iter().try_for_each(|act| self.agreed.check(self.host, act))
    }

    /// Executes acts in order.
    fn act(&self, step: &dyn Step, acts: &[Act]) -> Result<()> {
        for act in acts {
            self.events.send(Event::StepActing { step: step.id().to_owned(), title: step.title(), act: act.show() });
            self.execute(step, act)?;
        }
        Ok(())
    }

    fn execute(&self, step: &dyn Step, act: &Act) -> Result<()> {
        let id = step.id().to_owned();
        match act {
            Act::Run(cmd) => {
                let mut wait = Wait::default();
                let mut end = None;
                let output = self.host.run(cmd, &mut |heard| {
                    match heard {
                        Heard::Line(line) => {
                            self.events.send(Event::Output { step: id.clone(), line: secrets::hide(line) });
                        }
                        // What the command waits for in silence, the step's own probe can tell.
                        Heard::Silence => match self.look(step) {
                            Ok(Probe::Pending { why, .. }) => wait.tell(self.events, step, &why),
                            Ok(Probe::Hopeless { why, hint }) => end = Some((why, hint)),
                            _ => {}
                        },
                    }
                    if end.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
                })?;
                if let Some((why, hint)) = end {
                    let what = format!("{}: {why}", step.title());
                    let cause = format!("`{}` would have gone on for ever; it was ended", cmd.show());
                    return Err(Error::new(ExitCode::Unverified, what).because(cause).hint(hint));
                }
                let is_gone = |words: &str| output.stdout.contains(words) || output.stderr.contains(words);
                if output.ok() || cmd.gone.is_some_and(is_gone) {
                    return Ok(());
                }
                Err(Error::failed(format!("`{}` {}", cmd.show(), output.ended())).because(output.tail()))
            }
            Act::Snapd(change) => self.host.snapd_change(change, &mut self.follower(step)),
            Act::Pull { image } => self.host.pull(image, &mut self.follower(step)),
            Act::Import(import) => bundle::import(self.host, import, &mut self.follower(step)),
            Act::Sideload(sideload) => bundle::sideload(self.host, sideload, &mut self.follower(step)),
            Act::Push(push) => registry::push(self.host, push, &mut self.follower(step)),
            Act::Unpush { repository, digest } => registry::remove(self.host, repository, digest),
            Act::Write(file) => self.host.write(file),
            Act::Kill { processes, .. } => self.host.kill(processes),
            Act::Remove { path, all } => self.host.remove(path, *all),
            Act::Download(file) => self.host.download(file),
            Act::Patch { kind, namespace, name, patch } => self.host.patch(kind, namespace.as_deref(), name, patch),
            Act::Apply(object) => self.host.apply(object, false).map(|_| ()),
            Act::Delete { kind, namespace, name } => self.host.delete(kind, namespace.as_deref(), name),
        }
    }

    /// Tells how far others are with an act, and breaks off at the step's deadline.
    fn follower<'s>(&'s self, step: &'s dyn Step) -> impl FnMut(&str, Option<Progress>) -> ControlFlow<()> + 's {
        let mut wait = Wait::default();
        let begun = self.host.now();
        move |what, progress| {
            match progress {
                Some(progress) => self.tell_progress(step, what, &progress),
                None => wait.tell(self.events, step, what),
            }
            let late = self.host.now().saturating_sub(begun) >= step.deadline();
            if late { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        }
    }

    fn tell_progress(&self, step: &dyn Step, what: &str, progress: &Progress) {
        let Progress { done, total, unit } = *progress;
        let (step, unit, what) = (step.id().to_owned(), unit.to_owned(), what.to_owned());
        self.events.send(Event::StepProgress { step, done, total, unit, what });
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

    fn pause(&self, step: &dyn Step, trouble: Option<&Error>, wait: &mut Wait) {
        if let Some(e) = trouble {
            wait.tell(self.events, step, &one_line(e));
        }
        wait.next(self.host, step);
    }

    /// The two ends of a wait: the person's wish, and the deadline.
    fn check(&self, step: &dyn Step, start: Duration, why: &str, trouble: Option<&Error>) -> Result<()> {
        self.check_stop()?;
        let waited = self.host.now().saturating_sub(start);
        if waited < step.deadline() {
            return Ok(());
        }
        let error = Error::new(ExitCode::TimedOut, format!("{}: not there after {} s", step.title(), waited.as_secs()));
        let cause = trouble.map_or_else(|| why.to_owned(), |t| format!("{why}\n{}", one_line(t)));
        Err(error.because(cause).hint("`iris-mk8s status` shows what is there; run the same command again: it resumes"))
    }

    fn check_stop(&self) -> Result<()> {
        if self.host.stopping() {
            return Err(Error::new(ExitCode::Interrupted, "interrupted").hint("run the same command again: it resumes"));
        }
        Ok(())
    }

    /// Waits for commands of an earlier, killed run, and ends them when they do not end: nothing is ever done twice at a time.
    fn settle_leftovers(&self) -> Result<()> {
        let start = self.host.now();
        let mut told = false;
        let mut watch = None;
        loop {
            let left = self.host.leftovers();
            if left.is_empty() {
                return Ok(());
            }
            if !told {
                told = true;
                for l in &left {
                    let message = format!(
                        "a command of an earlier run still works, waiting for it: {} (group {})",
                        l.command, l.group
                    );
                    self.events.send(Event::Note { message });
                }
            }
            if self.host.now().saturating_sub(start) > LEFTOVER_WITHIN {
                for l in &left {
                    self.events
                        .send(Event::Note { message: format!("ended a command of an earlier run: {}", l.command) });
                    self.host.end(l);
                }
                return Ok(());
            }
            self.check_stop()?;
            let changes =
                watch.get_or_insert_with(|| self.host.watch(&[host::Watch::Pause(Duration::from_millis(200))]));
            changes.next(Duration::from_millis(200));
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

/// A wait: its watches, kept between two looks, and what it told last.
#[derive(Default)]
struct Wait {
    changes: Option<Box<dyn Changes>>,
    told: String,
}

impl Wait {
    fn tell(&mut self, events: &Events, step: &dyn Step, why: &str) {
        if self.told != why {
            why.clone_into(&mut self.told);
            events.send(Event::StepWaiting { step: step.id().to_owned(), title: step.title(), why: why.to_owned() });
        }
    }

    fn next(&mut self, host: &dyn Host, step: &dyn Step) {
        self.changes.get_or_insert_with(|| host.watch(&step.watches())).next(LOOK_AT_LEAST_EVERY);
    }
}

fn not_verified(step: &dyn Step, why: &str, trouble: Option<Error>) -> Error {
    let error = trouble.unwrap_or_else(|| {
        Error::new(ExitCode::Unverified, format!("{}: acted {ROUNDS} times, and still: {why}", step.title()))
    });
    if error.hint.is_none() {
        error.hint("`iris-mk8s status` shows what is there; run the same command again: it resumes")
    } else {
        error
    }
}
