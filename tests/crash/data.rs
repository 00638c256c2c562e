//! No data goes unnamed, and nothing that somebody put into MicroK8s since goes at all: the product's own steps on the modelled host.

use iris_mk8s::{
    config::spec::{Iris, Spec},
    engine::step::Scope,
    error::ExitCode,
    kube::{self as kinds, state},
    stack::data::{self, Agreed, Known},
};
use serde_json::{Value, json};

use crate::model::{
    cluster::key,
    compare::{difference, facts},
    host::Model,
    initial::{Initial, person},
    store::Policy,
    tool::{Ran, Tool, spec},
    volumes,
    world::{Era, World},
};

const ERAS: [Era; 2] = [Era::Today, Era::Old];

fn tool() -> Tool {
    Tool::new(Policy::Proposed)
}

/// A fresh VM after a bootstrap.
fn bootstrapped(era: Era) -> World {
    done(tool().bootstrap(Initial::fresh(era).world()))
}

fn done(ran: Ran) -> World {
    assert_eq!(ran.code, ExitCode::Done, "{:?}", ran.error);
    let mut world = ran.world;
    world.settle();
    world
}

/// The same spec with another number of instances.
fn instances(era: Era, replicas: u32) -> Spec {
    let spec = spec(era, false).clone();
    Spec { iris: Iris { replicas, ..spec.iris.clone() }, ..spec }
}

/// Somebody's `kubectl apply`.
fn apply(world: &mut World, object: Value) {
    let now = world.now;
    let cluster = world.api().expect("it runs");
    cluster.apply(&object, "kubectl-client-side-apply", false, now).expect("it is applied");
    world.settle();
}

fn claim(namespace: &str, name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name, "namespace": namespace},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}}})
}

/// Somebody's namespace with a workload and all that goes with it.
fn team(world: &mut World) {
    let meta = |name: &str| json!({"name": name, "namespace": "team"});
    let labels = json!({"app": "web"});
    apply(world, json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "team"}}));
    apply(world, json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta("settings"), "data": {"a": "b"}}));
    apply(world, json!({"apiVersion": "v1", "kind": "Secret", "metadata": meta("login"), "data": {"a": "Yg=="}}));
    apply(
        world,
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": meta("web"), "spec": {
            "selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels},
                "spec": {"containers": [{"name": "web", "image": "nginx:1"}]}}}}),
    );
    apply(
        world,
        json!({"apiVersion": "v1", "kind": "Service", "metadata": meta("web"), "spec": {
            "type": "LoadBalancer", "selector": labels, "ports": [{"port": 80}]}}),
    );
}

/// What is somebody's in namespace `team`, with what a controller says of it.
fn of_team(world: &World) -> Vec<String> {
    facts(world).into_iter().filter(|fact| fact.contains(" team/")).collect()
}

/// Claims of namespace `default` and of the registry, in every question, however many instances are asked for today.
#[test]
fn every_claim_of_ours_is_named_whatever_is_asked_for_today() {
    for era in ERAS {
        let world = done(tool().bootstrap_agreed(Initial::fresh(era).world(), &instances(era, 3), Agreed::nothing()));
        let world = done(tool().bootstrap_agreed(world, &instances(era, 1), Agreed::nothing()));
        let named = |reach: Scope| -> Vec<String> {
            let stake = tool().stake(world.clone(), reach).expect("it can be seen");
            assert!(stake.theirs.is_empty() && stake.unseen.is_none(), "{stake:?}");
            assert!(
                stake.data.iter().all(|v| v.paths.len() == 1 && !v.size.is_empty() && !v.class.is_empty()),
                "{stake:?}"
            );
            stake
                .data
                .iter()
                .map(|v| format!("{}/{}", v.namespace.as_deref().unwrap(), v.claim.as_deref().unwrap()))
                .collect()
        };
        let ours: Vec<String> = ["dbv-data", "dbv-mgr"]
            .iter()
            .flat_map(|claim| (0..3).map(move |n| format!("default/{claim}-data-{n}")))
            .collect();
        assert_eq!(named(Scope::Data), ours, "{era:?}");
        assert_eq!(
            named(Scope::Host),
            [vec!["container-registry/registry-claim".to_owned()], ours].concat(),
            "{era:?}"
        );
        assert_eq!(named(Scope::App), [""; 0]);
    }
}

