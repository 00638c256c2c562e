//! The password's files. They stay as long as the data: the volumes hold accounts with this password.

use std::time::Duration;

use serde_json::{Value, json};

use crate::{
    config::{
        credentials::Credentials,
        place::Place,
        spec::{Iris, Spec},
    },
    engine::step::{self, Act, Memo, Memory, Probe, SOON, Scope, Step, Undo},
    error::Result,
    host::{FileWrite, Host},
    stack::iris::names as iris,
};

/// The step.
pub(crate) struct Password {
    user: String,
    iris: Iris,
    credentials: Credentials,
    place: Place,
}

impl Password {
    pub(crate) fn new(spec: &Spec, credentials: &Credentials) -> Self {
        Self {
            user: spec.user.clone(),
            iris: spec.iris.clone(),
            credentials: credentials.clone(),
            place: Place::default(),
        }
    }
}

impl Step for Password {
    fn id(&self) -> &'static str {
        iris::PASSWORD
    }

    fn recipe(&self) -> Value {
        json!({"user": self.user, "iris": iris::recipe(&self.iris)})
    }

    fn title(&self) -> String {
        format!("password of IRIS, readable by {}", self.user)
    }

    fn probe(&self, host: &dyn Host) -> Result<Probe> {
        let hash = host.read(&self.place.password_hash())?;
        let password = host.read(&self.place.password())?;
        let same = hash.is_some_and(|h| h == self.credentials.hash().as_str().as_bytes())
            && password.is_some_and(|p| p == self.credentials.password_file());
        if same {
            let warning = "the password of IRIS' accounts is the one that everybody knows; in the portal each can get another one";
            let warnings = self.credentials.is_published().then(|| warning.to_owned()).into_iter().collect();
            return Ok(Probe::Satisfied { note: format!("in {}", self.place.password().display()), warnings });
        }
        // IRIS takes the hash once for each volume, at its very first start.
        let kept = super::claims::with_a_password(host, &self.iris)?;
        Ok(match (kept.is_empty(), host.exists(&self.place.password())) {
            (true, true) => Probe::differs(json!("another password"), "another password than before"),
            (true, false) => Probe::Absent,
            (false, true) => Probe::Refused {
                why: "the volumes that are there keep the password that they have; another one would not take effect"
                    .to_owned(),
                hint: format!(
                    "leave --password-file out (the password is in {}), change it in the portal, or begin with new volumes: \
                     `iris-mk8s teardown --data`",
                    self.place.password().display()
                ),
            },
            (false, false) => Probe::differs(
                json!("volumes with a password of their own"),
                format!(
                    "the volumes {} were there before and keep the password that they have; this one is only for new ones",
                    kept.join(", ")
                ),
            ),
        })
    }

    fn apply(&self, _: &dyn Host, _: &Probe) -> Result<Vec<Act>> {
        let file =
            |path, bytes, owner| Act::Write(FileWrite { path, bytes, mode: 0o600, owner, secret: true, keeps: false });
        let hash = self.credentials.hash().as_str().as_bytes().to_vec();
        Ok(vec![
            file(self.place.password_hash(), hash, None),
            file(self.place.password(), self.credentials.password_file(), Some(self.user.clone())),
        ])
    }

    fn memo(&self, _: &dyn Host, _: &Probe) -> Result<Memo> {
        Ok(Memo { prior: Value::Null, want: Value::Null })
    }

    fn undo(&self, host: &dyn Host, memory: &Memory) -> Result<Undo> {
        // A bootstrap in another namespace went on with the files that were there.
        let earlier = memory.earlier.iter().map(|recipe| iris::recalled(&recipe["iris"], &self.iris));
        let all: Vec<Iris> = earlier.chain([self.iris.clone()]).collect();
        let kept = super::claims::with_our_password(host, &all, memory.at)?;
        if !kept.is_empty() {
            return Ok(Undo::Keep(format!("the volumes {} hold accounts with this password", kept.join(", "))));
        }
        let paths = [self.place.password_hash(), self.place.password()];
        let acts: Vec<Act> =
            paths.into_iter().filter(|p| host.exists(p)).map(|path| Act::Remove { path, all: false }).collect();
        Ok(if acts.is_empty() { Undo::Done } else { Undo::Acts(acts) })
    }

    fn deadline(&self) -> Duration {
        SOON
    }

    fn scope(&self) -> Scope {
        Scope::Data
    }

    /// Whatever namespace they are in.
    fn used_by(&self) -> Option<String> {
        Some("iris.claims".to_owned())
    }

    fn inside(&self) -> Option<&'static str> {
        // Where the volumes go with the snap, the password must not go before them: an interrupted reset would leave volumes that
        // nobody can log in to. Its files go with the journal.
        Some(step::SNAP)
    }
}
