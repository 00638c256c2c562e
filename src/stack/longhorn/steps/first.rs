//! IRIS on Longhorn goes before Longhorn does, and so before the snap: elsewhere the snap would take it along, and Longhorn would wait for ever
//! for volumes that are in use.

use std::time::Duration;

use serde_json::{Value, json};

use crate::{
    config::spec::Longhorn,
    engine::step::{Act, Memo, Memory, Probe, Scope, Step, Undo},
    error::Result,
    host::{Host, Watch},
    stack::microk8s::state as microk8s,
};

/// A step that goes by itself, whatever it is inside of.
pub(crate) struct First {
    pub(crate) inner: Box<dyn Step>,
    pub(crate) longhorn: Longhorn,
}

impl Step for First {
    fn id(&self) -> &str {
        self.inner.id()
    }

    fn key(&self) -> String {
        self.inner.key()
    }

    fn recipe(&self) -> Value {
        let mut recipe = self.inner.recipe();
        if recipe.is_object() {
            // It tells a teardown that this step goes before Longhorn.
            recipe["longhorn"] = json!(self.longhorn);
        }
        recipe
    }

    fn title(&self) -> String {
        self.inner.title()
    }

    fn probe(&self, host: &dyn Host) -> Result<Probe> {
        self.inner.probe(host)
    }

    fn apply(&self, host: &dyn Host, found: &Probe) -> Result<Vec<Act>> {
        self.inner.apply(host, found)
    }

    fn memo(&self, host: &dyn Host, found: &Probe) -> Result<Memo> {
        self.inner.memo(host, found)
    }

    fn undo(&self, host: &dyn Host, memory: &Memory) -> Result<Undo> {
        // With the snap everything in the cluster went.
        if self.inner.inside().is_some() {
            if host.snapd_get(microk8s::SNAP)?.is_none() {
                return Ok(Undo::Done);
            }
            if let Some(start) = super::removal::start(host) {
                return Ok(start);
            }
        }
        self.inner.undo(host, memory)
    }

    fn deadline(&self) -> Duration {
        self.inner.deadline()
    }

    fn watches(&self) -> Vec<Watch> {
        self.inner.watches()
    }

    fn scope(&self) -> Scope {
        self.inner.scope()
    }

    fn used_by(&self) -> Option<String> {
        self.inner.used_by()
    }

    fn follows(&self, host: &dyn Host, found: &Probe) -> Result<Vec<Act>> {
        self.inner.follows(host, found)
    }

    fn newest_want_counts(&self) -> bool {
        self.inner.newest_want_counts()
    }

    fn changes_with(&self, host: &dyn Host, deletion: &Act) -> Result<bool> {
        self.inner.changes_with(host, deletion)
    }

    fn is_needed_by(&self, key: &str) -> bool {
        self.inner.is_needed_by(key)
    }

    fn opens(&self) -> bool {
        self.inner.opens()
    }

    fn clears(&self) -> Option<&'static str> {
        self.inner.clears()
    }
}
