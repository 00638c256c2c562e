//! What stands against a range: every finding at once, the weightiest first, each with a range that would do.

use std::{collections::BTreeSet, net::Ipv4Addr};

use super::{
    Interface, Network, Reserved,
    advice::{Case, is, short},
    claims::{Claim, claims},
    dhcp,
};
use crate::{
    config::lb_range::LbRange,
    error::finding::{Finding, Severity},
};

/// The ids of all findings, the weightiest first.
pub const ORDER: [&str; 22] = [
    "lb.lan-in-cluster",
    "lb.whole-network",
    "lb.outside",
    "lb.node",
    "lb.gateway",
    "lb.dhcp-server",
    "lb.dns",
    "lb.network-address",
    "lb.broadcast",
    "lb.pods",
    "lb.services",
    "lb.docker",
    "lb.libvirt",
    "lb.vpn",
    "lb.virtual",
    "lb.route",
    "lb.too-few",
    "lb.in-use",
    "lb.nat",
    "lb.nics",
    "lb.dhcp",
    "lb.dhcp-unknown",
];

/// Everything that stands against the range.
pub fn check(range: &LbRange, net: &Network, reserved: &Reserved) -> Vec<Finding> {
    let case = Case { range, net, reserved, claims: claims(net, reserved) };
    let mut findings = case.claimed();
    findings.extend(case.whole_network());
    findings.extend(case.outside());
    findings.extend(case.lan_in_cluster());
    findings.extend(case.too_few());
    findings.extend(case.nics());
    findings.extend(case.nat());
    findings.extend(case.dhcp_unknown());
    findings.sort_by_key(|f| (f.severity, ORDER.iter().position(|id| *id == f.id)));
    findings
}

