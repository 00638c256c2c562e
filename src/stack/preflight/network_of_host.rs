//! The host on its network: its name, who holds the cluster's ports, the way out, names, forwarding, proxies.

use std::{collections::BTreeMap, net::Ipv4Addr};

use ipnet::Ipv4Net;

use crate::{
    error::{Result, finding::Finding},
    network::Reserved,
    stack::facts::Facts,
};

/// Kubernetes names the node after the host, and takes only RFC 1123 names in lower case.
pub(crate) fn host_name(facts: &Facts<'_>) -> Result<Vec<Finding>> {
    let name = facts.text("/proc/sys/kernel/hostname")?.trim().to_owned();
    let fits = |label: &str| {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        (1..=63).contains(&label.len())
            && label.chars().all(|c| plain(c) || c == '-')
            && label.starts_with(plain)
            && label.ends_with(plain)
    };
    if name.len() > 253 || !name.split('.').all(fits) {
        let plain = |c: char| if c.is_ascii_alphanumeric() || c == '.' { c.to_ascii_lowercase() } else { '-' };
        let better = name.chars().map(plain).collect::<String>();
        let better = better.trim_matches(['-', '.']);
        return Ok(vec![Finding::refused(
            format!("the host's name `{name}` cannot be a node's name: only lower case letters, digits, `-` and `.`"),
            format!("`hostnamectl set-hostname {}`", if better.is_empty() { "NAME" } else { better }),
        )]);
    }
    if name == "localhost" {
        return Ok(vec![Finding::warned(
            "the host is called `localhost`, which is no name of its own",
            "`hostnamectl set-hostname NAME`",
        )]);
    }
    let hosts = facts.text("/etc/hosts")?;
    let in_file = hosts
        .lines()
        .filter(|l| !l.trim_start().starts_with('#'))
        .any(|l| l.split_whitespace().skip(1).any(|n| n == name));
    // nss-myhostname, and systemd-resolved, know it without a file.
    let switch = facts.text("/etc/nsswitch.conf")?;
    let by_system =
        switch.lines().any(|l| l.starts_with("hosts:") && (l.contains("myhostname") || l.contains("resolve")));
    Ok(vec![if in_file || by_system {
        Finding::fine(name)
    } else {
        Finding::warned(
            format!("this host cannot resolve its own name `{name}`: pod logs and commands in pods may not work"),
            format!("`echo 127.0.1.1 {name} >> /etc/hosts`"),
        )
    }])
}

/// Ports of the cluster, and who listens there.
const PORTS: &[(u16, &str)] = &[
    (16443, "API server"),
    (25000, "cluster agent"),
    (19001, "datastore"),
    (10250, "kubelet"),
    (10257, "controllers"),
    (10259, "scheduler"),
    (32000, "registry"),
];

pub(crate) fn ports(facts: &Facts<'_>) -> Result<Vec<Finding>> {
    let Some(output) = facts.ask(&["ss", "-Hltnp"])? else { return Ok(vec![Finding::fine("there is no `ss` to ask")]) };
    let mut taken: BTreeMap<u16, String> = BTreeMap::new();
    for line in output.stdout.lines() {
        // State Recv-Q Send-Q Local:Port Peer:Port users:(("name",pid=1,fd=2))
        let mut words = line.split_whitespace().skip(3);
        let Some(port) = words.next().and_then(|local| local.rsplit_once(':')?.1.parse::<u16>().ok()) else { continue };
        if !PORTS.iter().any(|(ours, _)| *ours == port) {
            continue;
        }
        let users = words.nth(1).unwrap_or_default();
        let name = users.split('"').nth(1).unwrap_or("a process");
        let pid = users.split("pid=").nth(1).and_then(|rest| rest.split(',').next()).unwrap_or_default();
        if !of_microk8s(facts, pid)? {
            taken
                .entry(port)
                .or_insert_with(|| if pid.is_empty() { name.to_owned() } else { format!("{name}, process {pid}") });
        }
    }
    if taken.is_empty() {
        return Ok(vec![Finding::fine("the cluster's ports are free")]);
    }
    let what = |port: &u16| PORTS.iter().find(|(p, _)| p == port).map_or("", |(_, what)| what);
    let list: Vec<String> = taken.iter().map(|(port, who)| format!("{port} ({}): {who}", what(port))).collect();
    Ok(vec![Finding::refused(
        format!("ports of the cluster are taken: {}", list.join("; ")),
        "stop who holds them: `systemctl status PROCESS` names the service",
    )])
}

/// Whether a process belongs to the snap: by its control group, or by the program that it runs.
fn of_microk8s(facts: &Facts<'_>, pid: &str) -> Result<bool> {
    if pid.is_empty() {
        return Ok(false);
    }
    let program = facts.host.link(format!("/proc/{pid}/exe").as_ref());
    Ok(program.is_some_and(|p| p.starts_with("/snap/microk8s"))
        || facts.text(&format!("/proc/{pid}/cgroup"))?.contains("snap.microk8s."))
}

