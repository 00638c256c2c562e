//! doctor against recorded facts: each check of the cluster is seen to fire, silent on a good cluster, and its bundle holds no secret.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test fails by panicking")]

mod recorded;

use std::{collections::BTreeSet, time::Duration};

use iris_mk8s::{
    doctor::{self, Bundle},
    engine::{
        journal::{self, Record},
        step,
    },
    error::{
        Result,
        finding::{Finding, Severity},
    },
    host::Host,
};
use recorded::{Facts, Recorded, TODAY, good, spec};
use serde_json::{Value, json};

const CERTIFICATES: &str = "/var/snap/microk8s/current/certs";
const ADDRESS: &str = "http://192.168.11.110:52773/api/monitor/metrics";

/// A workload with all its pods, and one of them.
fn workload(facts: &mut Facts, kind: &str, plural: &str, namespace: &str, name: &str) {
    let labels = json!({"app": name});
    let status = if kind == "DaemonSet" {
        json!({"observedGeneration": 1, "desiredNumberScheduled": 1, "updatedNumberScheduled": 1, "numberAvailable": 1, "numberReady": 1})
    } else {
        json!({"observedGeneration": 1, "replicas": 1, "updatedReplicas": 1, "readyReplicas": 1, "availableReplicas": 1,
            "conditions": [{"type": "Available", "status": "True"}]})
    };
    let object = json!({"kind": kind, "metadata": {"namespace": namespace, "name": name, "generation": 1},
        "spec": {"replicas": 1, "selector": {"matchLabels": labels}}, "status": status});
    facts.objects.entry(plural.to_owned()).or_default().push(object);
    let pod = pod(namespace, &format!("{name}-x"), &labels);
    facts.objects.entry("pods".to_owned()).or_default().push(pod);
}

fn pod(namespace: &str, name: &str, labels: &Value) -> Value {
    let condition = |kind: &str| json!({"type": kind, "status": "True"});
    json!({"kind": "Pod", "metadata": {"namespace": namespace, "name": name, "labels": labels, "uid": name},
        "spec": {"nodeName": "vm1", "containers": [{"name": "iris"}]},
        "status": {"phase": "Running", "podIP": "10.1.7.5", "conditions": [condition("PodScheduled"), condition("Ready")],
            "containerStatuses": [{"name": "iris", "image": "x", "ready": true, "restartCount": 0, "state": {"running": {}}}]}})
}

