//! Pods that outlive their MicroK8s. Up to 1.24 the containers are not ended when the snap is removed: they continue to run, in 1.20 even without a shim, and
//! MetalLB's goes on answering for its addresses.
//!
//! A process is killed only on evidence, never for its name or a word in its control group: its shim is MicroK8s', or its root file system
//! lies in MicroK8s' containerd, or it is in the pod of such a process. All of it is asked on this host's own hierarchy, so that a MicroK8s, a
//! k3s or a kind in somebody's container is left alone.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use crate::{
    engine::step::Act,
    host::{Host, Process, began},
    stack::left::Left,
};

/// Where MicroK8s' containerd listens; each shim of it is told.
const SOCKET: &str = "/var/snap/microk8s/common/run/containerd.sock";

/// Where its containers' file systems lie: the mount table of a container names them even after they were deleted.
const ROOTS: &str = "/var/snap/microk8s/common/var/lib/containerd/";

/// Where the root file systems of other runtimes lie.
const ROOTS_OF_OTHERS: &[&str] =
    &["/var/lib/containerd/", "/var/lib/docker/", "/var/lib/containers/", "/var/lib/rancher/"];

/// The reason for what is no pod, but one of MicroK8s' own programs.
pub(super) const OF_SERVICE: &str = "it is in the control group of one of its services";

/// Control groups of containers and of users' own managers begin so: a kubelet below one is not this host's.
const CONTAINERS: &[&str] = &["docker", "lxc", "libpod", "machine", "podman", "nerdctl", "user.slice"];

/// A process, as far as it matters here.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    pub(super) pid: i32,
    pub(super) parent: i32,
    pub(super) began: u64,
    pub(super) argv: Vec<String>,
    /// Its program's file; `None` for the kernel's own.
    pub(super) program: Option<PathBuf>,
    /// Its control groups, as paths of this host's hierarchies.
    pub(super) groups: Vec<String>,
    /// What is mounted as its root.
    pub(super) root: String,
    /// It runs as root.
    pub(super) is_roots: bool,
    /// It sees the processes of this host, so it is not in a container.
    pub(super) on_host: bool,
    /// It has this host's network.
    pub(super) on_network: bool,
}

impl Seen {
    pub(super) fn name(&self) -> &str {
        let first = self.argv.first().map_or("", String::as_str);
        first.rsplit('/').next().unwrap_or(first)
    }

    /// The containerd whose shim it is.
    fn shim_of(&self) -> Option<&str> {
        let program = self.program.as_deref().and_then(Path::file_name).unwrap_or_default().to_string_lossy();
        let is_shim = program.starts_with("containerd-shim") || self.name().starts_with("containerd-shim");
        // Anybody may call a program so; only root's may end what others run.
        if !is_shim || !self.is_roots || !self.on_host {
            return None;
        }
        if self.program.as_ref().is_some_and(|p| p.starts_with("/snap/microk8s")) {
            return Some(SOCKET);
        }
        let at = self.argv.iter().position(|word| word == "-address")?;
        self.argv.get(at + 1).map(String::as_str)
    }

    /// The control group of kubelet's that it is in: what comes before it, and its pods'. On a host it is usually at the top.
    fn kubepods(&self) -> Option<(&str, &str)> {
        self.groups.iter().find_map(|path| {
            let at = ["/kubepods/", "/kubepods.slice/"].iter().filter_map(|name| path.find(name)).min()?;
            Some(path.split_at(at))
        })
    }

    /// Its control group lies below that of a container.
    fn is_below_a_container(&self) -> bool {
        let above = self.kubepods().map_or("", |(above, _)| above);
        above.split('/').any(|part| CONTAINERS.iter().any(|c| part.starts_with(c)))
    }

    /// It is in a control group of one of MicroK8s' own services.
    fn of_service(&self) -> bool {
        self.on_host && self.groups.iter().any(|path| path.starts_with("/system.slice/snap.microk8s.daemon-"))
    }

    /// The pod of its control group: `pod6e0f...`, in both ways of writing it (`kubepods-besteffort-pod6e0f....slice`).
    fn pod(&self) -> Option<&str> {
        self.kubepods()?.1.split('/').find_map(|part| {
            let part = part.trim_end_matches(".slice");
            let name = part.rfind("-pod").map_or(part, |at| &part[at + 1..]);
            (name.len() > "pod".len() && name.starts_with("pod")).then_some(name)
        })
    }

    fn process(&self) -> Process {
        Process { pid: self.pid, began: self.began, name: self.name().to_owned() }
    }
}

/// All processes of the host. One that ends while it is looked at is not among them.
pub(super) fn all(host: &dyn Host) -> Vec<Seen> {
    let numbers = host.names(Path::new("/proc")).into_iter().filter_map(|name| name.parse::<i32>().ok());
    let of_init = |what: &str| host.link(&Path::new("/proc/1/ns").join(what));
    let (processes, network) = (of_init("pid"), of_init("net"));
    let mut found = Vec::new();
    for pid in numbers {
        let dir = PathBuf::from(format!("/proc/{pid}"));
        // It may end at any moment.
        let text = |name: &str| match host.read(&dir.join(name)) {
            Ok(bytes) => bytes.map(|b| String::from_utf8_lossy(&b).into_owned()).unwrap_or_default(),
            Err(_) => String::new(),
        };
        let stat = text("stat");
        let Some(began) = began(&stat) else { continue };
        let parent = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(1)?.parse().ok());
        let argv: Vec<String> = text("cmdline").split('\0').filter(|w| !w.is_empty()).map(str::to_owned).collect();
        let own = |what: &str| host.link(&dir.join("ns").join(what));
        found.push(Seen {
            pid,
            parent: parent.unwrap_or(0),
            began,
            argv,
            program: host.link(&dir.join("exe")),
            groups: text("cgroup").lines().filter_map(|l| l.splitn(3, ':').nth(2)).map(str::to_owned).collect(),
            root: root(&text("mountinfo")).to_owned(),
            is_roots: text("status")
                .lines()
                .any(|l| l.strip_prefix("Uid:").is_some_and(|u| u.trim().starts_with("0\t"))),
            on_host: processes.is_some() && own("pid") == processes,
            on_network: network.is_some() && own("net") == network,
        });
    }
    found
}

