//! The list of data, on recorded hosts: what is on it and whose it is, and that a cluster that cannot be asked is not an empty one.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod recorded;

use iris_mk8s::{
    engine::{
        consent::Consent,
        journal::{FORMAT, Ledger, Record},
        step::{Act, Memo, Scope},
    },
    error::ExitCode,
    host::SnapdChange,
    kube as kinds,
    stack::data::{self, Agreed, Known, List, Whose},
};
use recorded::{Facts, Recorded, good};
use serde_json::{Value, json};

const FOLDERS: &str = "/var/snap/microk8s/common/default-storage";

/// A journal that made these steps, each from nothing.
fn ledger(steps: &[(&str, Value)]) -> Ledger {
    let mut ledger = Ledger::default();
    ledger.apply(&Record::Header { format: FORMAT, tool: String::new() }).unwrap();
    let spec = Some(Box::new(recorded::spec(&[])));
    ledger.apply(&Record::Run { run: "r".into(), command: "bootstrap".into(), at: 1, spec }).unwrap();
    for (step, want) in steps {
        let memo = Memo { prior: Value::Null, want: want.clone() };
        ledger
            .apply(&Record::Intent { step: (*step).to_owned(), memo, recipe: Value::Null, microk8s: None, anew: false })
            .unwrap();
        ledger.apply(&Record::Done { step: (*step).to_owned(), microk8s: None }).unwrap();
    }
    ledger
}

/// A MicroK8s of ours with the registry.
fn ours() -> Ledger {
    let names = json!(["dbv-mgr-data-0", "dbv-data-data-0"]);
    ledger(&[
        ("snap.microk8s", json!({"channel": "1.34/stable"})),
        ("addon.registry", json!({"enabled": true})),
        ("addon.hostpath-storage", json!({"enabled": true})),
        ("iris.claims@default/data", names),
    ])
}

fn host(facts: Facts) -> Recorded {
    Recorded::new(facts)
}

/// A host whose MicroK8s runs and answers.
fn running() -> Facts {
    let mut facts = good();
    facts.api.insert("/readyz".to_owned(), "ok".to_owned());
    facts.snapd("/v2/snaps/microk8s", json!({"status": "active", "tracking-channel": "1.34/stable"}));
    facts
}

const MADE_BY_US: fn() -> Value = || json!([{"manager": "iris-mk8s", "operation": "Apply"}]);
const MADE_BY_OTHERS: fn() -> Value = || json!([{"manager": "kubectl-client-side-apply", "operation": "Update"}]);

fn claim(namespace: &str, name: &str, fields: &Value) -> Value {
    json!({"metadata": {"namespace": namespace, "name": name, "uid": format!("uid-{namespace}-{name}"), "managedFields": fields},
        "spec": {"storageClassName": "microk8s-hostpath", "volumeName": format!("pv-{namespace}-{name}"),
            "resources": {"requests": {"storage": "5Gi"}}}})
}

fn volume(namespace: &str, name: &str, policy: &str) -> Value {
    let volume = format!("pv-{namespace}-{name}");
    json!({"metadata": {"name": volume}, "spec": {"claimRef": {"namespace": namespace, "name": name},
        "persistentVolumeReclaimPolicy": policy, "capacity": {"storage": "5Gi"}, "storageClassName": "microk8s-hostpath",
        "hostPath": {"path": format!("{FOLDERS}/{namespace}-{name}-{volume}")}}})
}

