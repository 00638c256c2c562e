//! The look at the data before a teardown. A cluster that is stopped, starts, is dead or refuses never counts as empty: then the teardown is
//! refused, and says what could not be seen and how to start the cluster.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use serde::Serialize;

use super::{
    Agreed, FOLDERS, Known, List, Volume, Whose,
    agreed::not_agreed,
    foreign, mounted,
    volumes::{replicas_alone, used},
};
use crate::{
    engine::{
        self,
        journal::Ledger,
        step::{SNAP, Scope, lies_in_the_cluster},
    },
    error::{Error, ExitCode, Result},
    host::{Host, Watch, microk8s::Identity},
    stack::{
        longhorn::state as longhorn,
        microk8s::state::{self as microk8s, Doing},
    },
};

/// A cluster whose services run answers after this time, or it does not start by itself.
const ANSWERS_WITHIN: Duration = Duration::from_secs(120);

/// A command of an earlier run that works longer than this is ended by the run itself.
const LEFTOVERS_WITHIN: Duration = Duration::from_secs(60);

/// Neither the API nor a process can be watched from here.
const PAUSE: Duration = Duration::from_millis(500);

/// The way on for a cluster that nobody can start.
pub(super) const WITHOUT_LOOKING: &str = "where the cluster cannot be started any more: `teardown --reset --without-looking` removes it with everything that is in it";

/// Why the cluster cannot be asked, and what can be seen of its data all the same.
#[derive(Clone, Debug, Serialize)]
pub struct Unseen {
    /// Why.
    pub why: String,
    /// What the person can do.
    pub hint: String,
    /// Folders with data, each with its size.
    pub folders: Vec<Folder>,
}

/// A folder of this host.
#[derive(Clone, Debug, Serialize)]
pub struct Folder {
    /// Where.
    pub path: PathBuf,
    /// How much it takes up on the disk.
    pub size: String,
}

impl Unseen {
    fn new(host: &dyn Host, why: impl Into<String>, hint: impl Into<String>) -> Self {
        let in_folder = |folder: &str| {
            let folder = Path::new(folder).to_owned();
            host.names(&folder).into_iter().map(move |name| folder.join(name))
        };
        let paths: Vec<PathBuf> = in_folder(FOLDERS).chain(in_folder(longhorn::DATA)).collect();
        let sizes = used(host, &paths);
        let folders = paths.into_iter().zip(sizes).map(|(path, size)| Folder { path, size }).collect();
        Self { why: why.into(), hint: hint.into(), folders }
    }
}

/// What a teardown would find.
#[derive(Clone, Debug, Default)]
pub struct Sight {
    known: Known,
    list: List,
    /// Settings of MicroK8s and files beside them that neither it nor we made.
    settings: Vec<String>,
    unseen: Option<Unseen>,
    /// The removal of MicroK8s was agreed to and has begun: it goes on, whatever can still be seen.
    begun: bool,
    /// MicroK8s is ours, and a teardown of this reach removes it.
    removes_microk8s: bool,
}

/// What a teardown takes along, for questions, dry runs and programs.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Stake {
    /// The volumes that go, with their data.
    pub data: Vec<Volume>,
    /// What in MicroK8s is somebody else's: it keeps MicroK8s.
    pub theirs: Vec<String>,
    /// Settings of MicroK8s and files beside them that somebody else made: they go with it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub settings: Vec<String>,
    /// Why the cluster cannot be asked, if it cannot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unseen: Option<Unseen>,
}

impl Stake {
    /// The lines for people, below a plan.
    pub fn show(&self) -> String {
        let mut text: String = self.data.iter().map(|volume| format!("  DATA   {volume}\n")).collect();
        text.extend(self.theirs.iter().map(|theirs| format!("  THEIRS {theirs}\n")));
        text.extend(
            self.settings.iter().map(|file| format!("  GOES   {file}: somebody made it, and it goes with MicroK8s\n")),
        );
        if let Some(unseen) = &self.unseen {
            text.push_str(&format!("  UNSEEN what is in MicroK8s: {}\n", unseen.why));
            text.extend(unseen.folders.iter().map(|f| format!("  UNSEEN {} ({})\n", f.path.display(), f.size)));
        }
        text
    }

    /// What is lost, as one sentence for a question; nothing when nothing is.
    pub fn warning(&self) -> &'static str {
        match (&self.unseen, self.data.is_empty()) {
            (Some(_), _) => "Everything that is in MicroK8s will be lost, whether it is listed or not. ",
            (None, false) => "All data of these volumes will be lost. ",
            (None, true) => "",
        }
    }
}

