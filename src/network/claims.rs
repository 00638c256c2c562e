//! Who has which addresses already: the one list that refuses a range, warns of it, and steers a proposal clear.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use super::{DhcpFact, Kind, Network, Reserved, Route, Severity, dhcp};
use crate::config::lb_range::LbRange;

/// Addresses that are somebody's.
pub(super) struct Claim {
    /// Id of the finding that it makes.
    pub id: &'static str,
    /// Whether a range may hold them all the same.
    pub severity: Severity,
    /// The addresses.
    pub block: LbRange,
    /// What they are, in a few words.
    pub what: String,
    /// How that is known, or on which interface; it may be empty.
    pub by: String,
    /// Why that matters; it may be empty.
    pub why: String,
}

impl Claim {
    fn refused(id: &'static str, block: LbRange, what: &str, by: &str, why: &str) -> Self {
        let (what, by, why) = (what.to_owned(), by.to_owned(), why.to_owned());
        Self { id, severity: Severity::Refused, block, what, by, why }
    }

    /// What the addresses are, with how that is known.
    pub fn role(&self) -> String {
        if self.by.is_empty() { self.what.clone() } else { format!("{} ({})", self.what, self.by) }
    }

    /// The end of a sentence that begins with the addresses.
    pub fn says(&self) -> String {
        let role = self.role();
        if self.why.is_empty() { role } else { format!("{role}: {}", self.why) }
    }
}

/// Every claim, in no order.
pub(super) fn claims(net: &Network, reserved: &Reserved) -> Vec<Claim> {
    let mut claims = Vec::new();
    let mut refuse = |id, block, what: &str, by: &str, why: &str| claims.push(Claim::refused(id, block, what, by, why));

    refuse("lb.pods", reserved.pods.into(), &format!("in the network of the pods, {}", reserved.pods), "", "");
    refuse(
        "lb.services",
        reserved.services.into(),
        &format!("in the network of the cluster's services, {}", reserved.services),
        "",
        "",
    );
    for (gateway, dev) in net.gateways() {
        refuse("lb.gateway", gateway.into(), "the gateway", dev, "without it this machine reaches nothing outside");
    }
    for server in &net.dns {
        refuse("lb.dns", (*server).into(), "a DNS server", "", "without it no name is found");
    }
    for (server, source) in servers(net) {
        refuse("lb.dhcp-server", server.into(), "the DHCP server", &format!("by {source}"), "");
    }
    for (route, dst) in net.routes.iter().filter_map(|route| Some((route, route.dst?))) {
        if let Some((id, by)) = routed(net, reserved, route, dst) {
            refuse(id, dst.into(), "routed elsewhere", "", &format!("{dst} goes {by}"));
        }
    }
    claims.extend(of_interfaces(net));
    claims.extend(given_by_dhcp(net));
    claims
}

/// The addresses of this machine, and the networks that lie inside of it.
fn of_interfaces(net: &Network) -> Vec<Claim> {
    let mut claims = Vec::new();
    let mut refuse = |id, block, what: &str, by: &str, why: &str| claims.push(Claim::refused(id, block, what, by, why));
    for interface in net.interfaces.iter().filter(|i| i.kind != Kind::Cni && i.kind != Kind::Loopback) {
        for address in interface.addresses.iter().map(|a| a.net) {
            let (name, lan) = (&interface.name, address.trunc());
            refuse(
                "lb.node",
                address.addr().into(),
                "this machine's own address",
                name,
                "a service that gets it takes over this machine's ports",
            );
            let (id, whose) = match interface.kind {
                Kind::Ethernet | Kind::Bridge => {
                    if lan.prefix_len() <= 30 {
                        refuse(
                            "lb.network-address",
                            lan.network().into(),
                            &format!("the network address of {lan}"),
                            name,
                            "no host can have it",
                        );
                        refuse(
                            "lb.broadcast",
                            lan.broadcast().into(),
                            &format!("the broadcast address of {lan}"),
                            name,
                            "no host can have it",
                        );
                    }
                    continue;
                }
                Kind::Docker => ("lb.docker", "docker's network"),
                Kind::Libvirt => ("lb.libvirt", "libvirt's network for its guests"),
                Kind::Vpn => ("lb.vpn", "a VPN"),
                Kind::Virtual => ("lb.virtual", "a network inside this machine only"),
                Kind::Loopback | Kind::Cni => continue,
            };
            refuse(id, lan.into(), &format!("in {whose}, {lan}"), name, "no other machine looks for addresses there");
        }
    }
    claims
}

/// What a route takes away from the LAN, if anything.
fn routed(net: &Network, reserved: &Reserved, route: &Route, dst: Ipv4Net) -> Option<(&'static str, String)> {
    let dev = route.dev.as_deref();
    // The cluster's own routes are inside its networks, and an interface's own network is judged with its address.
    let known = reserved.pods.contains(&dst) || reserved.services.contains(&dst);
    let own = net.interfaces.iter().any(|i| {
        Some(i.name.as_str()) == dev && route.gateway.is_none() && i.addresses.iter().any(|a| a.net.contains(&dst))
    });
    // The more exact route wins, so a wide one takes nothing from a LAN inside it.
    let wide = net.lans().any(|(_, lan)| dst.contains(&lan) && dst != lan);
    // A host route to a server that happens to be in the LAN does not lead its neighbours elsewhere.
    if known || own || wide || dst.prefix_len() == 0 {
        return None;
    }
    let by = match (route.gateway, dev) {
        (Some(gateway), Some(dev)) => format!("by {gateway} ({dev})"),
        (None, Some(dev)) => format!("by {dev}"),
        (_, None) => "into nothing".to_owned(),
    };
    let id = match dev.and_then(|dev| net.kind_of(dev)) {
        Some(Kind::Docker) => "lb.docker",
        Some(Kind::Libvirt) => "lb.libvirt",
        Some(Kind::Vpn) => "lb.vpn",
        Some(Kind::Cni) => "lb.pods",
        Some(Kind::Virtual) => "lb.virtual",
        Some(Kind::Loopback | Kind::Ethernet | Kind::Bridge) | None => "lb.route",
    };
    Some((id, by))
}

/// DHCP servers that answered this machine, each once.
fn servers(net: &Network) -> Vec<(Ipv4Addr, &str)> {
    let mut servers: Vec<(Ipv4Addr, &str)> = Vec::new();
    for fact in &net.dhcp {
        if let DhcpFact::Lease { server: Some(server), source, .. } = fact
            && !servers.iter().any(|(known, _)| known == server)
        {
            servers.push((*server, source));
        }
    }
    servers
}

/// What DHCP gives out, as far as it is known: a warning, since nothing says that it gives out all of it.
fn given_by_dhcp(net: &Network) -> Vec<Claim> {
    let mine = |address: &Ipv4Addr| net.interfaces.iter().flat_map(|i| &i.addresses).any(|a| a.net.addr() == *address);
    let of_file = net.dhcp.iter().filter_map(|fact| match fact {
        DhcpFact::Lease { address, source, .. } => {
            (!mine(address)).then(|| ((*address, *address), format!("{source} shows a lease of it")))
        }
        DhcpFact::Range { ends, source } => Some((*ends, format!("{source} gives {} to {} out", ends.0, ends.1))),
    });
    let known = of_file.chain(dhcp::documented(net));
    let claim = |(ends, evidence)| {
        let block = LbRange::from_intervals([ends])?;
        Some(Claim {
            id: "lb.dhcp",
            severity: Severity::Warned,
            block,
            what: "what DHCP gives to others".to_owned(),
            by: String::new(),
            why: evidence,
        })
    };
    known.filter_map(claim).collect()
}
