//! Odd hosts, between a bootstrap and a teardown: a namespace that somebody deleted, pools that serve somebody, a stop, another address.

use std::time::Instant;

use crate::{
    longhorn,
    support::{Era, Machine, in_both_eras},
};

in_both_eras! {
    what_is_left_of_longhorn_is_ended
    a_pool_that_serves_somebody_stays
    an_overlap_is_refused_before_anything_is_changed
    doctor_knows_of_a_stop_and_of_a_broken_teardown
    another_address_is_told_at_once
}

/// Everything in a namespace, of whatever kind, whether or not the namespace is there; what every namespace has aside.
fn content(machine: &Machine, namespace: &str) -> String {
    let kinds =
        "microk8s kubectl api-resources --verbs=list,delete --namespaced -o name | grep -v ^events | paste -sd,";
    let all = machine.root(&format!("microk8s kubectl get $({kinds}) -n {namespace} -o name --ignore-not-found"));
    let given = ["configmap/kube-root-ca.crt", "serviceaccount/default", "secret/default-token-"];
    let lines = all.stdout.lines().filter(|line| !given.iter().any(|g| line.starts_with(g)));
    lines.map(|line| format!("{line}\n")).collect()
}

fn what_is_left_of_longhorn_is_ended(era: Era) {
    let Some(machine) = Machine::up("odd-longhorn", era) else { return };
    let arguments = format!("{} --replicas 1", longhorn::arguments(&machine));
    let before = machine.snapshot("before");
    machine.start(&format!("bootstrap {arguments}")).finish().exits(0);
    machine.product("teardown --data --yes").exits(0);

    // Eight seconds after `kubectl delete namespace` the server is still at it: what is in it must not be left behind.
    machine.kubectl("delete namespace longhorn-system --wait=false").ok();
    std::thread::sleep(std::time::Duration::from_secs(8));
    let mended = machine.start("repair longhorn --yes").finish();
    mended.exits(0);
    assert_eq!(content(&machine, "longhorn-system"), "", "nothing of it is left");
    machine.product("repair longhorn").exits(0).says(&["nothing to repair"]);

    // Somebody lets the namespace go while things are in it: they are shown, and nobody can end them.
    machine.product(&format!("bootstrap {arguments}")).exits(0);
    machine.product("teardown --data --yes").exits(0);
    machine.kubectl("delete namespace longhorn-system --wait=false").ok();
    machine
        .root("microk8s kubectl get namespace longhorn-system -o json | jq '.spec.finalizers = []' | microk8s kubectl replace --raw /api/v1/namespaces/longhorn-system/finalize -f -")
        .ok();
    let gone = |m: &Machine| m.kubectl("get namespace longhorn-system").code != 0;
    machine.wait_until("the namespace is gone", 30, gone);
    let left = content(&machine, "longhorn-system");
    assert!(left.contains("configmap/longhorn-storageclass") && left.contains("service/longhorn-backend"), "{left}");
    // Neither of these takes the answer `there is no such namespace` for a failure.
    machine.product("status").exits(30).says(&["longhorn.rights"]);
    machine.product(&format!("plan {arguments}")).exits(0);
    machine.product("repair longhorn --dry-run").exits(0).says(&["is gone and left", "kubectl apply"]);

    // Made again by hand, it holds what is ours.
    machine.kubectl("create namespace longhorn-system").ok();
    let begun = Instant::now();
    let reset = machine.start("teardown --reset --yes").finish();
    let acts = reset.events.iter().filter(|e| e.text("event") == "step-acting").count();
    assert!(acts < 400, "it spins: {acts} acts in {} s", begun.elapsed().as_secs());
    reset.exits(0);
    machine.is_restored_to(&before);
}

/// Somebody's service, and the web server behind it.
const WEB: &str = "apiVersion: v1\nkind: Namespace\nmetadata: {name: team}\n---\napiVersion: v1\nkind: Service\nmetadata: {name: web, namespace: team}\nspec:\n  \
                   type: LoadBalancer\n  selector: {app: web}\n  ports: [{port: 80, targetPort: 8000}]\n---\napiVersion: v1\nkind: Pod\n\
                   metadata: {name: web, namespace: team, labels: {app: web}}\nspec:\n  terminationGracePeriodSeconds: 0\n  containers:\n  \
                   - {name: web, image: busybox:1.28.4, command: [sh, -c, 'mkdir /www; echo theirs >/www/index.html; httpd -f -p 8000 -h /www']}\n";