#[test]
fn each_volume_has_its_owner_its_size_and_its_place() {
    let mut facts = running();
    let claims = [
        ("default", "dbv-mgr-data-0", MADE_BY_US()),
        // Of another namespace, and of an instance that is no longer asked for.
        ("other", "dbv-data-data-7", MADE_BY_US()),
        // The StatefulSet made it anew: the journal knows it.
        ("default", "dbv-data-data-0", Value::Null),
        ("container-registry", "registry-claim", MADE_BY_OTHERS()),
        // It has the name of one of ours, and was made by hand.
        ("other", "dbv-mgr-data-0", MADE_BY_OTHERS()),
    ];
    facts.objects("persistentvolumeclaims", claims.iter().map(|(ns, name, by)| claim(ns, name, by)).collect());
    let mut volumes: Vec<Value> = claims.iter().map(|(ns, name, _)| volume(ns, name, "Delete")).collect();
    // Its claim is gone and its data with it; its claim is gone and its data stays.
    volumes.extend([volume("gone", "deleted", "Delete"), volume("gone", "kept", "Retain")]);
    facts.objects("persistentvolumes", volumes);
    facts.file(&format!("{FOLDERS}/default-dbv-mgr-data-0-pv-default-dbv-mgr-data-0/x"), "");
    facts.file(&format!("{FOLDERS}/container-registry-registry-claim-pvc-old/x"), "");
    facts.file(&format!("{FOLDERS}/somebodys/x"), "");
    let list = List::read(&host(facts), &Known::of(&ours())).unwrap();
    let found: Vec<(String, Whose)> = list.volumes.iter().map(|v| (v.to_string(), v.whose)).collect();
    let at =
        |ns: &str, name: &str| format!("{ns}/{name} (5Gi, microk8s-hostpath) at {FOLDERS}/{ns}-{name}-pv-{ns}-{name}");
    assert_eq!(
        found,
        [
            (at("default", "dbv-mgr-data-0"), Whose::Iris),
            (at("other", "dbv-data-data-7"), Whose::Iris),
            (at("default", "dbv-data-data-0"), Whose::Iris),
            (at("container-registry", "registry-claim"), Whose::Registry),
            (at("other", "dbv-mgr-data-0"), Whose::Others),
            (
                format!(
                    "volume pv-gone-kept of gone/kept, which is gone (5Gi, microk8s-hostpath) at {FOLDERS}/gone-kept-pv-gone-kept"
                ),
                Whose::Others
            ),
            (
                format!(
                    "volume container-registry-registry-claim-pvc-old (?) at {FOLDERS}/container-registry-registry-claim-pvc-old"
                ),
                Whose::Registry
            ),
            (format!("volume somebodys (?) at {FOLDERS}/somebodys"), Whose::Others),
        ]
    );
    assert_eq!(list.of_others().len(), 3, "{:?}", list.of_others());
}

#[test]
fn volumes_of_longhorn_lie_in_the_folders_of_their_replicas() {
    let mut facts = running();
    let csi = |name: &str| {
        json!({"metadata": {"name": name}, "spec": {"csi": {"driver": "driver.longhorn.io", "volumeHandle": name},
        "claimRef": {"namespace": "default", "name": "db"}}})
    };
    let mut claim = claim("default", "db", &MADE_BY_US());
    claim["spec"]["volumeName"] = json!("pvc-1");
    facts.objects("persistentvolumeclaims", vec![claim]).objects("persistentvolumes", vec![csi("pvc-1")]);
    let definition = json!({"metadata": {"name": "volumes.longhorn.io"}, "spec": {"group": "longhorn.io",
        "names": {"plural": "volumes"}, "versions": [{"name": "v1beta2", "served": true}]}});
    facts.objects("customresourcedefinitions", vec![definition]);
    let own = |name: &str| json!({"metadata": {"name": name, "namespace": "longhorn-system"}, "spec": {"size": "5368709120"}});
    facts.objects("volumes.longhorn.io", vec![own("pvc-1"), own("of-the-page")]);
    for replica in ["pvc-1-0f", "pvc-10-0f", "of-the-page-ab"] {
        facts.file(&format!("/var/lib/longhorn/replicas/{replica}/volume.meta"), "");
    }
    let volumes = data::volumes(&host(facts), &Known::NOTHING).unwrap();
    let shown: Vec<String> = volumes.iter().map(ToString::to_string).collect();
    assert_eq!(
        shown,
        [
            "default/db (5Gi, microk8s-hostpath) at /var/lib/longhorn/replicas/pvc-1-0f",
            "volume of-the-page (5Gi, longhorn) at /var/lib/longhorn/replicas/of-the-page-ab"
        ]
    );
    assert_eq!(volumes[1].whose, Whose::Others);
}

