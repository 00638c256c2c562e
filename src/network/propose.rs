//! `--lb auto`: a free block at the top of this machine's network, and why this one.

use std::{collections::BTreeSet, net::Ipv4Addr};

use ipnet::Ipv4Net;

use super::{
    Network, Reserved, Severity,
    claims::{Claim, claims},
};
use crate::config::lb_range::LbRange;

/// `size` addresses that nobody has, as high as there are so many in a row; where there are not, the longest row that is
/// enough for the services. With the reason as text.
///
/// `busy` are those that answered: ask with [`crate::host::neighbours::in_use`] about [`window`] first.
pub fn propose(net: &Network, reserved: &Reserved, busy: &BTreeSet<Ipv4Addr>, size: u32) -> Option<(LbRange, String)> {
    let (interface, lan) = net.main_lan()?;
    let claims = claims(net, reserved);
    let taken = |warned: bool| claims.iter().filter(move |c| warned || c.severity == Severity::Refused);
    let busy: Vec<Ipv4Addr> = busy.iter().filter(|a| lan.contains(*a) && !reserved.own.contains(a)).copied().collect();
    let free = |warned: bool| {
        let mut blocks = taken(warned).map(|c| c.block.clone()).chain(busy.iter().map(|a| LbRange::from(*a)));
        blocks.try_fold(LbRange::from(lan), |rest, block| rest.difference(&block))
    };
    // Inside of what DHCP gives out only when there is no room outside.
    let outside = free(true).and_then(|free| fitting(&free, size, reserved.wanted));
    let (range, dhcp) = match outside {
        Some(range) => (range, false),
        None => (free(false).and_then(|free| fitting(&free, size, reserved.wanted))?, true),
    };
    let mut why = format!("{} addresses at the top of {lan} ({})", range.len(), interface.name);
    let above = skipped(&range, lan, taken(!dhcp), &busy);
    if !above.is_empty() {
        why = format!("{why}, below {}", above.join(", "));
    }
    if dhcp {
        why = format!("{why}; among those that DHCP gives out, since there is no room outside");
    }
    Some((range, why))
}

/// The addresses to ask the LAN about before a proposal: the top of this machine's network.
pub fn window(net: &Network) -> Option<LbRange> {
    let (_, lan) = net.main_lan()?;
    let top = u32::from(lan.broadcast());
    let bottom = u32::from(lan.network()).max(top.saturating_sub(MOST_ASKED));
    LbRange::from_intervals([(Ipv4Addr::from(bottom + 1), Ipv4Addr::from(top - 1))])
}

fn fitting(free: &LbRange, size: u32, wanted: u64) -> Option<LbRange> {
    let len = |&(first, last): &(Ipv4Addr, Ipv4Addr)| u64::from(u32::from(last) - u32::from(first)) + 1;
    let rows = free.intervals();
    let size = u64::from(size).max(wanted).max(1);
    let (first, last) = match rows.iter().rev().find(|row| len(row) >= size) {
        Some((_, last)) => (Ipv4Addr::from(u32::from(*last) - u32::try_from(size - 1).ok()?), *last),
        None => *rows.iter().max_by_key(|row| len(row)).filter(|row| len(row) >= wanted)?,
    };
    LbRange::from_intervals([(first, last)])
}

/// What is above the range and was left out, at the most three of it.
fn skipped<'a>(
    range: &LbRange,
    lan: Ipv4Net,
    taken: impl Iterator<Item = &'a Claim>,
    busy: &[Ipv4Addr],
) -> Vec<String> {
    let mut above: Vec<(Ipv4Addr, String)> = taken
        .filter(|c| c.block.overlaps(&lan) && c.block.first() > range.last() && c.id != "lb.broadcast")
        .map(|c| (c.block.first(), format!("{} ({})", c.block.first(), c.what)))
        .chain(busy.iter().filter(|a| **a > range.last()).map(|a| (*a, format!("{a} (in use)"))))
        .collect();
    above.sort();
    above.dedup_by_key(|(address, _)| *address);
    above.into_iter().take(3).map(|(_, text)| text).collect()
}

/// Of a larger range only so many addresses are asked about, from the first on: the kernel's table holds 1024 neighbours,
/// of this machine and of its containers together.
pub const MOST_ASKED: u32 = 512;
