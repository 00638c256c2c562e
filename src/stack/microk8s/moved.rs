//! Whether the host still has the address that its cluster uses. MicroK8s notices a new one, mostly within a minute, but not all
//! of it follows: the certificate of kubelet keeps the old address, and then terminals and logs of pods do not work.

use std::{collections::BTreeSet, net::Ipv4Addr};

use super::certificate::asked;
use crate::{
    error::{Result, finding::Finding},
    host::microk8s::CERTIFICATES,
    kube,
    network::{Interface, Kind},
    stack::facts::Facts,
};

/// Arguments of the API server. Since 1.25 they name the authority that kubelet's certificate must be of.
const API_SERVER: &str = "/var/snap/microk8s/current/args/kube-apiserver";

/// Something that goes by addresses which this host does not have.
struct Stale {
    what: &'static str,
    addresses: BTreeSet<Ipv4Addr>,
    /// It keeps the cluster from working.
    harms: bool,
}

pub(crate) fn look(facts: &Facts<'_>) -> Result<Vec<Finding>> {
    if !facts.exists(&format!("{CERTIFICATES}/server.crt")) {
        return Ok(vec![Finding::fine("no cluster goes by it yet")]);
    }
    let network = facts.network()?;
    // A host without a network is told of elsewhere.
    let Some((interface, lan)) = network.main_lan() else { return Ok(Vec::new()) };
    // One that somebody gave to the loopback (the addon host-access) is an address of the host, too.
    let of_host = |i: &&Interface| i.kind != Kind::Cni;
    let all = network.interfaces.iter().filter(of_host).flat_map(|i| &i.addresses);
    let here: BTreeSet<Ipv4Addr> = all.map(|a| a.net.addr()).collect();
    let Some(now) = interface.addresses.iter().map(|a| a.net.addr()).find(|a| lan.contains(a)) else {
        return Ok(Vec::new());
    };
    let mut stale = in_certificates(facts)?;
    stale.extend(in_cluster(facts));
    // Loopback and the cluster's own networks are no address of the host.
    let reserved = facts.reserved()?;
    for found in &mut stale {
        found.addresses.retain(|a| !a.is_loopback() && !reserved.services.contains(a));
    }
    stale.retain(|found| !found.addresses.is_empty() && found.addresses.is_disjoint(&here));
    if stale.is_empty() {
        return Ok(vec![Finding::fine(now.to_string())]);
    }
    let old: BTreeSet<Ipv4Addr> = stale.iter().flat_map(|found| found.addresses.iter().copied()).collect();
    let old: Vec<String> = old.iter().map(Ipv4Addr::to_string).collect();
    let what: Vec<&str> = stale.iter().map(|found| found.what).collect();
    let message = format!(
        "the host's address is now {now} ({}); MicroK8s was set up when it was {}, and these still go by that: {}",
        interface.name,
        old.join(", "),
        what.join(", ")
    );
    let mut hint = cure(facts, &stale);
    let outside = !facts.spec.lb.overlaps(&lan);
    if outside {
        hint.push_str(&format!(
            "\nthe range {} is not in its network: give the host its address back, or move the range: `sudo iris-mk8s bootstrap --lb auto`",
            facts.spec.lb
        ));
    }
    let harms = outside || stale.iter().any(|found| found.harms);
    Ok(vec![if harms { Finding::refused(message, hint) } else { Finding::warned(message, hint) }])
}

/// What makes the cluster go by the new address.
fn cure(facts: &Facts<'_>, stale: &[Stale]) -> String {
    let in_minute = "MicroK8s notices a new address by itself, mostly within a minute; when this stays so:";
    let of_kubelet = stale.iter().any(|found| found.what == OF_KUBELET);
    // Only a new authority makes kubelet's certificate anew, and pods learn of that when they start.
    if of_kubelet && facts.spec.channel.row().names_certificates {
        format!("{in_minute} `sudo microk8s refresh-certs --cert ca.crt`, then {}", facts.restart())
    } else {
        format!("{in_minute} {}", facts.restart())
    }
}

const OF_KUBELET: &str = "the certificate of kubelet";

/// Certificates of servers that do not name an address of the host.
fn in_certificates(facts: &Facts<'_>) -> Result<Vec<Stale>> {
    let mut found = Vec::new();
    // Who speaks with the API server on this host does so by 127.0.0.1, which it always names.
    let server =
        Stale { what: "the certificate of the API server", addresses: named(facts, "server.crt")?, harms: false };
    found.push(server);
    if facts.text(API_SERVER)?.contains("--kubelet-certificate-authority") {
        found.push(Stale { what: OF_KUBELET, addresses: named(facts, "kubelet.crt")?, harms: true });
    }
    Ok(found)
}

/// The addresses that a certificate names.
fn named(facts: &Facts<'_>, file: &str) -> Result<BTreeSet<Ipv4Addr>> {
    let text = asked(facts, file, &["-ext", "subjectAltName"])?.unwrap_or_default();
    let addresses = text.split("IP Address:").skip(1);
    Ok(addresses.filter_map(|rest| rest.split([',', '\n']).next()?.trim().parse().ok()).collect())
}

/// What the cluster itself says, when it answers: the address of its node, and the one at which pods look for the API server.
fn in_cluster(facts: &Facts<'_>) -> Vec<Stale> {
    let mut found = Vec::new();
    // One that does not answer has a check of its own.
    let nodes = facts.host.list(&kube::NODE, None, "").unwrap_or_default();
    if let [node] = nodes.as_slice() {
        let addresses = node["status"]["addresses"].as_array();
        let internal = addresses.into_iter().flatten().filter(|a| a["type"] == "InternalIP");
        let addresses = internal.filter_map(|a| a["address"].as_str()?.parse().ok()).collect();
        found.push(Stale { what: "its node", addresses, harms: true });
        let endpoints = facts.host.get(&kube::ENDPOINTS, Some("default"), "kubernetes").ok().flatten();
        let endpoints = endpoints.unwrap_or_default();
        let subsets = endpoints["subsets"].as_array().into_iter().flatten();
        let addresses = subsets.flat_map(|s| s["addresses"].as_array().into_iter().flatten());
        let addresses = addresses.filter_map(|a| a["ip"].as_str()?.parse().ok()).collect();
        found.push(Stale { what: "the address at which pods look for the API server", addresses, harms: true });
    }
    found
}
