//! What the person agreed to lose, as the engine asks for it: what that is made of, the stack alone knows.

use super::step::Act;
use crate::{error::Result, host::Host};

/// Asked before each act: what is not agreed to is not deleted.
pub trait Consent: Send + Sync {
    /// Why a step was shown as staying; none if it was not.
    fn stays(&self, key: &str) -> Option<&str>;

    /// Whether MicroK8s goes without a look into it.
    fn is_unseen(&self) -> bool;

    /// Whether an act deletes data that is not agreed to.
    ///
    /// # Errors
    /// It does; or the cluster cannot be asked whether it does.
    fn check(&self, host: &dyn Host, act: &Act) -> Result<()>;
}
