//! What the answers of the LAN say against a range.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
};

use super::{
    Finding, Network, Reserved, Severity,
    advice::{Case, is},
    claims::claims,
};
use crate::config::lb_range::LbRange;

/// More addresses of one card than a host has.
const MANY: usize = 8;

/// What the answers of the LAN (see [`crate::host::neighbours::in_use`]) say against the range. Addresses of our own services are none of it.
pub fn answered(
    range: &LbRange,
    in_use: &BTreeMap<Ipv4Addr, String>,
    net: &Network,
    reserved: &Reserved,
) -> Vec<Finding> {
    let mut by_mac: BTreeMap<&str, Vec<Ipv4Addr>> = BTreeMap::new();
    for (address, mac) in in_use.iter().filter(|(a, _)| range.contains(**a) && !reserved.own.contains(a)) {
        by_mac.entry(mac).or_default().push(*address);
    }
    let busy: BTreeSet<Ipv4Addr> = by_mac.values().flatten().copied().collect();
    let case = Case { range, net, reserved, claims: claims(net, reserved) };
    let finding = |(mac, addresses): (&str, Vec<Ipv4Addr>)| {
        let held = LbRange::from_intervals(addresses.iter().map(|a| (*a, *a)))?;
        let role = case
            .claims
            .iter()
            .find(|c| c.severity == Severity::Refused && c.block.len() == 1 && held.intersection(&c.block).is_some());
        let role = role.map_or(String::new(), |claim| format!(", {}", claim.role()));
        // One card for many addresses is no host with many addresses but a router that answers for all of them.
        let (many, hint) = if addresses.len() > MANY {
            (
                " (for so many, so it may be a router with proxy ARP)",
                format!(
                    "take addresses that it does not answer for, or switch its proxy ARP off; {}",
                    case.suggestion(&busy)
                ),
            )
        } else {
            ("", case.suggestion(&busy))
        };
        let message = format!(
            "{} in use: {mac}{role} answers for {}{many}",
            is(&held),
            if held.len() == 1 { "it" } else { "them" }
        );
        Some(Finding::refused(message, hint).named("lb.in-use"))
    };
    by_mac.into_iter().filter_map(finding).collect()
}
