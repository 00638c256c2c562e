//! The Kubernetes API, as far as we need it: kinds, a client that talks straight to the API server, and what objects say of
//! themselves.

use std::sync::{Mutex, PoisonError};

use serde_json::Value;

mod client;
pub mod longhorn;
pub mod pull;
pub mod state;

pub use client::{CLIENT_CONFIG, Client, Exec};

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

/// Objects of a list do not say of what kind they are.
pub fn with_kind(mut object: Value, kind: &Kind) -> Value {
    object["kind"] = kind.kind.into();
    object
}

impl Kind {
    /// As a person names it to kubectl: some names are also those of other groups' kinds.
    pub fn show(&self) -> String {
        if self.group == longhorn::GROUP { format!("{}.{}", self.plural, self.group) } else { self.plural.to_owned() }
    }
}

macro_rules! kinds {
    ($($name:ident = $group:literal $version:literal $kind:literal $plural:literal;)*) => {
        $(#[doc = concat!("The kind `", $kind, "`.")]
        pub static $name: Kind = Kind { group: $group, version: $version, kind: $kind, plural: $plural };)*
        static KINDS: &[&Kind] = &[$(&$name),*];
    };
}

kinds! {
    BFD_PROFILE = "metallb.io" "v1beta1" "BFDProfile" "bfdprofiles";
    BGP_ADVERTISEMENT = "metallb.io" "v1beta1" "BGPAdvertisement" "bgpadvertisements";
    BGP_PEER = "metallb.io" "v1beta2" "BGPPeer" "bgppeers";
    CLUSTER_ROLE = "rbac.authorization.k8s.io" "v1" "ClusterRole" "clusterroles";
    CLUSTER_ROLE_BINDING = "rbac.authorization.k8s.io" "v1" "ClusterRoleBinding" "clusterrolebindings";
    COMMUNITY = "metallb.io" "v1beta1" "Community" "communities";
    CONFIG_MAP = "" "v1" "ConfigMap" "configmaps";
    CRON_JOB = "batch" "v1" "CronJob" "cronjobs";
    CRON_JOB_BETA = "batch" "v1beta1" "CronJob" "cronjobs";
    CSI_DRIVER = "storage.k8s.io" "v1" "CSIDriver" "csidrivers";
    CSI_NODE = "storage.k8s.io" "v1" "CSINode" "csinodes";
    CUSTOM_RESOURCE_DEFINITION = "apiextensions.k8s.io" "v1" "CustomResourceDefinition" "customresourcedefinitions";
    DAEMON_SET = "apps" "v1" "DaemonSet" "daemonsets";
    DEPLOYMENT = "apps" "v1" "Deployment" "deployments";
    ENDPOINTS = "" "v1" "Endpoints" "endpoints";
    EVENT = "" "v1" "Event" "events";
    INGRESS = "networking.k8s.io" "v1" "Ingress" "ingresses";
    IP_ADDRESS_POOL = "metallb.io" "v1beta1" "IPAddressPool" "ipaddresspools";
    JOB = "batch" "v1" "Job" "jobs";
    L2_ADVERTISEMENT = "metallb.io" "v1beta1" "L2Advertisement" "l2advertisements";
    MUTATING_WEBHOOK = "admissionregistration.k8s.io" "v1" "MutatingWebhookConfiguration" "mutatingwebhookconfigurations";
    NAMESPACE = "" "v1" "Namespace" "namespaces";
    NETWORK_POLICY = "networking.k8s.io" "v1" "NetworkPolicy" "networkpolicies";
    NODE = "" "v1" "Node" "nodes";
    PERSISTENT_VOLUME = "" "v1" "PersistentVolume" "persistentvolumes";
    PERSISTENT_VOLUME_CLAIM = "" "v1" "PersistentVolumeClaim" "persistentvolumeclaims";
    POD = "" "v1" "Pod" "pods";
    POD_SECURITY_POLICY = "policy" "v1beta1" "PodSecurityPolicy" "podsecuritypolicies";
    PRIORITY_CLASS = "scheduling.k8s.io" "v1" "PriorityClass" "priorityclasses";
    REPLICA_SET = "apps" "v1" "ReplicaSet" "replicasets";
    ROLE = "rbac.authorization.k8s.io" "v1" "Role" "roles";
    ROLE_BINDING = "rbac.authorization.k8s.io" "v1" "RoleBinding" "rolebindings";
    SECRET = "" "v1" "Secret" "secrets";
    SERVICE = "" "v1" "Service" "services";
    SERVICE_ACCOUNT = "" "v1" "ServiceAccount" "serviceaccounts";
    SERVICE_L2_STATUS = "metallb.io" "v1beta1" "ServiceL2Status" "servicel2statuses";
    STATEFUL_SET = "apps" "v1" "StatefulSet" "statefulsets";
    STORAGE_CLASS = "storage.k8s.io" "v1" "StorageClass" "storageclasses";
    VALIDATING_WEBHOOK = "admissionregistration.k8s.io" "v1" "ValidatingWebhookConfiguration" "validatingwebhookconfigurations";
    VOLUME_ATTACHMENT = "storage.k8s.io" "v1" "VolumeAttachment" "volumeattachments";
}

/// The kind of an object.
pub fn kind_of(object: &Value) -> Option<&'static Kind> {
    let api = object["apiVersion"].as_str()?;
    let (group, version) = api.rsplit_once('/').unwrap_or(("", api));
    let all = KINDS.iter().copied().chain(longhorn::ALL.iter().flat_map(|(_, kinds)| kinds.iter()));
    all.into_iter().find(|k| k.group == group && k.version == version && object["kind"] == k.kind)
}

/// The kind of these names. A server may have kinds that are in no table here: each of them is kept from its first use on.
pub fn kind_named(group: &str, version: &str, kind: &str, plural: &str) -> &'static Kind {
    static OTHERS: Mutex<Vec<&'static Kind>> = Mutex::new(Vec::new());
    let same = |k: &&'static Kind| k.group == group && k.version == version && k.plural == plural;
    let known = KINDS.iter().copied().chain(longhorn::ALL.iter().flat_map(|(_, kinds)| kinds.iter()));
    if let Some(kind) = { known }.find(same) {
        return kind;
    }
    let mut others = OTHERS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(kind) = others.iter().copied().find(same) {
        return kind;
    }
    let kept = |text: &str| -> &'static str { text.to_owned().leak() };
    let new = Kind { group: kept(group), version: kept(version), kind: kept(kind), plural: kept(plural) };
    let new: &'static Kind = Box::leak(Box::new(new));
    others.push(new);
    new
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
