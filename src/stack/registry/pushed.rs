//! An image of the user's is in the built-in registry under its name.

use std::time::Duration;

use serde_json::{Value, json};

use crate::{
    engine::step::{Act, Memo, Memory, Probe, SNAP, Scope, Step, Undo},
    error::{Error, ExitCode, Result},
    host::{Host, Watch, microk8s},
    image::{Name, Push, registry},
};

/// The largest images of IRIS over the slowest disks.
const PUSHED_WITHIN: Duration = Duration::from_secs(2 * 60 * 60);

/// The step.
pub(crate) struct Pushed {
    name: Name,
    /// What is pushed; none when the step is made again for a teardown.
    push: Option<Push>,
}

impl Pushed {
    pub(super) fn new(push: Push) -> Self {
        Self { name: push.name.clone(), push: Some(push) }
    }

    /// The step of an earlier push.
    ///
    /// # Errors
    /// The journal does not hold the name of an image.
    pub(crate) fn recalled(recipe: &Value) -> Result<Self> {
        let name = serde_json::from_value(recipe["push"].clone());
        let name =
            name.map_err(|e| Error::new(ExitCode::Journal, "the journal holds an image without a name").caused_by(e))?;
        Ok(Self { name, push: None })
    }

    fn wanted(&self) -> &str {
        self.push.as_ref().map_or("", |push| &push.content.digest)
    }
}

impl Step for Pushed {
    fn id(&self) -> &'static str {
        "image.push"
    }

    fn key(&self) -> String {
        format!("{}@{}", self.id(), self.name.short())
    }

    fn recipe(&self) -> Value {
        json!({"push": self.name})
    }

    fn title(&self) -> String {
        format!("image {}", self.name)
    }

    fn probe(&self, host: &dyn Host) -> Result<Probe> {
        Ok(match registry::stored(host, &self.name)? {
            None => Probe::Absent,
            Some(stored) if stored.digest == self.wanted() => Probe::satisfied(stored.digest),
            Some(stored) => {
                let why = format!("the tag now leads to {}, and moves to {}", stored.digest, self.wanted());
                Probe::differs(json!({"digest": stored.digest}), why)
            }
        })
    }

    fn apply(&self, _: &dyn Host, _: &Probe) -> Result<Vec<Act>> {
        Ok(self.push.iter().map(|push| Act::Push(Box::new(push.clone()))).collect())
    }

    fn memo(&self, _: &dyn Host, found: &Probe) -> Result<Memo> {
        let prior = if let Probe::Differs { now, .. } = found { now.clone() } else { Value::Null };
        Ok(Memo { prior, want: json!({"digest": self.wanted()}) })
    }

    /// What the user pushed is the user's: it goes with the registry's volume, which is named and asked for.
    fn undo(&self, host: &dyn Host, _: &Memory) -> Result<Undo> {
        // A registry that does not answer keeps what it has.
        let gone = host.snapd_get(microk8s::SNAP)?.is_none()
            || registry::stored(host, &self.name).is_ok_and(|stored| stored.is_none());
        Ok(if gone {
            Undo::Done
        } else {
            Undo::Theirs(format!("it is your image; `iris-mk8s image remove {}` removes it", self.name.short()))
        })
    }

    fn deadline(&self) -> Duration {
        PUSHED_WITHIN
    }

    fn watches(&self) -> Vec<Watch> {
        vec![Watch::Pause(super::LOOK_AGAIN)]
    }

    fn scope(&self) -> Scope {
        Scope::Host
    }

    fn inside(&self) -> Option<&'static str> {
        Some(SNAP)
    }
}
