//! A step that only reads: preflight and readiness. It never acts, so there is nothing to take back.

use std::time::Duration;

use crate::{
    engine::step::{Act, Memo, Memory, Probe, Scope, Step, Undo},
    error::Result,
    host::{Host, Watch},
};

/// The question that a check asks.
pub(crate) type Question = Box<dyn Fn(&dyn Host) -> Result<Probe> + Send + Sync>;

/// A check.
pub(crate) struct Check {
    pub(crate) id: &'static str,
    pub(crate) title: String,
    pub(crate) question: Question,
    pub(crate) deadline: Duration,
    pub(crate) watches: Vec<Watch>,
}

impl Step for Check {
    fn id(&self) -> &str {
        self.id
    }

    fn title(&self) -> String {
        self.title.clone()
    }

    fn probe(&self, host: &dyn Host) -> Result<Probe> {
        (self.question)(host)
    }

    fn apply(&self, _: &dyn Host, _: &Probe) -> Result<Vec<Act>> {
        Ok(Vec::new())
    }

    fn memo(&self, _: &dyn Host, _: &Probe) -> Result<Memo> {
        Ok(Memo::default())
    }

    fn undo(&self, _: &dyn Host, _: &Memory) -> Result<Undo> {
        Ok(Undo::Done)
    }

    fn deadline(&self) -> Duration {
        self.deadline
    }

    fn watches(&self) -> Vec<Watch> {
        self.watches.clone()
    }

    fn scope(&self) -> Scope {
        Scope::Nothing
    }
}
