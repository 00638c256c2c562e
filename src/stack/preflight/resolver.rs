//! Names: whether there is IPv4 at all, whether the name servers answer, and whether a search domain knows every name there is.

use std::net::Ipv4Addr;

use crate::{
    error::{Result, finding::Finding},
    network::{EXTERNAL, NOBODY},
    stack::facts::Facts,
};

pub(crate) fn ipv4(facts: &Facts<'_>) -> Result<Vec<Finding>> {
    let network = facts.network()?;
    let own = network.interfaces.iter().flat_map(|i| &i.addresses).map(|a| a.net.addr()).find(|a| !a.is_loopback());
    Ok(vec![match own {
        Some(address) => Finding::fine(address.to_string()),
        None => Finding::refused(
            "this host has no IPv4 address: the cluster, its range and IRIS are reached by IPv4",
            "give it one (netplan: addresses, or dhcp4: true)",
        ),
    }])
}

/// More are not asked, by whomever.
const MOST: usize = 3;

pub(crate) fn servers(facts: &Facts<'_>) -> Result<Vec<Finding>> {
    let servers: Vec<Ipv4Addr> = facts.network()?.dns.iter().copied().take(MOST).collect();
    let answers = asked(facts, &servers, EXTERNAL);
    let silent: Vec<String> =
        servers.iter().zip(&answers).filter(|(_, answer)| answer.is_none()).map(|(s, _)| s.to_string()).collect();
    Ok(vec![if silent.is_empty() {
        Finding::fine(format!("{} name servers answer", servers.len()))
    } else {
        let all = if silent.len() == servers.len() {
            "no name will be found"
        } else {
            "look-ups that go there wait for seconds"
        };
        Finding::warned(
            format!("{} does not answer as a name server: {all}, on this host and in pods", silent.join(", ")),
            "see whether it is up and reachable (`dig @SERVER registry-1.docker.io`), or name another one (netplan: nameservers)",
        )
    }])
}

/// Pods look up names of the world in each search domain first. A domain that has every name answers for them.
pub(crate) fn search_domains(facts: &Facts<'_>) -> Result<Vec<Finding>> {
    let mut domains: Vec<String> = Vec::new();
    for file in ["/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"] {
        let text = facts.text(file)?;
        let lines =
            text.lines().filter_map(|l| l.trim().strip_prefix("search ").or_else(|| l.trim().strip_prefix("domain ")));
        for domain in lines.flat_map(str::split_whitespace).map(|d| d.trim_end_matches('.')).filter(|d| !d.is_empty()) {
            if !domains.iter().any(|known| known == domain) {
                domains.push(domain.to_owned());
            }
        }
    }
    let servers: Vec<Ipv4Addr> = facts.network()?.dns.iter().copied().take(MOST).collect();
    let has_all = |domain: &&String| {
        asked(facts, &servers, &format!("{NOBODY}.{domain}")).iter().flatten().next().is_some_and(|found| *found > 0)
    };
    let all: Vec<&String> = domains.iter().filter(has_all).collect();
    Ok(all
        .iter()
        .map(|domain| {
            Finding::warned(
                format!("the search domain {domain} has an address for every name: pods take it for registries and other hosts of the world"),
                format!("take {domain} out of the search domains (netplan: nameservers: search), or its `*` out of the zone"),
            )
        })
        .chain(all.is_empty().then(|| Finding::fine("no search domain has every name")))
        .collect())
}

/// What each server answers: the number of addresses; none when it does not answer.
fn asked(facts: &Facts<'_>, servers: &[Ipv4Addr], name: &str) -> Vec<Option<usize>> {
    std::thread::scope(|scope| {
        let asked: Vec<_> =
            servers.iter().map(|server| scope.spawn(|| facts.host.ask_name(*server, name).ok())).collect();
        asked.into_iter().map(|thread| thread.join().ok().flatten()).collect()
    })
}
