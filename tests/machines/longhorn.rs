//! Volumes on Longhorn: installed so that they store, taken back so that nothing hangs, and never anybody else's.

use std::io::Write;

use crate::support::{Era, Event, Machine, in_both_eras};

in_both_eras! {
    it_stores_and_goes_again
    it_goes_on_wherever_it_is_killed
    a_removal_in_the_wrong_order_is_mended
    the_power_goes_while_it_is_taken_away
    somebody_elses_survives_byte_for_byte
}

/// Longhorn's manifest, as it is handed to the product: the internet is not there.
pub(crate) const FILE: &str = "/home/ubuntu/longhorn.yaml";

fn version(era: Era) -> &'static str {
    era.of("v1.11.3", "v1.2.3")
}

/// The arguments of a bootstrap on Longhorn.
pub(crate) fn arguments(machine: &Machine) -> String {
    let manifest = format!(
        "{}/tests/sandbox/longhorn/manifests/{}/longhorn.yaml",
        env!("CARGO_MANIFEST_DIR"),
        version(machine.era())
    );
    machine.put(&manifest, FILE);
    format!("--lb {} --storage longhorn --longhorn-manifest {FILE}", machine.range())
}

/// What is in the cluster and on the host of Longhorn; nothing when it is gone.
fn traces(machine: &Machine) -> String {
    machine
        .root(
            "microk8s kubectl get namespace longhorn-system -o name 2>/dev/null; \
             microk8s kubectl get crd,storageclass,csidriver,priorityclass,clusterrole,clusterrolebinding,validatingwebhookconfiguration,\
mutatingwebhookconfiguration -o name | grep longhorn; iscsiadm -m session 2>/dev/null | grep longhorn; true",
        )
        .ok()
}

fn it_stores_and_goes_again(era: Era) {
    let Some(machine) = Machine::up("lh-lifecycle", era) else { return };
    let arguments = arguments(&machine);
    let before = machine.snapshot("before");

    machine.product(&format!("plan {arguments}")).exits(0).says(&["apt-get", "modprobe iscsi_tcp", "Longhorn"]);
    machine.is_as_at(&before);
    machine.product(&format!("bootstrap {arguments}")).exits(0).says(&["longhorn-frontend"]);
    let classes = machine.kubectl("get pvc -o jsonpath='{.items[*].spec.storageClassName}'").ok();
    assert_eq!(classes, "longhorn longhorn longhorn longhorn");
    let metrics = format!("http://{}:52773/api/monitor/metrics", machine.nth_address(0));
    machine.client_curl(&[&metrics]).exits(0).says(&["iris_cpu_usage"]);
    let sources =
        machine.root("findmnt -nlo SOURCE,TARGET | grep kubernetes.io~csi | grep -c ^/dev/longhorn/pvc-").ok();
    assert_eq!(sources, "4\n", "each claim is a device of Longhorn's");

    machine.product(&format!("plan --check {arguments}")).exits(0).says(&["nothing to do"]);
    let converged = machine.snapshot("converged");
    let again = machine.start(&format!("bootstrap {arguments}")).finish();
    let outcome = again.exits(0);
    assert_eq!((&outcome["created"], &outcome["changed"]), (&0.into(), &0.into()), "{outcome}");
    machine.is_as_at(&converged);
    machine.product("doctor").exits(0);

    // A volume cannot move to another class: its name is told, and nothing is changed.
    let hostpath = format!("bootstrap --lb {} --storage microk8s-hostpath", machine.range());
    machine.product(&hostpath).exits(23).says(&["dbv-mgr-data-0", "lie on longhorn", "--data"]);

    let reset = machine.start("teardown --reset --yes").finish();
    let _ = writeln!(std::io::stderr(), "{}: teardown {} s", machine.name(), reset.exits(0)["seconds"]);
    machine.is_restored_to(&before);
}

