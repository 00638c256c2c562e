//! Pods that outlive their MicroK8s. Up to 1.24 nobody ends the containers when the snap goes: they live on, in 1.20 even without a shim, and
//! MetalLB's goes on answering for its addresses.
//!
//! A process is killed only on evidence, never for its name or a word in its control group: its shim is MicroK8s', or its root file system
//! lies in MicroK8s' containerd, or it is in the pod of such a process. All of it is asked on this host's own hierarchy, so that a MicroK8s, a
//! k3s or a kind in somebody's container is left alone.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use super::Left;
use crate::{
    host::{Host, Process, began},
    step::Act,
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
    /// It sees this host's processes, and so is in nobody's container.
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
mod tests {
    use super::*;

    /// A process of the host's, by what it was started with and where it is.
    fn process(pid: i32, parent: i32, argv: &str, group: &str) -> Seen {
        Seen {
            pid,
            parent,
            began: 100,
            argv: argv.split(' ').map(str::to_owned).collect(),
            groups: vec!["/user.slice".to_owned(), group.to_owned()],
            is_roots: true,
            on_host: true,
            ..Seen::default()
        }
    }

    fn in_pod(pid: i32, parent: i32, argv: &str, group: &str, root: &str) -> Seen {
        Seen { root: root.to_owned(), on_host: false, ..process(pid, parent, argv, group) }
    }

    fn shim(pid: i32, program: &str, address: &str) -> Seen {
        let argv = format!("{program}/containerd-shim-runc-v2 -namespace k8s.io -id 3fa9 -address {address}");
        Seen {
            program: Some(format!("{program}/containerd-shim-runc-v2").into()),
            ..process(pid, 1, &argv, "/system.slice/x.service")
        }
    }

    const POD: &str = "/kubepods/besteffort/pod6e0f1a52-0001-4000-8000-000000000000/3fa9";
    const OF_MICROK8S: &str = "611 500 0:60 / / rw,relatime - overlay overlay rw,lowerdir=/var/snap/microk8s/common/var/lib/containerd/io.containerd.snapshotter.v1.overlayfs/snapshots/1/fs";
    const OF_DOCKER: &str = "611 500 0:60 / / rw,relatime - overlay overlay rw,lowerdir=/var/lib/docker/overlay2/l/AB";

    fn whose(all: &[Seen]) -> Vec<(i32, bool, bool)> {
        let judged = judge(all);
        judged.iter().map(|(p, w)| (p.pid, matches!(w, Whose::MicroK8s(_)), *w == Whose::Unknown)).collect()
    }

    /// Evidence of each kind, alone.
    #[test]
    fn a_pod_of_microk8s_is_known_by_its_shim_or_its_files() {
        // Up to 1.24 the shim lives on; its program lay in the snap, which was detached or deleted.
        for ours in [
            shim(10, "/snap/microk8s/7731/bin", "/anything"),
            shim(10, "/bin", SOCKET),
            Seen { program: None, ..shim(10, "/snap/microk8s/2210/bin", SOCKET) },
        ] {
            let all = [ours, in_pod(11, 10, "/pause", POD, ""), in_pod(12, 11, "sh", "/elsewhere", "")];
            assert_eq!(whose(&all), [(10, true, false), (11, true, false), (12, true, false)]);
        }
        // In 1.20 the shim ends with containerd, and the pod has no parent.
        assert_eq!(whose(&[in_pod(11, 1, "/pause", POD, OF_MICROK8S)]), [(11, true, false)]);
        let slices =
            "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod6e0f1a52.slice/cri-containerd-1.scope";
        assert_eq!(whose(&[in_pod(11, 1, "/pause", slices, OF_MICROK8S)]), [(11, true, false)]);
        // A program of the host's that a pod started, in the pod's control group.
        let host = process(13, 1, "iscsiadm -m discovery", POD);
        assert_eq!(
            whose(&[in_pod(11, 1, "/pause", POD, OF_MICROK8S), host.clone()]),
            [(11, true, false), (13, true, false)]
        );
        assert_eq!(whose(&[host]), [(13, false, true)], "alone it proves nothing");
        // What MicroK8s' own services left.
        assert_eq!(
            whose(&[process(14, 1, "kubelite", "/system.slice/snap.microk8s.daemon-kubelite.service")]),
            [(14, true, false)]
        );
    }

    #[test]
    fn pods_of_others_are_left_alone() {
        for group in [
            "/docker/abc/kubepods/besteffort/podx",
            "/system.slice/docker-abc.scope/kubelet.slice/kubelet-kubepods.slice/kubepods.slice/kubepods-pod1.slice/x",
            "/lxc.payload.k8s/kubepods/besteffort/pod6e0f/3fa9",
            "/machine.slice/machine-one.scope/kubepods/pod6e0f/3fa9",
            "/user.slice/user-1000.slice/user@1000.service/user.slice/kubepods/pod1/2",
        ] {
            assert_eq!(whose(&[in_pod(11, 1, "sleep 60", group, OF_MICROK8S)]), [(11, false, false)], "{group}");
        }
        for group in
            ["/kubepods-of-mine/pod1", "/system.slice/snap.microk8s.microk8s-1.scope", "/system.slice/kubepods.service"]
        {
            assert_eq!(whose(&[in_pod(11, 1, "sleep 60", group, OF_MICROK8S)]), [], "{group}");
        }
        // k3s, kubeadm, minikube without a driver: kubelet's control groups of this host, and a shim of their own.
        for address in ["/run/k3s/containerd/containerd.sock", "/run/containerd/containerd.sock"] {
            let all = [shim(10, "/usr/bin", address), in_pod(11, 10, "/pause", POD, "")];
            assert_eq!(whose(&all), [(10, false, false), (11, false, false)]);
        }
        assert_eq!(whose(&[in_pod(11, 1, "/pause", POD, OF_DOCKER)]), [(11, false, false)]);
        // A container whose control group has no name that tells: its own init is above the pod.
        let init = Seen { on_host: false, ..process(20, 1, "/sbin/init", "/default/abc") };
        let pod = in_pod(21, 20, "/pause", "/default/abc/kubepods/besteffort/pod6e0f/3fa9", OF_MICROK8S);
        assert_eq!(whose(&[init, pod.clone()]), [(21, false, false)]);
        // A kubelet that was told another place than the top.
        assert_eq!(whose(&[Seen { parent: 1, ..pod }]), [(21, true, false)]);
    }

    /// A MicroK8s in somebody's container has the same paths; a user's process may have any name.
    #[test]
    fn a_shim_counts_only_as_one_of_this_host_and_of_root() {
        let ours = shim(10, "/snap/microk8s/7731/bin", SOCKET);
        for not_ours in [
            Seen { on_host: false, ..ours.clone() },
            Seen { is_roots: false, ..ours.clone() },
            Seen {
                argv: vec!["grep".into(), "containerd-shim".into(), "-address".into(), SOCKET.into()],
                program: Some("/usr/bin/grep".into()),
                ..ours
            },
        ] {
            let child = in_pod(11, 10, "/pause", "/lxc.payload.c1/kubepods/pod1/2", OF_MICROK8S);
            assert_eq!(whose(&[not_ours, child]), [(11, false, false)]);
        }
    }

    /// Docker in a pod of ours is in the pod.
    #[test]
    fn the_outermost_shim_decides() {
        let inner = Seen { on_host: true, parent: 10, ..shim(11, "/usr/bin", "/run/containerd/containerd.sock") };
        let all = [shim(10, "/snap/microk8s/1/bin", SOCKET), inner, in_pod(12, 11, "nginx", POD, "")];
        assert_eq!(whose(&all), [(10, true, false), (11, true, false), (12, true, false)]);
        // Numbers in a circle, as a list that is read while processes come and go may have them.
        let circle = [process(5, 6, "a", "/x"), process(6, 5, "b", "/x")];
        assert_eq!(whose(&circle), []);
    }

    #[test]
    fn the_pod_is_found_in_both_ways_of_writing_it() {
        let pod = |group: &str| process(1, 0, "x", group).pod().map(str::to_owned);
        assert_eq!(pod("/kubepods/besteffort/pod6e0f/3fa9").as_deref(), Some("pod6e0f"));
        assert_eq!(pod("/kubepods/pod6e0f/3fa9").as_deref(), Some("pod6e0f"));
        assert_eq!(pod("/kubepods.slice/kubepods-pod6e0f.slice/cri-containerd-1.scope").as_deref(), Some("pod6e0f"));
        assert_eq!(
            pod("/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod6e0f.slice/x.scope").as_deref(),
            Some("pod6e0f")
        );
        assert_eq!(pod("/kubepods/besteffort"), None);
    }

    #[test]
    fn the_mount_that_covers_the_others_is_the_root() {
        let table = "1 0 8:1 / / rw - ext4 /dev/sda1 rw\n2 1 0:5 / /proc rw - proc proc rw\n3 1 0:60 / / rw - overlay overlay rw,lowerdir=x\n";
        assert!(root(table).contains("lowerdir=x"));
        assert_eq!(root(""), "");
    }
}
