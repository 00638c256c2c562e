//! What differs between the versions of MicroK8s, as the steps see it: for each truth what is done about it, on recorded facts. Where
//! the whole of it is to be seen, machines run it (tests/machines, each test in both eras).

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod recorded;

use iris_mk8s::{
    credentials::Credentials,
    journal::Place,
    proposal,
    step::{Act, Probe, Step},
    steps,
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
    let all = steps::catalog(&spec, &credentials).into_iter().flat_map(|stage| stage.steps);
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
fn auto_is_the_newest_that_this_host_runs_or_what_is_there() {
    let channel = |facts: Facts| {
        let (channel, why) = proposal::channel(&host(facts)).unwrap();
        (channel.to_string(), why)
    };
    assert_eq!(channel(good()), ("1.35/stable".to_owned(), "the newest one known to work; this host has cgroup v2"));
    let mut old = good();
    old.files.remove("/sys/fs/cgroup/cgroup.controllers");
    assert_eq!(
        channel(old.clone()),
        ("1.34/stable".to_owned(), "the newest one that runs with cgroup v1, which this host has")
    );
    old.snapd("/v2/snaps/microk8s", json!({"tracking-channel": "1.28/stable"}));
    assert_eq!(channel(old), ("1.28/stable".to_owned(), "the one that MicroK8s on this host is from"));
}
