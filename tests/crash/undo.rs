//! What a teardown tells and counts, and how it goes about steps that fail, hang or stay: steps of the test's own on the modelled host, and those
//! of the product.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use iris_mk8s::{
    config::place::Place,
    engine::{
        Engine, UndoPlan,
        event::{Event, Events, Outcome},
        journal::{Journal, Ledger, Record},
        step::{Act, Memo, Memory, Probe, Scope, Stage, Step, Undo},
    },
    error::{Error, ExitCode, Result},
    host::Host,
    kube as kinds,
    stack::data::Agreed,
};
use serde_json::{Value, json};

use crate::model::{cluster::key, host::Model, initial::Initial, store::Policy, tool::Tool, world::Era};

/// A step whose undo is what the test says; it is asked with the count of the times before.
struct Fake {
    id: &'static str,
    scope: Scope,
    inside: Option<&'static str>,
    used_by: Option<&'static str>,
    clears: Option<&'static str>,
    asked: AtomicUsize,
    undo: fn(usize) -> Result<Undo>,
}

fn fake(id: &'static str, undo: fn(usize) -> Result<Undo>) -> Fake {
    Fake { id, scope: Scope::App, inside: None, used_by: None, clears: None, asked: AtomicUsize::new(0), undo }
}

impl Step for Fake {
    fn id(&self) -> &str {
        self.id
    }

    fn title(&self) -> String {
        format!("the {}", self.id)
    }

    fn probe(&self, _: &dyn Host) -> Result<Probe> {
        Ok(Probe::Absent)
    }

    fn apply(&self, _: &dyn Host, _: &Probe) -> Result<Vec<Act>> {
        Ok(Vec::new())
    }

    fn memo(&self, _: &dyn Host, _: &Probe) -> Result<Memo> {
        Ok(Memo::default())
    }

    fn undo(&self, _: &dyn Host, _: &Memory) -> Result<Undo> {
        (self.undo)(self.asked.fetch_add(1, Ordering::Relaxed))
    }

    fn deadline(&self) -> Duration {
        Duration::from_secs(60)
    }

    fn scope(&self) -> Scope {
        self.scope
    }

    fn inside(&self) -> Option<&'static str> {
        self.inside
    }

    fn used_by(&self) -> Option<String> {
        self.used_by.map(str::to_owned)
    }

    fn clears(&self) -> Option<&'static str> {
        self.clears
    }
}

/// An act that no cluster takes: there is none.
fn in_vain(_: usize) -> Result<Undo> {
    let patch = json!({});
    Ok(Undo::Acts(vec![Act::Patch { kind: &kinds::SERVICE, namespace: None, name: "it".into(), patch }]))
}

fn goes(_: usize) -> Result<Undo> {
    Ok(Undo::Done)
}

fn stays(_: usize) -> Result<Undo> {
    Ok(Undo::Keep("somebody changed it".to_owned()))
}

/// What came of a teardown of these steps.
struct Took {
    plan: Result<UndoPlan>,
    outcome: Outcome,
    result: Result<()>,
    events: Vec<Event>,
    ledger: Ledger,
    /// Seconds on the modelled clock.
    seconds: u64,
}

impl Took {
    fn ours(&self) -> Vec<&str> {
        self.ledger.steps().collect()
    }

    fn said(&self, wanted: fn(&Event) -> Option<(&String, &String)>) -> Vec<(&str, &str)> {
        self.events.iter().filter_map(wanted).map(|(step, what)| (step.as_str(), what.as_str())).collect()
    }

    fn acted(&self) -> Vec<&str> {
        self.events
            .iter()
            .filter_map(|e| if let Event::StepActing { act, .. } = e { Some(act.as_str()) } else { None })
            .collect()
    }

    fn left(&self) -> Vec<(&str, &str)> {
        self.said(|e| if let Event::StepLeft { step, why, .. } = e { Some((step, why)) } else { None })
    }
}

