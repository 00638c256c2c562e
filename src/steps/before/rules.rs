//! Rules of the packet filter that Kubernetes, its network and MicroK8s made. They are taken away one by one, as a change to the tables under
//! iptables' own lock: nothing that somebody adds meanwhile is lost, and a table changes as a whole or not at all.
//!
//! What is theirs is known by chains of their names that the kernel's own chains lead to, and by the comments that they give their rules. A
//! rule of somebody's that merely names `cni0` has neither, and stays.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
};

use super::{Left, Others};
use crate::{
    error::{Error, Result},
    host::{Cmd, Host},
    network::Reserved,
    step::Act,
    steps::SOON,
};

/// Both kinds of tables, each for both kinds of addresses; MicroK8s' own programs may write into another one than the host's `iptables` does.
const BACKENDS: &[&str] = &["iptables-nft", "iptables-legacy", "ip6tables-nft", "ip6tables-legacy"];

/// On a host without these names there is only one kind.
const PLAIN: &[&str] = &["iptables", "ip6tables"];

/// How long to wait for the lock, in seconds.
const LOCK: &str = "20";

/// Chains of kube-proxy, kubelet, Calico and flannel.
const OF_KUBERNETES: &[&str] = &["KUBE-", "cali-", "FLANNEL-"];

/// Chains of the CNI plugins: those of one container have a number, those for ports of the host serve all.
const OF_PLUGINS: &str = "CNI-";
const FOR_PORTS: &[&str] = &["CNI-HOSTPORT-DNAT", "CNI-HOSTPORT-SETMARK", "CNI-HOSTPORT-MASQ"];

/// Comments of rules that are not in such a chain.
const COMMENTS: &[&str] = &["generated for MicroK8s pods", "cali:", "flanneld forward", "flanneld masq"];

/// Names of MicroK8s' pod networks, as CNI plugins write them into comments.
const NETWORKS: &[&str] = &["k8s-pod-network", "microk8s-flannel-network"];

/// The kernel's own chains.
const BUILT_IN: &[&str] = &["PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"];

/// Devices of the pod network that a rule may name.
const DEVICES: &[&str] = &["cni0", "vxlan.calico", "flannel.1"];

/// A rule of a text of `iptables-save`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Rule {
    chain: String,
    /// All of it but `-A`.
    text: String,
    words: Vec<String>,
}

/// A table of a text of `iptables-save`.
#[derive(Clone, Debug, Default)]
struct Table {
    name: String,
    chains: Vec<String>,
    rules: Vec<Rule>,
    /// What of it was there before us, as lines of the record without their beginning.
    was: BTreeSet<String>,
}

/// Words of a rule; `"..."` is one, in which `\"` stands for itself.
fn words(text: &str) -> Vec<String> {
    let (mut words, mut word, mut quoted, mut chars) = (Vec::new(), String::new(), false, text.chars());
    while let Some(c) = chars.next() {
        match c {
            '"' => quoted = !quoted,
            '\\' if quoted => word.extend(chars.next()),
            ' ' if !quoted => words.push(std::mem::take(&mut word)),
            _ => word.push(c),
        }
    }
    words.push(word);
    words.retain(|w| !w.is_empty());
    words
}

impl Rule {
    fn after(&self, option: &str) -> Option<&str> {
        let at = self.words.iter().position(|w| w == option)?;
        self.words.get(at + 1).map(String::as_str)
    }

    /// The chain that it leads to, or what it does.
    fn target(&self) -> Option<&str> {
        self.after("-j").or_else(|| self.after("-g"))
    }

    /// All of its comments: Calico gives two.
    fn comments(&self) -> impl Iterator<Item = &str> {
        let pairs = self.words.windows(2).filter(|pair| pair[0] == "--comment");
        pairs.map(|pair| pair[1].as_str())
    }

    /// The network of pods that a CNI plugin made it for: `name: "k8s-pod-network" id: "3fa9"`.
    fn network(&self) -> Option<&str> {
        self.comments().find_map(|c| c.split("name: \"").nth(1)?.split('"').next())
    }

