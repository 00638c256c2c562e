//! Which pods are instances of IRIS. The label `app` is anybody's: a pod of somebody else's that has it must neither get requests nor
//! count as ready. So services select by a label of our own besides, and instances are told by who owns them.
//!
//! A StatefulSet that was applied before there was this label, or by somebody else, keeps its pods as they are: the label would restart
//! them. Its services go without it, too.

use serde_json::Value;

use crate::{
    config::spec::Iris,
    error::Result,
    host::Host,
    kube::{self, state},
};

/// The label; its value is the name of the StatefulSet.
pub(crate) const OWN: &str = "iris-mk8s/statefulset";

/// The instances, by name.
///
/// # Errors
/// The cluster does not answer.
pub fn instances(host: &dyn Host, iris: &Iris) -> Result<Vec<Value>> {
    let mut pods = host.list(&kube::POD, Some(&iris.namespace), &format!("app={}", iris.service))?;
    pods.retain(|pod| is_instance(pod, iris));
    pods.sort_by_key(|pod| state::name(pod).to_owned());
    Ok(pods)
}

/// Whether a pod is one of them: the StatefulSet made it.
pub fn is_instance(pod: &Value, iris: &Iris) -> bool {
    let owners = pod["metadata"]["ownerReferences"].as_array();
    let by_set = |owner: &Value| owner["kind"] == "StatefulSet" && owner["name"] == *iris.name;
    pod["metadata"]["namespace"] == *iris.namespace && owners.is_some_and(|owners| owners.iter().any(by_set))
}

/// An object for a StatefulSet with our label, or without.
pub(crate) struct Labelled {
    pub(crate) namespace: String,
    pub(crate) set: String,
}

impl Labelled {
    pub(crate) fn new(iris: &Iris) -> Self {
        Self { namespace: iris.namespace.clone(), set: iris.name.clone() }
    }

    /// The object as it suits the StatefulSet that is there.
    pub(crate) fn suited(&self, host: &dyn Host, want: &Value) -> Result<Value> {
        // A plan may be asked for before there is a cluster.
        let set = host.get(&kube::STATEFUL_SET, Some(&self.namespace), &self.set);
        let set = set.or_else(|e| if e.transient { Ok(None) } else { Err(e) })?;
        let is_without = |set: &Value| set["spec"]["template"]["metadata"]["labels"][OWN].is_null();
        Ok(if set.as_ref().is_some_and(is_without) { without(want) } else { want.clone() })
    }
}

/// The same object without the label: in the pods that it makes, and in what it selects.
pub(crate) fn without(object: &Value) -> Value {
    let mut object = object.clone();
    for place in ["/spec/template/metadata/labels", "/spec/selector"] {
        if let Some(labels) = object.pointer_mut(place).and_then(Value::as_object_mut) {
            labels.remove(OWN);
        }
    }
    object
}
