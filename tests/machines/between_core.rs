//! What happens between two commands, and is in the journal alone: another spec, a stop, a start, a reset that had to leave something.

use crate::support::{Era, Machine};

/// The journal's steps that are ours, one a line.
fn ours(machine: &Machine) -> String {
    let shown = machine.product("journal show").ok();
    shown.lines().rev().find_map(|line| line.strip_prefix("ours now: ")).unwrap_or_default().replace(", ", "\n")
}

#[test]
fn another_spec_leaves_nothing_of_the_first_behind() {
    let Some(machine) = Machine::up("between-spec", Era::Current) else { return };
    let lb = machine.range();
    let before = machine.snapshot("before");
    machine.product(&format!("bootstrap --lb {lb} --namespace a --replicas 3")).ok();

    // A stop of our own is no change by somebody else, and a teardown needs the cluster: by our own start.
    machine.product("stop").ok();
    let stopped = machine.product("teardown").exits(20).says(&["sudo iris-mk8s start"]);
    assert!(!stopped.stderr.contains("microk8s start,"), "{stopped}");
    machine.product("start").ok();
    machine.product("teardown").ok();
    let left = machine.kubectl("get statefulset,service,secret --all-namespaces -o name").ok();
    assert!(!left.contains("iris") && !left.contains("statefulset"), "{left}");

    let other = format!("bootstrap --user ubuntu --lb {lb} --namespace b --replicas 1");
    machine.root(&format!("IRIS_MK8S_ADDONS=dns,hostpath-storage iris-mk8s {other}")).ok();
    let planned = machine.product("teardown --data --dry-run").ok();
    for said in ["volume claims of a/data", "volume claims of b/data", "Namespace a", "Namespace b"] {
        assert!(planned.contains(said), "it should say `{said}`: {planned}");
    }
    machine.product("teardown --data --yes").ok();
    assert!(!machine.kubectl("get pvc --all-namespaces -o name").ok().contains("dbv-"), "a claim is left");
    assert!(!machine.kubectl("get namespaces -o name").ok().lines().any(|n| n == "namespace/a" || n == "namespace/b"));
    // The registry was wanted once, and is still ours.
    assert!(ours(&machine).contains("addon.registry"), "{}", ours(&machine));
    machine.product("teardown --reset --yes").ok();
    machine.is_restored_to(&before);
}

#[test]
fn a_microk8s_that_ran_before_us_ends_running() {
    let Some(machine) = Machine::up("between-stop", Era::Current) else { return };
    let bootstrap = format!("bootstrap --lb {}", machine.range());
    machine
        .root("snap install microk8s --classic --channel=1.34/stable && microk8s status --wait-ready --timeout 300")
        .ok();
    machine.product(&bootstrap).ok();
    machine.product("stop").ok();
    machine.product(&bootstrap).ok();
    machine.product("teardown --reset --yes").ok();
    machine
        .root(
            "test ! -e /var/snap/microk8s/current/var/lock/stopped.lock && microk8s status --wait-ready --timeout 120",
        )
        .ok();
    machine.product("journal show").ok();
    machine.product("stop").exits(10).says(&["no bootstrap has run"]);
}