/// Somebody's MicroK8s with MetalLB, its first six addresses in the pool, and a service that has one of them.
fn somebodys(name: &str, era: Era) -> Option<(Machine, String, String)> {
    let machine = Machine::up(name, era)?;
    machine.install_by_hand(era.track());
    machine.root(&format!("microk8s enable {}", era.storage_addon())).ok();
    let pool = format!("{}-{}", machine.nth_address(0), machine.nth_address(5));
    machine.root(&format!("microk8s enable metallb:{pool}")).ok();
    if era == Era::Article {
        // The images that the addon names are gone.
        for (kind, part) in [("deployment", "controller"), ("daemonset", "speaker")] {
            let image = format!("set image {kind}/{part} {part}=quay.io/metallb/{part}:v0.9.3");
            machine.kubectl(&format!("-n metallb-system {image}")).ok();
        }
    }
    machine.root(&format!("cat >/root/web.yaml <<'END'\n{WEB}END")).ok();
    machine.kubectl("apply -f /root/web.yaml").ok();
    let first = machine.nth_address(0);
    machine.wait_until("somebody's service has its address", 180, |m| address(m, "team", "web") == first);
    let answers = |m: &Machine| m.client_curl(&["--max-time", "3", &format!("http://{first}/")]).stdout == "theirs\n";
    machine.wait_until("somebody's service answers", 120, answers);
    Some((machine, pool, first))
}

fn address(machine: &Machine, namespace: &str, service: &str) -> String {
    let path = "jsonpath={.status.loadBalancer.ingress[0].ip}";
    machine.kubectl(&format!("get service {service} -n {namespace} -o {path}")).stdout
}

fn a_pool_that_serves_somebody_stays(era: Era) {
    let Some((machine, pool, first)) = somebodys("odd-pool", era) else { return };
    let theirs = |when: &str| {
        assert_eq!(address(&machine, "team", "web"), first, "{when}");
        machine.client_curl(&["--max-time", "5", &format!("http://{first}/")]).exits(0).says(&["theirs"]);
        let pools = machine.kubectl(era.pools()).ok();
        let range = pool.split('-').next().expect("an address");
        assert!(pools.contains(range), "{when}: their pool is {pools}");
    };
    let before = machine.snapshot("before");
    let ours = format!("{}-{}", machine.nth_address(10), machine.nth_address(14));
    machine.product(&format!("bootstrap --lb {ours} --replicas 1")).exits(0).says(&[&machine.nth_address(10)]);
    theirs("after a bootstrap");
    let metrics = format!("http://{}:52773/api/monitor/metrics", machine.nth_address(10));
    machine.client_curl(&[&metrics]).exits(0).says(&["iris_cpu_usage"]);
    machine.is_well("a pool beside theirs");
    machine.product(&format!("plan --check --lb {ours} --replicas 1")).exits(0).says(&["nothing to do"]);

    machine.product(&format!("bootstrap --lb {} --replicas 1", machine.last_five())).exits(0);
    theirs("after another range of ours");
    assert_eq!(address(&machine, "default", "iris-ext"), machine.nth_address(15));

    machine.product("teardown --reset --yes").exits(0);
    theirs("after a reset");
    // Up to 1.24 the pools are one text, which is written twice: it is compared above.
    machine.is_as_at_but(&before, if era == Era::Article { " metallb-system config " } else { "nothing" });
}

fn an_overlap_is_refused_before_anything_is_changed(era: Era) {
    let Some((machine, pool, first)) = somebodys("odd-overlap", era) else { return };
    let before = machine.snapshot("before");
    let name = era.of("default-addresspool", "default");
    let overlap = format!("--lb {}-{} --replicas 1", machine.nth_address(3), machine.nth_address(9));
    for command in ["plan", "bootstrap"] {
        let refused = machine.product(&format!("{command} {overlap}")).exits(23);
        refused.says(&[&format!("MetalLB's pool `{name}`"), &pool, &format!("team/web has {first}"), "--lb"]);
    }
    machine.is_as_at(&before);

    // A pool of theirs by another name, in which nobody lives.
    let range = format!("{}-{}", machine.nth_address(16), machine.nth_address(19));
    if era == Era::Current {
        let pool = format!(
            "apiVersion: metallb.io/v1beta1\nkind: IPAddressPool\nmetadata: {{name: mine, namespace: metallb-system}}\nspec: {{addresses: [{range}]}}\n"
        );
        machine.root(&format!("microk8s kubectl apply -f - <<'END'\n{pool}END")).ok();
    } else {
        let entry = format!("- name: mine\\n  protocol: layer2\\n  addresses:\\n  - {range}\\n");
        machine
            .root(&format!("microk8s kubectl get configmap config -n metallb-system -o json | jq '.data.config |= rtrimstr(\"\\n\") + \"\\n{entry}\"' | microk8s kubectl apply -f -"))
            .ok();
    }
    let before = machine.snapshot("with-another-pool");
    for command in ["plan", "bootstrap"] {
        let refused = machine.product(&format!("{command} --lb {} --replicas 1", machine.last_five())).exits(23);
        refused.says(&["MetalLB's pool `mine`", &range]);
    }
    machine.is_as_at(&before);
    // `auto` finds addresses that neither of them has.
    let found = machine.product("plan --lb auto --replicas 1").exits(0);
    assert!(!found.stdout.contains(" refuse "), "{found}");
}

