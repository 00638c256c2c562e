//! The Kubernetes API, as far as we need it: kinds, a client that talks straight to the API server, and what objects say of
//! themselves.

use serde_json::Value;

mod client;
pub mod pull;
pub mod state;

pub use client::{CLIENT_CONFIG, Client};

/// Field manager of every server-side apply: what it manages in an object is ours.
pub const MANAGER: &str = "iris-mk8s";

/// A kind of object.
#[derive(Debug, PartialEq, Eq)]
pub struct Kind {
    /// API group; empty = core.
    pub group: &'static str,
    /// API version within the group.
    pub version: &'static str,
    /// `Pod`
    pub kind: &'static str,
    /// `pods`
    pub plural: &'static str,
}

macro_rules! kinds {
    ($($name:ident = $group:literal $version:literal $kind:literal $plural:literal;)*) => {
        $(#[doc = concat!("The kind `", $kind, "`.")]
        pub static $name: Kind = Kind { group: $group, version: $version, kind: $kind, plural: $plural };)*
        static KINDS: &[&Kind] = &[$(&$name),*];
    };
}

kinds! {
    CONFIG_MAP = "" "v1" "ConfigMap" "configmaps";
    CUSTOM_RESOURCE_DEFINITION = "apiextensions.k8s.io" "v1" "CustomResourceDefinition" "customresourcedefinitions";
    DAEMON_SET = "apps" "v1" "DaemonSet" "daemonsets";
    DEPLOYMENT = "apps" "v1" "Deployment" "deployments";
    EVENT = "" "v1" "Event" "events";
    IP_ADDRESS_POOL = "metallb.io" "v1beta1" "IPAddressPool" "ipaddresspools";
    L2_ADVERTISEMENT = "metallb.io" "v1beta1" "L2Advertisement" "l2advertisements";
    NAMESPACE = "" "v1" "Namespace" "namespaces";
    NODE = "" "v1" "Node" "nodes";
    PERSISTENT_VOLUME = "" "v1" "PersistentVolume" "persistentvolumes";
    PERSISTENT_VOLUME_CLAIM = "" "v1" "PersistentVolumeClaim" "persistentvolumeclaims";
    POD = "" "v1" "Pod" "pods";
    SECRET = "" "v1" "Secret" "secrets";
    SERVICE = "" "v1" "Service" "services";
    SERVICE_L2_STATUS = "metallb.io" "v1beta1" "ServiceL2Status" "servicel2statuses";
    STATEFUL_SET = "apps" "v1" "StatefulSet" "statefulsets";
    STORAGE_CLASS = "storage.k8s.io" "v1" "StorageClass" "storageclasses";
}

/// The kind of an object.
pub fn kind_of(object: &Value) -> Option<&'static Kind> {
    let api = object["apiVersion"].as_str()?;
    let (group, version) = api.rsplit_once('/').unwrap_or(("", api));
    KINDS.iter().find(|k| k.group == group && k.version == version && object["kind"] == k.kind).copied()
}

/// `Service default/iris-ext`, for people.
pub fn describe(object: &Value) -> String {
    let kind = object["kind"].as_str().unwrap_or("object");
    let name = object["metadata"]["name"].as_str().unwrap_or("?");
    match object["metadata"]["namespace"].as_str() {
        Some(namespace) => format!("{kind} {namespace}/{name}"),
        None => format!("{kind} {name}"),
    }
}

/// Whether we applied an object: our field manager is among those who manage its fields.
pub fn is_ours(object: &Value) -> bool {
    object["metadata"]["managedFields"]
        .as_array()
        .is_some_and(|fields| fields.iter().any(|f| f["manager"] == MANAGER && f["operation"] == "Apply"))
}
