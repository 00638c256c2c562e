//! Plays a sequence: the host, the same host without us, and after each command the four promises.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use iris_mk8s::{cluster as kinds, error::ExitCode, journal::Place as State};
use serde_json::Value;

use crate::{
    check,
    facts::{Facts, data, goes_with_the_snap, is_in_microk8s, is_of_this_boot, is_thing, left, locked, stood_on},
    inside::{key_of_ours, keys_of_guest},
    known::is_known,
    model::{
        cluster::{Key, key_of},
        compare::facts,
        host::{Hook, Then},
        initial::{Before, Initial, Pools},
        longhorn,
        tool::{Death, after},
        world::{Era, World, s},
    },
    op::{End, Op, OurFile, Reach, Sequence, Start, Wish},
    others::{self, Sight},
    program::{self, Ran, Shown},
    releases,
};

/// What was promised and not kept.
#[derive(Clone, Debug, PartialEq)]
pub struct Violation {
    pub rule: Rule,
    /// The operation after which it was seen.
    pub at: usize,
    pub what: Vec<String>,
}

/// The promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    /// Nothing that is not ours has changed.
    NotOurs,
    /// All that is ours is gone, or named together with its exit code.
    Forgotten,
    /// No data vanished that was not on a list that was agreed to.
    Data,
    /// Every act was in the plan before.
    Plan,
    /// It did not break.
    Broken,
}

/// A host on which a sequence is played.
pub struct Play {
    pub world: World,
    /// The same host, on which we never were.
    twin: World,
    /// Facts that others made.
    theirs: Facts,
    /// People who joined the group themselves.
    joined: BTreeSet<&'static str>,
    /// Objects of others in the cluster that only the host with us has.
    guests: Vec<Key>,
    /// Objects of ours that somebody changed since we applied them.
    edited: BTreeMap<Key, Value>,
    /// Kernel settings of a person's: the value, and what the host without us had before.
    settings: Vec<(String, String, String)>,
    sight: Sight,
    /// How the last command ended; none, if it died.
    code: Option<ExitCode>,
    /// The journal, and what was there before us, before a disk lost it.
    backup: Option<Vec<u8>>,
    before: Option<Vec<u8>>,
    /// What was said to be left as somebody else's.
    told: String,
    /// Somebody who needed it left, and the kernel still forwards: nobody can tell for whom.
    forwards: bool,
    /// Somebody switched MicroK8s on: nobody can tell that from what it was already.
    switched: bool,
    /// Somebody took the password's files away or changed them.
    password_is_lost: bool,
    /// A boot ended things of others that last until then.
    at: usize,
    pub violations: Vec<Violation>,
    /// What happened, for people.
    pub story: Vec<String>,
}

/// Where it is written down what was there before us.
fn before_json() -> std::path::PathBuf {
    State::default().dir.join("before.json")
}

/// The host before the first command.
fn world(era: Era, start: Start) -> World {
    let fresh = Initial::fresh(era);
    let theirs = Initial { microk8s: Before::Running, storage: true, pools: Pools::OtherRange, ..fresh.clone() };
    let initial = match start {
        Start::Fresh => fresh,
        Start::NewSnapd => Initial { new_snapd: true, ..fresh },
        Start::AfterKubernetes => Initial { old_kubernetes: true, ..fresh },
        Start::Theirs => Initial { microk8s: Before::Running, ..fresh },
        Start::TheirsWithPool => theirs,
        Start::TheirsStopped => Initial { microk8s: Before::Stopped, ..theirs },
        Start::Released(_) => unreachable!("another host comes first"),
    };
    let mut world = initial.world();
    world.files.write_as(longhorn::FILE, longhorn::MANIFEST, 0o644, "ubuntu");
    world.users.insert("anna".to_owned(), "/home/anna".to_owned());
    world.files.write("/home/anna/.bashrc", "# .bashrc\n");
    world
}

