//! Waiting: for what others do, for a deadline, and for commands that an earlier run left behind.

use std::time::Duration;

use super::{Engine, one_line};
use crate::{
    engine::{
        event::{Event, Events},
        step::Step,
    },
    error::{Error, ExitCode, Result},
    host::{self, Changes, Host},
};

/// How long a command of an earlier, killed run may continue before it is ended: its work is done again, or found done.
const LEFTOVER_WITHIN: Duration = Duration::from_secs(60);

/// A wait looks again after this time even when no watch fires: what it waits for may have no watch.
const LOOK_AT_LEAST_EVERY: Duration = Duration::from_secs(5);

/// A wait: its watches, kept between two looks, and what it told last.
#[derive(Default)]
pub(super) struct Wait {
    changes: Option<Box<dyn Changes>>,
    told: String,
}

impl Wait {
    pub(super) fn tell(&mut self, events: &Events, step: &dyn Step, why: &str) {
        if self.told != why {
            why.clone_into(&mut self.told);
            events.send(Event::StepWaiting { step: step.id().to_owned(), title: step.title(), why: why.to_owned() });
        }
    }

    pub(super) fn next(&mut self, host: &dyn Host, step: &dyn Step) {
        self.changes.get_or_insert_with(|| host.watch(&step.watches())).next(LOOK_AT_LEAST_EVERY);
    }
}

impl Engine<'_> {
    /// Ends a wait when the person interrupts the run, or when the deadline has passed.
    pub(super) fn check(&self, step: &dyn Step, start: Duration, why: &str, trouble: Option<&Error>) -> Result<()> {
        self.check_stop()?;
        let waited = self.host.now().saturating_sub(start);
        if waited < step.deadline() {
            return Ok(());
        }
        let error =
            Error::new(ExitCode::TimedOut, format!("{}: not reached within {} s", step.title(), waited.as_secs()));
        let cause = trouble.map_or_else(|| why.to_owned(), |t| format!("{why}\n{}", one_line(t)));
        Err(error.because(cause).hint("`iris-mk8s status` shows what is there; run the same command again: it resumes"))
    }

    pub(super) fn check_stop(&self) -> Result<()> {
        if self.host.stopping() {
            return Err(Error::new(ExitCode::Interrupted, "interrupted").hint("run the same command again: it resumes"));
        }
        Ok(())
    }

    /// Waits for commands of an earlier, killed run, and ends them when they do not end: nothing is ever done twice at a time.
    pub(super) fn settle_leftovers(&self) -> Result<()> {
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
                        "a command of an earlier run is still running; waiting for it: {} (group {})",
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
