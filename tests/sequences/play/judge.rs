//! Whether a command kept the promises.

use std::collections::BTreeMap;

use iris_mk8s::{error::ExitCode, kube::state};
use serde_json::Value;

use super::{Play, Rule};
use crate::{
    check,
    facts::{Facts, data, goes_with_the_snap, is_in_microk8s, is_of_this_boot, left, locked, needs},
    model::{
        cluster::Key,
        compare::facts,
        microk8s::STOPPED,
        snapd::What,
        tool::{Death, after},
        world::{World, s},
    },
    op::{End, Op, Reach, Wish},
    others as doings,
    program::{self, Ran, Shown},
};

impl Play {
    pub(super) fn bootstrap(&mut self, wish: &Wish, end: &End) {
        self.switched |= self.stopped_by_person;
        self.kubernetes_starts();
        let mut shown = self.looks(&Op::Plan(*wish), |world| program::plan(world, wish));
        if let End::Meanwhile(_, op) = end
            && matches!(**op, Op::Deletes(_))
        {
            // What somebody breaks meanwhile is mended as a plan shows that is made after it.
            let mut broken = self.world.clone();
            if !doings::does(&mut broken, op, &self.sight) {
                // What it breaks is made on the way.
                broken = program::bootstrap(broken, wish, None).world;
                doings::does(&mut broken, op, &self.sight);
            }
            shown.steps.extend(program::plan(&broken, wish).steps);
        }
        wish.namespace.clone_into(&mut self.sight.namespace);
        let ran = self.run(end, |world, hook| program::bootstrap(world, wish, hook));
        let op = Op::Bootstrap(*wish, end.clone());
        self.judge(&op, end, &shown, &ran, wish.data);
        // One that is refused changes nothing, and what was agreed to goes on.
        if ran.changes > 0 {
            self.agreed.clear();
        }
        let damaged =
            self.backup.is_some() && !ran.died && ran.code != ExitCode::Journal && ran.code != ExitCode::Usage;
        if damaged {
            self.violates(Rule::Forgotten, vec![format!("a damaged journal is taken for none: {:?}", ran.code)]);
        }
    }

    pub(super) fn teardown(&mut self, reach: Reach, end: &End) {
        self.kubernetes_starts();
        let shown = self.looks(&Op::DryRun(reach), |world| program::undo_plan(world, reach));
        self.edited = self.still_edited();
        let edited: Vec<Key> = self.edited.keys().cloned().collect();
        let ran = self.run(end, |world, hook| program::teardown(world, reach, hook));
        let op = Op::Teardown(reach, end.clone());
        self.judge(&op, end, &shown, &ran, reach != Reach::App);
        self.went_as_agreed(&format!("{}{}", shown.text, ran.asked));
        if matches!(reach, Reach::App | Reach::Data) {
            // Others may delete it meanwhile.
            let gone = edited.iter().filter(|key| self.edited.contains_key(*key) && !self.has(key));
            let gone = gone.map(|key| format!("somebody changed it, and it went: {key:?}")).collect();
            self.violates(Rule::NotOurs, gone);
        }
        self.is_told(&ran);
        if !ran.died && matches!(ran.code, ExitCode::Done | ExitCode::Residue) {
            let named = check::unnamed(&self.world, reach, &format!("{}{}", self.told, ran.said));
            self.violates(Rule::Forgotten, named);
        }
        if !ran.died
            && matches!(reach, Reach::Reset | Reach::Blind)
            && matches!(ran.code, ExitCode::Done | ExitCode::Residue)
        {
            let mut settled = self.world.clone();
            let mut twin = self.twin.clone();
            settled.settle();
            twin.settle();
            let (more, less) = self.left(&settled, &twin);
            let done = ran.code == ExitCode::Done;
            let said = format!("{}{}", self.told, ran.said);
            self.violates(Rule::Forgotten, check::unexplained(&more, done, &said));
            self.violates(Rule::NotOurs, check::missing(&less, &said));
        }
        if self.backup.is_some() && !ran.died && ran.code != ExitCode::Journal {
            self.violates(Rule::Forgotten, vec![format!("a damaged journal is taken for none: {:?}", ran.code)]);
        }
    }

