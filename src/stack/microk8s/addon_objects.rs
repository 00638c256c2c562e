//! What MicroK8s' addons bring, and those of their objects that can be put back by themselves, as MicroK8s' own manifests have them.

use std::path::Path;

use serde_json::{Value, json};

use crate::{
    config::version::Row,
    error::Result,
    host::Host,
    kube,
    stack::{addon::Brings, microk8s::state as microk8s},
};

/// Kubelet's arguments, where `enable dns` writes last of all what pods are told of it.
pub(crate) const KUBELET: &str = "/var/snap/microk8s/current/args/kubelet";

/// What an addon brings, workloads first; none for an addon that we do not know.
pub(crate) fn brings(name: &str) -> Option<&'static [Brings]> {
    const DNS: &[Brings] =
        &[(&kube::DEPLOYMENT, Some("kube-system"), "coredns"), (&kube::SERVICE, Some("kube-system"), "kube-dns")];
    const STORAGE: &[Brings] = &[
        (&kube::DEPLOYMENT, Some("kube-system"), "hostpath-provisioner"),
        (&kube::STORAGE_CLASS, None, "microk8s-hostpath"),
    ];
    const REGISTRY: &[Brings] = &[
        (&kube::NAMESPACE, None, "container-registry"),
        (&kube::DEPLOYMENT, Some("container-registry"), "registry"),
        (&kube::PERSISTENT_VOLUME_CLAIM, Some("container-registry"), "registry-claim"),
        (&kube::SERVICE, Some("container-registry"), "registry"),
    ];
    match name {
        "dns" => Some(DNS),
        "hostpath-storage" => Some(STORAGE),
        "registry" => Some(REGISTRY),
        _ => None,
    }
}

/// The address of the name service where kubelet's arguments name none.
const DNS_ADDRESS: &str = "10.152.183.10";

/// Objects that only their addon's manifest names, as it has them: what holds data and what tells where it is. The workloads are not among
/// them: without its workload MicroK8s takes an addon for disabled, and `enable` brings back all that is missing.
pub(crate) fn missing_object(host: &dyn Host, row: &Row, (kind, namespace, name): &Brings) -> Result<Option<Value>> {
    let meta = |labels: Value| json!({"name": name, "namespace": namespace, "labels": labels});
    let port = |name: &str, port: u16, protocol: &str| json!({"name": name, "port": port, "protocol": protocol});
    Ok(match (kind.kind, *name) {
        ("Service", "kube-dns") => {
            let arguments = host.read(Path::new(KUBELET))?.unwrap_or_default();
            let arguments = String::from_utf8_lossy(&arguments);
            let told = arguments.lines().find_map(|l| l.trim().strip_prefix("--cluster-dns="));
            let labels = json!({"k8s-app": "kube-dns", "kubernetes.io/cluster-service": "true", "kubernetes.io/name": "CoreDNS"});
            let ports = json!([port("dns", 53, "UDP"), port("dns-tcp", 53, "TCP"), port("metrics", 9153, "TCP")]);
            let spec =
                json!({"selector": {"k8s-app": "kube-dns"}, "clusterIP": told.unwrap_or(DNS_ADDRESS), "ports": ports});
            Some(json!({"apiVersion": "v1", "kind": "Service", "metadata": meta(labels), "spec": spec}))
        }
        ("Service", "registry") => {
            let ports =
                json!([{"name": "registry", "port": 5000, "targetPort": 5000, "nodePort": 32000, "protocol": "TCP"}]);
            let spec = json!({"type": "NodePort", "selector": {"app": "registry"}, "ports": ports});
            Some(
                json!({"apiVersion": "v1", "kind": "Service", "metadata": meta(json!({"app": "registry"})), "spec": spec}),
            )
        }
        ("PersistentVolumeClaim", "registry-claim") => {
            let spec = json!({"accessModes": ["ReadWriteMany"], "volumeMode": "Filesystem",
                "resources": {"requests": {"storage": "20Gi"}}});
            let meta = json!({"name": name, "namespace": namespace});
            Some(json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": meta, "spec": spec}))
        }
        ("StorageClass", "microk8s-hostpath") => {
            // Where there is another default by now, a second one would take new claims away from it.
            let is_default = !host.list(&kube::STORAGE_CLASS, None, "")?.iter().any(microk8s::is_default);
            let annotations = json!({"storageclass.kubernetes.io/is-default-class": is_default.to_string()});
            let mode = if row.waits_for_consumer { "WaitForFirstConsumer" } else { "Immediate" };
            Some(json!({"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass",
                "metadata": {"name": name, "annotations": annotations}, "provisioner": "microk8s.io/hostpath",
                "reclaimPolicy": "Delete", "volumeBindingMode": mode}))
        }
        _ => None,
    })
}