    fn is_of_our_network(&self) -> bool {
        let inside = |text: &str| {
            let address = text.split('/').next().unwrap_or_default();
            address.parse().is_ok_and(|a: Ipv4Addr| Reserved::default().pods.contains(&a))
        };
        match self.network() {
            Some(name) => NETWORKS.contains(&name),
            None => self.after("-s").or_else(|| self.after("-d")).is_some_and(inside),
        }
    }

    fn is_in_kernels_chain(&self) -> bool {
        BUILT_IN.contains(&self.chain.as_str())
    }

    /// A rule in a chain of the kernel's that one of these programs marked as its own.
    fn is_marked(&self) -> bool {
        let flannel = |c: &str| c.starts_with("flanneld");
        self.is_in_kernels_chain()
            && self
                .comments()
                .any(|c| COMMENTS.iter().any(|mark| c.starts_with(mark)) && (!flannel(c) || self.is_of_our_network()))
    }
}

/// The tables of a text of `iptables-save`.
fn tables(text: &str) -> Vec<Table> {
    let mut tables: Vec<Table> = Vec::new();
    for line in text.lines() {
        if let Some(name) = line.strip_prefix('*') {
            tables.push(Table { name: name.to_owned(), ..Table::default() });
        } else if let Some(table) = tables.last_mut() {
            if let Some(chain) = line.strip_prefix(':') {
                table.chains.extend(chain.split(' ').next().map(str::to_owned));
            } else if let Some(text) = line.strip_prefix("-A ") {
                let chain = text.split(' ').next().unwrap_or_default().to_owned();
                table.rules.push(Rule { chain, text: text.to_owned(), words: words(text) });
            }
        }
    }
    tables
}

impl Table {
    fn was_chain(&self, chain: &str) -> bool {
        self.was.contains(&format!(":{chain}"))
    }

    fn was_rule(&self, rule: &Rule) -> bool {
        self.was.contains(&format!("-A {}", rule.text))
    }

    /// Chains and rules that look like those of a Kubernetes, for the record.
    fn record(&self) -> Vec<String> {
        let is_named =
            |chain: &str| OF_KUBERNETES.iter().any(|c| chain.starts_with(c)) || chain.starts_with(OF_PLUGINS);
        let chains = self.chains.iter().filter(|c| is_named(c)).map(|c| format!(":{c}"));
        let looks = |r: &&Rule| is_named(&r.chain) || r.target().is_some_and(is_named) || r.is_marked();
        chains.chain(self.rules.iter().filter(looks).map(|r| format!("-A {}", r.text))).collect()
    }

    fn of<'a>(&'a self, chain: &'a str) -> impl Iterator<Item = &'a Rule> {
        self.rules.iter().filter(move |r| r.chain == chain)
    }

    fn to<'a>(&'a self, chain: &'a str) -> impl Iterator<Item = &'a Rule> {
        self.rules.iter().filter(move |r| r.target() == Some(chain))
    }

    /// CNI plugins of another network (Podman's, for example) share the chains for ports of the host.
    fn has_other_networks(&self) -> bool {
        self.rules.iter().any(|r| r.network().is_some_and(|name| !NETWORKS.contains(&name)))
    }

    /// A chain of a CNI plugin: ours when it serves a pod of ours, and nobody else.
    fn is_our_plugins(&self, chain: &str) -> bool {
        if FOR_PORTS.contains(&chain) {
            return !self.has_other_networks();
        }
        let mut about = self.of(chain).chain(self.to(chain)).peekable();
        // An empty one that nothing leads to serves nobody.
        about.peek().is_none() || about.any(Rule::is_of_our_network)
    }

    /// Chains of Kubernetes, its network and its plugins, by their names and what is in them.
    fn ours(&self, others: &Others) -> BTreeSet<&str> {
        let is_ours = |chain: &&str| {
            (OF_KUBERNETES.iter().any(|c| chain.starts_with(c)) && others.kubernetes.is_none())
                || (chain.starts_with(OF_PLUGINS) && self.is_our_plugins(chain))
        };
        self.chains.iter().map(String::as_str).filter(is_ours).collect()
    }

