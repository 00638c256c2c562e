//! Longhorn's manifest as objects: what is changed for one node with MicroK8s, and that nothing else is.

use iris_mk8s::{
    config::version::{LonghornVersion, Minor},
    kube::kind_of,
    stack::longhorn::{
        manifest::{Manifest, Part},
        state::KUBELET,
    },
};
use serde_json::{Value, json};

const PARTS: [Part; 5] = [Part::Namespace, Part::Definitions, Part::Rights, Part::Settings, Part::Workloads];

/// The stand-ins' manifests have the same objects under the same names as Longhorn's own.
const OLD: &str = include_str!("sandbox/longhorn/manifests/v1.2.3/longhorn.yaml");
const NEW: &str = include_str!("sandbox/longhorn/manifests/v1.11.3/longhorn.yaml");

fn all(text: &str, minor: u32) -> Vec<Value> {
    let manifest = Manifest::parse(text).expect("a manifest");
    PARTS.iter().flat_map(|part| manifest.part(*part, Minor(1, minor)).expect("known kinds")).collect()
}

fn find<'a>(objects: &'a [Value], kind: &str, name: &str) -> Option<&'a Value> {
    objects.iter().find(|o| o["kind"] == kind && o["metadata"]["name"] == name)
}

fn env<'a>(objects: &'a [Value], name: &str) -> Vec<&'a str> {
    let deployer = find(objects, "Deployment", "longhorn-driver-deployer").expect("the deployer");
    let all = deployer["spec"]["template"]["spec"]["containers"][0]["env"].as_array().expect("variables");
    all.iter().filter(|v| v["name"] == name).filter_map(|v| v["value"].as_str()).collect()
}

#[test]
fn the_driver_gets_kubelets_directory_and_one_pod_of_each() {
    for (text, minor) in [(OLD, 20), (NEW, 34)] {
        let objects = all(text, minor);
        assert_eq!(env(&objects, "KUBELET_ROOT_DIR"), [KUBELET]);
        for part in ["ATTACHER", "PROVISIONER", "RESIZER", "SNAPSHOTTER"] {
            assert_eq!(env(&objects, &format!("CSI_{part}_REPLICA_COUNT")), ["1"]);
        }
        let ui = find(&objects, "Deployment", "longhorn-ui").expect("its web page");
        assert_eq!(ui["spec"]["replicas"], 1);
    }
}

#[test]
fn a_variable_that_is_there_already_is_set_and_not_doubled() {
    let line = "        - {name: CSI_ATTACHER_IMAGE,";
    let text = NEW.replace(line, &format!("        - {{name: KUBELET_ROOT_DIR, value: /var/lib/kubelet}}\n{line}"));
    assert_ne!(text, NEW);
    assert_eq!(env(&all(&text, 34), "KUBELET_ROOT_DIR"), [KUBELET]);
}

#[test]
fn its_class_makes_one_replica_and_is_no_default() {
    for (text, minor) in [(OLD, 20), (NEW, 34)] {
        let objects = all(text, minor);
        let map = find(&objects, "ConfigMap", "longhorn-storageclass").expect("the class");
        let class: Value =
            serde_json::from_str(map["data"]["storageclass.yaml"].as_str().expect("a text")).expect("JSON");
        assert_eq!(class["parameters"]["numberOfReplicas"], "1");
        assert_eq!(class["metadata"]["annotations"]["storageclass.kubernetes.io/is-default-class"], "false");
        assert_eq!(
            (&class["provisioner"], &class["metadata"]["name"]),
            (&json!("driver.longhorn.io"), &json!("longhorn"))
        );
        assert_eq!(class["parameters"]["fsType"], "ext4", "the rest stays");
    }
}

#[test]
fn a_pod_security_policy_is_applied_only_where_the_api_has_it() {
    let (with, without) = (all(OLD, 20), all(OLD, 25));
    assert!(find(&with, "PodSecurityPolicy", "longhorn-psp").is_some());
    assert!(find(&without, "PodSecurityPolicy", "longhorn-psp").is_none());
    assert!(find(&with, "RoleBinding", "longhorn-psp-binding").is_some());
    assert!(find(&without, "RoleBinding", "longhorn-psp-binding").is_none());
}

#[test]
fn policies_of_the_network_are_left_out_and_everything_else_is_applied_once() {
    let policy = "---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: instance-manager, namespace: longhorn-system}\nspec: {}\n";
    let text = format!("{policy}{NEW}");
    let manifest: Vec<Value> = serde_saphyr::from_multiple(&text).expect("YAML");
    let named: Vec<&Value> = manifest.iter().filter(|o| o.is_object()).collect();
    let objects = all(&text, 34);
    assert!(find(&objects, "NetworkPolicy", "instance-manager").is_none());
    assert_eq!(objects.len(), named.len() - 1);
    assert!(objects.iter().all(|o| kind_of(o).is_some()));
}

#[test]
fn what_is_applied_has_no_empty_fields_and_every_port_its_protocol() {
    fn nulls(value: &Value) -> bool {
        match value {
            Value::Null => true,
            Value::Object(fields) => fields.values().any(nulls),
            Value::Array(items) => items.iter().any(nulls),
            _ => false,
        }
    }
    for object in [all(OLD, 20), all(NEW, 34)].concat() {
        assert!(!nulls(&object) && object.get("status").is_none(), "{object}");
        for port in object["spec"]["ports"].as_array().into_iter().flatten() {
            assert_eq!(port["protocol"], "TCP", "{object}");
        }
    }
}

#[test]
fn the_version_is_read_from_the_manifest_itself() {
    let version = |text: &str| Manifest::parse(text).expect("a manifest").version;
    assert_eq!(version(OLD), "v1.2.3".parse::<LonghornVersion>().expect("a version"));
    assert_eq!(version(NEW), "v1.11.3".parse::<LonghornVersion>().expect("a version"));
    for (text, why) in [
        ("", "no DaemonSet"),
        ("kind: Deployment\nmetadata: {name: longhorn-manager}\n", "no DaemonSet"),
        ("<html>not found</html>", "no DaemonSet"),
        ("a: [", ""),
    ] {
        let error = Manifest::parse(text).unwrap_err();
        assert!(
            error.what.contains("no manifest of Longhorn") && error.cause.unwrap_or_default().contains(why),
            "{text}"
        );
    }
}

#[test]
fn a_manifest_with_an_unknown_kind_is_refused_by_its_name() {
    let text = format!("{NEW}\n---\napiVersion: example.org/v1\nkind: Surprise\nmetadata: {{name: x}}\n");
    let manifest = Manifest::parse(&text).expect("it has its version");
    let error = manifest.part(Part::Rights, Minor(1, 34)).unwrap_err();
    assert!(error.what.contains("Surprise x"), "{error}");
}
