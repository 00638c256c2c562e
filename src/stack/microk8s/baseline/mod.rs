//! What was there before MicroK8s, written down before it comes: a removed snap leaves processes, devices, rules, files, a group and kernel
//! settings behind, and only a list made beforehand tells them from what is somebody else's. After the removal this step looks at each
//! kind of them again, takes away what is proven to be MicroK8s', and names what stays and why.

use std::{
    path::{Path, PathBuf},
    sync::Mutex,
    time::Duration,
};

use serde_json::{Value, json};

use self::found::Found;
use crate::{
    config::{place::Place, spec::Spec},
    engine::step::{self, Act, Memo, Memory, Probe, SOON, Scope, Step, Undo},
    error::{Error, ExitCode, Result},
    host::{Cmd, FileWrite, Host},
    stack::{
        data::goes_with_the_snap,
        left::{End, Left, forget_failed, has_a_file, lines},
        microk8s::state as microk8s,
    },
};

use others::Others;
use tries::Tries;

mod files;
mod found;
mod links;
mod mounts;
mod others;
mod processes;
mod rules;
mod settings;
mod tries;

/// The services of the snap.
const UNITS: &str = "snap.microk8s.*";

/// Where it is written down. It is there as long as the snap is ours.
pub(crate) fn file() -> PathBuf {
    Place::default().before()
}

/// A command that takes something away; `gone`: what it says when that is gone already.
fn run(argv: &[&str], gone: &'static str) -> Act {
    Act::Run(Cmd::changes(SOON, argv.iter().copied()).or_gone(gone))
}

/// The step.
pub(crate) struct Before {
    user: String,
    file: PathBuf,
    deadline: Duration,
    tries: Mutex<Tries>,
    end: End,
}

impl Before {
    pub(crate) fn new(spec: &Spec) -> Self {
        Self {
            user: spec.user.clone(),
            file: file(),
            deadline: spec.timeouts.remove.into(),
            tries: Mutex::default(),
            end: End::default(),
        }
    }

    fn may_still_disappear(&self, host: &dyn Host, left: &[Left]) -> bool {
        self.tries.lock().is_ok_and(|mut tries| tries.may_still_disappear(host.now(), left))
    }

    fn next_to_try(&self, host: &dyn Host, acts: Vec<Act>, left: &mut Vec<Left>) -> Vec<Act> {
        match self.tries.lock() {
            Ok(mut tries) => tries.next_to_try(host.now(), acts, left),
            Err(_) => acts,
        }
    }

    fn homes(&self, host: &dyn Host) -> Result<Vec<PathBuf>> {
        let mut homes = vec![PathBuf::from("/root")];
        if let Some(home) = super::group::home(host, &self.user)?.filter(|home| home != Path::new("/root")) {
            homes.push(home);
        }
        Ok(homes)
    }

    /// The users that we ever added to the group: their memberships are taken back before.
    fn members(&self, memory: &Memory) -> Vec<String> {
        let earlier = memory.earlier.iter().filter_map(|recipe| recipe["user"].as_str());
        earlier.chain([self.user.as_str()]).map(str::to_owned).collect()
    }

    /// Everything that MicroK8s and we are known to leave: what to do about it, and what stays. While the snap is still there, what snapd
    /// ends and removes is left out.
    fn find_leftovers(
        &self,
        host: &dyn Host,
        before: &Found,
        when: When,
        memory: &Memory,
    ) -> Result<(Vec<Act>, Vec<Left>)> {
        let is_there = when == When::BeforeItsRemoval;
        let processes = processes::all(host);
        let others = Others::look(host, &processes)?;
        let (mut acts, mut left) = processes::orphans(host, &processes);
        let mut add = |(more, stays): (Vec<Act>, Vec<Left>)| {
            acts.extend(more);
            left.extend(stays);
        };
        if !is_there {
            add(mounts::left(host)?);
            add((units(host, &before.failed)?, super::alias::left(host)?));
        }
        let (network, stays, forwards) = links::left(host, &before.links, &before.namespaces, &others)?;
        add((network, stays));
        add(rules::left(host, before.rules(), &others)?);
        if !before.group {
            let going = if when == When::Now { Vec::new() } else { self.members(memory) };
            add(super::group::left(host, &going)?);
        }
        add(files::left(host, &before.absent, before.there.as_deref(), &self.homes(host)?, &others)?);
        add(settings::left(host, &before.settings, &others, forwards.as_deref())?);
        if is_there {
            acts.retain(|act| match act {
                Act::Kill { why, .. } => why != processes::OF_SERVICE,
                Act::Remove { path, .. } => {
                    !path.starts_with("/var/snap/microk8s") && !path.starts_with(files::SNAP_FILES)
                }
                _ => true,
            });
            // They are on the list of what goes.
            left.retain(|l| !goes_with_the_snap(Path::new(&l.what)));
        }
        Ok((acts, left))
    }

