//! One thing after the other is broken by hand on a host where all was as wanted: the same bootstrap heals it, and says what it healed.

use std::{io::Write, time::Instant};

use crate::support::{Era, Machine, in_both_eras, kept};

in_both_eras! { what_is_broken_by_hand_heals }

/// What somebody does as root, the step that heals it, how it says so, and what it says of the difference.
struct Cure {
    name: &'static str,
    breaks: &'static str,
    step: &'static str,
    change: &'static str,
    says: &'static str,
}

const fn cure(
    name: &'static str,
    breaks: &'static str,
    step: &'static str,
    change: &'static str,
    says: &'static str,
) -> Cure {
    Cure { name, breaks, step, change, says }
}

/// Those of both eras. The cheap ones come first, those that take everything down last.
const CURES: &[Cure] = &[
    cure("alias removed", "snap unalias kubectl", "alias.kubectl", "created", ""),
    cure("user out of the group", "gpasswd --delete ubuntu microk8s", "group.member", "created", ""),
    cure(
        "StatefulSet scaled to 0",
        "K scale statefulset/data --replicas=0",
        "iris.statefulset",
        "changed",
        "spec.replicas",
    ),
    cure(
        "a pod's image wrong",
        "K set image statefulset/data iris=intersystemsdc/nosuch:1; sleep 5",
        "iris.statefulset",
        "changed",
        "containers[iris].image",
    ),
    cure("service deleted", "K delete service iris-ext", "iris.service-ext", "created", ""),
    cure("registry disabled", "microk8s disable registry", "addon.registry", "created", ""),
    cure("stopped by snap stop", "snap stop microk8s", "cluster.running", "changed", "does not run"),
    cure("stopped by microk8s stop", "microk8s stop", "cluster.running", "changed", "MicroK8s is stopped"),
    cure("snap disabled", "snap disable microk8s", "snap.microk8s", "changed", "the snap is disabled"),
];

const OF_TODAY: &[Cure] = &[
    cure("pool deleted", "K delete ipaddresspool default-addresspool -n metallb-system", "metallb.pool", "created", ""),
    cure(
        "pool changed",
        "K patch ipaddresspool default-addresspool -n metallb-system --type merge -p '{\"spec\":{\"addresses\":[\"192.168.11.5-192.168.11.6\"]}}'",
        "metallb.pool",
        "changed",
        "the pool holds 192.168.11.5-192.168.11.6",
    ),
    cure(
        "advertisement gone",
        "K delete l2advertisement --all -n metallb-system",
        "metallb.pool",
        "changed",
        "the pool is not advertised",
    ),
];

const OF_1_20: &[Cure] = &[
    cure("pool deleted", "K delete configmap config -n metallb-system", "metallb.pool", "created", ""),
    cure(
        "pool changed",
        "K get configmap config -n metallb-system -o yaml | sed 's/- 192.168.11.[0-9]*-192.168.11.[0-9]*/- 192.168.11.5-192.168.11.6/; s/\"192.168.11.[0-9]*-192.168.11.[0-9]*\"/\"192.168.11.5-192.168.11.6\"/' | K apply -f -",
        "metallb.pool",
        "changed",
        "the pool holds 192.168.11.5-192.168.11.6",
    ),
];

/// What the table tells of a cure.
struct Told {
    name: &'static str,
    code: i32,
    seconds: f64,
    text: String,
}

