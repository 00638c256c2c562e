//! Everything that is looked at before the host is changed, and what is looked at when something is wrong: one table, in the order of
//! weight. Read this first.
//!
//! A check only reads. It says what it found with the measured value: refused, warned, or fine. All checks run side by side, and all
//! findings are told at once. The checks of the host run before a bootstrap; `doctor` runs these and those of the cluster.

use std::{
    sync::{
        OnceLock,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    thread,
};

use crate::{
    engine::finding::{Finding, Severity},
    error::Result,
    network as judgement,
};

#[expect(clippy::unnecessary_wraps, reason = "any look may fail")]
mod disk_speed;
mod firewall;
pub(crate) mod host_names;
mod machine;
pub(crate) mod mounts;
mod network_of_host;
mod nft;
#[expect(clippy::unnecessary_wraps, reason = "any look may fail")]
mod others;
mod resolver;
#[expect(clippy::unnecessary_wraps, reason = "any look may fail")]
pub(crate) mod room;
#[expect(clippy::unnecessary_wraps, reason = "any look may fail")]
mod snapd;
pub(crate) mod step;
#[expect(clippy::unnecessary_wraps, reason = "any look may fail")]
mod system;

pub use crate::stack::facts::Facts;
pub use crate::stack::lan::{network, reserved};
pub use crate::stack::observed::{ALL as CLUSTER, Cluster};

/// A check.
#[derive(Debug)]
pub struct Check {
    /// Its name: in findings, and for `--skip-check`.
    pub id: &'static str,
    /// Without it nothing can work, so nobody may skip it.
    pub vital: bool,
    /// When it says something.
    pub when: When,
    /// How it looks.
    look: Look,
}

/// A look: it finds one thing, or several.
type Look = fn(&Facts<'_>) -> Result<Vec<Finding>>;

/// When a check says something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// Always.
    Always,
    /// Before MicroK8s is there: it is about what it takes to get it.
    Before,
    /// The same, and when somebody wants to know what is wrong: it takes its time, and what runs does not hang on it.
    First,
}

use When::{Always, Before, First};

/// A check that may be skipped.
const fn may(id: &'static str, when: When, look: Look) -> Check {
    Check { id, vital: false, when, look }
}

/// A check that may not.
const fn must(id: &'static str, when: When, look: Look) -> Check {
    Check { vital: true, ..may(id, when, look) }
}

/// The checks of the host.
pub const HOST: &[Check] = &[
    // What runs on it.
    must("architecture", Before, system::architecture),
    may("os", Always, system::release),
    may("container", Always, system::container),
    must("cgroups", Always, system::control_groups),
    may("cgroup-controllers", Always, machine::controllers),
    may("programs", Always, machine::programs),
    may("squashfs", Before, machine::squashfs),
    may("selinux", Always, machine::selinux),
    may("cpu-level", Always, machine::cpu_level),
    may("apparmor", Before, system::apparmor),
    may("sudo", Before, system::sudo),
    may("kernel-modules", Before, system::kernel_modules),
    may("inotify", Always, system::inotify),
    may("clock", Before, system::clock),
    // What lies where.
    may("noexec", Always, mounts::noexec),
    may("file-system", Always, mounts::file_system),
    may("folders", Always, mounts::folders),
    may("hidepid", Always, mounts::hidepid),
    // Room.
    may("disk", Always, room::disk),
    may("disk-latency", First, disk_speed::latency),
    may("huge-pages", Always, machine::huge_pages),
    may("memory", Always, room::memory),
    may("swap", Always, room::swap),
    may("cpu", Always, room::cpu),
    may("iris-cores", Always, room::iris_cores),
    may("iris-memory", Always, room::iris_memory),
    may("iris-image", Always, room::iris_image),
    may(crate::config::profile::DIRECTORY, Always, crate::stack::iris::preflight::directories),
    // Longhorn, where it is wanted.
    may("longhorn-container", Always, crate::stack::longhorn::preflight::container),
    may("longhorn-mounts", Always, crate::stack::longhorn::preflight::mounts),
    may("longhorn-folder", Always, crate::stack::longhorn::preflight::folder),
    may("longhorn-space", Always, crate::stack::longhorn::preflight::room),
    may("longhorn-cpu", Always, crate::stack::longhorn::preflight::cpu),
    may("longhorn-iscsi", Always, crate::stack::longhorn::preflight::iscsi),
    may("longhorn-multipath", Always, crate::stack::longhorn::preflight::multipath),
    may("longhorn-download", Always, crate::stack::longhorn::preflight::download),
    // The network.
    must("host-name", Always, network_of_host::host_name),
    may("host-name-length", Always, host_names::length),
    may("home", Always, host_names::home),
    may("ipv4", Always, resolver::ipv4),
    may("host-address", Always, crate::stack::microk8s::moved::look),
    may("ports", Always, network_of_host::ports),
    may("default-route", Always, network_of_host::default_route),
    may("dns", Always, network_of_host::dns),
    may("name-servers", First, resolver::servers),
    may("search-domains", First, resolver::search_domains),
    may("forwarding", Always, network_of_host::forwarding),
    may("firewall", Always, firewall::firewalls),
    may("iptables", Before, firewall::backends),
    may("conntrack", Always, firewall::conntrack),
    may("cluster-routes", Always, crate::stack::metallb::lan_guards::routes),
    may("lan-interfaces", Always, crate::stack::metallb::lan_guards::interfaces),
    may("lan-settings", Always, crate::stack::metallb::lan_guards::settings),
    may("anti-spoofing", Always, crate::stack::metallb::lan_guards::spoofing),
    may("proxy", Always, network_of_host::proxy),
    // Who else is there.
    may("kubernetes", Always, others::kubernetes),
    may("leftovers", Before, others::leftovers),
    may("kubectl", Before, others::kubectl),
    // Where everything comes from.
    may("channel", Always, snapd::channel),
    may("addons", Always, snapd::addons),
    must("snapd", Always, snapd::answers),
    must("snapd-version", Before, snapd::version),
    may("snapd-seeded", Before, snapd::seeded),
    may("snapd-busy", Always, snapd::busy),
    may("store", Before, snapd::store),
    may("registries", Before, network_of_host::registries),
];

/// What a cluster stands on: for a host on which a bootstrap has run.
pub const GROUND: &[Check] = &[
    must("snap", Always, crate::stack::microk8s::ground::snap),
    must("services", Always, crate::stack::microk8s::ground::services),
    must("certificates", Always, crate::stack::microk8s::ground::certificates),
    may("certificate-start", Always, crate::stack::microk8s::authority::begin),
    may("certificate-authority", Always, crate::stack::microk8s::authority::issuer),
];

/// The check of the range. Its findings have names of their own ([`judgement::ORDER`]).
pub const RANGE: Check = may("range", Always, crate::stack::metallb::range_check::look);

/// Names that `--skip-check` takes.
pub fn skippable() -> Vec<&'static str> {
    let host = HOST.iter().filter(|check| !check.vital).map(|check| check.id);
    host.chain(judgement::ORDER.into_iter().filter(|id| crate::stack::metallb::range_check::MAY_SKIP.contains(id)))
        .collect()
}

