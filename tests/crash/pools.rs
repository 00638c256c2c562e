//! MetalLB's pools when others live in them: no service of somebody else's loses its address, whatever we want and whenever.

use iris_mk8s::{
    config::spec::Spec,
    engine::step::Scope,
    error::ExitCode,
    kube::{self as kinds, state},
};
use serde_json::json;

use crate::model::{
    cluster::key,
    compare::{difference, facts},
    initial::{Article, Before, Initial, Pools},
    store::Policy,
    tool::{RANGE, Ran, Tool, spec},
    world::{Era, World, s},
};

const ERAS: [Era; 2] = [Era::Today, Era::Old];
/// What somebody gave to their MetalLB (see [`Pools::OtherRange`]).
const THEIRS: &str = "192.168.11.200-192.168.11.210";

fn tool() -> Tool {
    Tool::new(Policy::Proposed)
}

fn wish(era: Era, lb: &str) -> Spec {
    Spec { lb: lb.parse().expect("a range"), ..spec(era, false).clone() }
}

/// Somebody's MicroK8s with these pools.
fn somebodys(era: Era, pools: Pools) -> World {
    Initial { microk8s: Before::Running, storage: true, pools, ..Initial::fresh(era) }.world()
}

/// Somebody's service in a namespace of theirs, as `kubectl apply` makes it.
fn serves(world: &mut World, name: &str, pool: Option<&str>) {
    let now = world.now;
    let notes = pool.map(|pool| json!({"metallb.universe.tf/address-pool": pool, "metallb.io/address-pool": pool}));
    let api = world.api().expect("it runs");
    for object in [
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "team"}}),
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "team", "annotations": notes},
            "spec": {"type": "LoadBalancer", "selector": {"app": name}, "ports": [{"name": "http", "port": 80}]}}),
    ] {
        api.apply(&object, "kubectl-client-side-apply", false, now).expect("it is applied");
    }
    world.advance(s(30));
}

fn address(world: &World, namespace: &str, name: &str) -> Option<String> {
    let cluster = world.cluster.as_ref().expect("MicroK8s");
    cluster.find(&kinds::SERVICE, namespace, name).and_then(|s| state::addresses(s).into_iter().next())
}

fn web(world: &World) -> Option<String> {
    address(world, "team", "web")
}

fn done(ran: Ran) -> World {
    assert_eq!(ran.code, ExitCode::Done, "{:?}", ran.error);
    ran.world
}

/// It is refused with these words before anything is done, and by a plan as well.
fn refused(world: &World, wish: &Spec, says: &[&str]) {
    let plan = tool().plan_of(world.clone(), wish).expect("a plan").refusals().expect_err("it is refused");
    let ran = tool().bootstrap_of(world.clone(), wish);
    assert_eq!((ran.code, ran.acts), (ExitCode::NotOurs, 0), "{:?}", ran.error);
    for error in [plan, ran.error.expect("an error")] {
        assert_eq!(error.code, ExitCode::NotOurs);
        let text = error.to_string();
        assert!(says.iter().all(|words| text.contains(words)), "it should say {says:?}: {text}");
    }
    let mut after = ran.world;
    after.settle();
    let mut before = world.clone();
    before.settle();
    assert_eq!(difference(&facts(&before), &facts(&after)), [""; 0]);
}

