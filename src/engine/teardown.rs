//! Teardown: the journal's steps backwards, one at a time. What is ours now goes; what somebody changed since stays, and is named.

use std::{path::Path, time::Duration};

use serde::Serialize;

use super::{Engine, Wait, one_line};
use crate::{
    config::place::Place,
    engine::{
        event::{Event, Outcome},
        journal::{Journal, Ledger, Record},
        step::{Act, Memory, SNAP, Scope, Step, Undo, is_named},
    },
    error::{Error, ExitCode, Result},
    host::microk8s,
    host::{LOG_DIR, is_log, microk8s::Identity},
};

/// What would happen to a step.
#[derive(Clone, Debug, Serialize)]
pub struct Removal {
    /// The step.
    pub step: String,
    /// Its key in the journal, which also says what it is about where there are several.
    pub key: String,
    /// What it is.
    pub title: String,
    /// What would be run and deleted.
    pub acts: Vec<String>,
    /// Why it stays, if it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep: Option<String>,
    /// Whether it stays because it is somebody else's by now.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub theirs: bool,
    /// The step that takes it along.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub with: Option<String>,
    /// Why it cannot be looked at yet. The teardown waits until it can, and then takes away what is ours.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub later: Option<String>,
}

/// What a teardown would do, in order.
#[derive(Clone, Debug, Serialize)]
pub struct UndoPlan {
    /// The steps.
    pub steps: Vec<Removal>,
}

impl UndoPlan {
    /// Whether a step goes, by itself or with another one: by its key, by its name, or by a part of its key that ends in a slash.
    pub fn goes(&self, name: &str) -> bool {
        let is = |key: &str| is_named(key, name) || (name.ends_with('/') && key.starts_with(name));
        self.steps.iter().any(|step| is(&step.key) && step.keep.is_none())
    }

    /// The keys of the steps that stay, and why.
    pub fn stays(&self) -> impl Iterator<Item = (&str, &str)> {
        self.steps.iter().filter_map(|step| Some((step.key.as_str(), step.keep.as_deref()?)))
    }

    /// The plan for people.
    pub fn show(&self) -> String {
        let mut text = String::new();
        for step in &self.steps {
            let what = match (&step.keep, &step.with, &step.later) {
                (Some(why), ..) => {
                    let why = why.replace('\n', "\n            ");
                    format!("keep   {:<22} {}: {why}", step.step, step.title)
                }
                (None, None, Some(why)) => {
                    format!(
                        "wait   {:<22} {}: what is ours goes as soon as it can be looked at ({why})",
                        step.step, step.title
                    )
                }
                (None, Some(with), _) => format!("remove {:<22} {}, together with {with}", step.step, step.title),
                (None, None, None) => format!("remove {:<22} {}", step.step, step.title),
            };
            text.push_str(&format!("  {what}\n"));
            for act in &step.acts {
                text.push_str(&format!("            {act}\n"));
            }
        }
        if self.steps.is_empty() {
            text.push_str("nothing of ours is there\n");
        }
        text
    }
}

/// Why nothing in a MicroK8s is ours.
const REPLACED: &str =
    "MicroK8s was removed and installed anew since, and is somebody else's; `snap remove --purge microk8s` removes it";

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

/// What an undo is told of a step of ours.
fn memory_of(ledger: &Ledger, step: &dyn Step) -> Option<Memory> {
    let clears_ours = step.clears().is_some_and(|id| ledger.steps().any(|key| is_named(key, id)));
    ledger.memory(&step.key()).map(|memory| Memory { clears_ours, ..memory.clone() })
}

/// Whether a step was made in a MicroK8s that is gone, and another one is there now.
fn is_of_another(memory: &Memory, now: Option<&Identity>) -> bool {
    memory.microk8s.as_ref().zip(now).is_some_and(|(was, now)| was.is_another(now))
}

/// What became of a step.
enum Taken {
    Away,
    /// Its reason; it is still ours.
    Kept(String),
    /// Its reason; it is somebody else's.
    Theirs(String),
}

/// Whether nothing more may be taken back after this: the person interrupted it, or data is there that nobody agreed to lose.
fn ends_the_run(error: &Error) -> bool {
    matches!(error.code, ExitCode::Interrupted | ExitCode::NotOurs)
}

