//! Files and folders that MicroK8s, its Kubernetes or its helpers make and `snap remove` leaves. Of what was not there before us exactly that
//! goes which they are known to make, by name and, where the name is anybody's, by content; a folder goes when it is empty. What somebody
//! else put there stays, the folder with it, and both are named.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::LazyLock,
};

use regex::Regex;

use super::Others;
use crate::{
    engine::step::Act,
    error::Result,
    host::{FileKind, Host, mount_points},
    stack::left::Left,
};

/// A place that MicroK8s leaves something in.
struct Trace {
    /// Where; below each home directory when it is not absolute.
    root: &'static str,
    /// What is made there: a pattern for the path below the root (empty = the root itself), and what it is.
    made: &'static [(&'static str, Made)],
}

/// What something must be to be known as made by MicroK8s.
#[derive(Clone, Copy)]
enum Made {
    /// A folder, which goes when nothing is in it any more.
    Folder,
    /// A folder with all that is in it.
    Tree,
    /// A link that leads below this folder.
    Link(&'static str),
    /// A file of that name.
    File,
    /// A file with this text in it.
    Text(&'static str),
    /// A file whose lines all begin with one of these.
    Lines(&'static [&'static str]),
    /// A socket that nobody listens at.
    Socket,
    /// A pipe of a container that is gone.
    Pipe,
}

use Made::{File, Folder, Lines, Link, Pipe, Socket, Text, Tree};

const SNAP: &str = "/var/snap/microk8s/";

/// A pod's number, as kubelet writes it into names.
const OF_POD: &str = "[^/_]+_[^/_]+_([0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9a-f]{32})";

const TRACES: &[Trace] = &[
    Trace {
        root: "/etc/apparmor.d/cri-containerd.apparmor.d",
        made: &[("", Text("profile cri-containerd.apparmor.d"))],
    },
    Trace {
        root: "/etc/cni",
        made: &[
            ("", Folder),
            ("net.d", Link(SNAP)),
            ("net.d", Folder),
            (r"net\.d/10-calico\.conflist", Text("/var/snap/microk8s/")),
            (r"net\.d/flannel\.conflist", Text("microk8s")),
            (r"net\.d/calico-kubeconfig", Text("10.152.183.1")),
            (r"net\.d/cni\.lock", File),
        ],
    },
    Trace {
        root: super::settings::OF_MICROK8S,
        made: &[("", Lines(&["fs.aio-max-nr=", "fs.inotify.max_user_instances=", "fs.inotify.max_user_watches="]))],
    },
    Trace {
        root: "/etc/systemd/system/snap.microk8s.daemon-kubelite.service.d",
        made: &[("", Folder), (r"delegate\.conf", Text("Delegate=yes"))],
    },
    Trace { root: "/opt/cni", made: &[("", Folder), ("bin", Link(SNAP)), ("bin", Folder)] },
    Trace { root: "/run/calico", made: &[("", Folder), ("cgroup", Folder)] },
    Trace {
        root: "/run/containerd",
        made: &[
            ("", Folder),
            ("s", Folder),
            ("s/[0-9a-f]{64}", Socket),
            ("fifo", Folder),
            ("fifo/[0-9]+", Folder),
            ("fifo/[0-9]+/.*", Pipe),
            ("runc", Folder),
            ("runc/k8s.io", Folder),
            ("runc/k8s.io/[0-9a-f]{64}", Folder),
            (r"runc/k8s.io/[0-9a-f]{64}/state\.json", Text("/var/snap/microk8s/")),
        ],
    },
    Trace { root: "/run/flannel", made: &[("", Folder), (r"subnet\.env", Text("FLANNEL_NETWORK=10.1."))] },
    Trace {
        root: "/usr/libexec/kubernetes",
        made: &[
            ("", Folder),
            ("kubelet-plugins", Folder),
            ("kubelet-plugins/volume", Folder),
            ("kubelet-plugins/volume/exec", Folder),
            ("kubelet-plugins/volume/exec/nodeagent~uds", Tree),
        ],
    },
    Trace { root: "/var/lib/calico", made: &[("", Link(SNAP)), ("", Folder), ("nodename|mtu", File)] },
    Trace {
        root: "/var/lib/cni",
        made: &[
            ("", Folder),
            ("networks|results|cache|cache/results|flannel", Folder),
            ("networks/(k8s-pod-network|microk8s-flannel-network)", Tree),
            ("(cache/)?results/(k8s-pod-network|microk8s-flannel-network)-.*", File),
            // The plugin for a pod's own loopback, of whatever containerd.
            ("(cache/)?results/cni-loopback-[0-9a-f]{64}-lo", File),
            ("flannel/[0-9a-f]{64}", Text("10.1.")),
        ],
    },
    Trace {
        root: "/var/lib/kubelet",
        made: &[
            ("", Link(SNAP)),
            ("", Folder),
            ("device-plugins|plugins|plugins_registry|pod-resources", Folder),
            (r"(device-plugins|pod-resources)/kubelet\.sock", Socket),
            ("device-plugins/(DEPRECATION|kubelet_internal_checkpoint)", File),
        ],
    },
    // snapd keeps the file of an installation that was broken off after its download.
    Trace { root: SNAP_FILES, made: &[("", Folder), (r"microk8s_x?[0-9]+\.snap", File)] },
    Trace { root: "/var/log/calico", made: &[("", Folder), ("cni", Folder), (r"cni/cni[^/]*\.log(\.gz)?", File)] },
    Trace {
        root: "/var/log/containers",
        made: &[("", Folder), (r"[^/_]+_[^/_]+_[^/_]+-[0-9a-f]{64}\.log", Link("/var/log/pods/"))],
    },
    Trace { root: "/var/log/pods", made: &[("", Folder), (OF_POD, Tree)] },
    // Who agreed to the removal of the snap with `--purge` agreed to all of it.
    Trace { root: "/var/snap/microk8s", made: &[("", Tree)] },
    Trace {
        root: "snap",
        made: &[
            ("", Folder),
            ("microk8s", Folder),
            ("microk8s/current", Link("")),
            ("microk8s/(common|x?[0-9]+)", Folder),
        ],
    },
    Trace { root: "snap/microk8s", made: &[("", Folder), ("current", Link("")), ("common|x?[0-9]+", Folder)] },
    Trace {
        root: ".kube",
        made: &[
            ("", Folder),
            ("cache", Folder),
            ("cache/discovery", Folder),
            ("cache/discovery/[^/]+_16443", Tree),
            ("cache/http", Tree),
        ],
    },
    Trace {
        root: ".kube/cache",
        made: &[("", Folder), ("discovery", Folder), ("discovery/[^/]+_16443", Tree), ("http", Tree)],
    },
];

/// Where snapd keeps the files of snaps.
pub(super) const SNAP_FILES: &str = "/var/lib/snapd/snaps";

/// Places that every Kubernetes uses: beside another one, names alone prove nothing there.
const SHARED: &[&str] = &["/etc/cni", "/opt/cni", "/run", "/usr/libexec/kubernetes", "/var/lib", "/var/log"];

/// A trace in its place.
struct Place {
    root: PathBuf,
    /// It was there before us: what is in it and unknown is nobody's concern.
    was_there: bool,
    made: &'static [(Regex, Made)],
}

/// The patterns of all traces, read once: reading them takes longer than all else here.
static PATTERNS: LazyLock<Vec<Vec<(Regex, Made)>>> = LazyLock::new(|| {
    let pattern = |text: &str| {
        Regex::new(&format!("^(?:{text})$")).unwrap_or_else(|e| panic!("{text} is a pattern that the tests read: {e}"))
    };
    TRACES.iter().map(|trace| trace.made.iter().map(|(text, made)| (pattern(text), *made)).collect()).collect()
});

impl Place {
    fn new(root: PathBuf, at: usize) -> Self {
        Self { root, was_there: false, made: &PATTERNS[at] }
    }

