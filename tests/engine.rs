//! How a run ends when a step misbehaves: one that panics, one whose trouble is over, a change that never comes to its end.

#![allow(
    dead_code,
    unused_imports,
    clippy::pedantic,
    clippy::unwrap_used,
    reason = "the model is shared by several tests, each of which uses a part of it"
)]

#[path = "model/mod.rs"]
mod model;

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
        mpsc,
    },
    time::Duration,
};

use iris_mk8s::{
    config::{credentials::Credentials, place::Place},
    engine::{
        Engine,
        event::{Event, Events, Outcome},
        journal::{Contents, Journal},
        step::{Act, Memo, Memory, Probe, Scope, Stage, Step, Undo},
    },
    error::{Error, ExitCode, Result},
    host::{FileWrite, Host, SnapdChange},
    stack::{self, data::Agreed},
};
use model::{
    host::Model,
    initial::Initial,
    store::{ModelStore, Policy, bytes},
    tool::{Tool, spec},
    world::{Era, World},
};
use serde_json::{Value, json};

type Probes = Box<dyn Fn(&dyn Host) -> Probe + Send + Sync>;
type Applies = Box<dyn Fn() -> Vec<Act> + Send + Sync>;

/// A step of functions.
struct Made {
    id: &'static str,
    probe: Probes,
    apply: Applies,
    deadline: Duration,
}

impl Step for Made {
    fn id(&self) -> &str {
        self.id
    }
    fn title(&self) -> String {
        format!("title of {}", self.id)
    }
    fn probe(&self, host: &dyn Host) -> Result<Probe> {
        Ok((self.probe)(host))
    }
    fn apply(&self, _: &dyn Host, _: &Probe) -> Result<Vec<Act>> {
        Ok((self.apply)())
    }
    fn memo(&self, _: &dyn Host, _: &Probe) -> Result<Memo> {
        Ok(Memo::default())
    }
    fn undo(&self, _: &dyn Host, _: &Memory) -> Result<Undo> {
        Ok(Undo::Done)
    }
    fn recipe(&self) -> Value {
        Value::Null
    }
    fn deadline(&self) -> Duration {
        self.deadline
    }
    fn scope(&self) -> Scope {
        Scope::Host
    }
}

fn write(path: &str) -> Act {
    Act::Write(FileWrite {
        path: PathBuf::from(path),
        bytes: Vec::new(),
        mode: 0o600,
        owner: None,
        secret: false,
        keeps: false,
    })
}

/// A step that holds once its file is there.
fn makes(id: &'static str, path: &'static str) -> Made {
    Made {
        id,
        probe: Box::new(move |host| if host.exists(path.as_ref()) { Probe::satisfied("") } else { Probe::Absent }),
        apply: Box::new(move || vec![write(path)]),
        deadline: Duration::from_secs(60),
    }
}

