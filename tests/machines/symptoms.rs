//! What goes wrong with Longhorn, each made for real as far as a machine without a kernel of its own can: before anything is installed, while it
//! is waited for, and on a host where it worked.

use std::time::Instant;

use crate::{
    doctor::{Case, tell},
    longhorn::{FILE, arguments},
    support::{Era, Machine, in_both_eras},
};

in_both_eras! {
    what_cannot_work_is_said_before_anything_is_done
    what_breaks_later_is_named
}

/// What makes a host unfit: the damage, further arguments, the exit code, what is said, and the cure.
const UNFIT: &[(&str, &str, i32, &str, &str)] = &[
    (
        "umount /var/lib/longhorn; mkdir /root/elsewhere; rmdir /var/lib/longhorn; ln -s /root/elsewhere /var/lib/longhorn",
        "",
        10,
        "is a link (to /root/elsewhere)",
        "rm /var/lib/longhorn; rmdir /root/elsewhere; mkdir /var/lib/longhorn; mount -t tmpfs tmpfs /var/lib/longhorn",
    ),
    ("true", "", 10, "would lie on tmpfs", "umount /var/lib/longhorn; mount /dev/disk/data /var/lib/longhorn"),
    ("true", "IRIS_MK8S_STORAGE_DATA_SIZE=500Gi", 10, "would never get a volume", "true"),
    (
        "mkdir -p /run/sandbox; echo iscsi_tcp >/run/sandbox/no-modules",
        "",
        10,
        "lacks iscsi_tcp, without which no volume is attached",
        "rm /run/sandbox/no-modules",
    ),
    ("mount --make-private /", "", 10, "what Longhorn mounts there would not be seen by pods", "mount --make-shared /"),
];

fn what_cannot_work_is_said_before_anything_is_done(era: Era) {
    let Some(machine) = Machine::up("lh-unfit", era) else { return };
    let arguments = arguments(&machine);
    let disk = machine.root("findmnt -nro SOURCE /var/lib/longhorn").ok();
    let before = machine.snapshot("before");
    for (damage, variable, code, says, cure) in UNFIT {
        machine.root(damage).ok();
        let begun = Instant::now();
        let ended = machine.start_with(&format!("{variable} "), &format!("bootstrap {arguments}")).finish();
        tell(&format!("{damage} {variable}"), &format!("exit {code}: {says}"), begun.elapsed().as_secs());
        let errors = ended.exits(*code)["errors"].to_string();
        assert!(errors.contains(says), "it should say `{says}`: {errors}");
        machine.root(&cure.replace("/dev/disk/data", disk.trim())).ok();
    }
    let other = era.of("v1.2.3", "v1.11.3");
    let range = machine.range();
    let wrong = format!("bootstrap --lb {range} --storage longhorn --longhorn-version {other}");
    machine.product(&wrong).exits(2).says(&[other]);
    machine
        .product(&format!("bootstrap --lb {range} --storage longhorn"))
        .exits(10)
        .says(&["cannot be fetched", "--longhorn-manifest"]);
    machine.root(&format!("head -c 3000 {FILE} >/home/ubuntu/torn.yaml")).ok();
    machine
        .product(&format!("bootstrap --lb {range} --storage longhorn --longhorn-manifest /home/ubuntu/torn.yaml"))
        .exits(2);
    machine.root("rm /home/ubuntu/torn.yaml").ok();
    machine.is_as_at(&before);
}

/// What breaks on a host where it worked.
const LATER: &[Case] = &[
    Case {
        what: "a claim that is larger than the disk, and a pod that wants it",
        damage: "microk8s kubectl apply -f - <<'END'
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: vast}
spec: {accessModes: [ReadWriteOnce], storageClassName: longhorn, resources: {requests: {storage: 900Gi}}}
---
apiVersion: v1
kind: Pod
metadata: {name: vast}
spec:
  terminationGracePeriodSeconds: 0
  containers: [{name: it, image: busybox:1.28.4, command: [sleep, 1d], volumeMounts: [{name: it, mountPath: /data}]}]
  volumes: [{name: it, persistentVolumeClaim: {claimName: vast}}]
END",
        id: "longhorn-volumes",
        says: "claim vast is bound, and its volume is never attached",
        cure: "microk8s kubectl delete pod/vast pvc/vast",
    },
    Case {
        what: "a file that fills the disk",
        damage: "fallocate -l $(df --output=avail -k /var/lib/longhorn | awk 'END {printf \"%dK\", $1 * 0.9}') /var/lib/longhorn/filler",
        id: "longhorn-disks",
        says: "Longhorn takes no more volumes on disk",
        cure: "rm /var/lib/longhorn/filler",
    },
    Case {
        what: "iscsid stopped, and its socket",
        damage: "systemctl stop iscsid.socket iscsid.service",
        id: "longhorn-host",
        says: "iscsid does not run",
        cure: "systemctl start iscsid.socket",
    },
    Case {
        what: "the module not loaded",
        damage: "cp -a /sys/module/iscsi_tcp /root/; rm -r /sys/module/iscsi_tcp",
        id: "longhorn-host",
        says: "iscsi_tcp is not loaded",
        cure: "cp -a /root/iscsi_tcp /sys/module/",
    },
    Case {
        what: "a kernel without the module",
        damage: "mkdir -p /run/sandbox; echo iscsi_tcp >/run/sandbox/no-modules; rm -r /sys/module/iscsi_tcp",
        id: "longhorn-iscsi",
        says: "lacks iscsi_tcp, without which no volume is attached",
        cure: "rm /run/sandbox/no-modules; cp -a /root/iscsi_tcp /sys/module/",
    },
    Case {
        what: "multipathd installed, without a blacklist",
        damage: "apt-get update -q; apt-get install -qy multipath-tools",
        id: "longhorn-host",
        says: "its blacklist lets it take Longhorn's disks",
        cure: "apt-get purge -qy multipath-tools; systemctl reset-failed",
    },
];

