//! What IRIS says of itself, in its log and in its metrics, and what it means: shared by those who wait for it and those who ask what
//! is wrong with it.

/// A line of the log that reports a problem.
#[derive(Debug)]
pub struct LogPattern {
    /// What the line has in it.
    pub line: &'static str,
    /// What is wrong.
    pub kind: Kind,
    /// The same in words.
    pub means: &'static str,
    /// What to do.
    pub hint: &'static str,
}

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The licence refuses the start.
    Licence,
    /// The volume cannot be written to.
    Volume,
    /// IRIS cannot start for another reason that waiting does not heal.
    Start,
}

const NEWER: &str = "take a newer image: --image intersystems/iris-community:latest-em";
/// What to do about a volume that IRIS' user cannot write to.
pub const OWNER: &str = "the volume must belong to user 51773: see the StorageClass, or another one with --storage";

/// The exit code of a program that touched memory which is not there (128 and the signal SIGBUS).
pub const BUS_ERROR: i64 = 135;

/// What it means in a container.
pub const BUS_ERROR_MEANS: &str =
    "a bus error; most likely it maps huge pages of the host, of which a container may not have any";

/// What to do about it.
pub const BUS_ERROR_HINT: &str = "`sysctl -w vm.nr_hugepages=0` on the host, then delete the pod; the check `huge-pages` of doctor tells how many are kept \
                                  back. If there are none, the disk or /dev/shm may be full";

/// Lines after which no waiting helps, those that say most first. Sources: InterSystems' "Running InterSystems Products in Containers",
/// and what users reported of expired images and root-owned volumes.
pub const SIGNS: &[LogPattern] = &[
    LogPattern {
        line: "Community License expired",
        kind: Kind::Licence,
        means: "the licence of this image has run out (it is built in, and lasts a year)",
        hint: NEWER,
    },
    LogPattern {
        line: "Invalid Community Edition license",
        kind: Kind::Licence,
        means: "IRIS refuses its licence: it has run out, or the host has more cores than it allows (20)",
        hint: NEWER,
    },
    LogPattern {
        line: "Target exists but is not writeable",
        kind: Kind::Volume,
        means: "IRIS cannot write to its volume",
        hint: OWNER,
    },
    LogPattern {
        line: "ERROR #5001: Cannot create target",
        kind: Kind::Volume,
        means: "IRIS cannot write to its volume",
        hint: OWNER,
    },
    LogPattern {
        line: "Durable folder:",
        kind: Kind::Volume,
        means: "IRIS cannot make its directory on the volume",
        hint: OWNER,
    },
    LogPattern {
        line: "Target exists but holds no instance",
        kind: Kind::Volume,
        means: "the directory for IRIS' own files on the volume holds something else",
        hint: "empty it, or begin with new volumes: `iris-mk8s teardown --data`",
    },
    LogPattern {
        line: "Insufficient privilege to start InterSystems IRIS",
        kind: Kind::Start,
        means: "IRIS runs as a user who may not start it",
        hint: "leave runAsUser out of the pod: the image's own user is 51773",
    },
    LogPattern {
        line: "Unable to find Registry entry for directory",
        kind: Kind::Start,
        means: "the upgrade of the data on the volume failed",
        hint: "go back to the image that the data is of (--image), and see its release notes on upgrades",
    },
    LogPattern {
        line: "No log file specified, could not open",
        kind: Kind::Start,
        means: "a layer of the image is broken",
        hint: "pull it anew: `microk8s ctr image rm IMAGE`, then delete the pod",
    },
];

/// The sign that a log shows, if any.
pub fn sign(log: &str) -> Option<&'static LogPattern> {
    SIGNS.iter().find(|sign| log.contains(sign.line))
}

/// Actions of the CPF that failed; IRIS goes on without them.
pub fn failed_actions(log: &str) -> Vec<&str> {
    log.lines()
        .filter(|l| l.contains("ERROR #507"))
        .filter_map(|l| l.split_once("ERROR #507: ").map(|(_, what)| what))
        .collect()
}

/// What to do about actions that failed.
pub const ACTIONS_HINT: &str = "correct the CPF in the profile (Error=-13: the directory is not writable for user 51773; -2: its \
                                parent is not there; -28: the disk is full) and run the same command again";

/// How often users were turned away for want of a licence unit, since IRIS started.
pub fn turned_away(log: &str) -> Option<u64> {
    log.lines().rev().find_map(|l| l.split_once("License limit exceeded ")?.1.split(' ').next()?.parse().ok())
}

/// Below this many days of licence a user should look for a newer image.
pub const LICENCE_SOON: f64 = 60.0;

/// A metric without labels, by its name.
pub fn metric(page: &str, name: &str) -> Option<f64> {
    page.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
}

/// The warning of a licence that ends soon, if it does.
pub fn ends_soon(page: &str) -> Option<String> {
    let days = metric(page, "iris_license_days_remaining").filter(|days| *days < LICENCE_SOON)?;
    Some(format!("the image's licence ends in {days} days"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failed_actions_are_found() {
        let log = "01/07/22-23:11:32:729 (1205) 1 [Utility.Event] ERROR #503: Error executing [Actions] section in file /x\n\
                   01/07/22-23:11:32:729 (1205) 1 [Utility.Event] ERROR #507: Action 'CreateDatabase' failed at line 2, Error=-13\n";
        assert_eq!(failed_actions(log), ["Action 'CreateDatabase' failed at line 2, Error=-13"]);
        assert!(failed_actions("all is well").is_empty());
    }

    #[test]
    fn an_expired_licence_is_called_so_whatever_else_the_log_says() {
        let log =
            "Community License expired.\nError: Invalid Community Edition license, may have exceeded core limit.\n";
        assert_eq!(sign(log).map(|s| s.line), Some("Community License expired"));
        assert!(sign("Enabling logons").is_none());
    }

    #[test]
    fn the_last_count_of_those_turned_away_holds() {
        let line = |n| {
            format!(
                "05/17/21-19:21:17:417 (2334) 2 [Generic.Event] License limit exceeded {n} times since instance start.\n"
            )
        };
        assert_eq!(turned_away(&format!("{}{}", line(1), line(12))), Some(12));
        assert_eq!(turned_away(""), None);
    }

    #[test]
    fn a_metric_is_told_from_its_namesakes() {
        let page =
            "# HELP iris_license_days_remaining x\niris_license_days_remaining_x 1\niris_license_days_remaining 27\n";
        assert_eq!(metric(page, "iris_license_days_remaining"), Some(27.0));
        assert_eq!(ends_soon(page).as_deref(), Some("the image's licence ends in 27 days"));
        assert_eq!(ends_soon("iris_license_days_remaining 327\n"), None);
    }
}
