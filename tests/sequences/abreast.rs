//! Stages side by side: which ways of going are taken, and that the same dice takes the same one again.

use std::collections::BTreeSet;

use crate::{
    model::{compare::facts, store::bytes, world::Era},
    op::{End, Op, Start, Wish},
    play::Play,
};

/// Which steps came after which of another stage, as the journal tells.
fn went(seed: u16) -> (Vec<String>, BTreeSet<String>, Vec<String>) {
    let mut play = Play::new(Era::Today, Start::Fresh);
    play.step(&Op::Bootstrap(Wish { abreast: Some(seed), ..Wish::PLAIN }, End::Whole));
    assert!(play.story.last().expect("it ran").contains(": Done"), "{:?}", play.story);
    let journal = String::from_utf8_lossy(&bytes(&play.world)).into_owned();
    let steps = journal
        .lines()
        .filter(|line| line.contains("\"intent\""))
        .filter_map(|line| line.split("\"step\":\"").nth(1)?.split('"').next().map(str::to_owned));
    let order = steps.collect();
    play.world.settle();
    (order, facts(&play.world), play.violations.iter().map(|v| format!("{v:?}")).collect())
}

#[test]
fn the_same_dice_takes_the_same_way_and_all_ways_lead_to_the_same_host() {
    let (_, usual, _) = went(0);
    let mut ways = BTreeSet::new();
    for seed in 0..12 {
        let (order, host, _) = went(seed);
        assert_eq!((&order, &host), (&went(seed).0, &usual), "dice {seed}");
        ways.insert(order);
    }
    println!("{} ways of 12 dice", ways.len());
    assert!(ways.len() >= 4, "only {} ways were taken", ways.len());
}