    /// The place of a path that was written down before us.
    fn of(path: &Path) -> Option<Self> {
        let fits = |(_, t): &(usize, &Trace)| {
            if t.root.starts_with('/') { path == Path::new(t.root) } else { path.ends_with(t.root) }
        };
        // `snap/microk8s` ends in no other one's root, but `.kube/cache` is below `.kube`.
        let (at, _) = TRACES.iter().enumerate().filter(fits).max_by_key(|(_, t)| t.root.len())?;
        Some(Self::new(path.to_owned(), at))
    }
}

/// All places of this host, with these home directories.
fn places(homes: &[PathBuf]) -> Vec<Place> {
    let all = || TRACES.iter().enumerate();
    let of_host = all().filter(|(_, t)| t.root.starts_with('/')).map(|(at, t)| Place::new(t.root.into(), at));
    let of_home = |(at, t): (usize, &'static Trace)| homes.iter().map(move |home| Place::new(home.join(t.root), at));
    of_host.chain(all().filter(|(_, t)| !t.root.starts_with('/')).flat_map(of_home)).collect()
}

/// All of these places, by their roots.
pub(super) fn roots(homes: &[PathBuf]) -> Vec<PathBuf> {
    places(homes).into_iter().map(|place| place.root).collect()
}

/// What is there before us: places that are not, and of those that are everything in them that MicroK8s might have made.
pub(super) fn there(host: &dyn Host, homes: &[PathBuf]) -> Result<(Vec<PathBuf>, Vec<PathBuf>)> {
    let (mut absent, mut there, others) = (Vec::new(), Vec::new(), Others::default());
    for place in places(homes) {
        if host.kind(&place.root)?.is_none() {
            absent.push(place.root);
        } else {
            let mut sweep = Sweep::new(host, &others)?;
            sweep.visit(&place, &place.root, &mut |path| there.push(path.to_owned()))?;
        }
    }
    Ok((absent, there))
}

/// What of it goes, and what stays. `there`: what was there before, in places that were there; none when that was not written down.
pub(super) fn left(
    host: &dyn Host,
    absent: &[PathBuf],
    there: Option<&[PathBuf]>,
    homes: &[PathBuf],
    others: &Others,
) -> Result<(Vec<Act>, Vec<Left>)> {
    let mut sweep = Sweep::new(host, others)?;
    let inside = |path: &Path| absent.iter().any(|other| other != path && path.starts_with(other));
    let mut todo: Vec<Place> = absent.iter().filter(|path| !inside(path)).filter_map(|path| Place::of(path)).collect();
    if let Some(there) = there {
        sweep.spared = there.iter().map(PathBuf::as_path).collect();
        let was_there = places(homes).into_iter().filter(|p| !absent.contains(&p.root) && !inside(&p.root));
        todo.extend(was_there.map(|place| Place { was_there: true, ..place }));
    }
    for place in &todo {
        sweep.visit(place, &place.root, &mut |_| {})?;
    }
    // A place may lie in another one.
    let mut paths = BTreeSet::new();
    sweep.acts.retain(|act| if let Act::Remove { path, .. } = act { paths.insert(path.clone()) } else { true });
    Ok((sweep.acts, sweep.left))
}

/// A walk through such places.
struct Sweep<'a> {
    host: &'a dyn Host,
    others: &'a Others,
    mounted: Vec<PathBuf>,
    /// Paths of sockets that somebody listens at.
    listening: BTreeSet<String>,
    spared: BTreeSet<&'a Path>,
    acts: Vec<Act>,
    left: Vec<Left>,
}

impl<'a> Sweep<'a> {
    fn new(host: &'a dyn Host, others: &'a Others) -> Result<Self> {
        // `Num RefCount Protocol Flags Type St Inode Path`
        let sockets = host.read(Path::new("/proc/net/unix"))?.unwrap_or_default();
        let sockets = String::from_utf8_lossy(&sockets);
        let listening = sockets.lines().filter_map(|l| l.split_whitespace().nth(7)).map(str::to_owned).collect();
        let mounted = mount_points(host)?;
        Ok(Self { host, others, mounted, listening, spared: BTreeSet::new(), acts: Vec::new(), left: Vec::new() })
    }

