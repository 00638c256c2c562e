//! What is known to be broken, so that more can be found: the words by which it shows, and what it is.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use crate::play::Rule;

/// Promise, words that the line must hold, and what it is.
pub const KNOWN: &[(Rule, &[&str], &str)] = &[
    (Rule::Data, &["data went unnamed: container-registry/registry-claim"], "8: the registry's volume is on no list"),
    (Rule::Data, &["data went unnamed", "/dbv-"], "4, 6, 8: claims of ours that no list names"),
    (Rule::Data, &["nobody knows the password"], "6: password files go before the data"),
    (Rule::NotOurs, &["/proc/sys/", "mnt"], "3: mounts"),
    (Rule::NotOurs, &["/etc/cni"], "3: traces"),
    (Rule::NotOurs, &["/opt/cni"], "3: traces"),
    (Rule::NotOurs, &["/run/containerd"], "3: traces"),
    (Rule::NotOurs, &["/var/lib/cni"], "3: traces"),
    (Rule::NotOurs, &["/var/log/pods"], "3: traces"),
    (Rule::NotOurs, &["/usr/libexec/kubernetes"], "3: traces"),
    (Rule::NotOurs, &["/root/snap"], "3: traces"),
    (Rule::NotOurs, &["forward"], "3: ip_forward"),
    (Rule::NotOurs, &["link veth"], "2: links"),
    (Rule::NotOurs, &["link tunl0"], "2: links"),
    (Rule::NotOurs, &["link flannel"], "2: links"),
    (Rule::NotOurs, &["cni0"], "3: rules"),
    (Rule::NotOurs, &["KUBE-"], "3: rules"),
    (Rule::NotOurs, &["rule", "CNI-"], "3: rules"),
    (Rule::NotOurs, &["FLANNEL"], "3: rules"),
    (Rule::NotOurs, &["flanneld"], "3: rules"),
    (Rule::NotOurs, &["hold "], "3: hold"),
    (Rule::NotOurs, &["/var/snap/microk8s/c"], "18: files in the snap"),
    (Rule::NotOurs, &[" team"], "18: workloads"),
    (Rule::NotOurs, &[" spare"], "18: workloads"),
    (Rule::NotOurs, &[" front"], "18: workloads"),
    (Rule::NotOurs, &["hostpath-provisioner"], "20: what foreign claims stand on"),
    (Rule::NotOurs, &["microk8s-hostpath"], "20: what foreign claims stand on"),
    (Rule::NotOurs, &["metallb-system"], "20: what foreign services stand on"),
    (Rule::NotOurs, &["coredns"], "20: what foreign workloads stand on"),
    (Rule::Plan, &["kill -KILL"], "1: pods"),
    (Rule::NotOurs, &["/proc/5"], "1: pods"),
    (Rule::Forgotten, &["left, and exit 0: /proc/sys"], "3: settings three-way"),
    (Rule::NotOurs, &["Namespace /other"], "4: cannot ask"),
    (Rule::NotOurs, &["other/elsewhere"], "4: cannot ask"),
    (Rule::NotOurs, &["\"other\" \"elsewhere\""], "4: cannot ask"),
    (Rule::NotOurs, &["Namespace /front"], "18: workloads"),
    (Rule::NotOurs, &["Namespace /team"], "18: workloads"),
    (Rule::NotOurs, &["Namespace /spare"], "18: workloads"),
    (Rule::NotOurs, &["ConfigMap default/notes"], "18: workloads"),
    (Rule::NotOurs, &["default/iris metadata managedFields"], "18: workloads"),
    (Rule::NotOurs, &["default/data metadata managedFields"], "18: workloads"),
    (Rule::Forgotten, &["/var/log/"], "3: mounts"),
    (Rule::Forgotten, &["left in the end: /proc/sys"], "3: settings three-way"),
    (Rule::Forgotten, &["left in the end: rule"], "3: rules"),
    (Rule::Forgotten, &["/run/xtables.lock"], "3: mounts"),
    (Rule::Forgotten, &["/usr/libexec"], "3: mounts"),
    (
        Rule::NotOurs,
        &["not as it would be without us: /etc/apparmor.d/cri"],
        "NEW: a MicroK8s that somebody installed since is purged",
    ),
    (
        Rule::NotOurs,
        &["not as it would be without us: /etc/sysctl.d/10-micro"],
        "NEW: a MicroK8s that somebody installed since is purged",
    ),
    (
        Rule::Plan,
        &["was not to do that: kubectl delete"],
        "NEW: `keep` in the plan of a cluster that does not answer yet, and then it goes",
    ),
    (
        Rule::Plan,
        &["was not to do that: microk8s disable"],
        "NEW: `keep` in the plan of a cluster that does not answer yet, and then it goes",
    ),
    (Rule::Forgotten, &["/proc/4711"], "3: snapshot"),
    (Rule::Forgotten, &["hold None"], "3: hold"),
    (Rule::Forgotten, &["left, and exit 0: rule"], "3: rules"),
    (Rule::Forgotten, &["left, and unnamed: /proc/sys"], "3: mounts"),
    (Rule::NotOurs, &["not as it would be without us: /proc/sys"], "3: mounts"),
    (Rule::NotOurs, &["/run/netns"], "2: links"),
    (Rule::NotOurs, &["anna in the group"], "NEW: the group goes with a member who joined it by themselves"),
    (Rule::NotOurs, &["/var/lib/iris-mk8s/notes"], "NEW: a file of somebody's in our folder goes with the journal"),
    (
        Rule::Plan,
        &["iris.namespace was not to do that"],
        "NEW: keep in the plan, because of what goes before it; and then it goes",
    ),
    (Rule::Plan, &["iris.password was not to do that"], "NEW: with a cluster that does not answer the password goes"),
    (Rule::Forgotten, &["ip_forward"], "3: ip_forward"),
    (Rule::Forgotten, &["forwarding"], "3: ip_forward"),
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