    /// What was there before: from the record, or from the journal's copy where that is lost. Of a step that did not come to its end nothing
    /// is known: then nothing came after it either.
    fn known(&self, host: &dyn Host, memory: &Memory) -> Result<Option<Found>> {
        let written = Found::read(host, &self.file)?;
        let known = written.or_else(|| Found::of_journal(memory).filter(|_| !memory.open));
        known.map(|found| found.of_this_boot(host)).transpose()
    }

    /// The record is gone, and we did not remove it: only that is done which needs none, since it proves itself.
    fn without(&self, host: &dyn Host, memory: &Memory) -> Result<Undo> {
        // Whether it was ever written is not known.
        if memory.open {
            return Ok(Undo::Done);
        }
        let (mut acts, mut left) = processes::orphans(host, &processes::all(host));
        let (more, stays) = mounts::left(host)?;
        acts.extend(more);
        left.extend(stays);
        let acts = self.next_to_try(host, acts, &mut left);
        if !acts.is_empty() {
            return Ok(Undo::Acts(acts));
        }
        // Everything that looks like MicroK8s' is named, until nothing does any more.
        let (would, stays) = self.find_leftovers(host, &Found::nothing(&self.homes(host)?), When::Now, memory)?;
        let why = "whether it was there before MicroK8s is not known";
        left.extend(would.iter().map(|act| Left::ours(format!("what `{}` would take away", act.show()), why)));
        left.extend(stays);
        left.insert(0, self.is_gone());
        Ok(if left.iter().all(|l| l.theirs) { Undo::Theirs(lines(&left)) } else { Undo::Keep(lines(&left)) })
    }

    fn is_gone(&self) -> Left {
        let why = "what MicroK8s left cannot be distinguished from what belongs to somebody else, so it stays";
        Left::theirs(format!("{} is gone, and with it what was there before MicroK8s", self.file.display()), why)
    }
}

/// When a host is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum When {
    /// MicroK8s is still there, and goes.
    BeforeItsRemoval,
    /// It is gone, and the steps that are taken back before this one are still to be.
    Planned,
    /// It is gone, and this step's turn has come.
    Now,
}

/// What ends the snap's services, where they run although snapd has ended them: a machine that boots in the middle of a removal or a disabling
/// starts them again, and snapd does not look back.
pub(crate) fn end_services(host: &dyn Host) -> Result<Option<Act>> {
    let active = ["systemctl", "list-units", "--state=active", "--plain", "--no-legend", UNITS];
    let active = host.ask(&Cmd::reads(active))?.stdout;
    let units = active.lines().filter_map(|line| line.split_whitespace().next());
    let left: Vec<&str> = units.filter(|unit| !has_a_file(host, unit)).collect();
    Ok((!left.is_empty()).then(|| Act::Run(Cmd::changes(SOON, ["systemctl", "stop"].into_iter().chain(left)))))
}

/// What the services of the snap left with systemd.
fn units(host: &dyn Host, failed: &[String]) -> Result<Vec<Act>> {
    let mut acts: Vec<Act> = end_services(host)?.into_iter().collect();
    // systemd remembers a service that failed while it was stopped for good.
    acts.extend(forget_failed(host, &[UNITS], failed)?);
    Ok(acts)
}

