//! `stop` and `start`: steps one after the other, without a bootstrap.

use super::Engine;
use crate::{
    engine::{
        event::{Event, Outcome},
        journal::{Journal, Record},
    },
    error::{ExitCode, Result},
};

impl Engine<'_> {
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
}
