//! A Longhorn whose namespace somebody deleted: nothing of it may be left behind in a namespace that is gone, and what was left there by others is
//! ours again, not a riddle.

use iris_mk8s::{
    engine::step::Scope,
    error::ExitCode,
    kube as kinds,
    stack::longhorn::{repair, state::NAMESPACE},
};
use serde_json::json;

use crate::model::{
    cluster::{Cluster, Key, key},
    compare::{difference, facts},
    host::Model,
    initial::Initial,
    store::Policy,
    tool::Tool,
    world::{Era, World, s},
};

fn tool() -> Tool {
    Tool { longhorn: true, ..Tool::new(Policy::Proposed) }
}

fn host() -> Initial {
    Initial { longhorn: true, ..Initial::fresh(Era::Today) }
}

fn cluster(world: &World) -> &Cluster {
    world.cluster.as_ref().expect("MicroK8s")
}

/// A host with IRIS on Longhorn, before and after.
fn converged() -> (World, World) {
    let before = host().world();
    let up = tool().bootstrap(before.clone());
    assert_eq!(up.code, ExitCode::Done, "{:?}", up.error);
    (before, up.world)
}

/// `kubectl delete namespace longhorn-system`, so many seconds ago.
fn namespace_deleted(world: &mut World, seconds: u64) {
    let now = world.now;
    world.api().expect("it runs").delete(&key(&kinds::NAMESPACE, "", NAMESPACE), now);
    world.advance(s(seconds));
}

fn inside(world: &World) -> Vec<Key> {
    cluster(world).inside(NAMESPACE)
}

/// An earlier repair ended everything but what it let go with the namespace.
fn orphaned(world: &mut World) -> Vec<Key> {
    let kept = [&kinds::CONFIG_MAP, &kinds::SERVICE, &kinds::SERVICE_ACCOUNT].map(|kind| kind.plural);
    let left: Vec<Key> = inside(world).into_iter().filter(|(plural, ..)| kept.contains(plural)).collect();
    assert!(left.len() >= 4, "{left:?}");
    let objects: Vec<_> = left.iter().filter_map(|key| cluster(world).get(key).cloned()).collect();
    namespace_deleted(world, 0);
    let mended = tool().repair(world.clone());
    assert_eq!(mended.code, ExitCode::Done, "{:?}", mended.error);
    *world = mended.world;
    let api = world.api().expect("it runs");
    objects.into_iter().for_each(|object| api.put(object));
    left
}

#[test]
fn a_namespace_that_is_still_being_emptied_is_not_let_go() {
    for seconds in [0, 8, 20, 45, 200] {
        let (_, mut world) = converged();
        namespace_deleted(&mut world, seconds);
        let mended = tool().repair(world);
        assert_eq!(mended.code, ExitCode::Done, "{seconds} s: {:?}", mended.error);
        assert_eq!(inside(&mended.world), [], "{seconds} s later");
        assert!(cluster(&mended.world).find(&kinds::NAMESPACE, "", NAMESPACE).is_none());
    }
}

/// An object whose controller is gone holds the namespace: it is let go by its name, after it had its time.
#[test]
fn what_waits_for_somebody_who_is_gone_is_let_go() {
    let (_, mut world) = converged();
    let held = key(&kinds::CONFIG_MAP, NAMESPACE, "held");
    world.api().expect("it runs").put(json!({"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "held", "namespace": NAMESPACE, "finalizers": ["example.org/nobody"]}}));
    namespace_deleted(&mut world, 8);
    let begun = world.now;
    let mended = tool().repair(world);
    assert_eq!(mended.code, ExitCode::Done, "{:?}", mended.error);
    assert_eq!(inside(&mended.world), []);
    assert!(cluster(&mended.world).get(&held).is_none());
    let took = (mended.world.now - begun).as_secs();
    assert!((50..150).contains(&took), "it took {took} s");
}

#[test]
fn what_a_namespace_that_is_gone_left_is_found_and_ended() {
    let (_, mut world) = converged();
    let left = orphaned(&mut world);
    let diagnosed =
        repair::diagnose(&Model::new(world.clone(), "look", false)).expect("it answers").expect("something is wrong");
    assert!(diagnosed.contains(&format!("is gone and left {} objects behind", left.len())), "{diagnosed}");
    let mended = tool().repair(world);
    assert_eq!(mended.code, ExitCode::Done, "{:?}", mended.error);
    assert_eq!(inside(&mended.world), []);
    assert_eq!(repair::diagnose(&Model::new(mended.world, "look", false)).expect("it answers"), None);
}

/// What cannot be ended is told, and is no success.
#[test]
fn a_repair_that_leaves_something_says_so() {
    let (_, world) = converged();
    let host = Model::new(world, "look", false);
    let verified = repair::stages();
    let last = verified[0].steps.last().expect("the last step");
    assert_eq!(last.id(), "repair.verified");
    // Longhorn works: nothing may be called gone.
    assert!(last.undo(&host, &iris_mk8s::engine::step::Memory::default()).is_err());
    let mut world = host.world().clone();
    orphaned(&mut world);
    *host.world() = world;
    let error = last.undo(&host, &iris_mk8s::engine::step::Memory::default()).unwrap_err();
    assert_eq!(error.code, ExitCode::Residue);
    assert!(error.cause.as_deref().is_some_and(|c| c.contains("left") && c.contains("ConfigMap")), "{error}");
}

/// The server refuses every question about an object in a namespace that is not there: that is an answer, too.
#[test]
fn a_plan_and_a_bootstrap_go_on_where_the_namespace_is_gone() {
    let (_, mut world) = converged();
    orphaned(&mut world);
    assert!(!tool().plan(world.clone()).expect("a plan"), "there is something to do");
    let up = tool().bootstrap(world);
    assert_eq!(up.code, ExitCode::Done, "{:?}", up.error);
    assert!(tool().plan(up.world).expect("a plan"), "nothing is left to do");
}

#[test]
fn a_reset_ends_what_was_left_in_a_namespace_that_is_gone() {
    let (before, mut world) = converged();
    orphaned(&mut world);
    let acts = world.acts;
    let mut down = tool().teardown(world, Scope::Host);
    assert_eq!(down.code, ExitCode::Done, "{:?}", down.error);
    assert!(down.world.acts - acts < 150, "it acted {} times", down.world.acts - acts);
    down.world.settle();
    let mut before = before;
    before.settle();
    assert_eq!(difference(&facts(&before), &facts(&down.world)), [""; 0]);
}

/// Somebody made the namespace again, by hand: what is in it is ours, and tells so.
#[test]
fn what_is_left_in_a_namespace_made_by_hand_is_still_ours() {
    let (before, mut world) = converged();
    orphaned(&mut world);
    let now = world.now;
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}});
    world.api().expect("it runs").apply(&namespace, "kubectl-create", false, now).expect("it is applied");
    world.advance(s(5));
    let mut down = tool().teardown(world.clone(), Scope::Host);
    assert_eq!(down.code, ExitCode::Done, "{:?}", down.error);
    assert_eq!(down.outcome.as_ref().map(|o| o.kept), Some(1), "only the namespace itself is somebody's");
    down.world.settle();
    let mut before = before;
    before.settle();
    assert_eq!(difference(&facts(&before), &facts(&down.world)), [""; 0]);
    // A bootstrap takes it up as well.
    let up = tool().bootstrap(world);
    assert_eq!(up.code, ExitCode::Done, "{:?}", up.error);
}