/// The same host after a bootstrap with one instance.
fn converged() -> Facts {
    let mut facts = good();
    facts
        .snapd("/v2/snaps/microk8s", json!({"status": "active", "tracking-channel": "1.36/stable", "version": "v1.36.2", "revision": "1"}))
        .snapd(
            "/v2/apps?names=microk8s&select=service",
            json!(["daemon-kubelite", "daemon-containerd", "daemon-k8s-dqlite", "daemon-apiserver-kicker", "daemon-cluster-agent"]
                .map(|name| json!({"snap": "microk8s", "name": name, "daemon": "simple", "enabled": true, "active": true}))),
        )
        .file(&format!("{CERTIFICATES}/server.crt"), "")
        .file(&format!("{CERTIFICATES}/front-proxy-client.crt"), "")
        .file(&format!("{CERTIFICATES}/ca.crt"), "")
        .command(
            &format!("openssl x509 -noout -ext keyUsage -in {CERTIFICATES}/ca.crt"),
            0,
            "X509v3 Key Usage: critical\n    Certificate Sign, CRL Sign\n",
        )
        .command(
            &format!("openssl x509 -noout -startdate -in {CERTIFICATES}/server.crt"),
            0,
            "notBefore=Nov  4 07:07:01 2026 GMT\n",
        );
    for file in ["server.crt", "front-proxy-client.crt"] {
        end_of(&mut facts, file, "Nov 24 07:07:01 2027 GMT");
    }
    facts.command(
        &format!("openssl x509 -noout -ext subjectAltName -in {CERTIFICATES}/server.crt"),
        0,
        "X509v3 Subject Alternative Name: \n    DNS:kubernetes, IP Address:127.0.0.1, IP Address:10.152.183.1, IP Address:192.168.11.49\n",
    );
    facts.api.insert("/readyz".to_owned(), "ok".to_owned());
    facts.api.insert("/apis/metallb.io/v1beta1".to_owned(), "ipaddresspools servicel2statuses".to_owned());
    log(&mut facts, "data-0", "Enabling logons\n");
    looks_up(&mut facts, Some("3.5.7.9"), None);
    let condition = |kind: &str, status: &str| json!({"type": kind, "status": status, "message": "kubelet says so"});
    facts.objects(
        "nodes",
        vec![json!({"kind": "Node", "metadata": {"name": "vm1", "labels": {}}, "spec": {},
            "status": {"conditions": [condition("Ready", "True"), condition("DiskPressure", "False")]}})],
    );
    workload(&mut facts, "DaemonSet", "daemonsets", "kube-system", "calico-node");
    workload(&mut facts, "Deployment", "deployments", "kube-system", "coredns");
    workload(&mut facts, "Deployment", "deployments", "kube-system", "hostpath-provisioner");
    workload(&mut facts, "Deployment", "deployments", "metallb-system", "controller");
    workload(&mut facts, "DaemonSet", "daemonsets", "metallb-system", "speaker");
    let mut instance = pod("default", "data-0", &json!({"app": "iris", "iris-mk8s/statefulset": "data"}));
    instance["metadata"]["ownerReferences"] = json!([{"kind": "StatefulSet", "name": "data", "controller": true}]);
    facts.objects.get_mut("pods").unwrap().push(instance);
    let class = json!({"metadata": {"name": "microk8s-hostpath", "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}}});
    facts.objects("storageclasses", vec![class]);
    let claim = |name: &str| {
        json!({"metadata": {"namespace": "default", "name": name}, "spec": {"storageClassName": "microk8s-hostpath", "volumeName": "v"},
            "status": {"phase": "Bound"}})
    };
    facts.objects("persistentvolumeclaims", vec![claim("dbv-mgr-data-0"), claim("dbv-data-data-0")]);
    facts.objects(
        "services",
        vec![json!({"kind": "Service", "metadata": {"namespace": "default", "name": "iris-ext"},
            "spec": {"type": "LoadBalancer", "selector": {"app": "iris", "iris-mk8s/statefulset": "data"}}, "status": {"loadBalancer": {"ingress": [{"ip": "192.168.11.110"}]}}})],
    );
    let of_metallb =
        |name: &str, spec: Value| json!({"metadata": {"name": name, "namespace": "metallb-system"}, "spec": spec});
    facts.objects(
        "ipaddresspools",
        vec![of_metallb("default-addresspool", json!({"addresses": ["192.168.11.110-192.168.11.130"]}))],
    );
    facts.objects("l2advertisements", vec![of_metallb("default-advertise-all-pools", json!({}))]);
    facts.objects(
        "servicel2statuses",
        vec![json!({"metadata": {"name": "l2-x", "namespace": "metallb-system"},
            "status": {"node": "vm1", "serviceName": "iris-ext", "serviceNamespace": "default"}})],
    );
    let page = "# HELP x\niris_license_available 7\niris_license_days_remaining 300\niris_cpu_usage 1\n";
    facts.pages.insert(ADDRESS.to_owned(), (200, page.to_owned()));
    facts.pages.insert("http://10.1.7.5:52773/api/monitor/metrics".to_owned(), (200, page.to_owned()));
    facts
}

/// What names have an address in a pod: one of the world, and one that nobody has.
fn looks_up(facts: &mut Facts, external: Option<&str>, nobody: Option<&str>) {
    for (name, address) in [("registry-1.docker.io", external), ("iris-mk8s-no-such-host", nobody)] {
        let found = address.map_or((2, String::new()), |address| (0, format!("{address} STREAM {name}\n")));
        facts.execs.insert(format!("getent ahostsv4 {name}"), found);
    }
}

fn end_of(facts: &mut Facts, file: &str, date: &str) {
    facts.command(&format!("openssl x509 -noout -enddate -in {CERTIFICATES}/{file}"), 0, &format!("notAfter={date}\n"));
}

fn log(facts: &mut Facts, pod: &str, text: &str) {
    let path = format!("/api/v1/namespaces/default/pods/{pod}/log?container=iris&tailLines=3000");
    facts.api.insert(path, text.to_owned());
}

/// The addresses that a certificate names, besides that of loopback.
fn names(facts: &mut Facts, file: &str, address: &str) {
    facts.file(&format!("{CERTIFICATES}/{file}"), "");
    let show = format!("openssl x509 -noout -ext subjectAltName -in {CERTIFICATES}/{file}");
    facts.command(&show, 0, &format!("IP Address:127.0.0.1, IP Address:10.152.183.1, IP Address:{address}\n"));
}

fn node_address(facts: &mut Facts, address: &str) {
    object(facts, "nodes", "vm1")["status"]["addresses"] =
        json!([{"type": "InternalIP", "address": address}, {"type": "Hostname", "address": "vm1"}]);
}

/// Where pods look for the API server.
fn api_address(facts: &mut Facts, address: &str) {
    facts.objects(
        "endpoints",
        vec![json!({"metadata": {"namespace": "default", "name": "kubernetes"}, "subsets": [{"addresses": [{"ip": address}]}]})],
    );
}

/// IRIS' StatefulSet with so many instances; with none, nobody speaks for its service either.
fn scaled(facts: &mut Facts, replicas: u32) {
    let set = json!({"kind": "StatefulSet", "metadata": {"namespace": "default", "name": "data", "generation": 1},
        "spec": {"replicas": replicas}, "status": {"observedGeneration": 1, "replicas": replicas}});
    facts.objects("statefulsets", vec![set]);
    if replicas == 0 {
        facts.objects.get_mut("pods").unwrap().retain(|p| p["metadata"]["name"] != "data-0");
        facts.objects("servicel2statuses", vec![]);
        facts.pages.clear();
    }
}

fn examine(facts: Facts) -> doctor::Report {
    doctor::examine(&Recorded::new(facts), &spec(&["--replicas", "1"]), None)
}

/// An object by its name.
fn object<'f>(facts: &'f mut Facts, plural: &str, name: &str) -> &'f mut Value {
    let all = facts.objects.get_mut(plural).unwrap();
    all.iter_mut().find(|o| o["metadata"]["name"] == name).unwrap_or_else(|| panic!("no {plural}/{name}"))
}

fn waiting(facts: &mut Facts, reason: &str, message: &str) {
    let status = &mut object(facts, "pods", "data-0")["status"];
    status["conditions"][1]["status"] = "False".into();
    status["containerStatuses"][0]["state"] = json!({"waiting": {"reason": reason, "message": message}});
}

fn event(facts: &mut Facts, reason: &str, message: &str) {
    let of = json!({"kind": "Pod", "namespace": "default", "name": "data-0", "uid": "data-0"});
    facts.objects("events", vec![json!({"involvedObject": of, "reason": reason, "message": message, "lastTimestamp": "2026-11-24T00:00:00Z"})]);
}

fn no_workload(facts: &mut Facts, plural: &str, name: &str) {
    facts.objects.get_mut(plural).unwrap().retain(|o| o["metadata"]["name"] != name);
}

#[test]
fn a_good_cluster_has_nothing_to_tell_and_every_check_was_run() {
    let report = examine(converged());
    let bad: Vec<&Finding> = report.findings.iter().filter(|f| f.severity != Severity::Fine).collect();
    assert!(bad.is_empty() && report.problems == 0, "{bad:#?}");
    let ran: BTreeSet<&str> = report.findings.iter().map(|f| f.id).collect();
    for id in
        iris_mk8s::stack::checks::GROUND.iter().map(|c| c.id).chain(iris_mk8s::doctor::checks::ALL.iter().map(|c| c.id))
    {
        assert!(ran.contains(id), "the check {id} was not run");
    }
}

#[test]
fn a_bare_host_without_a_cluster_has_no_problem() {
    let report = examine(good());
    assert_eq!(report.problems, 0, "{}", report.show(false));
    assert!(report.findings.iter().all(|f| f.id != "snap" && f.id != "api"), "{}", report.show(true));
}

/// Longhorn, as it works.
fn with_longhorn(facts: &mut Facts) {
    let namespace = json!({"metadata": {"name": "longhorn-system"}});
    facts.objects("namespaces", vec![namespace]).file("/sys/module/iscsi_tcp/refcnt", "1\n");
    facts
        .command("iscsiadm --version", 0, "iscsiadm version 2.1.9\n")
        .command("systemctl is-active iscsid.service", 0, "active\n")
        .command("systemctl is-active multipathd.service", 3, "inactive\n")
        .command("systemctl is-active multipathd.socket", 3, "inactive\n");
    for (kind, plural, name) in [
        ("DaemonSet", "daemonsets", "longhorn-manager"),
        ("Deployment", "deployments", "longhorn-driver-deployer"),
        ("Deployment", "deployments", "csi-provisioner"),
        ("Deployment", "deployments", "csi-attacher"),
        ("DaemonSet", "daemonsets", "longhorn-csi-plugin"),
    ] {
        workload(facts, kind, plural, "longhorn-system", name);
    }
    let definition = |plural: &str| {
        json!({"metadata": {"name": format!("{plural}.longhorn.io")}, "spec": {"group": "longhorn.io", "names": {"plural": plural},
            "versions": [{"name": "v1beta2", "served": true}]}})
    };
    facts.objects("customresourcedefinitions", vec![definition("nodes"), definition("volumes")]);
    let holds = |kind: &str| json!({"type": kind, "status": "True"});
    let (disk, node) =
        (json!({"conditions": [holds("Ready"), holds("Schedulable")]}), [holds("Ready"), holds("Schedulable")]);
    let node = json!({"metadata": {"namespace": "longhorn-system", "name": "vm1"}, "status": {"conditions": node, "diskStatus": {"disk-1": disk}}});
    facts.objects("nodes.longhorn.io", vec![node]);
    let volume = json!({"metadata": {"namespace": "longhorn-system", "name": "pvc-1"}, "spec": {"numberOfReplicas": 1},
        "status": {"robustness": "healthy", "kubernetesStatus": {"pvcName": "dbv-data-data-0"}, "conditions": [holds("Scheduled")]}});
    facts.objects("volumes.longhorn.io", vec![volume]);
}

#[test]
fn a_longhorn_that_works_has_nothing_to_tell() {
    let mut facts = converged();
    with_longhorn(&mut facts);
    let report = examine(facts);
    assert_eq!(report.problems, 0, "{}", report.show(false));
}

/// The check, what is broken, and what the first finding says.
type Case = (&'static str, fn(&mut Facts), &'static str);

const CASES: &[Case] = &[
    (
        "strangers",
        |f| {
            // A service from before there was a label of our own.
            object(f, "services", "iris-ext")["spec"]["selector"] = json!({"app": "iris"});
            let theirs = pod("default", "web-7", &json!({"app": "iris"}));
            f.objects.get_mut("pods").unwrap().push(theirs);
        },
        "service iris-ext also leads to web-7, which is no instance of IRIS",
    ),
    (
        "pod-routes",
        |f| {
            _ = f.command(
                "ip -j route get 10.1.7.5",
                0,
                r#"[{"dst":"10.1.7.5","gateway":"192.168.11.1","dev":"eth0"}]"#,
            );
        },
        "the host has no route to ",
    ),
    ("names", |f| looks_up(f, None, None), "pod data-0 does not find registry-1.docker.io"),
    (
        "names",
        |f| looks_up(f, Some("10.9.9.9"), Some("10.9.9.9")),
        "pod data-0 finds 10.9.9.9 for `iris-mk8s-no-such-host`",
    ),
    (
        "certificate-authority",
        |f| {
            f.file(&format!("{CERTIFICATES}/ca.crt"), "").command(
                &format!("openssl x509 -noout -ext keyUsage -in {CERTIFICATES}/ca.crt"),
                0,
                "No extensions matching\n",
            );
        },
        "the cluster's certificate authority is one from before June 2026",
    ),
    (
        "certificate-start",
        |f| {
            f.command(
                &format!("openssl x509 -noout -startdate -in {CERTIFICATES}/server.crt"),
                0,
                "notBefore=Jan  1 00:00:00 2027 GMT\n",
            );
        },
        "the certificate of the API server is valid from 2027-01-01T00:00:00Z on, and the clock says 2026-11-24T06:00:00Z",
    ),
    (
        "crash",
        |f| {
            let status = &mut object(f, "pods", "data-0")["status"];
            status["conditions"][1]["status"] = "False".into();
            status["containerStatuses"][0]["state"] = json!({"terminated": {"exitCode": 135, "reason": "Error"}});
        },
        "ends with exit code 135 (0 times): a bus error; most likely it maps huge pages of the host",
    ),
    (
        "iris-door",
        |f| _ = f.logins.insert("SYS".to_owned(), 200),
        "data-0: everybody can log in: SuperUser takes the password `SYS`",
    ),
    (
        "iris-door",
        |f| {
            let ours = json!([{"manager": "iris-mk8s", "operation": "Apply"}]);
            f.objects(
                "statefulsets",
                vec![json!({"metadata": {"namespace": "default", "name": "data", "managedFields": ours}})],
            )
            .file("/var/lib/iris-mk8s/password", "other\n");
        },
        "data-0: SuperUser cannot log in with the password that bootstrap announced",
    ),
    (
        "snap",
        |f| f.snapd.get_mut("/v2/snaps/microk8s").unwrap()["status"] = "installed".into(),
        "the snap microk8s is disabled",
    ),
    (
        "services",
        |f| f.snapd.get_mut("/v2/apps?names=microk8s&select=service").unwrap()[0]["active"] = false.into(),
        "daemon-kubelite",
    ),
    ("certificates", |f| end_of(f, "server.crt", "Nov  1 07:07:01 2026 GMT"), "(server.crt) ended on 2026-11-01"),
    ("host-address", |f| names(f, "server.crt", "192.168.11.7"), "set up when it was 192.168.11.7"),
    ("host-address", |f| node_address(f, "192.168.11.7"), "set up when it was 192.168.11.7"),
    ("host-address", |f| api_address(f, "192.168.11.7"), "the address at which pods look for the API server"),
    (
        "host-address",
        |f| {
            f.file(
                "/var/snap/microk8s/current/args/kube-apiserver",
                "--kubelet-certificate-authority=${SNAP_DATA}/certs/ca.crt\n",
            );
            names(f, "kubelet.crt", "192.168.11.7");
        },
        "the certificate of kubelet",
    ),
    ("iris-stopped", |f| scaled(f, 0), "StatefulSet data is scaled to 0"),
    ("api", |f| f.api.clear(), "the Kubernetes API does not answer"),
    (
        "node",
        |f| object(f, "nodes", "vm1")["status"]["conditions"][0]["status"] = "Unknown".into(),
        "does not report any more",
    ),
    (
        "pressure",
        |f| object(f, "nodes", "vm1")["status"]["conditions"][1]["status"] = "True".into(),
        "short of disk (DiskPressure",
    ),
    ("pull", |f| waiting(f, "ImagePullBackOff", "x/iris:1: not found"), "the registry does not have the image"),
    (
        "pull",
        |f| {
            // So says the kubelet of 1.20: the cause is in an event, and a later one only repeats that there was one.
            waiting(f, "ImagePullBackOff", "Back-off pulling image \"x/iris:1\"");
            event(f, "Failed", "Failed to pull image \"x/iris:1\": x/iris:1: not found");
            let events = f.objects.get_mut("events").unwrap();
            let mut later = events[0].clone();
            later["message"] = "Error: ErrImagePull".into();
            later["lastTimestamp"] = "2026-11-24T00:00:01Z".into();
            events.push(later);
        },
        "the registry does not have the image",
    ),
    ("storage", |f| no_workload(f, "deployments", "hostpath-provisioner"), "the storage provisioner is not running"),
    (
        "claims",
        |f| object(f, "persistentvolumeclaims", "dbv-data-data-0")["status"]["phase"] = "Lost".into(),
        "its data with it",
    ),
    (
        "volumes",
        |f| {
            waiting(f, "ContainerCreating", "");
            event(
                f,
                "FailedMount",
                "MountVolume.SetUp failed for volume \"iris-cpf\" : secret \"iris-merge-cpf\" not found",
            );
        },
        "a volume cannot be mounted",
    ),
    (
        "scheduling",
        |f| {
            let status = &mut object(f, "pods", "data-0")["status"];
            status["conditions"] = json!([{"type": "PodScheduled", "status": "False", "message": "0/1 nodes are available: 1 Insufficient memory."}]);
        },
        "has not as much memory free",
    ),
    (
        "iris-start",
        |f| {
            waiting(f, "CrashLoopBackOff", "");
            log(f, "data-0", "Community License expired.\n");
        },
        "licence of this image has run out",
    ),
    (
        "crash",
        |f| {
            waiting(f, "CrashLoopBackOff", "");
            object(f, "pods", "data-0")["status"]["containerStatuses"][0]["lastState"] =
                json!({"terminated": {"exitCode": 137, "reason": "OOMKilled"}});
        },
        "more memory than its limit",
    ),
    (
        "iris-cpf",
        |f| {
            log(
                f,
                "data-0",
                "x (1) 1 [Utility.Event] ERROR #507: Action 'CreateDatabase' failed at line 2, Error=-13\n",
            );
        },
        "the CPF was not carried out whole",
    ),
    (
        "iris-licence",
        |f| {
            let page = "# HELP x\niris_license_available 0\niris_license_days_remaining 300\n";
            f.pages.insert("http://10.1.7.5:52773/api/monitor/metrics".to_owned(), (200, page.to_owned()));
        },
        "all units of its licence are in use",
    ),
    (
        "pod-network",
        |f| object(f, "daemonsets", "calico-node")["status"]["numberReady"] = 0.into(),
        "the pod network does not work",
    ),
    ("dns-pods", |f| object(f, "deployments", "coredns")["spec"]["replicas"] = 0.into(), "coredns is scaled to 0"),
    ("metallb", |f| no_workload(f, "daemonsets", "speaker"), "does not answer for its addresses"),
    ("metallb-pool", |f| _ = f.objects("l2advertisements", vec![]), "is not advertised"),
    ("address", |f| object(f, "services", "iris-ext")["status"] = json!({}), "service iris-ext has no address"),
    ("address", |f| _ = f.objects("servicel2statuses", vec![]), "no speaker of MetalLB announces it"),
    (
        "longhorn-removal",
        |f| {
            with_longhorn(f);
            no_workload(f, "daemonsets", "longhorn-manager");
            object(f, "namespaces", "longhorn-system")["metadata"]["deletionTimestamp"] = "2026-11-24T00:00:00Z".into();
        },
        "the namespace longhorn-system is partially deleted, and the manager that could end its objects is gone",
    ),
    (
        "longhorn-removal",
        |f| {
            with_longhorn(f);
            f.objects.get_mut("namespaces").unwrap().clear();
            f.objects("customresourcedefinitions", vec![]).objects(
                "configmaps",
                vec![json!({"metadata": {"namespace": "longhorn-system", "name": "longhorn-storageclass"}})],
            );
            f.objects(
                "validatingwebhookconfigurations",
                vec![json!({"metadata": {"name": "longhorn-webhook-validator"}})],
            );
            f.api.insert("/apis".to_owned(), json!({"groups": []}).to_string());
            let kind =
                json!({"name": "configmaps", "kind": "ConfigMap", "namespaced": true, "verbs": ["list", "delete"]});
            f.api.insert("/api/v1".to_owned(), json!({"resources": [kind]}).to_string());
        },
        "left objects behind that cannot be deleted: ConfigMap longhorn-storageclass",
    ),
    (
        "longhorn-driver",
        |f| {
            with_longhorn(f);
            object(f, "daemonsets", "longhorn-csi-plugin")["spec"]["template"]["spec"]["volumes"] =
                json!([{"name": "plugin-dir", "hostPath": {"path": "/var/lib/kubelet/plugins/driver.longhorn.io"}}]);
        },
        "is lost with the pods",
    ),
    (
        "longhorn-host",
        |f| {
            with_longhorn(f);
            f.files.remove("/sys/module/iscsi_tcp/refcnt");
        },
        "the kernel module iscsi_tcp is not loaded",
    ),
    (
        "longhorn-disks",
        |f| {
            with_longhorn(f);
            let full = json!({"type": "Schedulable", "status": "False", "reason": "DiskPressure", "message": "the disk is full"});
            object(f, "nodes.longhorn.io", "vm1")["status"]["diskStatus"]["disk-1"]["conditions"][1] = full;
        },
        "Longhorn takes no more volumes on disk disk-1",
    ),
    (
        "longhorn-volumes",
        |f| {
            with_longhorn(f);
            let unmet = json!({"type": "Scheduled", "status": "False", "message": "insufficient storage"});
            object(f, "volumes.longhorn.io", "pvc-1")["status"]["conditions"][0] = unmet;
        },
        "claim dbv-data-data-0 is bound, and its volume is never attached",
    ),
    ("answer", |f| _ = f.pages.remove(ADDRESS), "there is no answer at http://192.168.11.110:52773"),
];

#[test]
fn what_is_broken_is_the_first_finding() {
    for (id, damage, says) in CASES {
        let mut facts = converged();
        damage(&mut facts);
        let report = examine(facts);
        let first = &report.findings[0];
        println!("| {id} | {} |", first.message);
        assert!(first.id == *id && first.severity != Severity::Fine, "{id}: {}", report.show(false));
        assert!(first.message.contains(says), "{id} should say `{says}`: {}", first.message);
        assert!(!first.hint.is_empty(), "{id} says what to do next");
    }
    let told: BTreeSet<&str> = CASES.iter().map(|(id, ..)| *id).collect();
    let all = iris_mk8s::stack::checks::GROUND
        .iter()
        .map(|c| c.id)
        .chain(iris_mk8s::doctor::checks::ALL.iter().map(|c| c.id));
    let untold: Vec<&str> = all.filter(|id| !told.contains(id)).collect();
    assert!(untold.is_empty(), "no case for {untold:?}");
}

const JOURNAL: &str = "/var/lib/iris-mk8s/journal.jsonl";

/// What is found of a problem, and what follows from which cause.
fn told(report: &doctor::Report) -> (Vec<&str>, Vec<(&str, &str)>) {
    let bad = report.findings.iter().filter(|f| f.severity != Severity::Fine);
    let (causes, rest): (Vec<&Finding>, Vec<&Finding>) = bad.partition(|f| f.because.is_none());
    (causes.iter().map(|f| f.id).collect(), rest.iter().map(|f| (f.id, f.because.unwrap())).collect())
}

/// `iris-mk8s stop`, then doctor: nothing answers, and that is no puzzle.
#[test]
fn a_cluster_that_was_stopped_is_started_by_our_own_command() {
    let stop = |facts: &mut Facts| {
        facts.file("/var/snap/microk8s/current/var/lock/stopped.lock", "");
        facts.api.clear();
        for service in facts.snapd.get_mut("/v2/apps?names=microk8s&select=service").unwrap().as_array_mut().unwrap() {
            service["active"] = false.into();
        }
    };
    let mut facts = converged();
    stop(&mut facts);
    let report = examine(facts.clone());
    assert_eq!(told(&report), (vec!["services"], vec![("api", "services")]), "{}", report.show(false));
    assert_eq!((report.problems, report.findings[0].hint.as_str()), (1, "`microk8s start`"));

    // Where a bootstrap has run, IRIS must be started, too.
    facts.file(JOURNAL, "");
    let report = examine(facts);
    assert_eq!(report.findings[0].hint, "`sudo iris-mk8s start`");
    let text = report.show(false);
    assert!(text.starts_with("1 problem, 1 consequence of it, "), "{text}");
    assert!(text.lines().any(|l| l.starts_with("follows  api ") && l.ends_with("(from services, above)")), "{text}");
    assert_eq!(text.matches("next: ").count(), 1, "what helps is said once: {text}");
    assert!(!text.contains("`microk8s start`"), "{text}");
}

/// MicroK8s was started by its own command: IRIS stays at nought, and MetalLB is not to blame.
#[test]
fn an_iris_that_is_scaled_to_nought_is_told_before_what_nobody_answers_for() {
    let mut facts = converged();
    facts.file(JOURNAL, "");
    scaled(&mut facts, 0);
    let report = examine(facts.clone());
    assert_eq!(told(&report), (vec!["iris-stopped"], vec![]), "{}", report.show(false));
    assert_eq!(report.findings[0].hint, "`sudo iris-mk8s start`");

    // The service lost its address, too: that may have come of it.
    object(&mut facts, "services", "iris-ext")["status"] = json!({});
    let report = examine(facts);
    assert_eq!(told(&report), (vec!["iris-stopped"], vec![("address", "iris-stopped")]), "{}", report.show(false));
}

/// The hints for what only a start anew helps against.
#[test]
fn nobody_is_sent_to_a_stop_that_ends_the_database_in_a_write() {
    let cases: &[fn(&mut Facts)] = &[
        |f| f.objects.get_mut("nodes").unwrap().clear(),
        |f| object(f, "nodes", "vm1")["status"]["conditions"][0]["status"] = "Unknown".into(),
        |f| _ = f.file("/proc/sys/kernel/hostname", "renamed\n").file("/etc/hosts", "127.0.1.1 renamed\n"),
        |f| node_address(f, "192.168.11.7"),
        |f| _ = f.pages.remove(ADDRESS),
        |f| {
            let condition = json!({"type": "PodScheduled", "status": "False", "message": "node(s) had taint {node.kubernetes.io/unreachable: }"});
            object(f, "pods", "data-0")["status"]["conditions"] = json!([condition]);
        },
    ];
    for (at, damage) in cases.iter().enumerate() {
        let mut facts = converged();
        facts.file(JOURNAL, "");
        damage(&mut facts);
        let text = examine(facts).show(true);
        assert!(text.contains("`sudo iris-mk8s stop`, then `sudo iris-mk8s start`"), "{at}: {text}");
        assert!(!text.contains("`microk8s stop"), "{at}: {text}");
    }
}

#[test]
fn a_full_disk_is_the_cause_even_if_the_bootstrap_skipped_it() {
    let mut facts = converged();
    facts.command("df -Pk /var", 0, &recorded::df("/", 0)).command("df -Pk /var/lib/snapd", 0, &recorded::df("/", 0));
    facts.api.clear();
    facts.snapd.get_mut("/v2/apps?names=microk8s&select=service").unwrap()[0]["active"] = false.into();
    let (host, spec) = (Recorded::new(facts), spec(&["--replicas", "1", "--skip-check", "disk"]));
    let report = doctor::examine(&host, &spec, None);
    assert_eq!(told(&report), (vec!["disk"], vec![("services", "disk"), ("api", "disk")]), "{}", report.show(false));
    assert!(report.findings[0].message.contains("/ has 0 GiB free"), "{}", report.show(false));
    assert!(!report.show(false).contains("ignored:"), "nothing is skipped here: {}", report.show(false));
}

#[test]
fn another_address_of_the_host_explains_what_does_not_work() {
    let mut facts = converged();
    facts.file(
        "/var/snap/microk8s/current/args/kube-apiserver",
        "--kubelet-certificate-authority=${SNAP_DATA}/certs/ca.crt\n",
    );
    for file in ["server.crt", "kubelet.crt"] {
        names(&mut facts, file, "192.168.11.7");
    }
    api_address(&mut facts, "192.168.11.7");
    no_workload(&mut facts, "daemonsets", "speaker");
    no_workload(&mut facts, "deployments", "coredns");
    let report = examine(facts.clone());
    let follow = vec![("dns-pods", "host-address"), ("metallb", "host-address")];
    assert_eq!(told(&report), (vec!["host-address"], follow), "{}", report.show(false));
    let first = &report.findings[0];
    assert!(
        first.message.contains("is now 192.168.11.49 (") && first.message.contains("it was 192.168.11.7,"),
        "{}",
        first.message
    );
    assert!(first.hint.contains("`sudo microk8s refresh-certs --cert ca.crt`, then `microk8s stop`"), "{}", first.hint);
    assert!(!report.show(false).contains("the same bootstrap again"), "it would not help: {}", report.show(false));

    // kubelet's certificate counts only where somebody looks at it.
    facts.files.remove("/var/snap/microk8s/current/args/kube-apiserver");
    let first = examine(facts.clone()).findings.remove(0);
    assert!(first.hint.ends_with("`microk8s stop`, then `microk8s start`"), "{}", first.hint);
    // A certificate of the API server that does not name the host does no harm here: everybody asks at 127.0.0.1.
    let mut facts = converged();
    names(&mut facts, "server.crt", "192.168.11.7");
    assert_eq!(examine(facts).problems, 0);
}

/// A step that is ours and not as it was made, of a stage of the cluster.
struct Drifts(&'static str, step::Scope);

impl step::Step for Drifts {
    fn id(&self) -> &str {
        self.0
    }

    fn title(&self) -> String {
        format!("the {}", self.0)
    }

    fn probe(&self, _: &dyn Host) -> Result<step::Probe> {
        Ok(step::Probe::Absent)
    }

    fn apply(&self, _: &dyn Host, _: &step::Probe) -> Result<Vec<step::Act>> {
        Ok(Vec::new())
    }

    fn memo(&self, _: &dyn Host, _: &step::Probe) -> Result<step::Memo> {
        Ok(step::Memo::default())
    }

    fn undo(&self, _: &dyn Host, _: &step::Memory) -> Result<step::Undo> {
        Ok(step::Undo::Done)
    }

    fn deadline(&self) -> Duration {
        Duration::ZERO
    }

    fn scope(&self) -> step::Scope {
        self.1
    }
}

/// What doctor says after these records, on a host where these steps are ours.
fn after(records: &[Record]) -> doctor::Report {
    let mut journal = vec![Record::Header { format: journal::FORMAT, tool: String::new() }];
    journal.push(run("bootstrap"));
    for step in ["snap.microk8s", "metallb.pool", "iris.claims", "iris.statefulset"] {
        journal.push(Record::Intent {
            step: step.to_owned(),
            memo: step::Memo::default(),
            recipe: Value::Null,
            microk8s: None,
            anew: false,
        });
        journal.push(Record::Done { step: step.to_owned(), microk8s: None });
    }
    journal.extend(records.iter().cloned());
    let mut ledger = journal::Ledger::default();
    for record in &journal {
        ledger.apply(record).expect("a possible order");
    }
    let one = |id: &'static str, scope| vec![Box::new(Drifts(id, scope)) as Box<dyn step::Step>];
    let stage = |id, steps| step::Stage { id, needs: &[], lock: None, steps };
    let stages = [
        stage("snap", one("snap.microk8s", step::Scope::Host)),
        stage("metallb", one("metallb.pool", step::Scope::Host)),
        stage("iris", one("iris.claims", step::Scope::Data)),
        stage("iris", one("iris.statefulset", step::Scope::App)),
    ];
    let known = doctor::Known { ledger: &ledger, records: &journal, stages: &stages };
    doctor::examine(&Recorded::new(converged()), &spec(&["--replicas", "1"]), Some(known))
}

fn run(command: &str) -> Record {
    Record::Run { run: String::new(), command: command.to_owned(), at: 0, spec: None }
}

#[test]
fn a_teardown_that_was_broken_off_is_told_with_the_command_that_goes_on() {
    let begins = |step: &str| Record::UndoIntent { step: step.to_owned() };
    let ends = |step: &str| Record::Undone { step: step.to_owned() };
    let gone = |step: &str| [begins(step), ends(step)];
    let of = |report: &doctor::Report| {
        report.findings.iter().find(|f| f.id == "teardown").map(|f| (f.message.clone(), f.hint.clone()))
    };
    assert_eq!(of(&after(&[])), None, "nobody took anything back");

    // In the middle of a step, as by a power cut.
    let cut = after(&[&[run("teardown")][..], &gone("iris.statefulset"), &[begins("snap.microk8s")]].concat());
    let (message, hint) = of(&cut).expect("it is told");
    assert!(message.contains("`teardown --reset`") && message.contains("snap.microk8s, half taken back"), "{message}");
    assert!(hint.starts_with("`sudo iris-mk8s teardown --reset` resumes it"), "{hint}");
    assert_eq!(cut.findings[0].id, "teardown", "{}", cut.show(false));
    let of_steps = cut.findings.iter().filter(|f| f.id == "changed");
    assert!(
        of_steps.clone().count() == 3 && of_steps.clone().all(|f| f.because == Some("teardown")),
        "{}",
        cut.show(false)
    );

    // Between two steps.
    let between = after(
        &[&[run("teardown")][..], &gone("iris.statefulset"), &gone("iris.claims"), &gone("metallb.pool")].concat(),
    );
    assert!(of(&between).expect("it is told").1.starts_with("`sudo iris-mk8s teardown --reset`"));

    // One that came to its end leaves nothing to say, and a bootstrap makes whole what was half taken back.
    let whole = [&[run("teardown")][..], &gone("iris.statefulset")].concat();
    assert_eq!(of(&after(&whole)), None);
    assert_eq!(of(&after(&[run("teardown"), begins("snap.microk8s"), run("bootstrap")])), None);

    // What stays for a reason is told with it, and is no problem of the cluster.
    let why = || "somebody else's claims lie on it".to_owned();
    let keeps = |step: &str| [begins(step), Record::Kept { step: step.to_owned(), why: why() }];
    let kept = [
        &[run("teardown")][..],
        &gone("iris.statefulset"),
        &gone("iris.claims"),
        &gone("metallb.pool"),
        &keeps("snap.microk8s"),
    ]
    .concat();
    let report = after(&kept);
    let (message, hint) = of(&report).expect("it is told");
    assert!(message.ends_with("first snap.microk8s: somebody else's claims lie on it"), "{message}");
    assert!(hint.contains("`sudo iris-mk8s teardown --reset`"), "{hint}");
    assert!(report.findings.iter().all(|f| f.because.is_none()), "{}", report.show(false));
}

/// Each cause on a host where all that may follow from it is broken as well.
#[test]
fn what_follows_from_a_cause_is_not_counted_as_a_problem() {
    let mut facts = converged();
    object(&mut facts, "nodes", "vm1")["status"]["conditions"][0]["status"] = "Unknown".into();
    no_workload(&mut facts, "daemonsets", "speaker");
    waiting(&mut facts, "ImagePullBackOff", "x/iris:1: not found");
    let report = examine(facts);
    let (causes, follow) = told(&report);
    assert_eq!((causes, report.problems), (vec!["node"], 1), "{}", report.show(false));
    assert!(follow.contains(&("metallb", "node")) && follow.contains(&("pull", "node")), "{follow:?}");
    let json = json!(report);
    assert!(json["findings"][0].get("because").is_none() && json["findings"][1]["because"] == "node", "{json:#}");
}

#[test]
fn a_bundle_has_no_secret_in_it() {
    let mut facts = converged();
    let secrets = [
        "Tr0ub4dor-and-3",
        "aabbccddeeff00112233",
        "plantedinsecret",
        "plantedinenv",
        "plantedinlog",
        "plantedinproxy",
        "plantedintoken",
    ];
    facts
        .file("/var/lib/iris-mk8s/password", "Tr0ub4dor-and-3\n")
        .file("/var/lib/iris-mk8s/password.hash", "aabbccddeeff00112233,99887766554433221100,10000,SHA512")
        .file("/etc/environment", "HTTPS_PROXY=http://me:plantedinproxy@proxy:3128\n")
        .file("/var/snap/microk8s/current/credentials/known_tokens.csv", "plantedintoken,admin,admin,\"system:masters\"\n")
        .file(
            "/var/log/iris-mk8s/20261124-1.log",
            "$ something Tr0ub4dor-and-3 plantedintoken\nPasswordHash=aabbccddeeff00112233,99887766554433221100,10000,SHA512\n",
        );
    let encoded = json!(k8s_openapi::ByteString(b"plantedinsecret".to_vec()));
    facts
        .objects("secrets", vec![json!({"metadata": {"namespace": "default", "name": "s"}, "data": {"key": encoded}})]);
    object(&mut facts, "pods", "data-0")["spec"]["containers"][0]["env"] =
        json!([{"name": "DB_PASSWORD", "value": "plantedinenv"}]);
    facts.api.insert("/readyz?verbose".to_owned(), "ok".to_owned());
    facts.api.insert(
        "/api/v1/namespaces/default/pods/data-0/log?container=iris&tailLines=2000".to_owned(),
        "token: plantedinlog, and plantedinsecret\n".to_owned(),
    );
    let (host, spec) = (Recorded::new(facts), spec(&["--replicas", "1"]));
    let report = doctor::examine(&host, &spec, None);
    let bundle = Bundle::gather(&host, Some(&spec), &report, None);
    for (name, text) in bundle.files() {
        for secret in secrets {
            assert!(!text.contains(secret), "{secret} is in {name}:\n{text}");
        }
    }
    let text =
        |wanted: &str| bundle.files().find(|(name, _)| *name == wanted).unwrap_or_else(|| panic!("no {wanted}")).1;
    assert!(text("cluster/logs/default.data-0.iris.log").contains("[redacted]"));
    assert!(text("logs/20261124-1.log").contains("something [redacted]"));
    assert!(text("cluster/secrets.json").contains("\"name\": \"s\""), "what is no secret stays");

    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("b.tar");
    bundle.write(&file, TODAY).unwrap();
    assert_eq!(
        std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&file).unwrap().permissions()) & 0o777,
        0o600
    );
    let error = bundle.write(&file, TODAY).unwrap_err();
    assert!(error.what.contains("cannot write"), "an existing file is not overwritten: {error}");
}
