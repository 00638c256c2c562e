//! The objects that MicroK8s and its addons bring, as far as anybody looks at them.

use serde_json::{Value, json};

use super::world::Era;

pub fn namespace(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}, "status": {"phase": "Active"}})
}

pub fn kubernetes_service() -> Value {
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "kubernetes", "namespace": "default"},
        "spec": {"type": "ClusterIP", "clusterIP": "10.152.183.1"}})
}

pub fn node(name: &str, era: Era) -> Value {
    json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}, "status": {
        "nodeInfo": {"kubeletVersion": era.kubernetes()},
        "conditions": [{"type": "Ready", "status": "False", "message": "cni plugin not initialized"}]}})
}

/// A Deployment or DaemonSet whose pods carry `labels` and run one container.
fn workload(kind: &str, namespace: &str, name: &str, labels: &Value, container: &str, image: &str) -> Value {
    json!({"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [{"name": container, "image": image}]}}}})
}

fn service(namespace: &str, name: &str, spec: &Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": namespace}, "spec": spec})
}

/// The same with labels.
fn labelled(mut object: Value, labels: Value) -> Value {
    object["metadata"]["labels"] = labels;
    object
}

/// The pod network, which comes with the cluster.
pub fn calico(era: Era) -> Vec<Value> {
    let version = if era == Era::Today { "v3.29.3" } else { "v3.13.2" };
    vec![
        workload(
            "DaemonSet",
            "kube-system",
            "calico-node",
            &json!({"k8s-app": "calico-node"}),
            "calico-node",
            &format!("docker.io/calico/node:{version}"),
        ),
        workload(
            "Deployment",
            "kube-system",
            "calico-kube-controllers",
            &json!({"k8s-app": "calico-kube-controllers"}),
            "calico-kube-controllers",
            &format!("docker.io/calico/kube-controllers:{version}"),
        ),
    ]
}

pub fn dns(era: Era) -> Vec<Value> {
    let image = if era == Era::Today { "coredns/coredns:1.12.3" } else { "coredns/coredns:1.6.6" };
    vec![
        workload("Deployment", "kube-system", "coredns", &json!({"k8s-app": "kube-dns"}), "coredns", image),
        labelled(
            service(
                "kube-system",
                "kube-dns",
                &json!({"selector": {"k8s-app": "kube-dns"}, "clusterIP": "10.152.183.10", "ports": [
                    {"name": "dns", "port": 53, "protocol": "UDP"}, {"name": "dns-tcp", "port": 53, "protocol": "TCP"},
                    {"name": "metrics", "port": 9153, "protocol": "TCP"}]}),
            ),
            json!({"k8s-app": "kube-dns", "kubernetes.io/cluster-service": "true", "kubernetes.io/name": "CoreDNS"}),
        ),
    ]
}

pub fn storage(era: Era) -> Vec<Value> {
    // In 1.20 a claim gets its volume at once, today with its first pod.
    let (image, binding) = match era {
        Era::Today => ("cdkbot/hostpath-provisioner:1.6.0", "WaitForFirstConsumer"),
        Era::Old => ("cdkbot/hostpath-provisioner-amd64:1.0.0", "Immediate"),
    };
    let labels = json!({"k8s-app": "hostpath-provisioner"});
    vec![
        workload("Deployment", "kube-system", "hostpath-provisioner", &labels, "hostpath-provisioner", image),
        json!({"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass",
            "metadata": {"name": "microk8s-hostpath", "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}},
            "provisioner": "microk8s.io/hostpath", "reclaimPolicy": "Delete", "volumeBindingMode": binding}),
    ]
}

pub fn registry(era: Era) -> Vec<Value> {
    let image = if era == Era::Today { "registry:2.8.3" } else { "cdkbot/registry-amd64:2.6" };
    let labels = json!({"app": "registry"});
    let mut deployment = workload("Deployment", "container-registry", "registry", &labels, "registry", image);
    deployment["spec"]["template"]["spec"]["volumes"] =
        json!([{"name": "registry-data", "persistentVolumeClaim": {"claimName": "registry-claim"}}]);
    vec![
        namespace("container-registry"),
        json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim",
            "metadata": {"name": "registry-claim", "namespace": "container-registry"},
            "spec": {"accessModes": ["ReadWriteMany"], "volumeMode": "Filesystem", "resources": {"requests": {"storage": "20Gi"}}}}),
        deployment,
        labelled(
            service(
                "container-registry",
                "registry",
                &json!({"type": "NodePort", "selector": labels, "ports": [
                    {"name": "registry", "port": 5000, "targetPort": 5000, "nodePort": 32000, "protocol": "TCP"}]}),
            ),
            labels,
        ),
    ]
}

/// The name of the definition of pools.
pub const POOLS: &str = "ipaddresspools.metallb.io";

/// One CRD stands for all eight of MetalLB.
pub fn crd() -> Value {
    json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": POOLS}})
}

/// The images that MicroK8s 1.20 names for MetalLB, which no registry has any more.
pub const GONE: [&str; 2] = ["metallb/controller:v0.9.3", "metallb/speaker:v0.9.3"];

fn metallb_workload(kind: &str, component: &str, image: &str) -> Value {
    let labels = json!({"app": "metallb", "component": component});
    workload(kind, "metallb-system", component, &labels, component, image)
}

/// MetalLB of today without its CRDs, which come first, and without its webhook, which is registered last.
pub fn metallb() -> Vec<Value> {
    let selector = json!({"selector": {"app": "metallb", "component": "controller"}});
    vec![
        namespace("metallb-system"),
        service("metallb-system", "metallb-webhook-service", &selector),
        metallb_workload("Deployment", "controller", "quay.io/metallb/controller:v0.15.2"),
        metallb_workload("DaemonSet", "speaker", "quay.io/metallb/speaker:v0.15.2"),
    ]
}

/// MetalLB 0.9 of MicroK8s 1.20: one manifest, whose last object is its configuration.
pub fn old_metallb(addresses: &[&str]) -> Vec<Value> {
    vec![
        namespace("metallb-system"),
        metallb_workload("DaemonSet", "speaker", GONE[1]),
        metallb_workload("Deployment", "controller", GONE[0]),
        config(&[("default", addresses)]),
    ]
}

/// MetalLB 0.9's configuration, as MicroK8s writes it.
pub fn config(pools: &[(&str, &[&str])]) -> Value {
    let mut text = "address-pools:\n".to_owned();
    for (name, addresses) in pools {
        text.push_str(&format!("- name: {name}\n  protocol: layer2\n  addresses:\n"));
        addresses.iter().for_each(|range| text.push_str(&format!("  - {range}\n")));
    }
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "config", "namespace": "metallb-system"},
        "data": {"config": text}})
}

pub fn pool(name: &str, addresses: &[&str]) -> Value {
    json!({"apiVersion": "metallb.io/v1beta1", "kind": "IPAddressPool", "metadata": {"name": name, "namespace": "metallb-system"},
        "spec": {"addresses": addresses}})
}

pub fn advertisement(name: &str) -> Value {
    json!({"apiVersion": "metallb.io/v1beta1", "kind": "L2Advertisement", "metadata": {"name": name, "namespace": "metallb-system"}})
}
