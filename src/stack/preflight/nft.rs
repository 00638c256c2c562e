//! Whether a chain of nftables that drops what it does not know lets pods through, as far as its text tells.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

/// The port of the API server, as pods reach it.
const API: &str = "16443";

/// The answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Passes {
    /// It drops nothing by default, or lets pods through.
    Yes,
    /// It has rules that may be about pods.
    Perhaps,
    /// Nothing in it can be about pods.
    No,
}

/// Reads what `nft list chain` shows of one with this policy.
pub(crate) fn passes(shown: &str, policy_drops: bool, pods: Ipv4Net) -> Passes {
    let is_rule = |line: &&str| !(line.is_empty() || line.ends_with('{') || *line == "}" || line.starts_with("type "));
    let rules: Vec<&str> = shown.lines().map(str::trim).filter(is_rule).collect();
    // What is last and says nothing of whom it is about is about everybody.
    let ends = rules.last().map(|rule| rule.split(" comment ").next().unwrap_or_default());
    let ends_closed = ends.is_some_and(|rule| {
        let mut words = rule.split_whitespace().skip_while(|word| {
            matches!(*word, "counter" | "packets" | "bytes" | "log") || word.bytes().all(|b| b.is_ascii_digit())
        });
        matches!(words.next(), Some("drop" | "reject"))
    });
    if !policy_drops && !ends_closed {
        return Passes::Yes;
    }
    let found: Vec<Passes> = rules.iter().map(|rule| of_rule(rule, pods)).collect();
    [Passes::Yes, Passes::Perhaps].into_iter().find(|passes| found.contains(passes)).unwrap_or(Passes::No)
}

/// What one rule does for pods: to let them through, to leave that open, or nothing.
fn of_rule(rule: &str, pods: Ipv4Net) -> Passes {
    let words: Vec<&str> = rule.split([' ', '\t', ',', '{', '}']).filter(|word| !word.is_empty()).collect();
    let has = |word: &str| words.contains(&word);
    let by_state = has("ct") && has("state");
    if has("jump") || has("goto") || (has("vmap") && !by_state) {
        return Passes::Perhaps;
    }
    if !has("accept") {
        return Passes::No;
    }
    let net =
        |word: &&str| word.parse::<Ipv4Net>().ok().or_else(|| Some(Ipv4Net::from(word.parse::<Ipv4Addr>().ok()?)));
    let nets: Vec<Ipv4Net> = words.iter().filter_map(net).collect();
    if rule.contains("\"cali") || (nets.iter().any(|net| net.contains(&pods)) && !rule.contains("!=")) {
        return Passes::Yes;
    }
    // What is about packets of a connection that was let through before, about one port or about others cannot be meant for pods.
    let of_known = by_state && !has("new");
    let of_port = (has("dport") || has("sport")) && !has(API) && !words.iter().any(|word| word.contains('-'));
    let of_protocol = ["icmp", "icmpv6", "igmp", "ipv6-icmp"].into_iter().any(has) || rule.contains("ip6 ");
    let of_others = !nets.is_empty() && !rule.contains("!=");
    let link = words.iter().position(|word| matches!(*word, "iif" | "iifname")).and_then(|at| words.get(at + 1));
    let by_another = link.is_some_and(|name| {
        let name = name.trim_matches('"');
        name.starts_with(|c: char| c.is_ascii_alphanumeric()) && !name.contains('*') && !name.starts_with("vxlan")
    });
    if of_known || of_port || of_protocol || of_others || by_another { Passes::No } else { Passes::Perhaps }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(policy_drops: bool, rules: &[&str]) -> Passes {
        let shown = format!(
            "table inet filter {{\n\tchain x {{\n\t\ttype filter hook input priority filter; policy x;\n\t\t{}\n\t}}\n}}\n",
            rules.join("\n\t\t")
        );
        passes(&shown, policy_drops, "10.1.0.0/16".parse().expect("a network"))
    }

    #[test]
    fn only_a_chain_that_cannot_mean_pods_bars_them() {
        let usual = [
            "ct state established,related accept",
            "iif \"lo\" accept",
            "ip protocol icmp accept",
            "tcp dport { 22, 443 } accept",
        ];
        assert_eq!(of(true, &usual), Passes::No);
        assert_eq!(of(true, &[]), Passes::No);
        assert_eq!(of(false, &usual), Passes::Yes, "it drops nothing");
        for end in [
            "drop",
            "counter packets 7 bytes 99 reject with icmpx admin-prohibited",
            "log prefix x",
            "reject comment \"the rest\"",
        ] {
            let closed = if end.starts_with("log") { Passes::Yes } else { Passes::No };
            assert_eq!(of(false, &[&usual[..], &[end]].concat()), closed, "{end}");
        }
        assert_eq!(of(false, &["ip saddr @banned drop"]), Passes::Yes, "only some are barred");
    }

    #[test]
    fn what_may_be_about_pods_is_left_open() {
        for (rule, right) in [
            ("ip saddr 10.1.0.0/16 accept", Passes::Yes),
            ("ip saddr { 10.0.0.0/8, 192.168.0.0/16 } accept", Passes::Yes),
            ("iifname \"cali*\" accept", Passes::Yes),
            ("ip saddr 192.168.11.0/24 accept", Passes::No),
            ("iifname \"eth0\" oifname \"eth1\" accept", Passes::No),
            ("ip saddr != 10.0.0.0/8 accept", Passes::Perhaps),
            ("iifname != \"eth0\" accept", Passes::Perhaps),
            ("oifname \"eth0\" accept", Passes::Perhaps),
            ("ip saddr @trusted accept", Passes::Perhaps),
            ("tcp dport 16443 accept", Passes::Perhaps),
            ("tcp dport 1024-65535 accept", Passes::Perhaps),
            ("jump of_admin", Passes::Perhaps),
            ("iifname vmap { \"eth0\" : jump wan, \"cni0\" : accept }", Passes::Perhaps),
            ("ct state vmap { established : accept, related : accept, invalid : drop }", Passes::No),
            ("ct state vmap { established : accept, new : jump of_admin }", Passes::Perhaps),
            ("ct state new accept", Passes::Perhaps),
            ("accept", Passes::Perhaps),
        ] {
            assert_eq!(of(true, &[rule]), right, "{rule}");
        }
    }
}
