//! What the journal's records add up to: a pure fold. Impossible orders are refused, so a journal that was mixed up is noticed
//! before anything is taken back by it.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{FORMAT, Record};
use crate::{
    config::spec::Spec,
    engine::step::{Memo, Memory},
    host::microk8s::Identity,
};

/// Where a step stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Intent written, end not: what is there may be half-made.
    Open,
    /// Done, and ours.
    Ours,
    /// An undo began; whether what it found was half-made.
    Undoing { was_open: bool },
}

/// What is ours, and what was there before.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ledger {
    begun: bool,
    steps: BTreeMap<String, (State, Memory)>,
    /// When the newest run began.
    at: u64,
    /// The spec of the newest run that had one.
    pub spec: Option<Spec>,
}

impl Ledger {
    /// Takes one record into account.
    ///
    /// # Errors
    /// The record cannot follow those before it; says why.
    pub fn apply(&mut self, record: &Record) -> Result<(), String> {
        if !self.begun && !matches!(record, Record::Header { .. }) {
            return Err("the first record is not a header".to_owned());
        }
        match record {
            Record::Header { .. } if self.begun => return Err("a second header".to_owned()),
            Record::Header { format, .. } if *format > FORMAT => {
                return Err(format!("format {format} is newer than {FORMAT}, the newest one this program reads"));
            }
            Record::Header { .. } => self.begun = true,
            Record::Run { spec, at, .. } => {
                self.at = *at;
                if let Some(spec) = spec {
                    self.spec = Some((**spec).clone());
                }
            }
            Record::Intent { step, memo, recipe, microk8s, anew } => {
                self.intent(step, memo, recipe, microk8s.as_ref(), *anew);
            }
            Record::Done { step, microk8s } => {
                self.pass(step, "done", |state| (state == State::Open).then_some(State::Ours))?;
                if let Some((_, memory)) = self.steps.get_mut(step) {
                    memory.was_done = true;
                    memory.microk8s = microk8s.clone().or_else(|| memory.microk8s.take());
                }
            }
            Record::UndoIntent { step } => self.pass(step, "undone", |state| {
                let was_open = match state {
                    State::Open => true,
                    State::Ours => false,
                    State::Undoing { was_open } => was_open,
                };
                Some(State::Undoing { was_open })
            })?,
            Record::Undone { step } => {
                self.pass(step, "undone", |state| matches!(state, State::Undoing { .. }).then_some(state))?;
                self.steps.remove(step);
            }
            Record::Recipe { step, recipe } => {
                self.pass(step, "renewed", |state| (!matches!(state, State::Undoing { .. })).then_some(state))?;
                if let Some((_, memory)) = self.steps.get_mut(step) {
                    memory.renew(recipe);
                }
            }
            Record::Kept { step, why } => {
                self.pass(step, "kept", |state| match state {
                    State::Undoing { was_open: true } => Some(State::Open),
                    State::Undoing { was_open: false } => Some(State::Ours),
                    State::Open | State::Ours => None,
                })?;
                if let Some((_, memory)) = self.steps.get_mut(step) {
                    memory.kept = Some(why.clone());
                }
            }
        }
        Ok(())
    }

    /// A step is about to act.
    fn intent(&mut self, step: &str, memo: &Memo, recipe: &Value, microk8s: Option<&Identity>, anew: bool) {
        self.replaced(step, microk8s);
        // Whatever happened before, the first prior stands: a half-made state must not become "what was there before".
        let entry = self
            .steps
            .entry(step.to_owned())
            .or_insert_with(|| (State::Open, Memory { prior: memo.prior.clone(), ..Memory::default() }));
        // What we had made and somebody took away since took along what was there before.
        if anew && entry.0 == State::Ours && memo.prior.is_null() {
            entry.1.prior = Value::Null;
        }
        entry.0 = State::Open;
        entry.1.open = true;
        entry.1.at = self.at;
        entry.1.kept = None;
        if microk8s.is_some() {
            entry.1.microk8s = microk8s.cloned();
        }
        if !recipe.is_null() {
            entry.1.renew(recipe);
        }
        // The newest one comes last, also when it was wanted before.
        entry.1.wants.retain(|want| *want != memo.want);
        entry.1.wants.push(memo.want.clone());
    }

