//! What is wrong with this host and its cluster: every check there is, in the order of weight, each with what to do next. It only reads.
//!
//! The first problem should be the cause: a foundation is reported before what depends on it, and consequences are marked as such.

use std::{fmt::Write, thread};

use serde::Serialize;

use crate::{
    config::spec::Spec,
    engine::{
        Engine, Verdict,
        event::Events,
        journal::{Ledger, Record},
        one_line,
        step::{self, Stage},
    },
    error::{
        Error,
        finding::{Finding, Severity},
    },
    host::Host,
    stack::{
        check::{self, Check, When},
        data::Agreed,
        facts::Facts,
        observed::Cluster,
    },
};

use causes::Drifted;

mod bundle;
mod causes;
pub mod checks;
mod redact;
mod unfinished;

pub use bundle::Bundle;
pub use redact::Redactor;

/// What a bootstrap left on the host, as far as there was one.
#[derive(Clone, Copy)]
pub struct Known<'a> {
    /// What the journal says is ours.
    pub ledger: &'a Ledger,
    /// Its records.
    pub records: &'a [Record],
    /// The stages of its newest spec.
    pub stages: &'a [Stage],
}

/// All findings, the weightiest first.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// How many of them are problems; what follows from another one does not count.
    pub problems: usize,
    /// The findings.
    pub findings: Vec<Finding>,
}

/// Looks at everything.
pub fn examine(host: &dyn Host, spec: &Spec, known: Option<Known<'_>>) -> Report {
    let facts = Facts::read(host, spec);
    // On a bare host there is no cluster to look at, and that is no problem.
    let cluster = known.is_some() || facts.installed();
    let (ground, of_cluster, of_host, of_range) = thread::scope(|scope| {
        let run = |list: &'static [Check]| {
            let now = |check: &&Check| check.when != When::Before || !facts.installed();
            check::run(&facts, &list.iter().filter(now).collect::<Vec<_>>())
        };
        let ground = cluster.then(|| scope.spawn(move || run(crate::stack::checks::GROUND)));
        let of_cluster = facts.installed().then(|| scope.spawn(|| judge(&facts, known)));
        let of_range = scope.spawn(move || run(std::slice::from_ref(&crate::stack::checks::RANGE)));
        let of_host = run(crate::stack::checks::HOST);
        (ground.map(joined).unwrap_or_default(), of_cluster.map(joined).unwrap_or_default(), of_host, joined(of_range))
    });
    let (snap, ground): (Vec<_>, Vec<_>) = ground.into_iter().partition(|f| f.id == "snap");
    let (of_cluster, mut drifted) = of_cluster;
    let teardown: Vec<Finding> = known.and_then(unfinished::look).into_iter().collect();
    let mut findings = [teardown, snap, of_host, ground, of_cluster].concat();
    let drift_comes_here = findings.len();
    findings.extend(of_range);
    causes::explain(&mut findings, &mut drifted);
    findings.splice(drift_comes_here..drift_comes_here, drifted.into_iter().map(|step| step.finding));
    Report::new(findings)
}