#[test]
fn things_of_others_are_named_by_their_place() {
    let mut facts = running();
    let object = |namespace: &str, name: &str| json!({"metadata": {"namespace": namespace, "name": name}});
    facts
        .objects("deployments", vec![object("team", "web"), object("kube-system", "coredns")])
        .objects("configmaps", vec![object("team", "settings"), object("team", "kube-root-ca.crt")])
        .objects("services", vec![object("default", "kubernetes"), object("team", "web")])
        .objects("cronjobs", vec![object("team", "nightly")])
        .file("/var/snap/microk8s/common/notes.txt", "")
        .file("/var/snap/microk8s/common/addons/core/addons.yaml", "")
        .file("/var/snap/microk8s/common/addons/mine/addons.yaml", "")
        .file("/var/snap/microk8s/common/var/lib/kubelet/config", "");
    let theirs = List::read(&host(facts), &Known::NOTHING).unwrap().of_others();
    assert_eq!(
        theirs,
        [
            "namespace team: Deployment web, CronJob nightly, Service web, ConfigMap settings",
            "folder /var/snap/microk8s/common: addons/mine, notes.txt"
        ]
    );
}

/// What happens to the host, why its cluster cannot be asked then, and what to do.
type Case = (fn(&mut Facts), &'static str, &'static str);

/// Whatever keeps the cluster from answering: it is refused, with what can be seen and with what to do.
#[test]
fn a_cluster_that_cannot_be_asked_is_not_empty() {
    let with = |change: fn(&mut Facts)| {
        let mut facts = running();
        let folder = format!("{FOLDERS}/other-theirs-pvc-1");
        facts.file(&format!("{folder}/x"), "").file("/var/lib/longhorn/replicas/pvc-2/x", "");
        let du = |path: &str| format!("du --summarize --block-size=1 -- {path}");
        facts.command(&du(&folder), 0, &format!("3145728\t{folder}\n"));
        facts.command(&du("/var/lib/longhorn/replicas"), 0, "512\t/var/lib/longhorn/replicas\n");
        change(&mut facts);
        facts
    };
    let cases: [Case; 4] = [
        (
            |f| _ = f.file("/var/snap/microk8s/current/var/lock/stopped.lock", ""),
            "MicroK8s is stopped",
            "sudo iris-mk8s start",
        ),
        (
            |f| _ = f.snapd("/v2/snaps/microk8s", json!({"status": "installed"})),
            "the snap microk8s is disabled",
            "sudo snap enable microk8s",
        ),
        (|f| f.api.clear(), "connection refused", "sudo iris-mk8s doctor"),
        (|f| f.forbidden = true, "forbidden (403)", "sudo iris-mk8s doctor"),
    ];
    for (change, why, how) in cases {
        let host = host(with(change));
        // Without waiting: the recorded clock stands still.
        let sight = data::look(&host, &ours(), Scope::Host, false, &mut |_| {}).unwrap();
        let error = sight.refuse_unseen(false).unwrap_err();
        assert_eq!(error.code, ExitCode::NotOurs);
        let said = error.to_string();
        for text in [why, how, "--without-looking", "other-theirs-pvc-1 (3Mi)", "/var/lib/longhorn/replicas (512)"] {
            assert!(said.contains(text), "it should say `{text}`: {said}");
        }
        sight.refuse_unseen(true).unwrap();
        let stake = sight.stake(|_| true);
        assert!(stake.data.is_empty() && stake.unseen.is_some());
        assert!(stake.warning().contains("Everything"), "{}", stake.warning());
        assert!(sight.agreed(&stake).is_unseen());
    }
}

