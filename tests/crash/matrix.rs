//! The matrix: every moment of a bootstrap and of its teardown, each on many hosts, and a second death in what follows.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use iris_mk8s::{config::place::Place, engine::step::Scope, error::ExitCode};

use crate::model::{
    compare::{difference, facts, lost_passwords, without_hold},
    host::Moment,
    initial::{Before, Initial},
    store::Policy,
    tool::{Death, Ran, Tool, after},
    world::World,
};

/// How much of the matrix is run: each n-th moment.
#[derive(Clone, Copy)]
pub struct Density {
    /// Of the first deaths.
    pub first: usize,
    /// Of the second deaths, of each n-th first one.
    pub second: usize,
}

/// What came out.
#[derive(Default)]
pub struct Counts {
    pub hosts: usize,
    /// Hosts whose disk was full before the end.
    pub full: usize,
    /// Moments at which a run died that nobody had interrupted.
    pub moments: usize,
    /// Moments at which a run died that went on after a death.
    pub second: usize,
    /// How uninterrupted bootstraps of these hosts end.
    pub ends: BTreeMap<String, usize>,
    /// Commands run.
    pub runs: usize,
    /// Ends that should have been the same, and were not: what differs, and how it came to that.
    pub differences: Vec<(String, String)>,
}

impl Counts {
    pub fn add(&mut self, other: Self) {
        self.hosts += other.hosts;
        self.full += other.full;
        self.moments += other.moments;
        self.second += other.second;
        self.runs += other.runs;
        for (end, count) in other.ends {
            *self.ends.entry(end).or_default() += count;
        }
        self.differences.extend(other.differences);
    }
}

/// One host, and everything that may happen to it.
pub struct Case {
    initial: Initial,
    tool: Tool,
    density: Density,
    /// Differs from host to host, so that all deaths and pauses come to all moments.
    salt: usize,
    before: BTreeSet<String>,
    /// How an uninterrupted bootstrap ends.
    code: ExitCode,
    converged: BTreeSet<String>,
    counts: Counts,
}

/// What a reboot takes away by itself, and a MicroK8s that somebody else stopped leaves or not.
fn is_of_this_boot(fact: &str) -> bool {
    ["rule ", "link ", "/proc/", "/run/", "/run ", "failed units"].iter().any(|p| fact.starts_with(p))
}

/// What a stopped cluster shows of its pods is as old as its last moment.
fn is_of_last_run(fact: &str) -> bool {
    fact.starts_with("pod of") || fact.contains(" status ")
}

/// Runs the matrix for one host.
pub fn examine(initial: &Initial, policy: Policy, density: Density, salt: usize) -> Counts {
    let world = initial.world();
    let tool = Tool { longhorn: initial.longhorn, bundle: initial.bundle, ..Tool::new(policy) };
    let mut case = Case {
        initial: initial.clone(),
        tool,
        density,
        salt,
        before: BTreeSet::new(),
        code: ExitCode::Done,
        converged: BTreeSet::new(),
        counts: Counts { hosts: 1, ..Counts::default() },
    };
    case.before = case.settled(world.clone());
    let up = case.first(world);
    (case.code, case.converged) = (up.code, without_hold(case.settled(up.world.clone())));
    let end = up.error.as_ref().map_or_else(|| "done".to_owned(), |e| format!("{:?}: {}", e.code, e.what));
    // A host that never gets so far would say nothing of what comes after.
    if initial.longhorn && case.code != ExitCode::Done {
        case.differs("uninterrupted", &[format!("a host on Longhorn ends early: {end}")]);
    }
    *case.counts.ends.entry(end).or_default() += 1;
    if *initial == Initial::fresh(initial.era) {
        assert_eq!(up.code, ExitCode::Done, "a fresh host: {:?}", up.error);
    }
    case.counts.runs += 1;
    case.healthy(&up, "uninterrupted");
    if up.code == ExitCode::Done {
        case.again(&up);
    }
    let down = case.down(up.world.clone(), true, "uninterrupted");
    for (n, moment) in up.moments.iter().enumerate().filter(|(n, _)| (n + salt).is_multiple_of(density.first)) {
        case.dies_in_bootstrap(n, moment);
    }
    for (n, moment) in down.moments.iter().enumerate().filter(|(n, _)| (n + salt).is_multiple_of(density.first)) {
        case.dies_in_teardown(n, moment);
    }
    case.counts
}