    /// What was made in a MicroK8s that is gone went with it, and its prior says nothing of the one that is there now.
    fn replaced(&mut self, step: &str, now: Option<&Identity>) {
        let was = self.steps.get(step).and_then(|(_, memory)| memory.microk8s.as_ref());
        if was.zip(now).is_some_and(|(was, now)| was.is_another(now)) {
            self.steps.remove(step);
        }
    }

    fn pass(&mut self, step: &str, what: &str, next: impl Fn(State) -> Option<State>) -> Result<(), String> {
        let Some((state, memory)) = self.steps.get_mut(step) else {
            return Err(format!("{step} was {what} without an intent"));
        };
        let Some(next) = next(*state) else {
            return Err(format!("{step} was {what} while it was {state:?}"));
        };
        *state = next;
        memory.open = next != State::Ours;
        Ok(())
    }

    /// What is remembered of a step; none when it is not ours.
    pub fn memory(&self, step: &str) -> Option<&Memory> {
        self.steps.get(step).map(|(_, memory)| memory)
    }

    /// Whether a step acted and its end was not written.
    pub fn is_open(&self, step: &str) -> bool {
        self.steps.get(step).is_some_and(|(state, _)| *state == State::Open)
    }

    /// Whether an undo of the step began and its end was not written.
    pub fn is_undoing(&self, step: &str) -> bool {
        self.steps.get(step).is_some_and(|(state, _)| matches!(state, State::Undoing { .. }))
    }

    /// Whether something about the step began and its end was not written.
    pub fn is_unsettled(&self, step: &str) -> bool {
        self.is_open(step) || self.is_undoing(step)
    }

    /// Whether nothing is ours.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// What is remembered of each step that is ours, by its key.
    pub fn memories(&self) -> impl Iterator<Item = (&str, &Memory)> {
        self.steps.iter().map(|(key, (_, memory))| (key.as_str(), memory))
    }