/// Takes these steps back, the last one first: all of them are ours, with that prior, but for the one that is called `not-ours`.
fn take_back(steps: Vec<Fake>, priors: &[(&str, Value)]) -> Took {
    let dir = tempfile::tempdir().expect("a directory");
    let journal = Journal::open(&Place { dir: dir.path().to_owned() }, iris_mk8s::stack::origin).expect("a journal");
    for step in steps.iter().map(|s| s.id).filter(|id| *id != "not-ours") {
        let prior = priors.iter().find(|(id, _)| *id == step).map(|(_, prior)| prior.clone()).unwrap_or_default();
        let memo = Memo { prior, want: json!(1) };
        journal
            .append(&Record::Intent { step: step.to_owned(), memo, recipe: Value::Null, microk8s: None, anew: false })
            .expect("written");
        journal.append(&Record::Done { step: step.to_owned(), microk8s: None }).expect("written");
    }
    let steps = steps.into_iter().map(|s| Box::new(s) as Box<dyn Step>).collect();
    let stages = [Stage { id: "all", needs: &[], lock: None, steps }];
    let (events, heard) = Events::channel();
    let host = Model::new(Initial::fresh(Era::Today).world(), "undo", false);
    let engine = Engine { host: &host, stages: &stages, events: &events, workers: 1, agreed: Agreed::nothing() };
    let plan = engine.undo_plan(&journal.ledger(), Scope::App);
    let begun = host.now();
    let (outcome, result) = engine.teardown(&journal, "undo", Scope::App);
    let seconds = (host.now() - begun).as_secs();
    drop(events);
    let events = heard.iter().map(|stamped| stamped.event).collect();
    Took { plan, outcome, result, events, ledger: journal.ledger(), seconds }
}

#[test]
fn a_failing_step_does_not_stop_the_others() {
    let broken = |_| Err(Error::failed("broken"));
    let took = take_back(vec![fake("a.first", goes), fake("b.broken", broken), fake("c.last", goes)], &[]);
    let error = took.result.as_ref().unwrap_err();
    assert_eq!(error.code, ExitCode::Residue);
    assert_eq!(error.cause.as_deref(), Some("b.broken: broken"));
    assert_eq!(took.ours(), ["b.broken"]);
    assert_eq!((took.outcome.undone, took.outcome.kept, took.seconds), (2, 0, 0));
    let planned = &took.plan.expect("a plan").steps[1];
    assert_eq!(planned.keep.as_deref(), Some("it could not be taken back: broken"));
    let failed = took.events.iter().filter(|e| matches!(e, Event::StepFailed { step, .. } if step == "b.broken"));
    assert_eq!(failed.count(), 1);
}

/// Data that cannot be seen is not deleted, and an undo that did nothing has not begun.
#[test]
fn what_was_not_agreed_to_is_not_even_begun() {
    fn deletes(_: usize) -> Result<Undo> {
        let (kind, namespace) = (&kinds::PERSISTENT_VOLUME_CLAIM, Some("default".to_owned()));
        Ok(Undo::Acts(vec![Act::Delete { kind, namespace, name: "it".into() }]))
    }
    let took = take_back(vec![fake("a.it", deletes)], &[]);
    assert_eq!(took.result.as_ref().unwrap_err().code, ExitCode::Residue);
    assert!(!took.events.iter().any(|e| matches!(e, Event::StepActing { .. })), "it acted");
    assert!(!took.ledger.is_undoing("a.it"), "its undo counts as begun");
}

/// What does not go is still there, and needs what it needs.
#[test]
fn what_fails_keeps_what_it_needs() {
    let broken = |_| Err(Error::failed("broken"));
    let needed = Fake { used_by: Some("c.broken"), ..fake("a.needed", goes) };
    let took = take_back(vec![fake("z.other", goes), needed, fake("c.broken", broken)], &[]);
    assert_eq!(took.result.as_ref().unwrap_err().code, ExitCode::Residue);
    assert_eq!(took.ours(), ["a.needed", "c.broken"]);
}

#[test]
fn who_interrupts_it_stops_it() {
    let interrupted = |_| Err(Error::new(ExitCode::Interrupted, "interrupted"));
    let took = take_back(vec![fake("a.first", goes), fake("b.it", interrupted), fake("c.last", goes)], &[]);
    assert_eq!(took.result.as_ref().unwrap_err().code, ExitCode::Interrupted);
    assert_eq!(took.ours(), ["a.first", "b.it"]);
}

