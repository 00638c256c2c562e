//! MicroK8s that was there before us: it stays, and what we added to it goes.

use crate::support::Machine;

#[test]
fn microk8s_that_was_there_stays() {
    let Some(machine) = Machine::up("foreign") else { return };
    machine.install_by_hand("1.34");
    let before = machine.snapshot("before");

    let run = machine.start(&format!("bootstrap --lb {}", machine.range())).finish();
    run.exits(0);
    for kept in ["snap.microk8s", "addon.dns"] {
        assert_eq!(run.all("step-kept", kept).len(), 1, "{kept} is not kept: {:?}", run.events);
    }

    machine.product("teardown --reset --yes").exits(0);
    machine.is_as_at(&before);
}

#[test]
fn another_channel_is_refused() {
    let Some(machine) = Machine::up("other-channel") else { return };
    machine.install_by_hand("1.33/stable");
    machine.kubectl("rollout status deployment/coredns -n kube-system --timeout=120s").ok();
    let before = machine.snapshot("before");
    for command in ["plan", "bootstrap"] {
        let hint = "--channel 1.33/stable";
        machine.product(&format!("{command} --lb {}", machine.range())).exits(23).says(&[
            "1.33/stable",
            "not 1.34",
            hint,
        ]);
    }
    machine.is_as_at(&before);
}