impl Case<'_> {
    fn refused(&self, id: &'static str, message: String) -> Finding {
        Finding::refused(message, self.suggestion(&BTreeSet::new())).named(id)
    }

    /// One finding for each claim on addresses of the range.
    fn claimed(&self) -> Vec<Finding> {
        let finding = |claim: &Claim| {
            let common = self.range.intersection(&claim.block)?;
            let message = format!("{} {}", is(&common), claim.says());
            let hint = match claim.severity {
                Severity::Refused => self.suggestion(&BTreeSet::new()),
                Severity::Warned | Severity::Fine => self.clear_of_dhcp(),
            };
            Some(Finding { severity: claim.severity, ..Finding::warned(message, hint).named(claim.id) })
        };
        let mut findings: Vec<Finding> = self.claims.iter().filter_map(finding).collect();
        // A network has one address claim per address of this machine in it, and the kernel one route per card.
        let mut seen = BTreeSet::new();
        findings.retain(|f| seen.insert(f.message.clone()));
        findings
    }

    fn whole_network(&self) -> Option<Finding> {
        let (interface, lan) = self.swallowed()?;
        Some(self.refused(
            "lb.whole-network",
            format!(
                "{} is the whole of {}, {lan}: every machine in it would lose its address to MetalLB",
                short(self.range),
                interface.name
            ),
        ))
    }

    fn outside(&self) -> Option<Finding> {
        let mut rest = Some(self.range.clone());
        for (_, lan) in self.net.lans() {
            rest = rest.and_then(|r| r.difference(&lan.into()));
        }
        // What is a network of docker, of the pods, ... is said as such.
        for claim in self.claims.iter().filter(|c| c.block.len() > 1) {
            rest = rest.and_then(|r| r.difference(&claim.block));
        }
        let rest = rest?;
        let lans: Vec<String> = self.net.lans().map(|(i, lan)| format!("{lan} ({})", i.name)).collect();
        let down = self.net.interfaces.iter().find(|i| !i.up && i.addresses.iter().any(|a| rest.overlaps(&a.net)));
        let message = match (down, lans.as_slice()) {
            (Some(i), _) => format!("{} in the network of {}, which is down", is(&rest), i.name),
            (None, []) => {
                format!("{} in no network of this machine, which has none that leads to other machines", is(&rest))
            }
            (None, lans) => format!(
                "{} in no network of this machine, and MetalLB answers only there: {}",
                is(&rest),
                lans.join(", ")
            ),
        };
        Some(self.refused("lb.outside", message))
    }

    /// Not the range's fault, but with it no range works: pods cannot reach the LAN.
    fn lan_in_cluster(&self) -> Option<Finding> {
        let cluster = [("pods", self.reserved.pods), ("services", self.reserved.services)];
        let (interface, lan, what, taken) = self.net.lans().find_map(|(i, lan)| {
            let (what, taken) = cluster.into_iter().find(|(_, net)| LbRange::from(lan).overlaps(net))?;
            Some((i, lan, what, taken))
        })?;
        let message = format!(
            "this machine's own network {lan} ({}) overlaps the network of the cluster's {what}, {taken}",
            interface.name
        );
        let hint = format!(
            "give this machine an address outside {taken}, or the cluster other networks (a launch configuration with extraCNIEnv, from MicroK8s 1.27 on)"
        );
        Some(Finding::refused(message, hint).named("lb.lan-in-cluster"))
    }

    fn too_few(&self) -> Option<Finding> {
        let (have, wanted) = (self.range.len(), self.reserved.wanted);
        let message = || {
            format!(
                "{} has {have} address{} for {wanted} services that want one each",
                short(self.range),
                if have == 1 { "" } else { "es" }
            )
        };
        (have < wanted).then(|| self.refused("lb.too-few", message()))
    }

    /// On which card MetalLB will answer, where that is not the obvious one.
    fn nics(&self) -> Option<Finding> {
        let holding: Vec<(&Interface, LbRange)> =
            self.net.lans().filter_map(|(i, lan)| Some((i, self.range.intersection(&lan.into())?))).collect();
        let shared = holding.iter().enumerate().find_map(|(n, (one, part))| {
            let (other, common) = holding[n + 1..]
                .iter()
                .find_map(|(i, p)| Some((i, part.intersection(p)?)))
                .filter(|(i, _)| i.name != one.name)?;
            Some((one, other, common))
        });
        let mut names: Vec<&str> = holding.iter().map(|(i, _)| i.name.as_str()).collect();
        names.dedup();
        let (message, hint) = if let Some((one, other, common)) = shared {
            let mac = |i: &Interface| i.mac.clone().unwrap_or_default();
            (
                format!(
                    "{} behind two cards: MetalLB answers on {} ({}) and on {} ({}), each with its own MAC",
                    is(&common),
                    one.name,
                    mac(one),
                    other.name,
                    mac(other)
                ),
                "switch one of the two off, or make them one bond".to_owned(),
            )
        } else if names.len() > 1 {
            let parts: Vec<String> = holding.iter().map(|(i, part)| format!("{} on {}", short(part), i.name)).collect();
            (
                format!(
                    "the range lies in several networks: MetalLB answers for {}, and which of them a service gets is chance",
                    parts.join(", for ")
                ),
                format!("take addresses of one network only; {}", self.other(&BTreeSet::new())),
            )
        } else {
            let (_, used) = self.net.gateways().into_iter().next()?;
            let name = names.first().filter(|name| **name != used)?;
            // Beside a NAT that lets nobody in, the other card is the right one.
            if self.net.main_lan().is_some_and(|(main, _)| main.name == *name) {
                return None;
            }
            (
                format!(
                    "MetalLB will answer on {name}, while the default route leaves by {used}: only machines in {name}'s own network will reach the service"
                ),
                format!("keep it if they shall (a host-only network); else {}", self.other(&BTreeSet::new())),
            )
        };
        Some(Finding::warned(message, hint).named("lb.nics"))
    }

    fn nat(&self) -> Option<Finding> {
        let (dev, seen) = dhcp::sealed_nat(self.net)?;
        let (_, lan) = self.net.lans().find(|(i, lan)| i.name == dev && self.range.overlaps(lan))?;
        let message = format!(
            "{dev} is behind {seen}: no other machine can reach an address in {lan}, not even the one that runs this VM"
        );
        let hint = match self.net.main_lan() {
            Some((other, _)) if other.name != dev => {
                format!("take addresses of {}, {}", other.name, self.other(&BTreeSet::new()))
            }
            _ => "give the VM a second, bridged or host-only card and take addresses of its network".to_owned(),
        };
        Some(Finding::warned(message, hint).named("lb.nat"))
    }

    /// DHCP is used in the network of the range, and nothing tells which addresses it gives out.
    fn dhcp_unknown(&self) -> Option<Finding> {
        let known = |lan: &LbRange| {
            self.claims.iter().any(|c| c.id == "lb.dhcp" && c.block.len() > 1 && c.block.intersection(lan).is_some())
        };
        let (interface, lan, address) = self.net.lans().find_map(|(i, lan)| {
            let address = i
                .addresses
                .iter()
                .find(|a| lan.contains(&a.net.addr()) && (a.dynamic || self.leased(a.net.addr()).is_some()))?;
            (self.range.overlaps(&lan) && !known(&lan.into())).then_some((i, lan, address.net.addr()))
        })?;
        let evidence = self.leased(address).unwrap_or("the address has a lifetime");
        let message = format!(
            "DHCP gives out addresses in {lan} (it gave {} {address}: {evidence}), and nothing here says which: the range may be among them",
            interface.name
        );
        let hint =
            format!("look at the DHCP server (mostly the router) and take {} out of its range", short(self.range));
        Some(Finding::warned(message, hint).named("lb.dhcp-unknown"))
    }

    /// The file with the lease of this address.
    fn leased(&self, address: Ipv4Addr) -> Option<&str> {
        self.net.dhcp.iter().find_map(|fact| match fact {
            dhcp::DhcpFact::Lease { address: leased, source, .. } if *leased == address => Some(source.as_str()),
            dhcp::DhcpFact::Lease { .. } | dhcp::DhcpFact::Range { .. } => None,
        })
    }
}
