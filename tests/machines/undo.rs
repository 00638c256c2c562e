//! What somebody changed after us stays, and is named; nothing is lost without a yes.

use std::io::Write;

use crate::support::{Era, Machine, in_both_eras, kept};

in_both_eras! { what_somebody_changed_stays }

fn what_somebody_changed_stays(era: Era) {
    let Some(machine) = Machine::up("undo", era) else { return };
    let bootstrap = format!("bootstrap --lb {}", machine.range());
    machine.product(&bootstrap).ok();

    machine.root("snap refresh microk8s --channel=$(snap info microk8s | awk '/^tracking/ {split($2, a, \"/\"); print a[1]}')/edge").ok();
    machine.kubectl("patch statefulset data --type merge -p '{\"spec\":{\"template\":{\"spec\":{\"terminationGracePeriodSeconds\":77}}}}'").ok();
    machine.kubectl("patch secret iris-merge-cpf -p '{\"stringData\":{\"merge.cpf\":\"[Startup]\\n\"}}'").ok();
    machine
        .kubectl("patch service iris-ext -p '{\"spec\":{\"sessionAffinity\":\"None\",\"sessionAffinityConfig\":null}}'")
        .ok();
    let pool = era.of(
        "patch ipaddresspool default-addresspool -n metallb-system --type merge -p '{\"spec\":{\"addresses\":[\"192.168.11.5-192.168.11.6\"]}}'",
        "patch configmap config -n metallb-system --type merge -p '{\"data\":{\"config\":\"address-pools:\\n- name: default\\n  protocol: layer2\\n  addresses: [192.168.11.5-192.168.11.6]\\n\"}}'",
    );
    machine.kubectl(pool).ok();
    // MicroK8s 1.20 itself would run what is called kubectl.
    let other = era.of("microk8s.ctr", "microk8s.kubectl");
    machine.root(&format!("snap unalias kubectl && snap alias {other} kubectl")).ok();
    machine.root("echo of-mine >/var/lib/iris-mk8s/password").ok();

    let kept_steps = [
        ("snap.microk8s", "channel"),
        ("iris.statefulset", "terminationGracePeriodSeconds"),
        ("iris.cpf", "merge.cpf"),
    ];
    let planned = machine.product("teardown --reset --dry-run").exits(0);
    for (step, why) in kept_steps {
        let line = planned.stdout.lines().find(|l| l.contains(step)).unwrap_or_default();
        assert!(
            line.trim_start().starts_with("keep") && line.contains(why),
            "{step} is not kept because of {why}: {planned}"
        );
    }
    machine.product("teardown --reset").exits(2).says(&["--yes", "DATA   container-registry/registry-claim"]);

    let run = machine.start("teardown --reset --yes").finish();
    // It is still ours, and the journal goes on knowing it.
    run.exits(41);
    let left: String = run
        .events
        .iter()
        .filter(|e| e.text("event") == "step-left")
        .map(|e| format!("{:<18} {}\n", e.text("step"), e.text("why")))
        .collect();
    let _ = std::fs::write(kept(machine.name()).join("undo.txt"), format!("{}\n{left}", planned.stdout));
    let _ = write!(std::io::stderr(), "machines: {}\n{left}", machine.name());
    for (step, why) in kept_steps {
        assert!(left.lines().any(|l| l.starts_with(step) && l.contains(why)), "{step} is not named: {left}");
    }
    assert!(machine.root("snap info microk8s").ok().contains("/edge"), "the snap stays in its channel");
    machine.kubectl("get statefulset data secret/iris-merge-cpf service/iris-ext || true").ok();
    let there = machine.kubectl("get statefulset/data secret/iris-merge-cpf service/iris-ext -o name").ok();
    assert_eq!(there.lines().count(), 3, "{there}");
    if era == Era::Current {
        assert_eq!(machine.root("readlink /snap/bin/kubectl").ok(), "microk8s.ctr\n");
    }
}
