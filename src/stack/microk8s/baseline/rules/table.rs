//! Rules as `iptables-save` writes them, and what each of them says of who made it.

use std::{collections::BTreeSet, net::Ipv4Addr};

use super::Others;
use crate::network::Reserved;

/// Comments of rules that are in none of their chains.
pub(super) const COMMENTS: &[&str] = &["generated for MicroK8s pods", "cali:", "flanneld forward", "flanneld masq"];

/// Names of MicroK8s' pod networks, as CNI plugins write them into comments.
const NETWORKS: &[&str] = &["k8s-pod-network", "microk8s-flannel-network"];

/// The kernel's own chains.
const BUILT_IN: &[&str] = &["PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"];

/// A rule of a text of `iptables-save`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) chain: String,
    /// All of it but `-A`.
    pub(super) text: String,
    pub(super) words: Vec<String>,
}

/// A table of a text of `iptables-save`.
#[derive(Clone, Debug, Default)]
pub(super) struct Table {
    pub(super) name: String,
    pub(super) chains: Vec<String>,
    pub(super) rules: Vec<Rule>,
    /// What of it was there before us, as lines of the record without their beginning.
    pub(super) was: BTreeSet<String>,
}

/// Words of a rule; `"..."` is one, in which `\"` stands for itself.
pub(super) fn words(text: &str) -> Vec<String> {
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
    pub(super) fn after(&self, option: &str) -> Option<&str> {
        let at = self.words.iter().position(|w| w == option)?;
        self.words.get(at + 1).map(String::as_str)
    }

    /// The chain that it leads to, or what it does.
    pub(super) fn target(&self) -> Option<&str> {
        self.after("-j").or_else(|| self.after("-g"))
    }

    /// All of its comments: Calico gives two.
    pub(super) fn comments(&self) -> impl Iterator<Item = &str> {
        let pairs = self.words.windows(2).filter(|pair| pair[0] == "--comment");
        pairs.map(|pair| pair[1].as_str())
    }

    /// The network of pods that a CNI plugin made it for: `name: "k8s-pod-network" id: "3fa9"`.
    pub(super) fn network(&self) -> Option<&str> {
        self.comments().find_map(|c| c.split("name: \"").nth(1)?.split('"').next())
    }

    /// It is made for a pod of MicroK8s'. Beside another Kubernetes, which may call its network the same, only an address counts.
    pub(super) fn is_of_our_network(&self, others: &Others) -> bool {
        let inside = |text: &str| {
            let address = text.split('/').next().unwrap_or_default();
            address.parse().is_ok_and(|a: Ipv4Addr| Reserved::default().pods.contains(&a))
        };
        let by_address = self.after("-s").or_else(|| self.after("-d")).is_some_and(inside);
        match self.network() {
            Some(name) => NETWORKS.contains(&name) && (by_address || others.kubernetes.is_none()),
            None => by_address,
        }
    }

    /// It is made for a container of another network of CNI: Podman's, for example.
    pub(super) fn is_of_other_network(&self) -> bool {
        self.network().is_some_and(|name| !NETWORKS.contains(&name))
    }

    pub(super) fn is_in_kernels_chain(&self) -> bool {
        BUILT_IN.contains(&self.chain.as_str())
    }

    /// A rule in a chain of the kernel's that one of these programs marked as its own.
    pub(super) fn is_marked(&self, others: &Others) -> bool {
        // Flannel marks the rules of every network alike.
        let ours = |c: &str| !c.starts_with("flanneld") || self.is_of_our_network(others);
        let marked = |c: &str| COMMENTS.iter().any(|mark| c.starts_with(mark)) && ours(c);
        self.is_in_kernels_chain() && self.comments().any(marked)
    }
}

/// The tables of a text of `iptables-save`.
pub(super) fn tables(text: &str) -> Vec<Table> {
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
