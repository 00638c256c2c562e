//! A step that is another one in all but a few answers. Whatever is not altered, the other one answers: nothing is forwarded by hand, so an
//! answer that [`Step`] learns later cannot be forgotten anywhere.

use std::time::Duration;

use serde_json::Value;

use super::step::{Act, Memo, Memory, Probe, Scope, Step, Undo};
use crate::{
    error::Result,
    host::{Host, Watch},
};

/// What may be altered of a step.
pub trait Altered: Send + Sync {
    /// The step that answers what this one does not.
    fn inner(&self) -> &dyn Step;

    /// The step that this one amounts to on this host, where that depends on what is there.
    ///
    /// # Errors
    /// As for [`Step::probe`].
    fn here(&self, _: &dyn Host) -> Result<&dyn Step> {
        Ok(self.inner())
    }

    /// See [`Step::recipe`].
    fn recipe(&self) -> Value {
        self.inner().recipe()
    }

    /// See [`Step::probe`].
    ///
    /// # Errors
    /// As there.
    fn probe(&self, host: &dyn Host) -> Result<Probe> {
        self.here(host)?.probe(host)
    }

    /// See [`Step::undo`].
    ///
    /// # Errors
    /// As there.
    fn undo(&self, host: &dyn Host, memory: &Memory) -> Result<Undo> {
        self.inner().undo(host, memory)
    }

    /// See [`Step::scope`].
    fn scope(&self) -> Scope {
        self.inner().scope()
    }

    /// See [`Step::inside`].
    fn inside(&self) -> Option<&'static str> {
        self.inner().inside()
    }

    /// See [`Step::is_needed_by`].
    fn is_needed_by(&self, key: &str) -> bool {
        self.inner().is_needed_by(key)
    }
}

impl<T: Altered> Step for T {
    fn id(&self) -> &str {
        self.inner().id()
    }

    fn key(&self) -> String {
        self.inner().key()
    }

    fn title(&self) -> String {
        self.inner().title()
    }

    fn recipe(&self) -> Value {
        Altered::recipe(self)
    }

    fn probe(&self, host: &dyn Host) -> Result<Probe> {
        Altered::probe(self, host)
    }

    fn apply(&self, host: &dyn Host, found: &Probe) -> Result<Vec<Act>> {
        self.here(host)?.apply(host, found)
    }

    fn follows(&self, host: &dyn Host, found: &Probe) -> Result<Vec<Act>> {
        self.here(host)?.follows(host, found)
    }

    fn memo(&self, host: &dyn Host, found: &Probe) -> Result<Memo> {
        self.here(host)?.memo(host, found)
    }

    fn undo(&self, host: &dyn Host, memory: &Memory) -> Result<Undo> {
        Altered::undo(self, host, memory)
    }

    fn foresees(&self, host: &dyn Host, memory: &Memory) -> Result<Vec<String>> {
        self.inner().foresees(host, memory)
    }

    fn deadline(&self) -> Duration {
        self.inner().deadline()
    }

    fn watches(&self) -> Vec<Watch> {
        self.inner().watches()
    }

    fn scope(&self) -> Scope {
        Altered::scope(self)
    }

    fn inside(&self) -> Option<&'static str> {
        Altered::inside(self)
    }

    fn opens(&self) -> bool {
        self.inner().opens()
    }

    fn newest_want_counts(&self) -> bool {
        self.inner().newest_want_counts()
    }

    fn changes_with(&self, host: &dyn Host, deletion: &Act) -> Result<bool> {
        self.here(host)?.changes_with(host, deletion)
    }

    fn used_by(&self) -> Option<String> {
        self.inner().used_by()
    }

    fn is_needed_by(&self, key: &str) -> bool {
        Altered::is_needed_by(self, key)
    }

    fn is_needed_while_ours(&self, key: &str) -> bool {
        Altered::is_needed_by(self, key) || self.inner().is_needed_while_ours(key)
    }

    fn clears(&self) -> Option<&'static str> {
        self.inner().clears()
    }
}

#[cfg(test)]
mod tests {
    /// The names of the functions of a block that begins with this line.
    fn functions<'t>(text: &'t str, head: &str) -> Vec<&'t str> {
        let block = text.split_once(head).and_then(|(_, rest)| rest.split_once("\n}\n")).map_or("", |(block, _)| block);
        let name = |line: &'t str| line.strip_prefix("    fn ")?.split_once('(').map(|(name, _)| name);
        let mut names: Vec<&str> = block.lines().filter_map(name).collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn every_answer_of_a_step_is_passed_on() {
        let all = functions(include_str!("step.rs"), "pub trait Step");
        assert!(all.len() > 15, "{all:?}");
        assert_eq!(functions(include_str!("altered.rs"), "impl<T: Altered> Step for T"), all);
    }
}
