//! A check: one look at the host, with what it found. A check only reads. It says what it found with the measured value: refused, warned,
//! or fine. All checks run side by side, and all findings are told at once.

use std::{
    sync::{
        OnceLock,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    thread,
};

use super::facts::Facts;
use crate::{
    engine,
    error::{
        Result,
        finding::{Finding, Severity},
    },
};

/// A check.
#[derive(Debug)]
pub struct Check {
    /// Its name: in findings, and for `--skip-check`.
    pub id: &'static str,
    /// Without it nothing can work, so nobody may skip it.
    pub vital: bool,
    /// When it says something.
    pub when: When,
    /// How it looks.
    look: Look,
}

/// A look: it finds one thing, or several.
pub(crate) type Look = fn(&Facts<'_>) -> Result<Vec<Finding>>;

/// When a check says something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// Always.
    Always,
    /// Before MicroK8s is there: it is about what it takes to get it.
    Before,
    /// The same, and when somebody wants to know what is wrong: it takes its time, and what runs does not hang on it.
    First,
}

/// A check that may be skipped.
pub(crate) const fn may(id: &'static str, when: When, look: Look) -> Check {
    Check { id, vital: false, when, look }
}

/// A check that may not.
pub(crate) const fn must(id: &'static str, when: When, look: Look) -> Check {
    Check { vital: true, ..may(id, when, look) }
}

/// The checks that there are: the tables of the host, of what a cluster stands on, and of the range.
#[derive(Clone, Copy)]
pub struct Checks {
    /// Of the host.
    pub host: &'static [Check],
    /// Of what a cluster stands on.
    pub ground: &'static [Check],
    /// Of the range.
    pub range: &'static Check,
    /// Of the bundle, where one is given.
    pub bundle: &'static Check,
    /// Names that `--skip-check` takes.
    pub skippable: fn() -> Vec<&'static str>,
}

/// Checks that look at the same time: most of them wait for a program or an answer.
pub(crate) const WORKERS: usize = 12;

/// Runs checks side by side. Findings come in the order of the table.
pub fn run(facts: &Facts<'_>, checks: &[&Check]) -> Vec<Finding> {
    let next = AtomicUsize::new(checks.len());
    let found: Vec<OnceLock<Vec<Finding>>> = checks.iter().map(|_| OnceLock::new()).collect();
    thread::scope(|scope| {
        let work = || {
            // From the end: those that wait for others to answer begin first.
            while let Ok(at) = next.fetch_update(Relaxed, Relaxed, |n| n.checked_sub(1)) {
                let _ = found[at - 1].set(look(facts, checks[at - 1]));
            }
        };
        for _ in 0..checks.len().min(WORKERS) {
            scope.spawn(work);
        }
    });
    found.into_iter().filter_map(OnceLock::into_inner).flatten().collect()
}

/// Makes warnings of refusals that the user skips (`--skip-check`): they keep nobody from a bootstrap, and are told all the same. What is wrong
/// with a host that does not work is another question: there nothing is skipped.
pub fn heed_skips(findings: &mut [Finding], skipped: &[String]) {
    for finding in findings {
        if finding.severity == Severity::Refused && skipped.iter().any(|id| id == finding.id) {
            finding.severity = Severity::Warned;
            finding.message.push_str(" (ignored: --skip-check)");
        }
    }
}

pub(crate) fn look(facts: &Facts<'_>, check: &Check) -> Vec<Finding> {
    let mut findings = (check.look)(facts).unwrap_or_else(|e| {
        let why = engine::one_line(&e);
        let hint = e.hint.unwrap_or_default();
        vec![if check.vital {
            Finding::refused(why, hint)
        } else {
            Finding::warned(format!("cannot be looked at: {why}"), hint)
        }]
    });
    for finding in findings.iter_mut().filter(|f| f.id.is_empty()) {
        finding.id = check.id;
    }
    findings
}
