//! The judgement of a range against recorded networks (tests/data/networks): every finding with its words, and `--lb auto`.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    net::Ipv4Addr,
    path::Path,
};

use iris_mk8s::{
    config::lb_range::LbRange,
    network::{Kind, Network, ORDER, Reserved, Severity, answered, check, propose, window},
};
use proptest::prelude::*;
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    network: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    network: String,
    input: String,
    wanted: Option<u64>,
    findings: Vec<Expected>,
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Expected {
    id: String,
    severity: String,
    message: String,
    hint: String,
}

fn cases() -> Vec<Case> {
    toml::from_str::<Table>(include_str!("data/lb_findings.toml")).unwrap().network
}

fn recorded(name: &str) -> Network {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/networks").join(name);
    let read = |file: &str| fs::read_to_string(dir.join(file)).unwrap();
    let mut net = Network::from_ip_json(&read("addr.json"), &read("route.json")).unwrap();
    let mut files: Vec<String> =
        fs::read_dir(&dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    files.sort();
    for file in files {
        match file.as_str() {
            "addr.json" | "route.json" => {}
            "resolv.conf" => net.add_resolv_conf(&read(&file)),
            other => net.add_dhcp_file(other, &read(&file)),
        }
    }
    net
}

fn range(text: &str) -> LbRange {
    text.parse().unwrap()
}

fn addr(text: &str) -> Ipv4Addr {
    text.parse().unwrap()
}

#[test]
fn findings_are_those_of_the_table() {
    for case in cases() {
        let reserved = Reserved { wanted: case.wanted.unwrap_or(1), ..Reserved::default() };
        let findings = check(&range(&case.input), &recorded(&case.network), &reserved);
        let findings: Vec<Expected> = findings
            .into_iter()
            .map(|f| Expected {
                id: f.id.to_owned(),
                severity: format!("{:?}", f.severity).to_lowercase(),
                message: f.message,
                hint: f.hint,
            })
            .collect();
        assert_eq!(findings, case.findings, "{} in {}", case.input, case.network);
    }
}

#[test]
fn every_finding_fires_somewhere_and_none_on_a_good_range() {
    let fired: BTreeSet<String> = cases().into_iter().flat_map(|case| case.findings).map(|f| f.id).collect();
    // What the LAN answers has a test of its own.
    let silent: Vec<_> = ORDER.iter().filter(|id| **id != "lb.in-use" && !fired.contains(**id)).collect();
    assert!(silent.is_empty(), "{silent:?}");
    assert_eq!(check(&range("192.168.11.110-130"), &recorded("plain"), &Reserved::default()), []);
}

/// Nobody shall be sent from one refusal into the next.
#[test]
fn what_a_hint_proposes_is_not_refused() {
    let mut proposals = 0;
    for case in cases() {
        let net = recorded(&case.network);
        let reserved = Reserved { wanted: case.wanted.unwrap_or(1), ..Reserved::default() };
        for finding in case.findings {
            let Some((_, proposed)) = finding.hint.split_once("--lb ") else { continue };
            let refused: Vec<_> = check(&range(proposed), &net, &reserved)
                .into_iter()
                .filter(|f| f.severity == Severity::Refused)
                .collect();
            assert_eq!(refused, [], "{} in {}", case.input, case.network);
            proposals += 1;
        }
    }
    assert!(proposals > 30, "{proposals}");
}

#[test]
fn refusals_come_before_warnings() {
    let findings = check(&range("192.168.137.120-140"), &recorded("vmware"), &Reserved::default());
    assert_eq!(findings.iter().map(|f| f.severity).collect::<Vec<_>>(), [Severity::Refused, Severity::Warned]);
}

#[test]
fn who_answers_is_named() {
    let net = recorded("everything");
    let reserved = Reserved { own: BTreeSet::from([addr("192.168.11.110")]), ..Reserved::default() };
    let in_use = |pairs: &[(&str, &str)]| -> BTreeMap<Ipv4Addr, String> {
        pairs.iter().map(|(a, m)| (addr(a), (*m).to_owned())).collect()
    };
    let texts = |range: &str, answers| -> Vec<(String, String)> {
        let range = range.parse().unwrap();
        answered(&range, &answers, &net, &reserved).into_iter().map(|f| (f.message, f.hint)).collect()
    };
    let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());

    // Our own service and somebody outside the range are no conflict.
    assert_eq!(
        texts(
            "192.168.11.110-130",
            in_use(&[("192.168.11.110", "02:00:00:00:00:01"), ("192.168.11.140", "02:00:00:00:00:02")])
        ),
        []
    );
    assert_eq!(
        texts(
            "192.168.11.110-130",
            in_use(&[
                ("192.168.11.115", "02:00:00:00:00:02"),
                ("192.168.11.116", "02:00:00:00:00:02"),
                ("192.168.11.130", "02:00:00:00:00:03")
            ])
        ),
        [
            pair(
                "192.168.11.115-192.168.11.116 is in use: 02:00:00:00:00:02 answers for them",
                "the rest of the range is fit: --lb 192.168.11.110-192.168.11.114,192.168.11.117-192.168.11.129"
            ),
            pair(
                "192.168.11.130 is in use: 02:00:00:00:00:03 answers for it",
                "the rest of the range is fit: --lb 192.168.11.110-192.168.11.114,192.168.11.117-192.168.11.129"
            ),
        ]
    );
    // A part that is known gets its name.
    assert_eq!(
        texts("192.168.11.1-10", in_use(&[("192.168.11.3", "02:00:00:00:00:03")]))[0].0,
        "192.168.11.3 is in use: 02:00:00:00:00:03, the DHCP server (by dhclient.eth0.leases) answers for it"
    );
    // One card for all of them is a router.
    let all: BTreeMap<Ipv4Addr, String> =
        range("192.168.11.111-130").addresses().map(|a| (a, "02:00:00:00:00:09".to_owned())).collect();
    assert_eq!(
        texts("192.168.11.110-130", all),
        [pair(
            "192.168.11.111-192.168.11.130 is in use: 02:00:00:00:00:09 answers for them (for so many, so it may be a router with proxy ARP)",
            "take addresses that it does not answer for, or switch its proxy ARP off; the rest of the range is fit: --lb 192.168.11.110"
        )]
    );
}

