//! Nothing is lost: a run may die at any moment, on any host, and the same command goes on; what is taken back is exactly what was done.

#![allow(
    dead_code,
    unused_imports,
    clippy::pedantic,
    clippy::print_stdout,
    reason = "the model is shared by several tests, each of which uses a part of it and prints its counts"
)]

mod between;
mod bundle;
mod data;
mod image;
mod matrix;
#[path = "../model/mod.rs"]
mod model;
mod pinned;
mod pools;
mod repair;
mod undo;

use std::{collections::BTreeMap, time::Instant};

use matrix::{Counts, Density, examine};
use model::{initial::Initial, store::Policy, tool::Tool, world::Era};
use proptest::{
    strategy::{Strategy, ValueTree},
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};

/// A fresh VM, and others by chance, the same ones in every run.
fn hosts(era: Era, count: usize) -> Vec<Initial> {
    let mut runner = TestRunner::new_with_rng(Config::default(), TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let strategy = Initial::any(era);
    let mut hosts = vec![Initial::fresh(era)];
    // The modelled Longhorn is that of today.
    if era == Era::Today {
        hosts.push(Initial { longhorn: true, ..Initial::fresh(era) });
    }
    let more = hosts.len()..count;
    hosts.extend(more.map(|_| strategy.new_tree(&mut runner).expect("a host").current()));
    hosts
}

/// Runs the matrix of these hosts side by side.
fn run(hosts: &[Initial], policy: Policy, density: Density) -> Counts {
    let workers = std::thread::available_parallelism().map_or(2, usize::from);
    let mut all = Counts::default();
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..workers)
            .map(|worker| {
                scope.spawn(move || {
                    let mut counts = Counts::default();
                    for (n, host) in hosts.iter().enumerate().skip(worker).step_by(workers) {
                        counts.add(examine(host, policy, density, n));
                    }
                    counts
                })
            })
            .collect();
        for thread in threads {
            all.add(thread.join().expect("no panic in a worker"));
        }
    });
    all
}

fn show(name: &str, counts: &Counts, begun: Instant) {
    println!(
        "{name}: {} hosts ({} with a full disk), {} moments of death, {} second deaths, {} commands, {} differences, {:.1} s",
        counts.hosts,
        counts.full,
        counts.moments,
        counts.second,
        counts.runs,
        counts.differences.len(),
        begun.elapsed().as_secs_f64()
    );
    for (end, count) in &counts.ends {
        println!("    {count} hosts: {end}");
    }
}

/// The differences, the same ones together.
fn tell(counts: &Counts) {
    let mut kinds: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (what, how) in &counts.differences {
        kinds.entry(what).or_default().push(how);
    }
    for (what, hows) in kinds {
        println!("{} times, first: {}\n    {what}", hows.len(), hows[0]);
    }
}

/// How many hosts of each era; a person who has more time may ask for more.
fn count_of_hosts() -> usize {
    std::env::var("HOSTS").map_or(28, |n| n.parse().expect("a number"))
}

/// The product's policy. All counts of one run are printed: `cargo test --test crash -- --nocapture`.
#[test]
fn nothing_is_lost_wherever_a_run_dies() {
    let begun = Instant::now();
    let hosts = [Era::Today, Era::Old].map(|era| hosts(era, count_of_hosts())).concat();
    let counts = run(&hosts, Policy::Proposed, Density { first: 4, second: 20 });
    show("crash matrix", &counts, begun);
    tell(&counts);
    assert!(counts.differences.is_empty());
    // 28 hosts of each era are ten thousand commands, and some five minutes of processor time.
    assert!(counts.runs >= hosts.len() * 180, "only {} commands were run", counts.runs);
    assert!(counts.full > 0 || hosts.len() < 20, "no host's disk was full");
}

/// The matrix would see it if the journal were kept otherwise.
#[test]
fn the_three_usual_policies_lose_something() {
    for policy in [Policy::LastPriorWins, Policy::OnlyAfterTheAct, Policy::ReceiptAtTheEnd] {
        let begun = Instant::now();
        let hosts = [Era::Today, Era::Old].map(|era| hosts(era, 3)).concat();
        let counts = run(&hosts, policy, Density { first: 8, second: 40 });
        show(&format!("{policy:?}"), &counts, begun);
        assert!(!counts.differences.is_empty(), "{policy:?} is not found out");
    }
}

/// A CPF of somebody else's has another password than the one that is told: it does not pass for ours.
#[test]
fn a_secret_of_somebody_else_is_not_taken_for_ours() {
    use iris_mk8s::{error::ExitCode, kube as kinds};
    for era in [Era::Today, Era::Old] {
        let tool = Tool::new(Policy::Proposed);
        let mut world = tool.bootstrap(Initial::fresh(era).world()).world;
        let now = world.now;
        let cluster = world.api().expect("it runs");
        let key = model::cluster::key(&kinds::SECRET, "default", "iris-merge-cpf");
        let data = cluster.get(&key).expect("ours")["data"].clone();
        let mut theirs = |data: serde_json::Value| {
            cluster.drop_object(&key);
            let secret = serde_json::json!({"apiVersion": "v1", "kind": "Secret",
                "metadata": {"name": "iris-merge-cpf", "namespace": "default"}, "data": data});
            cluster.apply(&secret, "kubectl-create", false, now).expect("it is applied");
        };
        // The same one, put back from a backup, serves.
        theirs(data);
        let mut other = world.clone();
        assert_eq!(tool.bootstrap(world).code, ExitCode::Done);
        other.api().expect("it runs").change(&key, |secret| secret["data"]["merge.cpf"] = "eA==".into());
        let refused = tool.bootstrap(other);
        assert_eq!(refused.code, ExitCode::NotOurs);
        assert!(refused.error.expect("an error").to_string().contains("merge.cpf"));
    }
}

/// snapd removes no disabled MicroK8s: its hook would not be run. And what is in it cannot be seen.
#[test]
fn a_snap_that_somebody_disabled_goes_when_the_person_says_so() {
    for era in [Era::Today, Era::Old] {
        let tool = Tool::new(Policy::Proposed);
        let world = Initial::fresh(era).world();
        let before = model::compare::facts(&world);
        let mut world = tool.bootstrap(world).world;
        model::initial::ask(&mut world, "POST", "/v2/snaps/microk8s", serde_json::json!({"action": "disable"}));
        world.settle();
        let refused = tool.teardown(world.clone(), iris_mk8s::engine::step::Scope::Host);
        assert_eq!((refused.code, refused.acts), (iris_mk8s::error::ExitCode::NotOurs, 0));
        let said = refused.error.expect("a reason").to_string();
        for text in [
            "the snap microk8s is disabled",
            "snap enable microk8s",
            "--without-looking",
            "default-dbv-data-data-0-pvc",
        ] {
            assert!(said.contains(text), "it should say `{text}`: {said}");
        }
        let mut down = Tool { without_looking: true, ..tool }.teardown(world, iris_mk8s::engine::step::Scope::Host);
        assert_eq!(down.code, iris_mk8s::error::ExitCode::Done, "{:?}", down.error);
        down.world.settle();
        assert_eq!(model::compare::difference(&before, &model::compare::facts(&down.world)), [""; 0]);
    }
}
