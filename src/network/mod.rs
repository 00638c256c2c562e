//! The network around this machine as plain facts, and what they say about a range of addresses.
//!
//! Nothing here looks at the machine: the host layer reads the texts (`ip -j -d addr`, `ip -j route`, resolv.conf, lease
//! files), so every judgement can be tested against recorded ones.

mod advice;
mod answers;
mod check;
mod claims;
mod dhcp;
mod ip;
mod propose;

use std::{collections::BTreeSet, net::Ipv4Addr};

use ipnet::Ipv4Net;

pub use crate::error::finding::{Finding, Severity};
pub use answers::answered;
pub use check::{ORDER, check};
pub use dhcp::DhcpFact;
pub use propose::{MOST_ASKED, propose, window};

/// A name that everybody who reaches the world finds.
pub const EXTERNAL: &str = "registry-1.docker.io";

/// A name that nobody has, unless a search domain has every name.
pub const NOBODY: &str = "iris-mk8s-no-such-host";

/// What is known of the network.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Network {
    /// Every interface, also the virtual ones.
    pub interfaces: Vec<Interface>,
    /// The main routing table.
    pub routes: Vec<Route>,
    /// The DNS servers that this machine asks, those on its own loopback aside.
    pub dns: BTreeSet<Ipv4Addr>,
    /// What files say of DHCP.
    pub dhcp: Vec<DhcpFact>,
}

/// An interface with its IPv4 addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Its name, e.g. `eth0`.
    pub name: String,
    /// What it is, by the kernel's word or by its name.
    pub kind: Kind,
    /// Its MAC address.
    pub mac: Option<String>,
    /// Switched on and with a carrier.
    pub up: bool,
    /// Its addresses.
    pub addresses: Vec<Address>,
}

/// An address of this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// Address and prefix length, e.g. 192.168.11.49/24.
    pub net: Ipv4Net,
    /// It has a lifetime, so DHCP gave it.
    pub dynamic: bool,
}

/// What an interface is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `lo`.
    Loopback,
    /// A network card, or what stands for one: a VLAN, a bond, the `eth0` of a container.
    Ethernet,
    /// A bridge that is not one of those below: network cards of VM hosts are behind such ones.
    Bridge,
    /// Of docker or podman.
    Docker,
    /// Of libvirt's networks for its guests.
    Libvirt,
    /// A tunnel to elsewhere.
    Vpn,
    /// Of the cluster itself.
    Cni,
    /// Everything else that ends inside this machine.
    Virtual,
}

/// A route of the main table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Where to; none = everywhere (the default route).
    pub dst: Option<Ipv4Net>,
    /// The router; none = the addresses are right behind the interface.
    pub gateway: Option<Ipv4Addr>,
    /// The interface; none for a route that drops.
    pub dev: Option<String>,
    /// The lowest wins.
    pub metric: u32,
}

/// What the range must keep clear of besides the network, and what it is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reserved {
    /// The network of the pods.
    pub pods: Ipv4Net,
    /// The network of the cluster's services.
    pub services: Ipv4Net,
    /// How many services want an address.
    pub wanted: u64,
    /// Addresses that our own services hold already: no conflict on a second run.
    pub own: BTreeSet<Ipv4Addr>,
}

impl Default for Reserved {
    /// As MicroK8s comes, for one service.
    fn default() -> Self {
        Self {
            pods: Ipv4Net::new_assert(Ipv4Addr::new(10, 1, 0, 0), 16),
            services: Ipv4Net::new_assert(Ipv4Addr::new(10, 152, 183, 0), 24),
            wanted: 1,
            own: BTreeSet::new(),
        }
    }
}

impl Network {
    /// From the texts of `ip -j -d addr` and `ip -j route`. Without `-d` kinds are guessed from names alone.
    pub fn from_ip_json(addr: &str, route: &str) -> serde_json::Result<Self> {
        Ok(Self { interfaces: ip::interfaces(addr)?, routes: ip::routes(route)?, ..Self::default() })
    }

    /// Adds the name servers of a resolv.conf. Behind systemd-resolved's stub (127.0.0.53) the real ones are in
    /// `/run/systemd/resolve/resolv.conf`: give both.
    pub fn add_resolv_conf(&mut self, text: &str) {
        let servers = text.lines().filter_map(|line| {
            let mut words = line.split_whitespace();
            (words.next() == Some("nameserver")).then(|| words.next()?.parse::<Ipv4Addr>().ok())?
        });
        self.dns.extend(servers.filter(|server| !server.is_loopback()));
    }

    /// Adds what a lease file of a DHCP client (systemd-networkd, NetworkManager, dhclient) or the configuration of a
    /// DHCP server (dnsmasq, as libvirt and LXD run it) says. `path` is named as evidence.
    pub fn add_dhcp_file(&mut self, path: &str, text: &str) {
        for fact in dhcp::read(path, text) {
            if !self.dhcp.contains(&fact) {
                self.dhcp.push(fact);
            }
        }
    }

    /// The routers of the default routes with their interfaces, the one in use first.
    pub fn gateways(&self) -> Vec<(Ipv4Addr, &str)> {
        let mut routes: Vec<&Route> = self.routes.iter().filter(|r| r.dst.is_none()).collect();
        routes.sort_by_key(|route| route.metric);
        routes.into_iter().filter_map(|route| Some((route.gateway?, route.dev.as_deref()?))).collect()
    }

    /// The networks in which MetalLB can answer: of interfaces that are up and lead to other machines.
    pub fn lans(&self) -> impl Iterator<Item = (&Interface, Ipv4Net)> {
        let interfaces = self.interfaces.iter().filter(|i| i.up && matches!(i.kind, Kind::Ethernet | Kind::Bridge));
        // In a /31 or /32 there is no room for anybody else.
        interfaces
            .flat_map(|i| i.addresses.iter().filter(|a| a.net.prefix_len() <= 30).map(move |a| (i, a.net.trunc())))
    }

    /// What is sent to nobody nearer leaves by it.
    pub fn default_route(&self) -> Option<&Route> {
        self.routes.iter().filter(|r| r.dst.is_none()).min_by_key(|r| r.metric)
    }

    /// The network to take addresses of: the one that the default route leaves by, unless it is a NAT that lets nobody in;
    /// else the first other one.
    pub fn main_lan(&self) -> Option<(&Interface, Ipv4Net)> {
        let sealed = dhcp::sealed_nat(self).map(|(dev, _)| dev);
        let mut by_gateway: Vec<(&Interface, Ipv4Net)> = self
            .gateways()
            .into_iter()
            .filter_map(|(gateway, dev)| self.lans().find(|(i, net)| i.name == dev && net.contains(&gateway)))
            .collect();
        by_gateway.extend(self.lans());
        by_gateway.iter().find(|(i, _)| sealed.as_ref() != Some(&i.name)).or_else(|| by_gateway.first()).copied()
    }

    fn kind_of(&self, dev: &str) -> Option<Kind> {
        self.interfaces.iter().find(|i| i.name == dev).map(|i| i.kind)
    }
}