impl Step for Before {
    fn id(&self) -> &'static str {
        "snap.before"
    }

    fn recipe(&self) -> Value {
        json!({"user": self.user, "timeouts": {"remove": self.deadline.as_secs()}})
    }

    fn title(&self) -> String {
        "record of the host before MicroK8s".to_owned()
    }

    fn probe(&self, host: &dyn Host) -> Result<Probe> {
        let written = Found::read(host, &self.file)?;
        // What its pods leave can be seen only when it is gone.
        if let (Some(_), Some(why)) = (&written, super::snap::being_removed(host)?) {
            return Ok(Probe::pending(format!("{why}; pods that outlive it are killed then")));
        }
        if host.snapd_get(microk8s::SNAP)?.is_some() {
            return Ok(Probe::satisfied(match written {
                Some(_) => "written down",
                None => "MicroK8s was there before us: its traces are not ours",
            }));
        }
        if written.is_none() {
            return Ok(Probe::Absent);
        }
        let settings = settings::of_others(host, &written.map(|w| w.settings).unwrap_or_default())?;
        if !settings.is_empty() {
            let names: Vec<&str> = settings.keys().map(String::as_str).collect();
            let why = format!("kernel settings that somebody changed since MicroK8s was removed: {}", names.join(", "));
            return Ok(Probe::differs(json!({"settings": settings}), why));
        }
        let (acts, left) = processes::orphans(host, &processes::all(host));
        if acts.is_empty() {
            let warnings = left.iter().map(|l| format!("{}: {}", l.what, l.why)).collect();
            return Ok(Probe::Satisfied { note: "written down".to_owned(), warnings });
        }
        Ok(Probe::differs(json!({"processes": acts.len()}), "pods of a MicroK8s that was removed still run"))
    }

    fn apply(&self, host: &dyn Host, found: &Probe) -> Result<Vec<Act>> {
        // They would be in the way of the new ones, and answer for addresses of its range.
        let mut acts = if host.snapd_get(microk8s::SNAP)?.is_some() || super::snap::busy(host)?.is_some() {
            Vec::new()
        } else {
            processes::orphans(host, &processes::all(host)).0
        };
        let written = match found {
            Probe::Differs { now, .. } if now["settings"].is_object() => Found::read(host, &self.file)?,
            Probe::Differs { .. } => return Ok(acts),
            _ => None,
        };
        let found = match written {
            Some(mut written) => {
                let of_others = settings::of_others(host, &written.settings)?;
                written.settings.extend(of_others);
                written
            }
            None => Found::look(host, &self.homes(host)?)?,
        };
        let bytes =
            serde_json::to_vec_pretty(&found).map_err(|e| Error::new(ExitCode::Bug, "not JSON").caused_by(e))?;
        acts.push(Act::Write(FileWrite {
            path: self.file.clone(),
            bytes,
            mode: 0o600,
            owner: None,
            secret: false,
            keeps: false,
        }));
        Ok(acts)
    }

    /// While snapd removes it: pods that outlive it.
    fn follows(&self, host: &dyn Host, found: &Probe) -> Result<Vec<Act>> {
        if matches!(found, Probe::Pending { .. }) {
            return Ok(processes::orphans(host, &processes::all(host)).0);
        }
        Ok(Vec::new())
    }

    fn memo(&self, host: &dyn Host, found: &Probe) -> Result<Memo> {
        let mut want = json!({"file": self.file});
        if let Probe::Absent = found {
            // The file is one of many, and may be lost.
            want["found"] = json!(Found::look(host, &self.homes(host)?)?);
        }
        Ok(Memo { prior: Value::Null, want })
    }

    fn undo(&self, host: &dyn Host, memory: &Memory) -> Result<Undo> {
        if let Some(told) = (!host.exists(&self.file)).then(|| self.end.told()).flatten() {
            return Ok(told);
        }
        let forget = || Act::Remove { path: self.file.clone(), all: false };
        if host.snapd_get(microk8s::SNAP)?.is_some() {
            // Somebody installed it while we were about to: what it leaves one day is theirs.
            return Ok(match (memory.clears_ours, host.exists(&self.file)) {
                (true, _) => Undo::Keep("MicroK8s stays, and with it its traces".to_owned()),
                (false, true) => Undo::Acts(vec![forget()]),
                (false, false) => Undo::Done,
            });
        }
        // It was not even written down to its end: nothing came after it.
        if !memory.was_done {
            return Ok(if host.exists(&self.file) { Undo::Acts(vec![forget()]) } else { Undo::Done });
        }
        // Somebody's installation brings again what is taken away.
        if let Some(why) = super::snap::busy(host)? {
            return Ok(Undo::Pending(why));
        }
        let Some(before) = self.known(host, memory)? else { return self.without(host, memory) };
        let (acts, mut left) = self.find_leftovers(host, &before, When::Now, memory)?;
        let acts = self.next_to_try(host, acts, &mut left);
        if !acts.is_empty() {
            return Ok(Undo::Acts(acts));
        }
        if self.may_still_disappear(host, &left) {
            return Ok(Undo::Pending(lines(&left)));
        }
        Ok(self.end.of(&self.file, left))
    }

    fn foresees(&self, host: &dyn Host, memory: &Memory) -> Result<Vec<String>> {
        let Some(before) = self.known(host, memory)? else {
            return Ok(if memory.open { Vec::new() } else { vec![format!("stays: {}", lines(&[self.is_gone()]))] });
        };
        let is_there = host.snapd_get(microk8s::SNAP)?.is_some();
        if is_there && !memory.clears_ours {
            return Ok(Vec::new());
        }
        let preface = is_there.then(|| {
            "# When MicroK8s is gone, its processes, mounts, network namespaces and devices, rules of the packet filter, units, group, files and \
             kernel settings are looked at again. As they are now this would be done, unless MicroK8s' own removal does it:"
                .to_owned()
        });
        let mut told: Vec<String> = preface.into_iter().collect();
        let when = if is_there { When::BeforeItsRemoval } else { When::Planned };
        let (acts, left) = self.find_leftovers(host, &before, when, memory)?;
        told.extend(acts.iter().map(Act::show));
        told.extend(left.iter().map(|l| format!("stays: {}: {}", l.what, l.why)));
        if left.iter().all(|l| l.theirs) {
            told.push(Act::Remove { path: self.file.clone(), all: false }.show());
        }
        Ok(told)
    }

    fn deadline(&self) -> Duration {
        self.deadline
    }

    fn scope(&self) -> Scope {
        Scope::Host
    }

    fn clears(&self) -> Option<&'static str> {
        Some(step::SNAP)
    }
}
