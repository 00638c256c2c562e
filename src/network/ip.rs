//! Reads the JSON of `ip`, and tells what an interface is.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use serde::Deserialize;

use super::{Address, Interface, Kind, Route};

/// The interfaces of `ip -j -d addr`.
pub(super) fn interfaces(json: &str) -> serde_json::Result<Vec<Interface>> {
    let links: Vec<IpLink> = list(json)?;
    // `ip` prints an empty object for what it filters out.
    Ok(links.into_iter().filter(|link| !link.ifname.is_empty()).map(Interface::from).collect())
}

/// The routes of `ip -j route`.
pub(super) fn routes(json: &str) -> serde_json::Result<Vec<Route>> {
    let routes: Vec<IpRoute> = list(json)?;
    Ok(routes.into_iter().flat_map(IpRoute::into_routes).collect())
}

/// Nothing at all is an empty list too: `ip -j route` without routes prints nothing.
fn list<'a, T: Deserialize<'a>>(json: &'a str) -> serde_json::Result<Vec<T>> {
    if json.trim().is_empty() { Ok(Vec::new()) } else { serde_json::from_str(json) }
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct IpLink {
    ifname: String,
    flags: Vec<String>,
    link_type: String,
    address: Option<String>,
    linkinfo: LinkInfo,
    addr_info: Vec<AddrInfo>,
}

#[derive(Deserialize, Default)]
struct LinkInfo {
    #[serde(default)]
    info_kind: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct AddrInfo {
    family: String,
    local: String,
    prefixlen: u8,
    dynamic: bool,
}

impl From<IpLink> for Interface {
    fn from(link: IpLink) -> Self {
        let flag = |name: &str| link.flags.iter().any(|f| f == name);
        let up = flag("UP") && !flag("NO-CARRIER");
        let kind = kind(&link.ifname, &link.link_type, &link.linkinfo.info_kind);
        let inet = link.addr_info.into_iter().filter(|a| a.family == "inet");
        let addresses = inet
            .filter_map(|a| {
                Some(Address { net: Ipv4Net::new(a.local.parse().ok()?, a.prefixlen).ok()?, dynamic: a.dynamic })
            })
            .collect();
        Self { name: link.ifname, kind, mac: link.address.filter(|mac| mac.len() == 17), up, addresses }
    }
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct IpRoute {
    dst: Option<String>,
    gateway: Option<Ipv4Addr>,
    dev: Option<String>,
    metric: u32,
    nexthops: Vec<NextHop>,
}

#[derive(Deserialize)]
struct NextHop {
    gateway: Option<Ipv4Addr>,
    dev: Option<String>,
}

impl IpRoute {
    fn into_routes(self) -> Vec<Route> {
        let dst = match self.dst.as_deref() {
            Some("default") => None,
            other => match other
                .and_then(|text| text.parse().or_else(|_| text.parse::<Ipv4Addr>().map(Ipv4Net::from)).ok())
            {
                Some(net) => Some(net),
                None => return Vec::new(),
            },
        };
        let mut hops = self.nexthops;
        if hops.is_empty() {
            hops.push(NextHop { gateway: self.gateway, dev: self.dev });
        }
        hops.into_iter().map(|hop| Route { dst, gateway: hop.gateway, dev: hop.dev, metric: self.metric }).collect()
    }
}

/// Names that programs give to their interfaces. The first fit counts.
const NAMES: [(&str, Kind); 34] = [
    ("cni-podman", Kind::Docker),
    ("docker", Kind::Docker),
    ("podman", Kind::Docker),
    ("cni", Kind::Cni),
    ("cali", Kind::Cni),
    ("vxlan.calico", Kind::Cni),
    ("vxlan-v6.calico", Kind::Cni),
    ("wireguard.cali", Kind::Cni),
    ("tunl0", Kind::Cni),
    ("flannel", Kind::Cni),
    ("cilium", Kind::Cni),
    ("kube-", Kind::Cni),
    ("nodelocaldns", Kind::Cni),
    ("veth", Kind::Cni),
    ("virbr", Kind::Libvirt),
    ("lxdbr", Kind::Virtual),
    ("lxcbr", Kind::Virtual),
    ("incusbr", Kind::Virtual),
    ("mpqemubr", Kind::Virtual),
    ("vboxnet", Kind::Virtual),
    ("vmnet", Kind::Virtual),
    ("vnet", Kind::Virtual),
    ("dummy", Kind::Virtual),
    ("ifb", Kind::Virtual),
    ("tun", Kind::Vpn),
    ("tap", Kind::Vpn),
    ("wg", Kind::Vpn),
    ("tailscale", Kind::Vpn),
    ("zt", Kind::Vpn),
    ("ppp", Kind::Vpn),
    ("ipsec", Kind::Vpn),
    ("nordlynx", Kind::Vpn),
    ("proton", Kind::Vpn),
    ("br", Kind::Bridge),
];

fn kind(name: &str, link_type: &str, info_kind: &str) -> Kind {
    if link_type == "loopback" || name == "lo" {
        return Kind::Loopback;
    }
    // Docker calls the bridges of its own networks br-<12 hex digits>.
    if name.strip_prefix("br-").is_some_and(|id| id.len() == 12 && id.bytes().all(|b| b.is_ascii_hexdigit())) {
        return Kind::Docker;
    }
    match NAMES.iter().find(|(prefix, _)| name.starts_with(prefix)) {
        Some((_, kind)) => *kind,
        None => match info_kind {
            "bridge" => Kind::Bridge,
            "tun" | "wireguard" | "ppp" => Kind::Vpn,
            // A container's eth0 is one end of a veth: no name of the cluster's, so it is this machine's network card.
            "" | "vlan" | "bond" | "team" | "macvlan" | "ipvlan" | "veth"
                if link_type == "ether" || link_type.is_empty() =>
            {
                Kind::Ethernet
            }
            _ if link_type == "none" || link_type == "ppp" => Kind::Vpn,
            _ => Kind::Virtual,
        },
    }
}