/// Plays it to its end.
pub fn play(sequence: &Sequence) -> Play {
    let mut play = Play::new(sequence.era, sequence.start);
    for op in &sequence.ops {
        let _ = play.step(op);
        if !play.violations.is_empty() {
            return play;
        }
    }
    play.close();
    play
}

impl Play {
    pub fn new(era: Era, start: Start) -> Self {
        if let Start::Released(name) = start {
            return releases::replay(name);
        }
        let world = world(era, start);
        Self {
            twin: world.clone(),
            world,
            theirs: Facts::new(),
            joined: BTreeSet::new(),
            guests: Vec::new(),
            edited: BTreeMap::new(),
            settings: Vec::new(),
            sight: Sight { namespace: "default".to_owned() },
            code: None,
            backup: None,
            before: None,
            told: String::new(),
            forwards: false,
            switched: false,
            password_is_lost: false,
            at: 0,
            violations: Vec::new(),
            story: Vec::new(),
        }
    }

    /// What was so far does not count.
    pub fn begin(&mut self) {
        self.at = 0;
        self.violations.clear();
        self.story.clear();
    }

    /// Lets one thing happen.
    ///
    /// False: it could not be done.
    pub fn step(&mut self, op: &Op) -> bool {
        match op {
            Op::Bootstrap(wish, end) => self.bootstrap(wish, end),
            Op::Plan(wish) => _ = self.looks(op, |world| program::plan(world, wish)),
            Op::Status => _ = self.looks(op, program::status),
            Op::DryRun(reach) => _ = self.looks(op, |world| program::undo_plan(world, *reach)),
            Op::Stop(end) => {
                let ran = self.run(end, program::stop);
                self.judge(op, end, &Shown::default(), &ran, false);
            }
            Op::Start(end) => {
                let ran = self.run(end, program::start);
                self.judge(op, end, &Shown::default(), &ran, false);
            }
            Op::Teardown(reach, end) => self.teardown(*reach, end),
            Op::Repair(end) => {
                let ran = self.run(end, program::repair);
                self.judge(op, end, &Shown::default(), &ran, true);
            }
            _ => {
                if !self.others(op) {
                    return false;
                }
            }
        }
        self.at += 1;
        true
    }

    fn violates(&mut self, rule: Rule, mut what: Vec<String>) {
        what.retain(|line| !is_known(rule, line));
        if !what.is_empty() {
            self.violations.push(Violation { rule, at: self.at, what });
        }
    }