#[test]
fn what_cannot_be_looked_at_yet_is_waited_for() {
    let soon = |asked| if asked < 4 { Err(Error::transient("not up")) } else { Ok(Undo::Done) };
    let took = take_back(vec![fake("a.it", soon)], &[]);
    took.result.as_ref().expect("it goes in the end");
    let planned = &took.plan.as_ref().expect("a plan").steps[0];
    assert_eq!((planned.keep.as_deref(), planned.later.as_deref()), (None, Some("not up")));
    assert_eq!((took.ours().len(), took.outcome.undone), (0, 1));
}

/// Not again and again: what an act brought may take its time to show.
#[test]
fn an_act_that_fails_is_tried_again_every_ten_seconds() {
    let took = take_back(vec![fake("a.it", in_vain)], &[]);
    let error = took.result.as_ref().unwrap_err();
    assert_eq!(error.code, ExitCode::Residue);
    assert!(error.cause.as_deref().is_some_and(|c| c.contains("the API server does not answer")), "{error}");
    let acts = took.events.iter().filter(|e| matches!(e, Event::StepActing { .. })).count();
    assert!((5..=7).contains(&acts), "acted {acts} times");
    assert!((60..70).contains(&took.seconds), "it took {} s", took.seconds);
}

/// An act that does nothing.
fn idle(name: &str) -> Act {
    Act::Remove { path: format!("/nowhere/{name}").into(), all: false }
}

#[test]
fn it_goes_on_at_once_to_the_next_act() {
    fn one_by_one(asked: usize) -> Result<Undo> {
        // The first question is the plan's.
        let acts = ["first", "first", "second", "third"].get(asked).map(|name| Undo::Acts(vec![idle(name)]));
        Ok(acts.unwrap_or(Undo::Done))
    }
    let took = take_back(vec![fake("a.it", one_by_one)], &[]);
    took.result.as_ref().expect("it goes");
    assert_eq!(took.seconds, 0);
    assert_eq!(took.acted(), ["rm /nowhere/first", "rm /nowhere/second", "rm /nowhere/third"]);
    let text = took.plan.expect("a plan").show();
    assert_eq!(text, "  remove a.it                   the a.it\n            rm /nowhere/first\n");
}

/// Nobody says that it failed, and nothing changes: alone, or by turns with another one.
#[test]
fn an_act_that_brings_nothing_is_not_repeated_without_a_pause() {
    let always = |_| Ok(Undo::Acts(vec![idle("it")]));
    let by_turns = |asked: usize| Ok(Undo::Acts(vec![idle(if asked.is_multiple_of(2) { "one" } else { "other" })]));
    for (undo, at_most) in [(always as fn(usize) -> Result<Undo>, 7), (by_turns, 14)] {
        let took = take_back(vec![fake("a.it", undo)], &[]);
        let error = took.result.as_ref().unwrap_err();
        assert_eq!(error.code, ExitCode::Residue);
        assert!(error.cause.as_deref().is_some_and(|c| c.contains("not reached within 60 s")), "{error}");
        assert!(error.cause.as_deref().is_some_and(|c| c.contains("rm /nowhere/")), "{error}");
        let acts = took.acted().len();
        assert!((5..=at_most).contains(&acts), "acted {acts} times");
        assert!((60..70).contains(&took.seconds), "it took {} s", took.seconds);
    }
}

