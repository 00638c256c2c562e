//! Between a bootstrap and a teardown people put things into MicroK8s: volumes, images, workloads. No data goes unnamed, nothing of somebody
//! else's goes at all, and a cluster that cannot be asked is not an empty one.

use crate::support::{Era, Machine, in_both_eras};

in_both_eras! { what_others_put_into_it_stays volumes_are_named_and_agreed_to }

/// The exit code of a reset that keeps something of ours.
const KEPT: i32 = 41;

/// Somebody's namespace, whose service answers at an address of MetalLB's. As JSON, since kubectl of both eras reads it from one line.
fn team(era: Era) -> String {
    let image = era.of("registry:2.8.3", "cdkbot/registry-amd64:2.6");
    format!(
        r#"{{"apiVersion": "v1", "kind": "List", "items": [
        {{"apiVersion": "v1", "kind": "Namespace", "metadata": {{"name": "team"}}}},
        {{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {{"name": "settings", "namespace": "team"}}, "data": {{"a": "b"}}}},
        {{"apiVersion": "v1", "kind": "Secret", "metadata": {{"name": "login", "namespace": "team"}}, "stringData": {{"a": "b"}}}},
        {{"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {{"name": "web", "namespace": "team"}}, "spec": {{
            "selector": {{"matchLabels": {{"app": "web"}}}}, "template": {{"metadata": {{"labels": {{"app": "web"}}}},
                "spec": {{"containers": [{{"name": "web", "image": "{image}"}}]}}}}}}}},
        {{"apiVersion": "v1", "kind": "Service", "metadata": {{"name": "web", "namespace": "team"}}, "spec": {{
            "type": "LoadBalancer", "selector": {{"app": "web"}}, "ports": [{{"port": 80, "targetPort": 5000}}]}}}}]}}"#
    )
}

fn apply(machine: &Machine, object: &str) {
    machine.root(&format!("echo '{object}' | microk8s kubectl apply -f -")).ok();
}

/// Puts an image into MicroK8s' registry, as a developer does.
fn push(machine: &Machine) {
    let image = machine.era().of("docker.io/library/registry:2.8.3", "docker.io/cdkbot/registry-amd64:2.6");
    let push = format!(
        "microk8s ctr image tag {image} localhost:32000/mine:1 && microk8s ctr image push --plain-http localhost:32000/mine:1"
    );
    machine.root(&push).ok();
}

/// The image that was pushed is there, in the volume that it was pushed to.
#[track_caller]
fn is_pushed(machine: &Machine) {
    let ask = "curl -sS --max-time 5 http://localhost:32000/v2/mine/tags/list";
    machine.wait_until("the registry has the image", 60, |m| m.root(ask).stdout.contains("\"1\""));
}

fn registry_claim(machine: &Machine) -> String {
    machine.kubectl("get pvc registry-claim -n container-registry -o jsonpath={.metadata.uid}").ok()
}

/// The claims that a dry run names, with the facts of each.
fn named(machine: &Machine, command: &str) -> Vec<String> {
    let run = machine.start(command).finish();
    let outcome = run.exits(0);
    let data = outcome["result"]["data"].as_array().expect("a list of data").clone();
    let one = |volume: &serde_json::Value| {
        let text = |field: &str| volume[field].as_str().unwrap_or_default().to_owned();
        let path = volume["paths"][0].as_str().unwrap_or_default();
        machine.root(&format!("test -d '{path}'")).ok();
        assert!(!text("size").is_empty() && text("class") == "microk8s-hostpath", "{volume}");
        format!("{}/{}", text("namespace"), text("claim"))
    };
    data.iter().map(one).collect()
}

