//! Network devices and namespaces of pods. A name proves nothing: Docker and LXD call theirs `veth...` too, k3s has a `cni0`. What proves is
//! an address in MicroK8s' pod network, a place on its bridge, or an end in a namespace that has such an address.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{Others, run};
use crate::{
    engine::step::Act,
    error::{Error, Result},
    host::{Cmd, Host},
    network::Reserved,
    stack::left::Left,
};

/// What `ip` says when something is gone, perhaps with something else: both ends of a pair are one thing.
const NO_DEVICE: &str = "Cannot find device";
const NO_NAMESPACE: &str = "No such file or directory";
const NO_ROUTE: &str = "No such process";

/// Devices that a pod network makes under a fixed name, with the number of its overlay.
const NAMED: &[(&str, Option<u64>)] =
    &[("cni0", None), ("vxlan.calico", Some(4096)), ("flannel.1", Some(1)), ("kube-ipvs0", None)];

/// Kinds of devices that lead on to other machines, or to containers.
const FORWARDED: &[&str] = &["bridge", "veth", "wireguard", "tun", "vxlan", "macvlan", "ipvlan"];

/// Felix' mark on routes.
const OF_FELIX: &str = "80";

/// What the host has.
#[derive(Clone, Debug, Default)]
struct Net {
    /// `ip -j -d addr`
    links: Vec<Value>,
    /// `ip -j -d route`
    routes: Vec<Value>,
    /// Namespaces `cni-...` with their number, if they have one, and whether an address of pods is in them; none when no address is.
    namespaces: Vec<(String, Option<u64>, Option<bool>)>,
}

/// JSON of a command that lists; empty output is an empty list.
fn list(host: &dyn Host, argv: &[&str]) -> Result<Vec<Value>> {
    let output = host.ask(&Cmd::reads(argv.iter().copied()))?;
    if output.ok() && output.stdout.trim().is_empty() {
        return Ok(Vec::new());
    }
    let cannot = || Error::failed(format!("`{}` {}", argv.join(" "), output.ended())).because(output.tail());
    if !output.ok() {
        return Err(cannot());
    }
    serde_json::from_str(&output.stdout).map_err(|e| cannot().caused_by(e))
}

/// Names of all network devices.
pub(super) fn names(host: &dyn Host) -> Result<Vec<String>> {
    let links = list(host, &["ip", "-j", "link"])?;
    Ok(links.iter().filter_map(|l| l["ifname"].as_str().map(str::to_owned)).collect())
}

/// Whether an address of `ip -j addr` lies in the network of the pods or of the services.
fn of_pods(link: &Value) -> bool {
    let Reserved { pods, services, .. } = Reserved::default();
    let inside =
        |text: &str| text.parse().is_ok_and(|a: std::net::Ipv4Addr| pods.contains(&a) || services.contains(&a));
    link["addr_info"].as_array().into_iter().flatten().any(|a| a["local"].as_str().is_some_and(inside))
}

/// `cali12ab34cd56e`, or `veth` with eight digits: Docker's have seven, LXD's have letters beyond f.
fn is_of_plugin(name: &str) -> bool {
    let digits = name.strip_prefix("veth").filter(|d| d.len() == 8 && d.bytes().all(|b| b.is_ascii_hexdigit()));
    name.starts_with("cali") || digits.is_some()
}

/// Whether it has an address of IPv4 at all.
fn has_address(link: &Value) -> bool {
    link["addr_info"].as_array().into_iter().flatten().any(|a| a["family"] == "inet")
}

fn is_in_pods(destination: &str) -> bool {
    let address = destination.split('/').next().unwrap_or_default();
    address.parse().is_ok_and(|a: std::net::Ipv4Addr| Reserved::default().pods.contains(&a))
}

impl Net {
    fn look(host: &dyn Host, there: &[String]) -> Result<Self> {
        let mut namespaces = Vec::new();
        for namespace in list(host, &["ip", "-j", "netns", "list"])? {
            let Some(name) = namespace["name"].as_str().filter(|n| n.starts_with("cni-")) else { continue };
            if there.iter().any(|t| t == name) {
                continue;
            }
            // It may go at any moment, and one that cannot be looked into proves nothing.
            let inside = list(host, &["ip", "-n", name, "-j", "addr"]).unwrap_or_default();
            let mut other = inside.iter().filter(|link| link["ifname"] != "lo" && has_address(link)).peekable();
            let pods = other.peek().is_some().then(|| other.any(of_pods));
            namespaces.push((name.to_owned(), namespace["id"].as_u64(), pods));
        }
        let routes = list(host, &["ip", "-j", "-d", "route"])?;
        Ok(Self { links: list(host, &["ip", "-j", "-d", "addr"])?, routes, namespaces })
    }

