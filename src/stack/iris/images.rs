//! The image of IRIS is in MicroK8s' containerd before a pod asks for it: it is pulled while the cluster starts, and a name that no registry
//! knows is told before a StatefulSet that works is touched.
//!
//! What was pulled is kubelet's from then on, as everything that it pulls itself: it goes with the snap, and stays in a MicroK8s that stays.

use std::time::Duration;

use serde_json::{Value, json};

use crate::{
    config::spec::Spec,
    engine::step::{Act, Memo, Memory, Probe, SNAP, Scope, Step, Undo},
    error::Result,
    host::{Host, Watch},
    kube,
    stack::microk8s::state as microk8s,
};

/// A registry that refused is asked again after this time, and not more often: some of them count.
const ASK_AGAIN: Duration = Duration::from_secs(5);

/// The step.
pub(crate) struct Image {
    name: String,
    namespace: String,
    deadline: Duration,
}

impl Image {
    pub(crate) fn new(spec: &Spec) -> Self {
        let (name, namespace) = (spec.iris.image.clone(), spec.iris.namespace.clone());
        Self { name, namespace, deadline: spec.timeouts.iris.into() }
    }

    /// Whether somebody gave kubelet logins for this namespace, which are not ours to use. A cluster that does not answer yet has none.
    fn has_logins(&self, host: &dyn Host) -> bool {
        let account = host.get(&kube::SERVICE_ACCOUNT, Some(&self.namespace), "default").ok().flatten();
        account.is_some_and(|a| a["imagePullSecrets"].as_array().is_some_and(|secrets| !secrets.is_empty()))
    }

    fn pull(&self) -> Vec<Act> {
        vec![Act::Pull { image: self.name.clone() }]
    }
}

impl Step for Image {
    fn id(&self) -> &'static str {
        "image.iris"
    }

    fn key(&self) -> String {
        format!("{}@{}", self.id(), self.name)
    }

    fn recipe(&self) -> Value {
        json!({"iris": {"image": self.name, "namespace": self.namespace}, "timeouts": {"iris": self.deadline.as_secs()}})
    }

    fn title(&self) -> String {
        format!("image {}", self.name)
    }

    fn probe(&self, host: &dyn Host) -> Result<Probe> {
        Ok(if host.has_image(&self.name)? {
            Probe::satisfied("")
        } else if self.has_logins(host) {
            Probe::satisfied("left to kubelet, which has logins of its own (imagePullSecrets)")
        } else {
            Probe::Absent
        })
    }

    fn apply(&self, _: &dyn Host, _: &Probe) -> Result<Vec<Act>> {
        Ok(self.pull())
    }

    /// What is not asked yet may turn out to be missing.
    fn follows(&self, _: &dyn Host, _: &Probe) -> Result<Vec<Act>> {
        Ok(self.pull())
    }

    fn memo(&self, _: &dyn Host, _: &Probe) -> Result<Memo> {
        Ok(Memo { prior: Value::Null, want: json!({"image": self.name}) })
    }

    fn undo(&self, host: &dyn Host, _: &Memory) -> Result<Undo> {
        // A containerd that does not answer keeps what it has.
        let gone = host.snapd_get(microk8s::SNAP)?.is_none() || host.has_image(&self.name).is_ok_and(|there| !there);
        Ok(if gone {
            Undo::Done
        } else {
            Undo::Theirs("it is kubelet's, which removes what no pod uses when it needs the room".to_owned())
        })
    }

    fn deadline(&self) -> Duration {
        self.deadline
    }

    fn watches(&self) -> Vec<Watch> {
        vec![Watch::Pause(ASK_AGAIN)]
    }

    fn scope(&self) -> Scope {
        Scope::Host
    }

    fn inside(&self) -> Option<&'static str> {
        Some(SNAP)
    }
}