    /// A file that went because somebody agreed to that, and the folders that were there for it alone, nobody misses.
    fn went_as_agreed(&mut self, said: &str) {
        let paths = said.lines().filter_map(|line| line.trim().strip_prefix("GOES   ")?.split(':').next());
        for path in paths.filter(|path| !self.world.files.has(path)) {
            self.tolerated.extend(super::others::paths_of(&self.twin, path));
        }
    }

    /// What was said to stay, and is not in the journal any more.
    fn is_told(&mut self, ran: &Ran) {
        let done = !ran.died && ran.code == ExitCode::Done;
        let ledger = program::ledger(&self.world);
        let is_forgotten = |line: &str| {
            let step = line.strip_prefix("left ").and_then(|rest| rest.split(' ').next());
            step.is_some_and(|step| !ledger.steps().any(|key| key.split('@').next() == Some(step)))
        };
        for line in ran.said.lines().filter(|line| done || is_forgotten(line.trim())) {
            self.told.push_str(&format!("{line}\n"));
        }
    }

    pub(super) fn left(&self, world: &World, twin: &World) -> (Vec<String>, Vec<String>) {
        let (mut more, mut less) = left(world, twin, &self.theirs);
        more.retain(|fact| !self.tolerated.contains(fact));
        less.retain(|fact| !self.tolerated.contains(fact));
        // Whoever makes a volume first makes the folder of all of them.
        less.retain(|fact| !fact.starts_with("/var/snap/microk8s/common/default-storage directory"));
        let is_of_switch =
            |fact: &String| ["cluster runs", "stopped.lock", "snap microk8s"].iter().any(|word| fact.contains(word));
        if self.booted {
            // A boot forgets what was set before, and Kubernetes sets its values whenever it starts.
            more.retain(|fact| !fact.starts_with("/proc/sys/"));
            less.retain(|fact| !fact.starts_with("/proc/sys/"));
        }
        let taken = |fact: &String| self.took.iter().any(|path| fact.starts_with(&format!("{path} ")));
        more.retain(|fact| !taken(fact));
        less.retain(|fact| !taken(fact));
        // Pods that outlived a MicroK8s are ended by a bootstrap, and its plan says so.
        if !twin.snapd.snaps.contains_key("microk8s") {
            less.retain(|fact| !fact.starts_with("/proc/471"));
        }
        // Services that died are started by whoever needs them, and stay.
        let runs = |world: &World| world.cluster.as_ref().map(|c| c.running);
        if runs(world) == Some(true) && runs(twin) == Some(false) && !twin.files.has(STOPPED) {
            more.retain(|fact| !fact.starts_with("cluster runs"));
            less.retain(|fact| !fact.starts_with("cluster runs"));
        }
        // What a MicroK8s that was not ours leaves when its owner removes it, is theirs too.
        if self.not_ours && !twin.snapd.snaps.contains_key("microk8s") {
            more.retain(|fact| {
                !["rule ", "link ", "/proc/471", "/run/netns/cni-"].iter().any(|begin| fact.starts_with(begin))
            });
        }
        if self.forwards {
            more.retain(|fact| !fact.contains("forward"));
            less.retain(|fact| !fact.contains("forward"));
        }
        // Half a registry is made whole before it is disabled, and that makes the StorageClass anew which somebody deleted.
        let has = |facts: &Facts, name: &str| facts.iter().any(|fact| fact.starts_with(name));
        let of_twin = facts(twin);
        if has(&of_twin, "Deployment kube-system/hostpath-provisioner") && !has(&of_twin, CLASS) {
            more.retain(|fact| !fact.starts_with(CLASS));
        }
        if self.switched {
            more.retain(|fact| !is_of_switch(fact));
            less.retain(|fact| !is_of_switch(fact));
        }
        (more, less)
    }

