//! The article's own database, applied by hand before us: found, named, used when it is what is asked for, and never taken away.

use crate::support::{Era, Machine, in_both_eras};

in_both_eras! { the_articles_database_stays }

const IMAGE: &str = "intersystemsdc/iris-community:2022.1.0.209.0-zpm";

/// Brings MicroK8s 1.20 an image of the LAN's registry: its containerd knows no folder of mirrors, and `ctr` none of those it knows.
fn brought(image: &str) -> String {
    let from = format!("192.168.11.2:5000/{image}");
    format!("microk8s ctr images pull --plain-http {from} && microk8s ctr images tag {from} docker.io/{image}")
}

/// The article's image has a licence that ran out; the machine gets one under the same name that has a good one.
fn revive_image(machine: &Machine) {
    let (good, old) = ("docker.io/intersystemsdc/iris-community:2026.1-zpm", format!("docker.io/{IMAGE}"));
    let pull = machine.era().of(
        format!("microk8s ctr images pull --hosts-dir /var/snap/microk8s/current/args/certs.d {good}"),
        brought("intersystemsdc/iris-community:2026.1-zpm"),
    );
    machine.root(&format!("{pull} && microk8s ctr images tag {good} {old}")).ok();
}

fn the_articles_database_stays(era: Era) {
    let Some(machine) = Machine::up("article", era) else { return };
    let range = machine.range();
    machine.install_by_hand(era.track());
    // Where MicroK8s 1.20 looks for them they are no more: somebody brought them.
    if era == Era::Article {
        for image in ["metallb/controller:v0.9.3", "metallb/speaker:v0.9.3"] {
            machine.root(&brought(image)).ok();
        }
    }
    for addon in
        [era.storage_addon(), "registry", &format!("metallb:{}-{}", machine.nth_address(0), machine.nth_address(19))]
    {
        machine.root(&format!("microk8s enable {addon}")).ok();
    }
    revive_image(&machine);
    machine.put(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/machines/article.yml"), "/root/article.yml");
    machine.kubectl("apply -f /root/article.yml").ok();
    machine.kubectl("rollout status statefulset/data --timeout=300s").ok();
    machine.kubectl("exec data-0 -- sh -c 'echo precious >/vol-data/kept'").ok();
    let before = machine.snapshot("before");

    let asked_for_another = format!("--lb {range}");
    for command in ["plan", "bootstrap"] {
        machine.product(&format!("{command} {asked_for_another}")).exits(23).says(&[
            "somebody else applied StatefulSet default/data",
            "spec.template.spec.containers[iris].image",
            "--namespace",
        ]);
    }
    machine.is_as_at(&before);

    let asked_for_this = format!("--lb {range} --image {IMAGE}");
    let run = machine.start(&format!("bootstrap {asked_for_this}")).finish();
    run.exits(0);
    for kept in ["iris.statefulset", "iris.service", "iris.service-ext", "iris.claims", "metallb.pool"] {
        assert_eq!(run.all("step-kept", kept).len(), 1, "{kept} is not kept: {:?}", run.events);
    }
    let found = run.all("step-kept", "iris.statefulset")[0].text("note").to_owned();
    assert!(found.contains("somebody else applied it"), "{found}");

    machine.product("teardown").exits(0);
    machine.product("teardown --reset --yes").exits(0);
    machine.is_as_at(&before);
    assert_eq!(machine.kubectl("exec data-0 -- cat /vol-data/kept").ok(), "precious\n");
}
