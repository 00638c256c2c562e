//! The wanted state of the host as one plain value: everything the steps need to know, decided before anything runs.
//!
//! It holds no secret: it is written into the journal, so that a teardown rebuilds the steps from it.

use std::{path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};

use crate::config::{
    lb_range::LbRange,
    version::{Channel, LonghornVersion},
};

/// The wanted state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spec {
    /// Name of the profile it came from, for reports.
    pub profile: String,
    /// The user who works with the cluster: goes into the group `microk8s`, owns the password file.
    pub user: String,
    /// Addresses that MetalLB may give out.
    pub lb: LbRange,
    /// Channel of the snap.
    pub channel: Channel,
    /// Addons to enable, `metallb` not among them (it has a stage of its own), storage under today's name `hostpath-storage`.
    pub addons: Vec<String>,
    /// Hash of a password that everybody knows (the profile `article` has one); none = the password is a secret, and not in here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub published_hash: Option<String>,
    /// Where images are fetched.
    #[serde(default, skip_serializing_if = "Registries::is_default")]
    pub registries: Registries,
    /// The database.
    pub iris: Iris,
    /// Longhorn, when the volumes lie on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub longhorn: Option<Longhorn>,
    /// How long to wait, at the most.
    pub timeouts: Timeouts,
    /// Checks of the host and the range that are only warned of, because the user knows better.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub skip_checks: Vec<String>,
    /// Volumes of another class than the wanted one are deleted with their data, and made anew.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub data_goes: bool,
}

/// Longhorn as it shall run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Longhorn {
    /// Its release.
    pub version: LonghornVersion,
    /// Its manifest, when it is not to be downloaded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest: Option<PathBuf>,
}

/// The StorageClass that Longhorn makes: whoever names it wants Longhorn.
pub const LONGHORN_CLASS: &str = "longhorn";

/// Where images are fetched.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Registries {
    /// Who answers for a registry.
    pub mirrors: Vec<Mirror>,
    /// URL of a proxy.
    pub proxy: Option<String>,
    /// Names and networks that are reached without it, besides those of the cluster and the host's own.
    pub no_proxy: Vec<String>,
}

impl Registries {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// Who answers for a registry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mirror {
    /// As images name it: `docker.io`, `quay.io`.
    pub registry: String,
    /// Where it is asked for instead.
    pub url: String,
    /// The certificate authority of who answers, as a file of this host; none = those that the system trusts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
    /// A file of this host with `USER:PASSWORD`, to be let in there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub login: Option<PathBuf>,
}

/// InterSystems IRIS as it shall run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Iris {
    /// Kubernetes namespace.
    pub namespace: String,
    /// Name of the StatefulSet: pods are `NAME-0`, `NAME-1`.
    pub name: String,
    /// Name of the headless service, and with `-ext` of the LoadBalancer service; also the value of the label `app`.
    pub service: String,
    /// Image with tag or digest.
    pub image: String,
    /// Number of pods.
    pub replicas: u32,
    /// StorageClass of the claims; none = the cluster's default class.
    pub storage_class: Option<String>,
    /// Size of the claim for durable %SYS, a Kubernetes quantity (`5Gi`).
    pub mgr_size: String,
    /// Size of the claim for the databases, a Kubernetes quantity.
    pub data_size: String,
    /// `TZ` of the container, POSIX form (`JST-9`); none = UTC.
    pub time_zone: Option<String>,
    /// The CPF merge: without `PasswordHash`, which is added when it is applied.
    pub cpf: String,
    /// A database that the CPF makes and that must be there in the end, e.g. `TEST-DATA`.
    pub databases: Vec<String>,
    /// A namespace that the CPF makes and that must be there in the end, e.g. `TEST`.
    #[serde(default)]
    pub namespaces: Vec<String>,
    /// Memory request of a pod, a Kubernetes quantity.
    pub memory_request: String,
    /// Memory limit of a pod, a Kubernetes quantity.
    pub memory_limit: String,
    /// CPU request of a pod, a Kubernetes quantity.
    pub cpu_request: String,
    /// Pages of the application that must answer in the end.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub endpoints: Vec<Endpoint>,
}

/// A page of the application, and what it must answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// Its path at the web server of IRIS.
    pub path: String,
    /// Who asks for it; none = everybody may.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The file with that user's password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_file: Option<PathBuf>,
    /// The environment variable with that user's password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_variable: Option<String>,
    /// The status.
    pub status: u16,
    /// The field of the answer, a JSON object, that `matches` is about; none = the whole answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub json: Option<String>,
    /// What must be found there, a regular expression.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub matches: Option<String>,
    /// Each pod must answer through the load balancer, which then does not keep a client at one pod.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub balanced: bool,
    /// The field of the answer that names the pod.
    pub pod: String,
}

/// Upper bounds of the waits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timeouts {
    /// Download and installation of the snap.
    pub install: Seconds,
    /// From a started cluster to a Ready node.
    pub ready: Seconds,
    /// One addon.
    pub addon: Seconds,
    /// Each rung of Longhorn's start, image pulls included.
    #[serde(default = "longhorn_timeout")]
    pub longhorn: Seconds,
    /// From the applied objects to a database that answers, image pull included.
    pub iris: Seconds,
    /// Removal of the snap or of the IRIS objects.
    pub remove: Seconds,
}

/// For a journal that was written before there was this wait.
fn longhorn_timeout() -> Seconds {
    Seconds(1200)
}

/// A number of seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Seconds(pub u64);

impl From<Seconds> for Duration {
    fn from(s: Seconds) -> Self {
        Self::from_secs(s.0)
    }
}

/// A spec for tests of what is built from one.
#[cfg(test)]
pub(crate) fn example() -> Spec {
    let lb = "192.168.11.110-130".parse().expect("a range");
    let flags = crate::config::flags::SpecFlags { lb: Some(lb), user: Some("ubuntu".to_owned()), ..Default::default() };
    let input = crate::config::profile::Input { flags, ..Default::default() };
    let mut settings = crate::config::profile::Settings::gather(&input).expect("the built-in profile");
    settings.choose(crate::config::version::Channel::for_host(true).0, &input).expect("a channel of today");
    settings.wanted(&input).expect("all of it is named")
}
