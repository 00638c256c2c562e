//! `--lb auto`: addresses for the load balancer that nobody else has, and why these.

use std::{collections::BTreeSet, net::Ipv4Addr};

use crate::{
    checks,
    error::{Error, ExitCode, Result},
    host::Host,
    lb_range::LbRange,
    network, steps,
    version::Channel,
};

/// How many addresses are looked for, unless it is said.
pub const SIZE: u32 = 20;

/// Addresses, and why these. What is in use already stays: another run must not choose anew.
///
/// # Errors
/// The network cannot be read, or has no room.
pub fn find(host: &dyn Host, before: Option<&LbRange>, channel: &Channel, size: u32) -> Result<(LbRange, String)> {
    let net = checks::network(host)?;
    // A host that has moved to another network needs others.
    let here = |range: &LbRange| net.lans().any(|(_, lan)| range.overlaps(&lan));
    if let Some(range) = before.filter(|range| here(range)) {
        return Ok((range.clone(), "those of the last bootstrap on this host".to_owned()));
    }
    // Without a cluster there is no pool, and one that does not answer is seen later.
    if let Some(range) = steps::pool(host, channel).ok().flatten().filter(here) {
        return Ok((range, "those that MetalLB gives out on this host already".to_owned()));
    }
    let reserved = checks::reserved(host)?;
    let no_room = || {
        Error::new(ExitCode::Preflight, "`--lb auto` finds no free addresses in the network of this host")
            .hint("ask whoever runs the network for addresses that are kept free, and name them with --lb")
    };
    let window = network::window(&net).ok_or_else(no_room)?;
    let busy: BTreeSet<Ipv4Addr> = host.neighbours(&window)?.into_keys().collect();
    network::propose(&net, &reserved, &busy, size).ok_or_else(no_room)
}
