//! The range for the load balancer against the real network: what the host knows, and who answers on the LAN.

use std::collections::BTreeMap;

use crate::{
    config::lb_range::LbRange,
    error::{Result, finding::Finding},
    network::{self, Network, Reserved},
    stack::{facts::Facts, metallb::state as metallb},
};

/// Findings against a range that a user may know better: the network may be about to change, or somebody answers who should not.
pub(crate) const MAY_SKIP: &[&str] =
    &["lb.outside", "lb.dns", "lb.docker", "lb.libvirt", "lb.vpn", "lb.virtual", "lb.route", "lb.too-few", "lb.in-use"];

pub(crate) fn look(facts: &Facts<'_>) -> Result<Vec<Finding>> {
    let lb = &facts.spec.lb;
    let (network, reserved) = (facts.network()?, facts.reserved()?);
    let mut findings = network::check(lb, network, &reserved);
    findings.extend(in_use(facts, lb, network, &reserved)?);
    if findings.is_empty() {
        let all =
            if lb.len() == 1 { "its one address is".to_owned() } else { format!("all {} addresses are", lb.len()) };
        findings.push(Finding::fine(format!("{all} free, as far as the LAN answers")).named("lb"));
    }
    Ok(findings)
}

/// Asks the LAN about the addresses that MetalLB does not have yet. Those that it has were asked about when it got them, and it
/// answers for some of them itself.
fn in_use(facts: &Facts<'_>, lb: &LbRange, network: &Network, reserved: &Reserved) -> Result<Vec<Finding>> {
    let given =
        if facts.installed() { metallb::pool(facts.host, &facts.spec.channel).unwrap_or_default() } else { None };
    let new = match &given {
        Some(given) => lb.difference(given),
        None => Some(lb.clone()),
    };
    let Some(new) = new else { return Ok(Vec::new()) };
    let answers: BTreeMap<_, _> = facts.host.neighbours(&new)?;
    Ok(network::answered(lb, &answers, network, reserved))
}
