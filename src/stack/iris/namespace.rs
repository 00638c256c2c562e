//! A namespace for IRIS. With it goes everything in it: it stays as long as the data, and as long as somebody else has something there.

use k8s_openapi::{api::core::v1::Namespace as Typed, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use serde_json::{Value, json};

use super::names::MANAGED_BY;
use crate::{
    config::spec::Spec,
    engine::{
        altered::Altered,
        step::{Act, Memory, Scope, Step, Undo},
    },
    error::Result,
    host::Host,
    kube::{self, Kind, MANAGER, state},
    stack::object::Object,
};

/// The step.
pub(crate) struct Namespace {
    name: String,
    object: Object,
}

/// What people put into a namespace.
const KINDS: [&Kind; 8] = [
    &kube::POD,
    &kube::PERSISTENT_VOLUME_CLAIM,
    &kube::STATEFUL_SET,
    &kube::DEPLOYMENT,
    &kube::DAEMON_SET,
    &kube::SERVICE,
    &kube::CONFIG_MAP,
    &kube::SECRET,
];

impl Namespace {
    pub(crate) fn new(spec: &Spec) -> Self {
        let name = &spec.iris.namespace;
        // The label is what tells it from somebody's: an object without a field of ours does not say who applied it.
        let labels = Some([(MANAGED_BY.to_owned(), MANAGER.to_owned())].into());
        let metadata = ObjectMeta { name: Some(name.to_owned()), labels, ..ObjectMeta::default() };
        let object = serde_json::to_value(Typed { metadata, ..Typed::default() }).unwrap_or_default();
        let deadline = spec.timeouts.remove.into();
        let object = Object { deadline, ..Object::new("iris.namespace", &kube::NAMESPACE, object, json!({})) };
        Self { name: name.to_owned(), object }
    }

    /// Something in it that neither we nor Kubernetes put there. What is ours in it goes first, or keeps it as a step of its own.
    fn others_in_it(&self, host: &dyn Host) -> Result<Option<String>> {
        let is_ours = |o: &Value| kube::is_ours(o) || o["metadata"]["ownerReferences"].is_array();
        let by_kubernetes =
            |o: &Value| state::name(o) == "kube-root-ca.crt" || o["type"] == "kubernetes.io/service-account-token";
        for kind in KINDS {
            let objects = host.list(kind, Some(&self.name), "")?;
            let nobodys = |o: &Value| by_kubernetes(o) || state::going(o) || is_ours(o);
            if let Some(object) = objects.iter().find(|o| !nobodys(o)) {
                return Ok(Some(format!("{} {}", kind.kind, state::name(object))));
            }
        }
        Ok(None)
    }
}

/// Whether anybody set a field of it: Kubernetes itself sets only its finalizers, its status and the label with its name.
fn is_managed(namespace: &Value) -> bool {
    let own = |f: &Value| {
        let fields = f["fieldsV1"]["f:metadata"]["f:labels"].as_object();
        fields.into_iter().flatten().any(|(name, _)| name != "." && name != "f:kubernetes.io/metadata.name")
            || f["fieldsV1"]["f:metadata"]["f:annotations"].is_object()
    };
    kube::is_ours(namespace) || namespace["metadata"]["managedFields"].as_array().into_iter().flatten().any(own)
}

impl Altered for Namespace {
    fn inner(&self) -> &dyn Step {
        &self.object
    }

    fn recipe(&self) -> Value {
        let remove = self.object.deadline.as_secs();
        json!({"iris": {"namespace": self.name}, "timeouts": {"remove": remove}})
    }

    fn undo(&self, host: &dyn Host, memory: &Memory) -> Result<Undo> {
        let now = host.get(&kube::NAMESPACE, None, &self.name)?;
        // Up to format 1 it was made without a field: nobody manages such a one, and the journal says that we made it.
        let nobodys = |now: &Value| !is_managed(now) && memory.prior.is_null();
        let undo = match now {
            Some(now) if nobodys(&now) && !state::going(&now) => {
                Undo::Acts(vec![Act::Delete { kind: &kube::NAMESPACE, namespace: None, name: self.name.clone() }])
            }
            _ => self.object.undo(host, memory)?,
        };
        if let (Undo::Acts(_), Some(other)) = (&undo, self.others_in_it(host)?) {
            return Ok(Undo::Keep(format!("somebody else has something in it ({other})")));
        }
        Ok(undo)
    }

    fn scope(&self) -> Scope {
        Scope::Data
    }

    fn is_needed_by(&self, key: &str) -> bool {
        key.split_once('@')
            .is_some_and(|(_, place)| place.strip_prefix(&self.name).is_some_and(|rest| rest.starts_with('/')))
    }
}