#[test]
fn what_somebody_changed_stays_and_what_it_needs_stays_with_it() {
    let used = |id, undo| Fake { used_by: Some("c.changed"), ..fake(id, undo) };
    let unknown = |_| Err(Error::transient("not up"));
    let steps = vec![
        fake("a.first", goes),
        used("b.changed-too", stays),
        used("b.needed", goes),
        used("b.unknown", unknown),
        fake("c.changed", stays),
        fake("not-ours", |_| panic!("it is not asked")),
    ];
    let took = take_back(steps, &[]);
    let error = took.result.as_ref().expect_err("something of ours stays");
    assert_eq!(error.code, ExitCode::Residue);
    assert!(error.cause.as_deref().is_some_and(|why| why.contains("c.changed: somebody changed it")), "{error}");
    assert_eq!((took.outcome.undone, took.outcome.kept), (1, 4));
    assert_eq!(took.ours(), ["b.changed-too", "b.needed", "b.unknown", "c.changed"], "what stays is not forgotten");
    let needed = "c.changed stays and needs it";
    let mut left = took.left();
    left.sort_unstable();
    assert_eq!(
        left,
        [
            ("b.changed-too", "somebody changed it"),
            ("b.needed", needed),
            ("b.unknown", needed),
            ("c.changed", "somebody changed it")
        ]
    );
    let plan = took.plan.expect("a plan");
    assert_eq!(
        plan.show(),
        "  keep   c.changed              the c.changed: somebody changed it
  keep   b.unknown              the b.unknown: c.changed stays and needs it
  keep   b.needed               the b.needed: c.changed stays and needs it
  keep   b.changed-too          the b.changed-too: somebody changed it
  remove a.first                the a.first\n"
    );
}

/// What somebody made anew in the place of ours is not ours any more; what it uses of ours still is.
#[test]
fn what_is_somebody_elses_by_now_is_named_and_forgotten() {
    let theirs = |_| Ok(Undo::Theirs("somebody replaced it".to_owned()));
    let used = Fake { used_by: Some("b.replaced"), ..fake("a.used", goes) };
    let took = take_back(vec![used, fake("b.replaced", theirs)], &[]);
    assert_eq!(took.result.as_ref().expect_err("the used one stays").code, ExitCode::Residue);
    assert_eq!((took.outcome.undone, took.outcome.kept), (0, 2));
    assert_eq!(took.ours(), ["a.used"]);
    let took = take_back(vec![fake("b.replaced", theirs)], &[]);
    took.result.as_ref().expect("nothing of ours is left");
    assert_eq!((took.ours().len(), took.left()), (0, vec![("b.replaced", "somebody replaced it")]));
    assert!(took.plan.expect("a plan").steps[0].theirs);
}

/// The password belongs to the claims, and these to a StatefulSet that stays.
#[test]
fn what_is_needed_by_what_is_needed_stays_too() {
    let steps = vec![
        Fake { used_by: Some("b.needed"), ..fake("a.below", goes) },
        Fake { used_by: Some("c.changed"), ..fake("b.needed", goes) },
        fake("c.changed", stays),
    ];
    let took = take_back(steps, &[]);
    assert_eq!(took.ours(), ["a.below", "b.needed", "c.changed"]);
    assert_eq!((took.outcome.undone, took.outcome.kept), (0, 3));
    assert!(took.plan.expect("a plan").steps.iter().all(|step| step.keep.is_some()));
}

#[test]
fn why_it_stays_with_another_one_is_found_out_or_told() {
    let broken = |_| Err(Error::failed("broken"));
    let used = Fake { used_by: Some("b.changed"), ..fake("a.it", broken) };
    let took = take_back(vec![used, fake("b.changed", stays)], &[]);
    assert_eq!(took.plan.unwrap_err().what, "broken");
}

#[test]
fn what_is_inside_goes_with_what_was_not_there_before() {
    let inside = || Fake { inside: Some("a.outer"), ..fake("b.inner", |_| panic!("it goes with the other one")) };
    let clears = || Fake { clears: Some("a.outer"), ..fake("a.before", goes) };
    let took = take_back(vec![clears(), fake("a.outer", goes), inside(), fake("c.other", goes)], &[]);
    took.result.as_ref().expect("no error");
    assert_eq!((took.ours().len(), took.outcome.undone, took.outcome.kept), (0, 4, 0));
    assert_eq!(
        took.plan.expect("a plan").show(),
        "  remove c.other                the c.other
  remove b.inner                the b.inner, together with a.outer
  remove a.outer                the a.outer
  remove a.before               the a.before, together with a.outer: the traces that it leaves\n"
    );

    // As long as that has not gone, nothing of it has, whatever else goes meanwhile.
    let took = take_back(vec![fake("a.outer", in_vain), fake("c.other", goes), inside()], &[]);
    assert_eq!(took.result.as_ref().unwrap_err().code, ExitCode::Residue);
    assert_eq!(took.ours(), ["a.outer", "b.inner"]);

    // Something of that was there before: it does not go, and so it takes nothing along.
    let inside = || Fake { inside: Some("a.outer"), ..fake("b.inner", goes) };
    let took = take_back(vec![fake("a.outer", goes), inside()], &[("a.outer", json!("1.33/stable"))]);
    assert_eq!(took.plan.expect("a plan").steps[0].with, None);
    let took = take_back(vec![clears(), fake("a.outer", stays), inside()], &[]);
    assert_eq!((took.outcome.undone, took.outcome.kept, took.ours()), (2, 1, vec!["a.outer"]));
    let plan = took.plan.expect("a plan");
    assert!(plan.steps.iter().all(|step| step.with.is_none()), "{}", plan.show());
}

