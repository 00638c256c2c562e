//! What keeps others on the LAN from reaching an address of the range, however well MetalLB announces it: networks of clouds and
//! hypervisors, interfaces that do no ARP, and settings of the kernel.

use serde_json::Value;

use crate::{
    error::{Result, finding::Finding},
    stack::facts::Facts,
};

/// Whose VM it is, by what DMI says (vendor, part of product or asset tag): its name, and what lets other addresses through.
const NETWORKS: &[(&str, &str, &str, &str)] = &[
    (
        "Amazon EC2",
        "",
        "AWS",
        "a VPC delivers no addresses that it did not give; use a load balancer of AWS, or a route to this instance",
    ),
    (
        "Google",
        "Google Compute Engine",
        "Google Cloud",
        "a VPC delivers no addresses that it did not give; use an alias range or a load balancer of Google Cloud",
    ),
    (
        "Microsoft Corporation",
        "7783-7084-3265-9085-8269-3286-77",
        "Azure",
        "a virtual network delivers no addresses that it did not give; use a load balancer of Azure",
    ),
    (
        "Microsoft Corporation",
        "Virtual Machine",
        "Hyper-V",
        "allow it for the VM: `Set-VMNetworkAdapter -VMName NAME -MacAddressSpoofing On`",
    ),
    (
        "OpenStack",
        "",
        "OpenStack",
        "allow the range for the VM's port: `openstack port set --allowed-address ip-address=RANGE PORT`",
    ),
    ("DigitalOcean", "", "DigitalOcean", "use a reserved address or a load balancer of DigitalOcean"),
    ("Hetzner", "", "Hetzner Cloud", "use a floating address or a load balancer of Hetzner"),
    ("Vultr", "", "Vultr", "use a reserved address or a load balancer of Vultr"),
    ("Linode", "", "Linode", "use IP sharing or a NodeBalancer of Linode"),
    ("Scaleway", "", "Scaleway", "use a flexible address or a load balancer of Scaleway"),
    ("UpCloud", "", "UpCloud", "use a floating address of UpCloud"),
    ("Alibaba Cloud", "", "Alibaba Cloud", "use HaVip or a load balancer of Alibaba Cloud"),
    ("Tencent Cloud", "", "Tencent Cloud", "use HAVIP or a load balancer of Tencent Cloud"),
    ("Huawei Cloud", "", "Huawei Cloud", "switch the source/destination check of the VM's port off"),
    (
        "VMware",
        "",
        "VMware",
        "allow it for the port group: Security, `Forged transmits` and `MAC address changes`: Accept",
    ),
];

pub(crate) fn spoofing(facts: &Facts<'_>) -> Result<Vec<Finding>> {
    let read =
        |name: &str| -> Result<String> { Ok(facts.text(&format!("/sys/class/dmi/id/{name}"))?.trim().to_owned()) };
    let (vendor, product, tag) = (read("sys_vendor")?, read("product_name")?, read("chassis_asset_tag")?);
    let is = |(of, more, ..): &&(&str, &str, &str, &str)| {
        // OpenStack of a distributor has the vendor's own name, and says what it is in the product.
        (vendor.starts_with(of) || product.starts_with(of)) && (product.contains(more) || tag.contains(more))
    };
    Ok(vec![match NETWORKS.iter().find(is).filter(|_| facts.container.is_none()) {
        Some((_, _, name, way)) => Finding::warned(
            format!(
                "this is a VM of {name}, whose network may drop answers for addresses that it did not give to the VM: then nobody but this \
                 host reaches {}",
                facts.spec.lb
            ),
            format!(
                "{way}; `iris-mk8s doctor --from-lan` prints a command that shows on another host whether they arrive"
            ),
        ),
        None => Finding::fine(if vendor.is_empty() { "no cloud provider is known".to_owned() } else { vendor }),
    }])
}

/// The interfaces that MetalLB would answer on.
pub(crate) fn interfaces(facts: &Facts<'_>) -> Result<Vec<Finding>> {
    let shown = facts.ask(&["ip", "-j", "-d", "addr"])?.map(|o| o.stdout).unwrap_or_default();
    let links: Vec<Value> = serde_json::from_str(&shown).unwrap_or_default();
    let mut findings = Vec::new();
    for (interface, _) in facts.network()?.lans().filter(|(_, lan)| facts.spec.lb.overlaps(lan)) {
        let name = &interface.name;
        let Some(link) = links.iter().find(|link| link["ifname"] == name.as_str()) else { continue };
        if link["flags"].as_array().is_some_and(|flags| flags.iter().any(|flag| flag == "NOARP")) {
            findings.push(Finding::refused(
                format!("{name} does no ARP (NOARP): other machines would not find an address of MetalLB there"),
                format!("`ip link set {name} arp on`, or take a range of another network"),
            ));
        }
        if link["linkinfo"]["info_slave_kind"] == "vrf" {
            let vrf = link["master"].as_str().unwrap_or("?");
            findings.push(Finding::warned(
                format!("{name} is in the VRF {vrf}: answers of services are looked up in another routing table, and may not find their way"),
                format!("take it out (`ip link set {name} nomaster`), or take a range of another network"),
            ));
        }
    }
    if findings.is_empty() {
        findings.push(Finding::fine("the interfaces of the range do ARP"));
    }
    Ok(findings)
}

