//! kill -9 in the middle: the same command goes on and ends well, and a teardown still restores the machine.

use crate::support::{Era, Event, Machine, in_both_eras};

in_both_eras! { in_the_snap_download in_enable_metallb in_the_rollout }

/// Kills a bootstrap at the first event that is the moment, and goes on with the same command.
fn goes_on_after((name, era): (&str, Era), fault: Option<&str>, what: &str, moment: impl Fn(&Machine, &Event) -> bool) {
    let Some(machine) = Machine::up(name, era) else { return };
    let bootstrap = format!("bootstrap --lb {}", machine.range());
    let before = machine.snapshot("before");

    if let Some(fault) = fault {
        machine.fault(fault);
    }
    let mut killed = machine.start(&bootstrap);
    killed.until(what, |e| moment(&machine, e));
    machine.signal("KILL");
    assert_eq!(killed.finish().code, 137, "it was killed");
    machine.product("status").exits(30);

    if fault.is_some() {
        machine.fault("clear");
    }
    machine.start(&bootstrap).finish().exits(0);
    machine
        .client_curl(&[&format!("http://{}:52773/api/monitor/metrics", machine.nth_address(0))])
        .exits(0)
        .says(&["iris_cpu_usage"]);
    machine.product(&format!("plan --check --lb {}", machine.range())).exits(0);
    let installs = machine.root("snap changes | grep -c 'Install \"microk8s\"'").ok();
    assert_eq!(installs, "1\n", "snapd's change goes on without us: it is not made a second time");

    machine.product("teardown --reset --yes").exits(0);
    machine.is_restored_to(&before);
}

fn in_the_snap_download(era: Era) {
    goes_on_after(("kill-download", era), Some("store --rate 2M"), "bytes of the snap", |_, e| {
        e.is("step-progress", "snap.microk8s") && e.number("total") > 1_000_000 && e.number("done") > 1_000_000
    });
}

fn in_enable_metallb(era: Era) {
    // The addon is on its way; its pool, which comes last, is not there yet.
    goes_on_after(("kill-metallb", era), None, "a word of `microk8s enable metallb`", |_, e| {
        e.is("output", "addon.metallb")
    });
}

fn in_the_rollout(era: Era) {
    // The objects are applied, and nobody has said yet that the pods are ready.
    goes_on_after(("kill-rollout", era), None, "the StatefulSet", |_, e| e.is("step-done", "iris.statefulset"));
}