#[test]
fn a_repair_takes_away_whoever_made_it_and_stops_where_it_does_not_go() {
    let run = |steps: Vec<Fake>| {
        let steps = steps.into_iter().map(|s| Box::new(s) as Box<dyn Step>).collect();
        let stages = [Stage { id: "all", needs: &[], lock: None, steps }];
        let (events, heard) = Events::channel();
        let host = Model::new(Initial::fresh(Era::Today).world(), "repair", false);
        let mut outcome = Outcome::new(ExitCode::Done);
        let result = Engine { host: &host, stages: &stages, events: &events, workers: 1, agreed: Agreed::nothing() }
            .repair(&mut outcome);
        drop(events);
        let told =
            heard.iter().filter(|s| matches!(s.event, Event::StepUndone { .. } | Event::StepLeft { .. })).count();
        (result, outcome.undone, outcome.kept, told)
    };
    let (result, undone, kept, told) = run(vec![fake("a", goes), fake("b", stays), fake("c", goes), fake("d", goes)]);
    result.expect("no error");
    assert_eq!((undone, kept, told), (3, 1, 4));
    let broken = |_| Err(Error::failed("broken"));
    let (result, undone, kept, told) = run(vec![fake("a", goes), fake("b", broken), fake("c", goes)]);
    assert_eq!(result.unwrap_err().step.as_deref(), Some("b"));
    assert_eq!((undone, kept, told), (1, 0, 1));
}

/// The product's own steps: all that it made is told and counted, and nothing is told of afterwards.
#[test]
fn a_reset_tells_of_everything_that_is_ours() {
    for era in [Era::Today, Era::Old] {
        let tool = Tool::new(Policy::Proposed);
        let world = tool.bootstrap(Initial::fresh(era).world()).world;
        let plan = tool.undo_plan(world.clone(), Scope::Host).expect("a plan");
        let shown = plan.show();
        for line in ["iris.statefulset", "iris.claims", "addon.metallb"] {
            let told = shown.lines().find(|l| l.contains(line)).unwrap_or_else(|| panic!("no word of {line}: {shown}"));
            assert!(told.contains("remove") && told.ends_with("together with snap.microk8s"), "{told}");
        }
        assert!(shown.contains("snap remove --purge microk8s"), "{shown}");
        let down = tool.teardown(world, Scope::Host);
        let outcome = down.outcome.expect("an outcome");
        assert_eq!((outcome.undone, outcome.kept), (plan.steps.len(), 0), "{shown}");
        assert_eq!(
            tool.undo_plan(down.world, Scope::Host).expect("a plan").show(),
            "nothing that iris-mk8s made is there\n"
        );
    }
}

/// A journal as the first release wrote it is all that a later one needs.
#[test]
fn what_the_first_release_made_is_taken_back_in_full() {
    let journal = include_bytes!("../data/journals/format-1-bootstrapped.jsonl");
    let fresh = Initial::fresh(Era::Today).world();
    let tool = Tool::new(Policy::Proposed);
    let mut world = tool.bootstrap(fresh.clone()).world;
    world.files.write_as(&Place::default().journal().display().to_string(), journal, 0o600, "root");
    let down = tool.teardown(world, Scope::Host);
    assert_eq!(down.code, ExitCode::Done, "{:?}", down.error);
    let settled = |mut world: crate::model::world::World| {
        world.settle();
        crate::model::compare::facts(&world)
    };
    assert_eq!(crate::model::compare::difference(&settled(fresh), &settled(down.world)), Vec::<String>::new());
}

