//! What ends by itself is waited for, what failed for a known reason is tried in another way, and whose pods are whose: single steps
//! against recorded facts.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod recorded;

use iris_mk8s::{
    config::{credentials::Credentials, place::Place, spec::Spec},
    engine::step::{Act, Probe, Step},
    stack,
};
use recorded::{Facts, Recorded, good, spec};
use serde_json::{Value, json};

/// Does something with one step of the catalogue.
fn with_step<T>(spec: &Spec, id: &str, then: impl FnOnce(&dyn Step) -> T) -> T {
    let dir = tempfile::tempdir().unwrap();
    let credentials = Credentials::load_or_make(&Place { dir: dir.path().to_owned() }, None, None).unwrap();
    let stages = stack::catalog(spec, &credentials);
    let step =
        stages.iter().flat_map(|stage| &stage.steps).find(|step| step.id() == id).unwrap_or_else(|| panic!("no {id}"));
    then(&**step)
}

fn probe(facts: Facts, flags: &[&str], id: &str) -> Probe {
    let host = Recorded::new(facts);
    with_step(&spec(flags), id, |step| step.probe(&host).unwrap())
}

fn change(kind: &str, summary: &str, names: &[&str]) -> Value {
    json!([{"id": "3", "kind": kind, "summary": summary, "status": "Doing", "ready": false, "data": {"snap-names": names},
        "tasks": [{"summary": summary, "status": "Doing", "progress": {"done": 5, "total": 10}}]}])
}

#[test]
fn snapd_is_waited_for_while_it_is_at_its_own_work() {
    let with = |changes: Value| {
        let mut facts = good();
        facts.snapd("/v2/changes?select=in-progress", changes);
        probe(facts, &[], "preflight.snapd")
    };
    assert_eq!(with(json!([])), Probe::satisfied(""));
    let Probe::Pending { why, progress } = with(change("seed", "Initialize system state", &[])) else {
        panic!("seeding")
    };
    assert_eq!(why, "snapd installs what the system's image brought: Initialize system state");
    assert_eq!(progress.unwrap().total, 10);
    let Probe::Pending { why, .. } = with(change("auto-refresh", "Auto-refresh snap \"snapd\"", &["snapd"])) else {
        panic!("a refresh of its own")
    };
    assert_eq!(why, "snapd refreshes: Auto-refresh snap \"snapd\"");
    // What another snap does is nobody's concern here, and a snapd that does not answer is judged by the checks.
    assert_eq!(with(change("auto-refresh", "Auto-refresh snap \"firefox\"", &["firefox"])), Probe::satisfied(""));
    assert_eq!(with(change("install-snap", "Install", &["firefox"])), Probe::satisfied(""));
    assert_eq!(with(Value::Null), Probe::satisfied(""));
}

#[test]
fn another_apt_is_waited_for_where_something_is_to_be_installed() {
    let flags = ["--storage", "longhorn"];
    let mut facts = good();
    facts.command("modprobe --dry-run --quiet iscsi_tcp", 0, "").command(
        "dpkg-query --show '--showformat=${db:Status-Abbrev}' open-iscsi",
        1,
        "",
    );
    assert_eq!(probe(facts.clone(), &flags, "longhorn.packages"), Probe::Absent);

    let mut locked = facts.clone();
    locked
        .file(
            "/proc/locks",
            "1: POSIX  ADVISORY  WRITE 812 08:01:131077 0 EOF\n2: FLOCK  ADVISORY  WRITE 9 00:1a:5 0 EOF\n",
        )
        .file("/proc/812/comm", "unattended-upgr\n")
        .link("/proc/812/fd/5", "/var/lib/dpkg/lock-frontend");
    for id in ["longhorn.packages", "longhorn.package-lists"] {
        let mut locked = locked.clone();
        locked.command("apt-cache show --no-all-versions open-iscsi", 0, "");
        let Probe::Pending { why, .. } = probe(locked, &flags, id) else { panic!("{id} does not wait") };
        assert_eq!(why, "unattended-upgr (process 812) works with apt; it is waited for");
    }
    // Somebody else's lock is none of apt's, and what is installed waits for nobody.
    let mut other = locked.clone();
    other.link("/proc/812/fd/5", "/var/lib/other/lock");
    assert_eq!(probe(other, &flags, "longhorn.packages"), Probe::Absent);
    locked.command("dpkg-query --show '--showformat=${db:Status-Abbrev}' open-iscsi", 0, "ii ");
    assert_eq!(probe(locked, &flags, "longhorn.packages"), Probe::satisfied("installed"));
}

