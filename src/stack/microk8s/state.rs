//! MicroK8s as it is on this host: its snap, what snapd does with it right now, and whether it was stopped. It only reads.

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    engine::step::Progress,
    error::Result,
    host::{Host, digest},
};

/// The snap in snapd's REST interface.
pub const SNAP: &str = "/v2/snaps/microk8s";

/// The step that installs and removes it: everything in the cluster goes with it.
pub const STEP: &str = "snap.microk8s";

/// Its settings; each revision of the snap has its own copy, and takes the last one's along.
pub const ARGS: &str = "/var/snap/microk8s/current/args";

/// The certificates that it makes for itself when it is installed.
pub const CERTIFICATES: &str = "/var/snap/microk8s/current/certs";

/// The socket of its containerd, which is never another one's.
pub const CONTAINERD: &str = "/var/snap/microk8s/common/run/containerd.sock";

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

/// Which MicroK8s it is. A refresh changes the time and `refresh-certs` the authority; another installation alone changes both.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// When its revision was installed, as snapd says it.
    pub installed: String,
    /// The SHA-256 of its certificate authority.
    pub authority: String,
}

impl Identity {
    /// The one that is there; none while it has no certificates.
    ///
    /// # Errors
    /// snapd does not answer, or the file cannot be read.
    pub fn now(host: &dyn Host) -> Result<Option<Self>> {
        host.snapd_get(SNAP)?.map_or(Ok(None), |snap| Self::of(host, &snap))
    }

    /// That of the snap that snapd describes so; none while it has no certificates.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn of(host: &dyn Host, snap: &Value) -> Result<Option<Self>> {
        let Some(authority) = host.read(&Path::new(CERTIFICATES).join("ca.crt"))? else { return Ok(None) };
        let Some(installed) = snap["install-date"].as_str() else { return Ok(None) };
        Ok(Some(Self { installed: installed.to_owned(), authority: digest::sha256(authority) }))
    }

    /// Whether these two are not of one installation.
    pub fn is_another(&self, other: &Self) -> bool {
        self.installed != other.installed && self.authority != other.authority
    }
}
