//! Takes one thing away: repeats its undo until nothing is left to do.

use std::time::Duration;

use super::{Engine, SETTLE, Wait, one_line};
use crate::{
    engine::{
        event::{Event, Outcome},
        step::{Act, Memory, Step, Undo},
    },
    error::{Error, ExitCode, Result},
};

/// The result of taking a step away.
pub(super) enum Taken {
    Away,
    /// Its reason; it is still ours.
    Kept(String),
    /// Its reason; it is somebody else's.
    Theirs(String),
}

/// Whether the teardown must stop here: the person interrupted it, or data is there that nobody agreed to lose.
pub(super) fn ends_the_run(error: &Error) -> bool {
    matches!(error.code, ExitCode::Interrupted | ExitCode::NotOurs)
}

impl Engine<'_> {
    /// Acts until a step's undo has nothing left to do. `begin` is called before each act that may be done.
    ///
    /// New acts follow each other at once. The same ones again wait until what the first ones brought had time to show: an act that
    /// brings nothing would be repeated without a pause.
    pub(super) fn take_away(
        &self,
        step: &dyn Step,
        memory: &Memory,
        begin: &mut dyn FnMut() -> Result<()>,
    ) -> Result<Taken> {
        let start = self.host.now();
        let mut wait = Wait::default();
        let mut acted = Acted::default();
        let mut trouble: Option<Error> = None;
        loop {
            let todo = match self.todo(step, memory) {
                Err(e) if e.transient => Undo::Pending(one_line(&e)),
                other => other?,
            };
            if matches!(todo, Undo::Acts(_))
                && let Some(why) = self.agreed.stays(&step.key())
            {
                return Ok(Taken::Kept(format!(
                    "{why}; that was so when it was asked for, and the next teardown looks again"
                )));
            }
            let why = match todo {
                Undo::Done => return Ok(Taken::Away),
                Undo::Keep(why) => return Ok(Taken::Kept(why)),
                Undo::Theirs(why) => return Ok(Taken::Theirs(why)),
                Undo::Pending(why) => why,
                Undo::Acts(acts) if acted.lately(&acts, self.host.now()) => {
                    trouble.as_ref().map_or_else(|| unseen(&acts), one_line)
                }
                Undo::Acts(acts) => {
                    trouble = match self.allow(&acts) {
                        Ok(()) => {
                            begin()?;
                            self.act(step, &acts).err()
                        }
                        Err(e) => Some(e),
                    };
                    let why = trouble.as_ref().map_or_else(|| unseen(&acts), one_line);
                    acted.note(acts, self.host.now());
                    if let Some(e) = trouble.take_if(|e| ends_the_run(e)) {
                        return Err(e);
                    }
                    if trouble.is_none() {
                        self.check(step, start, &why, None)?;
                        continue;
                    }
                    why
                }
            };
            self.check(step, start, &why, trouble.as_ref())?;
            wait.tell(self.events, step, &why);
            wait.next(self.host, step);
        }
    }

    /// Takes each of these away, whoever made it: for what is broken, and goes because the person said so. Stops at the first that does not go.
    ///
    /// # Errors
    /// One cannot be taken away.
    pub fn repair(&self, outcome: &mut Outcome) -> Result<()> {
        self.settle_leftovers()?;
        for step in self.stages.iter().flat_map(|stage| &stage.steps) {
            self.check_stop()?;
            let start = self.host.now();
            let (id, title) = (step.id().to_owned(), step.title());
            match self.take_away(&**step, &Memory::default(), &mut || Ok(())).map_err(|e| e.in_step(step.id()))? {
                Taken::Away => {
                    outcome.undone += 1;
                    let seconds = self.host.now().saturating_sub(start).as_secs_f64();
                    self.events.send(Event::StepUndone { step: id, title, seconds });
                }
                Taken::Kept(why) | Taken::Theirs(why) => {
                    outcome.kept += 1;
                    self.events.send(Event::StepLeft { step: id, title, why });
                }
            }
        }
        Ok(())
    }
}

/// What is said of acts that did not fail, and after which the same ones are still to do.
fn unseen(acts: &[Act]) -> String {
    format!("the effect is not visible yet: {}", acts.first().map(Act::show).unwrap_or_default())
}

/// Acts of a moment ago, each with its time.
#[derive(Default)]
struct Acted(Vec<(Act, Duration)>);

impl Acted {
    /// Whether all of these were done so short a time ago that their effect may still be to come.
    fn lately(&self, acts: &[Act], now: Duration) -> bool {
        acts.iter().all(|act| self.0.iter().any(|(done, at)| done == act && now < *at + SETTLE))
    }

    fn note(&mut self, acts: Vec<Act>, now: Duration) {
        self.0.retain(|(done, at)| now < *at + SETTLE && !acts.contains(done));
        self.0.extend(acts.into_iter().map(|act| (act, now)));
    }
}
