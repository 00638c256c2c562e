//! Broken clusters, each made for real: the first thing that doctor says is the cause, and a cluster that is put right has no problem.

use std::{io::Write, time::Instant};

use crate::support::{Era, Machine, Neighbour, Output, in_both_eras};

in_both_eras! {
    the_cause_comes_first_when_iris_is_broken
    the_cause_comes_first_when_the_cluster_is_broken
    a_bundle_holds_all_but_the_secrets
}

/// Something that is broken.
pub(crate) struct Case {
    pub(crate) what: &'static str,
    /// Breaks it, in the machine's shell; see [`Machine::words`] for the words in capitals.
    pub(crate) damage: &'static str,
    /// The check whose finding comes first, and what it says.
    pub(crate) id: &'static str,
    pub(crate) says: &'static str,
    /// Puts it right.
    pub(crate) cure: &'static str,
}

/// Runs IRIS' pod anew. A StatefulSet does not replace a pod that never became ready by itself.
const ANEW: &str = "microk8s kubectl delete pod data-0 --force --grace-period=0 2>/dev/null";

/// In the machine of 1.20 containerd asks, after its mirror, the registry by its own name, which does not speak TLS there: it hears no 404.
const OF_TODAYS_REGISTRY: &[Case] = &[Case {
    what: "a tag that does not exist",
    damage: "SET_IMAGE=intersystems/iris-community:no-such-tag",
    id: "pull",
    says: "the registry does not have the image",
    cure: "SET_IMAGE=GOOD",
}];

const OF_IRIS: &[Case] = &[
    Case {
        what: "an image whose licence has run out",
        damage: "SET_IMAGE=intersystems/iris-community:2025.1",
        id: "iris-start",
        says: "the licence of this image has run out",
        cure: "SET_IMAGE=GOOD",
    },
    Case {
        what: "more memory asked for than there is",
        damage: "microk8s kubectl set resources statefulset data --requests=memory=900Gi --limits=memory=900Gi",
        id: "scheduling",
        says: "the node has not as much memory free",
        cure: "microk8s kubectl set resources statefulset data --requests=memory=768Mi --limits=memory=2Gi",
    },
    Case {
        what: "a volume that root has made its own",
        damage: "chmod 700 /var/snap/microk8s/common/default-storage/default-dbv-mgr-data-0-*; \
                 chown -R root:root /var/snap/microk8s/common/default-storage/default-dbv-mgr-data-0-*",
        id: "iris-start",
        says: "IRIS cannot write to its volume",
        cure: "chmod 777 /var/snap/microk8s/common/default-storage/default-dbv-mgr-data-0-*; \
               chown -R 51773:51773 /var/snap/microk8s/common/default-storage/default-dbv-mgr-data-0-*",
    },
    Case {
        what: "the Secret with the CPF deleted",
        damage: "microk8s kubectl delete secret iris-merge-cpf",
        id: "volumes",
        says: "a volume cannot be mounted",
        cure: "sudo -u ubuntu sudo VARIABLES iris-mk8s bootstrap --lb RANGE --replicas 1",
    },
    Case {
        what: "a limit of memory far too small",
        damage: "microk8s kubectl set resources statefulset data --requests=memory=6Mi --limits=memory=6Mi",
        id: "crash",
        says: "more memory than its limit",
        cure: "microk8s kubectl set resources statefulset data --requests=memory=768Mi --limits=memory=2Gi",
    },
];