pub(crate) fn default_route(facts: &Facts<'_>) -> Result<Vec<Finding>> {
    let network = facts.network()?;
    Ok(vec![match network.default_route() {
        Some(route) => Finding::fine(match (route.gateway, route.dev.as_deref()) {
            (Some(gateway), Some(dev)) => format!("by {gateway} ({dev})"),
            (None, Some(dev)) => format!("by {dev}"),
            _ => "there is one".to_owned(),
        }),
        None => Finding::refused(
            "there is no default route: the API server finds no address of its own, and nothing can be fetched",
            if facts.bundle.is_some() {
                format!(
                    "one that leads to nobody serves as well: `ip route add default dev {} metric 4096`, and the same in the network's configuration \
                     (netplan)",
                    network.interfaces.iter().find(|i| i.up && i.name != "lo").map_or("DEVICE", |i| i.name.as_str())
                )
            } else {
                "`ip route add default via ROUTER`, and see the network's configuration (netplan)".to_owned()
            },
        ),
    }])
}

pub(crate) fn dns(facts: &Facts<'_>) -> Result<Vec<Finding>> {
    let servers = &facts.network()?.dns;
    let list: Vec<String> = servers.iter().map(Ipv4Addr::to_string).collect();
    let text = facts.text("/etc/resolv.conf")?;
    // IPv6 ones count too, though only CoreDNS on a dual-stack cluster reaches them.
    let any = text.lines().any(|l| l.trim_start().starts_with("nameserver"));
    Ok(vec![if !list.is_empty() {
        Finding::fine(list.join(", "))
    } else if any {
        Finding::warned(
            "the only name server in /etc/resolv.conf is on this host's own loopback or has an IPv6 address: pods cannot ask it",
            "name one in the LAN as well (netplan: nameservers), or later: `microk8s disable dns; microk8s enable dns:SERVER`",
        )
    } else {
        Finding::warned(
            "there is no name server in /etc/resolv.conf: neither the store nor a registry will be found by name",
            "name one (netplan: nameservers, or `resolvectl dns DEVICE SERVER`)",
        )
    }])
}

/// Packets of pods are forwarded; docker and ufw forbid that by default.
pub(crate) fn forwarding(facts: &Facts<'_>) -> Result<Vec<Finding>> {
    let ufw = facts.text("/etc/ufw/ufw.conf")?.lines().any(|l| l.trim() == "ENABLED=yes");
    let routed = facts.text("/etc/default/ufw")?.lines().any(|l| l.trim() == "DEFAULT_FORWARD_POLICY=\"ACCEPT\"");
    if ufw && !routed {
        return Ok(vec![Finding::warned(
            "ufw is on and drops what is forwarded: pods may not reach the network",
            "`ufw allow in on cni0; ufw allow out on cni0; ufw allow in on vxlan.calico; ufw allow out on vxlan.calico; ufw default allow routed`",
        )]);
    }
    let rules = facts.ask(&["iptables", "-S", "FORWARD"])?.map(|o| o.stdout).unwrap_or_default();
    let drops = rules.lines().any(|l| l.trim() == "-P FORWARD DROP");
    // Calico and kube-proxy accept what is theirs, once they are there.
    let accepted = rules.lines().any(|l| l.starts_with("-A FORWARD") && l.contains("cali-FORWARD"));
    if !drops || accepted {
        return Ok(vec![Finding::fine(if drops {
            "the policy of FORWARD is DROP, and the pod network is accepted"
        } else {
            "packets are forwarded"
        })]);
    }
    let docker = if facts.exists("/var/run/docker.sock") { " (docker sets it)" } else { "" };
    Ok(vec![Finding::warned(
        format!("the packet filter's policy for forwarding is DROP{docker}: pods may not reach the network"),
        "`iptables -P FORWARD ACCEPT`, and for the next boot: `apt install iptables-persistent`",
    )])
}

/// Where MicroK8s' services and containerd take their proxy from.
const ENVIRONMENT: &str = "/etc/environment";

