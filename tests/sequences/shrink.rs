//! Cuts a sequence that breaks a promise down to the shortest that still breaks the same one.

use crate::{
    model::world::Era,
    op::{End, Op, Reach, Sequence, Start, Wish},
    play::{Rule, Violation, play},
};

/// What is the same about two violations: the promise, and the words before the colon.
fn sign(violations: &[Violation]) -> Option<(Rule, String)> {
    let first = violations.first()?;
    let line = first.what.first()?;
    Some((first.rule, line.split(':').next().unwrap_or_default().to_owned()))
}

/// The shortest sequence, and what it breaks.
pub fn shrink(sequence: &Sequence, violations: &[Violation]) -> (Sequence, Vec<Violation>) {
    let wanted = sign(violations);
    let mut best = (sequence.clone(), violations.to_vec());
    let still = |candidate: &Sequence| {
        let found = play(candidate).violations;
        (sign(&found) == wanted).then_some(found)
    };
    loop {
        let Some(better) = candidates(&best.0).find_map(|c| still(&c).map(|found| (c, found))) else { return best };
        best = better;
    }
}

/// Simpler sequences, the simplest ones first.
fn candidates(of: &Sequence) -> impl Iterator<Item = Sequence> {
    let count = of.ops.len();
    let without = |from: usize, to: usize| {
        let ops = of.ops[..from].iter().chain(&of.ops[to..]).cloned().collect();
        Sequence { ops, ..of.clone() }
    };
    let mut all: Vec<Sequence> = Vec::new();
    for size in [count / 2, count / 4, 2, 1] {
        if size > 0 {
            all.extend((0..count).step_by(size).map(|from| without(from, (from + size).min(count))));
        }
    }
    if of.start != Start::Fresh {
        all.push(Sequence { start: Start::Fresh, ..of.clone() });
    }
    if of.era != Era::Today {
        all.push(Sequence { era: Era::Today, ..of.clone() });
    }
    for at in 0..count {
        for simpler in simpler_ops(&of.ops[at]) {
            let ops = of.ops[..at].iter().chain(&simpler).chain(&of.ops[at + 1..]).cloned().collect();
            all.push(Sequence { ops, ..of.clone() });
        }
    }
    all.into_iter()
}

/// What may stand in the place of an operation.
fn simpler_ops(op: &Op) -> Vec<Vec<Op>> {
    match op {
        Op::Bootstrap(wish, end) => {
            let wishes = simpler_wishes(wish).into_iter().map(|wish| vec![Op::Bootstrap(wish, end.clone())]);
            wishes.chain(ends(end, |end| Op::Bootstrap(*wish, end))).collect()
        }
        Op::Plan(wish) => simpler_wishes(wish).into_iter().map(|wish| vec![Op::Plan(wish)]).collect(),
        Op::Teardown(reach, end) => {
            let simpler = (*reach == Reach::Blind).then(|| vec![Op::Teardown(Reach::Reset, end.clone())]);
            simpler.into_iter().chain(ends(end, |end| Op::Teardown(*reach, end))).collect()
        }
        Op::Stop(end) => ends(end, Op::Stop),
        Op::Start(end) => ends(end, Op::Start),
        Op::Repair(end) => ends(end, Op::Repair),
        Op::Waits(seconds) if *seconds > 60 => vec![vec![Op::Waits(60)]],
        _ => Vec::new(),
    }
}

fn ends(end: &End, with: impl Fn(End) -> Op) -> Vec<Vec<Op>> {
    let earlier = |at: u16| [at / 2, at.saturating_sub(8), at.saturating_sub(1)].into_iter().filter(move |a| *a < at);
    let mut all = if *end == End::Whole { Vec::new() } else { vec![vec![with(End::Whole)]] };
    match end {
        End::Whole => {}
        End::Dies(death, at, gap) => {
            if *gap > 0 {
                all.push(vec![with(End::Dies(*death, *at, 0))]);
            }
            all.extend(earlier(*at).map(|at| vec![with(End::Dies(*death, at, *gap))]));
        }
        End::CtrlC(at) => all.extend(earlier(*at).map(|at| vec![with(End::CtrlC(at))])),
        End::CtrlCTwice(at) => {
            all.push(vec![with(End::CtrlC(*at))]);
            all.extend(earlier(*at).map(|at| vec![with(End::CtrlCTwice(at))]));
        }
        End::Meanwhile(at, op) => {
            all.push(vec![(**op).clone(), with(End::Whole)]);
            all.push(vec![with(End::Whole), (**op).clone()]);
            all.extend(earlier(*at).map(|at| vec![with(End::Meanwhile(at, op.clone()))]));
        }
    }
    all
}

fn simpler_wishes(wish: &Wish) -> Vec<Wish> {
    let plain = Wish::PLAIN;
    let all = [
        plain,
        Wish { replicas: plain.replicas, ..*wish },
        Wish { namespace: plain.namespace, ..*wish },
        Wish { registry: plain.registry, ..*wish },
        Wish { registry: false, ..*wish },
        Wish { class: plain.class, ..*wish },
        Wish { mirror: plain.mirror, ..*wish },
        Wish { user: plain.user, ..*wish },
        Wish { password: plain.password, ..*wish },
        Wish { range: plain.range, ..*wish },
        Wish { data: plain.data, ..*wish },
        Wish { until: plain.until, ..*wish },
        Wish { abreast: None, ..*wish },
    ];
    // One without a registry is not simpler than the plain one.
    all.into_iter().filter(|w| w != wish && (w.registry || !wish.registry)).collect()
}
