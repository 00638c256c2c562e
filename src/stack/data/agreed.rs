//! What the person agreed to lose: the engine asks before each act, and what is not agreed to is not deleted.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use serde_json::Value;

use super::{
    Known, List, Volume, settings,
    sight::WITHOUT_LOOKING,
    volumes::{identity, is_trial, namespace},
};
use crate::{
    engine::{consent::Consent, step::Act},
    error::{Error, ExitCode, Result},
    host::Host,
    kube::{self, state},
    stack::microk8s::state::{self as microk8s, ARGS},
};

/// What may be deleted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Agreed {
    /// Claims, each by what identifies it.
    claims: BTreeSet<String>,
    /// Files that go with MicroK8s, by their paths.
    settings: BTreeSet<String>,
    /// Whatever is in a MicroK8s that cannot be asked.
    unseen: bool,
    /// What the journal knew to be ours.
    known: Known,
    /// Steps that were to stay, by their keys, and why.
    stay: BTreeMap<String, String>,
}

impl Agreed {
    /// Nothing: for commands that delete no data.
    pub fn nothing() -> &'static Self {
        static NOTHING: Agreed = Agreed {
            claims: BTreeSet::new(),
            settings: BTreeSet::new(),
            unseen: false,
            known: Known::NOTHING,
            stay: BTreeMap::new(),
        };
        &NOTHING
    }

    /// These volumes.
    pub fn to<'a>(volumes: impl IntoIterator<Item = &'a Volume>) -> Self {
        let claims = volumes.into_iter().map(|v| v.uid.clone()).filter(|uid| !uid.is_empty()).collect();
        Self { claims, ..Self::default() }
    }

    /// Also these files.
    #[must_use]
    pub(super) fn and_settings(self, paths: &[String]) -> Self {
        Self { settings: paths.iter().cloned().collect(), ..self }
    }

    /// Also whatever is in a MicroK8s that cannot be asked, if that is so.
    #[must_use]
    pub(super) fn and_unseen(self, unseen: bool, known: Known) -> Self {
        Self { unseen, known, ..self }
    }

    /// These steps were shown as staying: they do, whatever became of the reason since.
    #[must_use]
    pub fn and_stay<'a>(self, steps: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let stay = steps.into_iter().map(|(key, why)| (key.to_owned(), why.to_owned())).collect();
        Self { stay, ..self }
    }

    /// Whether the files that go with MicroK8s were shown.
    fn covers_the_files(&self, host: &dyn Host) -> Result<()> {
        let mut files = settings(host, &self.known);
        // Of what cannot be seen, everything inside was agreed to; and a disabled snap does not tell what it came with.
        let is_agreed =
            |path: &String| self.settings.contains(path) || (self.unseen && Path::new(path).starts_with(ARGS));
        files.retain(|path| !is_agreed(path));
        if files.is_empty() { Ok(()) } else { Err(not_agreed(&files)) }
    }

    /// Whether MicroK8s may go: the step that removes it cannot tell a cluster that does not answer from one that holds nothing.
    fn removes_microk8s(&self, host: &dyn Host) -> Result<()> {
        self.covers(&host.list(&kube::PERSISTENT_VOLUME_CLAIM, None, "")?)?;
        match List::read(host, &self.known)?.of_others().first() {
            // The step's next look finds it, and keeps MicroK8s.
            Some(theirs) => Err(Error::transient("somebody else has something in MicroK8s").because(theirs)),
            None => Ok(()),
        }
    }

    /// Whether all of these claims are agreed to. One that is being deleted goes whatever we do.
    fn covers(&self, claims: &[Value]) -> Result<()> {
        let is_other =
            |claim: &&Value| !state::going(claim) && !is_trial(claim) && !self.claims.contains(&identity(claim));
        let others: Vec<String> =
            claims.iter().filter(is_other).map(|c| format!("{}/{}", namespace(c), state::name(c))).collect();
        if others.is_empty() { Ok(()) } else { Err(not_agreed(&others)) }
    }
}

impl Consent for Agreed {
    fn stays(&self, key: &str) -> Option<&str> {
        self.stay.get(key).map(String::as_str)
    }

    fn is_unseen(&self) -> bool {
        self.unseen
    }

    fn check(&self, host: &dyn Host, act: &Act) -> Result<()> {
        let removes =
            matches!(act, Act::Snapd(change) if change.path == microk8s::SNAP && change.body["action"] == "remove");
        if removes {
            self.covers_the_files(host)?;
        }
        if self.unseen {
            return Ok(());
        }
        match act {
            Act::Delete { kind, namespace, name } if **kind == kube::PERSISTENT_VOLUME_CLAIM => {
                let claim = host.get(kind, namespace.as_deref(), name)?;
                self.covers(&claim.into_iter().collect::<Vec<_>>())
            }
            Act::Delete { kind, name, .. } if **kind == kube::NAMESPACE => {
                self.covers(&host.list(&kube::PERSISTENT_VOLUME_CLAIM, Some(name), "")?)
            }
            Act::Snapd(_) if removes => {
                self.removes_microk8s(host).map_err(|e| if e.hint.is_some() { e } else { e.hint(WITHOUT_LOOKING) })
            }
            Act::Run(cmd) if is_disabling_the_registry(&cmd.argv) => {
                self.covers(&host.list(&kube::PERSISTENT_VOLUME_CLAIM, Some(super::REGISTRY.0), "")?)
            }
            _ => Ok(()),
        }
    }
}

/// Volumes that nobody agreed to lose.
pub(super) fn not_agreed(claims: &[String]) -> Error {
    Error::new(ExitCode::NotOurs, format!("refused: nobody agreed to lose {}", claims.join(", ")))
        .because("it was not on the list of data when this command began; nothing of it was deleted")
        .hint("run the same command again: it shows the list as it is now")
}

/// The addon's namespace goes with it, and in it the claim.
fn is_disabling_the_registry(argv: &[String]) -> bool {
    matches!(argv.iter().map(String::as_str).collect::<Vec<_>>()[..], ["microk8s", "disable", "registry"])
}
