//! Whether an instance takes the announced password, and not the one that everybody knows: what `ready` makes of each answer.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod recorded;

use iris_mk8s::{
    config::{credentials::Credentials, place::Place, spec::Spec},
    engine::step::Probe,
    stack,
};
use recorded::{Facts, Recorded, good, spec};
use serde_json::json;

/// A host with one instance, whose volume was made at this time.
fn instance(made: &str) -> Facts {
    let mut facts = good();
    facts.api.insert("/readyz".to_owned(), "ok".to_owned());
    let ours = json!([{"manager": "iris-mk8s", "operation": "Apply"}]);
    let owner = json!([{"kind": "StatefulSet", "name": "data"}]);
    let pod = json!({"metadata": {"namespace": "default", "name": "data-0", "labels": {"app": "iris"}, "ownerReferences": owner}, "status": {"podIP": "10.1.7.5"}});
    let claim = json!({"metadata": {"namespace": "default", "name": "dbv-mgr-data-0", "creationTimestamp": made}});
    facts
        .objects(
            "statefulsets",
            vec![json!({"metadata": {"namespace": "default", "name": "data", "managedFields": ours}})],
        )
        .objects("pods", vec![pod])
        .objects("persistentvolumeclaims", vec![claim])
        .file("/var/lib/iris-mk8s/password", &format!("{ANNOUNCED}\n"));
    facts
}

/// What the step says.
fn ask(mut facts: Facts, spec: &Spec, answer: impl FnOnce(&mut Facts)) -> Probe {
    answer(&mut facts);
    let dir = tempfile::tempdir().unwrap();
    let credentials = Credentials::load_or_make(&Place { dir: dir.path().to_owned() }, None, None).unwrap();
    let stages = stack::catalog(spec, &credentials);
    let step = stages.iter().flat_map(|stage| &stage.steps).find(|step| step.id() == "ready.door").unwrap();
    step.probe(&Recorded::new(facts)).unwrap()
}

const ANNOUNCED: &str = "Plum-7-Harbour";
const EARLIER: &str = "2026-11-23T00:00:00Z";
const NOW: &str = "2026-11-24T23:00:00Z";

fn takes(password: &str) -> impl FnOnce(&mut Facts) + '_ {
    |facts| _ = facts.logins.insert(password.to_owned(), 200)
}

#[test]
fn the_announced_password_opens_and_the_well_known_one_does_not() {
    let spec = spec(&["--replicas", "1"]);
    let good = ask(instance(NOW), &spec, takes(ANNOUNCED));
    assert_eq!(good, Probe::satisfied("as SuperUser"));

    let Probe::Hopeless { why, .. } = ask(instance(NOW), &spec, takes("SYS")) else { panic!("SYS opens") };
    assert_eq!(why, "pod data-0: SuperUser can log in with the password `SYS`, which everybody knows");
    // Also on volumes that were there before.
    assert!(matches!(ask(instance(EARLIER), &spec, takes("SYS")), Probe::Hopeless { .. }));
}

#[test]
fn a_password_that_is_not_taken_is_a_failure_only_where_nobody_can_have_changed_it() {
    let spec = spec(&["--replicas", "1"]);
    let Probe::Hopeless { why, .. } = ask(instance(NOW), &spec, |_| ()) else { panic!("nothing opens a new volume") };
    assert_eq!(why, "pod data-0: SuperUser cannot log in with the password in /var/lib/iris-mk8s/password");
    let Probe::Satisfied { warnings, .. } = ask(instance(EARLIER), &spec, |_| ()) else {
        panic!("a password may change")
    };
    assert!(warnings[0].contains("it was changed since, or these volumes had another one before"), "{warnings:?}");
}

#[test]
fn what_cannot_be_tried_is_told() {
    let one = spec(&["--replicas", "1"]);
    let answers = |status| move |facts: &mut Facts| _ = facts.logins.insert("SYS".to_owned(), status);
    assert!(matches!(ask(instance(NOW), &one, answers(503)), Probe::Pending { .. }));
    let Probe::Satisfied { warnings, .. } = ask(instance(NOW), &one, answers(404)) else { panic!("no such page") };
    assert!(warnings[0].contains("/api/atelier/ answers with status 404"), "{warnings:?}");
    // Of a StatefulSet of somebody else's, and where the CPF wants another password first, nothing is asked.
    let mut theirs = instance(NOW);
    theirs.objects("statefulsets", vec![json!({"metadata": {"namespace": "default", "name": "data"}})]);
    assert!(
        matches!(ask(theirs, &one, takes("SYS")), Probe::Satisfied { note, .. } if note.contains("brings a password of its own"))
    );
    let mut forced = one.clone();
    forced.iris.cpf.push_str("[Actions]\nModifyUser:Name=SuperUser,ChangePassword=1\n");
    assert_eq!(ask(instance(NOW), &forced, takes(ANNOUNCED)), Probe::satisfied("as _SYSTEM"));
    forced.iris.cpf.push_str("ModifyUser:Name=_SYSTEM,ChangePassword=1\n");
    assert!(
        matches!(ask(instance(NOW), &forced, |_| ()), Probe::Satisfied { note, .. } if note.contains("not asked: the CPF"))
    );
}

/// The profile `article` announces the password that everybody knows.
#[test]
fn a_published_password_is_meant_to_be_taken() {
    let article = spec(&["--profile", "article", "--replicas", "1"]);
    let mut instance = instance(NOW);
    instance.file("/var/lib/iris-mk8s/password", "SYS\n");
    assert_eq!(ask(instance, &article, takes("SYS")), Probe::satisfied("as SuperUser"));
}
