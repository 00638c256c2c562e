//! What differs between the versions of MicroK8s, as the steps see it: for each truth what is done about it, on recorded facts. Where
//! the whole of it is to be seen, machines run it (tests/machines, each test in both eras).

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod recorded;

use iris_mk8s::{
    commands::proposal,
    config::{credentials::Credentials, place::Place},
    engine::{
        Engine,
        event::Events,
        step::{Act, Probe, Step},
    },
    error::finding::Severity,
    stack::{self, data::Agreed},
};
use recorded::{Facts, Recorded, good, spec};
use serde_json::{Value, json};

/// A step of the catalogue for a channel.
fn step(channel: &str, id: &str) -> Box<dyn Step> {
    step_of(&["--channel", channel], id)
}

fn step_of(flags: &[&str], id: &str) -> Box<dyn Step> {
    let dir = tempfile::tempdir().unwrap();
    let spec = spec(flags);
    let place = Place { dir: dir.path().to_owned() };
    // Hashing takes its time, and no step here looks at it.
    let credentials = Credentials::load_or_make(&place, None, Some("hash,salt")).unwrap();
    let all = stack::catalog(&spec, &credentials).into_iter().flat_map(|stage| stage.steps);
    all.into_iter().find(|step| step.id() == id).unwrap_or_else(|| panic!("there is no step {id}"))
}

fn host(facts: Facts) -> Recorded {
    Recorded::new(facts)
}

/// What a step would do about nothing being there.
fn acts(step: &dyn Step) -> Vec<String> {
    step.apply(&host(good()), &Probe::Absent).unwrap().iter().map(Act::show).collect()
}

fn applied(step: &dyn Step) -> Vec<Value> {
    let acts = step.apply(&host(good()), &Probe::Absent).unwrap();
    acts.into_iter().filter_map(|act| if let Act::Apply(object) = act { Some(*object) } else { None }).collect()
}

#[test]
fn storage_is_called_by_the_name_of_its_time() {
    for (channel, name) in
        [("1.20", "storage"), ("1.23", "storage"), ("1.24", "hostpath-storage"), ("1.34", "hostpath-storage")]
    {
        assert_eq!(acts(&*step(channel, "addon.hostpath-storage")), [format!("microk8s enable {name}")], "{channel}");
    }
}

#[test]
fn the_pool_is_what_this_metallb_reads() {
    for channel in ["1.20", "1.24"] {
        let objects = applied(&*step(channel, "metallb.pool"));
        assert_eq!(objects.len(), 1, "{channel}: {objects:?}");
        assert_eq!((&objects[0]["kind"], &objects[0]["metadata"]["name"]), (&json!("ConfigMap"), &json!("config")));
        let config: Value = serde_json::from_str(objects[0]["data"]["config"].as_str().unwrap()).unwrap();
        assert_eq!(config["address-pools"][0]["protocol"], "layer2");
        assert_eq!(config["address-pools"][0]["addresses"], json!(["192.168.11.110-192.168.11.130"]));
    }
    for channel in ["1.25", "1.34"] {
        let objects = applied(&*step(channel, "metallb.pool"));
        // A pool without an advertisement is announced to nobody.
        let kinds: Vec<&Value> = objects.iter().map(|o| &o["kind"]).collect();
        assert_eq!(kinds, ["L2Advertisement", "IPAddressPool"], "{channel}");
    }
}

#[test]
fn a_service_names_the_pool_of_its_time() {
    for (channel, pool) in [("1.20", "default"), ("1.24", "default"), ("1.25", "default-addresspool")] {
        let service = &applied(&*step(channel, "iris.service-ext"))[0];
        assert_eq!(service["metadata"]["annotations"]["metallb.universe.tf/address-pool"], pool, "{channel}");
    }
}