/// Longhorn 1.2 has no webhooks.
const LATER_OLD: &[Case] = &[Case {
    what: "the manager gone",
    damage: "microk8s kubectl -n longhorn-system patch daemonset longhorn-manager -p '{\"spec\":{\"template\":{\"spec\":{\"nodeSelector\":{\"nobody\":\"here\"}}}}}'",
    id: "longhorn-driver",
    says: "longhorn-manager does not work",
    cure: "microk8s kubectl -n longhorn-system patch daemonset longhorn-manager --type=json -p '[{\"op\":\"remove\",\"path\":\"/spec/template/spec/nodeSelector/nobody\"}]'",
}];

/// Today nobody is called kubelet.
const LATER_TODAY: &[Case] = &[
    Case {
        what: "the manager gone",
        damage: "microk8s kubectl -n longhorn-system patch daemonset longhorn-manager -p '{\"spec\":{\"template\":{\"spec\":{\"nodeSelector\":{\"nobody\":\"here\"}}}}}'",
        id: "longhorn-removal",
        says: "no server answers behind longhorn-webhook-validator",
        cure: "microk8s kubectl -n longhorn-system patch daemonset longhorn-manager --type=json -p '[{\"op\":\"remove\",\"path\":\"/spec/template/spec/nodeSelector/nobody\"}]'",
    },
    Case {
        what: "the driver in another directory than kubelet",
        damage: "microk8s kubectl -n longhorn-system set env deployment/longhorn-driver-deployer KUBELET_ROOT_DIR=/var/lib/kubelet; REMAKE",
        id: "longhorn-driver",
        says: "pods write beside their volumes",
        cure: "microk8s kubectl -n longhorn-system set env deployment/longhorn-driver-deployer KUBELET_ROOT_DIR=/var/snap/microk8s/common/var/lib/kubelet; REMAKE",
    },
    Case {
        what: "the driver not told of kubelet's directory",
        damage: "microk8s kubectl -n longhorn-system set env deployment/longhorn-driver-deployer KUBELET_ROOT_DIR-; REMAKE",
        id: "longhorn-driver",
        says: "does not find kubelet's directory by itself",
        cure: "microk8s kubectl -n longhorn-system set env deployment/longhorn-driver-deployer KUBELET_ROOT_DIR=/var/snap/microk8s/common/var/lib/kubelet; REMAKE",
    },
];

/// The driver is made anew: what is there is never compared.
pub(crate) const REMAKE: &str = "microk8s kubectl -n longhorn-system delete deployments csi-attacher csi-provisioner csi-resizer csi-snapshotter; \
                      microk8s kubectl -n longhorn-system delete daemonset longhorn-csi-plugin; microk8s kubectl delete csidriver driver.longhorn.io; \
                      microk8s kubectl -n longhorn-system rollout restart deployment longhorn-driver-deployer";

/// The registry does not have an image of Longhorn's. (In the machine of 1.20 containerd asks the registry by its own name as well, which does not
/// speak TLS there: it hears no 404.)
fn without_its_image(machine: &Machine, arguments: &str) {
    machine.fault("registry --missing longhornio/longhorn-manager:v1.11.3");
    let begun = Instant::now();
    let ended = machine.start(&format!("bootstrap {arguments} --replicas 1")).finish();
    let errors = ended.exits(22)["errors"].to_string();
    assert!(errors.contains("the registry does not have its image"), "{errors}");
    let said = "exit 22: the registry does not have its image";
    tell("the registry without Longhorn's manager", said, begun.elapsed().as_secs());
    machine.fault("clear");
}

fn what_breaks_later_is_named(era: Era) {
    let Some(machine) = Machine::up("lh-symptoms", era) else { return };
    let arguments = arguments(&machine);
    if era == Era::Current {
        without_its_image(&machine, &arguments);
    }
    machine.product(&format!("bootstrap {arguments} --replicas 1")).exits(0);
    machine.is_well("a fresh bootstrap");
    machine.try_all(LATER, false);
    machine.try_all(era.of(LATER_TODAY, LATER_OLD), false);
    machine.root("apt-get purge -qy open-iscsi").ok();
    machine.doctor_finds("open-iscsi removed", "longhorn-host", "open-iscsi is not installed");
    machine.product(&format!("bootstrap {arguments} --replicas 1")).exits(0);
    machine.is_well("another bootstrap");
}
