//! Longhorn's manifest as objects, and what of them is changed for a single node with MicroK8s. It is never changed as text.

use serde_json::{Value, json};

use super::state::{KUBELET, version_of};
use crate::{
    config::version::{LonghornVersion, Minor},
    error::{Error, Result},
    host::digest,
    kube::{self, Kind, kind_of},
};

/// A manifest.
#[derive(Clone, Debug)]
pub struct Manifest {
    /// The version that it installs.
    pub version: LonghornVersion,
    /// Its checksum, SHA-256.
    pub sha256: String,
    objects: Vec<Value>,
}

/// Objects that are applied together, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The namespace.
    Namespace,
    /// Definitions of its kinds.
    Definitions,
    /// Accounts, and what they may do.
    Rights,
    /// Its settings.
    Settings,
    /// What runs.
    Workloads,
}

/// The kinds of each part.
const PARTS: &[(Part, &[&Kind])] = &[
    (Part::Namespace, &[&kube::NAMESPACE]),
    (Part::Definitions, &[&kube::CUSTOM_RESOURCE_DEFINITION]),
    (
        Part::Rights,
        &[
            &kube::SERVICE_ACCOUNT,
            &kube::CLUSTER_ROLE,
            &kube::CLUSTER_ROLE_BINDING,
            &kube::ROLE,
            &kube::ROLE_BINDING,
            &kube::PRIORITY_CLASS,
            &kube::POD_SECURITY_POLICY,
        ],
    ),
    (Part::Settings, &[&kube::CONFIG_MAP, &kube::SECRET]),
    (Part::Workloads, &[&kube::SERVICE, &kube::DAEMON_SET, &kube::DEPLOYMENT]),
];

/// The parts of MicroK8s' pod network (Calico) enforce these; with them a host's own session may not reach its volume.
const LEFT_OUT: &[&str] = &["NetworkPolicy"];

/// The container that makes the CSI objects.
const DEPLOYER: &str = "longhorn-driver-deployer";

/// The class, as text in a ConfigMap.
const CLASS: (&str, &str) = ("longhorn-storageclass", "storageclass.yaml");

impl Manifest {
    /// Reads a manifest.
    ///
    /// # Errors
    /// It is no YAML, or not Longhorn's.
    pub fn parse(text: &str) -> Result<Self> {
        let wrong = |why: String| {
            Error::usage("this is no manifest of Longhorn").because(why).hint("it is deploy/longhorn.yaml of a release")
        };
        let objects: Vec<Value> = serde_saphyr::from_multiple(text).map_err(|e| wrong(e.to_string()))?;
        let objects: Vec<Value> = objects.into_iter().filter(Value::is_object).map(bare).collect();
        let manager =
            objects.iter().find(|o| o["kind"] == "DaemonSet" && o["metadata"]["name"] == super::state::MANAGER);
        let version = manager.and_then(version_of).ok_or_else(|| {
            wrong(format!("it has no DaemonSet {} whose image has the tag of a release", super::state::MANAGER))
        })?;
        Ok(Self { version, sha256: digest::sha256(text), objects })
    }

    /// The objects of a part as we apply them.
    ///
    /// # Errors
    /// It has an object of a kind that we do not know.
    pub fn part(&self, part: Part, minor: Minor) -> Result<Vec<Value>> {
        let kinds = PARTS.iter().find(|(p, _)| *p == part).map_or(&[][..], |(_, kinds)| kinds);
        let mut found = Vec::new();
        for object in self.objects.iter().filter(|o| !left_out(o, minor)) {
            let kind = kind_of(object).ok_or_else(|| {
                Error::failed(format!(
                    "Longhorn's manifest has an object of an unknown kind: {}",
                    kube::describe(object)
                ))
            })?;
            if kinds.contains(&kind) {
                found.push(changed(object.clone())?);
            }
        }
        Ok(found)
    }

    /// The image of its manager: the node has it already when anything else of Longhorn runs.
    pub fn image(&self) -> Option<&str> {
        self.objects.iter().find(|o| o["kind"] == "DaemonSet").and_then(super::state::image_of)
    }
}

