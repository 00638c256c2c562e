//! Draws sequences: the same ones for the same seed.

use crate::{
    model::{foreign::Resident, tool::Death, world::Era},
    op::{End, Guest, Op, OurFile, Ours, Part, Place, Range, Reach, Rule, Sequence, Start, Wish},
    play::Play,
    releases,
};

/// A generator of numbers (SplitMix64): it stays the same whatever crates become.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    fn pick<T: Copy>(&mut self, all: &[T]) -> T {
        all[usize::try_from(self.below(all.len() as u64)).expect("small")]
    }

    /// Once in so many times.
    fn once_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    fn small(&mut self, n: u64) -> u16 {
        u16::try_from(self.below(n)).expect("small")
    }
}

/// Moments of the longest commands, and some more: an end that lies behind the last one never comes.
const MOMENTS: u64 = 260;

/// Fewest things that happen in a sequence, and most.
pub const LENGTH: (usize, usize) = (6, 12);

/// Plays a sequence while it is drawn: what cannot be done at its place is not in it.
pub fn grow(seed: u64) -> (Sequence, Play) {
    let mut dice = Dice::new(seed);
    let era = if dice.once_in(4) { Era::Old } else { Era::Today };
    let start = start(&mut dice, era);
    let mut sequence = Sequence { era, start, ops: Vec::new() };
    let mut play = Play::new(era, start);
    let length = LENGTH.0 + usize::from(dice.small((LENGTH.1 - LENGTH.0 + 1) as u64));
    let mut tries = 0;
    while sequence.ops.len() < length && tries < 200 {
        tries += 1;
        let first = sequence.ops.is_empty() && !dice.once_in(4);
        let op = if first { Op::Bootstrap(wish(&mut dice), end(&mut dice)) } else { any(&mut dice) };
        if play.step(&op) {
            sequence.ops.push(op);
        }
        if !play.violations.is_empty() {
            return (sequence, play);
        }
    }
    play.close();
    (sequence, play)
}

fn start(dice: &mut Dice, era: Era) -> Start {
    let theirs = [Start::Theirs, Start::TheirsWithPool, Start::TheirsStopped];
    match dice.below(12) {
        0..=5 => Start::Fresh,
        6 | 7 if era == Era::Today => Start::NewSnapd,
        8 => Start::AfterKubernetes,
        9 => Start::Released(dice.pick(&releases::of(era))),
        10 | 11 => dice.pick(&theirs),
        _ => Start::Fresh,
    }
}

fn wish(dice: &mut Dice) -> Wish {
    let mut wish = Wish::PLAIN;
    if dice.once_in(4) {
        wish.abreast = Some(dice.small(1000));
    }
    // Most of them are plain, so that a second one often wants the same.
    if dice.once_in(2) {
        return wish;
    }
    for _ in 0..=dice.below(2) {
        match dice.below(10) {
            0 | 1 => wish.replicas = dice.pick(&[1, 2, 3]),
            2 | 3 => wish.namespace = dice.pick(&["default", "a", "b"]),
            4 => wish.registry = !wish.registry,
            5 => wish.class = dice.pick(&[None, Some("microk8s-hostpath"), Some("nfs"), Some("longhorn")]),
            6 => wish.mirror = dice.pick(&[None, Some("http://mirror.lan:5000"), Some("http://other.lan")]),
            7 => wish.user = dice.pick(&["ubuntu", "anna"]),
            8 => wish.password = dice.pick(&[None, Some("given-1"), Some("given-2")]),
            _ => wish.range = dice.pick(&Range::ALL),
        }
    }
    wish.data = dice.once_in(8);
    if dice.once_in(10) {
        wish.until = Some(dice.pick(&["snap", "start", "basics", "iris", "metallb"]));
    }
    wish
}

fn end(dice: &mut Dice) -> End {
    let at = dice.small(MOMENTS);
    let at = if dice.once_in(3) { at / 8 } else { at };
    match dice.below(12) {
        0..=5 => End::Whole,
        6..=8 => {
            let death = dice.pick(&[Death::Killed, Death::ChildGoesOn, Death::PowerCut]);
            End::Dies(death, at, dice.pick(&[0, 4, 200]))
        }
        9 => End::CtrlC(at),
        10 => End::CtrlCTwice(at),
        _ => End::Meanwhile(at, Box::new(meanwhile(dice))),
    }
}

