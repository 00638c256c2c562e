//! Asking a real LAN who is there: a bridge and hosts in network namespaces of their own.
//!
//! Each question runs as this same test program inside the namespace of the asking machine (see `question`).

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    collections::BTreeMap,
    env, fs,
    net::{Ipv4Addr, SocketAddr, TcpStream},
    path::Path,
    process::{self, Command},
    time::{Duration, Instant},
};

use iris_mk8s::{config::lb_range::LbRange, host::neighbours};
use serde::{Deserialize, Serialize};

#[derive(Debug, Serialize, Deserialize)]
struct Answer {
    in_use: BTreeMap<Ipv4Addr, String>,
    took: Duration,
    /// What a TCP connection to each address that answered brings.
    tcp: BTreeMap<Ipv4Addr, String>,
}

/// Not a test: the part that runs inside the namespace.
#[test]
#[ignore = "run by the others, inside a namespace"]
fn question() {
    let Ok(file) = env::var("ARP_ANSWER") else { return };
    let range: LbRange = env::var("ARP_RANGE").unwrap().parse().unwrap();
    let budget = Duration::from_millis(env::var("ARP_BUDGET_MS").unwrap().parse().unwrap());
    let begun = Instant::now();
    let in_use = neighbours::in_use(&range, budget).unwrap();
    let took = begun.elapsed();
    let connect = |address: &Ipv4Addr| match TcpStream::connect_timeout(
        &SocketAddr::from((*address, 9)),
        Duration::from_millis(500),
    ) {
        Ok(_) => "connected".to_owned(),
        Err(e) => e.kind().to_string(),
    };
    let tcp = in_use.keys().map(|address| (*address, connect(address))).collect();
    fs::write(file, serde_json::to_string(&Answer { in_use, took, tcp }).unwrap()).unwrap();
}

/// A LAN with one asking machine, `node`, at 192.168.77.49/24. Gone when dropped.
struct Lan {
    prefix: String,
    namespaces: Vec<String>,
}

impl Lan {
    fn new(name: &str) -> Self {
        let mut lan = Self { prefix: format!("iris-arp-{}-{name}", process::id()), namespaces: Vec::new() };
        lan.namespace("switch");
        lan.in_ns("switch", "ip link add br0 type bridge");
        lan.in_ns("switch", "ip link set br0 up");
        lan.host("node", "192.168.77.49/24", "02:00:00:00:77:49");
        lan
    }

    fn namespace(&mut self, name: &str) {
        let namespace = format!("{}-{name}", self.prefix);
        run(&format!("ip netns add {namespace}"));
        self.namespaces.push(namespace);
    }

    fn in_ns(&self, name: &str, command: &str) -> String {
        run(&format!("ip netns exec {}-{name} {command}", self.prefix))
    }

    fn host(&mut self, name: &str, address: &str, mac: &str) {
        self.namespace(name);
        let port = format!("p-{name}");
        self.in_ns("switch", &format!("ip link add {port} type veth peer name eth0 netns {}-{name}", self.prefix));
        self.in_ns("switch", &format!("ip link set {port} master br0 up"));
        self.in_ns(name, &format!("ip link set eth0 address {mac}"));
        self.in_ns(name, "ip link set eth0 up");
        self.in_ns(name, &format!("ip addr add {address} brd + dev eth0"));
    }

    /// A host that answers ARP and loses every other packet that comes.
    fn silent_host(&mut self, name: &str, address: &str, mac: &str) {
        self.host(name, address, mac);
        self.in_ns(name, "ip link add hole type veth peer name bottom");
        self.in_ns(name, "ip link set hole up");
        self.in_ns(name, "tc qdisc add dev eth0 ingress");
        self.in_ns(
            name,
            "tc filter add dev eth0 parent ffff: protocol ip u32 match u32 0 0 action mirred egress redirect dev hole",
        );
    }

    fn ask(&self, range: &str, budget_ms: u64, as_whom: &str) -> Answer {
        let dir = tempfile::tempdir().unwrap();
        // Where another user can read and write, which the build's directory need not be.
        let (program, answer) = (dir.path().join("arp"), dir.path().join("answer.json"));
        fs::copy(env::current_exe().unwrap(), &program).unwrap();
        run(&format!("chmod 777 {}", dir.path().display()));
        let environment = format!("ARP_ANSWER={} ARP_RANGE={range} ARP_BUDGET_MS={budget_ms}", answer.display());
        self.in_ns("node", &format!("env {environment} {as_whom} {} --ignored --exact question", program.display()));
        serde_json::from_str(&fs::read_to_string(&answer).unwrap()).unwrap()
    }

    /// The node's neighbours: address, MAC, state.
    fn neighbours(&self) -> Vec<String> {
        let mut lines: Vec<String> =
            self.in_ns("node", "ip -4 neigh show").lines().map(|l| l.trim().to_owned()).collect();
        lines.sort();
        lines
    }
}

impl Drop for Lan {
    fn drop(&mut self) {
        for namespace in &self.namespaces {
            let _ = Command::new("ip").args(["netns", "del", namespace]).status();
        }
    }
}

fn run(command: &str) -> String {
    let words: Vec<&str> = command.split_whitespace().collect();
    let output =
        Command::new(words[0]).args(&words[1..]).env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{command}: {text}{}", String::from_utf8_lossy(&output.stderr));
    text
}

/// Without root there are no namespaces: a failure where tests must run, a loud skip elsewhere.
fn can_run() -> bool {
    let root = fs::metadata("/proc/self").is_ok_and(|m| std::os::unix::fs::MetadataExt::uid(&m) == 0)
        && Path::new("/usr/sbin/tc").exists();
    assert!(root || env::var_os("CI").is_none(), "the tests of ARP need root, ip and tc");
    if !root {
        use std::io::Write;
        let _ = writeln!(std::io::stderr(), "SKIPPED: the tests of ARP need root, ip and tc");
    }
    root
}