fn joined<T>(thread: thread::ScopedJoinHandle<'_, T>) -> T {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// The cluster, and what differs from what we made of it.
fn judge(facts: &Facts<'_>, known: Option<Known<'_>>) -> (Vec<Finding>, Vec<Drifted>) {
    let compared = |answers| known.map(|known| drift(facts, known, answers)).unwrap_or_default();
    match Cluster::read(facts) {
        // Both wait for answers, and neither for the other.
        Ok(cluster) => thread::scope(|scope| {
            let drifted = scope.spawn(|| compared(true));
            (checks::judge(&cluster), joined(drifted))
        }),
        Err(e) => {
            let hint = "`microk8s inspect`, and `journalctl -u snap.microk8s.daemon-kubelite -u snap.microk8s.daemon-containerd`";
            let message = format!("the Kubernetes API does not answer: {}", one_line(&e));
            (vec![Finding::refused(message, hint).named("api")], compared(false))
        }
    }
}

/// Steps of ours that are no longer as we made them.
fn drift(facts: &Facts<'_>, known: Known<'_>, answers: bool) -> Vec<Drifted> {
    let (events, _) = Events::channel();
    // What comes before the host is touched has been looked at.
    let checks = known.stages.iter().take_while(|stage| stage.id == "preflight").count();
    let engine = Engine {
        host: facts.host,
        stages: &known.stages[checks..],
        events: &events,
        workers: 1,
        agreed: Agreed::nothing(),
    };
    let changed = |stage, step: &str, finding: Finding| Drifted {
        stage,
        step: step.to_owned(),
        finding: finding.named("changed"),
    };
    let plan = match engine.plan() {
        Ok(plan) => plan,
        Err(e) => {
            let message = format!("the host cannot be compared with the spec: {}", one_line(&e));
            return vec![changed("", "", Finding::warned(message, ""))];
        }
    };
    let ours = |id: &str| known.ledger.steps().any(|key| step::is_named(key, id));
    // Of a cluster that does not answer nothing can be said.
    let seen = |stage: &str| answers || matches!(stage, "snap" | "group" | "alias");
    let mut found = Vec::new();
    for step in plan.steps.iter().filter(|s| ours(&s.step) && seen(s.stage)) {
        let what = match step.verdict {
            Verdict::Create => "it is gone".to_owned(),
            Verdict::Change | Verdict::Wait | Verdict::Refuse => step.note.clone(),
            Verdict::Keep | Verdict::Later => continue,
        };
        let hint = step.hint.clone().unwrap_or_else(|| "run the same bootstrap again to repair it".to_owned());
        let message = format!("{} ({}): {what}", step.title, step.step);
        found.push(changed(step.stage, &step.step, Finding::refused(message, hint)));
    }
    found
}

impl Report {
    /// Puts findings in the order of weight: problems, what follows from them, and the rest.
    pub fn new(mut findings: Vec<Finding>) -> Self {
        findings.sort_by_key(|f| (f.severity, f.because.is_some()));
        let is_problem = |f: &&Finding| f.severity == Severity::Refused && f.because.is_none();
        let problems = findings.iter().filter(is_problem).count();
        Self { problems, findings }
    }

    /// Adds something that could not be read, as the weightiest problem.
    #[must_use]
    pub fn with_error(self, id: &'static str, error: &Error) -> Self {
        let finding = Finding::refused(one_line(error), error.hint.clone().unwrap_or_default());
        Self::new([vec![finding.named(id)], self.findings].concat())
    }

    /// The report for people; `all` tells also what is as it should be.
    pub fn show(&self, all: bool) -> String {
        let count = |severity| self.findings.iter().filter(|f| f.severity == severity && f.because.is_none()).count();
        let (warnings, fine) = (count(Severity::Warned), count(Severity::Fine));
        let follows = self.findings.iter().filter(|f| f.because.is_some()).count();
        let number = |n: usize, what: &str| match n {
            0 => format!("no {what}"),
            1 => format!("1 {what}"),
            n => format!("{n} {what}s"),
        };
        let mut text = number(self.problems, "problem");
        if follows > 0 {
            let of = if self.problems == 1 { "it" } else { "them" };
            text.push_str(&format!(", {} of {of}", number(follows, "consequence")));
        }
        text.push_str(&format!(", {}; {fine} checks found nothing\n", number(warnings, "warning")));
        for finding in self.findings.iter().filter(|f| all || f.severity != Severity::Fine) {
            let name = match (finding.because, finding.severity) {
                (Some(_), _) => "follows",
                (None, Severity::Refused) => "problem",
                (None, Severity::Warned) => "warning",
                (None, Severity::Fine) => "fine",
            };
            let from = finding.because.map(|cause| format!(" (from {cause}, above)")).unwrap_or_default();
            let _ = writeln!(text, "{name:<8} {:<15} {}{from}", finding.id, finding.message);
            // What helps is said of the cause.
            for line in finding.hint.lines().filter(|_| finding.because.is_none()) {
                let _ = writeln!(text, "{:<25}next: {line}", "");
            }
        }
        text
    }
}