impl Engine<'_> {
    /// The steps that a teardown of this reach takes back, the last one first.
    fn ours<'e>(&'e self, ledger: &Ledger, reach: Scope) -> Vec<&'e dyn Step> {
        let all = self.stages.iter().rev().flat_map(|stage| stage.steps.iter().rev());
        let is_ours = |step: &&dyn Step| step.scope() <= reach && ledger.memory(&step.key()).is_some();
        let mut ours: Vec<&dyn Step> = all.map(|step| &**step).filter(is_ours).collect();
        if self.agreed.is_unseen() {
            // What is in a cluster that cannot be asked goes with it: nothing in it can be taken back by itself before.
            ours.sort_by_key(|step| match step.inside() {
                Some(SNAP) => 0,
                _ if step.id() == SNAP => 1,
                _ => 2,
            });
        }
        ours
    }

    /// What is left to do for a step. In a MicroK8s that is not the one it was made in, nothing is ours; and what was in one that is gone,
    /// went with it.
    fn todo(&self, step: &dyn Step, memory: &Memory) -> Result<Undo> {
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
    fn carrier<'e>(&'e self, ours: &[&'e dyn Step], ledger: &Ledger, step: &dyn Step) -> Result<Option<&'e dyn Step>> {
        let Some(carrier) = step.inside().and_then(|id| ours.iter().find(|s| s.id() == id)) else { return Ok(None) };
        let Some(memory) = memory_of(ledger, *carrier) else { return Ok(None) };
        // MicroK8s goes without a look into it: a cluster that does not answer would be waited for with each step.
        let unseen = self.agreed.is_unseen() && carrier.id() == SNAP;
        let goes = memory.prior.is_null()
            && (unseen || !matches!(self.todo(*carrier, &memory)?, Undo::Keep(_) | Undo::Theirs(_)));
        Ok(goes.then_some(*carrier))
    }

    /// Why a step stays that another one, of this key and name, uses: somebody changed it too, or because of the other alone. None when it is
    /// the undo alone that the other could not do without, and nothing is left of it to do.
    fn why_used(&self, ledger: &Ledger, step: &dyn Step, (key, user): (&str, &str)) -> Result<Option<String>> {
        let own = memory_of(ledger, step).map(|memory| self.todo(step, &memory)).transpose();
        match own {
            Ok(Some(Undo::Done)) if !step.is_needed_by(key) => Ok(None),
            Ok(Some(Undo::Keep(why) | Undo::Theirs(why))) => Ok(Some(why)),
            Err(e) if !e.transient => Err(e.in_step(step.id())),
            _ => Ok(Some(format!("{user} stays, and needs it"))),
        }
    }

    /// What a teardown would do. Reads only.
    ///
    /// # Errors
    /// A step cannot be looked at.
    pub fn undo_plan(&self, ledger: &Ledger, reach: Scope) -> Result<UndoPlan> {
        let ours = self.ours(ledger, reach);
        let mut steps: Vec<Removal> = Vec::new();
        for step in &ours {
            let mut removal = Removal {
                step: step.id().to_owned(),
                key: step.key(),
                title: step.title(),
                acts: Vec::new(),
                keep: None,
                theirs: false,
                with: None,
                later: None,
            };
            let named = |name: &str| -> Vec<bool> {
                steps.iter().filter(|s| is_named(&s.key, name)).map(|s| s.keep.is_some()).collect()
            };
            let stays = |s: &&Removal| s.keep.as_deref().is_some_and(|why| why != REPLACED);
            let needs = |s: &&Removal| {
                if s.theirs { step.is_needed_by(&s.key) } else { step.is_needed_while_ours(&s.key) }
            };
            let user = steps.iter().filter(stays).find(needs).map(|s| (s.key.clone(), s.step.clone()));
            let of = step.clears().filter(|name| named(name).contains(&false));
            let why_used = |(key, user): (String, String)| self.why_used(ledger, *step, (&key, &user));
            let in_use = user.map(why_used).transpose()?.flatten();
            if in_use.is_some() {
                removal.keep = in_use;
            } else if let Some(carrier) = self.carrier(&ours, ledger, *step)? {
                removal.with = Some(carrier.id().to_owned());
            } else if let Some(of) = of {
                removal.with = Some(format!("{of}: the traces that it leaves"));
                if let Some(memory) = memory_of(ledger, *step) {
                    removal.acts = step.foresees(self.host, &memory).map_err(|e| e.in_step(step.id()))?;
                }
            } else if let Some(mut memory) = memory_of(ledger, *step) {
                // Before this one's turn comes, what is somebody else's is forgotten.
                memory.clears_ours &=
                    !step.clears().is_some_and(|id| steps.iter().any(|s| s.theirs && is_named(&s.key, id)));
                match self.todo(*step, &memory) {
                    Ok(Undo::Acts(acts)) => {
                        removal.acts = acts.iter().map(Act::show).collect();
                        self.add_later_acts(*step, &memory, &mut removal)?;
                    }
                    Ok(Undo::Keep(why)) => removal.keep = Some(why),
                    Ok(Undo::Theirs(why)) => (removal.keep, removal.theirs) = (Some(why), true),
                    Ok(Undo::Pending(_)) => self.add_later_acts(*step, &memory, &mut removal)?,
                    Ok(Undo::Done) => {}
                    Err(e) if e.transient && self.agreed.is_unseen() && ours.iter().any(|s| s.id() == SNAP) => {
                        removal.with = Some(SNAP.to_owned());
                    }
                    Err(e) if e.transient => removal.later = Some(one_line(&e)),
                    // The teardown tries it, tells why it fails, and goes on with the others.
                    Err(e) if e.code == ExitCode::CommandFailed => {
                        removal.keep = Some(format!("it cannot be taken back: {}", one_line(&e)));
                    }
                    Err(e) => return Err(e.in_step(step.id())),
                }
            }
            steps.push(removal);
        }
        Ok(UndoPlan { steps })
    }

    /// Adds the acts that follow the first ones.
    fn add_later_acts(&self, step: &dyn Step, memory: &Memory, removal: &mut Removal) -> Result<()> {
        let later = step.foresees(self.host, memory).map_err(|e| e.in_step(step.id()))?;
        let new: Vec<String> = later.into_iter().filter(|act| !removal.acts.contains(act)).collect();
        removal.acts.extend(new);
        Ok(())
    }

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

    /// Leaves what was to go with a step that stays after all. The next teardown takes each of them back by itself.
    fn leave_inside(&self, journal: &Journal, of: &dyn Step, inside: &[&dyn Step], left: &mut Left) -> Result<()> {
        for inner in inside {
            let is_left = left.kept.iter().any(|(key, _)| *key == inner.key());
            if !is_left && journal.ledger().memory(&inner.key()).is_some() {
                self.leave(journal, *inner, Taken::Kept(format!("it was to go with {}, which stays", of.id())), left)?;
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
                let message = format!("{} stays: somebody else put {} into it", folder.display(), left.join(", "));
                self.events.send(Event::Warning { message });
            }
        }
        Ok(())
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

    /// Acts until a step's undo has nothing left to do. `begin` is called before each act that may be done.
    ///
    /// New acts follow each other at once. The same ones again wait until what the first ones brought had time to show: an act that
    /// brings nothing would be repeated without a pause.
    fn take_away(&self, step: &dyn Step, memory: &Memory, begin: &mut dyn FnMut() -> Result<()>) -> Result<Taken> {
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
                "the journal still knows it: when the reason is gone, the same command takes it back".to_owned(),
            ),
        };
        Err(Error::new(ExitCode::Residue, what).because(causes.join("\n")).hint(hint))
    }
}

/// What is said of acts that did not fail, and after which the same ones are still to do.
fn unseen(acts: &[Act]) -> String {
    format!("what was done does not show yet: {}", acts.first().map(Act::show).unwrap_or_default())
}

/// Acts of a moment ago, each with its time.
#[derive(Default)]
struct Acted(Vec<(Act, Duration)>);

impl Acted {
    /// Whether all of these were done so short a time ago that their effect may still be to come.
    fn lately(&self, acts: &[Act], now: Duration) -> bool {
        acts.iter().all(|act| self.0.iter().any(|(done, at)| done == act && now < *at + super::SETTLE))
    }

    fn note(&mut self, acts: Vec<Act>, now: Duration) {
        self.0.retain(|(done, at)| now < *at + super::SETTLE && !acts.contains(done));
        self.0.extend(acts.into_iter().map(|act| (act, now)));
    }
}