/// What others do while a command of ours works.
fn meanwhile(dice: &mut Dice) -> Op {
    loop {
        let op = other(dice);
        let on_host = matches!(
            op,
            Op::Arrives(_) | Op::Puts(_) | Op::AddsRule(_) | Op::AddsLink(_) | Op::Mounts(_) | Op::SetsSetting(..)
        );
        let more = matches!(op, Op::HoldsAll(_) | Op::InstallsKubectl | Op::JoinsGroup(_) | Op::ApiDies);
        let in_cluster = matches!(op, Op::Makes(_) | Op::Edits(_) | Op::Deletes(_) | Op::Pushes);
        if on_host || more || in_cluster {
            return op;
        }
    }
}

fn any(dice: &mut Dice) -> Op {
    match dice.below(20) {
        0..=3 => Op::Bootstrap(wish(dice), end(dice)),
        4..=6 => Op::Teardown(dice.pick(&Reach::ALL), end(dice)),
        7 => Op::Stop(end(dice)),
        8 => Op::Start(end(dice)),
        9 => match dice.below(3) {
            0 => Op::Plan(wish(dice)),
            1 if dice.once_in(2) => Op::Repair(end(dice)),
            1 => Op::Status,
            _ => Op::DryRun(dice.pick(&Reach::ALL)),
        },
        _ => other(dice),
    }
}

/// What others do.
fn other(dice: &mut Dice) -> Op {
    match dice.below(32) {
        0..=2 => Op::Arrives(dice.pick(&Resident::ALL)),
        3 => Op::Leaves(dice.pick(&Resident::ALL)),
        4 | 5 => Op::Puts(dice.pick(&Place::ALL)),
        6 => Op::AddsRule(dice.pick(&Rule::ALL)),
        7 => Op::AddsLink(dice.pick(&["br0", "veth9999999", "tunl0", "flannel.2"])),
        8 => Op::Mounts(dice.pick(&["/run/containerd/mnt", "/var/lib/cni/mnt", "/opt/cni/mnt", "/var/log/pods/mnt"])),
        9 => {
            let (name, value) = dice.pick(&[
                ("net/ipv4/ip_forward", "1"),
                ("vm/overcommit_memory", "2"),
                ("kernel/panic", "30"),
                ("net/netfilter/nf_conntrack_tcp_timeout_established", "7200"),
            ]);
            Op::SetsSetting(name, value)
        }
        10 => match dice.below(4) {
            0 => Op::HoldsSnap,
            1 => Op::UnholdsAll,
            _ => Op::HoldsAll(dice.pick(&["forever", "2027-01-20T00:00:00Z", "2027-04-01T00:00:00Z"])),
        },
        11 => match dice.below(3) {
            0 => Op::Unaliases("kubectl"),
            1 => Op::InstallsKubectl,
            _ => Op::Aliases(dice.pick(&["kubectl", "mk"])),
        },
        12 => Op::JoinsGroup("anna"),
        13 | 14 => Op::Microk8sStop,
        15 => Op::Microk8sStart,
        16 => Op::ApiDies,
        17 => match dice.below(4) {
            0 => Op::DisablesSnap,
            1 => Op::EnablesSnap,
            2 => Op::RemovesSnap,
            _ => Op::Reinstalls,
        },
        18 => Op::Reboots,
        19 => Op::Waits(dice.pick(&[5, 60, 600])),
        20..=24 => Op::Makes(dice.pick(&Guest::ALL)),
        25 | 26 => Op::Edits(dice.pick(&Ours::ALL)),
        27 => Op::Replaces(dice.pick(&Ours::ALL)),
        28 | 29 => Op::Deletes(dice.pick(&Part::ALL)),
        30 => Op::Pushes,
        _ => Op::Spoils(dice.pick(&OurFile::ALL)),
    }
}