/// The removal of MicroK8s was agreed to before it began: it goes on, although the cluster is gone by now.
#[test]
fn a_removal_that_has_begun_goes_on() {
    let mut begun = ours();
    begun.apply(&Record::UndoIntent { step: "snap.microk8s".into() }).unwrap();
    let mut facts = running();
    facts.api.clear();
    let sight = data::look(&host(facts), &begun, Scope::Host, true, &mut |_| {}).unwrap();
    sight.refuse_unseen(false).unwrap();
    assert!(sight.agreed(&sight.stake(|_| true)).is_unseen());
    // What snapd removes right now is not looked at any more.
    let mut facts = running();
    facts.api.clear();
    let change = json!([{"id": "7", "kind": "remove-snap", "status": "Doing", "summary": "Remove \"microk8s\" snap"}]);
    facts.snapd("/v2/changes?select=in-progress&for=microk8s", change);
    let sight = data::look(&host(facts), &ours(), Scope::Host, true, &mut |_| {}).unwrap();
    sight.refuse_unseen(false).unwrap();
}

/// Somebody removed MicroK8s by hand. What lay on Longhorn is still there, and goes only after it was named.
#[test]
fn what_lay_on_longhorn_is_named_when_there_is_no_cluster_any_more() {
    let mut facts = good();
    let folder = "/var/lib/longhorn/replicas/pvc-1-0f";
    facts.file(&format!("{folder}/volume.meta"), "");
    facts.command(&format!("du --summarize --block-size=1 -- {folder}"), 0, &format!("1048576\t{folder}\n"));
    let host = host(facts);
    let ours = ledger(&[("longhorn.before", Value::Null)]);
    let sight = data::look(&host, &ours, Scope::Host, true, &mut |_| {}).unwrap();
    sight.refuse_unseen(false).unwrap();
    let shown = sight.stake(|step| step == "longhorn.before").show();
    assert_eq!(shown, format!("  DATA   volume pvc-1-0f (1Mi, longhorn) at {folder}\n"));
    assert_eq!(sight.stake(|_| false).show(), "");
}

/// Settings that somebody made are named; those of MicroK8s and the mirrors that we made are not, with a port in their name or without.
#[test]
fn settings_of_others_are_told_from_mirrors_of_ours() {
    let args = "/var/snap/microk8s/current/args";
    let mut facts = running();
    facts
        .file("/snap/microk8s/current/default-args/kubelet", "")
        .file(&format!("{args}/kubelet"), "")
        .file(&format!("{args}/mine"), "")
        .file(&format!("{args}/certs.d/docker.io/hosts.toml"), "")
        .file(&format!("{args}/certs.d/docker.io/ca.crt"), "")
        .file(&format!("{args}/certs.d/reg.lan_5000_/hosts.toml"), "")
        .file(&format!("{args}/certs.d/other.lan/hosts.toml"), "");
    let known = Known::of(&ledger(&[("mirror.reg.lan:5000", Value::Null)]));
    let settings = data::settings(&host(facts), &known);
    let named = ["mine", "certs.d/docker.io/ca.crt", "certs.d/other.lan/hosts.toml"];
    assert_eq!(settings, named.map(|name| format!("{args}/{name}")));
}

/// Where no data is at stake, nothing has to be seen.
#[test]
fn a_teardown_without_data_looks_at_nothing() {
    let mut facts = running();
    facts.api.clear();
    let host = host(facts);
    for (ledger, reach) in [(ours(), Scope::App), (ledger(&[("group.member", Value::Null)]), Scope::Host)] {
        data::look(&host, &ledger, reach, false, &mut |_| {}).unwrap().refuse_unseen(false).unwrap();
    }
    assert!(data::look(&host, &ours(), Scope::Data, false, &mut |_| {}).unwrap().refuse_unseen(false).is_err());
}