    /// The keys of the steps that are ours, in the order of their names.
    pub fn steps(&self) -> impl Iterator<Item = &str> {
        self.steps.keys().map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::engine::step::Memo;

    fn intent(prior: u32, want: u32) -> Record {
        let memo = Memo { prior: json!(prior), want: json!(want) };
        Record::Intent { step: "s".into(), memo, recipe: json!(null), microk8s: None, anew: false }
    }

    fn fold(records: &[Record]) -> Result<Ledger, String> {
        let mut ledger = Ledger::default();
        ledger.apply(&Record::Header { format: FORMAT, tool: String::new() })?;
        records.iter().try_for_each(|r| ledger.apply(r))?;
        Ok(ledger)
    }

    #[test]
    fn the_first_prior_stands() {
        let done = Record::Done { step: "s".into(), microk8s: None };
        let ledger = fold(&[intent(0, 1), intent(5, 2), done, intent(2, 3)]).expect("possible");
        let memory = ledger.memory("s").expect("ours");
        assert_eq!(
            (&memory.prior, memory.wants.clone(), memory.open),
            (&json!(0), vec![json!(1), json!(2), json!(3)], true)
        );
    }

    #[test]
    fn after_an_undo_nothing_is_remembered() {
        let step = || "s".to_owned();
        let records = [
            intent(0, 1),
            Record::Done { step: step(), microk8s: None },
            Record::UndoIntent { step: step() },
            Record::Undone { step: step() },
        ];
        assert!(fold(&records).expect("possible").is_empty());
        let again = [&records[..], &[intent(7, 1)]].concat();
        assert_eq!(fold(&again).expect("possible").memory("s").expect("ours").prior, json!(7));
    }

    /// What stays is not forgotten, and what was half-made before the undo still is.
    #[test]
    fn what_an_undo_left_is_still_ours() {
        let step = || "s".to_owned();
        let kept = [Record::UndoIntent { step: step() }, Record::Kept { step: step(), why: "in use".into() }];
        let done = [&[intent(0, 1), Record::Done { step: step(), microk8s: None }][..], &kept].concat();
        let memory = fold(&done).expect("possible").memory("s").expect("ours").clone();
        assert_eq!((memory.open, memory.kept.as_deref()), (false, Some("in use")));
        let half = [&[intent(0, 1)][..], &kept].concat();
        let ledger = fold(&half).expect("possible");
        assert!(ledger.is_open("s") && !ledger.is_undoing("s"));
        let again = [&done[..], &kept, &[intent(5, 2)]].concat();
        let memory = fold(&again).expect("possible").memory("s").expect("ours").clone();
        assert_eq!((memory.prior, memory.kept), (json!(0), None));
        assert!(fold(&[intent(0, 1), kept[1].clone()]).is_err(), "kept without an undo");
    }

    /// What was there before is asked anew in another MicroK8s.
    #[test]
    fn the_first_prior_ends_with_its_microk8s() {
        let of = |name: &str| Identity { installed: name.into(), authority: name.into() };
        let begun = |prior: u32, name: &str| {
            let memo = Memo { prior: json!(prior), want: json!(1) };
            Record::Intent { step: "s".into(), memo, recipe: json!(null), microk8s: Some(of(name)), anew: false }
        };
        let prior = |records: &[Record]| {
            let ledger = fold(records).expect("possible");
            let memory = ledger.memory("s").expect("ours");
            (memory.prior.clone(), memory.microk8s.clone())
        };
        assert_eq!(prior(&[begun(0, "a"), begun(5, "a")]), (json!(0), Some(of("a"))));
        assert_eq!(prior(&[begun(0, "a"), begun(5, "b")]), (json!(5), Some(of("b"))));
        assert_eq!(prior(&[intent(0, 1), begun(5, "b")]), (json!(0), Some(of("b"))));
        let done = Record::Done { step: "s".into(), microk8s: Some(of("c")) };
        assert_eq!(prior(&[begun(0, "a"), done]), (json!(0), Some(of("c"))));
    }

    #[test]
    fn it_knows_where_a_step_stands() {
        let stands = |records: &[Record]| {
            let ledger = fold(records).expect("possible");
            let memory = ledger.memory("s").map(|memory| memory.open);
            (ledger.is_open("s"), ledger.is_undoing("s"), memory)
        };
        let step = || "s".to_owned();
        let all = [
            intent(0, 1),
            Record::Done { step: step(), microk8s: None },
            Record::UndoIntent { step: step() },
            Record::Undone { step: step() },
        ];
        assert_eq!(stands(&all[..1]), (true, false, Some(true)));
        assert_eq!(stands(&all[..2]), (false, false, Some(false)));
        // What an undo left may be half of it.
        assert_eq!(stands(&all[..3]), (false, true, Some(true)));
        assert_eq!(stands(&all), (false, false, None));
    }

    #[test]
    fn impossible_orders_are_refused() {
        let step = || "s".to_owned();
        let (done, undo, undone) = (
            Record::Done { step: step(), microk8s: None },
            Record::UndoIntent { step: step() },
            Record::Undone { step: step() },
        );
        for wrong in [
            vec![done.clone()],
            vec![undo.clone()],
            vec![undone.clone()],
            vec![intent(0, 1), undone.clone()],
            vec![intent(0, 1), done.clone(), done.clone()],
            vec![intent(0, 1), undo.clone(), done.clone()],
            vec![intent(0, 1), undo, undone.clone(), undone],
            vec![Record::Header { format: FORMAT, tool: String::new() }],
        ] {
            assert!(fold(&wrong).is_err(), "{wrong:?}");
        }
        assert!(Ledger::default().apply(&done).is_err(), "no header");
        assert!(
            Ledger::default().apply(&Record::Header { format: FORMAT + 1, tool: String::new() }).is_err(),
            "too new"
        );
    }
}
