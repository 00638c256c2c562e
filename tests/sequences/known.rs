//! What is known to be broken, so that more can be found: the words by which it shows, and what it is.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use crate::play::Rule;

/// Promise, words that the line must hold, and what it is.
pub const KNOWN: &[(Rule, &[&str], &str)] = &[
    (
        Rule::Plan,
        &["iris.namespace was not to do that"],
        "keep in the plan, because of what goes before it; and then it goes",
    ),
    (Rule::NotOurs, &["Namespace /spare"], "an empty namespace of somebody's goes unnamed"),
    (Rule::NotOurs, &["/var/lib/iris-mk8s/notes.txt"], "a file of somebody's beside the journal goes with it"),
    (
        Rule::Forgotten,
        &["left and unnamed"],
        "carried by MicroK8s, which then stays: neither taken back nor named in this run",
    ),
    (Rule::Plan, &["longhorn.trial-end was not to do that"], "the end of the trial is in no plan"),
    (Rule::Plan, &["longhorn.workloads was not to do that"], "the uninstaller's acts are in no plan"),
    (
        Rule::Forgotten,
        &["addon registry: not there after 600 s"],
        "a MicroK8s of somebody's that they removed is waited for, for ever",
    ),
    (Rule::NotOurs, &["not as it would be without us: /etc/"], "a MicroK8s that somebody installed since is purged"),
    (Rule::NotOurs, &["not as it would be without us: /opt/"], "a MicroK8s that somebody installed since is purged"),
    (Rule::NotOurs, &["not as it would be without us: /snap/"], "a MicroK8s that somebody installed since is purged"),
    (
        Rule::NotOurs,
        &["not as it would be without us: /proc/sys"],
        "a MicroK8s that somebody installed since is purged",
    ),
    (Rule::Forgotten, &["exit 0: /proc/sys"], "a MicroK8s that somebody installed since is purged"),
    (Rule::Forgotten, &["stopped.lock"], "a MicroK8s of somebody's whose services had died is stopped in the end"),
    (
        Rule::Forgotten,
        &["snap microk8s Snap"],
        "a MicroK8s of somebody's whose services had died is stopped in the end",
    ),
    (
        Rule::Forgotten,
        &["cluster runs: false"],
        "a MicroK8s of somebody's whose services had died is stopped in the end",
    ),
    (Rule::NotOurs, &["cluster runs: true"], "a MicroK8s of somebody's whose services had died is stopped in the end"),
    (Rule::NotOurs, &["snap microk8s Snap"], "a MicroK8s of somebody's whose services had died is stopped in the end"),
    (Rule::Forgotten, &["registry-claim"], "MicroK8s is stopped again before the registry's volume is deleted"),
    (Rule::NotOurs, &["metallb-system/mine"], "a pool of somebody's in a MicroK8s of ours goes unnamed"),
    (Rule::NotOurs, &["current/args/theirs.yaml"], "a file of somebody's in MicroK8s' own folder goes with it"),
    (Rule::NotOurs, &["certs.d/docker.io/ca.crt"], "a file of somebody's in MicroK8s' own folder goes with it"),
    (
        Rule::Data,
        &["nobody knows the password of a/"],
        "another password in another namespace takes the file of the first one",
    ),
    (Rule::Plan, &["kubectl delete pods/controller"], "1.20: the controller is started anew, and no plan says so"),
    (
        Rule::Plan,
        &["was not to do that: kubectl delete"],
        "`keep` in the plan of a cluster that does not answer yet, and then it goes",
    ),
    (
        Rule::Plan,
        &["was not to do that: microk8s disable"],
        "`keep` in the plan of a cluster that does not answer yet, and then it goes",
    ),
];

static SEEN: Mutex<BTreeMap<&str, usize>> = Mutex::new(BTreeMap::new());

/// Whether a line is of what is known; then it is counted.
pub fn is_known(rule: Rule, line: &str) -> bool {
    if std::env::var_os("IRIS_MK8S_STRICT").is_some() {
        return false;
    }
    let known = KNOWN.iter().find(|(of, words, _)| *of == rule && words.iter().all(|word| line.contains(word)));
    if let Some((_, _, what)) = known {
        *SEEN.lock().unwrap_or_else(PoisonError::into_inner).entry(what).or_default() += 1;
    }
    known.is_some()
}

pub fn seen() -> Vec<(String, usize)> {
    SEEN.lock().unwrap_or_else(PoisonError::into_inner).iter().map(|(what, n)| ((*what).to_owned(), *n)).collect()
}
