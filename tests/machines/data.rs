//! Data outlives a teardown, unless it is to go.

use crate::support::{Era, Machine, in_both_eras};

in_both_eras! { data_stays_until_it_is_to_go }

fn claims(machine: &Machine) -> usize {
    machine.kubectl("get pvc -n default -o name").ok().lines().count()
}

fn gone(machine: &Machine) {
    for kind in ["statefulset", "pod", "secret", "service"] {
        let left = machine.kubectl(&format!("get {kind} -n default -l app=iris -o name")).ok();
        assert_eq!(left, "", "the teardown left {left}");
    }
}

fn data_stays_until_it_is_to_go(era: Era) {
    let Some(machine) = Machine::up("data", era) else { return };
    let bootstrap = format!("bootstrap --lb {}", machine.range());
    let kept = || machine.kubectl("exec data-0 -- cat /vol-data/kept");

    machine.product(&bootstrap).ok();
    let password = machine.root("cat /var/lib/iris-mk8s/password").ok();
    machine.kubectl("exec data-0 -- sh -c 'echo precious >/vol-data/kept'").ok();

    machine.product("teardown").exits(0);
    gone(&machine);
    assert_eq!(claims(&machine), 4, "the claims stay");

    machine.product(&bootstrap).ok();
    assert_eq!(kept().ok(), "precious\n");
    assert_eq!(
        machine.root("cat /var/lib/iris-mk8s/password").ok(),
        password,
        "the volumes hold accounts with the old password"
    );

    // Nobody can be asked: standard input is no terminal.
    let converged = machine.snapshot("converged");
    for command in ["teardown --data", "teardown --reset"] {
        machine.product(command).exits(2).says(&[
            "--yes",
            "dbv-data-data-0",
            "/var/snap/microk8s/common/default-storage/",
        ]);
    }
    machine.is_as_at(&converged);
    assert_eq!(kept().ok(), "precious\n");

    machine.product("teardown --data --yes").exits(0);
    gone(&machine);
    assert_eq!(claims(&machine), 0, "the claims go");
    let folders = "ls /var/snap/microk8s/common/default-storage | grep -v registry";
    assert_eq!(machine.root(folders).stdout, "", "the folders of the volumes go");
    machine.root("test ! -e /var/lib/iris-mk8s/password").ok();

    machine.product(&bootstrap).ok();
    assert_eq!(kept().code, 1, "a new volume is empty");
    let another = machine.root("cat /var/lib/iris-mk8s/password").ok();
    assert_eq!(another == password, era == Era::Article, "new data has a new password, unless it is the article's");

    // With a volume of somebody's own MicroK8s stays, and is named; everything else of ours goes, but for what that volume needs.
    let theirs = "apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {name: theirs}\n\
                  spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Mi}}}";
    machine.root(&format!("echo '{theirs}' | microk8s kubectl apply -f -")).ok();
    let says = ["claim default/theirs", "snap remove --purge microk8s"];
    machine.product("teardown --reset --dry-run").exits(0).says(&says);
    machine.product("teardown --reset --yes").exits(41).says(&says);
    assert_eq!(machine.kubectl("get pvc -A -o jsonpath={.items[*].metadata.name}").ok(), "theirs");
}
