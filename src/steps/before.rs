//! What was there before MicroK8s, written down before it comes: a removed snap leaves a group, files, links, packet filter rules
//! and kernel settings behind, and only a list made beforehand tells them from what is somebody else's.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::SOON;
use crate::{
    error::{Error, ExitCode, Result},
    host::{Cmd, FileWrite, Host},
    journal::Place,
    spec::Spec,
    step::{Act, Memo, Memory, Probe, Scope, Step, Undo},
};

/// Paths that MicroK8s, its Kubernetes or its helpers make and `snap remove` leaves, below the root and below a home directory.
const TRACES: &[&str] = &[
    "/etc/apparmor.d/cri-containerd.apparmor.d",
    "/etc/cni",
    "/etc/sysctl.d/10-microk8s.conf",
    "/opt/cni",
    "/run/calico",
    "/run/containerd",
    "/run/flannel",
    "/run/xtables.lock",
    "/usr/libexec/kubernetes",
    "/var/lib/calico",
    "/var/lib/cni",
    "/var/lib/kubelet",
    "/var/log/calico",
    "/var/log/containers",
    "/var/log/pods",
    "/var/snap/microk8s",
];
const HOME_TRACES: &[&str] = &["snap/microk8s", "snap", ".kube/cache", ".kube"];

/// Kernel settings that kubelet, kube-proxy and the network set.
const SETTINGS: &[&str] = &[
    "fs.inotify.max_user_instances",
    "fs.inotify.max_user_watches",
    "kernel.keys.root_maxbytes",
    "kernel.keys.root_maxkeys",
    "kernel.panic",
    "kernel.panic_on_oops",
    "net.bridge.bridge-nf-call-ip6tables",
    "net.bridge.bridge-nf-call-iptables",
    "net.ipv4.conf.all.forwarding",
    "net.ipv4.conf.all.route_localnet",
    "net.ipv4.ip_forward",
    "net.ipv4.vs.conntrack",
    "net.ipv6.conf.all.forwarding",
    "net.netfilter.nf_conntrack_max",
    "net.netfilter.nf_conntrack_tcp_be_liberal",
    "net.netfilter.nf_conntrack_tcp_timeout_close_wait",
    "net.netfilter.nf_conntrack_tcp_timeout_established",
    "vm.overcommit_memory",
    "vm.panic_on_oom",
];

/// The services of the snap.
const UNITS: &str = "snap.microk8s.*";

/// Chains of Kubernetes and its networks.
const CHAINS: &[&str] = &["KUBE-", "CNI-", "cali-", "FLANNEL"];

/// Links of Kubernetes' networks.
const LINKS: &[&str] = &["cni0", "vxlan.calico", "flannel.1", "cali", "veth", "kube-ipvs0", "tunl0"];

/// Where it is written down. It is there as long as the snap is ours.
pub(super) fn file() -> PathBuf {
    Place::default().dir.join("before.json")
}

/// What was there.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Found {
    group: bool,
    absent: Vec<PathBuf>,
    filter_rules: bool,
    links: Vec<String>,
    namespaces: Vec<String>,
    settings: BTreeMap<String, String>,
}

/// The step.
pub(super) struct Before {
    user: String,
    file: PathBuf,
    deadline: Duration,
}

/// Makes systemd forget units of these patterns that failed; none where none did.
pub(super) fn forget_failed(host: &dyn Host, patterns: &[&str]) -> Result<Option<Act>> {
    let look = ["systemctl", "list-units", "--all", "--failed", "--plain", "--no-legend"];
    let failed = host.ask(&Cmd::reads(look.iter().chain(patterns).copied()))?;
    let reset = || Act::Run(Cmd::changes(SOON, [&["systemctl", "reset-failed"], patterns].concat()));
    Ok((!failed.stdout.trim().is_empty()).then(reset))
}

impl Before {
    pub(super) fn new(spec: &Spec) -> Self {
        Self { user: spec.user.clone(), file: file(), deadline: spec.timeouts.remove.into() }
    }

    fn homes(&self, host: &dyn Host) -> Result<Vec<PathBuf>> {
        let mut homes = vec![PathBuf::from("/root")];
        if let Some(home) = super::group::home(host, &self.user)?.filter(|home| home != Path::new("/root")) {
            homes.push(home);
        }
        Ok(homes)
    }

    fn look(&self, host: &dyn Host) -> Result<Found> {
        let homes = self.homes(host)?;
        let in_homes = homes.iter().flat_map(|home| HOME_TRACES.iter().map(move |t| home.join(t)));
        let paths = TRACES.iter().map(PathBuf::from).chain(in_homes);
        Ok(Found {
            group: super::group::exists(host)?,
            absent: paths.filter(|p| !host.exists(p)).collect(),
            filter_rules: saved_rules(host, "iptables-save")?.is_some_and(|rules| rules.lines().any(is_kubernetes)),
            links: links(host)?,
            namespaces: host.names(Path::new("/run/netns")),
            settings: settings(host)?,
        })
    }

