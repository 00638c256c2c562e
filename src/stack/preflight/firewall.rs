//! Firewalls that stand between pods, the host and the LAN: ufw, firewalld, nftables; two packet filters at a time; and the table of
//! connections that every service goes through.

use serde_json::Value;

use super::nft;
use crate::{
    error::{Result, finding::Finding},
    host,
    stack::facts::Facts,
};

/// What every firewall has to let through.
fn pods(facts: &Facts<'_>) -> String {
    facts.reserved().unwrap_or_default().pods.to_string()
}

pub(crate) fn firewalls(facts: &Facts<'_>) -> Result<Vec<Finding>> {
    let found: Vec<Finding> = [ufw(facts)?, firewalld(facts)?].into_iter().flatten().chain(nftables(facts)?).collect();
    Ok(if found.is_empty() { vec![Finding::fine("no firewall stands in the way of pods")] } else { found })
}

/// Its policy for what is forwarded has a check of its own; this one is about pods that speak to the host: the API, and name servers.
fn ufw(facts: &Facts<'_>) -> Result<Option<Finding>> {
    let on = facts.text("/etc/ufw/ufw.conf")?.lines().any(|l| l.trim() == "ENABLED=yes");
    let open = facts.text("/etc/default/ufw")?.lines().any(|l| l.trim() == "DEFAULT_INPUT_POLICY=\"ACCEPT\"");
    let pods = pods(facts);
    let rules = facts.text("/etc/ufw/user.rules")?;
    let accepted =
        rules.lines().any(|l| l.contains("ACCEPT") && (l.contains(&format!("-s {pods}")) || l.contains("-i cali+")));
    Ok((on && !open && !accepted).then(|| {
        Finding::warned(
            format!("ufw drops what comes in by default, and has no rule for the pods ({pods}): they may not reach the API of the cluster"),
            format!("`ufw allow from {pods}; ufw allow in on cali+; ufw allow out on cali+; ufw default allow routed`"),
        )
    }))
}

/// What comes from interfaces that it knows nothing of belongs to its default zone, which rejects what is forwarded, unless somebody
/// gave the pods a zone.
fn firewalld(facts: &Facts<'_>) -> Result<Option<Finding>> {
    let active =
        facts.ask(&["systemctl", "is-active", "firewalld.service"])?.is_some_and(|o| o.stdout.trim() == "active");
    if !active {
        return Ok(None);
    }
    let reserved = facts.reserved().unwrap_or_default();
    let (pods, services) = (reserved.pods.to_string(), reserved.services.to_string());
    let asked = |argument: &str| -> Result<String> {
        let output = facts.ask(&["firewall-cmd", argument])?.filter(host::Output::ok);
        Ok(output.map(|o| o.stdout.trim().to_owned()).unwrap_or_default())
    };
    let zone = asked(&format!("--get-zone-of-source={pods}"))?;
    let default = asked("--get-default-zone")?;
    if [zone.as_str(), default.as_str()].contains(&"trusted") {
        return Ok(None);
    }
    let add = format!(
        "`firewall-cmd --permanent --zone=trusted --add-source={pods} --add-source={services}; \
         firewall-cmd --permanent --zone=trusted --add-interface=vxlan.calico; firewall-cmd --reload`"
    );
    // The older backend is iptables, in which the pod network accepts its own before.
    let by_iptables =
        facts.text("/etc/firewalld/firewalld.conf")?.lines().any(|l| l.trim() == "FirewallBackend=iptables");
    Ok(Some(if zone.is_empty() && !default.is_empty() && !by_iptables {
        Finding::refused(
            format!("firewalld rejects what pods ({pods}) send to one another, to the host and to the LAN"),
            add,
        )
    } else {
        Finding::warned(
            format!("firewalld is on, and whether it lets pods ({pods}) through cannot be told"),
            format!("if pods do not start: {add}"),
        )
    }))
}

