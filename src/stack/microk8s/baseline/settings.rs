//! Kernel settings that kubelet, kube-proxy and MicroK8s set. Each goes back to what it was as long as it still is what they made it, and
//! nobody else needs it by now.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use super::Others;
use crate::{
    engine::step::{Act, SOON},
    error::Result,
    host::{Cmd, Host},
    stack::left::Left,
};

/// The settings, and what Kubernetes and MicroK8s make of each; none where that depends on the number of processors.
const SETTINGS: &[(&str, Option<&str>)] = &[
    ("fs.aio-max-nr", Some("1048576")),
    ("fs.inotify.max_user_instances", Some("1024")),
    ("fs.inotify.max_user_watches", Some("1048576")),
    ("kernel.keys.root_maxbytes", Some("25000000")),
    ("kernel.keys.root_maxkeys", Some("1000000")),
    ("kernel.panic", Some("10")),
    ("kernel.panic_on_oops", Some("1")),
    ("net.bridge.bridge-nf-call-ip6tables", Some("1")),
    ("net.bridge.bridge-nf-call-iptables", Some("1")),
    ("net.ipv4.conf.all.forwarding", Some("1")),
    ("net.ipv4.conf.all.route_localnet", Some("1")),
    ("net.ipv4.ip_forward", Some("1")),
    ("net.ipv4.vs.conntrack", Some("1")),
    ("net.ipv6.conf.all.forwarding", Some("1")),
    ("net.netfilter.nf_conntrack_max", None),
    ("net.netfilter.nf_conntrack_tcp_be_liberal", Some("1")),
    ("net.netfilter.nf_conntrack_tcp_timeout_close_wait", Some("3600")),
    ("net.netfilter.nf_conntrack_tcp_timeout_established", Some("86400")),
    ("vm.overcommit_memory", Some("1")),
    ("vm.panic_on_oom", Some("0")),
];

/// Those that every runtime and every router needs.
const FORWARDING: &[&str] = &[
    "net.bridge.bridge-nf-call-ip6tables",
    "net.bridge.bridge-nf-call-iptables",
    "net.ipv4.conf.all.forwarding",
    "net.ipv4.ip_forward",
    "net.ipv6.conf.all.forwarding",
];

/// Two names of one setting: whoever needs the one needs the other.
const SAME: &[&str] = &["net.ipv4.conf.all.forwarding", "net.ipv4.ip_forward"];

fn is_same(name: &str, other: &str) -> bool {
    name == other || (SAME.contains(&name) && SAME.contains(&other))
}

/// Where an administrator sets them for every boot.
const FILES: &[&str] = &["/etc/sysctl.conf"];
const FOLDERS: &[&str] =
    &["/etc/sysctl.d", "/run/sysctl.d", "/usr/local/lib/sysctl.d", "/usr/lib/sysctl.d", "/lib/sysctl.d"];

/// MicroK8s' own file there.
pub(super) const OF_MICROK8S: &str = "/etc/sysctl.d/10-microk8s.conf";

fn path(name: &str) -> String {
    format!("/proc/sys/{}", name.replace('.', "/"))
}

/// Their values now; one that this kernel does not know is not among them.
pub(super) fn read(host: &dyn Host) -> Result<BTreeMap<String, String>> {
    let mut found = BTreeMap::new();
    for (name, _) in SETTINGS {
        if let Some(bytes) = host.read(Path::new(&path(name)))? {
            found.insert((*name).to_owned(), String::from_utf8_lossy(&bytes).trim().to_owned());
        }
    }
    Ok(found)
}