/// IRIS moved to another namespace: the data of the first one is ours as well, and its password lives as long as any of it does.
#[test]
fn claims_of_an_earlier_namespace_are_named_too() {
    for era in ERAS {
        let placed = |namespace: &str| {
            let spec = spec(era, false).clone();
            Spec { iris: Iris { namespace: namespace.to_owned(), ..spec.iris.clone() }, ..spec }
        };
        let world = done(tool().bootstrap_of(Initial::fresh(era).world(), &placed("a")));
        let world = done(tool().teardown(world, Scope::App));
        let world = done(tool().bootstrap_of(world, &placed("b")));
        let stake = tool().stake(world.clone(), Scope::Data).expect("it can be seen");
        let of = |namespace: &str| stake.data.iter().filter(|v| v.namespace.as_deref() == Some(namespace)).count();
        assert_eq!((of("a"), of("b"), stake.data.len()), (4, 4, 8), "{era:?}: {stake:?}");
        let world = done(tool().teardown(world, Scope::Data));
        let left = data::volumes(&Model::new(world.clone(), "look", false), &Known::NOTHING).expect("it can be asked");
        assert!(left.iter().all(|v| v.namespace.as_deref() == Some("container-registry")), "{era:?}: {left:?}");
        assert!(!world.files.has("/var/lib/iris-mk8s/password"), "{era:?}: nothing needs it any more");
    }
}

/// A Deployment, a ConfigMap, a Secret and a service are data as much as a volume is, and what they stand on stays with them.
#[test]
fn things_of_others_keep_microk8s_and_the_addons_that_they_need() {
    for era in ERAS {
        let mut world = bootstrapped(era);
        team(&mut world);
        let before = of_team(&world);
        assert!(before.iter().any(|fact| fact.contains("loadBalancer")), "its service has an address: {before:?}");
        let plan = tool().undo_plan(world.clone(), Scope::Host).expect("a plan");
        let kept = |step: &str| plan.steps.iter().find(|s| s.step == step).and_then(|s| s.keep.clone());
        let why = kept("snap.microk8s").expect("MicroK8s is kept");
        for thing in ["namespace team: Deployment web", "Service web", "ConfigMap settings", "Secret login"] {
            assert!(why.contains(thing), "{thing} is not named: {why}");
        }
        // Since 1.27 the name service is MicroK8s' own, and none of ours to take back.
        let name_service = kept("addon.dns").is_some_and(|why| why.contains("Deployment team/web"));
        assert_eq!(name_service, era == Era::Old, "{plan:?}");
        assert!(kept("addon.metallb").is_some_and(|why| why.contains("Service team/web")), "{plan:?}");
        assert_eq!((kept("addon.registry"), kept("addon.hostpath-storage")), (None, None), "nobody needs them");
        let stake = tool().stake(world.clone(), Scope::Host).expect("it can be seen");
        assert_eq!(stake.theirs.len(), 1, "{stake:?}");
        assert_eq!(stake.data.len(), 5, "four claims of IRIS' and the registry's: {stake:?}");
        let ran = tool().teardown(world, Scope::Host);
        assert_eq!(ran.code, ExitCode::Residue, "{era:?}: {:?}", ran.error);
        let mut world = ran.world;
        world.settle();
        assert_eq!(of_team(&world), before, "{era:?}");
        let cluster = world.cluster.as_ref().expect("MicroK8s stays");
        for (kind, namespace, name, there) in [
            (&kinds::DEPLOYMENT, "kube-system", "coredns", true),
            (&kinds::DEPLOYMENT, "metallb-system", "controller", true),
            (&kinds::STATEFUL_SET, "default", "data", false),
            (&kinds::DEPLOYMENT, "container-registry", "registry", false),
        ] {
            assert_eq!(cluster.find(kind, namespace, name).is_some(), there, "{era:?}: {name}");
        }
        // When they are gone, the next reset goes on to the end.
        let now = world.now;
        world.api().expect("it runs").delete(&key(&kinds::NAMESPACE, "", "team"), now);
        world.settle();
        let world = done(tool().teardown(world, Scope::Host));
        assert_eq!(difference(&facts(&Initial::fresh(era).world()), &facts(&world)), [""; 0], "{era:?}");
    }
}