#[test]
fn what_a_teardown_takes_along_depends_on_what_goes() {
    let mut facts = running();
    let all = [("default", "dbv-mgr-data-0", MADE_BY_US()), ("container-registry", "registry-claim", MADE_BY_OTHERS())];
    let theirs = ("other", "theirs", MADE_BY_OTHERS());
    facts.objects(
        "persistentvolumeclaims",
        all.iter().chain([&theirs]).map(|(ns, name, by)| claim(ns, name, by)).collect(),
    );
    let host = host(facts);
    let stake = |reach: Scope, goes: &'static [&'static str]| {
        let sight = data::look(&host, &ours(), reach, false, &mut |_| {}).unwrap();
        let stake = sight.stake(|step| goes.contains(&step));
        let claims: Vec<String> = stake.data.iter().filter_map(|v| v.claim.clone()).collect();
        (claims, stake.theirs.len(), stake.warning().is_empty())
    };
    let one = |claim: &str| vec![claim.to_owned()];
    assert_eq!(stake(Scope::Data, &["iris.claims@default/"]), (one("dbv-mgr-data-0"), 0, false));
    assert_eq!(stake(Scope::Data, &["iris.password"]), (vec![], 0, true));
    assert_eq!(stake(Scope::Host, &["addon.registry"]), (one("registry-claim"), 1, false));
    let both = vec!["dbv-mgr-data-0".to_owned(), "registry-claim".to_owned()];
    assert_eq!(stake(Scope::Host, &["snap.microk8s"]), (both, 1, false));
}

#[test]
fn only_what_was_agreed_to_is_deleted() {
    let mut facts = running();
    let ours = claim("default", "dbv-mgr-data-0", &MADE_BY_US());
    facts.objects("persistentvolumeclaims", vec![ours.clone()]);
    let volumes = data::volumes(&host(facts.clone()), &Known::NOTHING).unwrap();
    let agreed = Agreed::to(&volumes);
    let delete = |kind, namespace: Option<&str>, name: &str| Act::Delete {
        kind,
        namespace: namespace.map(str::to_owned),
        name: name.to_owned(),
    };
    let of_claim = delete(&kinds::PERSISTENT_VOLUME_CLAIM, Some("default"), "dbv-mgr-data-0");
    let of_namespace = delete(&kinds::NAMESPACE, None, "default");
    let body = json!({"action": "remove", "purge": true});
    let remove =
        Act::Snapd(SnapdChange { method: "POST", path: "/v2/snaps/microk8s".into(), body, shown: String::new() });
    let disable =
        Act::Run(iris_mk8s::host::Cmd::changes(std::time::Duration::ZERO, ["microk8s", "disable", "registry"]));
    let all = [&of_claim, &of_namespace, &remove, &disable];
    let refused = |facts: &Facts, agreed: &Agreed, acts: &[&Act]| -> Vec<bool> {
        let host = host(facts.clone());
        acts.iter().map(|act| agreed.check(&host, act).is_err_and(|e| e.code == ExitCode::NotOurs)).collect()
    };
    assert_eq!(refused(&facts, &agreed, &all), [false; 4]);
    assert_eq!(refused(&facts, Agreed::nothing(), &all), [true, true, true, false]);
    // Another one under the same name.
    let mut anew = facts.clone();
    let mut other = ours.clone();
    other["metadata"]["uid"] = json!("another");
    anew.objects("persistentvolumeclaims", vec![other]);
    assert_eq!(refused(&anew, &agreed, &all), [true, true, true, false]);
    // One more.
    let mut more = facts.clone();
    more.objects("persistentvolumeclaims", vec![ours, claim("container-registry", "registry-claim", &Value::Null)]);
    assert_eq!(refused(&more, &agreed, &all), [false, false, true, true]);
    // What does not answer is not empty.
    let mut dead = facts.clone();
    dead.api.clear();
    let e = agreed.check(&host(dead), &remove).unwrap_err();
    assert!(e.transient && e.to_string().contains("--without-looking"), "{e}");
    // Somebody else's things came while it did not answer.
    facts.objects("deployments", vec![json!({"metadata": {"namespace": "team", "name": "web"}})]);
    assert!(agreed.check(&host(facts), &remove).is_err_and(|e| e.transient), "the step has to look again");
}