/// Settings of the kernel (Documentation/networking/ip-sysctl.rst) under which answers are lost. Of each the larger one of `all` and of
/// the interface counts.
pub(crate) fn settings(facts: &Facts<'_>) -> Result<Vec<Finding>> {
    let network = facts.network()?;
    let default = network.default_route().and_then(|r| r.dev.as_deref());
    let same_lan =
        |name: &str, lan: &ipnet::Ipv4Net| network.lans().any(|(other, net)| other.name != name && net == *lan);
    let mut findings = Vec::new();
    for (interface, lan) in network.lans().filter(|(_, lan)| facts.spec.lb.overlaps(lan)) {
        let name = interface.name.as_str();
        let value = |key: &str| -> Result<u64> {
            let of = |name: &str| facts.number(&format!("/proc/sys/net/ipv4/conf/{name}/{key}"));
            Ok(of("all")?.unwrap_or(0).max(of(name)?.unwrap_or(0)))
        };
        let set = |key: &str| {
            format!("`sysctl -w net.ipv4.conf.all.{key}=0 net.ipv4.conf.{name}.{key}=0`, and in /etc/sysctl.d")
        };
        if value("rp_filter")? == 1 && default.is_some_and(|dev| dev != name) {
            findings.push(Finding::warned(
                format!("rp_filter is strict (1), and the default route does not leave by {name}: what clients of other networks send there is dropped"),
                format!("`sysctl -w net.ipv4.conf.{name}.rp_filter=2`, and in /etc/sysctl.d"),
            ));
        }
        if value("arp_ignore")? >= 3 {
            findings.push(Finding::warned(
                format!("arp_ignore is {}: this host does not answer for its own address on {name}, which the LAN needs for replies", value("arp_ignore")?),
                set("arp_ignore"),
            ));
        }
        // Several plugins of the pod network that switch it on at the same time may leave an interface out.
        let forwards = |name: &str| facts.number(&format!("/proc/sys/net/ipv4/conf/{name}/forwarding"));
        if forwards("all")? == Some(1) && forwards(name)? == Some(0) {
            findings.push(Finding::warned(
                format!(
                    "the kernel forwards packets, but none that come in by {name}: IRIS cannot be reached from the LAN"
                ),
                "`sysctl -w net.ipv4.ip_forward=0 net.ipv4.ip_forward=1` sets it for every interface",
            ));
        }
        if value("arp_filter")? == 1 && same_lan(name, &lan) {
            findings.push(Finding::warned(
                format!("arp_filter is on, and another interface is in the network of {name}: which of them answers is decided by routes"),
                set("arp_filter"),
            ));
        }
    }
    if findings.is_empty() {
        findings.push(Finding::fine("the kernel's settings let answers through"));
    }
    Ok(findings)
}

/// Routes of others into the networks of the cluster: what is sent to such a pod or service leaves by them.
pub(crate) fn routes(facts: &Facts<'_>) -> Result<Vec<Finding>> {
    use crate::network::Kind;
    let (network, reserved) = (facts.network()?, facts.reserved()?);
    let of_cluster =
        |dev: &str| network.interfaces.iter().any(|i| i.name == dev && matches!(i.kind, Kind::Cni | Kind::Loopback));
    let mut findings = Vec::new();
    for (what, net) in [("pods", reserved.pods), ("services", reserved.services)] {
        let taken = network.routes.iter().filter_map(|route| Some((route.dst?, route.dev.as_deref()?)));
        // A wider one loses against the cluster's own.
        for (dst, dev) in taken.filter(|(dst, dev)| net.contains(dst) && !of_cluster(dev)) {
            findings.push(Finding::refused(
                format!("{dev} has a route to {dst}, which is in the network of the cluster's {what}, {net}: what is sent to them goes there"),
                format!("give {dev} another network (docker: default-address-pools in /etc/docker/daemon.json; a VPN: its configuration)"),
            ));
        }
    }
    if findings.is_empty() {
        findings.push(Finding::fine("nobody else has routes to the networks of the cluster"));
    }
    Ok(findings)
}
