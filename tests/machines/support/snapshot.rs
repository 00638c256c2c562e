//! What a machine is, written down, and what differs between two such records (tests/sandbox/compare).

use std::{path::PathBuf, process::Command};

use super::machine::{Machine, kept, run};

/// A machine at one moment.
pub(crate) struct Snapshot(PathBuf);

impl Machine {
    /// Writes down what it is now.
    pub(crate) fn snapshot(&self, moment: &str) -> Snapshot {
        // What a login starts ends 10 s after it, and is none of the product's doing.
        self.root("systemctl stop 'user@*.service'").ok();
        let file = kept(self.name()).join(format!("{moment}.json"));
        run(&["snapshot", self.name(), &file.to_string_lossy()]).ok();
        Snapshot(file)
    }

    /// Nothing is different from that moment, not even a file.
    #[track_caller]
    pub(crate) fn is_as_at(&self, before: &Snapshot) {
        let found = differences(before, &self.snapshot("unchanged"), None);
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
        differences(before, &self.snapshot("after"), Some("after-reset.txt"))
    }
}

fn differences(before: &Snapshot, after: &Snapshot, allowed: Option<&str>) -> String {
    let compare = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/sandbox/compare");
    let mut command = Command::new("python3");
    command.arg("-B").arg(format!("{compare}/compare.py")).args([&before.0, &after.0]);
    if let Some(list) = allowed {
        command.arg("--allow").arg(format!("{compare}/{list}"));
    }
    let output = command.output().expect("python3 can be run");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(matches!(output.status.code(), Some(0 | 1)), "compare.py failed: {told}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}