/// Runs a command that is killed at each of these moments, one after the other, and then lets it come to its end.
fn killed_at(machine: &Machine, command: &str, moments: &[(&str, &str)]) {
    for (event, step) in moments {
        let mut run = machine.start(command);
        let wanted = |e: &Event| e.is(event, step) || e.is("step-done", step) || e.is("step-undone", step);
        let seen = run.until(&format!("{event} {step}"), wanted);
        machine.signal("KILL");
        let _ = writeln!(
            std::io::stderr(),
            "{}: `{command}` killed at {event} {step} ({})",
            machine.name(),
            seen.text("why")
        );
        assert_eq!(run.finish().code, 137, "it was killed");
    }
    machine.start(command).finish().exits(0);
}

fn it_goes_on_wherever_it_is_killed(era: Era) {
    let Some(machine) = Machine::up("lh-kills", era) else { return };
    let arguments = arguments(&machine);
    let before = machine.snapshot("before");
    killed_at(
        &machine,
        &format!("bootstrap {arguments}"),
        &[
            ("step-acting", "longhorn.packages"),
            ("step-acting", "longhorn.definitions"),
            ("step-acting", "longhorn.workloads"),
            ("step-waiting", "longhorn.csi"),
            ("step-acting", "longhorn.trial"),
            ("step-acting", "longhorn.trial-end"),
        ],
    );
    machine.product(&format!("plan --check {arguments}")).exits(0).says(&["nothing to do"]);
    killed_at(
        &machine,
        "teardown --reset --yes",
        &[
            ("step-acting", "iris.claims"),
            ("step-acting", "longhorn.workloads"),
            ("step-waiting", "longhorn.workloads"),
            ("step-acting", "longhorn.definitions"),
            ("step-acting", "longhorn.namespace"),
            ("step-acting", "longhorn.packages"),
        ],
    );
    machine.is_restored_to(&before);
}

fn a_removal_in_the_wrong_order_is_mended(era: Era) {
    let Some(machine) = Machine::up("lh-repair", era) else { return };
    let arguments = arguments(&machine);
    let before = machine.snapshot("before");
    machine.start(&format!("bootstrap {arguments}")).finish().exits(0);
    machine.product("repair longhorn --yes").exits(23).says(&["Longhorn works"]);

    machine.root(&format!("microk8s kubectl delete -f {FILE} --wait=false")).ok();
    let gone = |machine: &Machine| {
        machine.kubectl("get pods -n longhorn-system -l app=longhorn-manager -o name").stdout.is_empty()
    };
    machine.wait_until("the manager is gone", 120, gone);
    let half = |machine: &Machine| {
        let state = "get namespace longhorn-system -o jsonpath={.status.phase}{.status.conditions[*].type}";
        let said = machine.kubectl(state).stdout;
        said.starts_with("Terminating") && said.contains("Remaining")
    };
    machine.wait_until("the namespace waits for its objects", 120, half);

    machine.doctor_finds("`kubectl delete -f longhorn.yaml` by hand", "longhorn-removal", "is partially deleted");
    machine.product("doctor").exits(30).says(&["repair longhorn"]);
    machine.product(&format!("bootstrap {arguments}")).exits(23).says(&["partially deleted", "repair longhorn"]);
    machine.product("repair longhorn").exits(2).says(&["this will be done", "pass --yes"]);
    machine.product("repair longhorn --dry-run").exits(0).says(&["this will be done", "finalizers"]);
    let mended = machine.start("repair longhorn --yes").finish();
    let _ = writeln!(std::io::stderr(), "{}: repaired in {} s", machine.name(), mended.exits(0)["seconds"]);
    assert_eq!(traces(&machine), "", "nothing of it is left");
    machine.product("repair longhorn").exits(0).says(&["nothing to repair"]);

    // The dead end is left behind: it can be installed anew.
    machine.product(&format!("bootstrap {arguments} --data")).exits(0);
    machine.product("teardown --reset --yes").exits(0);
    machine.is_restored_to(&before);
}