fn what_others_put_into_it_stays(era: Era) {
    let Some(machine) = Machine::up("between-data", era) else { return };
    let bootstrap = format!("bootstrap --lb {}", machine.range());
    let before = machine.snapshot("before");
    machine.product(&format!("{bootstrap} --replicas 3")).exits(0);
    machine.product(&format!("{bootstrap} --replicas 1")).exits(0);
    push(&machine);
    is_pushed(&machine);

    // The service is deleted, then the Deployment: each is put back, and the images stay.
    let claim = registry_claim(&machine);
    for part in ["service", "deployment"] {
        machine.kubectl(&format!("delete {part} registry -n container-registry")).ok();
        let run = machine.start(&format!("{bootstrap} --replicas 1")).finish();
        run.exits(0);
        let acts: Vec<&str> = run.all("step-acting", "addon.registry").iter().map(|e| e.text("act")).collect();
        assert!(acts.len() == 1 && !acts[0].contains("disable"), "{part}: {acts:?}");
        is_pushed(&machine);
        assert_eq!(registry_claim(&machine), claim, "{part}: it is another volume");
    }

    // Instances that are no longer asked for have data, too.
    let ours: Vec<String> =
        ["data", "mgr"].iter().flat_map(|v| (0..3).map(move |n| format!("default/dbv-{v}-data-{n}"))).collect();
    assert_eq!(named(&machine, "teardown --data --dry-run"), ours);
    let all = [vec!["container-registry/registry-claim".to_owned()], ours].concat();
    assert_eq!(named(&machine, "teardown --reset --dry-run"), all);
    machine
        .product("teardown --reset --dry-run")
        .exits(0)
        .says(&["  DATA   default/dbv-mgr-data-2 (5Gi, microk8s-hostpath) at "]);

    others_move_in_and_are_named(&machine);
    unseen_is_not_empty(&machine);

    // MicroK8s stays for them, with what they stand on; the rest of ours goes.
    let page = format!("http://{}/v2/", team_address(&machine));
    let uid = "get deployment web -n team -o jsonpath={.metadata.uid}{.metadata.generation}";
    let theirs = machine.kubectl(uid).ok();
    machine.product("teardown --reset --yes").exits(KEPT).says(&["namespace team", "notes.txt"]);
    assert_eq!(machine.kubectl(uid).ok(), theirs);
    machine.client_curl(&["-o", "/dev/null", "-w", "%{http_code}", &page]).says(&["200"]);
    machine.kubectl("get service kube-dns -n kube-system").ok();
    assert_eq!(machine.kubectl("get statefulset,pvc -n default -o name").ok(), "");

    // When they are gone, the next reset goes on to the end.
    machine.kubectl("delete namespace team").ok();
    machine.root("rm /var/snap/microk8s/common/notes.txt").ok();
    machine.product("teardown --reset --yes").exits(0);
    machine.is_restored_to(&before);
}

fn team_address(machine: &Machine) -> String {
    machine.kubectl("get service web -n team -o jsonpath={.status.loadBalancer.ingress[0].ip}").ok()
}

fn others_move_in_and_are_named(machine: &Machine) {
    apply(machine, &team(machine.era()));
    machine.kubectl("rollout status deployment/web -n team --timeout=120s").ok();
    machine.wait_until("its service has an address", 60, |m| !team_address(m).is_empty());
    machine.root("echo mine >/var/snap/microk8s/common/notes.txt").ok();
    let page = format!("http://{}/v2/", team_address(machine));
    machine.wait_until("its service answers", 60, |m| m.client_curl(&["-f", &page]).code == 0);
    let planned = machine.product("teardown --reset --dry-run").exits(0);
    let kept = |step: &str| {
        let line = planned.stdout.lines().find(|l| l.trim_start().starts_with("keep") && l.contains(step));
        line.unwrap_or_else(|| panic!("{step} is not kept: {planned}")).to_owned()
    };
    for thing in ["Deployment web", "ConfigMap settings", "Secret login", "Service web", "notes.txt"] {
        assert!(kept("snap.microk8s").contains(thing), "{thing} is not named: {planned}");
    }
    assert!(kept("addon.metallb").contains("Service team/web"), "{planned}");
    machine
        .product("teardown --reset")
        .exits(2)
        .says(&["THEIRS namespace team", "THEIRS folder /var/snap/microk8s/common"]);
}

