//! The end of every sequence: what stands in the way goes, and then nothing of ours may be left.

use std::{collections::BTreeSet, time::Duration};

use iris_mk8s::{config::place::Place as State, error::ExitCode, kube as kinds};

use super::{Play, Rule, before_json};
use crate::{
    check,
    model::{
        cluster::{Cluster, Key, key_of, services_stop},
        compare::facts,
        initial,
        microk8s::STOPPED,
        world::{Era, World, s},
    },
    op::{End, Op, Reach},
    others as doings,
};

impl Play {
    /// What stood in the way goes, and then all that is ours can go: nothing of it may have been forgotten.
    pub fn close(&mut self) {
        // Whoever disabled it before us has it disabled again in the end, and nobody can look into it then.
        if self.twin.snapd.snaps.get("microk8s").is_some_and(|snap| !snap.active) {
            return;
        }
        let enabled = self.heal();
        let mut done = false;
        for round in 0..3 {
            // What was enabled for the sake of the volumes alone keeps what it needs.
            if round == 1 && enabled {
                for world in [&mut self.world, &mut self.twin] {
                    let name = storage_of(world.era);
                    while_it_runs(world, |world| initial::person(world, &["microk8s", "disable", name]));
                }
            }
            if round == 2 {
                for who in self.world.residents.clone() {
                    _ = self.others(&Op::Leaves(who));
                }
                for at in std::mem::take(&mut self.world.mounts) {
                    self.world.files.remove(&at);
                    self.twin.files.remove(&at);
                }
                self.twin.mounts.clear();
            }
            self.world.advance(Duration::from_secs(60));
            // Where nobody can look any more, the person says so in the end.
            let is_unseen = round == 2 && self.code == Some(ExitCode::NotOurs);
            self.teardown(if is_unseen { Reach::Blind } else { Reach::Reset }, &End::Whole);
            done = self.code == Some(ExitCode::Done);
            // Half of a Longhorn whose namespace somebody deleted stays, named and with its exit code, in a MicroK8s that stays.
            let stuck = self.story.last().is_some_and(|end| end.contains("failed longhorn."));
            if self.broke_longhorn && self.not_ours && self.code == Some(ExitCode::Residue) && stuck {
                return;
            }
            if done || !self.violations.is_empty() {
                break;
            }
        }
        if self.violations.is_empty() {
            let mut twin = self.twin.clone();
            twin.settle();
            self.world.settle();
            let (more, less) = self.left(&self.world, &twin);
            let last = self.story.last().filter(|_| !done);
            let ends = last.map(|end| format!("it does not come to its end: {end}"));
            let all: Vec<String> = ends.into_iter().chain(check::in_the_end(&more, &self.told)).collect();
            self.violates(Rule::Forgotten, all);
            self.violates(Rule::NotOurs, check::missing(&less, &self.told));
        }
    }

