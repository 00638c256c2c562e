//! What a machine is, written down, and what differs between two such records (tests/sandbox/compare).

use std::{path::PathBuf, process::Command};

use super::machine::{Machine, kept, run};

/// A machine at one moment: its file, and the objects of its cluster if there is one.
pub(crate) struct Snapshot {
    file: PathBuf,
    objects: String,
}

/// What is compared of a cluster: a number that every change of an object raises, and for workloads, whose state changes by itself, one
/// that every change of what is wanted raises. MetalLB's kinds are there only with MetalLB.
const OBJECTS: [(&str, &str); 3] = [
    ("services,configmaps,secrets,persistentvolumeclaims,persistentvolumes,storageclasses", "resourceVersion"),
    ("statefulsets,deployments,daemonsets,namespaces", "generation"),
    ("ipaddresspools,l2advertisements", "generation"),
];

/// What differs between two moments of a cluster that runs, and after a teardown: each with its reason.
const WHILE_RUNNING: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/machines/while-running.txt");
const AFTER_RESET: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/sandbox/compare/after-reset.txt");

impl Machine {
    /// Writes down what it is now.
    pub(crate) fn snapshot(&self, moment: &str) -> Snapshot {
        self.wait_until("no pod is on its way out", 300, |m| {
            !m.root("microk8s kubectl get pods -A --no-headers").stdout.contains("Terminating")
        });
        let objects = self.objects();
        // What a login starts ends 10 s after it, and is none of the product's doing.
        self.root("systemctl stop 'user@*.service'").ok();
        let file = kept(self.name()).join(format!("{moment}.json"));
        run(&["snapshot", self.name(), &file.to_string_lossy()]).ok();
        Snapshot { file, objects }
    }

    /// The objects of its cluster; nothing where there is none.
    fn objects(&self) -> String {
        let of = |(kinds, version): (&str, &str)| {
            let columns =
                format!("K:.kind,S:.metadata.namespace,N:.metadata.name,U:.metadata.uid,V:.metadata.{version}");
            let answer = self.kubectl(&format!("get {kinds} -A --no-headers -o custom-columns={columns}"));
            let absent =
                ["the server doesn't have a resource type", "the server could not find the requested resource"];
            if absent.iter().any(|a| answer.stderr.contains(a)) { String::new() } else { answer.ok() }
        };
        let there = self.root("test -e /snap/bin/microk8s").code == 0;
        let all = if there { OBJECTS.map(of).concat() } else { String::new() };
        // MicroK8s' own `disable registry` deletes this one and makes it anew, whoever enabled the registry.
        all.lines().filter(|l| !l.contains(" local-registry-hosting ")).map(|l| format!("{l}\n")).collect()
    }

    /// Nothing is different from that moment, not even a file.
    #[track_caller]
    pub(crate) fn is_as_at(&self, before: &Snapshot) {
        self.is_as_at_but(before, "nothing");
    }

    /// The same, but for an object with these words, one after the other.
    #[track_caller]
    pub(crate) fn is_as_at_but(&self, before: &Snapshot, object: &str) {
        let now = self.snapshot("unchanged");
        let words = |line: &str| line.split_whitespace().map(|word| format!("{word} ")).collect::<String>();
        let compared = |objects: &str| -> Vec<String> {
            objects.lines().map(words).filter(|line| !line.contains(object.trim_start())).collect()
        };
        assert_eq!(compared(&before.objects), compared(&now.objects), "objects of the cluster were changed");
        let found = differences(before, &now, (!now.objects.is_empty()).then_some(WHILE_RUNNING));
        assert!(found.is_empty(), "something was changed:\n{found}");
    }

    /// Nothing is different from that moment but what a teardown may leave (after-reset.txt says what, and why).
    #[track_caller]
    pub(crate) fn is_restored_to(&self, before: &Snapshot) {
        let found = self.residue(before);
        assert!(found.is_empty(), "the machine is not as it was before:\n{found}");
    }

    /// What a teardown should not have left.
    pub(crate) fn residue(&self, before: &Snapshot) -> String {
        differences(before, &self.snapshot("after"), Some(AFTER_RESET))
    }
}

fn differences(before: &Snapshot, after: &Snapshot, allowed: Option<&str>) -> String {
    let mut command = Command::new("python3");
    let compare = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/sandbox/compare/compare.py");
    command.args(["-B", compare]).args([&before.file, &after.file]);
    if let Some(list) = allowed {
        command.args(["--allow", list]);
    }
    let output = command.output().expect("python3 can be run");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(matches!(output.status.code(), Some(0 | 1)), "compare.py failed: {told}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}