    /// A command that must change nothing.
    fn looks(&mut self, op: &Op, look: impl FnOnce(&World) -> Shown) -> Shown {
        let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| look(&self.world)));
        match caught {
            Ok(shown) => {
                let code = shown.code.map_or_else(String::new, |code| format!(": {code:?}"));
                if std::env::var_os("IRIS_MK8S_TEXTS").is_some() {
                    println!("{op:?}\n{}", shown.text);
                }
                self.story.push(format!("{op:?}{code}"));
                if shown.code == Some(ExitCode::Bug) {
                    self.violates(Rule::Broken, vec![shown.text.clone()]);
                }
                shown
            }
            Err(_) => {
                self.violates(Rule::Broken, vec![format!("{op:?} changes the host, or panics")]);
                Shown::default()
            }
        }
    }

    fn bootstrap(&mut self, wish: &Wish, end: &End) {
        let shown = self.looks(&Op::Plan(*wish), |world| program::plan(world, wish));
        wish.namespace.clone_into(&mut self.sight.namespace);
        let ran = self.run(end, |world, hook| program::bootstrap(world, wish, hook));
        let op = Op::Bootstrap(*wish, end.clone());
        self.judge(&op, end, &shown, &ran, wish.data);
        let damaged =
            self.backup.is_some() && !ran.died && ran.code != ExitCode::Journal && ran.code != ExitCode::Usage;
        if damaged {
            self.violates(Rule::Forgotten, vec![format!("a damaged journal is taken for none: {:?}", ran.code)]);
        }
    }

    fn teardown(&mut self, reach: Reach, end: &End) {
        let shown = self.looks(&Op::DryRun(reach), |world| program::undo_plan(world, reach));
        self.edited = self.still_edited();
        let edited: Vec<Key> = self.edited.keys().cloned().collect();
        let ran = self.run(end, |world, hook| program::teardown(world, reach, hook));
        let op = Op::Teardown(reach, end.clone());
        self.judge(&op, end, &shown, &ran, reach != Reach::App);
        if matches!(reach, Reach::App | Reach::Data) {
            let gone = edited.iter().filter(|key| !self.has(key));
            let gone = gone.map(|key| format!("somebody changed it, and it went: {key:?}")).collect();
            self.violates(Rule::NotOurs, gone);
        }
        if !ran.died && matches!(ran.code, ExitCode::Done | ExitCode::Residue) {
            let named = check::unnamed(&self.world, reach, &ran.said);
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
            if done {
                self.told.push_str(&ran.said);
            }
            let said = format!("{}{}", self.told, ran.said);
            self.violates(Rule::Forgotten, check::unexplained(&more, done, &said));
            self.violates(Rule::NotOurs, check::missing(&less, &said));
        }
        if self.backup.is_some() && !ran.died && ran.code != ExitCode::Journal {
            self.violates(Rule::Forgotten, vec![format!("a damaged journal is taken for none: {:?}", ran.code)]);
        }
    }

    fn left(&self, world: &World, twin: &World) -> (Vec<String>, Vec<String>) {
        let (mut more, mut less) = left(world, twin, &self.theirs);
        let is_of_switch =
            |fact: &String| ["cluster runs", "stopped.lock", "snap microk8s"].iter().any(|word| fact.contains(word));
        if self.forwards {
            more.retain(|fact| !fact.contains("forward"));
            less.retain(|fact| !fact.contains("forward"));
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
        self.world.cluster.as_ref().is_some_and(|c| c.get(key).is_some_and(|o| !iris_mk8s::cluster::state::going(o)))
    }

    /// Runs a command on the host, to the end that it is to have.
    fn run(&mut self, end: &End, command: impl FnOnce(World, Option<Hook>) -> Ran) -> Ran {
        let new: Arc<Mutex<Facts>> = Arc::default();
        let hook = hook(end, &new, &self.sight);
        let ran = command(self.world.clone(), hook);
        if let End::Meanwhile(_, op) = end {
            let mut twin = self.twin.clone();
            let made: Facts = std::mem::take(&mut *new.lock().expect("its run has ended"));
            if !made.is_empty() {
                others::does(&mut twin, op, &self.sight);
                self.twin = twin;
                if leaves_things(op) {
                    self.theirs.extend(made.into_iter().filter(|fact| is_thing(fact)));
                }
                match **op {
                    Op::JoinsGroup(user) => _ = self.joined.insert(user),
                    Op::Makes(guest) => self.guests.extend(keys_of_guest(guest, &self.sight, self.world.era)),
                    Op::Edits(which) => {
                        let cluster = ran.world.cluster.as_ref();
                        let key = cluster.and_then(|c| key_of_ours(c, which));
                        self.edited.extend(key.and_then(|key| Some((key.clone(), cluster?.get(&key)?.clone()))));
                    }
                    _ => {}
                }
            }
        }
        ran
    }

    /// Takes what a command left, and sees whether it kept the promises.
    fn judge(&mut self, op: &Op, end: &End, shown: &Shown, ran: &Ran, agreed: bool) {
        let before = std::mem::replace(&mut self.world, ran.world.clone());
        let mut booted = false;
        if ran.died
            && let End::Dies(death, _, gap) = end
        {
            self.world = after(*death, &ran.world, s(u64::from(*gap)));
            if *death == Death::PowerCut {
                booted = true;
                self.twin.power_cut();
            }
        }
        // Commands that end well leave nothing of their own to do, and those that do not may leave one at work.
        self.world.processes.retain(|_, p| p.code.is_none());
        let code = if ran.died { "died".to_owned() } else { format!("{:?}", ran.code) };
        self.code = Some(ran.code).filter(|_| !ran.died);
        let said: Vec<&str> = ran.said.lines().map(str::trim).skip_while(|line| !is_end(line)).take(6).collect();
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
        let blind = matches!(op, Op::Teardown(Reach::Blind, _)) && ran.asked.contains("UNSEEN");
        self.others_unharmed(&before, booted, blind);
        let lost = data(&before).into_iter().filter(|(folder, claim)| {
            let names = |text: &str| text.contains(folder.as_str()) || text.contains(claim.as_str());
            let on_list = agreed && (names(&shown.text) || names(&ran.asked));
            !on_list && !data(&self.world).contains_key(folder)
        });
        let lost = lost.map(|(folder, claim)| format!("data went unnamed: {claim} in {folder}")).collect();
        self.violates(Rule::Data, lost);
        if !self.password_is_lost {
            let known = locked(&before);
            let lost = locked(&self.world).into_iter().filter(|fact| !known.contains(fact)).collect();
            self.violates(Rule::Data, lost);
        }
        self.violates(Rule::Plan, check::unplanned(op, shown, ran));
    }

    fn others_unharmed(&mut self, before: &World, booted: bool, blind: bool) {
        let (was, is) = (facts(before), facts(&self.world));
        let snap = self.world.snapd.snaps.contains_key("microk8s");
        let expected = |fact: &&String| {
            let excused =
                booted && is_of_this_boot(fact) || !snap && goes_with_the_snap(fact) || blind && is_in_microk8s(fact);
            !excused
        };
        let stood = stood_on(before);
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
    fn settings_that_kubernetes_took(&mut self, op: &Op) {
        let reset = matches!(op, Op::Teardown(Reach::Reset | Reach::Blind, _));
        let runs = self.world.cluster.as_ref().is_some_and(|c| c.running);
        let twin_runs = self.twin.cluster.as_ref().is_some_and(|c| c.running);
        if reset || !runs || twin_runs {
            return;
        }
        let world = &self.world;
        let taken = self.settings.extract_if(.., |(path, value, _)| world.files.text(&*path).trim() != value);
        for (path, _, before) in taken {
            self.twin.files.write(&path, before);
        }
    }

    /// Somebody else does something.
    fn others(&mut self, op: &Op) -> bool {
        let mut with = self.world.clone();
        let edits = match op {
            Op::Edits(which) | Op::Replaces(which) => with.cluster.as_ref().and_then(|c| key_of_ours(c, *which)),
            _ => None,
        };
        let did = others::does(&mut with, op, &self.sight);
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
        let twin_did = others::does(&mut self.twin, op, &self.sight);
        if in_cluster && twin_did {
            self.twin.advance(s(60));
        }
        self.world = with;
        self.theirs.retain(|fact| is.contains(fact));
        match op {
            Op::Edits(_) => {
                let there = |key: Key| Some((key.clone(), self.world.cluster.as_ref()?.get(&key)?.clone()));
                self.edited.extend(edits.clone().and_then(there));
                let theirs_too =
                    edits.is_some_and(|key| self.twin.cluster.as_ref().is_some_and(|c| c.get(&key).is_some()));
                if theirs_too && !twin_did {
                    self.theirs.extend(is.difference(&was).filter(|fact| is_thing(fact)).cloned());
                }
            }
            Op::Replaces(_) if !twin_did => {
                self.guests.extend(edits);
                self.theirs.extend(is.difference(&was).filter(|fact| is_thing(fact)).cloned());
            }
            Op::JoinsGroup(user) => _ = self.joined.insert(user),
            Op::Spoils(file) => self.spoiled(*file, &without),
            Op::Microk8sStart => self.switched = true,
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

    /// What stood in the way goes, and then all that is ours can go: nothing of it may have been forgotten.
    pub fn close(&mut self) {
        self.heal();
        let mut done = false;
        for round in 0..3 {
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
            self.teardown(Reach::Reset, &End::Whole);
            done = self.code == Some(ExitCode::Done);
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

    /// Everybody takes away what is theirs and lies in ours, and MicroK8s runs.
    fn heal(&mut self) {
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
            let off = |world: &World| world.cluster.as_ref().is_some_and(|c| !c.running);
            self.switched |= off(&self.world);
            if off(&self.world) || matches!(op, Op::Waits(_)) {
                others::does(&mut self.world, &op, &self.sight);
                if off(&self.twin) {
                    others::does(&mut self.twin, &op, &self.sight);
                }
            }
        }
        self.settings_that_kubernetes_took(&Op::Waits(0));
        let now = self.world.now;
        let edited: Vec<Key> = std::mem::take(&mut self.edited).into_keys().collect();
        let twins: BTreeSet<Key> = self.twin.cluster.iter().flat_map(|c| c.all()).map(|(key, _)| key.clone()).collect();
        let of_twin = |key: &Key| twins.contains(key);
        let mut keys: Vec<Key> = edited.into_iter().filter(|key| !of_twin(key)).collect();
        let guests = std::mem::take(&mut self.guests);
        let then = self.twin.now;
        if let Some(cluster) = self.twin.api() {
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
        let mine = |world: &World| world.files.text(mirror).ends_with("# mine\n");
        if let Some(text) = self.world.files.text(mirror).strip_suffix("# mine\n").filter(|_| !mine(&self.twin)) {
            self.world.files.write_as(mirror, text, 0o644, "root");
        }
        for user in std::mem::take(&mut self.joined) {
            if self.twin.groups.contains_key("microk8s") {
                continue;
            }
            if let Some(members) = self.world.groups.get_mut("microk8s") {
                members.retain(|member| member != user);
            }
        }
        let is = facts(&self.world);
        self.theirs.retain(|fact| is.contains(fact));
        self.story.push("what stood in the way is gone".to_owned());
    }
}

/// Whether what is there afterwards, and was not before, is theirs who did it.
fn leaves_things(op: &Op) -> bool {
    matches!(
        op,
        Op::Makes(_)
            | Op::Replaces(_)
            | Op::Arrives(_)
            | Op::Puts(_)
            | Op::AddsRule(_)
            | Op::AddsLink(_)
            | Op::Mounts(_)
            | Op::HoldsAll(_)
            | Op::Aliases(_)
            | Op::InstallsKubectl
    )
}

/// Whether a line tells how a command ended.
fn is_end(line: &str) -> bool {
    ["left ", "failed ", "refused", "error"].iter().any(|begin| line.starts_with(begin))
}

/// What happens at the moments of a run.
fn hook(end: &End, new: &Arc<Mutex<Facts>>, sight: &Sight) -> Option<Hook> {
    let (new, sight) = (Arc::clone(new), sight.clone());
    match end.clone() {
        End::Whole => None,
        End::Dies(_, at, _) => Some(Box::new(move |n, _| if n >= u32::from(at) { Then::Dies } else { Then::GoesOn })),
        End::CtrlC(at) => Some(Box::new(move |n, _| if n >= u32::from(at) { Then::Stops } else { Then::GoesOn })),
        End::CtrlCTwice(at) => Some(Box::new(move |n, world| {
            if n < u32::from(at) {
                return Then::GoesOn;
            }
            world.processes.retain(|_, p| p.run.is_none());
            Then::Stops
        })),
        End::Meanwhile(at, op) => Some(Box::new(move |n, world| {
            if n == u32::from(at) {
                let was = facts(world);
                if others::does(world, &op, &sight) {
                    new.lock().expect("one thread").extend(facts(world).difference(&was).cloned());
                }
            }
            Then::GoesOn
        })),
    }
}