/// An object as a server-side apply takes it: without empty fields, and without what only the server writes.
fn bare(mut object: Value) -> Value {
    fn without_nulls(value: &mut Value) {
        match value {
            Value::Object(fields) => {
                fields.retain(|_, v| !v.is_null());
                fields.values_mut().for_each(without_nulls);
            }
            Value::Array(items) => items.iter_mut().for_each(without_nulls),
            _ => {}
        }
    }
    without_nulls(&mut object);
    if let Some(fields) = object.as_object_mut() {
        fields.remove("status");
    }
    // A port is told from another one by its number and its protocol: an apply must name both.
    let protocol = |ports: &mut Value| {
        for port in ports.as_array_mut().into_iter().flatten().filter_map(Value::as_object_mut) {
            port.entry("protocol").or_insert_with(|| json!("TCP"));
        }
    };
    if object["kind"] == "Service" {
        protocol(&mut object["spec"]["ports"]);
    }
    if object["spec"]["template"]["spec"].is_object() {
        let containers = object["spec"]["template"]["spec"]["containers"].as_array_mut();
        containers.into_iter().flatten().filter(|c| c["ports"].is_array()).for_each(|c| protocol(&mut c["ports"]));
    }
    without_nulls(&mut object);
    object
}

/// What is not applied here.
fn left_out(object: &Value, minor: Minor) -> bool {
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    let of_policy = object["kind"] == "PodSecurityPolicy" || name.starts_with("longhorn-psp");
    LEFT_OUT.iter().any(|kind| object["kind"] == *kind) || (of_policy && !minor.has_pod_security_policy())
}

/// The changes for a single node with MicroK8s.
fn changed(mut object: Value) -> Result<Value> {
    // The server notes who applied an object by the fields that were applied: one without any would be nobody's.
    object["metadata"]["labels"][super::content::label()] = json!("longhorn");
    let is = |object: &Value, kind: &str, name: &str| object["kind"] == kind && object["metadata"]["name"] == name;
    if object["kind"] == "Deployment" && object["spec"]["replicas"].as_u64() > Some(1) {
        object["spec"]["replicas"] = json!(1);
    }
    if is(&object, "Deployment", DEPLOYER) {
        let containers = object["spec"]["template"]["spec"]["containers"].as_array_mut();
        let deployer = containers.into_iter().flatten().find(|c| c["name"] == DEPLOYER);
        let deployer = deployer.ok_or_else(|| {
            Error::failed(format!("Longhorn's manifest has no container {DEPLOYER}: its volumes would not work"))
        })?;
        set(&mut deployer["env"], "KUBELET_ROOT_DIR", KUBELET);
        for part in ["ATTACHER", "PROVISIONER", "RESIZER", "SNAPSHOTTER"] {
            set(&mut deployer["env"], &format!("CSI_{part}_REPLICA_COUNT"), "1");
        }
    }
    if is(&object, "ConfigMap", CLASS.0) {
        let text = object["data"][CLASS.1].as_str().unwrap_or_default();
        let mut class: Value = serde_saphyr::from_str(text)
            .map_err(|e| Error::failed("the class in Longhorn's manifest cannot be read").caused_by(e))?;
        class["parameters"]["numberOfReplicas"] = json!("1");
        class["metadata"]["annotations"]["storageclass.kubernetes.io/is-default-class"] = json!("false");
        // JSON is YAML: the manager reads it as it is.
        object["data"][CLASS.1] = json!(serde_json::to_string_pretty(&class).unwrap_or_default());
    }
    Ok(object)
}

/// Sets a variable of a container, in the place of one of that name.
fn set(env: &mut Value, name: &str, value: &str) {
    if !env.is_array() {
        *env = json!([]);
    }
    let Some(variables) = env.as_array_mut() else { return };
    variables.retain(|v| v["name"] != name);
    variables.push(json!({"name": name, "value": value}));
}
