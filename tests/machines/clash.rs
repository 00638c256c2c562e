//! Names that are taken: another `kubectl` on the host keeps its name.

use crate::support::{Era, Machine, in_both_eras};

in_both_eras! { a_kubectl_of_the_host_keeps_its_name }

fn a_kubectl_of_the_host_keeps_its_name(era: Era) {
    let Some(machine) = Machine::up("clash", era) else { return };
    machine.root("printf '#!/bin/sh\\necho mine\\n' >/usr/local/bin/kubectl; chmod 755 /usr/local/bin/kubectl").ok();
    let before = machine.snapshot("before");

    let mut run = machine.start(&format!("bootstrap --lb {}", machine.range()));
    let done = run.until("the alias", |e| e.is("step-done", "alias.kubectl"));
    assert!(done.text("note").contains("kubectl2 (/usr/local/bin/kubectl"), "{done:?}");
    machine.signal("TERM");
    run.finish().exits(130);

    assert_eq!(machine.root("readlink /snap/bin/kubectl2").ok(), "microk8s.kubectl\n");
    assert_eq!(machine.ubuntu("kubectl").ok(), "mine\n");
    // snapd removes no disabled MicroK8s, and what is in it cannot be seen.
    machine.root("snap disable microk8s").ok();
    machine
        .product("teardown --reset --yes")
        .exits(23)
        .says(&["the snap microk8s is disabled", "sudo snap enable microk8s"]);
    machine.product("teardown --reset --yes --without-looking").exits(0);
    machine.is_restored_to(&before);
}
