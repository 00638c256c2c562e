//! The modelled network: `ip`, the packet filter, and what Kubernetes makes and leaves there.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{
    cluster::Life,
    files::{Files, Node},
    world::{Era, World},
};

/// Kernel settings that Kubernetes changes: name, as they are, as it makes them.
const SETTINGS: &[(&str, &str, &str)] = &[
    ("net/ipv4/conf/all/forwarding", "0", "1"),
    ("net/ipv4/conf/all/route_localnet", "0", "1"),
    ("net/ipv4/ip_forward", "0", "1"),
    ("net/netfilter/nf_conntrack_tcp_timeout_close_wait", "60", "3600"),
    ("net/netfilter/nf_conntrack_tcp_timeout_established", "432000", "86400"),
    ("vm/overcommit_memory", "0", "1"),
    ("kernel/panic", "0", "10"),
    ("kernel/panic_on_oops", "0", "1"),
];

/// What the services, kubelet and containerd make on the host, and `snap remove` leaves.
const LEFT: &[&str] = &[
    "/run/containerd",
    "/run/netns",
    "/usr/libexec/kubernetes",
    "/var/lib/cni",
    "/var/log/containers",
    "/var/log/pods",
];

pub fn plain_settings(files: &mut Files) {
    for (name, plain, _) in SETTINGS {
        files.write(&format!("/proc/sys/{name}"), format!("{plain}\n"));
    }
}

/// Rules of a host that has some of its own.
pub fn plain_rules() -> Vec<String> {
    let lines = [
        "*filter",
        ":INPUT ACCEPT [0:0]",
        ":FORWARD ACCEPT [0:0]",
        ":OUTPUT ACCEPT [0:0]",
        ":MINE - [0:0]",
        "-A INPUT -p tcp -m tcp --dport 22 -j MINE",
        "-A MINE -j ACCEPT",
        "COMMIT",
    ];
    lines.map(str::to_owned).to_vec()
}

/// Lines that the remove hook takes away by itself.
const HOOKS_OWN: &str = "generated for MicroK8s pods";

fn kubernetes_rules(of_ipv4: bool) -> Vec<String> {
    let mut lines = vec![
        "*mangle".to_owned(),
        ":PREROUTING ACCEPT [0:0]".to_owned(),
        ":KUBE-KUBELET-CANARY - [0:0]".to_owned(),
        "COMMIT".to_owned(),
        "*nat".to_owned(),
        ":PREROUTING ACCEPT [0:0]".to_owned(),
        ":POSTROUTING ACCEPT [0:0]".to_owned(),
        ":KUBE-SERVICES - [0:0]".to_owned(),
        ":KUBE-POSTROUTING - [0:0]".to_owned(),
        "-A PREROUTING -m comment --comment \"kubernetes service portals\" -j KUBE-SERVICES".to_owned(),
        "-A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN".to_owned(),
    ];
    if of_ipv4 {
        lines.push(":CNI-4e1891b597cb06637a2e5df4 - [0:0]".to_owned());
        lines.push("-A POSTROUTING -s 10.1.0.5/32 -j CNI-4e1891b597cb06637a2e5df4".to_owned());
    }
    lines.push("COMMIT".to_owned());
    lines
}

/// kube-proxy and kubelet begin to work: rules, settings, folders, links.
pub fn kubernetes_begins(world: &mut World) {
    for (name, _, kubernetes) in SETTINGS {
        world.files.write(&format!("/proc/sys/{name}"), format!("{kubernetes}\n"));
    }
    for path in LEFT {
        world.files.dir(path);
    }
    world.files.write("/run/xtables.lock", "");
    world.files.write("/etc/apparmor.d/cri-containerd.apparmor.d", "profile cri-containerd.apparmor.d {}\n");
    if world.era == Era::Old {
        world.files.dir("/var/lib/kubelet");
    }
    // 1.20 knows nothing of IPv6.
    let families = if world.era == Era::Old { 1 } else { 2 };
    for (at, rules) in world.rules.iter_mut().take(families).enumerate() {
        if !rules.iter().any(|l| l.starts_with(":KUBE-")) {
            rules.extend(kubernetes_rules(at == 0));
        }
        if !rules.iter().any(|l| l.starts_with(":KUBE-FORWARD")) {
            let end = rules.iter().position(|l| l == "COMMIT").unwrap_or(0);
            let forward = [
                ":KUBE-FORWARD - [0:0]",
                "-A FORWARD -m comment --comment \"kubernetes forwarding rules\" -j KUBE-FORWARD",
                "-A KUBE-FORWARD -m mark --mark 0x4000/0x4000 -j ACCEPT",
            ];
            rules.splice(end..end, forward.map(str::to_owned));
        }
        if at == 0 && !rules.iter().any(|l| l.contains(HOOKS_OWN)) {
            let end = rules.iter().position(|l| l == "COMMIT").unwrap_or(0);
            for way in ["-s", "-d"] {
                rules.insert(
                    end,
                    format!("-A FORWARD {way} 10.1.0.0/16 -m comment --comment \"{HOOKS_OWN}\" -j ACCEPT"),
                );
            }
        }
    }
    for link in ["cni0", POD_LINK] {
        world.links.insert(link.to_owned());
    }
    world.files.write("/run/netns/cni-1f2e3d4c", "");
}

/// One process stands for those of all pods that outlive their MicroK8s.
const ORPHAN: &str = "/proc/4711/cgroup";

/// The pods' processes are ended.
pub fn end_pods(world: &mut World) {
    world.files.remove("/proc/4711");
}