    /// Whether a rule goes by itself: a chain of the kernel's leads by it to one of ours, or one of these programs marked it.
    fn goes(&self, rule: &Rule, ours: &BTreeSet<&str>, others: &Others) -> bool {
        if self.was_rule(rule) {
            return false;
        }
        // What was added to a chain that was there before.
        let added = ours.contains(rule.chain.as_str()) && self.was_chain(&rule.chain);
        let leads = rule.is_in_kernels_chain() && rule.target().is_some_and(|chain| ours.contains(chain));
        // Of MicroK8s' own mark there is only one kind; Calico and flannel may be another Kubernetes' by now.
        let marked =
            rule.is_marked() && (others.kubernetes.is_none() || rule.comments().any(|c| c.starts_with(COMMENTS[0])));
        added || leads || marked || (FOR_PORTS.contains(&rule.chain.as_str()) && rule.is_of_our_network())
    }

    /// Of ours the chains that can go: a rule of somebody's that stays keeps the chain that it leads to, and what that leads to.
    fn going(&self, others: &Others) -> BTreeSet<&str> {
        let ours = self.ours(others);
        let mut going: BTreeSet<&str> = ours.iter().copied().filter(|chain| !self.was_chain(chain)).collect();
        loop {
            let stays = |rule: &&Rule| !going.contains(rule.chain.as_str()) && !self.goes(rule, &ours, others);
            let needed: BTreeSet<&str> = self.rules.iter().filter(stays).filter_map(Rule::target).collect();
            let before = going.len();
            going.retain(|chain| !needed.contains(chain));
            if going.len() == before {
                return going;
            }
        }
    }

    /// What takes ours away, as lines for `iptables-restore --noflush`; nothing when there is nothing.
    fn change(&self, others: &Others) -> String {
        let (ours, going) = (self.ours(others), self.going(others));
        let goes = |r: &&Rule| !going.contains(r.chain.as_str()) && self.goes(r, &ours, others);
        let mut lines: Vec<String> = self.rules.iter().filter(goes).map(|r| format!("-D {}", r.text)).collect();
        lines.extend(going.iter().map(|chain| format!("-F {chain}")));
        lines.extend(going.iter().map(|chain| format!("-X {chain}")));
        if lines.is_empty() { String::new() } else { format!("*{}\n{}\nCOMMIT\n", self.name, lines.join("\n")) }
    }

    /// What looks like ours and stays.
    fn stays(&self, others: &Others, program: &str) -> Vec<Left> {
        let (ours, going) = (self.ours(others), self.going(others));
        let mut left = Vec::new();
        for chain in self.chains.iter().map(String::as_str).filter(|c| !going.contains(c) && !self.was_chain(c)) {
            let what = format!("chain {chain} of {program}'s table {}", self.name);
            if OF_KUBERNETES.iter().any(|c| chain.starts_with(c)) {
                left.push(match &others.kubernetes {
                    Some(other) => Left::ours(what, format!("{other}, and whose it is cannot be told")),
                    None => Left::ours(what, "a rule of somebody's leads to it"),
                });
            }
        }
        // Many chains of one Kubernetes are one fact.
        if left.len() > 3 {
            let (first, count) = (left[0].clone(), left.len() - 1);
            left = vec![Left { what: format!("{} and {count} more", first.what), ..first }];
        }
        let names_device = |r: &Rule| ["-i", "-o"].iter().any(|o| r.after(o).is_some_and(|d| DEVICES.contains(&d)));
        for rule in self.rules.iter().filter(|r| names_device(r) && !self.was_rule(r)) {
            if !going.contains(rule.chain.as_str()) && !self.goes(rule, &ours, others) {
                left.push(Left::theirs(
                    format!("`{program} -t {} -A {}`", self.name, rule.text),
                    "it is somebody's own rule",
                ));
            }
        }
        left
    }
}