fn doctor_knows_of_a_stop_and_of_a_broken_teardown(era: Era) {
    let Some(machine) = Machine::up("odd-doctor", era) else { return };
    let arguments = format!("--lb {} --replicas 1", machine.range());
    machine.product(&format!("bootstrap {arguments}")).exits(0).says(&["sudo iris-mk8s stop"]);
    machine.is_well("a fresh bootstrap");

    machine.product("stop").exits(0);
    machine.doctor_finds("`iris-mk8s stop`", "services", "MicroK8s is stopped");
    let report = machine.product("doctor").exits(30).says(&["next: `sudo iris-mk8s start`", "1 problem, "]);
    assert!(!report.stdout.contains("`microk8s start`"), "{report}");
    // Whoever starts it otherwise has a cluster without IRIS: the speaker of MetalLB is not to blame.
    machine.root("microk8s start").ok();
    machine.doctor_finds("`microk8s start` after it", "iris-stopped", "StatefulSet data is scaled to 0");
    machine.wait_until("all else works", 120, |m| m.product("doctor").stdout.starts_with("1 problem, "));
    machine.product("doctor").exits(30).says(&["next: `sudo iris-mk8s start`"]);
    machine.product("start").exits(0);
    machine.is_well("`iris-mk8s start`");

    // A full disk comes first, although the bootstrap was told not to heed it.
    machine.product(&format!("bootstrap {arguments} --skip-check disk")).exits(0);
    machine.root("fallocate -l $(( $(df -B1 --output=avail /var/snap | tail -1) - 300000000 )) /var/snap/full").ok();
    machine.doctor_finds("a full disk that was skipped", "disk", "kubelet evicts pods");
    machine.root("rm /var/snap/full").ok();

    // The power fails in a reset.
    let mut reset = machine.start("teardown --reset --yes");
    reset.until("MicroK8s is removed", |e| e.is("step-acting", "snap.microk8s"));
    machine.cut();
    drop(reset);
    machine.boot();
    machine.doctor_finds("a reset that was broken off", "teardown", "`teardown --reset` was begun and is not finished");
    machine.product("doctor").exits(30).says(&["next: `sudo iris-mk8s teardown --reset` goes on from there"]);
    machine.product("teardown --reset --yes").exits(0);
    machine.product("doctor").exits(0);
}

fn another_address_is_told_at_once(era: Era) {
    let Some(machine) = Machine::up("odd-address", era) else { return };
    let arguments = format!("--lb {} --replicas 1", machine.range());
    machine.product(&format!("bootstrap {arguments}")).exits(0);
    machine.is_well("a fresh bootstrap");
    let (old, new) = (machine.address(), machine.nth_address(19));
    let range = format!("--lb {}-{} --replicas 1", machine.nth_address(0), machine.nth_address(18));
    machine.product(&format!("bootstrap {range}")).exits(0);
    machine
        .root(&format!("ip address delete {old}/24 dev host0; ip address add {new}/24 dev host0; ip route add default via 192.168.11.1"))
        .ok();

    let says = format!("the host's address is now {new} (host0); MicroK8s was set up when it was {old}");
    machine.doctor_finds("another address in the LAN", "host-address", &says);
    let report = machine.product("doctor").exits(30).says(&["1 problem, "]);
    assert!(!report.stdout.contains("the same bootstrap again"), "it would not help: {report}");
    let begun = Instant::now();
    machine.product(&format!("bootstrap {range}")).exits(10).says(&[&says, "host-address: MicroK8s notices"]);
    let seconds = begun.elapsed().as_secs();
    assert!(seconds < 30, "it took {seconds} s to say so");

    // The way that is named leads out of it. A machine's name stands for its address, and kubelet goes by that.
    machine
        .root(&format!("sed 's/^{old} /{new} /' /etc/hosts >/tmp/hosts && cat /tmp/hosts >/etc/hosts && rm /tmp/hosts"))
        .ok();
    if era == Era::Current {
        machine.root("microk8s refresh-certs --cert ca.crt").ok();
    }
    machine.product("stop").exits(0);
    machine.product("start").exits(0);
    machine.product(&format!("bootstrap {range}")).exits(0);
    machine.is_well("MicroK8s goes by the new address");
}