    /// Everybody takes away what is theirs and lies in ours, and MicroK8s runs. Whether storage had to be enabled again.
    fn heal(&mut self) -> bool {
        if let Some(journal) = self.backup.take() {
            self.world.files.write_as(State::default().journal().to_str().expect("UTF-8"), journal, 0o600, "root");
        }
        let there = self.world.files.has(State::default().journal());
        if let Some(before) = self.before.take().filter(|_| there) {
            self.world.files.write_as(before_json().to_str().expect("UTF-8"), before, 0o600, "root");
        }
        self.world.files.room = None;
        self.world.settle();
        for op in [Op::EnablesSnap, Op::Microk8sStart, Op::Waits(120)] {
            let disabled = |world: &World| world.snapd.snaps.get("microk8s").is_some_and(|snap| !snap.active);
            let off = |world: &World| {
                let stopped = world.files.has(STOPPED) && !disabled(world);
                world.cluster.as_ref().is_some_and(|c| !c.running || stopped)
                    && (matches!(op, Op::EnablesSnap) == disabled(world))
            };
            self.switched |= off(&self.world);
            if off(&self.world) || matches!(op, Op::Waits(_)) {
                // Kubernetes sets its values when it starts, on this host alone.
                self.kubernetes_starts();
                doings::does(&mut self.world, &op, &self.sight);
                if off(&self.twin) {
                    doings::does(&mut self.twin, &op, &self.sight);
                }
            }
        }
        self.settings_that_kubernetes_took(&Op::Waits(0));
        // Volumes go only with what made them.
        let mut enabled = false;
        let storage = |cluster: &Cluster, kind, namespace, name| cluster.find(kind, namespace, name).is_some();
        for world in [&mut self.world, &mut self.twin] {
            let half = world.cluster.as_ref().is_some_and(|c| {
                storage(c, &kinds::STORAGE_CLASS, "", "microk8s-hostpath")
                    && !storage(c, &kinds::DEPLOYMENT, "kube-system", "hostpath-provisioner")
            });
            if half {
                enabled = true;
                let name = storage_of(world.era);
                while_it_runs(world, |world| initial::person(world, &["microk8s", "enable", name]));
            }
        }
        // No webhook takes a pool where somebody deleted the controller.
        let deaf = |world: &World| {
            world.era == Era::Today
                && world.cluster.as_ref().is_some_and(|c| {
                    storage(c, &kinds::NAMESPACE, "", "metallb-system")
                        && !storage(c, &kinds::DEPLOYMENT, "metallb-system", "controller")
                })
        };
        if deaf(&self.world) && deaf(&self.twin) {
            for world in [&mut self.world, &mut self.twin] {
                while_it_runs(world, |world| {
                    initial::person(world, &["microk8s", "disable", "metallb"]);
                    initial::person(world, &["microk8s", "enable", &format!("metallb:{}", initial::THEIR_RANGE)]);
                });
            }
        }
        let now = self.world.now;
        let edited: Vec<Key> = std::mem::take(&mut self.edited).into_keys().collect();
        let twins: BTreeSet<Key> = self.twin.cluster.iter().flat_map(|c| c.all()).map(|(key, _)| key.clone()).collect();
        let of_twin = |key: &Key| twins.contains(key);
        let mut keys: Vec<Key> = edited.into_iter().filter(|key| !of_twin(key)).collect();
        let guests = std::mem::take(&mut self.guests);
        let then = self.twin.now;
        if let Some(cluster) = self.twin.cluster.as_mut() {
            guests.iter().for_each(|key| cluster.delete(key, then));
        }
        keys.extend(guests);
        if let Some(cluster) = self.world.api() {
            // A set that somebody made larger has made claims that nobody applied.
            let claims = cluster.of(&kinds::PERSISTENT_VOLUME_CLAIM).filter(|c| !kinds::is_ours(c));
            let claims = claims.map(|claim| key_of(claim).1).filter(|key| key.2.starts_with("dbv-") && !of_twin(key));
            keys.extend(claims.collect::<Vec<_>>());
            keys.iter().for_each(|key| cluster.delete(key, now));
        }
        self.world.advance(s(120));
        self.twin.advance(s(120));
        let in_snap: Vec<String> = self
            .theirs
            .iter()
            .filter(|fact| fact.starts_with("/var/snap/microk8s/") && !facts(&self.twin).contains(*fact))
            .map(|fact| fact.split(' ').next().unwrap_or_default().to_owned())
            .collect();
        for path in in_snap {
            self.world.files.remove(&path);
        }
        self.world.mounts.retain(|at| !at.starts_with("/var/snap/microk8s/"));
        let mirror = "/var/snap/microk8s/current/args/certs.d/docker.io/hosts.toml";
        for world in [&mut self.world, &mut self.twin] {
            if let Some(text) = world.files.text(mirror).strip_suffix("# mine\n").map(str::to_owned) {
                world.files.write_as(mirror, text, 0o644, "root");
            }
        }
        for user in std::mem::take(&mut self.joined) {
            if self.twin.groups.contains_key("microk8s") {
                continue;
            }
            if let Some(members) = self.world.groups.get_mut("microk8s") {
                members.retain(|member| member != user);
            }
        }
        // Whoever deletes a claim deletes its data; a folder that nobody is left to remove is of no consequence.
        let folders = "/var/snap/microk8s/common/default-storage";
        self.theirs.retain(|fact| !fact.starts_with(folders));
        for world in [&mut self.world, &mut self.twin] {
            let claimed =
                world.cluster.as_ref().is_some_and(|c| c.of(&kinds::PERSISTENT_VOLUME_CLAIM).next().is_some());
            if !claimed {
                world.files.names(folders).iter().for_each(|name| world.files.remove(format!("{folders}/{name}")));
            }
        }
        let is = facts(&self.world);
        self.theirs.retain(|fact| is.contains(fact));
        self.story.push("what stood in the way is gone".to_owned());
        enabled
    }
}

fn storage_of(era: Era) -> &'static str {
    if era == Era::Today { "hostpath-storage" } else { "storage" }
}

/// A person starts what is stopped, and stops it again.
fn while_it_runs(world: &mut World, does: impl FnOnce(&mut World)) {
    let off = world.cluster.as_ref().is_some_and(|c| !c.running);
    let by_a_person = world.files.has(STOPPED);
    if off {
        initial::person(world, &["microk8s", "start"]);
        world.advance(s(60));
    }
    does(world);
    if off && by_a_person {
        initial::person(world, &["microk8s", "stop"]);
    } else if off {
        services_stop(world);
    }
}