/// Which file of an administrator's sets it, and to what.
fn set_by(host: &dyn Host) -> Result<Vec<(String, String, String)>> {
    let of_folder = |dir: &&str| {
        let names =
            host.names(Path::new(dir)).into_iter().filter(|n| Path::new(n).extension().is_some_and(|e| e == "conf"));
        names.map(|name| format!("{dir}/{name}")).collect::<Vec<_>>()
    };
    let mut files: BTreeSet<String> = FOLDERS.iter().flat_map(of_folder).collect();
    files.extend(FILES.iter().map(|f| (*f).to_owned()));
    files.remove(OF_MICROK8S);
    let mut found = Vec::new();
    for file in files {
        let Some(bytes) = host.read(Path::new(&file))? else { continue };
        for line in String::from_utf8_lossy(&bytes).lines().filter(|l| !l.trim_start().starts_with(['#', ';'])) {
            if let Some((name, value)) = line.split_once('=') {
                let name = name.trim().trim_start_matches('-').replace('/', ".");
                found.push((name, value.trim().to_owned(), file.clone()));
            }
        }
    }
    Ok(found)
}

/// What kube-proxy makes of the size of the table of connections.
fn of_processors(host: &dyn Host) -> Result<String> {
    let text = host.read(Path::new("/proc/cpuinfo"))?.unwrap_or_default();
    let count = String::from_utf8_lossy(&text).lines().filter(|l| l.starts_with("processor")).count();
    Ok((count * 32768).max(131_072).to_string())
}

/// Why a setting stays as it is now, and whether whoever needs it sets it so by themselves: another runtime does, and an administrator's file.
/// A device for which packets are forwarded may or may not need it.
fn needed(
    name: &str,
    now: &str,
    others: &Others,
    forwards: Option<&str>,
    set_by: &[(String, String, String)],
) -> Option<(String, bool)> {
    if let Some((_, _, file)) = set_by.iter().rev().find(|(setting, value, _)| is_same(setting, name) && value == now) {
        return Some((format!("{file} sets it"), true));
    }
    let is_forwarding = FORWARDING.contains(&name);
    if let Some(other) = others.kubernetes.as_ref().or(others.runtime.as_ref().filter(|_| is_forwarding)) {
        return Some((format!("{other}, and sets it so, too"), true));
    }
    let device = forwards.filter(|_| is_forwarding)?;
    Some((format!("the device {device} is somebody's, and its packets may have to be forwarded"), false))
}

/// What Kubernetes and MicroK8s make of a setting.
fn made<'a>(name: &str, by_processors: &'a str) -> &'a str {
    let known = SETTINGS.iter().find(|(setting, _)| *setting == name);
    known.and_then(|(_, made)| *made).unwrap_or(by_processors)
}

/// What somebody set since `before` was written down, while there is no MicroK8s: neither what was there nor what Kubernetes makes of it.
pub(super) fn of_others(host: &dyn Host, before: &BTreeMap<String, String>) -> Result<BTreeMap<String, String>> {
    let by_processors = of_processors(host)?;
    let mut now = read(host)?;
    now.retain(|name, value| {
        before.get(name).is_some_and(|prior| prior != value) && made(name, &by_processors) != value
    });
    Ok(now)
}

/// What puts them back to what they were, and what stays. `forwards`: a device that came since, and is none of MicroK8s'.
pub(super) fn left(
    host: &dyn Host,
    before: &BTreeMap<String, String>,
    others: &Others,
    forwards: Option<&str>,
) -> Result<(Vec<Act>, Vec<Left>)> {
    let by_processors = of_processors(host)?;
    Ok(judge(before, &read(host)?, &|name| made(name, &by_processors), others, forwards, &set_by(host)?))
}