#[test]
fn images_that_are_gone_are_replaced_where_they_are_asked_for() {
    for (channel, replaced) in [("1.20", true), ("1.21", true), ("1.22", false), ("1.34", false)] {
        let objects = applied(&*step(channel, "addon.metallb"));
        let images: Vec<&str> =
            objects.iter().map(|o| o["spec"]["template"]["spec"]["containers"][0]["image"].as_str().unwrap()).collect();
        let there = ["quay.io/metallb/controller:v0.9.3", "quay.io/metallb/speaker:v0.9.3"];
        assert_eq!(images, if replaced { there.to_vec() } else { Vec::new() }, "{channel}");
    }
}

/// A workload of which so many pods run.
fn workload(kind: &str, name: &str, image: &str, ready: u32) -> Value {
    json!({"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": name, "namespace": "metallb-system", "generation": 1},
        "spec": {"replicas": 1, "template": {"spec": {"containers": [{"name": name, "image": image}]}}},
        "status": {"observedGeneration": 1, "replicas": 1, "readyReplicas": ready, "updatedReplicas": 1, "availableReplicas": ready,
            "desiredNumberScheduled": 1, "numberReady": ready, "numberAvailable": ready, "updatedNumberScheduled": 1}})
}

fn old_metallb(prefix: &str, ready: u32) -> Facts {
    let mut facts = good();
    facts
        .objects(
            "deployments",
            vec![workload("Deployment", "controller", &format!("{prefix}/controller:v0.9.3"), ready)],
        )
        .objects("daemonsets", vec![workload("DaemonSet", "speaker", &format!("{prefix}/speaker:v0.9.3"), ready)]);
    facts.api.insert("/readyz".to_owned(), "ok".to_owned());
    facts
}

/// "Enabled" by MicroK8s' word: its pods exist, and pull an image that nobody has any more.
#[test]
fn an_enabled_addon_without_images_is_put_right() {
    let step = step("1.20", "addon.metallb");
    let found = step.probe(&host(old_metallb("metallb", 0))).unwrap();
    let Probe::Differs { why, .. } = &found else { panic!("{found:?}") };
    assert!(why.contains("gone from their registry"), "{why}");
    assert_eq!(step.apply(&host(old_metallb("metallb", 0)), &found).unwrap().len(), 2, "only the images are replaced");
    let found = step.probe(&host(old_metallb("quay.io/metallb", 1))).unwrap();
    assert!(matches!(found, Probe::Satisfied { .. }), "{found:?}");
    // Somebody brought the images: it works, and is left alone.
    let found = step.probe(&host(old_metallb("metallb", 1))).unwrap();
    assert!(matches!(found, Probe::Satisfied { .. }), "{found:?}");
}

/// A refresh from 1.24 to 1.25 leaves MetalLB 0.9 where it is, which knows nothing of the pools that 1.25 is asked for.
#[test]
fn metallb_of_before_a_refresh_is_replaced() {
    let step = step("1.25", "addon.metallb");
    let mut facts = old_metallb("quay.io/metallb", 1);
    // Half of one that is disabled has no kinds either; what 0.9 takes its pool from tells them apart.
    let half = step.probe(&host(facts.clone())).unwrap();
    assert!(matches!(&half, Probe::Differs { why, .. } if why.contains("its kinds are missing")), "{half:?}");
    facts.objects("configmaps", vec![json!({"metadata": {"name": "config", "namespace": "metallb-system"}})]);
    let found = step.probe(&host(facts.clone())).unwrap();
    let acts: Vec<String> = step.apply(&host(good()), &found).unwrap().iter().map(Act::show).collect();
    assert_eq!(acts, ["microk8s disable metallb", "microk8s enable metallb:192.168.11.110-192.168.11.130"]);
    facts.objects("customresourcedefinitions", vec![json!({"metadata": {"name": "ipaddresspools.metallb.io"}})]);
    assert!(matches!(step.probe(&host(facts)).unwrap(), Probe::Satisfied { .. }));
}