const OF_CLUSTER: &[Case] = &[
    Case {
        what: "the node cordoned",
        damage: "microk8s kubectl cordon $(hostname)",
        id: "node",
        says: "somebody cordoned it",
        cure: "microk8s kubectl uncordon $(hostname)",
    },
    Case {
        what: "the provisioner of volumes stopped",
        damage: "microk8s kubectl -n kube-system scale deployment hostpath-provisioner --replicas=0",
        id: "storage",
        says: "the storage provisioner is not running: hostpath-provisioner is scaled to 0",
        cure: "microk8s kubectl -n kube-system scale deployment hostpath-provisioner --replicas=1",
    },
    Case {
        what: "the StorageClass deleted",
        damage: "microk8s kubectl get storageclass microk8s-hostpath -o json | jq 'del(.metadata.resourceVersion, .metadata.uid)' >/root/class.json; microk8s kubectl delete storageclass microk8s-hostpath",
        id: "storage",
        says: "no StorageClass is the default one",
        cure: "microk8s kubectl create -f /root/class.json; rm /root/class.json",
    },
    Case {
        what: "CoreDNS stopped",
        damage: "microk8s kubectl -n kube-system scale deployment coredns --replicas=0",
        id: "dns-pods",
        says: "names are not looked up in the cluster: coredns is scaled to 0",
        cure: "microk8s kubectl -n kube-system scale deployment coredns --replicas=1",
    },
    Case {
        what: "MetalLB's controller stopped",
        damage: "microk8s kubectl -n metallb-system scale deployment controller --replicas=0",
        id: "metallb",
        says: "MetalLB gives no addresses out: controller is scaled to 0",
        cure: "microk8s kubectl -n metallb-system scale deployment controller --replicas=1",
    },
    Case {
        what: "MetalLB's speaker gone",
        damage: "microk8s kubectl -n metallb-system patch daemonset speaker -p '{\"spec\":{\"template\":{\"spec\":{\"nodeSelector\":{\"nobody\":\"here\"}}}}}'",
        id: "metallb",
        says: "does not answer for its addresses on the LAN",
        cure: "microk8s kubectl -n metallb-system patch daemonset speaker --type=json -p '[{\"op\":\"remove\",\"path\":\"/spec/template/spec/nodeSelector/nobody\"}]'",
    },
    Case {
        what: "what MetalLB may give out deleted",
        damage: "microk8s kubectl -n metallb-system delete POOL",
        id: "metallb-pool",
        says: "MetalLB has no pool of addresses",
        cure: "sudo -u ubuntu sudo VARIABLES iris-mk8s bootstrap --lb RANGE --replicas 1",
    },
    Case {
        what: "the host renamed",
        damage: "hostname renamed",
        id: "node",
        says: "the host is now called renamed",
        cure: "hostname HOST",
    },
    Case {
        what: "kubelite stopped",
        damage: "systemctl stop snap.microk8s.daemon-KUBELET",
        id: "services",
        says: "daemon-kubel",
        cure: "systemctl start snap.microk8s.daemon-KUBELET",
    },
    Case {
        what: "MicroK8s stopped",
        damage: "microk8s stop",
        id: "services",
        says: "is stopped",
        cure: "microk8s start",
    },
];

/// What only today's MetalLB has.
const OF_TODAY: &[Case] = &[
    Case {
        what: "the advertisement deleted",
        damage: "microk8s kubectl -n metallb-system delete l2advertisements --all",
        id: "metallb-pool",
        says: "MetalLB's pool is not advertised",
        cure: "sudo -u ubuntu sudo VARIABLES iris-mk8s bootstrap --lb RANGE --replicas 1",
    },
    Case {
        what: "a node excluded from load balancers",
        damage: "microk8s kubectl label node $(hostname) node.kubernetes.io/exclude-from-external-load-balancers=",
        id: "address",
        says: "is excluded from load balancers by a label",
        cure: "microk8s kubectl label node $(hostname) node.kubernetes.io/exclude-from-external-load-balancers-",
    },
];

/// A line of the table of what was found, past the captured output.
pub(crate) fn tell(what: &str, line: &str, seconds: u64) {
    let _ = writeln!(std::io::stderr(), "| {what} | {} | {seconds} s |", line.trim());
}

/// The line of doctor's report that comes first.
fn first(report: &Output) -> &str {
    report.stdout.lines().nth(1).unwrap_or_default()
}

impl Machine {
    /// A command of a case for this machine.
    fn words(&self, command: &str) -> String {
        let images = ["intersystems/iris-community:latest-em", "intersystemsdc/iris-community:2026.1-zpm"];
        let (good, other) = self.era().of((images[0], images[1]), (images[1], images[0]));
        command
            .replace("SET_IMAGE", "microk8s kubectl set image statefulset/data iris")
            .replace("GOOD", good)
            .replace("OTHER", other)
            .replace("daemon-KUBELET", self.era().of("daemon-kubelite", "daemon-kubelet"))
            .replace("POOL", self.era().of("ipaddresspools --all", "configmap config"))
            .replace("VARIABLES", self.era().variables())
            .replace("RANGE", &self.range())
            .replace("HOST", self.name())
            .replace("REMAKE", crate::symptoms::REMAKE)
    }