fn heals(machine: &Machine, cure: &Cure, bootstrap: &str) -> Told {
    machine.root(&cure.breaks.replace("K ", "microk8s kubectl ")).ok();
    machine.product("status").exits(30);
    let begun = Instant::now();
    let run = machine.start(bootstrap).finish();
    let outcome = run.exits(0);
    let seconds = begun.elapsed().as_secs_f64();
    let done = run.all("step-done", cure.step);
    assert!(
        done.len() == 1 && done[0].text("change") == cure.change,
        "{}: {} is not {}: {outcome} {:?}",
        cure.name,
        cure.step,
        cure.change,
        run.events
    );
    let notes: Vec<&str> = run.events.iter().map(|e| e.text("message")).filter(|m| !m.is_empty()).collect();
    assert!(cure.says.is_empty() || notes.iter().any(|n| n.contains(cure.says)), "{}: {notes:?}", cure.name);
    machine.product("status").exits(0);
    let text = if cure.says.is_empty() {
        format!("{} created", done[0].text("title"))
    } else {
        notes.iter().find(|n| n.contains(cure.says)).map(|n| (*n).to_owned()).unwrap_or_default()
    };
    Told { name: cure.name, code: run.code, seconds, text }
}

fn what_is_broken_by_hand_heals(era: Era) {
    let Some(machine) = Machine::up("cures", era) else { return };
    let bootstrap = format!("bootstrap --lb {}", machine.range());
    machine.product(&bootstrap).ok();
    let mut told: Vec<Told> = Vec::new();
    for cure in era.of(OF_TODAY, OF_1_20).iter().chain(CURES) {
        told.push(heals(&machine, cure, &bootstrap));
    }
    told.push(damaged_credentials(&machine, &bootstrap));
    told.push(journal_deleted(&machine, &bootstrap));
    let mut table = String::new();
    for Told { name, code, seconds, text } in &told {
        table.push_str(&format!("{name:<26} exit {code:<3} {seconds:6.1} s  {text}\n"));
    }
    let _ = std::fs::write(kept(machine.name()).join("cures.txt"), &table);
    let _ = write!(std::io::stderr(), "machines: {}\n{table}", machine.name());
}

/// Nobody but MicroK8s can make them anew: what is wrong is said at once, with what to do, and nothing is lost.
fn damaged_credentials(machine: &Machine, bootstrap: &str) -> Told {
    let file = "/var/snap/microk8s/current/credentials/client.config";
    machine.root(&format!("cp -p {file} /root/client.config && echo 'apiVersion: [' >{file}")).ok();
    let begun = Instant::now();
    let ended = machine.product(bootstrap).exits(20);
    let seconds = begun.elapsed().as_secs_f64();
    assert!(seconds < 60.0, "it should be said at once, not after {seconds} s");
    let ended = ended.says(&[file, "microk8s refresh-certs"]);
    let text = ended.stderr.lines().rev().take(6).collect::<Vec<_>>().into_iter().rev().collect::<Vec<_>>().join(" | ");
    machine.root(&format!("cp -p /root/client.config {file}; rm /root/client.config")).ok();
    machine.product(bootstrap).ok();
    Told { name: "client.config damaged", code: 20, seconds, text }
}

/// It converges still; then nothing is known to be ours, and nothing is taken back.
fn journal_deleted(machine: &Machine, bootstrap: &str) -> Told {
    machine.root("rm /var/lib/iris-mk8s/journal.jsonl").ok();
    machine.product("teardown --reset --yes").exits(0).says(&["no bootstrap has run", "snap remove --purge microk8s"]);
    let begun = Instant::now();
    let run = machine.start(bootstrap).finish();
    let outcome = run.exits(0);
    let seconds = begun.elapsed().as_secs_f64();
    assert_eq!((&outcome["created"], &outcome["changed"]), (&0.into(), &0.into()), "{outcome}");
    let said = machine.product("teardown --reset --yes").exits(0).says(&[
        "has no record of anything that iris-mk8s made on this host",
        "nothing is removed",
        "snap remove --purge microk8s",
    ]);
    assert_eq!(machine.kubectl("get pods -l app=iris -o name").ok().lines().count(), 2, "IRIS stays");
    machine.root("test -e /var/lib/iris-mk8s/password").ok();
    let text = said.stdout.lines().take(2).collect::<Vec<_>>().join(" | ");
    Told { name: "journal deleted", code: 0, seconds, text }
}
