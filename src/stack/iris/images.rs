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
    image::{Name, registry},
    kube,
    stack::{
        microk8s::state as microk8s,
        registry::{answers, digest_of, hopeless},
    },
};

/// A registry that refused is asked again after this time, and not more often: some of them count.
const ASK_AGAIN: Duration = Duration::from_secs(5);

/// The stages that must be done before: an image of the built-in registry is there when that is.
pub(crate) fn needs(spec: &Spec) -> &'static [&'static str] {
    if Name::in_registry(&spec.iris.image).is_some() { &["registry"] } else { &["snap"] }
}

/// The steps: the image is pulled; one of the built-in registry when that answers.
pub(crate) fn all(spec: &Spec) -> Vec<Box<dyn Step>> {
    let registry = Name::in_registry(&spec.iris.image).map(|_| answers(spec.timeouts.addon.into()));
    registry.into_iter().chain([Box::new(Image::new(spec)) as Box<dyn Step>]).collect()
}

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

    /// Its name for containerd: an image of the built-in registry by the digest that its tag has now.
    fn pinned(&self, host: &dyn Host) -> Result<String> {
        match Name::in_registry(&self.name) {
            Some(name) if name.digest.is_none() => {
                Ok(Name { digest: Some(digest_of(host, &name)?), ..name }.to_string())
            }
            _ => Ok(self.name.clone()),
        }
    }

    /// What is pulled, as far as it can be said yet.
    fn pull(&self, host: &dyn Host) -> Vec<Act> {
        vec![Act::Pull { image: self.pinned(host).unwrap_or_else(|_| self.name.clone()) }]
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
        if let Some(name) = Name::in_registry(&self.name)
            && registry::stored(host, &name)?.is_none()
        {
            return Ok(hopeless(&name));
        }
        Ok(if host.has_image(&self.pinned(host)?)? {
            Probe::satisfied("")
        } else if self.has_logins(host) {
            Probe::satisfied("left to kubelet, which has logins of its own (imagePullSecrets)")
        } else {
            Probe::Absent
        })
    }

    fn apply(&self, host: &dyn Host, _: &Probe) -> Result<Vec<Act>> {
        Ok(self.pull(host))
    }

    /// What is not asked yet may turn out to be missing.
    fn follows(&self, host: &dyn Host, _: &Probe) -> Result<Vec<Act>> {
        Ok(self.pull(host))
    }

    fn memo(&self, host: &dyn Host, _: &Probe) -> Result<Memo> {
        Ok(Memo { prior: Value::Null, want: json!({"image": self.pinned(host)?}) })
    }

    fn undo(&self, host: &dyn Host, memory: &Memory) -> Result<Undo> {
        let pulled = memory.wants.iter().filter_map(|want| want["image"].as_str()).chain([self.name.as_str()]);
        // A containerd that does not answer keeps what it has.
        let is_gone = |image: &str| host.has_image(image).is_ok_and(|there| !there);
        let gone = host.snapd_get(microk8s::SNAP)?.is_none() || { pulled }.all(is_gone);
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