    /// Waits until doctor's first finding is this one: what was broken takes its time to show.
    #[track_caller]
    pub(crate) fn doctor_finds(&self, what: &str, id: &str, says: &str) {
        let begun = Instant::now();
        loop {
            let report = self.product("doctor");
            let line = first(&report);
            if report.code == 30
                && line.starts_with("problem ")
                && line.contains(&format!(" {id} "))
                && line.contains(says)
            {
                tell(what, line, begun.elapsed().as_secs());
                assert!(report.stdout.contains("next: "), "a finding says what to do next: {report}");
                return;
            }
            assert!(begun.elapsed().as_secs() < 120, "{what}: the first finding should be {id}, `{says}`: {report}");
            std::thread::sleep(std::time::Duration::from_millis(500));
        }
    }

    /// Waits until doctor has no problem to tell.
    #[track_caller]
    pub(crate) fn is_well(&self, after: &str) {
        let begun = Instant::now();
        loop {
            let report = self.product("doctor");
            if report.code == 0 {
                return;
            }
            assert!(begun.elapsed().as_secs() < 180, "{after}, put right: {report}");
            std::thread::sleep(std::time::Duration::from_secs(1));
        }
    }

    pub(crate) fn try_all(&self, cases: &[Case], anew: bool) {
        for case in cases {
            // A command that breaks something may well be told so.
            self.root(&self.words(case.damage));
            if anew {
                self.root(ANEW);
            }
            self.doctor_finds(case.what, case.id, case.says);
            self.root(&self.words(case.cure)).ok();
            if anew {
                self.root(ANEW);
            }
            self.is_well(case.what);
        }
    }
}

fn the_cause_comes_first_when_iris_is_broken(era: Era) {
    let Some(machine) = Machine::up("doctor-iris", era) else { return };
    machine.product("doctor").exits(0).says(&["no problem"]);
    machine.product(&format!("bootstrap --lb {} --replicas 1", machine.range())).ok();
    machine.is_well("a fresh bootstrap");
    machine.try_all(era.of(OF_TODAYS_REGISTRY, &[]), true);
    machine.try_all(OF_IRIS, true);

    // What the registry answers.
    for (fault, says) in
        [("registry --down", "the registry cannot be reached"), ("registry --status 429", "too many pulls")]
    {
        machine.fault(fault);
        machine.root(&machine.words("SET_IMAGE=OTHER"));
        machine.root(ANEW);
        machine.doctor_finds(fault, "pull", says);
        machine.fault("clear");
        machine.root(&machine.words("SET_IMAGE=GOOD")).ok();
        machine.root(ANEW);
        machine.is_well(fault);
    }

    // As many sessions as the licence has units, and one more.
    machine
        .root("for n in 1 2 3 4 5 6 7 8 9; do systemd-run --quiet --unit=session-$n microk8s kubectl exec data-0 -- sh -c 'sleep 600 | iris session IRIS'; done")
        .ok();
    machine.doctor_finds("every unit of the licence in use", "iris-licence", "all units of its licence are in use");
    machine.root("systemctl stop 'session-*'").ok();
    machine.root(ANEW);
    machine.is_well("every unit of the licence in use");

    // An action of the CPF that fails does not stop IRIS: the run says so, and doctor too. The profile has no password: on volumes that are
    // there already, it would not be the one of this run.
    machine.product("teardown --data --yes").exits(0);
    machine
        .root("printf '[iris]\\ncpf = \"\"\"\\n[config]\\nglobals=0,0,32,0,0,0\\n[Actions]\\nCreateNamespace:Name=ELSEWHERE,Globals=NO-SUCH\\n\"\"\"\\n' >/root/wrong.toml")
        .ok();
    let channel = machine.era().track();
    let wrong =
        format!("bootstrap --lb {} --replicas 1 --profile /root/wrong.toml --channel {channel}", machine.range());
    machine.product(&wrong).exits(22).says(&["an action of the CPF failed, and there is no namespace ELSEWHERE"]);
    machine.doctor_finds("an action of the CPF that fails", "iris-cpf", "the CPF was not carried out whole");
}