#[test]
fn a_pool_that_serves_somebody_stays_and_ours_is_put_beside_it() {
    for era in ERAS {
        let mut world = somebodys(era, Pools::OtherRange);
        serves(&mut world, "web", None);
        assert_eq!(web(&world).as_deref(), Some("192.168.11.200"));
        world.settle();
        let before = facts(&world);

        let wish = wish(era, RANGE);
        let up = done(tool().bootstrap_of(world, &wish));
        assert_eq!(web(&up).as_deref(), Some("192.168.11.200"), "{era:?}");
        assert_eq!(address(&up, "default", "iris-ext").as_deref(), Some("192.168.11.110"), "{era:?}");
        let again = tool().bootstrap_of(up, &wish);
        assert_eq!((again.code, again.acts), (ExitCode::Done, 0), "{:?}", again.error);

        // Nobody else gets an address of ours by chance, not even when theirs are all given out; and it may be changed.
        let mut up = again.world;
        let more: Vec<String> = (1..=11).map(|n| format!("later-{n:02}")).collect();
        more.iter().for_each(|name| serves(&mut up, name, None));
        let last = [&more[9], &more[10]].map(|name| address(&up, "team", name));
        assert_eq!(last, [Some("192.168.11.210".to_owned()), None], "{era:?}");
        let moved = done(tool().bootstrap_of(up, &self::wish(era, "192.168.11.140-192.168.11.145")));
        assert_eq!(address(&moved, "default", "iris-ext").as_deref(), Some("192.168.11.140"), "{era:?}");
        assert_eq!(web(&moved).as_deref(), Some("192.168.11.200"), "{era:?}");

        let mut down = done(tool().teardown(moved, Scope::Host));
        assert_eq!(web(&down).as_deref(), Some("192.168.11.200"), "{era:?}");
        let now = down.now;
        for name in &more {
            down.api().expect("it runs").delete(&key(&kinds::SERVICE, "team", name), now);
        }
        down.settle();
        assert_eq!(difference(&before, &facts(&down)), [""; 0], "{era:?}");
    }
}

#[test]
fn a_pool_that_has_addresses_of_the_range_is_refused_by_its_name() {
    for (era, name) in [(Era::Today, "default-addresspool"), (Era::Old, "default")] {
        // Nobody lives in it, but it has another name than ours would have.
        let world = somebodys(era, Pools::Beside);
        let part = "192.168.11.190-192.168.11.204";
        refused(&world, &wish(era, part), &["`mine`", "192.168.11.200-192.168.11.204", "--lb"]);

        // Somebody lives in it: ours can neither take its place nor stand beside it.
        let mut world = somebodys(era, Pools::OtherRange);
        serves(&mut world, "web", None);
        let says = [&format!("`{name}`"), "team/web has 192.168.11.200", "192.168.11.202-192.168.11.204", THEIRS];
        refused(&world, &wish(era, "192.168.11.202-192.168.11.204"), &says);
        // The whole of it is used as it is.
        let up = done(tool().bootstrap_of(world, &wish(era, THEIRS)));
        assert_eq!(address(&up, "default", "iris-ext").as_deref(), Some("192.168.11.201"), "{era:?}");
        assert_eq!(web(&up).as_deref(), Some("192.168.11.200"), "{era:?}");
    }
}

#[test]
fn a_change_of_our_range_moves_nobody_else() {
    for era in ERAS {
        let up = done(tool().bootstrap(Initial::fresh(era).world()));
        let mut world = up;
        serves(&mut world, "web", None);
        assert_eq!(web(&world).as_deref(), Some("192.168.11.111"), "{era:?}: it lives in our pool");
        refused(&world, &wish(era, "192.168.11.112-192.168.11.120"), &["team/web has 192.168.11.111"]);
        // With its address in it, and beside it, nothing stands against another range.
        for (range, ours) in
            [("192.168.11.111-192.168.11.120", "192.168.11.112"), ("192.168.11.140-192.168.11.145", "192.168.11.140")]
        {
            let moved = done(tool().bootstrap_of(world.clone(), &wish(era, range)));
            assert_eq!(web(&moved).as_deref(), Some("192.168.11.111"), "{era:?} {range}");
            assert_eq!(address(&moved, "default", "iris-ext").as_deref(), Some(ours), "{era:?} {range}");
        }

        // A service that names the pool of ours beside another one's.
        let mut world = somebodys(era, Pools::OtherRange);
        serves(&mut world, "web", None);
        let mut up = done(tool().bootstrap(world));
        serves(&mut up, "guest", Some("iris-mk8s"));
        assert_eq!(address(&up, "team", "guest").as_deref(), Some("192.168.11.111"), "{era:?}");
        refused(&up, &wish(era, "192.168.11.140-192.168.11.145"), &["team/guest has 192.168.11.111"]);
    }
}

