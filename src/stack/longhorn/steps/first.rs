//! IRIS on Longhorn is removed before Longhorn, and so before the snap. Otherwise it would be removed with the snap, and Longhorn would wait for ever
//! for volumes that are in use.

use serde_json::{Value, json};

use crate::{
    config::spec::Longhorn,
    engine::{
        altered::Altered,
        step::{Memory, Step, Undo},
    },
    error::Result,
    host::Host,
    stack::microk8s::state as microk8s,
};

/// A step that is undone on its own, although it is inside of another one.
pub(crate) struct UndoBeforeLonghorn {
    pub(crate) inner: Box<dyn Step>,
    pub(crate) longhorn: Longhorn,
}

impl Altered for UndoBeforeLonghorn {
    fn inner(&self) -> &dyn Step {
        &*self.inner
    }

    /// It goes before what it is inside of.
    fn inside(&self) -> Option<&'static str> {
        None
    }

    fn recipe(&self) -> Value {
        let mut recipe = self.inner.recipe();
        if recipe.is_object() {
            // It tells a teardown that this step goes before Longhorn.
            recipe["longhorn"] = json!(self.longhorn);
        }
        recipe
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
}