    fn link(&self, name: &str) -> Option<&Value> {
        self.links.iter().find(|l| l["ifname"] == name)
    }

    /// Whether a device is one of MicroK8s' pod network; none when only its name says so.
    fn is_ours(&self, link: &Value, others: &Others) -> Option<bool> {
        let name = link["ifname"].as_str().unwrap_or_default();
        let info = &link["linkinfo"];
        if let Some((_, id)) = NAMED.iter().find(|(named, _)| *named == name) {
            if of_pods(link) {
                return Some(true);
            }
            // One that has another network's address is that network's; an overlay that is down may have lost its own.
            let by_id = id.is_some() && info["info_data"]["id"].as_u64() == *id && others.kubernetes.is_none();
            return if has_address(link) { Some(false) } else { by_id.then_some(true) };
        }
        if info["info_kind"] != "veth" {
            return Some(false);
        }
        let on_bridge = link["master"].as_str().and_then(|m| self.link(m)).is_some_and(|bridge| {
            NAMED.iter().any(|(named, _)| bridge["ifname"] == *named) && self.is_ours(bridge, others) == Some(true)
        });
        let in_namespace = link["link_netnsid"].as_u64().is_some_and(|id| {
            self.namespaces.iter().any(|(_, number, pods)| *pods == Some(true) && *number == Some(id))
        });
        let mut ways = self.routes.iter().filter(|r| r["dev"] == name).filter_map(|r| r["dst"].as_str()).peekable();
        let leads = ways.peek().is_some();
        if on_bridge || in_namespace || ways.any(is_in_pods) {
            return Some(true);
        }
        // Only Calico and the plugins of CNI name their devices so; where one hangs, and what leads over it, tells whose it is.
        let hangs = leads || link["master"].is_string() || has_address(link);
        if is_of_plugin(name) && !hangs { None } else { Some(false) }
    }

    /// A device that came since, for which packets are forwarded, and which is none of MicroK8s'.
    fn forwards(&self, there: &[String], others: &Others) -> Option<String> {
        let forwards = |link: &&Value| {
            let is_new = !there.iter().any(|t| link["ifname"] == *t);
            let kind = link["linkinfo"]["info_kind"].as_str().is_some_and(|kind| FORWARDED.contains(&kind));
            // What has neither an address nor anything that hangs on it leads nowhere.
            let leads = has_address(link) || self.links.iter().any(|l| l["master"] == link["ifname"]);
            is_new && kind && leads && self.is_ours(link, others) != Some(true)
        };
        self.links.iter().find(forwards)?["ifname"].as_str().map(str::to_owned)
    }