/// A volume of somebody's on MicroK8s' storage: the storage stays with it.
#[test]
fn a_claim_of_others_keeps_the_storage_that_it_lies_on() {
    for era in ERAS {
        let mut world = bootstrapped(era);
        apply(&mut world, claim("default", "theirs"));
        let ran = tool().teardown(world, Scope::Host);
        assert_eq!(ran.code, ExitCode::Residue, "{era:?}: {:?}", ran.error);
        let cluster = ran.world.cluster.as_ref().expect("MicroK8s stays");
        assert!(cluster.find(&kinds::STORAGE_CLASS, "", "microk8s-hostpath").is_some(), "{era:?}");
        assert!(cluster.find(&kinds::DEPLOYMENT, "kube-system", "hostpath-provisioner").is_some(), "{era:?}");
        let claims: Vec<&str> = cluster.of(&kinds::PERSISTENT_VOLUME_CLAIM).map(state::name).collect();
        assert_eq!(claims, ["theirs"], "{era:?}");
    }
}

/// A file among MicroK8s' own is somebody's, too.
#[test]
fn a_file_of_others_keeps_microk8s() {
    let mut world = bootstrapped(Era::Today);
    world.files.write("/var/snap/microk8s/common/notes.txt", "mine\n");
    let ran = tool().teardown(world, Scope::Host);
    assert_eq!(ran.code, ExitCode::Residue, "{:?}", ran.error);
    assert!(ran.world.cluster.is_some());
    assert_eq!(ran.world.files.text("/var/snap/microk8s/common/notes.txt"), "mine\n");
}

/// Stopped, dead or disabled: what cannot be seen is refused, and nothing is done; the flag goes on.
#[test]
fn what_cannot_be_seen_is_not_purged() {
    for era in ERAS {
        let before = facts(&Initial::fresh(era).world());
        for why in ["MicroK8s is stopped", "the API server does not answer"] {
            let mut world = bootstrapped(era);
            apply(&mut world, claim("default", "theirs"));
            if why == "MicroK8s is stopped" {
                person(&mut world, &["microk8s", "stop"]);
            } else {
                world.cluster.as_mut().expect("a cluster").running = false;
            }
            let refused = tool().teardown(world.clone(), Scope::Host);
            assert_eq!((refused.code, refused.acts), (ExitCode::NotOurs, 0), "{era:?}: {:?}", refused.error);
            let said = refused.error.expect("an error").to_string();
            for text in [why, "sudo iris-mk8s start", "--without-looking", "default-dbv-mgr-data-0-pvc", "(4Ki)"] {
                assert!(said.contains(text), "it should say `{text}`: {said}");
            }
            let gone = done(Tool { without_looking: true, ..tool() }.teardown(world, Scope::Host));
            assert_eq!(difference(&before, &facts(&gone)), [""; 0], "{era:?}: {why}");
        }
    }
}

/// A host that boots: the API answers soon, and is waited for.
#[test]
fn a_cluster_that_starts_is_waited_for() {
    let mut world = bootstrapped(Era::Today);
    world.power_cut();
    done(tool().teardown(world, Scope::Host));
}

/// While the question is open, another claim of ours comes: nothing of it is deleted, and nothing else is.
#[test]
fn a_claim_that_came_after_the_question_stops_the_run() {
    for era in ERAS {
        let world = bootstrapped(era);
        let more = done(tool().bootstrap_agreed(world.clone(), &instances(era, 3), Agreed::nothing()));
        for reach in [Scope::Data, Scope::Host] {
            let ran = tool().teardown_agreed(world.clone(), reach, |world| *world = more.clone());
            assert_eq!(ran.code, ExitCode::NotOurs, "{era:?}: {:?}", ran.error);
            let said = ran.error.expect("an error").to_string();
            assert!(said.contains("dbv-data-data-2") && said.contains("again"), "{said}");
            assert_eq!(difference(&facts(&more), &facts(&ran.world)), [""; 0], "{era:?}, {reach:?}");
        }
    }
}