fn the_cause_comes_first_when_the_cluster_is_broken(era: Era) {
    let Some(machine) = Machine::up("doctor-cluster", era) else { return };
    machine.product(&format!("bootstrap --lb {} --replicas 1", machine.range())).ok();
    machine.is_well("a fresh bootstrap");
    {
        let _other = Neighbour::add(&format!("{}-thief", machine.name()), &machine.nth_address(0), true);
        machine.doctor_finds("another host with the service's address", "address", "is also answered for by");
    }
    machine.is_well("another host with the service's address");
    machine.try_all(OF_CLUSTER, false);
    if era == Era::Current {
        machine.try_all(OF_TODAY, false);
    }

    // Certificates of one year that nobody renewed; a good one ends in ten days.
    machine
        .root(
            "cd /var/snap/microk8s/current/certs; cp server.crt /root/; \
             openssl req -new -key server.key -subj /CN=127.0.0.1 -addext subjectAltName=IP:127.0.0.1,IP:10.152.183.1 | \
             openssl x509 -req -copy_extensions copyall -CA ca.crt -CAkey ca.key -set_serial 1 -days 10 -out new.crt && mv new.crt server.crt",
        )
        .ok();
    let report =
        machine.product("doctor").exits(0).says(&["warning  certificates", "in 9 days", "microk8s refresh-certs"]);
    tell("a certificate that ends soon", first(&report), 0);
    machine.root("mv /root/server.crt /var/snap/microk8s/current/certs/server.crt").ok();

    machine.root(&format!(
        "ip address add 192.168.77.5/24 dev host0; ip address delete {}/24 dev host0",
        machine.address()
    ));
    machine.doctor_finds("the host in another network", "host-address", "the host's address is now 192.168.77.5");
}

/// Secrets of every kind, each with a word that stands nowhere else.
const PLANTED: &[&str] =
    &["plantedinsecret", "plantedinenv", "plantedinmap", "plantedinlog", "plantedinproxy", "plantedinkey"];

fn a_bundle_holds_all_but_the_secrets(era: Era) {
    let Some(machine) = Machine::up("bundle", era) else { return };
    machine.root("printf 'Tr0ub4dor-and-3\\n' >/root/password; chmod 600 /root/password").ok();
    let bootstrap = format!("bootstrap --lb {} --replicas 1 --password-file /root/password", machine.range());
    machine.product(&bootstrap).ok();
    // Later: MicroK8s' services would have taken it.
    machine.root("echo 'HTTPS_PROXY=http://me:plantedinproxy@192.168.11.1:3128' >>/etc/environment").ok();
    let hash = machine.root("cat /var/lib/iris-mk8s/password.hash").ok();
    // Today's MicroK8s has certificates instead.
    let token = machine.root("cut -d, -f1 /var/snap/microk8s/current/credentials/known_tokens.csv | head -n 1").stdout;
    for object in [
        "create secret generic planted --from-literal=key=plantedinsecret",
        "create configmap db-password --from-literal=it=plantedinmap",
        "run planted --image=busybox:1.28.4 --env=DB_PASSWORD=plantedinenv --restart=Never --command -- \
         sh -c 'echo password=plantedinlog; sleep 600'",
        "-n kube-system run planted --image=busybox:1.28.4 --restart=Never --command -- \
         sh -c 'printf -- \"-----BEGIN RSA PRIVATE KEY-----\\nplantedinkey\\n-----END RSA PRIVATE KEY-----\\n\"; sleep 600'",
    ] {
        machine.kubectl(object).ok();
    }
    // Neither the password nor any of these may be in what we wrote ourselves.
    machine.product("doctor --bundle /root/bundle.tar").says(&["without secrets"]);
    assert_eq!(machine.root("stat -c %a /root/bundle.tar").ok(), "600\n");
    let names = machine.root("tar -tf /root/bundle.tar").ok();
    for name in [
        "doctor.txt",
        "plan.txt",
        "journal.jsonl",
        "host/routes.txt",
        "cluster/pods.json",
        "cluster/secrets.json",
        "logs/",
    ] {
        assert!(names.contains(name), "the bundle has no {name}:\n{names}");
    }
    let logs = "cluster/logs/default.data-0.iris.log";
    assert!(names.contains(logs), "the bundle has no {logs}:\n{names}");
    let parts: Vec<&str> = hash.trim().split(',').filter(|p| p.len() > 20).collect();
    assert!(parts.len() >= 2 && (era == Era::Current || token.trim().len() > 20), "hash {hash:?}, token {token:?}");
    for secret in PLANTED
        .iter()
        .copied()
        .chain(["Tr0ub4dor-and-3"])
        .chain(parts)
        .chain(Some(token.trim()).filter(|t| !t.is_empty()))
    {
        let found = machine
            .root(&format!("mkdir -p /root/b; tar -C /root/b -xf /root/bundle.tar; grep -rlF -- '{secret}' /root/b"));
        assert_eq!((found.code, found.stdout.as_str()), (1, ""), "{secret} is in the bundle");
    }
    // The search would have found it.
    machine.root("grep -rlF -- iris-merge-cpf /root/b").ok();
    machine.product("doctor --bundle /root/bundle.tar").exits(20).says(&["cannot write /root/bundle.tar"]);
}