/// In 1.20 the ConfigMap is made last: pods may run, and there is no pool; and a range that is there already is kept without a word.
#[test]
fn the_pool_of_1_20_is_read_back() {
    let step = step("1.20", "metallb.pool");
    let with = |config: Option<&str>| {
        let mut facts = old_metallb("quay.io/metallb", 1);
        let map = config.map(
            |config| json!({"metadata": {"name": "config", "namespace": "metallb-system"}, "data": {"config": config}}),
        );
        facts.objects("configmaps", map.into_iter().collect());
        step.probe(&host(facts)).unwrap()
    };
    assert_eq!(with(None), Probe::Absent);
    let pool =
        |range: &str| format!("address-pools:\n- name: default\n  protocol: layer2\n  addresses:\n  - {range}\n");
    assert!(matches!(with(Some(&pool("192.168.11.110-192.168.11.130"))), Probe::Satisfied { .. }));
    assert!(matches!(with(Some(&pool("192.168.11.0/28"))), Probe::Differs { .. }));
}

#[test]
fn the_group_of_the_volumes_is_that_of_the_image() {
    for (image, group) in
        [("intersystemsdc/iris-community:2021.1.0.215.0-zpm", 52773), ("intersystems/iris-community:2026.1", 51773)]
    {
        let set = &applied(&*step_of(&["--image", image], "iris.statefulset"))[0];
        let pod = &set["spec"]["template"]["spec"];
        assert_eq!(pod["securityContext"]["fsGroup"], group);
        let script = pod["initContainers"][0]["command"][2].as_str().unwrap();
        assert!(script.contains(&format!("51773:{group} ")), "{script}");
    }
}

#[test]
fn auto_is_what_is_there_or_was_wanted_or_the_newest_that_this_host_runs() {
    let channel = |facts: &Facts, before: Option<&str>| {
        let before = before.map(|channel| channel.parse().unwrap());
        let (channel, why) = proposal::channel(&host(facts.clone()), before.as_ref()).unwrap();
        (channel.to_string(), why)
    };
    let is = |channel: &str, why| (channel.to_owned(), why);
    let newest = "the newest one known to work; this host has cgroup v2";
    let newest_of_v1 = "the newest one that runs with cgroup v1, which this host has";
    let of_before = "that of the last bootstrap on this host";
    let there = "the one that MicroK8s on this host is from";

    let mut facts = good();
    assert_eq!(channel(&facts, None), is("1.36/stable", newest));
    // An earlier run did not get as far as the snap.
    assert_eq!(channel(&facts, Some("1.35/candidate")), is("1.35/candidate", of_before));
    // This host cannot run it (any more).
    assert_eq!(channel(&facts, Some("1.20")), is("1.36/stable", newest));
    facts.files.remove("/sys/fs/cgroup/cgroup.controllers");
    assert_eq!(channel(&facts, None), is("1.34/stable", newest_of_v1));
    assert_eq!(channel(&facts, Some("1.20")), is("1.20/stable", of_before));
    assert_eq!(channel(&facts, Some("1.36")), is("1.34/stable", newest_of_v1));

    // What is there is kept, whatever was wanted and however old it is.
    for facts in [&mut facts, &mut good()] {
        facts.snapd("/v2/snaps/microk8s", json!({"tracking-channel": "1.28/stable", "version": "v1.28.15"}));
        assert_eq!(channel(facts, Some("1.33")), is("1.28/stable", there));
        facts.snapd("/v2/snaps/microk8s", json!({"version": "v1.29.4"}));
        let follows_none = "the version of MicroK8s on this host, which follows no channel";
        assert_eq!(channel(facts, Some("1.33")), is("1.29/stable", follows_none));
    }
}