fn the_power_goes_while_it_is_taken_away(era: Era) {
    let Some(machine) = Machine::up("lh-power", era) else { return };
    let arguments = arguments(&machine);
    let before = machine.snapshot("before");
    machine.start(&format!("bootstrap {arguments}")).finish().exits(0);
    let mut teardown = machine.start("teardown --reset --yes");
    teardown.until("the uninstall job works", |e| {
        e.is("step-waiting", "longhorn.workloads") && e.text("why").contains("uninstall job works")
    });
    machine.power_cut();
    drop(teardown);
    machine.start("teardown --reset --yes").finish().exits(0);
    machine.is_restored_to(&before);
}

/// A claim with data of somebody's, and the pod that keeps it.
const THEIRS: &str = "apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {name: theirs}\nspec:\n  accessModes: [ReadWriteOnce]\n  \
                      storageClassName: longhorn\n  resources: {requests: {storage: 128Mi}}\n---\napiVersion: v1\nkind: Pod\nmetadata: {name: keeper}\nspec:\n  \
                      terminationGracePeriodSeconds: 0\n  containers:\n  - {name: keeper, image: busybox:1.28.4, command: [sleep, '100000'], volumeMounts: [{name: data, mountPath: /data}]}\n  \
                      volumes: [{name: data, persistentVolumeClaim: {claimName: theirs}}]\n";

fn somebody_elses_survives_byte_for_byte(era: Era) {
    let Some(machine) = Machine::up("lh-theirs", era) else { return };
    let arguments = arguments(&machine);
    machine.install_by_hand(era.track());
    machine.root("microk8s enable dns").ok();
    machine.root("apt-get update -q && apt-get install -qy open-iscsi && systemctl enable --now iscsid && modprobe iscsi_tcp").ok();
    machine.kubectl(&format!("apply -f {FILE}")).ok();
    let root = "KUBELET_ROOT_DIR=/var/snap/microk8s/common/var/lib/kubelet";
    machine.kubectl(&format!("set env deployment/longhorn-driver-deployer -n longhorn-system {root}")).ok();
    machine.root(&format!("cat > /root/theirs.yaml <<'END'\n{THEIRS}END")).ok();
    machine.kubectl("apply -f /root/theirs.yaml").ok();
    let runs = |machine: &Machine| machine.kubectl("get pod keeper -o jsonpath={.status.phase}").stdout == "Running";
    machine.wait_until("somebody's pod has its volume", 300, runs);
    machine.kubectl("exec keeper -- sh -c 'head -c 100000 /dev/urandom > /data/file && sync'").ok();
    let sum = |machine: &Machine| machine.kubectl("exec keeper -- md5sum /data/file").ok();
    let objects = |machine: &Machine| {
        let columns = "custom-columns=K:.kind,N:.metadata.name,U:.metadata.uid,G:.metadata.generation";
        let kinds = "namespace/longhorn-system pvc/theirs pod/keeper storageclass/longhorn";
        let own = "get deployments,daemonsets,configmaps,serviceaccounts -n longhorn-system";
        machine.kubectl(&format!("get {kinds} --no-headers -o {columns}")).ok()
            + &machine.kubectl(&format!("{own} --no-headers -o {columns}")).ok()
    };
    let (data, theirs) = (sum(&machine), objects(&machine));

    machine.product(&format!("bootstrap {arguments}")).exits(0);
    assert_eq!((sum(&machine), objects(&machine)), (data.clone(), theirs.clone()), "after a bootstrap");
    machine.product("teardown").exits(0);
    machine.product("teardown --data --yes").exits(0);
    machine.product("teardown --reset --yes").exits(41).says(&["somebody else's Longhorn needs it"]);
    assert_eq!((sum(&machine), objects(&machine)), (data, theirs), "after every teardown");
    machine.root("iscsiadm --version && systemctl is-active iscsid && test -d /sys/module/iscsi_tcp").ok();
}
