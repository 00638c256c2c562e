//! A teardown that did not finish: what is missing since then has a known reason, and one command resumes it.

use super::Known;
use crate::{
    engine::{
        journal::Record,
        step::{Scope, is_named},
    },
    error::finding::Finding,
};

/// What the last teardown left; none when it left nothing, or a bootstrap has made whole what it took away.
pub(super) fn look(known: Known<'_>) -> Option<Finding> {
    let is_bootstrap = |record: &Record| matches!(record, Record::Run { command, .. } if command == "bootstrap");
    let since = known.records.iter().rposition(is_bootstrap).unwrap_or(0);
    let touched = known.records[since..].iter().filter_map(|record| match record {
        Record::UndoIntent { step } => Some(step.as_str()),
        _ => None,
    });
    // How far it was meant to go, the steps that it began to take back tell.
    let reach = touched.map(|key| scope(known, key)).max()?;
    let left: Vec<&str> = known.ledger.steps().filter(|key| scope(known, key) <= reach).collect();
    let command = match reach {
        Scope::Host => "teardown --reset",
        Scope::Data => "teardown --data",
        Scope::App | Scope::Nothing => "teardown",
    };
    let kept = |key: &&str| known.ledger.memory(key).is_some_and(|memory| memory.kept.is_some());
    if left.iter().all(kept) {
        let first = left.first()?;
        let why = known.ledger.memory(first).and_then(|memory| memory.kept.clone()).unwrap_or_default();
        let message = format!("a `{command}` left {} of what iris-mk8s made, first {first}: {why}", left.len());
        let hint = format!("when the reason is gone, `sudo iris-mk8s {command}` takes it back");
        return Some(Finding::warned(message, hint).named("teardown"));
    }
    let half = left.iter().find(|key| known.ledger.is_undoing(key));
    let first = half.or_else(|| left.iter().find(|key| !kept(key)))?;
    let message = format!(
        "a `{command}` was begun and is not finished: {} steps are still there, first {first}{}",
        left.len(),
        if half.is_some() { ", half taken back" } else { "" }
    );
    let hint = format!(
        "`sudo iris-mk8s {command}` resumes it; or run the same bootstrap again to restore everything whose data is still there"
    );
    Some(Finding::refused(message, hint).named("teardown"))
}

/// Which teardown takes a step back; one that is not wanted any more goes with the last of them.
fn scope(known: Known<'_>, key: &str) -> Scope {
    let steps = known.stages.iter().flat_map(|stage| &stage.steps);
    steps.filter(|step| is_named(key, step.id())).map(|step| step.scope()).next().unwrap_or(Scope::Host)
}