/// Checks that look at the same time: most of them wait for a program or an answer.
const WORKERS: usize = 12;

/// Runs checks side by side. Findings come in the order of the table.
pub fn run(facts: &Facts<'_>, checks: &[&Check]) -> Vec<Finding> {
    let next = AtomicUsize::new(checks.len());
    let found: Vec<OnceLock<Vec<Finding>>> = checks.iter().map(|_| OnceLock::new()).collect();
    thread::scope(|scope| {
        let work = || {
            // From the end: those that wait for others to answer begin first.
            while let Ok(at) = next.fetch_update(Relaxed, Relaxed, |n| n.checked_sub(1)) {
                let _ = found[at - 1].set(look(facts, checks[at - 1]));
            }
        };
        for _ in 0..checks.len().min(WORKERS) {
            scope.spawn(work);
        }
    });
    found.into_iter().filter_map(OnceLock::into_inner).flatten().collect()
}

/// Makes warnings of refusals that the user skips (`--skip-check`): they keep nobody from a bootstrap, and are told all the same. What is wrong
/// with a host that does not work is another question: there nothing is skipped.
pub fn heed_skips(findings: &mut [Finding], skipped: &[String]) {
    for finding in findings {
        if finding.severity == Severity::Refused && skipped.iter().any(|id| id == finding.id) {
            finding.severity = Severity::Warned;
            finding.message.push_str(" (not heeded: --skip-check)");
        }
    }
}

fn look(facts: &Facts<'_>, check: &Check) -> Vec<Finding> {
    let mut findings = (check.look)(facts).unwrap_or_else(|e| {
        let why = crate::engine::one_line(&e);
        let hint = e.hint.unwrap_or_default();
        vec![if check.vital {
            Finding::refused(why, hint)
        } else {
            Finding::warned(format!("cannot be looked at: {why}"), hint)
        }]
    });
    for finding in findings.iter_mut().filter(|f| f.id.is_empty()) {
        finding.id = check.id;
    }
    findings
}
