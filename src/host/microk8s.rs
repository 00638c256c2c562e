//! What the mechanism itself has to know of MicroK8s: where its snap, its certificates and its containerd are, and which installation it is.

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    error::Result,
    host::{Host, digest},
};

/// The snap in snapd's REST interface.
pub const SNAP: &str = "/v2/snaps/microk8s";

/// The certificates that it makes for itself when it is installed.
pub const CERTIFICATES: &str = "/var/snap/microk8s/current/certs";

/// The socket of its containerd, which is never another one's.
pub const CONTAINERD: &str = "/var/snap/microk8s/common/run/containerd.sock";

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