/// The deepest promise in between: another namespace, fewer instances, an addon that is wanted no more.
#[test]
fn what_an_earlier_spec_made_is_taken_back_without_it() {
    let tool = Tool::new(Policy::Proposed);
    let before = crate::model::tool::spec(Era::Today, false).clone();
    let fresh = Initial::fresh(Era::Today).world();
    let mut one = before.clone();
    one.iris.namespace = "a".to_owned();
    one.iris.replicas = 3;
    let mut other = before;
    other.iris.namespace = "b".to_owned();
    other.addons.retain(|addon| addon != "registry");
    let up = tool.bootstrap_of(fresh.clone(), &one);
    assert_eq!(up.code, ExitCode::Done, "{:?}", up.error);
    let down = tool.teardown(up.world, Scope::App);
    assert_eq!(down.code, ExitCode::Done, "{:?}", down.error);
    let up = tool.bootstrap_of(down.world, &other);
    assert_eq!(up.code, ExitCode::Done, "{:?}", up.error);
    let shown = tool.undo_plan(up.world.clone(), Scope::Host).expect("a plan").show();
    for said in ["volume claims of a/data", "volume claims of b/data", "addon.registry", "Namespace a", "Namespace b"] {
        assert!(shown.contains(said), "it should say `{said}`:\n{shown}");
    }
    let data = tool.teardown(up.world.clone(), Scope::Data);
    assert_eq!(data.code, ExitCode::Done, "{:?}", data.error);
    let left: Vec<String> =
        crate::model::compare::facts(&data.world).into_iter().filter(|f| f.contains("dbv-")).collect();
    assert_eq!(left, Vec::<String>::new(), "claims are left");
    let reset = tool.teardown(up.world, Scope::Host);
    assert_eq!(reset.code, ExitCode::Done, "{:?}", reset.error);
    let settled = |mut world: crate::model::world::World| {
        world.settle();
        crate::model::compare::facts(&world)
    };
    assert_eq!(crate::model::compare::difference(&settled(fresh), &settled(reset.world)), Vec::<String>::new());
}

/// A stop of our own is neither a change by somebody else nor what was there before us.
#[test]
fn stop_and_start_change_nothing_about_whose_it_is() {
    use crate::model::{
        compare::{difference, facts},
        initial::Before,
    };
    let tool = Tool::new(Policy::Proposed);
    let settled = |mut world: crate::model::world::World| {
        world.settle();
        facts(&world)
    };
    for microk8s in [Before::Absent, Before::Running] {
        let initial = Initial { microk8s, ..Initial::fresh(Era::Today) };
        let before = initial.world();
        let up = tool.bootstrap(before.clone());
        assert_eq!(up.code, ExitCode::Done, "{:?}", up.error);
        let converged = settled(up.world.clone());
        let stopped = tool.stop(up.world);
        assert_eq!(stopped.code, ExitCode::Done, "{:?}", stopped.error);
        assert_eq!(tool.stop(stopped.world.clone()).acts, 0, "a second stop acts");
        let started = tool.start(stopped.world.clone());
        assert_eq!(started.code, ExitCode::Done, "{:?}", started.error);
        let other = |facts: std::collections::BTreeSet<String>| crate::model::compare::without_hold(facts);
        assert_eq!(difference(&other(converged.clone()), &other(settled(started.world.clone()))), Vec::<String>::new());
        // All of IRIS goes after a stop and a start.
        let down = tool.teardown(started.world, Scope::App);
        assert_eq!(down.code, ExitCode::Done, "{:?}", down.error);
        assert_eq!(down.outcome.expect("an outcome").kept, 0);
        // And MicroK8s ends as it was found, although a bootstrap found it stopped.
        let again = tool.bootstrap(stopped.world);
        assert_eq!(again.code, ExitCode::Done, "{:?}", again.error);
        let reset = tool.teardown(again.world, Scope::Host);
        assert_eq!(reset.code, ExitCode::Done, "{:?}", reset.error);
        assert_eq!(difference(&settled(before), &settled(reset.world)), Vec::<String>::new(), "{microk8s:?}");
    }
}
