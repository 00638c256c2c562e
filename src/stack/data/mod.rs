//! The one list of data: every volume of the cluster with its owner, its size and its place on this host, and everything else in
//! MicroK8s that somebody else put there. It only reads.
//!
//! Every question, dry run and JSON record shows this list. A command deletes only what is on the list that was agreed to
//! ([`Agreed`]), and a cluster that cannot be asked never counts as an empty one ([`Sight`]).

use std::collections::BTreeSet;

use serde::Serialize;
use serde_json::Value;

use crate::{
    config::spec::Spec, engine::journal::Ledger, error::Result, host::Host, stack::microk8s::state::registry_folder,
};

mod agreed;
mod custom;
mod foreign;
mod mounted;
mod needs;
mod sight;
mod volumes;

pub use agreed::Agreed;
pub use foreign::{Theirs, goes_with_the_snap, settings};
pub use needs::needed;
pub use sight::{Sight, Stake, Unseen, look, settle};
pub use volumes::{Volume, on_longhorn, volumes, volumes_of};

/// Where MicroK8s' own storage puts its volumes, each in a folder `NAMESPACE-CLAIM-pvc-UID`.
const FOLDERS: &str = "/var/snap/microk8s/common/default-storage";

/// The claim of MicroK8s' registry: its namespace and its name.
pub const REGISTRY: (&str, &str) = ("container-registry", "registry-claim");

/// What the journal knows to be ours. Objects also say it themselves, by their managed fields.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// Addons that we enabled, by today's names.
    addons: BTreeSet<String>,
    /// Claims that we made: namespace and name. A StatefulSet makes a claim anew that somebody deleted, without our mark on it.
    claims: BTreeSet<(String, String)>,
    /// Namespaces that we made. One that the first release made does not say so itself.
    namespaces: BTreeSet<String>,
    /// The folders of registries that we made a mirror for.
    registries: BTreeSet<String>,
    /// We installed Longhorn.
    longhorn: bool,
}

impl Known {
    /// Nothing is ours.
    pub const NOTHING: Self = Self {
        addons: BTreeSet::new(),
        claims: BTreeSet::new(),
        namespaces: BTreeSet::new(),
        registries: BTreeSet::new(),
        longhorn: false,
    };

    /// What a bootstrap of this spec makes.
    pub fn wanted(spec: &Spec) -> Self {
        let addons = spec.addons.iter().cloned().chain(["metallb".to_owned()]).collect();
        Self { addons, namespaces: [spec.iris.namespace.clone()].into(), ..Self::default() }
    }

    /// What a journal adds up to.
    pub fn of(ledger: &Ledger) -> Self {
        let mut known = Self::default();
        for key in ledger.steps() {
            if let Some(name) = key.strip_prefix("addon.") {
                known.addons.insert(name.to_owned());
            }
            known.longhorn |= key == "longhorn.workloads";
            if let Some(name) = key.strip_prefix("mirror.") {
                known.registries.insert(registry_folder(name));
            }
            if let Some(name) = key.strip_prefix("iris.namespace@") {
                known.namespaces.insert(name.to_owned());
            }
            let Some(target) = key.strip_prefix("iris.claims@") else { continue };
            let Some((namespace, _)) = target.split_once('/') else { continue };
            let Some(memory) = ledger.memory(key) else { continue };
            let names = |value: &Value| -> Vec<String> {
                value.as_array().into_iter().flatten().filter_map(|n| n.as_str().map(str::to_owned)).collect()
            };
            let before = names(&memory.prior);
            let made = memory.wants.iter().flat_map(names).filter(|name| !before.contains(name));
            known.claims.extend(made.map(|name| (namespace.to_owned(), name)));
        }
        known
    }

    /// Whose a claim is.
    fn owner_of(&self, namespace: &str, name: &str) -> Whose {
        if self.claims.contains(&(namespace.to_owned(), name.to_owned())) {
            Whose::Iris
        } else if (namespace, name) == REGISTRY && self.addons.contains("registry") {
            Whose::Registry
        } else {
            Whose::Others
        }
    }
}

/// Whose data it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Whose {
    /// Our IRIS made it.
    Iris,
    /// The registry made it, and we enabled the registry.
    Registry,
    /// Somebody else made it.
    Others,
    /// Nobody can be asked any more: the cluster that it was made in is gone.
    Nobody,
}

/// Everything that would go with MicroK8s.
#[derive(Clone, Debug, Default, Serialize)]
pub struct List {
    /// Every volume, whoever made it.
    pub volumes: Vec<Volume>,
    /// Everything else that somebody else put there.
    pub theirs: Vec<Theirs>,
}

impl List {
    /// Reads it from the cluster and the host.
    ///
    /// # Errors
    /// The cluster cannot be asked.
    pub fn read(host: &dyn Host, known: &Known) -> Result<Self> {
        Ok(Self { volumes: volumes(host, known)?, theirs: foreign::read(host, known)? })
    }

    /// What of it is somebody else's, one line for each.
    pub fn of_others(&self) -> Vec<String> {
        let volumes = self.volumes.iter().filter(|v| v.whose == Whose::Others).map(|v| match v.claim {
            Some(_) => format!("claim {v}"),
            None => v.to_string(),
        });
        volumes.chain(self.theirs.iter().map(ToString::to_string)).collect()
    }
}

impl Known {
    /// Whose a folder of a volume is, by the claim in its name.
    fn owner_of_folder(&self, folder: &str) -> Whose {
        let is_of = |(namespace, claim): (&str, &str)| {
            folder.strip_prefix(&format!("{namespace}-{claim}-")).is_some_and(|rest| rest.starts_with("pvc-"))
        };
        if self.claims.iter().any(|(namespace, claim)| is_of((namespace, claim))) {
            Whose::Iris
        } else if is_of(REGISTRY) && self.addons.contains("registry") {
            Whose::Registry
        } else {
            Whose::Others
        }
    }
}
