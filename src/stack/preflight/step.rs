//! Whether the host and the range are fit, before anything is touched (the checks are in [`crate::stack::checks`], which hands them over). Everything that is wrong
//! is told at once.

use std::{collections::BTreeSet, sync::Arc};

use crate::{
    bundle::Bundle,
    config::spec::Spec,
    engine::{
        check::Check,
        step::{Probe, SOON},
    },
    error::finding::{Finding, Severity},
    host::Host,
    stack::{
        check::{self, Checks, When},
        facts::Facts,
        preflight::bundle::OF_NETWORK,
        settled,
    },
};

/// The steps: wait for what ends without help; then check the host, and the range.
pub(crate) fn all(spec: &Spec, checks: Checks, bundle: Option<&Arc<Bundle>>) -> [Check; 3] {
    let (spec_of_host, spec_of_range) = (spec.clone(), spec.clone());
    let bundle = bundle.cloned();
    let host = move |host: &dyn Host| Ok(judge(&look(host, &spec_of_host, checks, bundle.as_ref()), checks));
    let range = move |host: &dyn Host| Ok(judge(&run(host, &spec_of_range, None, |_| vec![checks.range]), checks));
    let check = |id, title, question| Check { id, title, question, deadline: SOON, watches: Vec::new() };
    [
        settled::snapd(spec),
        check("preflight.host", "the host is fit".to_owned(), Box::new(host)),
        check("preflight.range", format!("the range {} suits the network", spec.lb), Box::new(range)),
    ]
}

fn look(host: &dyn Host, spec: &Spec, checks: Checks, bundle: Option<&Arc<Bundle>>) -> Vec<Finding> {
    run(host, spec, bundle, |facts| {
        let needed = |check: &&check::Check| facts.bundle.is_none() || !OF_NETWORK.contains(&check.id);
        let now = |check: &&check::Check| check.when == When::Always || !facts.installed();
        // Of a cluster that is there already: nothing speaks with one whose certificates are over.
        let certified =
            |check: &&check::Check| facts.installed() && ["certificates", "certificate-start"].contains(&check.id);
        let ground = checks.ground.iter().filter(certified);
        let of_bundle = facts.bundle.is_some().then_some(checks.bundle);
        checks.host.iter().filter(now).filter(needed).chain(of_bundle).chain(ground).collect()
    })
}

fn run(
    host: &dyn Host,
    spec: &Spec,
    bundle: Option<&Arc<Bundle>>,
    which: impl FnOnce(&Facts<'_>) -> Vec<&'static check::Check>,
) -> Vec<Finding> {
    let mut facts = Facts::read(host, spec);
    facts.bundle = bundle.cloned();
    let mut findings = check::run(&facts, &which(&facts));
    check::heed_skips(&mut findings, &spec.skip_checks);
    findings
}

/// One answer from all findings; each keeps its name, so that a hint can be told from another.
fn judge(findings: &[Finding], checks: Checks) -> Probe {
    let of = |severity| findings.iter().filter(move |f| f.severity == severity);
    let line = |f: &Finding, text: &str| format!("{}: {text}", f.id);
    let with_hint = |f: &Finding| {
        if f.hint.is_empty() { line(f, &f.message) } else { format!("{} ({})", line(f, &f.message), f.hint) }
    };
    let warnings: Vec<String> = of(Severity::Warned).map(with_hint).collect();
    if of(Severity::Refused).next().is_none() {
        let fine: Vec<&str> = of(Severity::Fine).filter(|f| f.id == "lb").map(|f| f.message.as_str()).collect();
        return Probe::Satisfied { note: fine.join("; "), warnings };
    }
    let mut why: Vec<String> = of(Severity::Refused).map(|f| line(f, &f.message)).collect();
    why.extend(warnings.iter().map(|w| format!("warning: {w}")));
    let mut hints: Vec<String> =
        of(Severity::Refused).filter(|f| !f.hint.is_empty()).map(|f| line(f, &f.hint)).collect();
    let known = (checks.skippable)();
    let skip: BTreeSet<&str> = of(Severity::Refused).map(|f| f.id).filter(|id| known.contains(id)).collect();
    hints.extend(skip.first().map(|id| format!("whoever knows better: `--skip-check {id}` makes a warning of it")));
    Probe::Refused { why: why.join("\n"), hint: hints.join("\n") }
}
