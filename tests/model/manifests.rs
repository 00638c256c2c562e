//! The objects that MicroK8s 1.34 and its addons bring, as far as anybody looks at them.

use serde_json::{Value, json};

pub fn namespace(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}, "status": {"phase": "Active"}})
}

pub fn kubernetes_service() -> Value {
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "kubernetes", "namespace": "default"},
        "spec": {"type": "ClusterIP", "clusterIP": "10.152.183.1"}})
}

pub fn node(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}, "status": {
        "nodeInfo": {"kubeletVersion": "v1.34.4"},
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

/// The pod network, which comes with the cluster.
pub fn calico() -> Vec<Value> {
    vec![
        workload(
            "DaemonSet",
            "kube-system",
            "calico-node",
            &json!({"k8s-app": "calico-node"}),
            "calico-node",
            "docker.io/calico/node:v3.29.3",
        ),
        workload(
            "Deployment",
            "kube-system",
            "calico-kube-controllers",
            &json!({"k8s-app": "calico-kube-controllers"}),
            "calico-kube-controllers",
            "docker.io/calico/kube-controllers:v3.29.3",
        ),
    ]
}

pub fn dns() -> Vec<Value> {
    vec![
        workload(
            "Deployment",
            "kube-system",
            "coredns",
            &json!({"k8s-app": "kube-dns"}),
            "coredns",
            "coredns/coredns:1.12.3",
        ),
        service("kube-system", "kube-dns", &json!({"selector": {"k8s-app": "kube-dns"}, "clusterIP": "10.152.183.10"})),
    ]
}

pub fn storage() -> Vec<Value> {
    let labels = json!({"k8s-app": "hostpath-provisioner"});
    vec![
        workload(
            "Deployment",
            "kube-system",
            "hostpath-provisioner",
            &labels,
            "hostpath-provisioner",
            "cdkbot/hostpath-provisioner:1.6.0",
        ),
        json!({"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass",
            "metadata": {"name": "microk8s-hostpath", "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}},
            "provisioner": "microk8s.io/hostpath", "reclaimPolicy": "Delete", "volumeBindingMode": "WaitForFirstConsumer"}),
    ]
}

pub fn registry() -> Vec<Value> {
    let labels = json!({"app": "registry"});
    let mut deployment =
        workload("Deployment", "container-registry", "registry", &labels, "registry", "registry:2.8.3");
    deployment["spec"]["template"]["spec"]["volumes"] =
        json!([{"name": "registry-data", "persistentVolumeClaim": {"claimName": "registry-claim"}}]);
    vec![
        namespace("container-registry"),
        json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim",
            "metadata": {"name": "registry-claim", "namespace": "container-registry"},
            "spec": {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "20Gi"}}}}),
        deployment,
        service(
            "container-registry",
            "registry",
            &json!({"type": "NodePort", "selector": labels, "ports": [{"name": "registry", "port": 5000}]}),
        ),
    ]
}

/// The name of the definition of pools.
pub const POOLS: &str = "ipaddresspools.metallb.io";

/// One CRD stands for all eight of MetalLB.
pub fn crd() -> Value {
    json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": POOLS}})
}

/// MetalLB without its CRDs, which come first, and without its webhook, which is registered last.
pub fn metallb() -> Vec<Value> {
    let labels = |component: &str| json!({"app": "metallb", "component": component});
    vec![
        namespace("metallb-system"),
        service("metallb-system", "metallb-webhook-service", &json!({"selector": labels("controller")})),
        workload(
            "Deployment",
            "metallb-system",
            "controller",
            &labels("controller"),
            "controller",
            "quay.io/metallb/controller:v0.15.2",
        ),
        workload(
            "DaemonSet",
            "metallb-system",
            "speaker",
            &labels("speaker"),
            "speaker",
            "quay.io/metallb/speaker:v0.15.2",
        ),
    ]
}

pub fn pool(name: &str, addresses: &[&str]) -> Value {
    json!({"apiVersion": "metallb.io/v1beta1", "kind": "IPAddressPool", "metadata": {"name": name, "namespace": "metallb-system"},
        "spec": {"addresses": addresses}})
}

pub fn advertisement(name: &str) -> Value {
    json!({"apiVersion": "metallb.io/v1beta1", "kind": "L2Advertisement", "metadata": {"name": name, "namespace": "metallb-system"}})
}
