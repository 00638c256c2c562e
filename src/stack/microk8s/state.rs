//! MicroK8s as it is on this host: its snap, what snapd does with it right now, and whether it was stopped. It only reads.

use std::{
    fmt,
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::Value;

use crate::{
    config::spec::Spec,
    error::Result,
    host::{Host, Progress},
    stack::microk8s::alias::Alias,
};

pub use crate::host::microk8s::{CERTIFICATES, CONTAINERD, Identity, SNAP};

/// Its settings; each revision of the snap has its own copy, and takes the last one's along.
pub const ARGS: &str = "/var/snap/microk8s/current/args";

/// The folder below `certs.d` in which containerd looks for a registry's mirror: a port stands between underscores (containerd,
/// docs/hosts.md; `hostDirectory` in its source).
pub fn registry_folder(registry: &str) -> String {
    registry.rsplit_once(':').map_or_else(|| registry.to_owned(), |(host, port)| format!("{host}_{port}_"))
}

/// Written by `microk8s stop`, removed by `microk8s start`.
const STOPPED: &str = "/var/snap/microk8s/current/var/lock/stopped.lock";

/// Whether `microk8s stop` was called and no start since.
pub fn is_stopped(host: &dyn Host) -> bool {
    host.exists(Path::new(STOPPED))
}

/// What snapd is doing with the snap right now, whoever asked for it.
pub struct Doing {
    /// What it does, for people.
    pub why: String,
    /// How far it is, where that is known.
    pub progress: Option<Progress>,
    /// The number of the change.
    pub id: String,
    /// It can be aborted: it installs, and is not being undone already.
    pub installs: bool,
    /// It removes the snap.
    pub removes: bool,
}

impl Doing {
    /// The change that snapd works on; none when it works on none.
    ///
    /// # Errors
    /// snapd does not answer.
    pub fn now(host: &dyn Host) -> Result<Option<Self>> {
        let changes = host.snapd_get("/v2/changes?select=in-progress&for=microk8s")?.unwrap_or_default();
        Ok(changes.as_array().and_then(|c| c.first()).map(Self::of))
    }

    fn of(change: &Value) -> Self {
        let (why, progress) = crate::host::doing(change);
        Self {
            why: format!("snapd: {why}"),
            progress,
            id: change["id"].as_str().unwrap_or_default().to_owned(),
            installs: change["kind"] == "install-snap" && (change["status"] == "Doing" || change["status"] == "Do"),
            removes: change["kind"] == "remove-snap",
        }
    }
}

/// What snapd gives MicroK8s to keep its data in, across revisions.
pub(crate) const COMMON: &str = "/var/snap/microk8s/common";

/// What kubelet and containerd mount, below [`COMMON`]. Anything else there somebody mounted for themselves.
const MOUNTED: &[&str] = &["pods", "run/containerd", "var/lib/containerd", "var/lib/kubelet"];

/// Whether kubelet or containerd mounts something at this place.
pub(crate) fn mounts_at(point: &Path) -> bool {
    MOUNTED.iter().any(|part| point.starts_with(Path::new(COMMON).join(part)))
}

pub(crate) fn is_default(class: &Value) -> bool {
    class["metadata"]["annotations"]["storageclass.kubernetes.io/is-default-class"] == "true"
}

/// Directories that a login's PATH may hold, `/snap/bin` apart.
pub(crate) const PATHS: &[&str] =
    &["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin", "/opt/bin", "/usr/games"];

/// The same below a home directory.
pub(crate) const HOME_PATHS: &[&str] = &["bin", ".local/bin", "go/bin", ".krew/bin", ".asdf/shims"];

/// Another kubectl on the PATH, and the short name that MicroK8s' own gets because of it.
///
/// # Errors
/// The host cannot be read.
pub fn kubectl_in_the_way(host: &dyn Host, spec: &Spec) -> Result<Option<(PathBuf, String)>> {
    let (name, other) = Alias::new(spec).choose(host)?;
    Ok(other.map(|path| (path, name)))
}

/// Services without which nothing works; which of them exist depends on the version.
pub(crate) const SERVICES: &[&str] = &["daemon-kubelite", "daemon-apiserver", "daemon-kubelet", "daemon-containerd"];

/// `microk8s start` waits up to a minute for the node, and `microk8s stop` for the pods.
pub const SWITCH_WITHIN: Duration = Duration::from_secs(180);

/// Where snapd lists the services.
pub(crate) const APPS: &str = "/v2/apps?names=microk8s&select=service";

/// Why the cluster does not run, as far as the host itself tells.
pub enum Down {
    /// Somebody stopped it.
    Stopped,
    /// This service does not run.
    Service(String),
}

impl fmt::Display for Down {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stopped => f.write_str("MicroK8s is stopped"),
            Self::Service(name) => write!(f, "service {name} does not run"),
        }
    }
}

/// Why the cluster does not run; none when nothing of the host's is against it.
///
/// # Errors
/// snapd does not answer.
pub fn stopped(host: &dyn Host) -> Result<Option<Down>> {
    if is_stopped(host) {
        return Ok(Some(Down::Stopped));
    }
    let services = host.snapd_get(APPS)?.unwrap_or_default();
    let down = services
        .as_array()
        .into_iter()
        .flatten()
        .find(|s| s["name"].as_str().is_some_and(|name| SERVICES.contains(&name)) && s["active"] != true);
    Ok(down.map(|s| Down::Service(s["name"].as_str().unwrap_or("?").to_owned())))
}

/// What shows that another Kubernetes is installed: its name, a path, and what takes it away.
pub(crate) const OTHER_KUBERNETES: &[(&str, &str, &str)] = &[
    ("k3s", "/etc/rancher/k3s", "k3s-uninstall.sh"),
    ("k3s", "/usr/local/bin/k3s", "k3s-uninstall.sh"),
    ("RKE2", "/etc/rancher/rke2", "rke2-uninstall.sh"),
    ("k0s", "/etc/k0s", "k0s reset"),
    ("Kubernetes of kubeadm", "/etc/kubernetes/kubelet.conf", "kubeadm reset"),
    ("Kubernetes of kubeadm", "/etc/kubernetes/admin.conf", "kubeadm reset"),
];
