//! An image that a person wants out of the built-in registry.

use std::time::Duration;

use crate::{
    engine::step::{Act, Memo, Memory, Probe, SOON, Scope, Step, Undo},
    error::Result,
    host::{Host, Watch},
    image::{Name, registry},
};

/// The step. Only its undo is of use: it is what `image remove` does.
pub(super) struct Removed {
    /// By its digest: a tag that moves meanwhile keeps what it leads to then.
    name: Name,
}

impl Removed {
    pub(super) fn new(name: &Name, digest: &str) -> Self {
        Self { name: Name { digest: Some(digest.to_owned()), ..name.clone() } }
    }
}

impl Step for Removed {
    fn id(&self) -> &'static str {
        "image.remove"
    }

    fn title(&self) -> String {
        format!("image {}", self.name)
    }

    fn probe(&self, host: &dyn Host) -> Result<Probe> {
        Ok(registry::stored(host, &self.name)?.map_or(Probe::Absent, |_| Probe::satisfied("")))
    }

    fn apply(&self, _: &dyn Host, _: &Probe) -> Result<Vec<Act>> {
        Ok(Vec::new())
    }

    fn memo(&self, _: &dyn Host, _: &Probe) -> Result<Memo> {
        Ok(Memo::default())
    }

    fn undo(&self, host: &dyn Host, _: &Memory) -> Result<Undo> {
        Ok(match registry::stored(host, &self.name)? {
            None => Undo::Done,
            Some(stored) => {
                Undo::Acts(vec![Act::Unpush { repository: self.name.repository.clone(), digest: stored.digest }])
            }
        })
    }

    fn deadline(&self) -> Duration {
        SOON
    }

    fn watches(&self) -> Vec<Watch> {
        vec![Watch::Pause(super::LOOK_AGAIN)]
    }

    fn scope(&self) -> Scope {
        Scope::Nothing
    }
}
