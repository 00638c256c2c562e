//! Plays a sequence: the host, the same host without us, and after each command the promises.

mod close;
mod judge;
mod others;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
};

use iris_mk8s::{config::place::Place as State, error::ExitCode};
use serde_json::Value;

use crate::{
    facts::{Facts, is_thing, needs},
    inside::{key_of_ours, keys_of_guest},
    model::{
        cluster::Key,
        compare::facts,
        host::{Hook, Then},
        initial::{Before, Initial, Pools},
        longhorn,
        world::{Era, World},
    },
    op::{End, Op, Part, Sequence, Start},
    others::{self as doings, Sight},
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
    /// Facts that others brought about, and that we may change again.
    tolerated: Facts,
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
    /// Things of others that were there without what they could use: each, with what that is.
    did_without: BTreeSet<(String, String)>,
    /// What a teardown that died was agreed to delete: snapd goes on with it.
    agreed: String,
    /// The host was booted, and Kubernetes takes its settings at another time than on the host without us.
    booted: bool,
    /// Somebody who needed it left, and the kernel still forwards: nobody can tell for whom.
    forwards: bool,
    /// Kernel settings that Kubernetes took over, or that somebody set to the very value that Kubernetes sets, or while it was on its way.
    took: BTreeSet<String>,
    /// Somebody switched MicroK8s on: nobody can tell that from what it was already.
    switched: bool,
    /// MicroK8s was there before us.
    not_ours: bool,
    /// The journal is the first release's.
    pub first_release: bool,
    /// Somebody deleted Longhorn's namespace.
    broke_longhorn: bool,
    /// Somebody stopped it with its own command.
    stopped_by_person: bool,
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
            return Self { first_release: true, ..releases::replay(name) };
        }
        let world = world(era, start);
        Self {
            twin: world.clone(),
            world,
            theirs: Facts::new(),
            tolerated: Facts::new(),
            joined: BTreeSet::new(),
            guests: Vec::new(),
            edited: BTreeMap::new(),
            settings: Vec::new(),
            sight: Sight { namespace: "default".to_owned() },
            code: None,
            backup: None,
            before: None,
            told: String::new(),
            agreed: String::new(),
            did_without: BTreeSet::new(),
            booted: false,
            forwards: false,
            took: BTreeSet::new(),
            switched: false,
            broke_longhorn: false,
            stopped_by_person: false,
            not_ours: matches!(start, Start::Theirs | Start::TheirsWithPool | Start::TheirsStopped),
            first_release: false,
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
                self.took.extend(self.settings.iter().map(|(path, ..)| path.clone()));
                let ran = self.run(end, program::stop);
                self.judge(op, end, &Shown::default(), &ran, false);
            }
            Op::Start(end) => {
                self.switched |= self.stopped_by_person;
                self.kubernetes_starts();
                let ran = self.run(end, program::start);
                self.judge(op, end, &Shown::default(), &ran, false);
            }
            Op::Teardown(reach, end) => self.teardown(*reach, end),
            Op::Repair(end) => {
                let ran = self.run(end, program::repair);
                self.judge(op, end, &Shown::default(), &ran, true);
            }
            // The first release did not write down which MicroK8s it was.
            Op::Reinstalls if self.first_release => return false,
            _ => {
                let is_coming = self.world.snapd.change.is_some() || self.world.snapd.snaps.contains_key("microk8s");
                let starts = is_coming && self.world.files.text("/proc/sys/vm/overcommit_memory") == "0\n";
                if !self.others(op) {
                    return false;
                }
                self.stopped_by_person |= matches!(op, Op::Microk8sStop);
                self.booted |= matches!(op, Op::Reboots);
                self.broke_longhorn |= matches!(op, Op::Deletes(Part::LonghornNamespace));
                if let Op::SetsSetting(name, value) = op
                    && (["1", "10"].contains(value) || starts)
                {
                    self.took.insert(format!("/proc/sys/{name}"));
                }
            }
        }
        self.at += 1;
        true
    }

    /// What a person set while it was off, Kubernetes sets again.
    fn kubernetes_starts(&mut self) {
        if self.world.cluster.as_ref().is_none_or(|c| !c.running) {
            self.took.extend(self.settings.iter().map(|(path, ..)| path.clone()));
        }
    }

    fn violates(&mut self, rule: Rule, what: Vec<String>) {
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

    /// Runs a command on the host, to the end that it is to have.
    fn run(&mut self, end: &End, command: impl FnOnce(World, Option<Hook>) -> Ran) -> Ran {
        let new: New = Arc::default();
        let hook = hook(end, &new, &self.sight);
        let ran = command(self.world.clone(), hook);
        if let End::Meanwhile(_, op) = end {
            if let Op::Deletes(Part::Of(which)) = **op {
                let key = self.world.cluster.as_ref().and_then(|c| key_of_ours(c, which));
                self.edited.retain(|edited, _| Some(edited) != key.as_ref());
            }
            let did = new.lock().expect("its run has ended").take();
            if did.is_some() && matches!(**op, Op::Deletes(_)) {
                self.twin_does(op, true);
            }
            if let Some(made) = did.filter(|made| !made.is_empty()) {
                self.twin_does(op, matches!(**op, Op::Makes(_) | Op::Edits(_) | Op::Replaces(_)));
                if others::leaves_things(op) {
                    self.theirs.extend(made.into_iter().filter(|fact| is_thing(fact)));
                }
                match **op {
                    // Who writes last at the same moment, wins.
                    Op::Arrives(_) => self.forwards = true,
                    Op::HoldsAll(_) => self.tolerated.extend([
                        format!("hold {:?}", None::<String>),
                        format!("hold {:?}", ran.world.snapd.hold),
                        format!("hold {:?}", self.twin.snapd.hold),
                    ]),
                    Op::SetsSetting(name, value) => {
                        let path = format!("/proc/sys/{name}");
                        self.took.insert(path.clone());
                        self.settings.push((path.clone(), value.to_owned(), self.twin.files.text(&path)));
                        self.tolerated
                            .extend(facts(&self.twin).into_iter().filter(|f| f.starts_with(&format!("{path} "))));
                        self.tolerated
                            .extend(facts(&self.world).into_iter().filter(|f| f.starts_with(&format!("{path} "))));
                    }
                    Op::JoinsGroup(user) => _ = self.joined.insert(user),
                    Op::Makes(guest) => {
                        // What it could use was on its way, or was not.
                        let known = needs(&self.world);
                        self.did_without.extend(needs(&ran.world).into_iter().filter(|need| !known.contains(need)));
                        self.guests.extend(keys_of_guest(guest, &self.sight, self.world.era));
                    }
                    Op::Edits(which) => {
                        let cluster = ran.world.cluster.as_ref();
                        let key = cluster.and_then(|c| key_of_ours(c, which));
                        // Where the edit made again changes nothing, the run has left it.
                        let mut again = ran.world.clone();
                        doings::does(&mut again, op, &self.sight);
                        let kept = |key: &Key| {
                            let again = again.cluster.as_ref().and_then(|c| c.get(key)).cloned();
                            again.filter(|again| {
                                cluster.and_then(|c| c.get(key)).is_some_and(|now| now["spec"] == again["spec"])
                            })
                        };
                        self.edited.extend(key.and_then(|key| Some((key.clone(), kept(&key)?))));
                    }
                    _ => {}
                }
            }
        }
        ran
    }
}

/// Facts that came by what happened meanwhile; none while it has not happened.
type New = Arc<Mutex<Option<Facts>>>;

/// What happens at the moments of a run.
fn hook(end: &End, new: &New, sight: &Sight) -> Option<Hook> {
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
                if doings::does(world, &op, &sight) {
                    *new.lock().expect("one thread") = Some(facts(world).difference(&was).cloned().collect());
                }
            }
            Then::GoesOn
        })),
    }
}
