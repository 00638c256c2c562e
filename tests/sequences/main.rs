//! Whatever happens between two commands: nothing of somebody else's is harmed, nothing of ours is forgotten, no data goes unnamed, and nothing
//! is done that was not shown before. Sequences of commands and of what others do meanwhile are drawn from a seed, and played on the modelled
//! host; one that breaks a promise is cut down to the shortest that still does.

#![allow(
    dead_code,
    unused_imports,
    clippy::pedantic,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "the model is shared by several tests, each of which uses a part of it and prints its counts"
)]

mod abreast;
mod check;
mod draw;
mod facts;
mod inside;
#[path = "../model/mod.rs"]
mod model;
mod op;
mod others;
mod pinned;
mod play;
mod program;
mod releases;
mod shrink;
mod things;
mod wish;

use std::{
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Instant,
};

use model::world::Era;
use op::{End::*, Op::*, Reach::*, Start::*, *};

/// How many sequences; a person who has more time may ask for more.
fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |n| n.parse().expect("a number"))
}

/// What fails is told by itself, not by the words of a thread.
fn quietly() {
    std::panic::set_hook(Box::new(|info| {
        if std::env::var_os("IRIS_MK8S_PANICS").is_some() {
            eprintln!("{info}");
        }
    }));
}

/// Shows a sequence that breaks a promise, as soon as it is found.
fn tell(n: u64, sequence: &Sequence, violations: &[play::Violation]) {
    println!("\nsequence {n}, cut down:\n{sequence}");
    for line in &play::play(sequence).story {
        println!("    {}", line.chars().take(160).collect::<String>());
    }
    for violation in violations {
        println!("  after operation {}: {:?}\n    {}", violation.at, violation.rule, violation.what.join("\n    "));
    }
}

#[test]
fn no_sequence_breaks_a_promise() {
    quietly();
    let (count, seed) = (number("IRIS_MK8S_SEQUENCES", 200), number("IRIS_MK8S_SEED", 1));
    let most = number("IRIS_MK8S_FINDINGS", 1);
    let begun = Instant::now();
    let (next, ops) = (AtomicU64::new(0), AtomicU64::new(0));
    let found: Mutex<Vec<u64>> = Mutex::default();
    let workers = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                loop {
                    let n = next.fetch_add(1, Relaxed);
                    if n >= count || found.lock().expect("no panic").len() as u64 >= most {
                        return;
                    }
                    let grown = std::panic::catch_unwind(|| draw::grow(seed.wrapping_mul(1 << 32) + n));
                    let Ok((sequence, played)) = grown else {
                        println!("sequence {n} of seed {seed}: the harness itself breaks");
                        next.store(count, Relaxed);
                        continue;
                    };
                    ops.fetch_add(sequence.ops.len() as u64, Relaxed);
                    if !played.violations.is_empty() {
                        let (short, violations) = if number("IRIS_MK8S_SHRINK", 1) == 1 {
                            shrink::shrink(&sequence, &played.violations)
                        } else {
                            (sequence, played.violations)
                        };
                        let mut found = found.lock().expect("no panic");
                        tell(n, &short, &violations);
                        found.push(n);
                    }
                }
            });
        }
    });
    let found = found.into_inner().expect("no panic");
    println!(
        "{} sequences of seed {seed}, {} operations, {} violations, {:.1} s",
        next.load(Relaxed).min(count),
        ops.load(Relaxed),
        found.len(),
        begun.elapsed().as_secs_f64()
    );
    assert!(found.is_empty(), "{} sequences break a promise", found.len());
}