impl Case {
    /// A bootstrap that nobody interrupts. A disk that fills up ends it with a word, before anything is done that is not written down;
    /// after somebody made room it goes on.
    fn first(&mut self, world: World) -> Ran {
        let up = self.tool.collecting().bootstrap(world);
        if up.world.files.room != Some(0) || up.code == ExitCode::Done {
            return up;
        }
        if !matches!(up.code, ExitCode::Journal | ExitCode::CommandFailed | ExitCode::NotOurs) {
            self.differs("a full disk", &[format!("ended with {:?}: {:?}", up.code, up.error)]);
        }
        self.counts.full += 1;
        let mut world = up.world;
        world.files.room = None;
        self.down(world.clone(), false, "a full disk; given up");
        let mut again = self.tool.collecting().bootstrap(world);
        self.counts.runs += 1;
        again.moments = up.moments.into_iter().chain(again.moments).collect();
        again
    }

    fn settled(&self, mut world: World) -> BTreeSet<String> {
        world.settle();
        let facts = facts(&world);
        let off = matches!(self.initial.microk8s, Before::Stopped | Before::Disabled);
        facts.into_iter().filter(|f| !off || !(is_of_this_boot(f) || is_of_last_run(f))).collect()
    }

    fn differs(&mut self, how: &str, lines: &[String]) {
        if !lines.is_empty() {
            let shown: Vec<String> = lines.iter().take(8).map(|l| l.chars().take(200).collect()).collect();
            self.counts.differences.push((shown.join("\n    "), format!("{:?}\n  {how}", self.initial)));
        }
    }

    /// What no run may do, however it ends.
    fn healthy(&mut self, ran: &Ran, how: &str) {
        let mut wrong = ran.world.violations.clone();
        wrong.extend(lost_passwords(&ran.world));
        if ran.code == ExitCode::Bug {
            wrong.extend(ran.error.iter().map(ToString::to_string));
        }
        self.differs(how, &wrong);
    }

    /// A second bootstrap does nothing at all, and a plan knows that.
    fn again(&mut self, up: &Ran) {
        let second = self.tool.bootstrap(up.world.clone());
        self.counts.runs += 2;
        let mut wrong = Vec::new();
        if second.acts != 0 || second.code != ExitCode::Done {
            wrong.push(format!("a second bootstrap acts {} times and ends with {:?}", second.acts, second.code));
        }
        match self.tool.plan(up.world.clone()) {
            Ok(true) => {}
            other => wrong.push(format!("a plan of a converged host finds something to do: {other:?}")),
        }
        self.differs("again", &wrong);
    }

    /// A bootstrap, to the same end as an uninterrupted one.
    fn up(&mut self, world: World, collect: bool, how: &str) -> Ran {
        let ran = Tool { collect, ..self.tool }.bootstrap(world);
        self.counts.runs += 1;
        self.healthy(&ran, how);
        let mut wrong = difference(&self.converged, &without_hold(self.settled(ran.world.clone())));
        if ran.code != self.code {
            wrong.insert(
                0,
                format!(
                    "ended with {:?}, not {:?}: {}",
                    ran.code,
                    self.code,
                    ran.error.as_ref().map(ToString::to_string).unwrap_or_default()
                ),
            );
        }
        self.differs(&format!("{how}: bootstrap"), &wrong);
        ran
    }

