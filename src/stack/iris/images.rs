//! The image of IRIS is in MicroK8s' containerd before a pod asks for it: it is pulled while the cluster starts, and a name that no registry
//! knows is told before a StatefulSet that works is touched.
//!
//! What was pulled is kubelet's from then on, as everything that it pulls itself: it goes with the snap, and stays in a MicroK8s that stays.

use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};

use crate::{
    bundle::{Bundle, Import, whole_name},
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
pub(crate) fn all(spec: &Spec, bundle: Option<&Arc<Bundle>>) -> Vec<Box<dyn Step>> {
    let registry = Name::in_registry(&spec.iris.image).map(|_| answers(spec.timeouts.addon.into()));
    let of_iris = Box::new(Image { bundle: bundle.cloned(), ..Image::new(spec) });
    registry.into_iter().chain([of_iris as Box<dyn Step>]).collect()
}

/// The images of a bundle that MicroK8s, its addons and Longhorn need: kubelet would pull them by itself.
pub(crate) struct OfBundle {
    names: Vec<String>,
    bundle: Option<Arc<Bundle>>,
    deadline: Duration,
}

impl OfBundle {
    pub(crate) fn new(spec: &Spec, bundle: &Arc<Bundle>) -> Self {
        let of_iris = whole_name(&spec.iris.image).unwrap_or_default();
        let names = bundle.manifest.images.iter().map(|image| image.name.clone()).filter(|name| *name != of_iris);
        Self { names: names.collect(), bundle: Some(Arc::clone(bundle)), deadline: spec.timeouts.iris.into() }
    }

    /// The step of an earlier run.
    pub(crate) fn recalled(recipe: &Value, spec: &Spec) -> Self {
        let names = serde_json::from_value(recipe["images"].clone()).unwrap_or_default();
        Self { names, bundle: None, deadline: spec.timeouts.iris.into() }
    }

    fn missing(&self, host: &dyn Host) -> Result<Vec<&String>> {
        let mut missing = Vec::new();
        for name in &self.names {
            if !host.has_image(name)? {
                missing.push(name);
            }
        }
        Ok(missing)
    }

    fn imports<'a>(&self, names: impl IntoIterator<Item = &'a String>) -> Vec<Act> {
        let Some(bundle) = &self.bundle else { return Vec::new() };
        names.into_iter().filter_map(|name| import(bundle, name, self.deadline)).collect()
    }
}

/// The import of an image; none when the bundle does not hold it.
fn import(bundle: &Arc<Bundle>, whole: &str, within: Duration) -> Option<Act> {
    let image = bundle.image(whole)?.clone();
    Some(Act::Import(Box::new(Import { bundle: Arc::clone(bundle), image, within })))
}

impl Step for OfBundle {
    fn id(&self) -> &'static str {
        "image.bundle"
    }

    fn recipe(&self) -> Value {
        json!({"images": self.names, "timeouts": {"iris": self.deadline.as_secs()}})
    }

    fn title(&self) -> String {
        format!("{} images of the bundle", self.names.len())
    }

    fn probe(&self, host: &dyn Host) -> Result<Probe> {
        let missing = self.missing(host)?;
        if missing.is_empty() {
            return Ok(Probe::satisfied("all of them are there"));
        }
        if missing.len() == self.names.len() {
            return Ok(Probe::Absent);
        }
        Ok(Probe::differs(Value::Null, format!("{} of {} are missing", missing.len(), self.names.len())))
    }

    fn apply(&self, host: &dyn Host, _: &Probe) -> Result<Vec<Act>> {
        // Before there is a containerd to ask, a plan shows all of them.
        Ok(self.missing(host).map_or_else(|_| self.imports(&self.names), |missing| self.imports(missing)))
    }

    fn follows(&self, host: &dyn Host, found: &Probe) -> Result<Vec<Act>> {
        self.apply(host, found)
    }

    fn memo(&self, _: &dyn Host, _: &Probe) -> Result<Memo> {
        Ok(Memo { prior: Value::Null, want: json!({"images": self.names}) })
    }

    fn undo(&self, host: &dyn Host, memory: &Memory) -> Result<Undo> {
        let names =
            memory.wants.iter().filter_map(|want| want["images"].as_array()).flatten().filter_map(Value::as_str);
        kept_by_kubelet(host, names)
    }

    fn deadline(&self) -> Duration {
        self.deadline
    }

    fn scope(&self) -> Scope {
        Scope::Host
    }

    fn inside(&self) -> Option<&'static str> {
        Some(SNAP)
    }
}

/// What becomes of images that are in MicroK8s: they go with it, and are kubelet's where it stays.
fn kept_by_kubelet<'a>(host: &dyn Host, mut names: impl Iterator<Item = &'a str>) -> Result<Undo> {
    // A containerd that does not answer keeps what it has.
    let is_gone = |image: &str| host.has_image(image).is_ok_and(|there| !there);
    let gone = host.snapd_get(microk8s::SNAP)?.is_none() || names.all(is_gone);
    Ok(if gone {
        Undo::Done
    } else {
        Undo::Theirs("it is kubelet's, which removes what no pod uses when it needs the room".to_owned())
    })
}

/// The step.
pub(crate) struct Image {
    name: String,
    namespace: String,
    deadline: Duration,
    bundle: Option<Arc<Bundle>>,
}

impl Image {
    pub(crate) fn new(spec: &Spec) -> Self {
        let (name, namespace) = (spec.iris.image.clone(), spec.iris.namespace.clone());
        Self { name, namespace, deadline: spec.timeouts.iris.into(), bundle: None }
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
        let held = self.bundle.as_ref().zip(whole_name(&self.name).ok());
        if let Some(act) = held.and_then(|(bundle, whole)| import(bundle, &whole, self.deadline)) {
            return vec![act];
        }
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
        kept_by_kubelet(host, pulled)
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