#[test]
fn an_installation_that_lacked_a_command_refreshes_its_base_first() {
    let shown = |facts: Facts| -> Vec<String> {
        let host = Recorded::new(facts);
        let acts = with_step(&spec(&["--channel", "1.34"]), "snap.microk8s", |step| {
            step.apply(&host, &Probe::Absent).unwrap()
        });
        acts.iter()
            .map(|act| if let Act::Snapd(change) = act { change.shown.clone() } else { panic!("{act:?}") })
            .collect()
    };
    let install = "snap install microk8s --classic --channel=1.34/stable".to_owned();
    let failed = |log: &str| {
        let mut facts = good();
        let of = |id: &str, status: &str, log: &str| json!({"id": id, "kind": "install-snap", "status": status, "tasks": [{"log": [log]}]});
        facts
            .snapd("/v2/changes?select=ready&for=microk8s", json!([of("9", "Done", ""), of("12", "Error", log)]))
            .snapd("/v2/snaps/core22", json!({"name": "core22", "status": "active", "revision": "2163"}));
        facts
    };
    assert_eq!(shown(good()), std::slice::from_ref(&install));
    let missing = "ERROR run hook \"install\": /snap/microk8s/8511/meta/hooks/install: line 27: cp: command not found";
    // A hook that hides what it was told ends with the code of its shell.
    for missing in [missing, "ERROR run hook \"install\": exit status 127"] {
        assert_eq!(shown(failed(missing)), ["snap refresh core22".to_owned(), install.clone()], "{missing}");
    }
    assert_eq!(shown(failed("ERROR run hook \"configure\": timeout exceeded")), std::slice::from_ref(&install));
    let mut no_base = failed(missing);
    no_base.snapd.remove("/v2/snaps/core22");
    assert_eq!(shown(no_base), std::slice::from_ref(&install), "what is not there cannot be refreshed");
    let mut local = failed(missing);
    local.snapd.get_mut("/v2/snaps/core22").unwrap()["revision"] = "x1".into();
    assert_eq!(shown(local), [install], "what came from a file has no store");
}

/// The StatefulSet, and a pod of somebody else's with the label that everybody may use.
fn cluster(labels: &Value) -> Facts {
    let mut facts = good();
    facts.api.insert("/readyz".to_owned(), "ok".to_owned());
    let ours = json!([{"manager": "iris-mk8s", "operation": "Apply"}]);
    let set = json!({"metadata": {"namespace": "default", "name": "data", "managedFields": ours},
        "spec": {"template": {"metadata": {"labels": labels}}}});
    facts.objects("statefulsets", vec![set]);
    facts
}

#[test]
fn services_select_by_a_label_of_ours_and_sets_without_it_stay_as_they_are() {
    let applied = |facts: Facts, id: &str, place: &str| -> Value {
        let host = Recorded::new(facts);
        let acts = with_step(&spec(&[]), id, |step| step.apply(&host, &Probe::Absent).unwrap());
        let Some(Act::Apply(object)) = acts.first() else { panic!("{acts:?}") };
        object.pointer(place).unwrap_or_else(|| panic!("no {place} in {object}")).clone()
    };
    let (plain, own) = (json!({"app": "iris"}), json!({"app": "iris", "iris-mk8s/statefulset": "data"}));
    for (id, place) in [
        ("iris.service", "/spec/selector"),
        ("iris.service-ext", "/spec/selector"),
        ("iris.statefulset", "/spec/template/metadata/labels"),
    ] {
        let mut bare = good();
        bare.api.insert("/readyz".to_owned(), "ok".to_owned());
        assert_eq!(applied(bare, id, place), own, "{id}");
        assert_eq!(applied(cluster(&own), id, place), own, "{id}");
        assert_eq!(applied(cluster(&plain), id, place), plain, "{id} of a StatefulSet that has not got the label");
    }
    // The selector of a StatefulSet can never be changed.
    assert_eq!(applied(cluster(&own), "iris.statefulset", "/spec/selector/matchLabels"), plain);
}