fn stage(id: &'static str, needs: &'static [&'static str], steps: Vec<Box<dyn Step>>) -> Stage {
    Stage { id, needs, lock: None, steps }
}

fn world() -> World {
    Initial::fresh(Era::Today).world()
}

/// Runs these stages on a modelled host. A run that hangs fails the test.
fn bootstrap(world: World, workers: usize, stages: Vec<Stage>) -> (Outcome, Result<()>, Vec<Event>, World) {
    let (sender, ended) = mpsc::channel();
    std::thread::spawn(move || {
        let run = format!("{}-bootstrap", world.now.as_millis());
        let host = Arc::new(Model::new(world, &run, false));
        let (events, told) = Events::channel();
        let engine = Engine { host: &*host, stages: &stages, events: &events, workers, agreed: Agreed::nothing() };
        let open = || {
            let store = Box::new(ModelStore::open(&host, Policy::Proposed, true));
            Journal::over(store, Place::default().journal(), stack::origin)
        };
        let (outcome, result) = engine.bootstrap(open, &run, spec(Era::Today, false));
        drop(events);
        let events = told.iter().map(|stamped| stamped.event).collect();
        let world = host.world().clone();
        sender.send((outcome, result, events, world)).unwrap();
    });
    ended.recv_timeout(Duration::from_secs(120)).expect("the run hangs, or panicked itself")
}

fn journal(world: &World) -> Contents {
    Contents::parse(&bytes(world), stack::origin).unwrap()
}

#[test]
fn a_step_that_panics_ends_the_run_as_a_defect_and_the_others_come_to_their_end() {
    for workers in [1, 8] {
        for at in ["probe", "apply"] {
            let panics = || Made {
                probe: Box::new(move |host| {
                    assert!(at != "probe" || !host.exists("/first".as_ref()), "a wrong step");
                    Probe::Absent
                }),
                // The plan looks at it before anything is there.
                apply: Box::new({
                    let calls = AtomicUsize::new(0);
                    move || {
                        assert!(at != "apply" || calls.fetch_add(1, SeqCst) == 0, "a wrong step");
                        vec![write("/never")]
                    }
                }),
                ..makes("bad.step", "/never")
            };
            let stages = |bad: Made| {
                vec![
                    stage("first", &[], vec![Box::new(makes("first.step", "/first"))]),
                    stage("bad", &["first"], vec![Box::new(bad), Box::new(makes("bad.next", "/next"))]),
                    stage("beside", &["first"], vec![Box::new(makes("beside.step", "/beside"))]),
                    stage("after", &["bad"], vec![Box::new(makes("after.step", "/after"))]),
                ]
            };
            let (outcome, result, events, world) = bootstrap(world(), workers, stages(panics()));
            let error = result.unwrap_err();
            assert_eq!(
                (error.code, error.step.as_deref()),
                (ExitCode::Bug, Some("bad.step")),
                "{workers} {at}: {error}"
            );
            assert!(error.cause.as_ref().is_some_and(|cause| cause.contains("a wrong step")), "{error}");
            let failed = |event: &Event| matches!(event, Event::StepFailed { step, .. } if step == "bad.step");
            assert!(events.iter().any(failed), "nobody is told which step it was: {events:?}");
            let ended = events.iter().filter(|event| matches!(event, Event::StageDone { .. })).count();
            assert_eq!(outcome.created, ended, "{events:?}");
            // The stage beside it may have begun at the same time, and then it has ended; what comes after has not begun.
            assert!((1..=2).contains(&outcome.created), "{outcome:?}");
            for never in ["/never", "/next", "/after"] {
                assert!(!world.files.has(never), "{never}");
            }
            // Its program mended, the same command goes on.
            let (outcome, result, _, world) = bootstrap(world, workers, stages(makes("bad.step", "/never")));
            result.unwrap();
            assert_eq!(outcome.created + outcome.kept, 5, "{outcome:?}");
            assert_eq!(journal(&world).ledger.steps().count(), 5);
        }
    }
}

/// A step of the catalogue that panics when it has acted.
struct Panics(Box<dyn Step>, Arc<AtomicUsize>);

impl Step for Panics {
    fn id(&self) -> &str {
        self.0.id()
    }
    fn title(&self) -> String {
        self.0.title()
    }
    fn probe(&self, host: &dyn Host) -> Result<Probe> {
        assert!(self.1.load(SeqCst) == 0, "the probe after the act");
        self.0.probe(host)
    }
    fn apply(&self, host: &dyn Host, found: &Probe) -> Result<Vec<Act>> {
        self.0.apply(host, found)
    }
    fn memo(&self, host: &dyn Host, found: &Probe) -> Result<Memo> {
        // It comes right before the acts.
        self.1.fetch_add(1, SeqCst);
        self.0.memo(host, found)
    }
    fn undo(&self, host: &dyn Host, memory: &Memory) -> Result<Undo> {
        self.0.undo(host, memory)
    }
    fn key(&self) -> String {
        self.0.key()
    }
    fn recipe(&self) -> Value {
        self.0.recipe()
    }
    fn deadline(&self) -> Duration {
        self.0.deadline()
    }
    fn watches(&self) -> Vec<iris_mk8s::host::Watch> {
        self.0.watches()
    }
    fn scope(&self) -> Scope {
        self.0.scope()
    }
    fn inside(&self) -> Option<&'static str> {
        self.0.inside()
    }
    fn opens(&self) -> bool {
        self.0.opens()
    }
    fn used_by(&self) -> Option<String> {
        self.0.used_by()
    }
    fn clears(&self) -> Option<&'static str> {
        self.0.clears()
    }
}

