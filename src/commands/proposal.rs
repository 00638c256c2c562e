//! What `auto` stands for on this host, and why: addresses for the load balancer that nobody else has, and the channel.

use std::{collections::BTreeSet, net::Ipv4Addr, path::Path};

use serde_json::Value;

use crate::{
    config::{lb_range::LbRange, version::Channel},
    error::{Error, ExitCode, Result},
    host::Host,
    network,
    stack::{lan, metallb::state as metallb, microk8s::state as microk8s},
};

/// The channel, and why it is that one. MicroK8s that is there stays in its own: another minor is a person's decision. So does what an
/// earlier bootstrap wanted and did not get to the end of, as far as this host can run it.
///
/// # Errors
/// snapd does not answer.
pub fn channel(host: &dyn Host, before: Option<&Channel>) -> Result<(Channel, &'static str)> {
    let snap = host.snapd_get(microk8s::SNAP)?.unwrap_or_default();
    if let Some(there) = snap["tracking-channel"].as_str().and_then(|tracking| tracking.parse().ok()) {
        return Ok((there, "the one that MicroK8s on this host is from"));
    }
    if let Some(there) = version_of(&snap) {
        return Ok((there, "the version of MicroK8s on this host, which follows no channel"));
    }
    let cgroup_v2 = host.exists(Path::new("/sys/fs/cgroup/cgroup.controllers"));
    if let Some(before) = before.filter(|before| before.row().runs_with(cgroup_v2)) {
        return Ok((before.clone(), "that of the last bootstrap on this host"));
    }
    Ok(Channel::for_host(cgroup_v2))
}

/// The channel of a snap from a file, which tracks none: that of its version, `v1.34.4`.
fn version_of(snap: &Value) -> Option<Channel> {
    if !snap["tracking-channel"].as_str().unwrap_or_default().is_empty() {
        return None;
    }
    let version = snap["version"].as_str()?.trim_start_matches('v');
    let (minor, _patch) = version.rsplit_once('.')?;
    minor.parse().ok()
}

/// How many addresses are looked for, unless it is said.
pub const SIZE: u32 = 20;

/// Addresses, and why these. What is in use already stays: another run must not choose anew.
///
/// # Errors
/// The network cannot be read, or has no room.
pub fn find(host: &dyn Host, before: Option<&LbRange>, channel: &Channel, size: u32) -> Result<(LbRange, String)> {
    let net = lan::network(host)?;
    // A host that has moved to another network needs others.
    let here = |range: &LbRange| net.lans().any(|(_, lan)| range.overlaps(&lan));
    if let Some(range) = before.filter(|range| here(range)) {
        return Ok((range.clone(), "those of the last bootstrap on this host".to_owned()));
    }
    // Without a cluster there is no pool, and one that does not answer is seen later.
    if let Some(range) = metallb::pool(host, channel).ok().flatten().filter(here) {
        return Ok((range, "those that MetalLB gives out on this host already".to_owned()));
    }
    let reserved = lan::reserved(host, channel, None)?;
    let no_room = || {
        Error::new(ExitCode::Preflight, "`--lb auto` finds no free addresses in the network of this host")
            .hint("ask whoever runs the network for addresses that are kept free, and name them with --lb")
    };
    let window = network::window(&net).ok_or_else(no_room)?;
    let mut busy: BTreeSet<Ipv4Addr> = host.neighbours(&window)?.into_keys().collect();
    // What another pool of MetalLB's gives out may answer nobody yet.
    busy.extend(metallb::taken(host, channel.row().metallb, &window).unwrap_or_default());
    network::propose(&net, &reserved, &busy, size).ok_or_else(no_room)
}