#[test]
fn interfaces_are_told_apart() {
    let kind = |name: &str, link_type: &str, info: &str| {
        let addr = format!(
            r#"[{{"ifname":"{name}","flags":["UP"],"link_type":"{link_type}","linkinfo":{{"info_kind":"{info}"}},"addr_info":[]}},{{}}]"#
        );
        Network::from_ip_json(&addr, "").unwrap().interfaces[0].kind
    };
    for (name, link_type, info, expected) in [
        ("lo", "loopback", "", Kind::Loopback),
        ("eth0", "ether", "", Kind::Ethernet),
        ("eth0", "ether", "veth", Kind::Ethernet),
        ("wlp2s0", "ether", "", Kind::Ethernet),
        ("ens33.20", "ether", "vlan", Kind::Ethernet),
        ("bond0", "ether", "bond", Kind::Ethernet),
        ("br0", "ether", "bridge", Kind::Bridge),
        ("lan", "ether", "bridge", Kind::Bridge),
        ("br-lan", "ether", "bridge", Kind::Bridge),
        ("br-0123456789ab", "ether", "bridge", Kind::Docker),
        ("docker0", "ether", "bridge", Kind::Docker),
        ("podman0", "ether", "bridge", Kind::Docker),
        ("cni-podman0", "ether", "bridge", Kind::Docker),
        ("virbr0", "ether", "bridge", Kind::Libvirt),
        ("lxdbr0", "ether", "bridge", Kind::Virtual),
        ("vboxnet0", "ether", "", Kind::Virtual),
        ("vmnet8", "ether", "", Kind::Virtual),
        ("dummy0", "ether", "dummy", Kind::Virtual),
        ("vx0", "ether", "vxlan", Kind::Virtual),
        ("tun0", "none", "tun", Kind::Vpn),
        ("office", "none", "wireguard", Kind::Vpn),
        ("wg0", "none", "wireguard", Kind::Vpn),
        ("tailscale0", "none", "tun", Kind::Vpn),
        ("ppp0", "ppp", "ppp", Kind::Vpn),
        ("cni0", "ether", "bridge", Kind::Cni),
        ("cali0123456789a", "ether", "veth", Kind::Cni),
        ("vxlan.calico", "ether", "vxlan", Kind::Cni),
        ("veth1a2b3c", "ether", "veth", Kind::Cni),
        ("flannel.1", "ether", "vxlan", Kind::Cni),
        ("kube-ipvs0", "ether", "dummy", Kind::Cni),
    ] {
        assert_eq!(kind(name, link_type, info), expected, "{name} {info}");
    }
}

#[test]
fn facts_are_read_from_texts() {
    let net = recorded("everything");
    assert_eq!(net.dns, BTreeSet::from([addr("192.168.11.2")]));
    assert_eq!(net.gateways(), [(addr("192.168.11.1"), "eth0")]);
    assert_eq!(net.lans().map(|(i, lan)| format!("{} {lan}", i.name)).collect::<Vec<_>>(), ["eth0 192.168.11.0/24"]);
    assert_eq!(net.dhcp.len(), 3);
    // Nothing at all, and a route over two routers.
    assert_eq!(Network::from_ip_json("", "").unwrap(), Network::default());
    let two = r#"[{"dst":"default","nexthops":[{"gateway":"10.0.0.1","dev":"a"},{"gateway":"10.0.0.2","dev":"b"}]},{"dst":"default","gateway":"10.0.0.3","dev":"c","metric":5}]"#;
    assert_eq!(
        Network::from_ip_json("", two).unwrap().gateways(),
        [(addr("10.0.0.1"), "a"), (addr("10.0.0.2"), "b"), (addr("10.0.0.3"), "c")]
    );
    assert!(Network::from_ip_json("Object \"addr\" is unknown", "").is_err());
}

