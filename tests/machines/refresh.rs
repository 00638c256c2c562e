//! Another channel on a host that is as wanted: one minor at a time, with the data kept. The sandbox's store has one snap for all
//! channels: what is seen here is which channel is asked for, and that nothing is lost; another Kubernetes is not.

use crate::support::{Era, Machine, in_both_eras};

in_both_eras! { one_minor_at_a_time }

fn one_minor_at_a_time(era: Era) {
    let Some(machine) = Machine::up("refresh", era) else { return };
    let (first, next, after) = era.of(("1.32", "1.33", "1.34"), ("1.20", "1.21", "1.22"));
    let bootstrap = |channel: &str| format!("bootstrap --lb {} --channel {channel}", machine.range());
    let auto = format!("plan --lb {} --channel auto", machine.range());
    let newest = machine.root("test -e /sys/fs/cgroup/cgroup.controllers").code == 0;
    let newest = if newest {
        "1.36/stable, the newest one known to work"
    } else {
        "1.34/stable, the newest one that runs with cgroup v1"
    };
    let said = machine.product(&auto).stderr;
    assert!(said.contains(&format!("channel auto: {newest}")), "{said}");

    machine.product(&bootstrap(first)).ok();
    machine
        .product(&auto)
        .exits(0)
        .says(&[&format!("channel auto: {first}/stable, the one that MicroK8s on this host is from"), "nothing to do"]);
    machine.kubectl("exec data-0 -- sh -c 'echo precious >/vol-data/kept'").ok();

    machine.product(&bootstrap(after)).exits(23).says(&[
        &format!("MicroK8s is installed from channel {first}/stable, not {after}/stable"),
        &format!("first --channel {next}"),
    ]);

    let run = machine.start(&bootstrap(next)).finish();
    let outcome = run.exits(0);
    assert_eq!(run.all("step-done", "snap.microk8s").len(), 1, "{:?}", run.events);
    assert_eq!((&outcome["created"], &outcome["changed"]), (&0.into(), &1.into()), "{outcome}");
    let acted = run.all("step-acting", "snap.microk8s");
    assert!(acted[0].text("act").contains(&format!("snap refresh microk8s --channel={next}/stable")), "{acted:?}");
    assert!(machine.root("snap info microk8s | grep tracking").ok().contains(&format!("{next}/stable")));
    assert_eq!(machine.kubectl("exec data-0 -- cat /vol-data/kept").ok(), "precious\n");
    machine.product("status").exits(0);

    // Back is no way that MicroK8s knows.
    machine.product(&bootstrap(first)).exits(23).says(&[&format!("--channel {next}/stable")]);
    machine.product("teardown --reset --yes").exits(0);
}