    /// A reset, to the host as it was.
    fn down(&mut self, world: World, collect: bool, how: &str) -> Ran {
        let ran = Tool { collect, ..self.tool }.teardown(world, Scope::Host);
        self.counts.runs += 1;
        let mut wrong = difference(&self.before, &self.settled(ran.world.clone()));
        if ran.code != ExitCode::Done {
            wrong.insert(
                0,
                format!(
                    "ended with {:?}: {}",
                    ran.code,
                    ran.error.as_ref().map(ToString::to_string).unwrap_or_default()
                ),
            );
        }
        self.differs(&format!("{how}: teardown"), &wrong);
        ran
    }

    fn death(&self, n: usize, world: &World) -> (Death, Duration) {
        let k = n + self.salt;
        let child = world.processes.values().any(|p| p.run.is_some());
        let death = match k % 3 {
            0 => Death::PowerCut,
            1 if child => Death::ChildGoesOn,
            _ => Death::Killed,
        };
        // While a host boots, what stands in the way cannot be seen: the run would begin its work, and find it later.
        if death == Death::PowerCut && self.code == ExitCode::NotOurs {
            return (death, Duration::from_secs(200));
        }
        (death, [Duration::ZERO, Duration::from_secs(4), Duration::from_secs(200)][(k / 3) % 3])
    }

    fn dies(&self, n: usize, moment: &Moment, what: &str) -> (World, String) {
        let (death, gap) = self.death(n, &moment.world);
        let how = format!("{what} dies ({death:?}, next command {} s later) {}", gap.as_secs(), moment.at);
        (after(death, &moment.world, gap), how)
    }

    /// Somebody's installation goes on by itself: while nothing of ours, or no longer anything, says what was there before us, it is what the
    /// next run finds.
    fn goes_on_unnoticed(&self, world: &World) -> bool {
        let journal = world.files.text(Place::default().journal());
        let last = journal.lines().rev().find(|record| record.contains("snap.before"));
        let written = world.files.has(Place::default().dir.join("before.json"));
        self.initial.microk8s == Before::Coming && (!written || last.is_none_or(|record| record.contains("\"undone\"")))
    }

    fn dies_in_bootstrap(&mut self, n: usize, moment: &Moment) {
        if self.goes_on_unnoticed(&moment.world) {
            return;
        }
        let (world, how) = self.dies(n, moment, "bootstrap");
        self.counts.moments += 1;
        let twice = (n / self.density.first).is_multiple_of(self.density.second);
        let resumed = self.up(world.clone(), twice, &how);
        let down = self.down(resumed.world, twice, &how);
        self.down(world, false, &format!("{how}; given up"));
        let each = self.density.second;
        for (m, second) in resumed.moments.iter().enumerate().filter(|(m, _)| (m + n).is_multiple_of(each)) {
            let (world, again) = self.dies(m + n, second, "the next bootstrap");
            self.counts.second += 1;
            let how = format!("{how}; {again}");
            let resumed = self.up(world, false, &how);
            self.down(resumed.world, false, &how);
        }
        self.dies_again_in_teardown(n, &down, &how);
    }

    fn dies_again_in_teardown(&mut self, n: usize, down: &Ran, how: &str) {
        let each = self.density.second;
        for (m, second) in down.moments.iter().enumerate().filter(|(m, _)| (m + n).is_multiple_of(each)) {
            let (world, again) = self.dies(m + n, second, "teardown");
            self.counts.second += 1;
            self.down(world, false, &format!("{how}; {again}"));
        }
    }

    fn dies_in_teardown(&mut self, n: usize, moment: &Moment) {
        let (world, how) = self.dies(n, moment, "teardown");
        self.counts.moments += 1;
        let twice = (n / self.density.first).is_multiple_of(self.density.second);
        let resumed = self.down(world.clone(), twice, &how);
        self.dies_again_in_teardown(n, &resumed, &how);
        // The person changes their mind.
        if self.goes_on_unnoticed(&world) {
            return;
        }
        let up = self.up(world, false, &format!("{how}; no, up again"));
        self.down(up.world, false, &format!("{how}; no, up again"));
    }
}