/// Chains of nftables' own that drop what they do not know: a packet has to pass all of them, whatever iptables accepts.
fn nftables(facts: &Facts<'_>) -> Result<Vec<Finding>> {
    let Some(listed) = facts.ask(&["nft", "--json", "list", "chains"])?.filter(host::Output::ok) else {
        return Ok(Vec::new());
    };
    let listed: Value = serde_json::from_str(&listed.stdout).unwrap_or_default();
    let pods = facts.reserved().unwrap_or_default().pods;
    let mut findings = Vec::new();
    for chain in listed["nftables"].as_array().into_iter().flatten().map(|entry| &entry["chain"]) {
        let text = |name: &str| chain[name].as_str().unwrap_or_default().to_owned();
        let (family, table, name, hook) = (text("family"), text("table"), text("name"), text("hook"));
        // Those of iptables are named in capitals, and have a check of their own; so has firewalld.
        let own = ["ip", "inet"].contains(&family.as_str()) && name.chars().any(|c| c.is_ascii_lowercase());
        if !own || table == "firewalld" || !["input", "forward"].contains(&hook.as_str()) {
            continue;
        }
        let rules = facts.ask(&["nft", "list", "chain", &family, &table, &name])?.map(|o| o.stdout).unwrap_or_default();
        let passes = nft::passes(&rules, text("policy") == "drop", pods);
        if passes == nft::Passes::Yes {
            continue;
        }
        let (breaks, directions): (&str, &[&str]) = if hook == "input" {
            ("pods do not reach the API of the cluster", &["saddr"])
        } else {
            ("pods cannot reach the network and cannot be reached", &["saddr", "daddr"])
        };
        let add = |way: &&str| format!("nft insert rule {family} {table} {name} ip {way} {pods} accept");
        let add = directions.iter().map(add).collect::<Vec<_>>().join("; ");
        let drops = format!("nftables drops what it does not know in {family} {table} {name} (hook {hook})");
        findings.push(if passes == nft::Passes::No {
            Finding::refused(format!("{drops}: {breaks}"), format!("`{add}`, and the same in /etc/nftables.conf"))
        } else {
            Finding::warned(
                format!("{drops}, and whether its rules let pods ({pods}) through cannot be told: if not, {breaks}"),
                format!("if pods do not start: `{add}`, and the same in /etc/nftables.conf"),
            )
        });
    }
    Ok(findings)
}

/// Rules in both of iptables' backends: each sees only its own, and both count.
pub(crate) fn backends(facts: &Facts<'_>) -> Result<Vec<Finding>> {
    let rules = |program: &str| -> Result<usize> {
        let output = facts.ask(&[program, "-S"])?.filter(host::Output::ok);
        Ok(output.map_or(0, |o| o.stdout.lines().filter(|l| l.starts_with("-A ")).count()))
    };
    // Who asks the old one where it has no tables makes it load its modules.
    let has_tables = !facts.text("/proc/net/ip_tables_names")?.trim().is_empty();
    let legacy = if has_tables { rules("iptables-legacy")? } else { 0 };
    let nft = if legacy > 0 { rules("iptables-nft")? } else { 0 };
    Ok(vec![if legacy > 0 && nft > 0 {
        Finding::warned(
            format!(
                "there are rules in both backends of iptables ({legacy} legacy, {nft} nft): each hides those of the other, and both count"
            ),
            "move them to one: `iptables-legacy-save | iptables-nft-restore`, then `iptables-legacy -F`, or restart the host",
        )
    } else {
        Finding::fine("the packet filter has one backend")
    }])
}

/// Services are translated addresses, which the kernel keeps in a table.
pub(crate) fn conntrack(facts: &Facts<'_>) -> Result<Vec<Finding>> {
    let most = facts.number("/proc/sys/net/netfilter/nf_conntrack_max")?;
    let now = facts.number("/proc/sys/net/netfilter/nf_conntrack_count")?.unwrap_or(0);
    let Some(most) = most.filter(|most| *most > 0) else {
        let loadable = facts.container.is_some()
            || facts.exists("/sys/module/nf_conntrack")
            || facts.ask(&["modprobe", "--dry-run", "--quiet", "nf_conntrack"])?.is_some_and(|o| o.ok());
        return Ok(vec![if loadable {
            Finding::fine("connections can be tracked")
        } else {
            let release = facts.text("/proc/sys/kernel/osrelease")?.trim().to_owned();
            Finding::refused(
                format!("kernel {release} has no nf_conntrack: services of the cluster have no address"),
                format!("`apt install linux-modules-extra-{release}`, or boot the kernel whose modules are installed"),
            )
        }]);
    };
    Ok(vec![if now > most / 10 * 9 {
        Finding::warned(
            format!("{now} of {most} connections are tracked: new ones will be dropped (`nf_conntrack: table full`)"),
            format!(
                "`sysctl -w net.netfilter.nf_conntrack_max={}`, and see who opens them: `ss -s`",
                most.saturating_mul(2)
            ),
        )
    } else {
        Finding::fine(format!("{now} of {most} connections are tracked"))
    }])
}