/// A channel past its end of life is told of with the day and a way on, and never refused.
#[test]
fn a_life_that_has_ended_is_told_with_the_way_on() {
    let told = |facts: &Facts, flags: &[&str]| {
        let (host, spec) = (host(facts.clone()), spec(flags));
        let check = iris_mk8s::stack::checks::HOST.iter().find(|check| check.id == "channel").unwrap();
        let found = iris_mk8s::stack::check::run(&iris_mk8s::stack::facts::Facts::read(&host, &spec), &[check]);
        assert!(found.iter().all(|f| f.severity != Severity::Refused), "{found:?}");
        found
            .into_iter()
            .filter(|f| f.severity == Severity::Warned)
            .map(|f| format!("{} ({})", f.message, f.hint))
            .collect::<Vec<_>>()
    };
    let mut facts = good();
    assert_eq!(told(&facts, &[]), [""; 0]);
    assert_eq!(told(&facts, &["--channel", "1.35"]), [""; 0]);
    assert_eq!(
        told(&facts, &["--channel", "1.34"]),
        [
            "MicroK8s 1.34 reached its end of life on 2026-10-27 and gets no more security fixes (take --channel auto, which is 1.36 on this host)"
        ]
    );
    facts.snapd("/v2/snaps/microk8s", json!({"tracking-channel": "1.34/stable"}));
    assert_eq!(
        told(&facts, &["--channel", "1.34"]),
        [
            "MicroK8s 1.34 reached its end of life on 2026-10-27 and gets no more security fixes (it is upgraded one minor at a time, up to 1.36: bootstrap with --channel 1.35, and so on; where it was there before iris-mk8s, `snap refresh microk8s --channel=1.35/stable`)"
        ]
    );
    // A host that runs nothing newer.
    facts.files.remove("/sys/fs/cgroup/cgroup.controllers");
    let told_of_v1 = told(&facts, &["--channel", "1.34"]);
    assert!(
        told_of_v1[0].ends_with(
            "(no MicroK8s that still gets fixes runs with cgroup v1: use a host with cgroup v2 (Ubuntu 22.04 or later))"
        ),
        "{told_of_v1:?}"
    );
    // And a day on which nothing that is known here is alive.
    let late = Facts { now: 1_850_000_000, ..good() };
    let told_late = told(&late, &[]);
    assert!(told_late[0].contains("1.36 reached its end of life on 2027-06-28"), "{told_late:?}");
    assert!(told_late[0].ends_with("(a newer version of this tool may know a newer MicroK8s)"), "{told_late:?}");

    // In a plan, and with it in status and at the beginning of a bootstrap.
    let (host, spec) = (host(good()), spec(&["--channel", "1.34"]));
    let place = Place { dir: tempfile::tempdir().unwrap().path().to_owned() };
    let credentials = Credentials::load_or_make(&place, None, Some("hash,salt")).unwrap();
    let preflight = stack::until(stack::catalog(&spec, &credentials), "preflight").unwrap();
    let (events, _) = Events::channel();
    let plan = Engine { host: &host, stages: &preflight, events: &events, workers: 1, agreed: Agreed::nothing() }
        .plan()
        .unwrap();
    plan.refusals().unwrap();
    let shown = plan.show();
    assert!(shown.contains("warning: channel: MicroK8s 1.34 reached its end of life on 2026-10-27"), "{shown}");
}

/// What is there is never given up for a channel: snapd removes MicroK8s only with the data in it.
#[test]
fn an_older_channel_is_refused_without_an_advice_that_loses_data() {
    for (tracking, wanted, ours, hint) in [
        ("1.34/stable", "1.33", true, "use what is there: --channel 1.34/stable; MicroK8s cannot go back"),
        ("1.34/stable", "1.33", false, "use what is there: --channel 1.34/stable"),
        ("1.32/stable", "1.34", false, "use what is there: --channel 1.32/stable"),
        ("1.32/stable", "1.34", true, "first --channel 1.33"),
        ("latest/stable", "1.34", false, "channel latest/stable has no version that could be kept"),
    ] {
        let mut facts = good();
        facts.snapd("/v2/snaps/microk8s", json!({"status": "active", "tracking-channel": tracking, "version": "v1"}));
        facts.snapd("/v2/changes?select=in-progress&for=microk8s", json!([]));
        if ours {
            facts.file("/var/lib/iris-mk8s/before.json", "{}");
        }
        match step(wanted, "snap.microk8s").probe(&host(facts)).unwrap() {
            Probe::Refused { hint: said, .. } => {
                assert!(
                    said.contains(hint) && !said.contains("remove") && !said.contains("purge"),
                    "{tracking}: {said}"
                );
            }
            other => panic!("{tracking} to {wanted}: {other:?}"),
        }
    }
}
