//! The modelled network: `ip`, the packet filter, and what Kubernetes makes and leaves there.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{
    cluster::Life,
    files::{Files, Node},
    foreign,
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

/// What kube-proxy, kubelet and a plugin add to a table: chains, and lines.
fn kubernetes_rules(rules: &mut Vec<String>, of_ipv4: bool) {
    add_rules(rules, "*mangle", &["KUBE-KUBELET-CANARY"], &[]);
    let lines = [
        "-A PREROUTING -m comment --comment \"kubernetes service portals\" -j KUBE-SERVICES",
        "-A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN",
    ];
    add_rules(rules, "*nat", &["KUBE-SERVICES", "KUBE-POSTROUTING"], &lines);
    if of_ipv4 {
        let chain = "CNI-4e1891b597cb06637a2e5df4";
        add_rules(rules, "*nat", &[chain], &[&format!("-A POSTROUTING -s 10.1.0.5/32 -j {chain}")]);
    }
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
        // Another Kubernetes has chains of its own beside those that all of them share.
        if !rules.iter().any(|l| l.starts_with(":KUBE-SERVICES")) {
            kubernetes_rules(rules, at == 0);
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

/// Two processes stand for those of all pods that outlive their MicroK8s.
const ORPHANS: &[(u32, &str)] = &[(4711, "/pause"), (4712, "/speaker")];

/// The root of a container of MicroK8s', as the kernel shows it even when the folders are gone.
const ROOT: &str =
    "611 500 0:60 / / rw - overlay overlay rw,lowerdir=/var/snap/microk8s/common/var/lib/containerd/snapshots/1/fs\n";

/// The pods' processes are ended.
pub fn end_pods(world: &mut World) {
    for (pid, _) in ORPHANS {
        world.files.remove(format!("/proc/{pid}"));
    }
}

/// What the snap's remove hook takes away.
pub fn remove_hook(world: &mut World) {
    world.rules[0].retain(|line| !line.contains(HOOKS_OWN));
    if world.era == Era::Old {
        // Nobody ends the pods: they live on without a parent, in namespaces of their own.
        world.links.remove("cni0");
        if world.cluster.as_ref().is_some_and(|c| c.pods.values().any(|life| *life == Life::Ready)) {
            for (pid, program) in ORPHANS {
                foreign::process(world, *pid, 1, program, "/kubepods/besteffort/pod6e0f/3fa9");
                world.files.write(&format!("/proc/{pid}/mountinfo"), ROOT);
            }
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

/// `iptables-restore --noflush`: each table changes as a whole, or not at all.
pub fn restore(world: &mut World, which: usize, text: &str) -> Result<(), String> {
    let mut table = (0, 0);
    let mut new = Vec::new();
    for line in text.lines() {
        match line.split_once(' ').unwrap_or((line, "")) {
            ("COMMIT", _) => {
                let rules = &mut world.rules[which];
                rules.splice(table.0..table.1, std::mem::take(&mut new));
            }
            ("-D", rule) => match new.iter().position(|l: &String| l.strip_prefix("-A ") == Some(rule)) {
                Some(at) => _ = new.remove(at),
                None => return Err(format!("Bad rule (does a matching rule exist in that chain?): {rule}")),
            },
            ("-F", chain) => new.retain(|l| !l.starts_with(&format!("-A {chain} "))),
            ("-X", chain) => {
                let uses = |l: &String| {
                    let words: Vec<&str> = l.split(' ').collect();
                    l.starts_with("-A")
                        && (words[1] == chain || words.windows(2).any(|w| w == ["-j", chain] || w == ["-g", chain]))
                };
                if new.iter().any(uses) {
                    return Err(format!("CHAIN_DEL failed (Device or resource busy): chain {chain}"));
                }
                let before = new.len();
                new.retain(|l| !l.starts_with(&format!(":{chain} ")));
                if new.len() == before {
                    return Err(format!("No chain/target/match by that name: {chain}"));
                }
            }
            (name, "") if name.starts_with('*') => {
                let rules = &world.rules[which];
                let begin = rules.iter().position(|l| l == name).ok_or("no such table")?;
                let end = begin + rules[begin..].iter().position(|l| l == "COMMIT").unwrap_or_default();
                table = (begin, end);
                new = rules[begin..end].to_vec();
            }
            _ => panic!("the modelled packet filter knows no line {line:?}"),
        }
    }
    Ok(())
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

/// A device's kind, where it hangs, and its address.
fn device(world: &World, name: &str) -> (&'static str, Option<&'static str>, Option<String>) {
    let text = |address: &str| Some(address.to_owned());
    match name {
        "lo" => ("", None, text("127.0.0.1/8")),
        "host0" => ("veth", None, Some(world.address.clone())),
        "cni0" => ("bridge", None, text("10.1.243.1/24")),
        POD_LINK => ("veth", Some("cni0"), None),
        "vxlan.calico" => ("vxlan", None, text("10.1.243.192/32")),
        "flannel.1" => ("vxlan", None, text("10.42.0.0/32")),
        "docker0" => ("bridge", None, text("172.17.0.1/16")),
        "br-0123456789ab" => ("bridge", None, text("172.18.0.1/16")),
        "lxdbr0" => ("bridge", None, text("10.20.30.1/24")),
        "nerdctl0" => ("bridge", None, text("10.4.0.1/24")),
        "tunl0" => ("ipip", None, None),
        _ if name.starts_with("veth") => ("veth", None, None),
        _ => ("dummy", None, None),
    }
}

fn address_info(address: Option<String>) -> Value {
    let info = address.as_deref().and_then(|a| a.split_once('/')).map(|(local, length)| {
        json!({"family": "inet", "local": local, "prefixlen": length.parse::<u8>().expect("a length")})
    });
    Value::from_iter(info)
}

/// The network namespace of MicroK8s' pods, and its number.
pub const POD_NAMESPACE: (&str, u64) = ("cni-1f2e3d4c", 1);

/// `ip -j -d addr`.
pub fn addresses(world: &World) -> String {
    let with = |name: &String| {
        let mut link = link(name);
        let (kind, master, address) = device(world, name);
        if name == "host0" {
            link["address"] = json!("32:11:47:6f:b9:04");
        }
        if !kind.is_empty() {
            link["linkinfo"] = json!({"info_kind": kind});
        }
        if let Some(master) = master.filter(|m| world.links.contains(*m)) {
            link["master"] = json!(master);
        }
        if name == POD_LINK && world.files.has(format!("/run/netns/{}", POD_NAMESPACE.0)) {
            link["link_netnsid"] = json!(POD_NAMESPACE.1);
        }
        link["addr_info"] = address_info(address);
        link
    };
    Value::from_iter(world.links.iter().map(with)).to_string()
}

/// `ip -j netns list`: nothing at all where there is none.
pub fn namespaces(world: &World) -> String {
    let shown = |name: String| {
        if name == POD_NAMESPACE.0 { json!({"name": name, "id": POD_NAMESPACE.1}) } else { json!({"name": name}) }
    };
    let all: Vec<Value> = world.files.names("/run/netns").into_iter().map(shown).collect();
    if all.is_empty() { String::new() } else { Value::from(all).to_string() }
}

/// `ip -n NAME -j addr`: one pod of its owner is in it.
pub fn inside(name: &str) -> String {
    let address = if name == POD_NAMESPACE.0 { "10.1.243.5/24" } else { "10.42.0.5/24" };
    json!([{"ifname": "eth0", "addr_info": address_info(Some(address.to_owned()))}]).to_string()
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
