//! MicroK8s that was there before us: it stays, and what we added to it goes.

use crate::support::{Era, Machine, in_both_eras};

in_both_eras! { microk8s_that_was_there_stays another_channel_is_refused }

fn microk8s_that_was_there_stays(era: Era) {
    let Some(machine) = Machine::up("foreign", era) else { return };
    machine.install_by_hand(era.track());
    let before = machine.snapshot("before");

    let run = machine.start(&format!("bootstrap --lb {}", machine.range())).finish();
    run.exits(0);
    for kept in ["snap.microk8s", "addon.dns"] {
        assert_eq!(run.all("step-kept", kept).len(), 1, "{kept} is not kept: {:?}", run.events);
    }

    machine.product("teardown --reset --yes").exits(0);
    machine.is_as_at(&before);
}

fn another_channel_is_refused(era: Era) {
    let Some(machine) = Machine::up("other-channel", era) else { return };
    let there = era.of("1.33/stable", "1.21/stable");
    machine.install_by_hand(there);
    machine.kubectl("rollout status deployment/coredns -n kube-system --timeout=120s").ok();
    let before = machine.snapshot("before");
    for command in ["plan", "bootstrap"] {
        machine.product(&format!("{command} --lb {}", machine.range())).exits(23).says(&[
            there,
            &format!("not {}", era.track()),
            &format!("--channel {there}"),
        ]);
    }
    machine.is_as_at(&before);
}
