//! Other programs that are busy on a host that has just been started: snapd, which installs what the image brought and refreshes itself, and apt. They
//! come to an end by themselves, so they are waited for and not refused.

use std::{path::Path, time::Duration};

use serde_json::Value;

use crate::{
    config::spec::Spec,
    engine::{check::Check, step::Probe},
    error::Result,
    host::{self, Host, Watch},
};

/// Snaps whose refresh restarts snapd, or what MicroK8s stands on.
const BASIC: [&str; 8] = ["snapd", "core", "core18", "core20", "core22", "core24", "core26", "microk8s"];

/// Changes that refresh.
const REFRESHES: [&str; 4] = ["auto-refresh", "refresh-snap", "refresh", "revert-snap"];

/// The step: before anything is judged, since what is on its way would be judged wrong.
pub(super) fn snapd(spec: &Spec) -> Check {
    Check {
        id: "preflight.snapd",
        title: "snapd has finished its own tasks".to_owned(),
        question: Box::new(|host| Ok(why_not_yet(host).unwrap_or_else(|| Probe::satisfied("")))),
        deadline: spec.timeouts.install.into(),
        watches: vec![Watch::Pause(Duration::from_millis(500))],
    }
}

fn why_not_yet(host: &dyn Host) -> Option<Probe> {
    // Whether there is a snapd at all, and why it does not answer, is told by the checks.
    let Ok(changes) = host.snapd_get("/v2/changes?select=in-progress") else { return None };
    let changes = changes.unwrap_or_default();
    let pending = |change: &Value, before: &str| {
        let (doing, progress) = host::doing(change);
        Probe::Pending { why: format!("{before}: {doing}"), progress }
    };
    let of_kind = |kinds: &[&str]| {
        let all = changes.as_array().into_iter().flatten();
        all.filter(|change| kinds.iter().any(|kind| change["kind"] == *kind)).cloned().collect::<Vec<_>>()
    };
    if let Some(seeding) = of_kind(&["seed"]).first() {
        return Some(pending(seeding, "snapd installs what the system's image brought"));
    }
    // Unknown names count: an older snapd does not tell them.
    let basic = |change: &Value| {
        change["data"]["snap-names"]
            .as_array()
            .is_none_or(|names| names.iter().any(|name| BASIC.iter().any(|b| name == b)))
    };
    of_kind(&REFRESHES).iter().find(|change| basic(change)).map(|change| pending(change, "snapd refreshes"))
}

/// Files that apt and dpkg lock while they work.
const LOCKS: [&str; 4] =
    ["/var/lib/dpkg/lock-frontend", "/var/lib/dpkg/lock", "/var/lib/apt/lists/lock", "/var/cache/apt/archives/lock"];

/// Who holds a lock of apt's, as `unattended-upgr (process 812)`.
///
/// # Errors
/// The kernel's table of locks cannot be read.
pub(super) fn at_apt(host: &dyn Host) -> Result<Option<String>> {
    let read = |path: &str| -> Result<String> {
        Ok(host.read(Path::new(path))?.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default())
    };
    // `1: POSIX  ADVISORY  WRITE 812 08:01:131077 0 EOF`; who waits for a lock has an arrow before the kind.
    let holder = |line: &str| {
        let mut words = line.split_whitespace().skip(1);
        (words.next() == Some("POSIX")).then(|| words.nth(2)?.parse::<u32>().ok())?
    };
    for pid in read("/proc/locks")?.lines().filter_map(holder) {
        let folder = format!("/proc/{pid}/fd");
        let files =
            host.names(Path::new(&folder)).into_iter().filter_map(|fd| host.link(Path::new(&format!("{folder}/{fd}"))));
        if files.into_iter().any(|file| LOCKS.iter().any(|lock| file == Path::new(lock))) {
            let name = read(&format!("/proc/{pid}/comm"))?;
            return Ok(Some(format!("{} (process {pid})", name.trim())));
        }
    }
    Ok(None)
}