/// The stages of the product, with each step made into another one.
fn catalogue(credentials: &Credentials, mut change: impl FnMut(Box<dyn Step>) -> Box<dyn Step>) -> Vec<Stage> {
    let mut stages = stack::catalog(spec(Era::Today, false), credentials);
    for stage in &mut stages {
        stage.steps = std::mem::take(&mut stage.steps).into_iter().map(&mut change).collect();
    }
    stages
}

fn password() -> Credentials {
    let dir = tempfile::tempdir().unwrap();
    Credentials::load_or_make(&Place { dir: dir.path().to_owned() }, None, None).unwrap()
}

/// Whichever step panics after it has acted: the run tells the step, and the same command of a better program goes on.
#[test]
fn a_panic_anywhere_in_the_catalogue_leaves_a_host_that_can_be_gone_on_with() {
    let password = password();
    let mut all = Vec::new();
    catalogue(&password, |step| {
        all.push(step.id().to_owned());
        step
    });
    let mut panicked = 0;
    for id in &all {
        let acted = Arc::new(AtomicUsize::new(0));
        let stages =
            catalogue(
                &password,
                |step| {
                    if step.id() == id { Box::new(Panics(step, Arc::clone(&acted))) } else { step }
                },
            );
        let (_, result, _, world) = bootstrap(world(), 1, stages);
        if acted.load(SeqCst) == 0 {
            result.unwrap();
            continue;
        }
        panicked += 1;
        let error = result.unwrap_err();
        assert_eq!((error.code, error.step.as_deref()), (ExitCode::Bug, Some(id.as_str())), "{error}");
        let (_, result, _, world) = bootstrap(world, 1, catalogue(&password, |step| step));
        result.unwrap_or_else(|e| panic!("after a panic in {id}: {e}"));
        let back = Tool::new(Policy::Proposed).teardown(world, Scope::Host);
        assert_eq!(back.code, ExitCode::Done, "after a panic in {id}: {:?}", back.error);
        assert!(bytes(&back.world).is_empty(), "after a panic in {id} a journal stays");
    }
    assert!(panicked > 12, "only {panicked} of {} steps act on a fresh host", all.len());
}

#[test]
fn what_an_earlier_round_failed_for_is_not_the_reason_of_a_later_failure() {
    let rounds = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&rounds);
    let step = Made {
        probe: Box::new(|_| Probe::differs(json!(1), "it looks wrong")),
        apply: Box::new(move || vec![write("/acted")]),
        ..makes("a.step", "/acted")
    };
    // Only the first act fails: a directory with something in it is not removed.
    let first = Made {
        apply: Box::new(move || match counted.fetch_add(1, SeqCst) {
            0 | 1 => vec![Act::Remove { path: "/etc".into(), all: false }],
            _ => vec![write("/acted")],
        }),
        ..step
    };
    let (_, result, ..) = bootstrap(world(), 1, vec![stage("a", &[], vec![Box::new(first)])]);
    let error = result.unwrap_err();
    assert!(rounds.load(SeqCst) > 2, "it acted {} times", rounds.load(SeqCst));
    assert_eq!(error.code, ExitCode::Unverified, "{error}");
    assert!(error.what.contains("it looks wrong") && !error.to_string().contains("cannot remove"), "{error}");

    // When the newest act is the one that failed, its words are the reason.
    let step = Made {
        probe: Box::new(|_| Probe::differs(json!(1), "it looks wrong")),
        apply: Box::new(|| vec![Act::Remove { path: "/etc".into(), all: false }]),
        ..makes("a.step", "/acted")
    };
    let (_, result, ..) = bootstrap(world(), 1, vec![stage("a", &[], vec![Box::new(step)])]);
    assert!(result.unwrap_err().what.contains("cannot remove /etc"));
}

