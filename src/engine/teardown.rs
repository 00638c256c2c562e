//! Teardown: the journal's steps backwards, one at a time. What is ours now goes; what somebody changed since stays, and is named.

use std::path::Path;

use super::{
    Engine, one_line,
    ours::{is_of_another, memory_of},
    take_away::{Taken, ends_the_run},
};
use crate::{
    config::place::Place,
    engine::{
        event::{Event, Outcome},
        journal::{Journal, Record},
        step::{Scope, Step},
    },
    error::{Error, ExitCode, Result},
    host::{LOG_DIR, is_log, microk8s::Identity},
};

/// Writes down that the undo of a step begins, unless that is written already.
fn begin_undo(journal: &Journal, step: &dyn Step) -> Result<()> {
    if journal.ledger().is_undoing(&step.key()) {
        return Ok(());
    }
    journal.append(&Record::UndoIntent { step: step.key() })
}

/// Writes down that a step is ours no longer, without an act of its own.
fn forget(journal: &Journal, step: &dyn Step) -> Result<()> {
    begin_undo(journal, step)?;
    journal.append(&Record::Undone { step: step.key() })
}

impl Engine<'_> {
    /// Takes back what is ours, within `reach`. Goes on past a step that fails, so that one stuck thing does not keep the rest.
    pub fn teardown(&self, journal: &Journal, run: &str, reach: Scope) -> (Outcome, Result<()>) {
        let mut outcome = Outcome::new(ExitCode::Done);
        let result = self.take_back(journal, run, reach, &mut outcome);
        outcome.seconds = self.events.elapsed();
        (outcome, result)
    }

    fn take_back(&self, journal: &Journal, run: &str, reach: Scope, outcome: &mut Outcome) -> Result<()> {
        self.settle_leftovers()?;
        let ours = self.ours(&journal.ledger(), reach);
        if ours.is_empty() {
            return Ok(());
        }
        let (run, at) = (run.to_owned(), self.host.unix_time());
        journal.append(&Record::Run { run, command: "teardown".to_owned(), at, spec: None })?;
        let mut carried: Vec<(&dyn Step, &str)> = Vec::new();
        let mut left = Left::default();
        for step in &ours {
            self.check_stop()?;
            let ledger = journal.ledger();
            // It went, or stays, with another one.
            if ledger.memory(&step.key()).is_none() || left.kept.iter().any(|(key, _)| *key == step.key()) {
                continue;
            }
            if let Some(carrier) = self.carrier(&ours, &ledger, *step)? {
                carried.push((*step, carrier.id()));
                continue;
            }
            let of_step = |(_, carrier): &(&dyn Step, &str)| *carrier == step.id();
            let inner: Vec<&dyn Step> = carried.extract_if(.., |c| of_step(c)).map(|(inner, _)| inner).collect();
            match self.undo(journal, *step, &inner, &ours, &mut left) {
                Ok(undone) => outcome.undone += undone,
                Err(e) if ends_the_run(&e) => return Err(e),
                Err(e) => {
                    let e = e.in_step(step.id());
                    self.events.send(Event::StepFailed { step: step.id().to_owned(), error: (&e).into() });
                    left.errors.push(e);
                    // A claim that does not go still needs its password.
                    self.leave_parts(journal, *step, true, &ours, &mut left)?;
                    self.leave_inside(journal, *step, &inner, &mut left)?;
                }
            }
        }
        outcome.kept = left.kept.len() + left.theirs;
        left.into_result()
    }

    /// Takes one step back, and with it those that are inside. How many went: none when it stays, and with it stays what it uses.
    fn undo(
        &self,
        journal: &Journal,
        step: &dyn Step,
        inside: &[&dyn Step],
        ours: &[&dyn Step],
        left: &mut Left,
    ) -> Result<usize> {
        let start = self.host.now();
        let ledger = journal.ledger();
        let Some(memory) = memory_of(&ledger, step) else { return Ok(0) };
        let mut begin = || begin_undo(journal, step);
        let taken = self.take_away(step, &memory, &mut begin)?;
        if let Taken::Away = taken {
            begin()?;
            // Once this step is forgotten, nothing would tell any more that the others went with it: they come first.
            for inner in inside {
                forget(journal, *inner)?;
                let (step, title) = (inner.id().to_owned(), inner.title());
                self.events.send(Event::StepUndone { step, title, seconds: 0.0 });
            }
            journal.append(&Record::Undone { step: step.key() })?;
            let seconds = self.host.now().saturating_sub(start).as_secs_f64();
            self.events.send(Event::StepUndone { step: step.id().to_owned(), title: step.title(), seconds });
            return Ok(1 + inside.len());
        }
        // They come first: once this step is dealt with, nothing would keep them. What went with its MicroK8s needs nothing any more.
        let goes_with_its_own = memory.microk8s.is_some() && is_of_another(&memory, Identity::now(self.host)?.as_ref());
        if !goes_with_its_own {
            let is_ours = matches!(taken, Taken::Kept(_));
            self.leave_parts(journal, step, is_ours, ours, left)?;
        }
        self.leave(journal, step, taken, left)?;
        self.leave_inside(journal, step, inside, left)?;
        Ok(0)
    }

    /// Leaves what was to be removed together with a step that stays after all. The next teardown takes each of them back separately.
    fn leave_inside(&self, journal: &Journal, of: &dyn Step, inside: &[&dyn Step], left: &mut Left) -> Result<()> {
        for inner in inside {
            let is_left = left.kept.iter().any(|(key, _)| *key == inner.key());
            if !is_left && journal.ledger().memory(&inner.key()).is_some() {
                self.leave(
                    journal,
                    *inner,
                    Taken::Kept(format!("it was to be removed with {}, which stays", of.id())),
                    left,
                )?;
            }
        }
        Ok(())
    }

    /// Leaves what a step that stays, as ours or as somebody else's, cannot do without, and what that cannot. It is still ours.
    fn leave_parts(
        &self,
        journal: &Journal,
        of: &dyn Step,
        is_ours: bool,
        ours: &[&dyn Step],
        left: &mut Left,
    ) -> Result<()> {
        let key = of.key();
        let is_part = |s: &&&dyn Step| if is_ours { s.is_needed_while_ours(&key) } else { s.is_needed_by(&key) };
        for part in ours.iter().filter(is_part) {
            let ledger = journal.ledger();
            let is_left = left.kept.iter().any(|(key, _)| *key == part.key());
            if !is_left
                && ledger.memory(&part.key()).is_some()
                && let Some(why) = self.why_used(&ledger, *part, (&key, of.id()))?
            {
                self.leave_parts(journal, *part, true, ours, left)?;
                self.leave(journal, *part, Taken::Kept(why), left)?;
            }
        }
        Ok(())
    }

    /// Writes down and tells that a step stays, as ours or as somebody else's.
    fn leave(&self, journal: &Journal, step: &dyn Step, how: Taken, left: &mut Left) -> Result<()> {
        begin_undo(journal, step)?;
        let why = match how {
            Taken::Away => return Ok(()),
            Taken::Theirs(why) => {
                // Told first: once it is forgotten, no later command names it any more.
                self.events.send(Event::StepLeft { step: step.id().to_owned(), title: step.title(), why });
                journal.append(&Record::Undone { step: step.key() })?;
                left.theirs += 1;
                return Ok(());
            }
            Taken::Kept(why) => {
                journal.append(&Record::Kept { step: step.key(), why: why.clone() })?;
                left.kept.push((step.key(), format!("{}: {why}", step.title())));
                why
            }
        };
        self.events.send(Event::StepLeft { step: step.id().to_owned(), title: step.title(), why });
        Ok(())
    }

    /// The end of a reset that took everything back: our own files go last, since until here each of them was needed to go on after an
    /// interruption. What somebody else put beside them stays, and is named.
    ///
    /// # Errors
    /// The file system refuses.
    pub fn end_reset(&self, journal: Journal) -> Result<()> {
        let logs = Path::new(LOG_DIR);
        let (ours, theirs): (Vec<String>, Vec<String>) =
            self.host.names(logs).into_iter().partition(|name| is_log(name));
        if theirs.is_empty() {
            // With the log of this run, which may come only now.
            self.host.remove(logs, true)?;
        } else {
            ours.iter().try_for_each(|name| self.host.remove(&logs.join(name), false))?;
        }
        journal.remove()?;
        for folder in [logs, &Place::default().dir] {
            let left: Vec<String> = self.host.names(folder).into_iter().filter(|name| !is_log(name)).collect();
            if !left.is_empty() {
                let message = format!(
                    "{} stays: it contains {}, which somebody else put there",
                    folder.display(),
                    left.join(", ")
                );
                self.events.send(Event::Warning { message });
            }
        }
        Ok(())
    }
}

/// What a teardown leaves, and why.
#[derive(Default)]
struct Left {
    /// Keys and reasons of what stays ours.
    kept: Vec<(String, String)>,
    /// How many steps are somebody else's by now.
    theirs: usize,
    errors: Vec<Error>,
}

impl Left {
    fn into_result(self) -> Result<()> {
        let failed = self.errors.iter().map(|e| format!("{}: {}", e.step.as_deref().unwrap_or("?"), one_line(e)));
        let kept = self.kept.iter().map(|(key, why)| format!("{key}: {why}"));
        let causes: Vec<String> = failed.chain(kept).collect();
        if causes.is_empty() {
            return Ok(());
        }
        let (what, hint) = match self.errors.first() {
            Some(first) => (
                "not everything could be taken back",
                first.hint.clone().unwrap_or_else(|| "run the same command again: it resumes".to_owned()),
            ),
            None => (
                "some of what iris-mk8s made is still there",
                "the journal still knows it: once the reason is gone, run the same command again".to_owned(),
            ),
        };
        Err(Error::new(ExitCode::Residue, what).because(causes.join("\n")).hint(hint))
    }
}