/// Looks at what a teardown of this reach takes along. A cluster that is starting is waited for; `tell` hears of that.
///
/// # Errors
/// snapd does not answer, or the person interrupts the wait.
pub fn look(host: &dyn Host, ledger: &Ledger, reach: Scope, wait: bool, tell: &mut dyn FnMut(&str)) -> Result<Sight> {
    let snap = ledger.memory(SNAP).filter(|snap| snap.prior.is_null() && reach == Scope::Host);
    let replaced = match snap.and_then(|snap| snap.microk8s.as_ref()) {
        Some(was) => Identity::now(host)?.is_some_and(|now| was.is_another(&now)),
        None => false,
    };
    let removes_microk8s = snap.is_some() && !replaced;
    let begun = removes_microk8s && ledger.is_undoing(SNAP);
    if wait {
        settle(host, tell)?;
    }
    let known = Known::of(ledger);
    // Files can be read whether the cluster answers or not.
    let settings = if removes_microk8s { foreign::settings(host, &known) } else { Vec::new() };
    let sight = Sight { known, settings, begun, removes_microk8s, ..Sight::default() };
    if !removes_microk8s && microk8s::is_stopped(host) && is_in_the_cluster(ledger, reach) {
        return Err(Error::failed("MicroK8s is stopped: what iris-mk8s made in it can be removed only while it runs")
            .hint("`sudo iris-mk8s start`, then the same command again"));
    }
    if !removes_microk8s && !deletes_data(ledger, reach) {
        return Ok(sight);
    }
    mounted::refuse(host, removes_microk8s)?;
    let Some(snap) = host.snapd_get(microk8s::SNAP)? else {
        // Somebody removed MicroK8s: what lay on Longhorn is still on this host, and nobody can be asked whose it is.
        return Ok(Sight { list: List { volumes: replicas_alone(host), ..List::default() }, ..sight });
    };
    // What is being installed holds nothing yet, and what is being removed was agreed to.
    if Doing::now(host)?.is_some_and(|doing| doing.removes || doing.installs) {
        return Ok(sight);
    }
    let unseen = |why: &str, hint: &str| {
        let mut hint = format!("{hint}, then the same command again");
        if removes_microk8s {
            hint.push_str(&format!("\n{WITHOUT_LOOKING}"));
        }
        let unseen = Unseen::new(host, why, hint);
        Ok(Sight { unseen: Some(unseen), ..sight.clone() })
    };
    if snap["status"] != "active" {
        return unseen("the snap microk8s is disabled", "`sudo snap enable microk8s`");
    }
    if microk8s::is_stopped(host) {
        return unseen("MicroK8s is stopped", "`sudo iris-mk8s start`");
    }
    let within = if wait && !begun { ANSWERS_WITHIN } else { Duration::ZERO };
    match patiently(host, &sight.known, within, tell) {
        Ok(list) => Ok(Sight { list, ..sight }),
        Err(e) if e.code == ExitCode::Interrupted => Err(e),
        Err(e) => unseen(
            &format!("the Kubernetes API cannot be asked: {}", engine::one_line(&e)),
            "`sudo iris-mk8s doctor` looks for the cause; `sudo iris-mk8s start` starts what does not run",
        ),
    }
}

/// Whether something that is still to be taken back lies in the cluster, and does not go with MicroK8s.
fn is_in_the_cluster(ledger: &Ledger, reach: Scope) -> bool {
    ledger.steps().any(|key| key.starts_with("iris.") || (reach == Scope::Host && lies_in_the_cluster(key)))
}

/// Whether a step that is still to be taken back deletes data by itself.
fn deletes_data(ledger: &Ledger, reach: Scope) -> bool {
    ledger.steps().any(|key| {
        let of_data = key.starts_with("iris.claims");
        let of_host = key == "addon.registry" || key.starts_with("longhorn.");
        (of_data && reach >= Scope::Data) || (of_host && reach == Scope::Host)
    })
}

/// Waits for commands of an earlier, killed run: what one of them makes right now would be in no plan.
///
/// # Errors
/// The person interrupts the wait.
pub fn settle(host: &dyn Host, tell: &mut dyn FnMut(&str)) -> Result<()> {
    let begun = host.now();
    let mut changes = None;
    while !host.leftovers().is_empty() && host.now().saturating_sub(begun) < LEFTOVERS_WITHIN {
        stop(host)?;
        if changes.is_none() {
            tell("a command of an earlier run still works: waiting for it, to see what there is");
        }
        changes.get_or_insert_with(|| host.watch(&[Watch::Pause(PAUSE)])).next(PAUSE);
    }
    Ok(())
}