/// What is missing of an addon is put back. Whoever disabled it would delete every image that was pushed.
#[test]
fn an_addon_is_repaired_without_losing_what_it_holds() {
    let parts = [
        (&kinds::SERVICE, "container-registry", "registry"),
        (&kinds::DEPLOYMENT, "container-registry", "registry"),
        (&kinds::SERVICE, "kube-system", "kube-dns"),
        (&kinds::DEPLOYMENT, "kube-system", "coredns"),
        (&kinds::STORAGE_CLASS, "", "microk8s-hostpath"),
        (&kinds::DEPLOYMENT, "kube-system", "hostpath-provisioner"),
    ];
    for era in ERAS {
        let whole = bootstrapped(era);
        for (kind, namespace, name) in parts {
            let mut world = whole.clone();
            let folder =
                volumes::folder(world.api().expect("it runs"), "container-registry", "registry-claim").expect("bound");
            world.files.write(&format!("{folder}/docker/image"), "pushed\n");
            let now = world.now;
            world.api().expect("it runs").delete(&key(kind, namespace, name), now);
            world.settle();
            assert!(world.api().expect("it runs").find(kind, namespace, name).is_none(), "it is gone");
            let before = world.clone();
            let ran = tool().bootstrap(world);
            assert_eq!(ran.code, ExitCode::Done, "{era:?}, {} {name}: {:?}", kind.kind, ran.error);
            let mut world = ran.world;
            world.settle();
            assert_eq!(world.files.text(format!("{folder}/docker/image")), "pushed\n", "{era:?}: {} {name}", kind.kind);
            let claim = key(&kinds::PERSISTENT_VOLUME_CLAIM, "container-registry", "registry-claim");
            let uid = |world: &World| world.cluster.as_ref().unwrap().get(&claim).unwrap()["metadata"]["uid"].clone();
            assert_eq!(uid(&world), uid(&before), "{era:?}: {} {name}", kind.kind);
            let gone = difference(&facts(&whole), &facts(&world));
            let gone: Vec<&String> =
                gone.iter().filter(|d| !d.contains("/docker") && !d.contains("/var/log/iris-mk8s")).collect();
            assert!(gone.is_empty(), "{era:?}, {} {name}: {gone:?}", kind.kind);
        }
    }
}

/// A change of the class deletes volumes: those that were named, and no others.
#[test]
fn a_bootstrap_deletes_only_the_volumes_that_were_named() {
    let mut world = bootstrapped(Era::Today);
    apply(
        &mut world,
        json!({"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": "fast"},
            "provisioner": "microk8s.io/hostpath", "volumeBindingMode": "WaitForFirstConsumer"}),
    );
    let mut wanted = spec(Era::Today, false).clone();
    wanted.iris.storage_class = Some("fast".to_owned());
    wanted.data_goes = true;
    let refused = tool().bootstrap_agreed(world.clone(), &wanted, Agreed::nothing());
    assert_eq!(refused.code, ExitCode::NotOurs, "{:?}", refused.error);
    let set = |world: &World| world.cluster.as_ref().unwrap().find(&kinds::STATEFUL_SET, "default", "data").is_some();
    assert!(set(&refused.world), "not even the StatefulSet goes before the claims may");
    let host = Model::new(world.clone(), "look", false);
    let claims = iris_mk8s::stack::iris::claims::that_go(&host, &wanted).expect("it can be asked");
    assert_eq!(claims.len(), 4);
    let named = data::volumes_of(&host, &claims).expect("it can be asked");
    assert!(named.iter().all(|v| v.paths.len() == 1), "{named:?}");
    let world = done(tool().bootstrap_agreed(world, &wanted, &Agreed::to(&named)));
    let volumes = data::volumes(&Model::new(world, "look", false), &Known::NOTHING).expect("it can be asked");
    assert_eq!(volumes.iter().filter(|v| v.class == "fast").count(), 4, "{volumes:?}");
}