/// Somebody begins to live in what we gave: to give back what was there before would take their address away.
#[test]
fn a_reset_takes_no_address_away() {
    for era in ERAS {
        let mut up = done(tool().bootstrap(somebodys(era, Pools::OtherRange)));
        serves(&mut up, "web", None);
        assert_eq!(web(&up).as_deref(), Some("192.168.11.111"), "{era:?}");
        let plan = tool().undo_plan(up.clone(), Scope::Host).expect("a plan").show();
        assert!(plan.contains("keep   metallb.pool") && plan.contains("team/web has 192.168.11.111"), "{plan}");
        let down = tool().teardown(up, Scope::Host);
        assert_eq!(web(&down.world).as_deref(), Some("192.168.11.111"), "{era:?}: {:?}", down.error);

        // The addon was ours alone: while somebody has an address of it, it stays, too.
        let mut up = done(tool().bootstrap(somebodys(era, Pools::NoAddon)));
        serves(&mut up, "web", None);
        assert_eq!(web(&up).as_deref(), Some("192.168.11.111"), "{era:?}");
        let down = tool().teardown(up, Scope::Host);
        assert_eq!(web(&down.world).as_deref(), Some("192.168.11.111"), "{era:?}: {:?}", down.error);
    }
}

/// A service of IRIS that somebody applied follows our range, and goes back with it: MetalLB 0.9 must be started anew for both.
#[test]
fn an_adopted_service_goes_back_to_the_pool_that_it_came_from() {
    for era in ERAS {
        let initial = Initial {
            microk8s: Before::Running,
            storage: true,
            pools: Pools::OtherRange,
            article: Article::Serves,
            ..Initial::fresh(era)
        };
        let mut world = initial.world();
        // It names no pool.
        let ext = key(&kinds::SERVICE, "default", "iris-ext");
        let now = world.now;
        let api = world.api().expect("it runs");
        api.change(&ext, |s| _ = s["metadata"].as_object_mut().expect("fields").remove("annotations"));
        api.look_at(now);
        world.settle();
        assert_eq!(address(&world, "default", "iris-ext").as_deref(), Some("192.168.11.200"), "{era:?}");
        let before = facts(&world);
        let up = done(tool().bootstrap(world));
        assert_eq!(address(&up, "default", "iris-ext").as_deref(), Some("192.168.11.110"), "{era:?}");
        let mut down = done(tool().teardown(up, Scope::Host));
        down.settle();
        assert_eq!(address(&down, "default", "iris-ext").as_deref(), Some("192.168.11.200"), "{era:?}");
        assert_eq!(difference(&before, &facts(&down)), [""; 0], "{era:?}");
    }
}

/// Nobody answered for somebody's pool: we see to it as long as we are there.
#[test]
fn an_advertisement_of_ours_goes_with_us() {
    let mut world = somebodys(Era::Today, Pools::OtherRange);
    let theirs = key(&kinds::L2_ADVERTISEMENT, "metallb-system", "default-advertise-all-pools");
    world.api().expect("it runs").drop_object(&theirs);
    world.settle();
    let before = facts(&world);
    let up = done(tool().bootstrap(world));
    let ours: Vec<String> = up
        .cluster
        .as_ref()
        .expect("MicroK8s")
        .of(&kinds::L2_ADVERTISEMENT)
        .map(|a| state::name(a).to_owned())
        .collect();
    assert_eq!(ours, ["default-advertise-all-pools"], "as MicroK8s makes it");
    let mut down = done(tool().teardown(up, Scope::Host));
    down.settle();
    assert_eq!(difference(&before, &facts(&down)), [""; 0]);
}

/// A pool that somebody changed in 0.9's one text: theirs stays, ours goes.
#[test]
fn what_others_changed_in_the_one_text_stays() {
    let mut up = done(tool().bootstrap(somebodys(Era::Old, Pools::Poisoned)));
    let now = up.now;
    let config =
        crate::model::manifests::config(&[("default", &[RANGE]), ("added", &["192.168.11.220-192.168.11.225"])]);
    up.api().expect("it runs").apply(&config, "kubectl-client-side-apply", false, now).expect("it is applied");
    up.advance(s(5));
    let down = done(tool().teardown(up, Scope::Host));
    let cluster = down.cluster.as_ref().expect("MicroK8s");
    let map = cluster.find(&kinds::CONFIG_MAP, "metallb-system", "config").expect("theirs is in it");
    let text = map["data"]["config"].as_str().expect("a text");
    assert!(text.contains("added") && !text.contains("192.168.11.110"), "{text}");
}