pub(crate) fn proxy(facts: &Facts<'_>) -> Result<Vec<Finding>> {
    // Of this process, as sudo let it through.
    let own = variables(&facts.text("/proc/self/environ")?.replace('\0', "\n"));
    let system = variables(&facts.text(ENVIRONMENT)?);
    let url = |of: &BTreeMap<String, String>| of.get("https_proxy").or_else(|| of.get("http_proxy")).cloned();
    let Some(proxy) = url(&own).or_else(|| url(&system)) else { return Ok(vec![Finding::fine("no proxy is set")]) };
    // A password in it is nobody's business.
    let shown = proxy.rsplit_once('@').map_or(proxy.clone(), |(_, host)| host.to_owned());
    let reserved = facts.reserved().unwrap_or_default();
    let wanted = by_no_proxy(facts, &reserved);
    let line = wanted.iter().map(|(text, _)| text.clone()).collect::<Vec<_>>().join(",");
    let lacking = |of: &BTreeMap<String, String>| {
        let exempt = of.get("no_proxy").cloned().unwrap_or_default();
        wanted.iter().filter(|(_, net)| !covers(&exempt, *net)).map(|(text, _)| text.clone()).collect::<Vec<_>>()
    };
    if url(&system).is_none() {
        return Ok(vec![Finding::warned(
            format!(
                "the proxy {shown} is set for this command, but not in {ENVIRONMENT}: MicroK8s will fetch its images without it"
            ),
            format!(
                "put HTTP_PROXY, HTTPS_PROXY and NO_PROXY={line} into {ENVIRONMENT}; for snapd: `snap set system proxy.https={shown}`"
            ),
        )]);
    }
    let missing = lacking(&system);
    Ok(vec![if missing.is_empty() {
        Finding::fine(format!("{shown}, but not for the cluster"))
    } else {
        Finding::warned(
            format!(
                "NO_PROXY in {ENVIRONMENT} lacks {}: the cluster would speak with itself through {shown}",
                missing.join(", ")
            ),
            format!("put NO_PROXY={line},.svc,.cluster.local into {ENVIRONMENT}"),
        )
    }])
}

/// What must not go through a proxy: the cluster's networks and the host itself.
fn by_no_proxy(facts: &Facts<'_>, reserved: &Reserved) -> Vec<(String, Ipv4Net)> {
    let mut nets = vec![Ipv4Net::from(Ipv4Addr::LOCALHOST), reserved.pods, reserved.services];
    if let Ok(Some((_, lan))) = facts.network().map(|n| n.main_lan()) {
        nets.push(lan);
    }
    let text = |net: &Ipv4Net| if net.prefix_len() == 32 { net.addr().to_string() } else { net.to_string() };
    nets.iter().map(|net| (text(net), *net)).collect()
}

fn covers(exempt: &str, net: Ipv4Net) -> bool {
    exempt.split([',', ' ']).map(str::trim).any(|entry| {
        entry == "*"
            || (entry == "localhost" && net.addr().is_loopback())
            || entry.parse::<Ipv4Net>().is_ok_and(|e| e.contains(&net))
            || entry.parse::<Ipv4Addr>().is_ok_and(|e| Ipv4Net::from(e) == net)
    })
}

/// Variables of an environment file, names in lower case; a later line wins.
fn variables(text: &str) -> BTreeMap<String, String> {
    let line = |l: &str| {
        let (name, value) = l.trim().trim_start_matches("export ").split_once('=')?;
        let value = value.trim().trim_matches(['"', '\'']);
        (!value.is_empty()).then(|| (name.trim().to_ascii_lowercase(), value.to_owned()))
    };
    text.lines().filter_map(line).collect()
}

/// Registries of MicroK8s' own images and of its addons.
const REGISTRIES: &[&str] = &["docker.io", "quay.io", "registry.k8s.io"];

/// Only whether somebody listens: what a pull answers (a limit, a missing image) is seen when it is made.
pub(crate) fn registries(facts: &Facts<'_>) -> Result<Vec<Finding>> {
    let system = variables(&facts.text(ENVIRONMENT)?);
    if system.contains_key("https_proxy") {
        return Ok(vec![Finding::fine("they are reached through the proxy, which is not asked")]);
    }
    let own = registry_of(&facts.spec.iris.image);
    let mut names: Vec<&str> = REGISTRIES.to_vec();
    // A registry of the cluster itself is not there yet.
    if !names.contains(&own) && !own.starts_with("localhost") && !own.starts_with("127.") {
        names.push(own);
    }
    let answers: Vec<_> = std::thread::scope(|scope| {
        let ask = |name: &&str| {
            // Docker Hub's name for people is not the one of its registry.
            let (host, port) =
                name.split_once(':').map_or((*name, 443), |(host, port)| (host, port.parse().unwrap_or(443)));
            let host = if host == "docker.io" { "registry-1.docker.io" } else { host };
            facts.host.reach(host, port)
        };
        let asked: Vec<_> = names.iter().map(|name| scope.spawn(move || ask(name))).collect();
        asked.into_iter().map(|t| t.join().unwrap_or(Ok(()))).collect()
    });
    let silent: Vec<(&str, String)> = names
        .iter()
        .zip(answers)
        .filter_map(|(name, answer)| Some((*name, answer.err().and_then(|e| e.cause)?)))
        .collect();
    let Some((_, why)) = silent.first() else { return Ok(vec![Finding::fine(names.join(", "))]) };
    let list: Vec<&str> = silent.iter().map(|(name, _)| *name).collect();
    Ok(vec![Finding::warned(
        format!("images may not be pulled from {}: {why}", list.join(", ")),
        "see the firewall, DNS and the proxy; where a mirror serves the images, this is to be expected",
    )])
}

/// The registry in an image's name, as containerd reads it.
fn registry_of(image: &str) -> &str {
    match image.split_once('/') {
        Some((first, _)) if first.contains(['.', ':']) || first == "localhost" => first,
        _ => "docker.io",
    }
}
