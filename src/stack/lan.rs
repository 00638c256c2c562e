//! The network around the host, and what a range must keep clear of in it: read from what the kernel, files and the cluster say.

use std::path::Path;

use crate::{
    config::{spec::Spec, version::Channel},
    error::{Error, Result},
    host::{CLIENT_CONFIG, Cmd, Host},
    kube::{self, state},
    network::{Network, Reserved},
    stack::metallb::state as metallb,
};

fn text(host: &dyn Host, path: &str) -> Result<String> {
    Ok(host.read(Path::new(path))?.map(|b| String::from_utf8_lossy(&b).into_owned()).unwrap_or_default())
}

/// The network around the host.
///
/// # Errors
/// `ip` fails, or prints something unknown.
pub fn network(host: &dyn Host) -> Result<Network> {
    let ip = |what: &str| -> Result<String> {
        let output = host.ask(&Cmd::reads(["ip", "-j", "-d", what]))?;
        if output.ok() {
            Ok(output.stdout)
        } else {
            Err(Error::failed(format!("`ip {what}` {}", output.ended())).because(output.tail()))
        }
    };
    let mut network = Network::from_ip_json(&ip("addr")?, &ip("route")?)
        .map_err(|e| Error::failed("`ip -j` printed something unknown").caused_by(e))?;
    for path in ["/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"] {
        network.add_resolv_conf(&text(host, path)?);
    }
    for path in dhcp_files(host) {
        network.add_dhcp_file(&path, &text(host, &path)?);
    }
    Ok(network)
}

/// Where DHCP clients keep their leases, and DHCP servers on this host their configuration.
fn dhcp_files(host: &dyn Host) -> Vec<String> {
    let folders = [
        ("/run/systemd/netif/leases", ""),
        ("/var/lib/NetworkManager", ".lease"),
        ("/var/lib/dhcp", ".leases"),
        ("/var/lib/dhclient", ".leases"),
        ("/var/lib/libvirt/dnsmasq", ".conf"),
        ("/etc/dnsmasq.d", ".conf"),
    ];
    let mut files = vec!["/etc/dnsmasq.conf".to_owned()];
    for (folder, end) in folders {
        let names = host.names(Path::new(folder));
        files.extend(names.iter().filter(|name| name.ends_with(end)).map(|name| format!("{folder}/{name}")));
    }
    files
}

/// The cluster's networks, and what its services want and have. As MicroK8s comes, while there is no cluster that answers. Without a spec it is
/// the pool that is there which serves us.
///
/// # Errors
/// The cluster's arguments cannot be read.
pub fn reserved(host: &dyn Host, channel: &Channel, spec: Option<&Spec>) -> Result<Reserved> {
    let mut reserved = Reserved::default();
    if !host.exists(Path::new(CLIENT_CONFIG)) {
        return Ok(reserved);
    }
    let argument = |file: &str, name: &str| -> Result<Option<ipnet::Ipv4Net>> {
        let text = text(host, &format!("/var/snap/microk8s/current/args/{file}"))?;
        let value = text.lines().find_map(|l| l.trim().strip_prefix(name)?.strip_prefix('='));
        // Two networks (IPv4 and IPv6) are separated by a comma.
        Ok(value.and_then(|v| v.split(',').find_map(|net| net.trim().parse().ok())))
    };
    if let Some(pods) = argument("kube-proxy", "--cluster-cidr")? {
        reserved.pods = pods;
    }
    if let Some(services) = argument("kube-apiserver", "--service-cluster-ip-range")? {
        reserved.services = services;
    }
    let services = host.list(&kube::SERVICE, None, "").unwrap_or_default();
    let balanced = || services.iter().filter(|s| s["spec"]["type"] == "LoadBalancer");
    reserved.own = balanced().flat_map(state::addresses).filter_map(|a| a.parse().ok()).collect();
    let wanting = metallb::wanting(host, spec, channel.row().metallb).unwrap_or_default();
    reserved.wanted = reserved.wanted.max(wanting);
    Ok(reserved)
}