/// The rules of each kind of tables that this host has. A host without any of the programs has no packet filter.
fn saved(host: &dyn Host) -> Result<BTreeMap<&'static str, String>> {
    let (mut found, mut failed) = (BTreeMap::new(), None);
    for programs in [BACKENDS, PLAIN] {
        for program in programs {
            match host.ask(&Cmd::reads([format!("{program}-save")])) {
                Ok(output) if output.ok() => _ = found.insert(*program, output.stdout),
                // The kernel may have only one kind of tables.
                Ok(output) => {
                    failed = Some(Error::failed(format!("`{program}-save` {}", output.ended())).because(output.tail()));
                }
                Err(e) if e.what.starts_with("there is no program") => {}
                Err(e) => return Err(e),
            }
        }
        if !found.is_empty() {
            return Ok(found);
        }
    }
    // What cannot be asked is not empty.
    failed.map_or(Ok(found), Err)
}

/// Chains and rules that are there and look like those of a Kubernetes: `PROGRAM TABLE LINE`.
pub(super) fn there(host: &dyn Host) -> Result<Vec<String>> {
    let mut lines = Vec::new();
    for (program, text) in saved(host)? {
        for table in tables(&text) {
            lines.extend(table.record().into_iter().map(|line| format!("{program} {} {line}", table.name)));
        }
    }
    Ok(lines)
}

/// What takes away the rules of MicroK8s and its pods, and what stays. `were`: those that were there before us; none when they were not
/// written down, although there were some.
pub(super) fn left(host: &dyn Host, were: Option<&[String]>, others: &Others) -> Result<(Vec<Act>, Vec<Left>)> {
    let (mut acts, mut left) = (Vec::new(), Vec::new());
    for (program, text) in saved(host)? {
        let mut tables = tables(&text);
        for table in &mut tables {
            let begin = format!("{program} {} ", table.name);
            table.was =
                were.unwrap_or_default().iter().filter_map(|l| l.strip_prefix(&begin)).map(str::to_owned).collect();
        }
        let change: String = tables.iter().map(|table| table.change(others)).collect();
        if were.is_none() {
            if !change.is_empty() {
                let why = "there were such rules before us, and whose each of them is cannot be told";
                left.push(Left::theirs(format!("rules of Kubernetes in {program}"), why));
            }
            continue;
        }
        if !change.is_empty() {
            let argv = [format!("{program}-restore"), "--noflush".to_owned(), "--wait".to_owned(), LOCK.to_owned()];
            let note = show(&change);
            acts.push(Act::Run(Cmd::changes(SOON, argv).stdin(change).note(note)));
        }
        left.extend(tables.iter().flat_map(|table| table.stays(others, program)));
    }
    Ok((acts, left))
}