    /// What to take away, and what stays.
    fn judge(&self, there: &[String], others: &Others) -> (Vec<Act>, Vec<Left>) {
        let (mut acts, mut left): (Vec<Act>, Vec<Left>) = (Vec::new(), Vec::new());
        let mut going: BTreeSet<u64> = BTreeSet::new();
        for (name, number, pods) in &self.namespaces {
            match pods {
                Some(true) => {
                    acts.push(run(&["ip", "netns", "delete", name], NO_NAMESPACE));
                    going.extend(*number);
                }
                Some(false) => {}
                None => left.push(Left::ours(
                    format!("network namespace {name}"),
                    "it has no address, and nothing says whose it is: `ip netns delete` takes it away",
                )),
            }
        }
        let mut gone: BTreeSet<&str> = BTreeSet::new();
        // What hangs on a bridge goes before it: a run that dies in between would find a device that hangs nowhere.
        let is_named = |link: &&Value| NAMED.iter().any(|(named, _)| link["ifname"] == *named);
        let (bridges, devices): (Vec<&Value>, Vec<&Value>) = self.links.iter().partition(is_named);
        for link in devices.into_iter().chain(bridges) {
            let Some(name) = link["ifname"].as_str().filter(|n| !there.iter().any(|t| t == n)) else { continue };
            match self.is_ours(link, others) {
                Some(true) => {
                    // It goes with its other end, or with the namespace of that.
                    let with_other = link["link"].as_str().is_some_and(|other| gone.contains(other));
                    let with_namespace = link["link_netnsid"].as_u64().is_some_and(|id| going.contains(&id));
                    if !with_other && !with_namespace {
                        acts.push(run(&["ip", "link", "delete", name], NO_DEVICE));
                    }
                    gone.insert(name);
                }
                Some(false) => {}
                None => left.push(Left::ours(
                    format!("network device {name}"),
                    "it has no address and no route of MicroK8s' pods, and nothing says whose it is: `ip link delete` takes it away",
                )),
            }
        }
        for route in &self.routes {
            let to = route["dst"].as_str().unwrap_or_default();
            if route["type"] == "blackhole" && route["protocol"] == OF_FELIX && is_in_pods(to) {
                acts.push(run(&["ip", "route", "delete", "blackhole", to, "proto", OF_FELIX], NO_ROUTE));
            }
        }
        (acts, left)
    }
}