    /// Objects that are as somebody left them.
    fn still_edited(&self) -> BTreeMap<Key, Value> {
        let same = |key: &Key, was: &Value| {
            let now = self.world.cluster.as_ref().and_then(|c| c.get(key));
            now.is_some_and(|now| ["spec", "data"].iter().all(|part| now[part] == was[part]) && self.has(key))
        };
        self.edited.iter().filter(|(key, was)| same(key, was)).map(|(k, v)| (k.clone(), v.clone())).collect()
    }

    fn has(&self, key: &Key) -> bool {
        self.world.cluster.as_ref().is_some_and(|c| c.get(key).is_some_and(|o| !state::going(o)))
    }

    /// Takes what a command left, and sees whether it kept the promises.
    pub(super) fn judge(&mut self, op: &Op, end: &End, shown: &Shown, ran: &Ran, agreed: bool) {
        let before = std::mem::replace(&mut self.world, ran.world.clone());
        let mut booted = false;
        if ran.died
            && let End::Dies(death, _, gap) = end
        {
            self.world = after(*death, &ran.world, s(u64::from(*gap)));
            if *death == Death::PowerCut {
                booted = true;
                self.booted = true;
                self.twin.power_cut();
                self.twin.advance(s(u64::from(*gap)));
            }
        }
        // Commands that end well leave nothing of their own to do, and those that do not may leave one at work.
        self.world.processes.retain(|_, p| p.code.is_none());
        let code = if ran.died { "died".to_owned() } else { format!("{:?}", ran.code) };
        self.code = Some(ran.code).filter(|_| !ran.died);
        let said: Vec<&str> = ran
            .said
            .lines()
            .map(str::trim)
            .skip_while(|line| !is_end(line))
            .take(if std::env::var_os("IRIS_MK8S_SAID").is_some() { 99 } else { 6 })
            .collect();
        let said = if said.is_empty() { String::new() } else { format!(" | {}", said.join(" | ")) };
        self.story.push(format!("{op:?}: {code}, {} changes{said}", ran.changes));
        self.settings_that_kubernetes_took(op);
        let violations = std::mem::take(&mut self.world.violations);
        self.violates(Rule::Broken, violations);
        if let Some(panic) = &ran.panic {
            self.violates(Rule::Broken, vec![format!("it panics: {panic}")]);
        } else if ran.code == ExitCode::Bug {
            self.violates(Rule::Broken, vec![ran.said.lines().rev().take(3).collect()]);
        }
        if ran.changes > check::MANY {
            self.violates(Rule::Broken, vec![format!("{} changes: it spins", ran.changes)]);
        }
        let blind = matches!(op, Op::Teardown(..)) && ran.asked.contains("UNSEEN") || self.agreed.contains("UNSEEN");
        let mut named = if agreed { format!("{}{}", shown.text, ran.asked) } else { String::new() };
        // snapd goes on with what a command that died was agreed to do.
        named.push_str(&self.agreed);
        self.others_unharmed(&before, booted, blind, &named, &shown.text);
        // What somebody else deletes meanwhile is not ours to name.
        let deleted = match end {
            End::Meanwhile(_, by) if matches!(**by, Op::Deletes(_)) => {
                let mut without = before.clone();
                doings::does(&mut without, by, &self.sight);
                without.advance(s(120));
                let left = data(&without);
                data(&before).into_keys().filter(|folder| !left.contains_key(folder)).collect()
            }
            _ => Facts::new(),
        };
        let lost =
            data(&before).into_iter().filter(|(folder, _)| !deleted.contains(folder)).filter(|(folder, claim)| {
                // Of a cluster that cannot be asked, the folders of its volumes are named.
                let parent = folder.rsplit_once('/').map_or("", |(parent, _)| parent);
                let unseen = format!("UNSEEN {parent} ");
                let names = |text: &str| {
                    text.contains(folder.as_str()) || text.contains(claim.as_str()) || text.contains(&unseen)
                };
                let on_list = (agreed && (names(&shown.text) || names(&ran.asked))) || names(&self.agreed);
                // Outside MicroK8s, what lies there stays without a cluster.
                let is_there = !self.world.files.names(folder.as_str()).is_empty();
                !on_list && !is_there && !data(&self.world).contains_key(folder)
            });
        let lost = lost.map(|(folder, claim)| format!("data went unnamed: {claim} in {folder}")).collect();
        self.violates(Rule::Data, lost);
        if agreed && (ran.died || ran.code != ExitCode::Done) {
            self.agreed.push_str(&ran.asked);
        }
        if !self.password_is_lost {
            let known = locked(&before);
            let lost = locked(&self.world).into_iter().filter(|fact| !known.contains(fact)).collect();
            self.violates(Rule::Data, lost);
        }
        self.violates(Rule::Plan, check::unplanned(op, shown, ran));
    }