#[test]
fn a_change_of_snapd_that_does_not_end_is_left_to_it_at_the_deadline() {
    let install = || {
        Act::Snapd(SnapdChange {
            method: "POST",
            path: "/v2/snaps/microk8s".to_owned(),
            body: json!({"action": "install", "channel": "1.34/stable", "classic": true}),
            shown: "snap install microk8s".to_owned(),
        })
    };
    let step = |deadline| Made {
        probe: Box::new(|host| match host.snapd_get("/v2/changes?select=in-progress&for=microk8s").unwrap() {
            Some(Value::Array(changes)) if !changes.is_empty() => Probe::pending("snapd works"),
            _ => match host.snapd_get("/v2/snaps/microk8s").unwrap() {
                Some(_) => Probe::satisfied(""),
                None => Probe::Absent,
            },
        }),
        apply: Box::new(move || vec![install()]),
        deadline,
        ..makes("snap.microk8s", "/unused")
    };
    let short = Duration::from_millis(10);
    let (_, result, _, world) = bootstrap(world(), 1, vec![stage("a", &[], vec![Box::new(step(short))])]);
    let error = result.unwrap_err();
    assert_eq!(error.code, ExitCode::TimedOut, "{error}");
    assert!(world.snapd.change.is_some(), "snapd goes on with it");
    // The same command follows it to its end.
    let long = Duration::from_secs(900);
    let (outcome, result, ..) = bootstrap(world, 1, vec![stage("a", &[], vec![Box::new(step(long))])]);
    result.unwrap();
    assert_eq!((outcome.created, outcome.kept), (0, 1), "{outcome:?}");
}

fn another_image(image: &str) -> iris_mk8s::config::spec::Spec {
    let mut spec = spec(Era::Today, false).clone();
    image.clone_into(&mut spec.iris.image);
    spec
}

fn image_of_the_set(world: &World) -> Value {
    let cluster = world.cluster.as_ref().unwrap();
    let set = cluster.of(&iris_mk8s::kube::STATEFUL_SET).next().unwrap();
    set["spec"]["template"]["spec"]["containers"][0]["image"].clone()
}

/// A new image is there before the StatefulSet asks for it: one that nobody has takes no working database down.
#[test]
fn a_wrong_image_leaves_the_database_that_runs_alone() {
    let tool = Tool::new(Policy::Proposed);
    let mut world = tool.bootstrap(world()).world;
    let before = image_of_the_set(&world);
    let ready = |world: &World| {
        let pods = world.cluster.as_ref().unwrap().of(&iris_mk8s::kube::POD);
        pods.filter(|p| p["metadata"]["namespace"] == "default" && iris_mk8s::kube::state::is(p, "Ready")).count()
    };
    assert!(ready(&world) > 0);
    let wrong = "intersystems/iris-community:no-such-tag";
    world.cluster.as_mut().unwrap().no_images.insert(wrong.to_owned());
    let plan = tool.plan_of(world.clone(), &another_image(wrong)).unwrap();
    assert!(plan.step("image.iris").unwrap().acts[0].contains(wrong), "{plan:?}");
    let begun = world.now;
    let ran = tool.bootstrap_of(world, &another_image(wrong));
    let error = ran.error.unwrap();
    assert_eq!((error.code, error.step.as_deref()), (ExitCode::Unverified, Some("image.iris")), "{error}");
    assert!(error.what.contains("the registry does not have the image"), "{error}");
    assert!(ran.world.now - begun < Duration::from_secs(5), "it is said at once: {:?}", ran.world.now - begun);
    assert_eq!(image_of_the_set(&ran.world), before);
    let mut world = ran.world;
    world.settle();
    assert_eq!(ready(&world), 2, "a pod that worked is gone");

    // One that there is comes before its pods.
    let good = "intersystems/iris-community:2026.1";
    let ran = tool.collecting().bootstrap_of(world, &another_image(good));
    assert_eq!(ran.code, ExitCode::Done, "{:?}", ran.error);
    let at =
        |what: &str| ran.moments.iter().position(|m| m.at.starts_with(what)).unwrap_or_else(|| panic!("no {what}"));
    assert!(at(&format!("after pull {good}, its end")) < at("before apply StatefulSet"), "touched too early");
    assert_eq!(image_of_the_set(&ran.world), good);
}

