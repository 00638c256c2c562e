//! The class of the volumes: one that exists is taken, another one is refused with the names of those that are there.

use crate::support::{Era, Machine, in_both_eras};

in_both_eras! { a_class_of_the_users }

/// As JSON: kubectl of both eras reads it from one line.
const CLASS: &str = r#"{"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": "fast"}, "provisioner": "microk8s.io/hostpath", "volumeBindingMode": "WaitForFirstConsumer"}"#;

fn a_class_of_the_users(era: Era) {
    let Some(machine) = Machine::up("storage", era) else { return };
    let bootstrap = format!("bootstrap --storage fast --lb {}", machine.range());

    machine.product(&bootstrap).exits(23).says(&["there is no StorageClass `fast`", "microk8s-hostpath"]);
    assert_eq!(machine.kubectl("get pvc -n default -o name").ok(), "", "claims of a class that is not there");

    machine.root(&format!("echo '{CLASS}' | microk8s kubectl apply -f -")).ok();
    machine.product(&bootstrap).exits(0);
    let classes = machine.kubectl("get pvc -n default -o jsonpath={.items[*].spec.storageClassName}").ok();
    assert_eq!(classes, "fast fast fast fast");
}