/// A change of the rules, for people.
fn show(change: &str) -> String {
    let count = |what: &str| change.lines().filter(|l| l.starts_with(what)).count();
    format!("takes away {} rules and {} chains", count("-D "), count("-X "))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As `iptables-nft-save` 1.8.9 writes them; what is ours by each kind of evidence, beside a user's, Docker's and Podman's.
    const SAVED: &str = r#"# Generated by iptables-nft-save v1.8.9
*filter
:INPUT ACCEPT [0:0]
:FORWARD DROP [0:0]
:OUTPUT ACCEPT [0:0]
:DOCKER-USER - [0:0]
:KUBE-FIREWALL - [0:0]
:KUBE-FORWARD - [0:0]
:MINE - [0:0]
:cali-FORWARD - [0:0]
-A INPUT -p tcp -m tcp --dport 22 -j MINE
-A INPUT -j KUBE-FIREWALL
-A FORWARD -m comment --comment "cali:wUHhoiAYhphO9Mso" -j cali-FORWARD
-A FORWARD -m comment --comment "kubernetes forwarding rules" -j KUBE-FORWARD
-A FORWARD -j DOCKER-USER
-A FORWARD -i cni0 -j ACCEPT
-A FORWARD -s 10.1.0.0/16 -m comment --comment "generated for MicroK8s pods" -j ACCEPT
-A FORWARD -m comment --comment "cali:S93hcgKJrXEqnTfs" -m comment --comment "Policy explicitly accepted packet." -m mark --mark 0x10000/0x10000 -j ACCEPT
-A FORWARD -s 10.1.0.0/16 -m comment --comment "flanneld forward" -j ACCEPT
-A FORWARD -s 10.42.0.0/16 -m comment --comment "flanneld forward" -j ACCEPT
-A KUBE-FIREWALL ! -s 127.0.0.0/8 -d 127.0.0.0/8 -m comment --comment "block incoming localnet connections" -j DROP
-A MINE -j ACCEPT
-A MINE -m comment --comment "not generated for MicroK8s pods" -j ACCEPT
-A cali-FORWARD -m comment --comment "cali:vjrMJCRpqwy5oRoX" -j MARK --set-xmark 0x0/0xe0000
COMMIT
*nat
:PREROUTING ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
:CNI-4e1891b597cb06637a2e5df4 - [0:0]
:CNI-HOSTPORT-DNAT - [0:0]
:CNI-9999999999999999999999aa - [0:0]
:KUBE-SERVICES - [0:0]
-A PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A PREROUTING -m addrtype --dst-type LOCAL -j CNI-HOSTPORT-DNAT
-A POSTROUTING -s 10.1.243.5/32 -m comment --comment "name: \"k8s-pod-network\" id: \"3fa9\"" -j CNI-4e1891b597cb06637a2e5df4
-A POSTROUTING -s 10.88.0.7/32 -m comment --comment "name: \"podman\" id: \"77\"" -j CNI-9999999999999999999999aa
-A CNI-4e1891b597cb06637a2e5df4 -d 10.1.243.0/24 -m comment --comment "name: \"k8s-pod-network\" id: \"3fa9\"" -j ACCEPT
-A CNI-HOSTPORT-DNAT -p tcp -m comment --comment "dnat name: \"podman\" id: \"77\"" -m multiport --dports 8080 -j CNI-9999999999999999999999aa
-A CNI-HOSTPORT-DNAT -p tcp -m comment --comment "dnat name: \"k8s-pod-network\" id: \"3fa9\"" -m multiport --dports 80 -j ACCEPT
COMMIT
# Completed
"#;

    fn change(text: &str, others: &Others) -> Vec<String> {
        tables(text).iter().map(|t| t.change(others)).collect()
    }

    fn other() -> Others {
        Others { kubernetes: Some("k3s is on this host".to_owned()), runtime: None }
    }

    #[test]
    fn only_rules_that_are_proven_to_be_of_kubernetes_go() {
        let nat = r#"*nat
-D PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-D POSTROUTING -s 10.1.243.5/32 -m comment --comment "name: \"k8s-pod-network\" id: \"3fa9\"" -j CNI-4e1891b597cb06637a2e5df4
-D CNI-HOSTPORT-DNAT -p tcp -m comment --comment "dnat name: \"k8s-pod-network\" id: \"3fa9\"" -m multiport --dports 80 -j ACCEPT
-F CNI-4e1891b597cb06637a2e5df4
-F KUBE-SERVICES
-X CNI-4e1891b597cb06637a2e5df4
-X KUBE-SERVICES
COMMIT
"#;
        let filter = r#"*filter
-D INPUT -j KUBE-FIREWALL
-D FORWARD -m comment --comment "cali:wUHhoiAYhphO9Mso" -j cali-FORWARD
-D FORWARD -m comment --comment "kubernetes forwarding rules" -j KUBE-FORWARD
-D FORWARD -s 10.1.0.0/16 -m comment --comment "generated for MicroK8s pods" -j ACCEPT
-D FORWARD -m comment --comment "cali:S93hcgKJrXEqnTfs" -m comment --comment "Policy explicitly accepted packet." -m mark --mark 0x10000/0x10000 -j ACCEPT
-D FORWARD -s 10.1.0.0/16 -m comment --comment "flanneld forward" -j ACCEPT
-F KUBE-FIREWALL
-F KUBE-FORWARD
-F cali-FORWARD
-X KUBE-FIREWALL
-X KUBE-FORWARD
-X cali-FORWARD
COMMIT
"#;
        assert_eq!(change(SAVED, &Others::default()), [filter, nat]);
        let left: Vec<Left> = tables(SAVED).iter().flat_map(|t| t.stays(&Others::default(), "iptables-nft")).collect();
        assert_eq!(left.len(), 1, "{left:?}");
        assert_eq!(left[0].what, "`iptables-nft -t filter -A FORWARD -i cni0 -j ACCEPT`");
        assert!(left[0].theirs);
    }

    /// Another Kubernetes that is there by now has chains of the same names.
    #[test]
    fn beside_another_kubernetes_only_marks_of_microk8s_count() {
        let filter = "*filter\n-D FORWARD -s 10.1.0.0/16 -m comment --comment \"generated for MicroK8s pods\" -j ACCEPT\nCOMMIT\n";
        let changes = change(SAVED, &other());
        assert_eq!(changes[0], filter);
        assert!(changes[1].contains("CNI-4e1891b597cb06637a2e5df4") && !changes[1].contains("KUBE-"), "{}", changes[1]);
        let left = tables(SAVED)[0].stays(&other(), "iptables-nft");
        assert_eq!(left[0].what, "chain KUBE-FIREWALL of iptables-nft's table filter", "{left:?}");
    }

    /// `iptables-restore` would refuse the whole table otherwise.
    #[test]
    fn a_chain_that_somebody_uses_stays_with_all_that_it_leads_to() {
        let text = "*filter\n:INPUT ACCEPT [0:0]\n:MINE - [0:0]\n:KUBE-A - [0:0]\n:KUBE-B - [0:0]\n:KUBE-C - [0:0]\n\
                    -A INPUT -j KUBE-A\n-A INPUT -j KUBE-C\n-A MINE -g KUBE-A\n-A KUBE-A -j KUBE-B\n-A KUBE-C -j KUBE-B\nCOMMIT\n";
        let table = &tables(text)[0];
        let wanted = "*filter\n-D INPUT -j KUBE-A\n-D INPUT -j KUBE-C\n-F KUBE-C\n-X KUBE-C\nCOMMIT\n";
        assert_eq!(table.change(&Others::default()), wanted);
        let names: Vec<String> = table.stays(&Others::default(), "iptables").into_iter().map(|l| l.what).collect();
        assert_eq!(names, ["chain KUBE-A of iptables's table filter", "chain KUBE-B of iptables's table filter"]);
    }

    /// Rules of a Kubernetes that was there before us stay, and what ours added to them goes.
    #[test]
    fn what_was_there_before_stays() {
        let before = "*nat\n:KUBE-SERVICES - [0:0]\n:CNI-1 - [0:0]\n-A PREROUTING -j KUBE-SERVICES\n-A KUBE-SERVICES -d 10.43.0.1/32 -j RETURN\nCOMMIT\n";
        let now = before
            .replace("COMMIT", "-A KUBE-SERVICES -d 10.152.183.1/32 -j KUBE-SVC-A\n-A KUBE-SVC-A -j RETURN\nCOMMIT");
        let mut table = tables(&now.replace(":CNI-1", ":KUBE-SVC-A - [0:0]\n:CNI-1")).remove(0);
        table.was = tables(before)[0].record().into_iter().collect();
        assert_eq!(table.was.len(), 4);
        assert_eq!(
            table.change(&Others::default()),
            "*nat\n-D KUBE-SERVICES -d 10.152.183.1/32 -j KUBE-SVC-A\n-F KUBE-SVC-A\n-X KUBE-SVC-A\nCOMMIT\n"
        );
        assert_eq!(table.stays(&Others::default(), "iptables"), []);
    }

    #[test]
    fn a_host_without_any_of_it_is_left_alone() {
        let text =
            "*filter\n:INPUT ACCEPT [0:0]\n:DOCKER - [0:0]\n-A INPUT -i cni0 -j DOCKER\nCOMMIT\n*mangle\nCOMMIT\n";
        assert_eq!(change(text, &Others::default()).concat(), "");
    }

    #[test]
    fn a_comment_is_one_word() {
        assert_eq!(words(r#"A --comment "name: \"x\" y" -j B"#), ["A", "--comment", "name: \"x\" y", "-j", "B"]);
    }
}