/// The image is pulled as soon as containerd answers: the cluster need not be there.
#[test]
fn the_image_is_pulled_while_the_cluster_starts() {
    let stages = stack::until(catalogue(&password(), |step| step), "images").unwrap();
    let (_, result, _, mut world) = bootstrap(world(), 1, stages);
    result.unwrap();
    let image = &spec(Era::Today, false).iris.image;
    let stages = |last| stack::until(catalogue(&password(), |step| step), last).unwrap();
    assert!(stages("images").iter().all(|stage| stage.id != "start"));
    assert!(world.cluster.as_ref().unwrap().images.contains(image));
    // The second run has nothing to pull.
    world.cluster.as_mut().unwrap().no_images.insert(image.clone());
    let (outcome, result, ..) = bootstrap(world, 1, stages("images"));
    result.unwrap();
    assert_eq!((outcome.created, outcome.changed), (0, 0), "{outcome:?}");
}

/// A plan whose looks were made side by side is the same plan, whatever there is.
#[test]
fn looks_side_by_side_come_to_the_same_plan() {
    let tool = Tool::new(Policy::Proposed);
    let password = password();
    let fresh = world();
    let done = tool.bootstrap(fresh.clone()).world;
    let mut worlds = vec![("fresh", fresh), ("done", done.clone())];
    let broken = |what, change: &dyn Fn(&mut World)| {
        let mut world = done.clone();
        change(&mut world);
        (what, world)
    };
    worlds.push(broken("without a service", &|world| {
        world.cluster.as_mut().unwrap().drop_object(&model::cluster::key(&iris_mk8s::kube::SERVICE, "default", "iris"));
    }));
    worlds.push(broken("without the StatefulSet", &|world| {
        world.cluster.as_mut().unwrap().drop_object(&model::cluster::key(
            &iris_mk8s::kube::STATEFUL_SET,
            "default",
            "data",
        ));
    }));
    worlds.push(broken("stopped", &|world| {
        model::cluster::services_stop(world);
        world.files.write(model::microk8s::STOPPED, "");
    }));
    for (what, world) in worlds {
        let stages = catalogue(&password, |step| step);
        let plan = |abreast| {
            let mut model = Model::new(world.clone(), "plan", false);
            (model.read_only, model.abreast) = (true, abreast);
            let events = Events::channel().0;
            let engine =
                Engine { host: &model, stages: &stages, events: &events, workers: 1, agreed: Agreed::nothing() };
            engine.plan().map(|plan| plan.show())
        };
        assert_eq!(plan(true), plan(false), "{what}");
    }
}

/// A login that somebody gave to the namespace is kubelet's: without it a registry would refuse what kubelet may pull.
#[test]
fn an_image_that_kubelet_has_a_login_for_is_left_to_it() {
    let tool = Tool::new(Policy::Proposed);
    let private = another_image("registry.lan/private:1");
    let mut world = tool.bootstrap(world()).world;
    let verdict = |world: &World| tool.plan_of(world.clone(), &private).unwrap().step("image.iris").unwrap().verdict;
    assert_eq!(verdict(&world), iris_mk8s::engine::Verdict::Create);
    world.cluster.as_mut().unwrap().put(json!({"apiVersion": "v1", "kind": "ServiceAccount",
        "metadata": {"name": "default", "namespace": "default"}, "imagePullSecrets": [{"name": "login"}]}));
    assert_eq!(verdict(&world), iris_mk8s::engine::Verdict::Keep);
}
