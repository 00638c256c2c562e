//! Every check that runs before the host is changed: one table, in the order of importance. `doctor` runs them, too.

use crate::{
    config::profile,
    network as judgement,
    stack::{
        check::{
            Check, Checks,
            When::{Always, Before, First},
            may, must,
        },
        iris, longhorn,
        metallb::{lan_guards, range_check},
        microk8s::{authority, ground, moved},
        preflight::{
            bundle, disk_speed, firewall, host_names, machine, mounts, network_of_host, others, resolver, room, snapd,
            system,
        },
    },
};

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
    may(profile::DIRECTORY, Always, iris::preflight::directories),
    // Longhorn, where it is wanted.
    may("longhorn-container", Always, longhorn::preflight::container),
    may("longhorn-mounts", Always, longhorn::preflight::mounts),
    may("longhorn-folder", Always, longhorn::preflight::folder),
    may("longhorn-space", Always, longhorn::preflight::room),
    may("longhorn-cpu", Always, longhorn::preflight::cpu),
    may("longhorn-iscsi", Always, longhorn::preflight::iscsi),
    may("longhorn-multipath", Always, longhorn::preflight::multipath),
    may("longhorn-download", Always, longhorn::preflight::download),
    // The network.
    must("host-name", Always, network_of_host::host_name),
    may("host-name-length", Always, host_names::length),
    may("home", Always, host_names::home),
    may("ipv4", Always, resolver::ipv4),
    may("host-address", Always, moved::look),
    may("ports", Always, network_of_host::ports),
    may("default-route", Always, network_of_host::default_route),
    may("dns", Always, network_of_host::dns),
    may("name-servers", First, resolver::servers),
    may("search-domains", First, resolver::search_domains),
    may("forwarding", Always, network_of_host::forwarding),
    may("firewall", Always, firewall::firewalls),
    may("iptables", Before, firewall::backends),
    may("conntrack", Always, firewall::conntrack),
    may("cluster-routes", Always, lan_guards::routes),
    may("lan-interfaces", Always, lan_guards::interfaces),
    may("lan-settings", Always, lan_guards::settings),
    may("anti-spoofing", Always, lan_guards::spoofing),
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
    must("snap", Always, ground::snap),
    must("services", Always, ground::services),
    must("certificates", Always, ground::certificates),
    may("certificate-start", Always, authority::begin),
    may("certificate-authority", Always, authority::issuer),
];

/// The check of the range. Its findings have names of their own ([`judgement::ORDER`]).
pub const RANGE: Check = may("range", Always, range_check::look);

/// The check of the bundle.
pub const BUNDLE: Check = must("bundle", Always, bundle::look);

/// All of them.
pub const ALL: Checks = Checks { host: HOST, ground: GROUND, range: &RANGE, bundle: &BUNDLE, skippable };

/// Names that `--skip-check` takes.
pub fn skippable() -> Vec<&'static str> {
    let host = HOST.iter().filter(|check| !check.vital).map(|check| check.id);
    host.chain(judgement::ORDER.into_iter().filter(|id| range_check::MAY_SKIP.contains(id))).collect()
}