fn judge<'a>(
    before: &BTreeMap<String, String>,
    now: &BTreeMap<String, String>,
    made: &dyn Fn(&str) -> &'a str,
    others: &Others,
    forwards: Option<&str>,
    set_by: &[(String, String, String)],
) -> (Vec<Act>, Vec<Left>) {
    let (mut acts, mut left) = (Vec::new(), Vec::new());
    for (name, prior) in before {
        let Some(value) = now.get(name).filter(|v| *v != prior) else { continue };
        let what = || format!("kernel setting {} = {value} (it was {prior})", path(name));
        if made(name) != value {
            left.push(Left::theirs(what(), "somebody set it since: MicroK8s makes it another value"));
        } else if let Some((why, theirs)) = needed(name, value, others, forwards, set_by) {
            left.push(Left { theirs, ..Left::ours(what(), why) });
        } else {
            acts.push(Act::Run(Cmd::changes(SOON, ["sysctl", "-q", "-w", &format!("{name}={prior}")])));
        }
    }
    (acts, left)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    const BEFORE: &[(&str, &str)] =
        &[("kernel.panic", "0"), ("net.ipv4.ip_forward", "0"), ("vm.overcommit_memory", "0")];
    const MADE: &[(&str, &str)] =
        &[("kernel.panic", "10"), ("net.ipv4.ip_forward", "1"), ("vm.overcommit_memory", "1")];

    fn went_back(
        now: &[(&str, &str)],
        others: &Others,
        forwards: Option<&str>,
        files: &[(&str, &str)],
    ) -> (Vec<String>, Vec<String>) {
        let files: Vec<_> = files
            .iter()
            .map(|(n, v)| ((*n).to_owned(), (*v).to_owned(), "/etc/sysctl.d/90-mine.conf".to_owned()))
            .collect();
        let (acts, left) = {
            let made = |name: &str| MADE.iter().find(|(n, _)| *n == name).map_or("", |(_, value)| *value);
            judge(&values(BEFORE), &values(now), &made, others, forwards, &files)
        };
        let names = |act: &Act| act.show().trim_start_matches("sysctl -q -w ").to_owned();
        assert!(
            left.iter().all(|l| l.theirs != l.why.starts_with("the device")),
            "only a device is no proof: {left:?}"
        );
        (acts.iter().map(names).collect(), left.iter().map(|l| l.why.clone()).collect())
    }

    #[test]
    fn each_goes_back_unless_somebody_needs_it_or_set_it() {
        let nobody = Others::default();
        let all = ["kernel.panic=0", "net.ipv4.ip_forward=0", "vm.overcommit_memory=0"];
        assert_eq!(went_back(MADE, &nobody, None, &[]).0, all);
        assert_eq!(went_back(BEFORE, &nobody, None, &[]).0, [""; 0]);
        // A value of their own.
        let (acts, left) = went_back(&[("kernel.panic", "60"), ("net.ipv4.ip_forward", "1")], &nobody, None, &[]);
        assert_eq!((acts.as_slice(), left.len()), (["net.ipv4.ip_forward=0".to_owned()].as_slice(), 1));
        assert!(left[0].contains("somebody set it since"));
        // Docker needs forwarding, and nothing else of it.
        let docker = Others { runtime: Some("Docker is on this host".to_owned()), ..Others::default() };
        for (others, forwards) in [(&docker, None), (&nobody, Some("wg0"))] {
            let (acts, left) = went_back(MADE, others, forwards, &[]);
            assert_eq!(
                (acts.as_slice(), left.len()),
                (["kernel.panic=0", "vm.overcommit_memory=0"].map(str::to_owned).as_slice(), 1)
            );
        }
        // Another kubelet wants all of it.
        let k3s = Others { kubernetes: Some("k3s is on this host".to_owned()), ..Others::default() };
        assert_eq!(went_back(MADE, &k3s, None, &[]).1.len(), 3);
        // A file that sets another value does not want this one.
        assert_eq!(
            went_back(MADE, &nobody, None, &[("net.ipv4.ip_forward", "1"), ("kernel.panic", "5")]).0,
            ["kernel.panic=0", "vm.overcommit_memory=0"]
        );
    }

    /// Two names of one setting go, or stay, together.
    #[test]
    fn what_needs_forwarding_by_one_name_needs_it_by_the_other() {
        let before = values(&[("net.ipv4.conf.all.forwarding", "0"), ("net.ipv4.ip_forward", "0")]);
        let now = values(&[("net.ipv4.conf.all.forwarding", "1"), ("net.ipv4.ip_forward", "1")]);
        for name in SAME {
            let file = [((*name).to_owned(), "1".to_owned(), "/etc/sysctl.d/60-wg.conf".to_owned())];
            let (acts, left) = judge(&before, &now, &|_| "1", &Others::default(), None, &file);
            assert!(acts.is_empty(), "{acts:?}");
            assert_eq!(left.len(), 2);
        }
    }
}