fn stop(host: &dyn Host) -> Result<()> {
    if host.stopping() {
        return Err(Error::new(ExitCode::Interrupted, "interrupted").hint("nothing was changed"));
    }
    Ok(())
}

/// The list, as soon as the cluster answers.
fn patiently(host: &dyn Host, known: &Known, within: Duration, tell: &mut dyn FnMut(&str)) -> Result<List> {
    let begun = host.now();
    let mut changes = None;
    loop {
        match List::read(host, known) {
            Err(e) if e.transient && host.now().saturating_sub(begun) < within => {
                stop(host)?;
                if changes.is_none() {
                    tell(&format!(
                        "the Kubernetes API does not answer yet: waiting for it, at most {} s, to see what data there is",
                        within.as_secs()
                    ));
                }
                changes.get_or_insert_with(|| host.watch(&[Watch::Pause(PAUSE)])).next(PAUSE);
            }
            other => return other,
        }
    }
}

/// How the journal's key of the claims in a namespace begins.
fn claims_in(namespace: &str) -> String {
    format!("iris.claims@{namespace}/")
}

impl Sight {
    /// What goes when the steps go that `goes` says, each by its key.
    pub fn stake(&self, goes: impl Fn(&str) -> bool) -> Stake {
        let all = self.removes_microk8s && goes(SNAP);
        let is_lost = |v: &&Volume| match v.whose {
            Whose::Iris => all || v.claim.as_ref().and(v.namespace.as_ref()).is_some_and(|ns| goes(&claims_in(ns))),
            // What is left of Longhorn on this host.
            Whose::Nobody => goes("longhorn.before"),
            Whose::Registry => all || (v.claim.is_some() && goes("addon.registry")),
            Whose::Others => false,
        };
        Stake {
            data: self.list.volumes.iter().filter(is_lost).cloned().collect(),
            theirs: if self.removes_microk8s { self.list.of_others() } else { Vec::new() },
            settings: if all { self.settings.clone() } else { Vec::new() },
            unseen: self.unseen.clone(),
        }
    }

    /// For a plan: nothing may be deleted, and what cannot be seen goes with MicroK8s if the person says so.
    pub fn planned(&self, without_looking: bool) -> Agreed {
        Agreed::default().and_unseen(self.unseen.is_some() && self.goes_unseen(without_looking), self.known.clone())
    }

    /// Whether MicroK8s goes without a look into it: as far as it goes at all, for the things of ours in one that stays are taken back one by one.
    fn goes_unseen(&self, without_looking: bool) -> bool {
        self.removes_microk8s && (without_looking || self.begun)
    }

    /// What may be deleted after a yes to this.
    pub fn agreed(&self, stake: &Stake) -> Agreed {
        let agreed = Agreed::to(&stake.data).and_settings(&stake.settings);
        agreed.and_unseen(self.unseen.is_some(), self.known.clone())
    }

    /// Refuses a teardown that cannot see what it would delete.
    ///
    /// # Errors
    /// The cluster cannot be asked, and nobody said that this does not matter.
    pub fn refuse_unseen(&self, without_looking: bool) -> Result<()> {
        let Some(unseen) = self.unseen.as_ref().filter(|_| !self.goes_unseen(without_looking)) else { return Ok(()) };
        let folders = unseen.folders.iter().map(|f| format!("{} ({}) is there", f.path.display(), f.size));
        let why: Vec<String> = std::iter::once(unseen.why.clone()).chain(folders).collect();
        Err(Error::new(ExitCode::NotOurs, "refused: what data is in MicroK8s cannot be seen; nothing was changed")
            .because(why.join("\n"))
            .hint(unseen.hint.clone()))
    }

    /// Refuses to go on when there is data by now that nobody agreed to lose.
    ///
    /// # Errors
    /// There is, or it cannot be seen any more; nothing was deleted yet.
    pub fn refuse_new(&self, before: &Stake, now: &Self, goes: impl Fn(&str) -> bool) -> Result<()> {
        if before.unseen.is_some() {
            return Ok(());
        }
        now.refuse_unseen(false)?;
        let is_known =
            |v: &Volume| before.data.iter().any(|b| b.uid == v.uid && (!v.uid.is_empty() || b.paths == v.paths));
        let new: Vec<String> = now.stake(goes).data.iter().filter(|v| !is_known(v)).map(ToString::to_string).collect();
        if new.is_empty() { Ok(()) } else { Err(not_agreed(&new)) }
    }
}
