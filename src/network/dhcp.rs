//! What is known about DHCP: from the files of its clients and servers, and from the documentation of virtual machine software.

use std::net::Ipv4Addr;

use super::Network;
use crate::config::lb_range::Interval;

/// One thing that a file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DhcpFact {
    /// This machine got an address.
    Lease {
        /// The address.
        address: Ipv4Addr,
        /// Who gave it.
        server: Option<Ipv4Addr>,
        /// The file.
        source: String,
    },
    /// A DHCP server on this machine gives these out.
    Range {
        /// First and last address.
        ends: Interval,
        /// The file.
        source: String,
    },
}

/// Reads a file, whatever it is: each format has words that no other has.
pub(super) fn read(path: &str, text: &str) -> Vec<DhcpFact> {
    let mut facts = Vec::new();
    facts.extend(key_values(path, text));
    facts.extend(dhclient(path, text));
    facts.extend(dnsmasq(path, text));
    facts
}

/// `ADDRESS=` and `SERVER_ADDRESS=`: systemd-networkd and NetworkManager's own client.
fn key_values(path: &str, text: &str) -> Option<DhcpFact> {
    let value = |key: &str| {
        text.lines().find_map(|line| line.trim().strip_prefix(key)?.strip_prefix('=')?.parse::<Ipv4Addr>().ok())
    };
    Some(DhcpFact::Lease { address: value("ADDRESS")?, server: value("SERVER_ADDRESS"), source: path.to_owned() })
}

/// `lease { fixed-address A; option dhcp-server-identifier S; }`, one for each lease that dhclient remembers.
fn dhclient(path: &str, text: &str) -> Vec<DhcpFact> {
    let lease = |block: &str| {
        let block = block.split('}').next()?;
        let value = |key: &str| {
            block.split(';').find_map(|line| {
                line.trim().trim_start_matches('{').trim().strip_prefix(key)?.trim().parse::<Ipv4Addr>().ok()
            })
        };
        Some(DhcpFact::Lease {
            address: value("fixed-address")?,
            server: value("option dhcp-server-identifier"),
            source: path.to_owned(),
        })
    };
    text.split("lease {").skip(1).filter_map(lease).collect()
}

/// `dhcp-range=[tag:x,]A,B,...`.
fn dnsmasq(path: &str, text: &str) -> Vec<DhcpFact> {
    let range = |line: &str| {
        let mut addresses =
            line.trim().strip_prefix("dhcp-range=")?.split(',').filter_map(|word| word.trim().parse::<Ipv4Addr>().ok());
        let ends = (addresses.next()?, addresses.next()?);
        (ends.0 <= ends.1).then(|| DhcpFact::Range { ends, source: path.to_owned() })
    };
    text.lines().filter_map(range).collect()
}

/// MAC prefixes of virtual network cards.
const VMWARE: [&str; 4] = ["00:0c:29", "00:50:56", "00:05:69", "00:1c:14"];
const VIRTUALBOX: [&str; 1] = ["08:00:27"];
const KVM: [&str; 1] = ["52:54:00"];

/// Ranges that makers of virtual machines document for their networks, each with the evidence that this is one of them.
pub(super) fn documented(net: &Network) -> Vec<(Interval, String)> {
    let mut found = Vec::new();
    for (interface, lan) in net.lans() {
        let Some(mac) = interface.mac.as_deref() else { continue };
        let made_by = |prefixes: &[&str]| prefixes.iter().any(|p| mac.to_ascii_lowercase().starts_with(p));
        let [a, b, c, _] = lan.network().octets();
        let host = |n| Ipv4Addr::new(a, b, c, n);
        if lan.prefix_len() != 24 {
            continue;
        }
        // On a bridged card the LAN's own router answers, hardly ever as .2 or with a DHCP server at .254.
        let gateway = net.gateways().into_iter().any(|(gateway, _)| gateway == host(2));
        let server =
            net.dhcp.iter().any(|fact| matches!(fact, DhcpFact::Lease { server: Some(s), .. } if *s == host(254)));
        if made_by(&VMWARE) && (gateway || server) {
            let seen = if gateway { format!("gateway {}", host(2)) } else { format!("DHCP server {}", host(254)) };
            found.push((
                (host(128), host(254)),
                format!("VMware gives .128 to .254 of its networks out by DHCP (seen: MAC {mac}, {seen})"),
            ));
        }
        if made_by(&VIRTUALBOX) && lan.network() == Ipv4Addr::new(192, 168, 56, 0) {
            found.push((
                (host(100), host(254)),
                format!(
                    "VirtualBox's host-only network gives .101 to .254 out by DHCP, from .100 (seen: MAC {mac}, {lan})"
                ),
            ));
        }
        if made_by(&KVM) && lan.network() == Ipv4Addr::new(192, 168, 122, 0) {
            found.push((
                (host(2), host(254)),
                format!("libvirt's default network gives .2 to .254 out by DHCP (seen: MAC {mac}, {lan})"),
            ));
        }
    }
    found
}

/// Whether the interface is behind the NAT of VirtualBox or QEMU, which lets nobody in: 10.0.x.2 is always its gateway.
pub(super) fn sealed_nat(net: &Network) -> Option<(String, String)> {
    net.gateways().into_iter().find_map(|(gateway, dev)| {
        let [a, b, _, d] = gateway.octets();
        let interface = net.interfaces.iter().find(|i| i.name == dev)?;
        let mac = interface.mac.as_deref()?;
        let maker = if VIRTUALBOX.iter().any(|p| mac.starts_with(p)) {
            "VirtualBox"
        } else if KVM.iter().any(|p| mac.starts_with(p)) {
            "QEMU"
        } else {
            return None;
        };
        (a == 10 && b == 0 && d == 2)
            .then(|| (dev.to_owned(), format!("{maker}'s NAT (seen: MAC {mac}, gateway {gateway})")))
    })
}