    /// What was written down; none when it was not.
    fn written(&self, host: &dyn Host) -> Result<Option<Found>> {
        let Some(bytes) = host.read(&self.file)? else { return Ok(None) };
        let found = serde_json::from_slice(&bytes).map_err(|e| {
            Error::new(ExitCode::Journal, format!("{} is damaged", self.file.display()))
                .because(e)
                .hint("without it MicroK8s' traces cannot be told from those of others; move it away, and they stay")
        })?;
        Ok(Some(found))
    }

    /// The acts that take the traces away.
    fn traces(host: &dyn Host, before: &Found) -> Result<Vec<Act>> {
        let mut acts = Vec::new();
        let run = |argv: &[&str]| Act::Run(Cmd::changes(SOON, argv.iter().copied()));
        acts.extend(end_orphans(orphans(host, before)));
        for name in host.names(Path::new("/run/netns")) {
            if name.starts_with("cni-") && !before.namespaces.contains(&name) {
                acts.push(run(&["ip", "netns", "delete", &name]));
            }
        }
        for link in links(host)? {
            if LINKS.iter().any(|l| link.starts_with(l)) && !before.links.contains(&link) {
                acts.push(run(&["ip", "link", "delete", &link]));
            }
        }
        if !before.filter_rules {
            for (save, restore) in [("iptables-save", "iptables-restore"), ("ip6tables-save", "ip6tables-restore")] {
                if let Some(rules) = saved_rules(host, save)?.filter(|rules| rules.lines().any(is_kubernetes)) {
                    let kept: String = rules.lines().filter(|l| !is_kubernetes(l)).map(|l| format!("{l}\n")).collect();
                    acts.push(Act::Run(Cmd::changes(SOON, [restore]).stdin(kept)));
                }
            }
        }
        // A machine that boots in the middle of a removal starts services again, and snapd has stopped them already.
        let active = ["systemctl", "list-units", "--state=active", "--plain", "--no-legend", UNITS];
        if host.ask(&Cmd::reads(active))?.stdout.contains("snap.microk8s.") {
            acts.push(run(&["systemctl", "stop", UNITS]));
        }
        // systemd remembers a service that failed while it was stopped for good.
        acts.extend(forget_failed(host, &[UNITS])?);
        if !before.group && super::group::exists(host)? {
            acts.push(run(&["groupdel", super::group::GROUP]));
        }
        for path in &before.absent {
            // A home directory's own things are removed only when nothing but traces is in them.
            let in_home = HOME_TRACES.iter().any(|t| path.ends_with(t));
            let whole = !in_home || path.ends_with(".kube/cache") || path.ends_with("snap/microk8s");
            if host.exists(path) && (whole || host.names(path).is_empty()) {
                acts.push(Act::Remove { path: path.clone(), all: whole });
            }
        }
        let now = settings(host)?;
        for (name, value) in &before.settings {
            if now.get(name).is_some_and(|v| v != value) {
                acts.push(run(&["sysctl", "-q", "-w", &format!("{name}={value}")]));
            }
        }
        Ok(acts)
    }
}

impl Step for Before {
    fn id(&self) -> &'static str {
        "snap.before"
    }

    fn recipe(&self) -> Value {
        json!({"user": self.user, "timeouts": {"remove": self.deadline.as_secs()}})
    }

    fn title(&self) -> String {
        "what was there before MicroK8s".to_owned()
    }

    fn probe(&self, host: &dyn Host) -> Result<Probe> {
        let written = self.written(host)?;
        // What its pods leave can be seen only when it is gone.
        if let (Some(_), Some(why)) = (&written, super::snap::being_removed(host)?) {
            return Ok(Probe::pending(why));
        }
        let installed = host.snapd_get("/v2/snaps/microk8s")?.is_some();
        if let Some(before) = written {
            let left = if installed { Vec::new() } else { orphans(host, &before) };
            return Ok(if left.is_empty() {
                Probe::satisfied("written down")
            } else {
                Probe::differs(json!({"processes": left.len()}), "pods of a MicroK8s that was removed still run")
            });
        }
        Ok(if installed {
            Probe::satisfied("MicroK8s was there before us: its traces are not ours")
        } else {
            Probe::Absent
        })
    }

    fn apply(&self, host: &dyn Host, found: &Probe) -> Result<Vec<Act>> {
        if let (Probe::Differs { .. }, Some(before)) = (found, self.written(host)?) {
            return Ok(end_orphans(orphans(host, &before)).into_iter().collect());
        }
        let bytes = serde_json::to_vec_pretty(&self.look(host)?)
            .map_err(|e| Error::new(ExitCode::Bug, "not JSON").because(e))?;
        Ok(vec![Act::Write(FileWrite {
            path: self.file.clone(),
            bytes,
            mode: 0o600,
            owner: None,
            secret: false,
            keeps: false,
        })])
    }

    fn memo(&self, _: &dyn Host, _: &Probe) -> Result<Memo> {
        Ok(Memo { prior: Value::Null, want: json!({"file": self.file}) })
    }

    fn undo(&self, host: &dyn Host, memory: &Memory) -> Result<Undo> {
        let forget = || Act::Remove { path: self.file.clone(), all: false };
        if host.snapd_get("/v2/snaps/microk8s")?.is_some() {
            // Somebody installed it while we were about to: what it leaves one day is theirs.
            return Ok(match (memory.clears_ours, host.exists(&self.file)) {
                (true, _) => Undo::Keep("MicroK8s stays, and with it its traces".to_owned()),
                (false, true) => Undo::Acts(vec![forget()]),
                (false, false) => Undo::Done,
            });
        }
        let Some(before) = self.written(host)? else { return Ok(Undo::Done) };
        let acts = Self::traces(host, &before)?;
        Ok(Undo::Acts(if acts.is_empty() { vec![forget()] } else { acts }))
    }

    fn deadline(&self) -> Duration {
        self.deadline
    }

    fn scope(&self) -> Scope {
        Scope::Host
    }

    fn clears(&self) -> Option<&'static str> {
        Some(super::SNAP)
    }
}