/// What the snap's remove hook takes away.
pub fn remove_hook(world: &mut World) {
    world.rules[0].retain(|line| !line.contains(HOOKS_OWN));
    if world.era == Era::Old {
        // Nobody ends the pods: they live on without a parent, in namespaces of their own.
        world.links.remove("cni0");
        if world.cluster.as_ref().is_some_and(|c| c.pods.values().any(|life| *life == Life::Ready)) {
            world.files.write(ORPHAN, "4:memory:/kubepods/besteffort/pod6e0f/3fa9\n");
        }
        return;
    }
    // The link of a pod goes with its network namespace, and other people's links stay.
    world.links.retain(|link| !is_pod_link(link));
    for name in world.files.names("/run/netns") {
        if name.starts_with("cni-") {
            world.files.remove(format!("/run/netns/{name}"));
        }
    }
    for path in ["/var/lib/kubelet", "/var/lib/calico", "/etc/cni/net.d", "/opt/cni/bin"] {
        if matches!(world.files.get(path), Some(Node::Link(_))) {
            world.files.remove(path);
        }
    }
    world.files.remove("/etc/sysctl.d/10-microk8s.conf");
}

/// The link that stands for those of all pods of MicroK8s.
pub const POD_LINK: &str = "veth0a1b2c3d";

pub fn is_pod_link(name: &str) -> bool {
    name == "cni0" || name == POD_LINK || name.starts_with("cali") || name == "vxlan.calico"
}

/// Somebody adds rules of their own: chains, and lines at the end of a table.
pub fn add_rules(rules: &mut Vec<String>, table: &str, chains: &[&str], lines: &[&str]) {
    if !rules.iter().any(|line| line == table) {
        rules.extend([table.to_owned(), "COMMIT".to_owned()]);
    }
    let begin = rules.iter().position(|line| line == table).unwrap_or_default();
    let end = begin + rules[begin..].iter().position(|line| line == "COMMIT").unwrap_or_default();
    let new = chains.iter().map(|c| format!(":{c} - [0:0]")).chain(lines.iter().map(|l| (*l).to_owned()));
    let new: Vec<String> = new.filter(|line| !rules[begin..end].contains(line)).collect();
    rules.splice(end..end, new);
}

/// `iptables-save`.
pub fn save(world: &World, which: usize) -> String {
    if world.rules[which].is_empty() {
        String::new()
    } else {
        format!("# Generated\n{}\n# Completed\n", world.rules[which].join("\n"))
    }
}

/// `iptables-restore`: tables that the text does not name stay as they are.
pub fn restore(world: &mut World, which: usize, text: &str) {
    let tables = |lines: &[String]| -> Vec<Vec<String>> {
        lines.split_inclusive(|l| l == "COMMIT").map(<[String]>::to_vec).collect()
    };
    let lines: Vec<String> = text.lines().filter(|l| !l.starts_with('#')).map(str::to_owned).collect();
    let new = tables(&lines);
    let named = |table: &[String]| new.iter().any(|t| t.first() == table.first());
    let mut all: Vec<Vec<String>> = tables(&world.rules[which]).into_iter().filter(|t| !named(t)).collect();
    all.extend(new.clone());
    world.rules[which] = all.concat();
}

/// The rules that differ from an empty packet filter: tables and chains that the kernel has by itself say nothing.
pub fn meaning(rules: &[String]) -> BTreeSet<String> {
    let mut table = "";
    let mut found = BTreeSet::new();
    for line in rules {
        if line.starts_with('*') {
            table = line;
        } else if line.starts_with("-A") || (line.starts_with(':') && line.contains(" - ")) {
            found.insert(format!("{table} {line}"));
        }
    }
    found
}

/// `ip -j link`.
pub fn links(world: &World) -> String {
    let links: Vec<Value> = world.links.iter().map(|name| link(name)).collect();
    Value::from(links).to_string()
}

fn link(name: &str) -> Value {
    let kind = if name == "lo" { "loopback" } else { "ether" };
    let flags = if name == "lo" {
        ["LOOPBACK", "UP", "LOWER_UP"].to_vec()
    } else {
        ["BROADCAST", "MULTICAST", "UP", "LOWER_UP"].to_vec()
    };
    json!({"ifname": name, "flags": flags, "link_type": kind})
}

/// `ip -j -d addr`.
pub fn addresses(world: &World) -> String {
    let with = |name: &String| {
        let mut link = link(name);
        if name == "host0" {
            link["address"] = json!("32:11:47:6f:b9:04");
            link["linkinfo"] = json!({"info_kind": "veth"});
        }
        let address = match name.as_str() {
            "lo" => Some("127.0.0.1/8"),
            "host0" => Some(world.address.as_str()),
            "cni0" => Some("10.1.243.1/24"),
            _ => None,
        };
        let info = address.and_then(|a| a.split_once('/')).map(|(local, length)| {
            json!({"family": "inet", "local": local, "prefixlen": length.parse::<u8>().expect("a length")})
        });
        link["addr_info"] = Value::from_iter(info);
        link
    };
    Value::from_iter(world.links.iter().map(with)).to_string()
}

/// `ip -j -d route`.
pub fn routes(world: &World) -> String {
    let mut routes = vec![
        json!({"type": "unicast", "dst": "default", "gateway": "192.168.11.1", "dev": "host0"}),
        json!({"type": "unicast", "dst": "192.168.11.0/24", "dev": "host0"}),
    ];
    if world.links.contains("cni0") {
        routes.push(json!({"type": "unicast", "dst": "10.1.243.0/24", "dev": "cni0"}));
    }
    Value::from(routes).to_string()
}
