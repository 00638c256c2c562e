//! An image of the user's own in the built-in registry: waited for, missed by name, rolled out when its tag moves, and never for anything else.

use iris_mk8s::{
    config::{flags::SpecFlags, profile, spec::Spec},
    engine::step::Scope,
    error::ExitCode,
    kube::{self as kinds, state},
};
use serde_json::Value;

use crate::model::{
    compare::{difference, facts},
    initial::{Before, Initial},
    registry::digest,
    store::Policy,
    tool::{RANGE, Ran, Tool},
    world::{Era, World, s},
};

const ERAS: [Era; 2] = [Era::Today, Era::Old];
const TAG: &str = "simple:latest";

fn tool() -> Tool {
    Tool::new(Policy::Proposed)
}

/// The built-in profile.
fn simple(era: Era) -> Spec {
    let (lb, channel) = (Some(RANGE.parse().expect("a range")), Some(era.channel().parse().expect("a channel")));
    let flags = SpecFlags { lb, channel, profile: Some("simple".to_owned()), ..Default::default() };
    let input = profile::Input { flags, login: Some("ubuntu".to_owned()), ..profile::Input::default() };
    profile::resolve(&input).expect("the profile").0
}

fn pushed(world: &mut World, number: u8) {
    world.cluster.as_mut().expect("MicroK8s").tags.insert(TAG.to_owned(), digest(number));
}

fn done(ran: Ran) -> World {
    assert_eq!(ran.code, ExitCode::Done, "{:?}", ran.error);
    ran.world
}

/// The images of the pods, each of them once.
fn images(world: &World) -> Vec<String> {
    let pods = world.cluster.as_ref().expect("MicroK8s").of(&kinds::POD);
    let of_iris = pods.filter(|pod| pod["metadata"]["namespace"] == "default" && !state::going(pod));
    let mut images: Vec<String> =
        of_iris.map(|pod| pod["spec"]["containers"][0]["image"].as_str().expect("an image").to_owned()).collect();
    images.sort();
    images.dedup();
    images
}

fn by_digest(number: u8) -> String {
    format!("localhost:32000/{TAG}@{}", digest(number))
}

fn claims(world: &World) -> Vec<Value> {
    let claims = world.cluster.as_ref().expect("MicroK8s").of(&kinds::PERSISTENT_VOLUME_CLAIM);
    claims.filter(|c| c["metadata"]["namespace"] == "default").map(|c| c["metadata"]["uid"].clone()).collect()
}

/// With MicroK8s there, and the image pushed.
fn up(era: Era) -> World {
    let missing = tool().bootstrap_of(Initial::fresh(era).world(), &simple(era));
    let mut world = missing.world;
    pushed(&mut world, 1);
    done(tool().bootstrap_of(world, &simple(era)))
}

#[test]
fn an_image_that_was_not_pushed_is_missed_with_the_command_that_pushes_it() {
    for era in ERAS {
        let ran = tool().bootstrap_of(Initial::fresh(era).world(), &simple(era));
        let error = ran.error.expect("it is missed");
        assert_eq!((error.code, error.step.as_deref()), (ExitCode::Unverified, Some("image.iris")), "{era:?}: {error}");
        assert!(error.what.contains("the built-in registry holds no image simple:latest"), "{error}");
        assert!(
            error.hint.as_deref().is_some_and(|h| h.contains("sudo iris-mk8s image push FILE --as simple:latest")),
            "{error}"
        );
        assert_eq!(images(&ran.world), [""; 0], "{era:?}");
        let mut world = ran.world;
        pushed(&mut world, 1);
        let up = done(tool().bootstrap_of(world, &simple(era)));
        assert_eq!(images(&up), [by_digest(1)], "{era:?}");
        let again = tool().bootstrap_of(up, &simple(era));
        assert_eq!((again.code, again.acts), (ExitCode::Done, 0), "{era:?}: {:?}", again.error);
    }
}

#[test]
fn a_tag_that_moves_rolls_the_pods_out_and_the_data_stays() {
    for era in ERAS {
        let mut world = up(era);
        let (wish, data) = (simple(era), claims(&world));
        pushed(&mut world, 2);
        world.advance(s(60));
        assert_eq!(images(&world), [by_digest(1)], "nothing moves by itself");
        let plan = tool().plan_of(world.clone(), &wish).expect("a plan");
        assert!(
            !plan.is_empty() && plan.step("iris.statefulset").is_some_and(|step| !step.acts.is_empty()),
            "{}",
            plan.show()
        );
        let rolled = done(tool().bootstrap_of(world, &wish));
        assert_eq!((images(&rolled), claims(&rolled)), (vec![by_digest(2)], data), "{era:?}");
    }
}

#[test]
fn a_roll_out_that_dies_goes_on() {
    let mut world = up(Era::Today);
    let (wish, data) = (simple(Era::Today), claims(&world));
    pushed(&mut world, 2);
    let ran = tool().collecting().bootstrap_of(world, &wish);
    assert_eq!(ran.code, ExitCode::Done, "{:?}", ran.error);
    assert!(ran.moments.len() > 4, "{} moments", ran.moments.len());
    let ends =
        ran.moments.into_iter().map(|moment| (moment.at, moment.world)).chain([("its end".to_owned(), ran.world)]);
    for (at, world) in ends {
        let up = done(tool().bootstrap_of(world, &wish));
        assert_eq!((images(&up), claims(&up)), (vec![by_digest(2)], data.clone()), "{at}");
    }
}

/// Who stops and starts the database does not ask for another image.
#[test]
fn a_stop_and_a_start_keep_the_image_that_runs() {
    for era in ERAS {
        let mut world = up(era);
        pushed(&mut world, 2);
        let down = done(tool().stop(world));
        let up = done(tool().start(down));
        assert_eq!(images(&up), [by_digest(1)], "{era:?}");
    }
}

/// What was applied is in the journal: no registry is asked for an undo.
#[test]
fn it_is_taken_back_wherever_its_tag_leads_by_then() {
    for era in ERAS {
        let before =
            Initial { microk8s: Before::Running, storage: true, registry: true, ..Initial::fresh(era) }.world();
        let mut world = before.clone();
        pushed(&mut world, 1);
        let mut up = done(tool().bootstrap_of(world, &simple(era)));
        up.cluster.as_mut().expect("MicroK8s").tags.clear();
        let mut down = done(tool().teardown(up, Scope::Host));
        down.settle();
        let mut before = before;
        before.settle();
        assert_eq!(difference(&facts(&before), &facts(&down)), [""; 0], "{era:?}");
    }
}