fn found(pairs: &[(&str, &str)]) -> BTreeMap<Ipv4Addr, String> {
    pairs.iter().map(|(address, mac)| (address.parse().unwrap(), (*mac).to_owned())).collect()
}

const PRINTER: (&str, &str) = ("192.168.77.115", "02:00:00:00:77:15");
const SILENT: (&str, &str) = ("192.168.77.120", "02:00:00:00:77:20");

fn lan_with_hosts(name: &str) -> Lan {
    let mut lan = Lan::new(name);
    lan.host("printer", "192.168.77.115/24", PRINTER.1);
    lan.silent_host("silent", "192.168.77.120/24", SILENT.1);
    lan
}

#[test]
fn hosts_are_found_and_named_within_3_seconds_and_nothing_stays() {
    if !can_run() {
        return;
    }
    let lan = lan_with_hosts("found");
    // The node's own address is in the range too, and nobody else's.
    let answer = lan.ask("192.168.77.40-192.168.77.255", 3000, "");
    assert_eq!(answer.in_use, found(&[PRINTER, SILENT]));
    assert!(answer.took <= Duration::from_secs(3), "{:?}", answer.took);
    // The silent host is silent indeed, and the other one is not.
    let tcp: Vec<&str> = answer.tcp.values().map(String::as_str).collect();
    assert_eq!(tcp, ["connection refused", "timed out"]);
    // Only the two that were connected to are remembered.
    assert!(
        lan.neighbours().iter().all(|line| line.starts_with(PRINTER.0) || line.starts_with(SILENT.0)),
        "{:?}",
        lan.neighbours()
    );
}

#[test]
fn what_was_known_before_is_asked_anew() {
    if !can_run() {
        return;
    }
    let lan = lan_with_hosts("known");
    for neighbour in [
        // Gone, but remembered as if they were there; and one whose card was replaced.
        "192.168.77.121 lladdr 02:00:00:00:00:21 nud stale",
        "192.168.77.122 lladdr 02:00:00:00:00:22 nud reachable",
        "192.168.77.123 lladdr 02:00:00:00:00:23 nud delay",
        "192.168.77.115 lladdr 02:00:00:00:00:99 nud reachable",
        // Somebody wrote this down by hand: his word, and not ours to forget.
        "192.168.77.125 lladdr 02:00:00:00:00:25 nud permanent",
        // Not asked about.
        "192.168.77.200 lladdr 02:00:00:00:02:00 nud stale",
    ] {
        lan.in_ns("node", &format!("ip neigh replace {neighbour} dev eth0"));
    }
    let answer = lan.ask("192.168.77.110-192.168.77.130", 3000, "");
    assert_eq!(answer.in_use, found(&[PRINTER, SILENT, ("192.168.77.125", "02:00:00:00:00:25")]));
    let neighbours = lan.neighbours();
    for kept in [
        "192.168.77.125 dev eth0 lladdr 02:00:00:00:00:25 PERMANENT",
        "192.168.77.200 dev eth0 lladdr 02:00:00:00:02:00 STALE",
    ] {
        assert!(neighbours.iter().any(|line| line == kept), "{kept}: {neighbours:?}");
    }
}

#[test]
fn without_root_old_knowledge_does_not_count() {
    if !can_run() {
        return;
    }
    let lan = lan_with_hosts("user");
    lan.in_ns("node", "ip neigh replace 192.168.77.121 lladdr 02:00:00:00:00:21 nud stale dev eth0");
    let answer = lan.ask("192.168.77.110-192.168.77.130", 3000, "setpriv --reuid 65534 --regid 65534 --clear-groups");
    assert_eq!(answer.in_use, found(&[PRINTER, SILENT]));
}

#[test]
fn a_short_budget_is_kept_and_who_is_there_is_found_all_the_same() {
    if !can_run() {
        return;
    }
    let answer = lan_with_hosts("short").ask("192.168.77.110-192.168.77.130", 400, "");
    assert_eq!(answer.in_use, found(&[PRINTER, SILENT]));
    assert!(answer.took < Duration::from_millis(1500), "{:?}", answer.took);
}

#[test]
fn addresses_of_other_networks_are_not_asked_about() {
    if !can_run() {
        return;
    }
    let lan = lan_with_hosts("other");
    lan.in_ns("node", "ip route add default via 192.168.77.115");
    let answer = lan.ask("192.168.99.10-192.168.99.20,192.168.77.49", 3000, "");
    assert_eq!(answer.in_use, found(&[]));
    assert!(answer.took < Duration::from_millis(1500), "{:?}", answer.took);
    assert_eq!(lan.neighbours(), Vec::<String>::new());
}

#[test]
fn of_a_large_range_the_first_512_are_asked_about() {
    if !can_run() {
        return;
    }
    let mut lan = Lan::new("large");
    lan.in_ns("node", "ip addr add 10.77.0.1/16 dev eth0");
    lan.host("first", "10.77.1.0/16", "02:00:00:00:01:00");
    lan.host("last", "10.77.2.255/16", "02:00:00:00:02:ff");
    lan.host("beyond", "10.77.3.0/16", "02:00:00:00:03:00");
    let answer = lan.ask("10.77.1.0-10.77.4.255", 3000, "");
    assert_eq!(answer.in_use, found(&[("10.77.1.0", "02:00:00:00:01:00"), ("10.77.2.255", "02:00:00:00:02:ff")]));
    assert!(answer.took <= Duration::from_secs(3), "{:?}", answer.took);
}
