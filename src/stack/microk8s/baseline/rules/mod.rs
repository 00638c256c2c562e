//! Rules of the packet filter that Kubernetes, its network and MicroK8s made. They are taken away one by one, as a change to the tables under
//! iptables' own lock: nothing that somebody adds meanwhile is lost, and a table changes as a whole or not at all.
//!
//! What is theirs is known by chains of their names that the kernel's own chains lead to, and by the comments that they give their rules. A
//! rule of somebody's that merely names `cni0` has neither, and stays.

use std::collections::{BTreeMap, BTreeSet};

use super::Others;
use crate::{
    engine::step::{Act, SOON},
    error::{Error, Kind, Result},
    host::{Cmd, Host},
    stack::left::Left,
};

mod table;

use table::{COMMENTS, Rule, Table, tables};

/// Both kinds of tables, each for both kinds of addresses; MicroK8s' own programs may write into another one than the host's `iptables` does.
const BACKENDS: &[&str] = &["iptables-nft", "iptables-legacy", "ip6tables-nft", "ip6tables-legacy"];

/// On a host without these names there is only one kind.
const PLAIN: &[&str] = &["iptables", "ip6tables"];

/// How long to wait for the lock, in seconds.
const LOCK: &str = "20";

/// Chains of kube-proxy, kubelet, Calico and flannel.
const OF_KUBERNETES: &[&str] = &["KUBE-", "cali-", "FLANNEL-"];

/// Chains that kube-proxy and kubelet make on every host, in all versions that there are.
const OF_PROXY: &[&str] = &[
    "KUBE-EXTERNAL-SERVICES",
    "KUBE-FIREWALL",
    "KUBE-FORWARD",
    "KUBE-IPTABLES-HINT",
    "KUBE-KUBELET-CANARY",
    "KUBE-LOAD-BALANCER",
    "KUBE-MARK-DROP",
    "KUBE-MARK-MASQ",
    "KUBE-NODE-PORT",
    "KUBE-NODEPORTS",
    "KUBE-POSTROUTING",
    "KUBE-PROXY-CANARY",
    "KUBE-PROXY-FIREWALL",
    "KUBE-SERVICES",
    "KUBE-SOURCE-RANGES-FIREWALL",
];

/// Those of one service or of one of its addresses: with a number.
const OF_SERVICES: &[&str] = &["KUBE-EXT-", "KUBE-FW-", "KUBE-SEP-", "KUBE-SVC-", "KUBE-SVL-", "KUBE-XLB-"];

/// Those of flannel.
const OF_FLANNEL: &[&str] = &["FLANNEL-FWD", "FLANNEL-POSTRTG"];

/// Chains of the CNI plugins: those of one container have a number, those for ports of the host serve all.
const OF_PLUGINS: &str = "CNI-";
const FOR_PORTS: &[&str] = &["CNI-HOSTPORT-DNAT", "CNI-HOSTPORT-SETMARK", "CNI-HOSTPORT-MASQ"];

/// Devices of the pod network that a rule may name.
const DEVICES: &[&str] = &["cni0", "vxlan.calico", "flannel.1"];

/// A chain that a plugin made for one container: `CNI-` or `CNI-DN-`, and a number.
fn is_of_container(chain: &str) -> bool {
    let number = chain.strip_prefix(OF_PLUGINS).map(|rest| rest.trim_start_matches("DN-").trim_start_matches("SN-"));
    number.is_some_and(|n| n.len() >= 16 && n.bytes().all(|b| b.is_ascii_hexdigit()))
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
        let looks =
            |r: &&Rule| is_named(&r.chain) || r.target().is_some_and(is_named) || r.is_marked(&Others::default());
        chains.chain(self.rules.iter().filter(looks).map(|r| format!("-A {}", r.text))).collect()
    }

    fn of<'a>(&'a self, chain: &'a str) -> impl Iterator<Item = &'a Rule> {
        self.rules.iter().filter(move |r| r.chain == chain)
    }

    fn to<'a>(&'a self, chain: &'a str) -> impl Iterator<Item = &'a Rule> {
        self.rules.iter().filter(move |r| r.target() == Some(chain))
    }

    /// A chain of a CNI plugin: ours when it serves a pod of ours, and nobody else.
    fn is_our_plugins(&self, chain: &str, others: &Others) -> bool {
        if FOR_PORTS.contains(&chain) {
            return others.kubernetes.is_none() && !self.rules.iter().any(Rule::is_of_other_network);
        }
        let mut about: Vec<&Rule> = self.of(chain).collect();
        about.extend(self.to(chain));
        // An empty one that nothing leads to serves nobody.
        is_of_container(chain)
            && !about.iter().any(|r| r.is_of_other_network())
            && (about.is_empty() || about.iter().any(|r| r.is_of_our_network(others)))
    }

    /// A chain of Kubernetes or its network: by a name that it gives, or by Calico's mark, which each of its rules has. Anybody may begin a name
    /// so.
    fn is_of_kubernetes(&self, chain: &str) -> bool {
        let is_empty = self.of(chain).next().is_none();
        let is_calicos =
            || is_empty || self.of(chain).any(|rule| rule.comments().any(|comment| comment.starts_with("cali:")));
        OF_PROXY.contains(&chain)
            || OF_FLANNEL.contains(&chain)
            || OF_SERVICES.iter().any(|begin| chain.starts_with(begin))
            || (chain.starts_with("cali-") && is_calicos())
    }

    /// Chains of Kubernetes, its network and its plugins, by their names and what is in them.
    fn ours(&self, others: &Others) -> BTreeSet<&str> {
        let is_ours = |chain: &&str| {
            (self.is_of_kubernetes(chain) && others.kubernetes.is_none())
                || (chain.starts_with(OF_PLUGINS) && self.is_our_plugins(chain, others))
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
        let marked = rule.is_marked(others)
            && (others.kubernetes.is_none() || rule.comments().any(|c| c.starts_with(COMMENTS[0])));
        // A chain that serves all containers may stay for those of others.
        let shared = rule.chain.starts_with(OF_PLUGINS) && !is_of_container(&rule.chain);
        added || leads || marked || (shared && rule.is_of_our_network(others))
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
                    _ if !self.is_of_kubernetes(chain) => Left::theirs(
                        what,
                        "its name begins like one of Kubernetes', and no part of it makes such a chain",
                    ),
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
                Err(e) if e.kind == Kind::NoProgram => {}
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
mod tests;