/// The line of a mount table for `/`; the last one counts, since it covers the others.
fn root(mountinfo: &str) -> &str {
    mountinfo.lines().rev().find(|line| line.split(' ').nth(4) == Some("/")).unwrap_or_default()
}

/// Whose a process is, of those that are in kubelet's control groups or belong to a shim.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Whose {
    /// A pod of MicroK8s, and how that is known.
    MicroK8s(&'static str),
    Others,
    /// It looks like a pod of a Kubernetes on this host, and nothing says of which.
    Unknown,
}

/// A process and those above it.
fn ancestors<'a>(all: &'a [Seen], of: &'a Seen) -> Vec<&'a Seen> {
    let mut chain = vec![of];
    // A list that is read while processes come and go may have numbers in a circle.
    while let Some(parent) = chain.last().and_then(|last| all.iter().find(|p| p.pid == last.parent)) {
        if chain.iter().any(|p| p.pid == parent.pid) {
            break;
        }
        chain.push(parent);
    }
    chain
}

/// Whose they are.
fn judge(all: &[Seen]) -> Vec<(&Seen, Whose)> {
    // A pod may run a containerd of its own; what counts is that its outermost shim is MicroK8s'.
    let by_shim = |of: &Seen| {
        let mut shims = ancestors(all, of).into_iter().filter_map(Seen::shim_of).peekable();
        shims.peek().is_some().then(|| {
            if shims.any(|address| address == SOCKET) {
                Whose::MicroK8s("the shim over it is MicroK8s'")
            } else {
                Whose::Others
            }
        })
    };
    // The kubelet of a container has a parent that is in the container, and in no pod.
    let is_nested = |of: &Seen| ancestors(all, of).iter().any(|p| !p.on_host && p.kubepods().is_none());
    let alone = |of: &Seen| {
        by_shim(of).or_else(|| {
            if of.of_service() {
                return Some(Whose::MicroK8s(OF_SERVICE));
            }
            of.kubepods()?;
            Some(if of.is_below_a_container() || is_nested(of) {
                Whose::Others
            } else if of.root.contains(ROOTS) {
                Whose::MicroK8s("its files lie in MicroK8s' containerd")
            } else if ROOTS_OF_OTHERS.iter().any(|r| of.root.contains(r)) {
                Whose::Others
            } else {
                Whose::Unknown
            })
        })
    };
    let mut judged: Vec<(&Seen, Whose)> = all.iter().filter_map(|p| Some((p, alone(p)?))).collect();
    // What a pod started by the host's own programs is still in the pod.
    let pods: BTreeSet<&str> =
        judged.iter().filter(|(_, w)| matches!(w, Whose::MicroK8s(_))).filter_map(|(p, _)| p.pod()).collect();
    for (process, whose) in judged.iter_mut().filter(|(_, whose)| *whose == Whose::Unknown) {
        if process.pod().is_some_and(|pod| pods.contains(pod)) {
            *whose = Whose::MicroK8s("it is in a pod of MicroK8s");
        }
    }
    judged
}

/// What to do about the pods of a MicroK8s that is gone, and what stays.
pub(super) fn orphans(host: &dyn Host, all: &[Seen]) -> (Vec<Act>, Vec<Left>) {
    let me = host.link(Path::new("/proc/self")).and_then(|p| p.to_string_lossy().parse::<i32>().ok());
    let mut mine: Vec<i32> = Vec::new();
    let mut at = me;
    while let Some(pid) = at.filter(|pid| !mine.contains(pid)) {
        mine.push(pid);
        at = all.iter().find(|p| p.pid == pid).map(|p| p.parent);
    }
    let (mut acts, mut left): (Vec<Act>, Vec<Left>) = (Vec::new(), Vec::new());
    for (process, whose) in judge(all) {
        let what = || format!("process {} ({})", process.pid, process.name());
        match whose {
            Whose::MicroK8s(_) if mine.contains(&process.pid) => {
                left.push(Left::ours(what(), "it is in a pod of MicroK8s, and this command runs in it"));
            }
            Whose::MicroK8s(reason) => {
                let same = acts.iter_mut().find_map(|act| match act {
                    Act::Kill { processes, why } if why == reason => Some(processes),
                    _ => None,
                });
                match same {
                    Some(processes) => processes.push(process.process()),
                    None => acts.push(Act::Kill { processes: vec![process.process()], why: reason.to_owned() }),
                }
            }
            Whose::Others => {}
            Whose::Unknown => left.push(Left::ours(
                what(),
                "it is in a control group of kubelet's, and nothing says that it is of MicroK8s: end it by hand if it is",
            )),
        }
    }
    (acts, left)
}

#[cfg(test)]
mod tests;
