//! What to type instead: the range without the addresses that cannot be used, or another range.

use std::{collections::BTreeSet, net::Ipv4Addr};

use ipnet::Ipv4Net;

use super::{Interface, Network, Reserved, Severity, claims::Claim, propose};
use crate::config::lb_range::LbRange;

/// A range before its judges.
pub(super) struct Case<'a> {
    pub range: &'a LbRange,
    pub net: &'a Network,
    pub reserved: &'a Reserved,
    pub claims: Vec<Claim>,
}

impl Case<'_> {
    /// A range against which nothing stands: what is left of this one, or else another.
    pub(super) fn suggestion(&self, busy: &BTreeSet<Ipv4Addr>) -> String {
        match self.remainder(busy).filter(|rest| {
            rest.len() >= self.reserved.wanted && rest.intervals().len() <= 3 && self.swallowed().is_none()
        }) {
            Some(rest) => format!("the rest of the range is fit: --lb {}", typed(&rest)),
            None => self.other(busy),
        }
    }

    pub(super) fn other(&self, busy: &BTreeSet<Ipv4Addr>) -> String {
        let size = u32::try_from(self.range.len()).unwrap_or(u32::MAX).clamp(1, 20);
        propose(self.net, self.reserved, busy, size).map_or_else(
            || "ask whoever runs the network for addresses that are kept free".to_owned(),
            |(range, _)| format!("for example --lb {}", typed(&range)),
        )
    }

    /// Addresses that DHCP does not give out.
    pub(super) fn clear_of_dhcp(&self) -> String {
        let size = u32::try_from(self.range.len()).unwrap_or(u32::MAX).clamp(1, 20);
        let outside = propose(self.net, self.reserved, &BTreeSet::new(), size)
            .filter(|(range, _)| self.claims.iter().all(|c| c.block.intersection(range).is_none()));
        match outside {
            Some((range, _)) => {
                format!("take addresses that DHCP does not give out, for example --lb {}", typed(&range))
            }
            None => "take the range out of what the DHCP server gives out".to_owned(),
        }
    }

    /// A network of which the range takes the address of every host: what is left of such a range is no advice.
    pub(super) fn swallowed(&self) -> Option<(&Interface, Ipv4Net)> {
        let hosts = |lan: Ipv4Net| {
            let ends = [lan.network(), lan.broadcast()].map(LbRange::from);
            ends.iter().try_fold(LbRange::from(lan), |rest, end| rest.difference(end))
        };
        self.net.lans().find(|(_, lan)| hosts(*lan).is_some_and(|hosts| hosts.difference(self.range).is_none()))
    }

    /// What is left without all that is refused; none when nothing is, or when it is the whole range.
    pub(super) fn remainder(&self, busy: &BTreeSet<Ipv4Addr>) -> Option<LbRange> {
        let lans = LbRange::from_intervals(self.net.lans().map(|(_, lan)| (lan.network(), lan.broadcast())))?;
        let mut rest = self.range.intersection(&lans)?;
        for claim in self.claims.iter().filter(|c| c.severity == Severity::Refused) {
            rest = rest.difference(&claim.block)?;
        }
        for address in busy {
            rest = rest.difference(&(*address).into())?;
        }
        (rest != *self.range).then_some(rest)
    }
}

/// The addresses as a subject, with its verb.
pub(super) fn is(addresses: &LbRange) -> String {
    format!("{} {}", short(addresses), if addresses.intervals().len() == 1 { "is" } else { "are" })
}

/// As a person would say it.
pub(super) fn short(addresses: &LbRange) -> String {
    typed(addresses).replace(',', ", ")
}

/// As a person would type it: without repeating a single address.
pub(super) fn typed(addresses: &LbRange) -> String {
    let interval = |(first, last): &(Ipv4Addr, Ipv4Addr)| {
        if first == last { first.to_string() } else { format!("{first}-{last}") }
    };
    addresses.intervals().iter().map(interval).collect::<Vec<_>>().join(",")
}
