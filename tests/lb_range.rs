//! LbRange: what it takes, what it refuses and how, and the laws of the set.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{collections::BTreeSet, net::Ipv4Addr};

use iris_mk8s::config::lb_range::{Interval, LbRange};
use proptest::prelude::*;
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    good: Vec<Good>,
    bad: Vec<Bad>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Good {
    input: String,
    range: String,
    #[serde(default)]
    notes: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Bad {
    input: String,
    error: String,
}

fn table() -> Table {
    toml::from_str(include_str!("data/lb_ranges.toml")).unwrap()
}

fn range(text: &str) -> LbRange {
    text.parse().unwrap()
}

#[test]
fn good_ranges_mean_what_the_table_says() {
    let good = table().good;
    assert!(good.len() >= 20, "{}", good.len());
    for case in good {
        let (range, notes) = LbRange::parse_noting(&case.input).unwrap();
        assert_eq!(range.to_string(), case.range, "{:?}", case.input);
        assert_eq!(notes.iter().map(ToString::to_string).collect::<Vec<_>>(), case.notes, "{:?}", case.input);
    }
}

#[test]
fn bad_ranges_are_refused_with_the_words_of_the_table() {
    let bad = table().bad;
    assert!(bad.len() >= 80, "{}", bad.len());
    for case in bad {
        assert_eq!(case.input.parse::<LbRange>().unwrap_err().to_string(), case.error, "{:?}", case.input);
    }
}

/// Every message tells what to type instead, and what it proposes by name is itself accepted.
#[test]
fn what_a_refusal_proposes_is_accepted() {
    for case in table().bad {
        let (_, advice) = case.error.split_once(": ").unwrap();
        for word in advice.split([' ', '(', ')', ',']).filter(|word| word.starts_with(|c: char| c.is_ascii_digit())) {
            // Ends of a sentence such as "from 16 to 32", not ranges.
            if word.contains('.') && !word.contains('N') {
                assert!(word.parse::<LbRange>().is_ok(), "{:?} proposes {word}", case.input);
            }
        }
    }
}

#[test]
fn pools_are_read_as_metallb_reads_them() {
    let pool = |addresses: &[&str]| LbRange::from_metallb(addresses).map(|r| r.to_string()).map_err(|e| e.to_string());
    assert_eq!(pool(&["192.168.11.110-192.168.11.130"]).unwrap(), "192.168.11.110-192.168.11.130");
    assert_eq!(pool(&["192.168.11.110 - 192.168.11.130"]).unwrap(), "192.168.11.110-192.168.11.130");
    assert_eq!(pool(&["192.168.1.240/24"]).unwrap(), "192.168.1.0-192.168.1.255");
    assert_eq!(pool(&["10.0.0.0/8"]).unwrap(), "10.0.0.0-10.255.255.255");
    assert_eq!(pool(&["0.0.0.0/0"]).unwrap(), "0.0.0.0-255.255.255.255");
    let split = ["192.168.11.120-192.168.11.130", "192.168.11.110/32", "192.168.11.111-192.168.11.119"];
    assert_eq!(pool(&split).unwrap(), "192.168.11.110-192.168.11.130");
    // MetalLB takes neither of these, so no pool means anything by them.
    for bad in [
        "192.168.11.110",
        "192.168.11.110-130",
        "192.168.11.130-192.168.11.110",
        "192.168.11.0/33",
        "x",
        "",
        "fc00::/64",
    ] {
        assert!(pool(&[bad]).is_err(), "{bad}");
    }
    assert!(pool(&[]).is_err());
    assert!(pool(&["192.168.11.110/32", "fc00::1-fc00::2"]).unwrap_err().contains("IPv6"));
}

#[test]
fn equal_sets_are_equal_however_written() {
    assert_eq!(range("192.168.11.112/28"), range("192.168.11.120-127,192.168.11.112-119"));
    assert_ne!(range("192.168.11.110-130"), range("192.168.11.110-129"));
}

#[test]
fn it_is_a_string_in_json() {
    let json = serde_json::to_string(&range("192.168.11.110-112,192.168.11.120")).unwrap();
    assert_eq!(json, r#""192.168.11.110-192.168.11.112,192.168.11.120-192.168.11.120""#);
    assert_eq!(serde_json::from_str::<LbRange>(&json).unwrap(), range("192.168.11.110-112,192.168.11.120"));
    assert!(serde_json::from_str::<LbRange>(r#""192.168.11.130-110""#).unwrap_err().to_string().contains("backwards"));
}

#[test]
fn the_ends_of_the_address_space_do_not_wrap() {
    let all = LbRange::from_metallb(&["0.0.0.0/0"]).unwrap();
    assert_eq!(all.len(), 1 << 32);
    assert_eq!(all.difference(&all), None);
    let top = LbRange::from(Ipv4Addr::BROADCAST);
    assert_eq!(all.difference(&top).unwrap().last(), Ipv4Addr::new(255, 255, 255, 254));
    assert_eq!(
        LbRange::from_intervals([
            (Ipv4Addr::BROADCAST, Ipv4Addr::BROADCAST),
            (Ipv4Addr::UNSPECIFIED, Ipv4Addr::UNSPECIFIED)
        ])
        .unwrap()
        .intervals()
        .len(),
        2
    );
    assert_eq!(LbRange::from_intervals([]), None);
    assert_eq!(LbRange::from_intervals([(Ipv4Addr::new(10, 0, 0, 2), Ipv4Addr::new(10, 0, 0, 1))]), None);
}

/// A few intervals near each other, so that they touch and overlap often.
fn intervals() -> impl Strategy<Value = Vec<Interval>> {
    let base = u32::from(Ipv4Addr::new(192, 168, 11, 0));
    let interval = (0u32..600, 0u32..40)
        .prop_map(move |(start, len)| (Ipv4Addr::from(base + start), Ipv4Addr::from(base + start + len)));
    prop::collection::vec(interval, 1..12)
}

fn naive(intervals: &[Interval]) -> BTreeSet<Ipv4Addr> {
    intervals.iter().flat_map(|&(first, last)| (u32::from(first)..=u32::from(last)).map(Ipv4Addr::from)).collect()
}

fn set(range: Option<&LbRange>) -> BTreeSet<Ipv4Addr> {
    range.map(|r| r.addresses().collect()).unwrap_or_default()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn what_is_printed_is_read_back(intervals in intervals()) {
        let range = LbRange::from_intervals(intervals).unwrap();
        let (again, notes) = LbRange::parse_noting(&range.to_string()).unwrap();
        prop_assert_eq!(&again, &range);
        prop_assert!(notes.is_empty());
        prop_assert_eq!(LbRange::from_metallb(&range.to_string().split(',').collect::<Vec<_>>()).unwrap(), range);
    }

    #[test]
    fn it_holds_what_a_plain_set_holds(intervals in intervals(), probe in 0u32..700) {
        let range = LbRange::from_intervals(intervals.clone()).unwrap();
        let naive = naive(&intervals);
        let probe = Ipv4Addr::from(u32::from(Ipv4Addr::new(192, 168, 10, 250)) + probe);
        prop_assert_eq!(range.contains(probe), naive.contains(&probe));
        prop_assert_eq!(range.len(), naive.len() as u64);
        prop_assert_eq!(Some(&range.first()), naive.first());
        prop_assert_eq!(Some(&range.last()), naive.last());
        prop_assert_eq!(set(Some(&range)), naive);
    }

    #[test]
    fn merging_is_idempotent_and_leaves_gaps(intervals in intervals()) {
        let range = LbRange::from_intervals(intervals).unwrap();
        prop_assert_eq!(&LbRange::from_intervals(range.intervals().iter().copied()).unwrap(), &range);
        for pair in range.intervals().windows(2) {
            prop_assert!(u32::from(pair[0].1) + 1 < u32::from(pair[1].0));
        }
    }

    #[test]
    fn set_operations_are_those_of_sets(a in intervals(), b in intervals()) {
        let (x, y) = (LbRange::from_intervals(a.clone()).unwrap(), LbRange::from_intervals(b.clone()).unwrap());
        let (a, b) = (naive(&a), naive(&b));
        prop_assert_eq!(set(x.intersection(&y).as_ref()), a.intersection(&b).copied().collect::<BTreeSet<_>>());
        prop_assert_eq!(set(x.difference(&y).as_ref()), a.difference(&b).copied().collect::<BTreeSet<_>>());
    }

    #[test]
    fn a_network_overlaps_when_it_shares_an_address(intervals in intervals(), start in 0u32..700, len in 22u8..=32) {
        let range = LbRange::from_intervals(intervals.clone()).unwrap();
        let net = ipnet::Ipv4Net::new(Ipv4Addr::from(u32::from(Ipv4Addr::new(192, 168, 10, 250)) + start), len).unwrap();
        prop_assert_eq!(range.overlaps(&net), naive(&intervals).iter().any(|a| net.contains(a)));
    }

    /// Whatever is typed: an answer in words, never a panic; and what is taken is read back.
    #[test]
    fn any_text_is_answered(text in "[0-9./, -]{0,40}|\\PC{0,40}|[0-9a-f:.,/%-]{0,40}") {
        match LbRange::parse_noting(&text) {
            Ok((range, _)) => prop_assert_eq!(range.to_string().parse::<LbRange>().unwrap(), range),
            Err(e) => prop_assert!(e.to_string().contains(": type ") || e.to_string().contains(": remove "), "{e}"),
        }
    }
}
