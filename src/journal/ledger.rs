//! What the journal's records add up to: a pure fold. Impossible orders are refused, so a journal that was mixed up is noticed
//! before anything is taken back by it.

use std::collections::BTreeMap;

use super::{FORMAT, Record};
use crate::{spec::Spec, step::Memory};

/// Where a step stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Intent written, end not: what is there may be half-made.
    Open,
    /// Done, and ours.
    Ours,
    /// An undo began.
    Undoing,
}

/// What is ours, and what was there before.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ledger {
    begun: bool,
    steps: BTreeMap<String, (State, Memory)>,
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
            Record::Run { spec, .. } => {
                if let Some(spec) = spec {
                    self.spec = Some((**spec).clone());
                }
            }
            Record::Intent { step, memo } => {
                // Whatever happened before, the first prior stands: a half-made state must not become "what was there before".
                let entry = self.steps.entry(step.clone()).or_insert_with(|| {
                    (State::Open, Memory { prior: memo.prior.clone(), wants: Vec::new(), open: true })
                });
                entry.0 = State::Open;
                entry.1.open = true;
                if !entry.1.wants.contains(&memo.want) {
                    entry.1.wants.push(memo.want.clone());
                }
            }
            Record::Done { step } => self.pass(step, "done", |s| s == State::Open, State::Ours)?,
            Record::UndoIntent { step } => self.pass(step, "undone", |_| true, State::Undoing)?,
            Record::Undone { step } => {
                self.pass(step, "undone", |s| s == State::Undoing, State::Undoing)?;
                self.steps.remove(step);
            }
        }
        Ok(())
    }

    fn pass(&mut self, step: &str, what: &str, allowed: impl Fn(State) -> bool, next: State) -> Result<(), String> {
        let Some((state, memory)) = self.steps.get_mut(step) else {
            return Err(format!("{step} was {what} without an intent"));
        };
        if !allowed(*state) {
            return Err(format!("{step} was {what} while it was {state:?}"));
        }
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
        self.steps.get(step).is_some_and(|(state, _)| *state == State::Undoing)
    }

    /// Whether nothing is ours.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// The steps that are ours, in the order of their names.
    pub fn steps(&self) -> impl Iterator<Item = &str> {
        self.steps.keys().map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::step::Memo;

    fn intent(prior: u32, want: u32) -> Record {
        Record::Intent { step: "s".into(), memo: Memo { prior: json!(prior), want: json!(want) } }
    }

    fn fold(records: &[Record]) -> Result<Ledger, String> {
        let mut ledger = Ledger::default();
        ledger.apply(&Record::Header { format: FORMAT, tool: String::new() })?;
        records.iter().try_for_each(|r| ledger.apply(r))?;
        Ok(ledger)
    }

    #[test]
    fn the_first_prior_stands() {
        let done = Record::Done { step: "s".into() };
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
            Record::Done { step: step() },
            Record::UndoIntent { step: step() },
            Record::Undone { step: step() },
        ];
        assert!(fold(&records).expect("possible").is_empty());
        let again = [&records[..], &[intent(7, 1)]].concat();
        assert_eq!(fold(&again).expect("possible").memory("s").expect("ours").prior, json!(7));
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
            Record::Done { step: step() },
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
        let (done, undo, undone) =
            (Record::Done { step: step() }, Record::UndoIntent { step: step() }, Record::Undone { step: step() });
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
