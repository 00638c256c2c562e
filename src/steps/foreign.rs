//! Parts that only our own StatefulSet needs: one that somebody else applied brings its own CPF and password.

use std::time::Duration;

use crate::{
    cluster::{self, STATEFUL_SET},
    error::Result,
    host::{Host, Watch},
    spec::Iris,
    step::{Act, Memo, Memory, Probe, Scope, Step, Undo},
};

/// A step that is not needed when the StatefulSet is somebody else's.
pub(super) struct UnlessForeign {
    pub(super) inner: Box<dyn Step>,
    pub(super) iris: Iris,
}

impl Step for UnlessForeign {
    fn id(&self) -> &str {
        self.inner.id()
    }

    fn title(&self) -> String {
        self.inner.title()
    }

    fn probe(&self, host: &dyn Host) -> Result<Probe> {
        let set = host.get(&STATEFUL_SET, Some(&self.iris.namespace), &self.iris.name)?;
        if set.is_some_and(|set| !cluster::is_ours(&set)) {
            return Ok(Probe::satisfied(format!(
                "not needed: the StatefulSet {} that is there brings its own",
                self.iris.name
            )));
        }
        self.inner.probe(host)
    }

    fn apply(&self, host: &dyn Host, found: &Probe) -> Result<Vec<Act>> {
        self.inner.apply(host, found)
    }

    fn memo(&self, host: &dyn Host, found: &Probe) -> Result<Memo> {
        self.inner.memo(host, found)
    }

    fn undo(&self, host: &dyn Host, memory: &Memory) -> Result<Undo> {
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

    fn used_by(&self) -> Option<&'static str> {
        self.inner.used_by()
    }

    fn inside(&self) -> Option<&'static str> {
        self.inner.inside()
    }
}
