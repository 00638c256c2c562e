//! Whether the host and the range are fit, before anything is touched. Reads only; everything that is wrong is told at once.

use std::{net::Ipv4Addr, path::Path};

use super::{SOON, check::Check};
use crate::{
    cluster::{self, state},
    error::{Error, Result},
    host::{CLIENT_CONFIG, Cmd, Host},
    lb_range::LbRange,
    network::{self, Network, Reserved, Severity},
    spec::Spec,
    step::Probe,
    version::Channel,
};

/// Kubernetes, IRIS twice, and room to work.
const MEMORY_KIB: u64 = 3 * 1024 * 1024;

/// The host.
pub(super) fn host(spec: &Spec) -> Check {
    let spec = spec.clone();
    let title = "the host is fit".to_owned();
    Check {
        id: "preflight.host",
        title,
        question: Box::new(move |host| look(host, &spec)),
        deadline: SOON,
        watches: Vec::new(),
    }
}

/// Something that stands in the way: what, and what to do.
type Trouble = (String, String);

fn look(host: &dyn Host, spec: &Spec) -> Result<Probe> {
    let mut found: Vec<Trouble> = Vec::new();
    found.extend(memory(host)?);
    found.extend(control_groups(host, &spec.channel));
    found.extend(container(host)?);
    found.extend(host_name(host)?);
    if host.snapd_get("/v2/system-info").is_err() {
        found.push((
            "snapd does not answer on /run/snapd.socket".to_owned(),
            "install or start it: `apt install snapd`".to_owned(),
        ));
    }
    if found.is_empty() {
        return Ok(Probe::satisfied(""));
    }
    let (whys, hints): (Vec<String>, Vec<String>) = found.into_iter().unzip();
    Ok(Probe::Refused { why: whys.join("; "), hint: hints.join("\n") })
}

fn text(host: &dyn Host, path: &str) -> Result<String> {
    Ok(host.read(Path::new(path))?.map(|b| String::from_utf8_lossy(&b).into_owned()).unwrap_or_default())
}

fn memory(host: &dyn Host) -> Result<Option<Trouble>> {
    let info = text(host, "/proc/meminfo")?;
    let total = info.lines().find_map(|l| l.strip_prefix("MemTotal:")?.split_whitespace().next()?.parse::<u64>().ok());
    Ok(total.filter(|kib| *kib < MEMORY_KIB).map(|kib| {
        let have = kib / 1024;
        (
            format!("the host has {have} MiB of memory, {} MiB are needed", MEMORY_KIB / 1024),
            "give the VM 4 GiB or more".to_owned(),
        )
    }))
}

fn control_groups(host: &dyn Host, channel: &Channel) -> Option<Trouble> {
    let (minor, (with_v1, with_v2)) = (channel.minor, channel.row().cgroups);
    let v2 = host.exists(Path::new("/sys/fs/cgroup/cgroup.controllers"));
    if v2 && !with_v2 {
        return Some((
            format!("MicroK8s {minor} cannot run on this host: it knows only cgroup v1, and this host has v2"),
            "take a newer channel (--channel 1.34), or boot with systemd.unified_cgroup_hierarchy=0 where systemd still allows it"
                .to_owned(),
        ));
    }
    (!v2 && !with_v1).then(|| {
        (
            format!("MicroK8s {minor} cannot run on this host: it wants cgroup v2, and this host has v1"),
            "take --channel 1.34, or a newer Ubuntu".to_owned(),
        )
    })
}

fn container(host: &dyn Host) -> Result<Option<Trouble>> {
    let output = host.ask(&Cmd::reads(["systemd-detect-virt", "--container"]))?;
    let kind = output.stdout.trim().to_owned();
    let lxc = matches!(kind.as_str(), "lxc" | "lxc-libvirt");
    Ok((lxc && !host.exists(Path::new("/dev/kmsg"))).then(|| {
        (
            "this is an LXC container without /dev/kmsg, which kubelet needs".to_owned(),
            "use a VM, or give the container MicroK8s' LXD profile".to_owned(),
        )
    }))
}

/// Kubernetes names the node after the host, and takes only lower case.
fn host_name(host: &dyn Host) -> Result<Option<Trouble>> {
    let name = text(host, "/proc/sys/kernel/hostname")?.trim().to_owned();
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
    Ok((name.is_empty() || !name.chars().all(fits)).then(|| {
        (
            format!("the host's name `{name}` cannot be a node's name: only lower case letters, digits, `-` and `.`"),
            format!("`hostnamectl set-hostname {}`", name.to_lowercase().replace('_', "-")),
        )
    }))
}

/// The range.
pub(super) fn range(spec: &Spec) -> Check {
    let lb = spec.lb.clone();
    let title = format!("the range {lb} suits the network");
    Check {
        id: "preflight.range",
        title,
        question: Box::new(move |host| suits(host, &lb)),
        deadline: SOON,
        watches: Vec::new(),
    }
}

fn suits(host: &dyn Host, lb: &LbRange) -> Result<Probe> {
    let network = read_network(host)?;
    let reserved = Reserved { own: own_addresses(host), ..Reserved::default() };
    let findings = network::check(lb, &network, &reserved);
    let refused: Vec<_> = findings.iter().filter(|f| f.severity == Severity::Refused).collect();
    if refused.is_empty() {
        let warnings: Vec<&str> = findings.iter().map(|f| f.message.as_str()).collect();
        return Ok(Probe::satisfied(warnings.join("; ")));
    }
    let why: Vec<String> = refused.iter().map(|f| f.message.clone()).collect();
    let mut hints: Vec<String> = refused.iter().map(|f| f.hint.clone()).collect();
    hints.dedup();
    Ok(Probe::Refused { why: why.join("; "), hint: hints.join("\n") })
}

fn read_network(host: &dyn Host) -> Result<Network> {
    let ip = |what: &str| -> Result<String> {
        let output = host.ask(&Cmd::reads(["ip", "-j", "-d", what]))?;
        if output.ok() {
            Ok(output.stdout)
        } else {
            Err(Error::failed(format!("`ip {what}` {}", output.ended())).because(output.tail()))
        }
    };
    let mut network = Network::from_ip_json(&ip("addr")?, &ip("route")?)
        .map_err(|e| Error::failed("`ip -j` printed something unknown").because(e))?;
    for path in ["/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"] {
        network.add_resolv_conf(&text(host, path)?);
    }
    Ok(network)
}

/// Addresses that services of this cluster hold already; none while it does not answer.
fn own_addresses(host: &dyn Host) -> std::collections::BTreeSet<Ipv4Addr> {
    if !host.exists(Path::new(CLIENT_CONFIG)) {
        return std::collections::BTreeSet::new();
    }
    let services = host.list(&cluster::SERVICE, None, "").unwrap_or_default();
    services.iter().flat_map(state::addresses).filter_map(|a| a.parse().ok()).collect()
}