/// What of MicroK8s' pod network is there: what to take away, what stays, and a device of somebody's for which packets are forwarded. Devices
/// and namespaces that were there before are nobody's here.
pub(super) fn left(
    host: &dyn Host,
    devices: &[String],
    namespaces: &[String],
    others: &Others,
) -> Result<(Vec<Act>, Vec<Left>, Option<String>)> {
    let net = Net::look(host, namespaces)?;
    let (acts, left) = net.judge(devices, others);
    Ok((acts, left, net.forwards(devices, others)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn link(name: &str, kind: &str, more: &Value) -> Value {
        let mut link = json!({"ifname": name, "linkinfo": {"info_kind": kind}, "addr_info": []});
        for (field, value) in more.as_object().into_iter().flatten() {
            link[field] = value.clone();
        }
        link
    }

    fn address(local: &str) -> Value {
        json!([{"family": "inet", "local": local, "prefixlen": 24}])
    }

    fn shown(net: &Net, there: &[&str], others: &Others) -> (Vec<String>, Vec<String>) {
        let there: Vec<String> = there.iter().map(|t| (*t).to_owned()).collect();
        let (acts, left) = net.judge(&there, others);
        (acts.iter().map(Act::show).collect(), left.iter().map(|l| l.what.clone()).collect())
    }

    fn other() -> Others {
        Others { kubernetes: Some("k3s is on this host".to_owned()), runtime: None }
    }

    /// As `ip` of iproute2 6.1 wrote it in namespaces of a test, for MicroK8s', Docker's and LXD's devices side by side.
    fn host() -> Net {
        Net {
            links: vec![
                link("lo", "", &json!({"addr_info": address("127.0.0.1")})),
                link("host0", "veth", &json!({"link_netnsid": 0, "addr_info": address("192.168.11.49")})),
                link("cni0", "bridge", &json!({"addr_info": address("10.1.243.1")})),
                link("veth1a", "veth", &json!({"link_netnsid": 1, "master": "cni0"})),
                link("veth1b", "veth", &json!({"link_netnsid": 3, "master": "cni0"})),
                link("docker0", "bridge", &json!({"addr_info": address("172.17.0.1")})),
                link("veth2a", "veth", &json!({"link_netnsid": 2, "master": "docker0"})),
                link("lxdbr0", "bridge", &json!({"addr_info": address("10.20.30.1")})),
                link("veth3a", "veth", &json!({"link_netnsid": 4, "master": "lxdbr0"})),
                link(
                    "vxlan.calico",
                    "vxlan",
                    &json!({"addr_info": address("10.1.243.192"), "linkinfo": {"info_kind": "vxlan", "info_data": {"id": 4096}}}),
                ),
                link("cali12ab", "veth", &json!({"link_netnsid": 5})),
                link("tunl0", "ipip", &json!({})),
            ],
            routes: vec![
                json!({"type": "unicast", "dst": "default", "dev": "host0"}),
                json!({"type": "unicast", "dst": "10.1.243.200", "dev": "cali12ab"}),
                json!({"type": "blackhole", "dst": "10.1.243.192/26", "protocol": "80"}),
                json!({"type": "blackhole", "dst": "10.9.0.0/26", "protocol": "80"}),
                json!({"type": "blackhole", "dst": "10.1.9.0/26", "protocol": "static"}),
            ],
            namespaces: vec![("cni-1".to_owned(), Some(1), Some(true))],
        }
    }

    #[test]
    fn only_what_is_proven_to_be_of_the_pod_network_goes() {
        let (acts, left) = shown(&host(), &["lo", "host0"], &Others::default());
        assert_eq!(
            acts,
            [
                "ip netns delete cni-1",
                // Its other end is in a namespace without a name: that of a process which still runs, or which is just going.
                "ip link delete veth1b",
                "ip link delete cali12ab",
                "ip link delete cni0",
                "ip link delete vxlan.calico",
                "ip route delete blackhole 10.1.243.192/26 proto 80"
            ]
        );
        assert_eq!(left, [""; 0]);
        assert_eq!(host().forwards(&["host0".to_owned()], &Others::default()).as_deref(), Some("docker0"));
        let known = ["host0", "docker0", "veth2a", "lxdbr0", "veth3a"].map(str::to_owned);
        assert_eq!(host().forwards(&known, &Others::default()), None, "what is MicroK8s' does not count");
        let (acts, _) =
            shown(&host(), &["lo", "host0", "cni0", "vxlan.calico", "cali12ab", "veth1b"], &Others::default());
        assert_eq!(acts.len(), 2, "what was there before stays: {acts:?}");
    }

    #[test]
    fn devices_of_the_same_names_that_another_kubernetes_made_stay() {
        let overlay = |more: &Value| {
            let info = json!({"linkinfo": {"info_kind": "vxlan", "info_data": {"id": 1}}});
            let mut link = link("flannel.1", "vxlan", &info);
            link["addr_info"] = more.clone();
            link
        };
        let mut net = host();
        net.namespaces = vec![("cni-9".to_owned(), Some(1), Some(false))];
        net.links.retain(|l| !["cni0", "vxlan.calico"].iter().any(|n| l["ifname"] == *n));
        net.links.push(link("cni0", "bridge", &json!({"addr_info": address("10.42.0.1")})));
        net.links.push(overlay(&address("10.42.0.0")));
        net.routes = vec![json!({"type": "unicast", "dst": "10.42.0.7", "dev": "cali12ab"})];
        for others in [&other(), &Others::default()] {
            assert_eq!(shown(&net, &["lo", "host0"], others), (Vec::new(), Vec::new()));
        }
        // What has only the name is named, and counted.
        net.namespaces = vec![("cni-9".to_owned(), Some(1), None)];
        net.links.retain(|l| l["ifname"] != "cni0" && l["ifname"] != "flannel.1");
        let lone = link("veth0a1b2c3d", "veth", &json!({"link_netnsid": 9}));
        net.links.extend([link("cni0", "bridge", &json!({})), overlay(&json!([])), lone]);
        net.routes.clear();
        let names = [
            "network namespace cni-9",
            "network device cali12ab",
            "network device veth0a1b2c3d",
            "network device cni0",
            "network device flannel.1",
        ];
        assert_eq!(shown(&net, &["lo", "host0"], &other()), (Vec::new(), names.map(str::to_owned).to_vec()));
        assert!(net.judge(&[], &other()).1.iter().all(|l| !l.theirs));
        // An overlay is also known by its number, as long as nobody else may have made it.
        let (acts, left) = shown(&net, &["lo", "host0"], &Others::default());
        assert_eq!((acts.as_slice(), left.len()), (["ip link delete flannel.1".to_owned()].as_slice(), 4));
    }

    #[test]
    fn both_ends_of_a_pair_are_one_thing() {
        let net = Net {
            links: vec![
                link("cni0", "bridge", &json!({"addr_info": address("10.1.243.1")})),
                link("vetha", "veth", &json!({"link": "vethb", "master": "cni0"})),
                link("vethb", "veth", &json!({"link": "vetha", "master": "cni0"})),
            ],
            ..Net::default()
        };
        assert_eq!(shown(&net, &["cni0"], &Others::default()).0, ["ip link delete vetha"]);
    }
}