#[test]
fn auto_takes_the_top_of_the_network_and_says_why() {
    let propose = |name: &str, busy: &[&str], size: u32| {
        let (range, why) =
            propose(&recorded(name), &Reserved::default(), &busy.iter().map(|a| addr(a)).collect(), size).unwrap();
        (range.to_string(), why)
    };
    let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
    assert_eq!(
        propose("plain", &[], 20),
        pair("192.168.11.235-192.168.11.254", "20 addresses at the top of 192.168.11.0/24 (eth0)")
    );
    assert_eq!(
        propose("plain", &["192.168.11.240", "192.168.11.254"], 20),
        pair(
            "192.168.11.220-192.168.11.239",
            "20 addresses at the top of 192.168.11.0/24 (eth0), below 192.168.11.240 (in use), 192.168.11.254 (in use)"
        )
    );
    // Clear of routes, leases and servers that are known.
    assert_eq!(
        propose("everything", &["192.168.11.250"], 20),
        pair(
            "192.168.11.172-192.168.11.191",
            "20 addresses at the top of 192.168.11.0/24 (eth0), below 192.168.11.192 (routed elsewhere), 192.168.11.224 (routed elsewhere), 192.168.11.250 (in use)"
        )
    );
    assert_eq!(
        propose("vmware", &[], 20),
        pair(
            "192.168.137.108-192.168.137.127",
            "20 addresses at the top of 192.168.137.0/24 (ens33), below 192.168.137.128 (what DHCP gives to others), 192.168.137.130 (this machine's own address)"
        )
    );
    // No room outside of DHCP's range, too little room in a row, another card than the NAT's.
    assert_eq!(
        propose("libvirt-guest", &[], 20).1,
        "20 addresses at the top of 192.168.122.0/24 (enp1s0); among those that DHCP gives out, since there is no room outside"
    );
    assert_eq!(
        propose("tiny", &["192.168.11.51"], 20),
        pair(
            "192.168.11.52-192.168.11.53",
            "2 addresses at the top of 192.168.11.48/29 (eth0), below 192.168.11.54 (the gateway)"
        )
    );
    assert_eq!(propose("virtualbox", &[], 5).0, "192.168.56.95-192.168.56.99");
}

#[test]
fn auto_has_nothing_to_propose_where_there_is_no_room() {
    let none = |name: &str, wanted| {
        propose(&recorded(name), &Reserved { wanted, ..Reserved::default() }, &BTreeSet::new(), 20)
    };
    assert_eq!(none("alone", 1), None);
    assert_eq!(none("lan-in-pods", 1), None);
    assert_eq!(none("tiny", 5), None);
    assert!(none("tiny", 4).is_some());
}

/// On a second run our own services hold addresses, and the proposal stays.
#[test]
fn auto_ignores_our_own_addresses() {
    let busy = BTreeSet::from([addr("192.168.11.240")]);
    let reserved = Reserved { own: busy.clone(), ..Reserved::default() };
    assert_eq!(propose(&recorded("plain"), &reserved, &busy, 20).unwrap().0, range("192.168.11.235-254"));
}

#[test]
fn the_window_is_the_top_of_the_network() {
    assert_eq!(window(&recorded("plain")).unwrap(), range("192.168.11.1-254"));
    let wide = r#"[{"ifname":"eth0","flags":["UP"],"link_type":"ether","addr_info":[{"family":"inet","local":"172.20.0.9","prefixlen":16}]}]"#;
    assert_eq!(window(&Network::from_ip_json(wide, "").unwrap()).unwrap(), range("172.20.254.0-172.20.255.254"));
    assert_eq!(window(&recorded("alone")), None);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// Whatever answers: a proposal is of the size asked for or the best there is, free, and not refused.
    #[test]
    fn a_proposal_is_never_refused(busy in prop::collection::btree_set(1u8..255, 0..120), size in 1u32..60, wanted in 1u64..10) {
        let busy: BTreeSet<Ipv4Addr> = busy.into_iter().map(|n| Ipv4Addr::new(192, 168, 11, n)).collect();
        let reserved = Reserved { wanted, ..Reserved::default() };
        for name in ["plain", "everything", "dhcp", "same-network-twice", "tiny"] {
            let net = recorded(name);
            let Some((range, _)) = propose(&net, &reserved, &busy, size) else { continue };
            prop_assert!(range.len() >= wanted && range.len() <= u64::from(size).max(wanted));
            prop_assert!(busy.iter().all(|a| !range.contains(*a)));
            prop_assert!(check(&range, &net, &reserved).iter().all(|f| f.severity == Severity::Warned));
        }
    }
}