/// Pods of the MicroK8s that is gone. Up to 1.24 nobody ends the containers when the snap goes: they live on without a parent, and
/// MetalLB's goes on answering for its addresses. Where there was another Kubernetes before us, they may be its own.
fn orphans(host: &dyn Host, before: &Found) -> Vec<String> {
    if before.filter_rules { Vec::new() } else { pod_processes(host) }
}

fn end_orphans(processes: Vec<String>) -> Option<Act> {
    if processes.is_empty() {
        return None;
    }
    Some(Act::Run(Cmd::changes(SOON, ["kill".to_owned(), "-KILL".to_owned()].into_iter().chain(processes))))
}

/// Processes in kubelet's control groups.
fn pod_processes(host: &dyn Host) -> Vec<String> {
    let mut found = Vec::new();
    for pid in host.names(Path::new("/proc")).into_iter().filter(|name| name.bytes().all(|b| b.is_ascii_digit())) {
        // A process may end while it is looked at.
        let groups = host.read(&Path::new("/proc").join(&pid).join("cgroup")).ok().flatten().unwrap_or_default();
        if String::from_utf8_lossy(&groups).lines().any(|line| line.contains("/kubepods")) {
            found.push(pid);
        }
    }
    found
}

/// A line of `iptables-save` that belongs to a chain of Kubernetes.
fn is_kubernetes(line: &str) -> bool {
    let mut words = line.split_whitespace();
    match words.next() {
        Some(chain) if chain.starts_with(':') => CHAINS.iter().any(|c| chain[1..].starts_with(c)),
        Some("-A") => words.any(|w| CHAINS.iter().any(|c| w.starts_with(c)) || w == "cni0" || w == "\"flanneld"),
        _ => false,
    }
}

/// The packet filter's rules; none on a host without it.
fn saved_rules(host: &dyn Host, program: &str) -> Result<Option<String>> {
    match host.ask(&Cmd::reads([program])) {
        Ok(output) if output.ok() => Ok(Some(output.stdout)),
        Ok(_) => Ok(None),
        Err(e) if e.what.starts_with("there is no program") => Ok(None),
        Err(e) => Err(e),
    }
}

fn links(host: &dyn Host) -> Result<Vec<String>> {
    let output = host.ask(&Cmd::reads(["ip", "-j", "link"]))?;
    let links: Value = serde_json::from_str(&output.stdout).unwrap_or_default();
    Ok(links.as_array().into_iter().flatten().filter_map(|l| l["ifname"].as_str().map(str::to_owned)).collect())
}

fn settings(host: &dyn Host) -> Result<BTreeMap<String, String>> {
    let mut found = BTreeMap::new();
    for name in SETTINGS {
        let path = format!("/proc/sys/{}", name.replace('.', "/"));
        if let Some(bytes) = host.read(Path::new(&path))? {
            found.insert((*name).to_owned(), String::from_utf8_lossy(&bytes).trim().to_owned());
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_rules_of_kubernetes_are_taken() {
        for ours in [
            ":KUBE-SERVICES - [0:0]",
            "-A PREROUTING -m comment --comment \"kubernetes service portals\" -j KUBE-SERVICES",
            "-A CNI-abc -d 10.1.0.0/16 -j ACCEPT",
            "-A POSTROUTING -s 10.1.0.5/32 -j CNI-abc",
            "-A FORWARD -i cni0 -j ACCEPT",
        ] {
            assert!(is_kubernetes(ours), "{ours}");
        }
        for other in [
            ":INPUT ACCEPT [0:0]",
            "-A INPUT -p tcp --dport 22 -j ACCEPT",
            "COMMIT",
            "*nat",
            "-A DOCKER -i docker0 -j RETURN",
        ] {
            assert!(!is_kubernetes(other), "{other}");
        }
    }
}
