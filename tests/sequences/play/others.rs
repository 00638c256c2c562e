//! What somebody else does on a host that is played on, and what of it is theirs.

use iris_mk8s::config::place::Place as State;

use super::{Play, before_json};
use crate::{
    facts::is_thing,
    inside::{key_of_ours, keys_of_guest},
    model::{
        cluster::{self, Key},
        compare::facts,
        world::{World, s},
    },
    op::{Op, OurFile, Ours},
    others as doings,
};

impl Play {
    /// Somebody else does something.
    pub(super) fn others(&mut self, op: &Op) -> bool {
        let mut with = self.world.clone();
        let edits = match op {
            Op::Edits(which) | Op::Replaces(which) => with.cluster.as_ref().and_then(|c| key_of_ours(c, *which)),
            _ => None,
        };
        let did = doings::does(&mut with, op, &self.sight);
        self.story.push(format!("{op:?}{}", if did { "" } else { ": cannot" }));
        if !did {
            return false;
        }
        let in_cluster = matches!(op, Op::Makes(_) | Op::Edits(_) | Op::Replaces(_) | Op::Deletes(_));
        if in_cluster {
            with.advance(s(60));
        }
        // What comes by itself meanwhile is nobody's.
        let mut without = self.world.clone();
        without.advance(with.now.saturating_sub(without.now));
        let (is, was) = (facts(&with), facts(&without));
        if let Op::SetsSetting(name, value) = op
            && self.world.snapd.snaps.contains_key("microk8s")
        {
            let path = format!("/proc/sys/{name}");
            self.settings.push((path.clone(), (*value).to_owned(), self.twin.files.text(&path)));
        }
        let twin_did = self.twin_does(op, in_cluster);
        self.world = with;
        for fact in self.theirs.iter().filter(|fact| fact.starts_with('/') && !is.contains(*fact)) {
            self.tolerated.extend(paths_of(&self.twin, fact.split(' ').next().unwrap_or_default()));
        }
        self.theirs.retain(|fact| is.contains(fact));
        match op {
            // A label holds nothing.
            Op::Edits(Ours::Namespace) => {}
            Op::Edits(_) => {
                let there = |key: Key| Some((key.clone(), self.world.cluster.as_ref()?.get(&key)?.clone()));
                self.edited.extend(edits.clone().and_then(there));
                let theirs_too =
                    edits.is_some_and(|key| self.twin.cluster.as_ref().is_some_and(|c| c.get(&key).is_some()));
                if theirs_too {
                    self.tolerated.extend(is.symmetric_difference(&was).cloned());
                }
            }
            Op::Replaces(_) if !twin_did => {
                self.guests.extend(edits);
                self.theirs.extend(is.difference(&was).filter(|fact| is_thing(fact)).cloned());
            }
            // Without MetalLB nobody keeps an address for them.
            Op::Deletes(part) if part.is_of_metallb() => {
                self.theirs.retain(|fact| !(fact.starts_with("Service ") && fact.contains("loadBalancer")));
            }
            // Nobody can tell it from what the run that was broken off was about to make.
            Op::Aliases(_) if crate::program::ledger(&self.world).is_open("alias.kubectl") => {
                self.tolerated.extend(is.symmetric_difference(&was).cloned());
            }
            Op::JoinsGroup(user) => _ = self.joined.insert(user),
            Op::Spoils(file) => self.spoiled(*file, &without),
            Op::Microk8sStart => self.switched = true,
            Op::Microk8sStop if !twin_did => self.switched = true,
            Op::Leaves(_) => self.forwards = true,
            Op::Makes(guest) => {
                self.guests.extend(keys_of_guest(*guest, &self.sight, self.world.era));
                self.theirs.extend(is.difference(&was).filter(|fact| is_thing(fact)).cloned());
            }
            _ if leaves_things(op) => self.theirs.extend(is.difference(&was).filter(|fact| is_thing(fact)).cloned()),
            _ => {}
        }
        true
    }

    /// The same on the host without us: a person starts what is stopped there, and stops it again.
    pub(super) fn twin_does(&mut self, op: &Op, in_cluster: bool) -> bool {
        let off = in_cluster && self.twin.cluster.as_ref().is_some_and(|c| !c.running);
        if off {
            cluster::services_start(&mut self.twin);
            self.twin.advance(s(60));
        }
        if in_cluster && self.twin.api().is_none() {
            // Whoever can ask the one after a boot can ask the other.
            self.twin.advance(s(60));
        }
        let did = doings::does(&mut self.twin, op, &self.sight);
        if in_cluster && did {
            self.twin.advance(s(60));
        }
        if off {
            cluster::services_stop(&mut self.twin);
        }
        did
    }

    fn spoiled(&mut self, file: OurFile, before: &World) {
        use OurFile::{
            BeforeEmptied, BeforeRemoved, HashRemoved, JournalEmptied, JournalOfTomorrow, JournalZeroed,
            PasswordEdited, PasswordRemoved,
        };
        match file {
            JournalEmptied | JournalZeroed | JournalOfTomorrow => {
                let journal = before.files.read(State::default().journal()).unwrap_or_default();
                self.backup.get_or_insert_with(|| journal.to_vec());
            }
            BeforeRemoved | BeforeEmptied => {
                let text = before.files.read(before_json()).unwrap_or_default();
                self.before.get_or_insert_with(|| text.to_vec());
            }
            PasswordRemoved | HashRemoved | PasswordEdited => self.password_is_lost = true,
            _ => {}
        }
    }
}

/// What tells of a path, and of the folders that it is in.
pub(super) fn paths_of(world: &World, path: &str) -> Vec<String> {
    let is_of_it = |fact: &String| {
        let place = fact.split(' ').next().unwrap_or_default();
        place == path || (fact.ends_with(" directory") && path.starts_with(&format!("{place}/")))
    };
    facts(world).into_iter().filter(is_of_it).collect()
}

/// Whether what is there afterwards, and was not before, is theirs who did it.
pub(super) fn leaves_things(op: &Op) -> bool {
    let in_cluster = matches!(op, Op::Makes(_) | Op::Replaces(_));
    let on_host = matches!(op, Op::Arrives(_) | Op::Puts(_) | Op::AddsRule(_) | Op::AddsLink(_) | Op::Mounts(_));
    in_cluster || on_host || matches!(op, Op::HoldsAll(_) | Op::Aliases(_) | Op::InstallsKubectl)
}