#[test]
fn only_pods_of_the_stateful_set_are_instances() {
    let mut facts = cluster(&json!({"app": "iris"}));
    let pod = |name: &str, owners: Value| json!({"metadata": {"namespace": "default", "name": name, "labels": {"app": "iris"}, "ownerReferences": owners}});
    let of = |kind: &str, name: &str| json!([{"kind": kind, "name": name, "controller": true}]);
    let pods = [
        pod("data-1", of("StatefulSet", "data")),
        pod("web-1", json!(null)),
        pod("data-0", of("StatefulSet", "data")),
        pod("other-0", of("StatefulSet", "other")),
        pod("x", of("ReplicaSet", "data")),
    ];
    facts.objects("pods", pods.to_vec());
    let found = stack::iris::state::instances(&Recorded::new(facts), &spec(&[]).iris).unwrap();
    let names: Vec<&str> = found.iter().filter_map(|pod| pod["metadata"]["name"].as_str()).collect();
    assert_eq!(names, ["data-0", "data-1"]);
}

#[test]
fn a_service_of_another_type_is_somebody_elses() {
    let mut facts = cluster(&json!({"app": "iris", "iris-mk8s/statefulset": "data"}));
    let service = json!({"metadata": {"namespace": "default", "name": "iris"},
        "spec": {"type": "NodePort", "clusterIP": "10.152.183.40", "selector": {"app": "iris"}}});
    facts.objects("services", vec![service]);
    let Probe::Refused { why, .. } = probe(facts.clone(), &[], "iris.service") else { panic!("taken") };
    assert_eq!(why, "somebody else applied Service default/iris, and it differs in spec.clusterIP");
    // One without a head that leads to the same pods serves, though it knows nothing of our label.
    let headless = &mut facts.objects.get_mut("services").unwrap()[0]["spec"];
    *headless = json!({"clusterIP": "None", "selector": {"app": "iris"}});
    assert!(matches!(probe(facts, &[], "iris.service"), Probe::Satisfied { .. }));
}

#[test]
fn a_bus_error_that_comes_again_is_explained_and_not_waited_for() {
    let ended = |code: i64, waits: bool| {
        let mut facts = cluster(&json!({"app": "iris", "iris-mk8s/statefulset": "data"}));
        let end = json!({"terminated": {"exitCode": code, "finishedAt": "2026-11-24T06:00:00Z"}});
        let now = if waits { json!({"waiting": {"reason": "CrashLoopBackOff"}}) } else { end.clone() };
        let container = json!({"name": "iris", "restartCount": 1, "state": now, "lastState": end});
        facts.objects("pods", vec![json!({"metadata": {"namespace": "default", "name": "data-0", "labels": {"app": "iris"},
            "ownerReferences": [{"kind": "StatefulSet", "name": "data"}]}, "status": {"containerStatuses": [container]}})]);
        probe(facts, &[], "ready.pods")
    };
    let Probe::Hopeless { why, hint } = ended(135, true) else { panic!("waited for") };
    assert!(
        why.starts_with("pod data-0: IRIS ends with exit code 135: a bus error; most likely it maps huge pages"),
        "{why}"
    );
    assert!(hint.starts_with("`sysctl -w vm.nr_hugepages=0`"), "{hint}");
    for (code, waits) in [(135, false), (1, true)] {
        assert!(!matches!(ended(code, waits), Probe::Hopeless { .. }), "{code} {waits}");
    }
}