    fn others_unharmed(&mut self, before: &World, booted: bool, blind: bool, named: &str, shown: &str) {
        let (was, is) = (facts(before), facts(&self.world));
        let authority = |world: &World| world.files.text("/var/snap/microk8s/current/certs/ca.crt");
        let is_same = authority(before).is_empty() || authority(before) == authority(&self.world);
        // A removal that has begun is snapd's, and takes its aliases first.
        let goes = self.world.snapd.change.as_ref().is_some_and(|change| matches!(change.what, What::Remove));
        let snap = self.world.snapd.snaps.contains_key("microk8s") && is_same && !goes;
        let ended = |fact: &str| booted && is_of_this_boot(fact);
        let worthless = |fact: &str| !snap && goes_with_the_snap(fact);
        let settings = |fact: &str| named.contains(&format!("GOES   {}:", fact.split(' ').next().unwrap_or_default()));
        // A short name that a program took since is moved, as the plan shows, and comes back with the undo.
        let moved = |fact: &str| {
            let name = fact.strip_prefix("alias ").or_else(|| fact.strip_prefix("/snap/bin/")).unwrap_or_default();
            let name = name.split(' ').next().unwrap_or_default();
            !name.is_empty() && shown.contains(&format!("snap unalias {name}"))
        };
        let agreed = |fact: &str| blind && is_in_microk8s(fact) || settings(fact) || moved(fact);
        let expected = |fact: &&String| !ended(fact) && !worthless(fact) && !agreed(fact);
        // What came before that which it could use is as it was when that goes again.
        self.did_without.extend(needs(before).into_iter().filter(|(_, needed)| !was.contains(needed)));
        let stands = needs(before).into_iter().filter(|need| !self.did_without.contains(need));
        let stood: Facts = stands.map(|(_, needed)| needed).collect();
        let gone = self.theirs.iter().chain(&stood).filter(|fact| was.contains(*fact) && !is.contains(*fact));
        let mut gone: Vec<String> = gone.filter(expected).map(|fact| format!("theirs is gone: {fact}")).collect();
        let member = |world: &World, user: &str| {
            world.groups.get("microk8s").is_some_and(|members| members.iter().any(|m| m == user))
        };
        for user in &self.joined {
            if member(before, user) && !member(&self.world, user) {
                gone.push(format!("theirs is gone: {user} in the group microk8s"));
            }
        }
        self.violates(Rule::NotOurs, gone);
    }

    /// Kubernetes sets its values each time it starts: what a person set before is then nobody's fault.
    pub(super) fn settings_that_kubernetes_took(&mut self, op: &Op) {
        let reset = matches!(op, Op::Teardown(Reach::Reset | Reach::Blind, _));
        let runs = self.world.cluster.as_ref().is_some_and(|c| c.running);
        let twin_runs = self.twin.cluster.as_ref().is_some_and(|c| c.running);
        if reset || !runs || twin_runs {
            return;
        }
        let world = &self.world;
        let taken = self.settings.extract_if(.., |(path, value, _)| world.files.text(&*path).trim() != value);
        for (path, value, before) in taken {
            for content in [format!("{value}\n"), before.clone()] {
                self.tolerated.insert(format!("{path} root 644 {content:?}"));
            }
            self.twin.files.write(&path, before);
        }
    }
}

/// What MicroK8s' storage brings besides its provisioner.
const CLASS: &str = "StorageClass /microk8s-hostpath";

/// Whether a line tells how a command ended.
fn is_end(line: &str) -> bool {
    ["left ", "failed ", "refused", "error"].iter().any(|begin| line.starts_with(begin))
}