/// Stopped, its API server dead, its snap disabled: each time it is refused, with what can be seen and with what to do.
fn unseen_is_not_empty(machine: &Machine) {
    let objects = "get deployments,claims,pvc -A -o name";
    machine.product("stop").exits(0);
    let folder = "/var/snap/microk8s/common/default-storage/default-dbv-mgr-data-2-pvc-";
    let refused = |how: &str, says: &[&str]| {
        let run = machine.product("teardown --reset --yes").exits(23).says(says).says(&[folder, "--without-looking"]);
        assert!(run.stderr.contains("nothing was changed"), "{how}: {run}");
        machine.product("teardown --reset --dry-run").exits(23).says(says);
    };
    refused("stopped", &["MicroK8s is stopped", "sudo iris-mk8s start"]);
    machine.root("snap disable microk8s").ok();
    refused("disabled", &["is disabled", "snap enable microk8s"]);
    machine.root("snap enable microk8s").ok();
    machine.product("start").exits(0);
    let service = machine.era().of("daemon-kubelite", "daemon-apiserver");
    machine.root(&format!("snap stop microk8s.{service}")).ok();
    refused("dead", &["the Kubernetes API cannot be asked", "iris-mk8s doctor"]);
    machine.root(&format!("snap start microk8s.{service}")).ok();
    machine.wait_until("the API answers", 120, |m| m.kubectl(objects).code <= 1 && m.kubectl("get nodes").code == 0);
}

/// Somebody's class of volumes.
const FAST: &str = r#"{"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": "fast"}, "provisioner": "microk8s.io/hostpath", "volumeBindingMode": "WaitForFirstConsumer"}"#;

fn volumes_are_named_and_agreed_to(era: Era) {
    let Some(machine) = Machine::up("agreed", era) else { return };
    let before = machine.snapshot("before");
    let bootstrap = format!("bootstrap --lb {}", machine.range());
    machine.product(&bootstrap).exits(0);
    apply(&machine, FAST);
    let uids = || machine.kubectl("get pvc -n default -o jsonpath={.items[*].metadata.uid}").ok();
    let were = uids();

    // Nobody can be asked: standard input is no terminal.
    let other = format!("{bootstrap} --storage fast --data");
    let data = ["DATA   default/dbv-data-data-0 (5Gi, microk8s-hostpath) at /var/snap/", "dbv-mgr-data-1"];
    machine.product(&other).exits(2).says(&data).says(&["--yes"]);
    machine.product(&format!("{other} --dry-run")).exits(0).says(&data);
    let plan =
        machine.product(&format!("--output json plan --lb {} --storage fast --data", machine.range())).exits(0).stdout;
    let plan: serde_json::Value = serde_json::from_str(&plan).expect("JSON");
    assert_eq!(plan["data"].as_array().map(Vec::len), Some(4), "{plan}");
    assert_eq!(uids(), were, "nothing was deleted");
    machine.product(&format!("{other} --yes")).exits(0).says(&data);
    assert_ne!(uids(), were);
    machine.product(&format!("{other} --yes")).exits(0);

    // A cluster that cannot be started any more, with a claim of somebody's in it: it goes when the person says so.
    let theirs = r#"{"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "theirs"}, "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}}}"#;
    apply(&machine, theirs);
    machine.product("teardown --reset --dry-run").exits(0).says(&["keep   snap.microk8s", "claim default/theirs"]);
    machine.root("microk8s stop").ok();
    machine.product("teardown --reset --yes").exits(23);
    machine.product("teardown --without-looking").exits(2);
    let run = machine.product("teardown --reset --without-looking").exits(2);
    run.says(&["Everything that is in MicroK8s will be lost", "UNSEEN what is in MicroK8s: MicroK8s is stopped"]);
    machine.product("teardown --reset --without-looking --yes").exits(0);
    machine.is_restored_to(&before);
}