    /// Whether nothing is left of a path when the acts have run. `known` hears of everything that MicroK8s might have made.
    fn visit(&mut self, place: &Place, path: &Path, known: &mut dyn FnMut(&Path)) -> Result<bool> {
        let Some(kind) = self.host.kind(path)? else { return Ok(true) };
        let below = path.strip_prefix(&place.root).unwrap_or(path).to_string_lossy().into_owned();
        if let Some(point) = self.mounted.iter().find(|m| m.as_path() == path) {
            let what = format!("what is mounted at {}", point.display());
            self.left.push(Left::theirs(what, "what is mounted there is nothing that MicroK8s left"));
            return Ok(false);
        }
        let made: Vec<Made> = place.made.iter().filter(|(p, _)| p.is_match(&below)).map(|(_, made)| *made).collect();
        for made in &made {
            if self.is(path, kind, *made)? {
                known(path);
                return self.take(place, path, *made, known);
            }
        }
        if !place.was_there {
            let why =
                if made.is_empty() { "MicroK8s makes nothing of that name" } else { "it is not as MicroK8s makes it" };
            self.left.push(Left::theirs(path.display().to_string(), why));
        }
        Ok(false)
    }

    /// Whether it is what MicroK8s makes there.
    fn is(&self, path: &Path, kind: FileKind, made: Made) -> Result<bool> {
        let text = || -> Result<String> {
            Ok(self.host.read(path)?.map(|b| String::from_utf8_lossy(&b).into_owned()).unwrap_or_default())
        };
        Ok(match (made, kind) {
            (Folder | Tree, FileKind::Directory) | (File, FileKind::File) => true,
            (Link(to), FileKind::Link) => {
                self.host.link(path).is_some_and(|target| target.to_string_lossy().starts_with(to))
            }
            (Text(part), FileKind::File) => text()?.contains(part),
            (Lines(begin), FileKind::File) => {
                let text = text()?;
                text.lines().filter(|l| !l.trim().is_empty()).all(|l| begin.iter().any(|b| l.starts_with(b)))
            }
            (Socket, FileKind::Other) => !self.listening.contains(path.to_string_lossy().as_ref()),
            // Whether somebody reads a pipe cannot be seen.
            (Pipe, FileKind::Other) => self.others.runtime.is_none(),
            _ => false,
        })
    }

    /// Takes away what is MicroK8s'.
    fn take(&mut self, place: &Place, path: &Path, made: Made, known: &mut dyn FnMut(&Path)) -> Result<bool> {
        let spared = self.spared.contains(path);
        let mut empty = true;
        if let Folder = made {
            for name in self.host.names(path) {
                empty &= self.visit(place, &path.join(name), known)?;
            }
        }
        if spared || !empty {
            return Ok(false);
        }
        let mounted = self.mounted.iter().find(|m| m.starts_with(path));
        let proven = matches!(made, Text(_) | Lines(_)) || matches!(made, Link(to) if to == SNAP);
        let is_shared = SHARED.iter().any(|s| place.root.starts_with(s));
        let whose = self.others.kubernetes.as_ref().filter(|_| is_shared && !proven);
        let stays = match (mounted, whose) {
            (Some(point), _) => {
                Some(Left::theirs(path.display().to_string(), format!("something is mounted at {}", point.display())))
            }
            (None, Some(other)) => {
                Some(Left::ours(path.display().to_string(), format!("{other}, and it may be its own")))
            }
            (None, None) => None,
        };
        if let Some(left) = stays {
            self.left.push(left);
            return Ok(false);
        }
        self.acts.push(Act::Remove { path: path.to_owned(), all: matches!(made, Tree) });
        Ok(true)
    }
}
