//! Asks the LAN which addresses are in use, by what the kernel does anyway before it sends: ARP.
//!
//! One empty UDP datagram to the discard port of each address makes the kernel ask who has it, three times within 3 s;
//! whoever has it must answer, even if it drops everything else. The answers are read from the kernel's neighbour table.
//! What that table held before is forgotten first, so that nobody is reported who has left; what the questions put into it
//! is taken out again.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, Write},
    net::{Ipv4Addr, UdpSocket},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use nix::sys::socket::{setsockopt, sockopt::BindToDevice};
use serde::Deserialize;

use crate::{
    config::lb_range::LbRange,
    host::poll,
    network::{MOST_ASKED, Network},
};

/// A datagram that waits for its answer counts against its socket's buffer, so one socket takes few of them.
const PER_SOCKET: usize = 64;

/// UDP's discard port: nobody does anything with what comes there.
const DISCARD: u16 = 9;

/// The addresses of the range that somebody in this machine's networks answers for, each with the MAC.
///
/// Addresses of this machine, and those in none of its networks, are not asked about. It takes as long as the kernel
/// needs to give up (3 s), at the most `budget`. Without root, what the kernel knew before cannot be forgotten: such a
/// neighbour counts only when it was heard of within the last seconds.
pub fn in_use(range: &LbRange, budget: Duration) -> io::Result<BTreeMap<Ipv4Addr, String>> {
    // The rest is for the tidying. Of 3 s it is 0.3, and the kernel asks for the last time after 2.
    let last_look = Instant::now() + budget * 9 / 10;
    let net = Network::from_ip_json(&ip(&["-j", "-d", "-4", "addr"])?, "").map_err(io::Error::other)?;
    let mut questions: Vec<Question> = questions(range, &net);
    for question in &mut questions {
        question.forget_old_answers()?;
        question.ask()?;
    }
    let mut answers = BTreeMap::new();
    loop {
        let mut settled = true;
        for question in &questions {
            settled &= question.read_answers(&mut answers)?;
        }
        if settled || Instant::now() + poll::EVERY >= last_look {
            break;
        }
        poll::again_in_thread();
    }
    for question in &questions {
        question.tidy()?;
    }
    Ok(answers)
}

/// What is asked through one interface.
struct Question {
    dev: String,
    addresses: BTreeSet<Ipv4Addr>,
    /// In the kernel's table before we asked.
    known: BTreeSet<Ipv4Addr>,
    /// Of those, the ones that could not be taken out of it.
    doubtful: BTreeSet<Ipv4Addr>,
}

fn questions(range: &LbRange, net: &Network) -> Vec<Question> {
    let mine: BTreeSet<Ipv4Addr> = net.interfaces.iter().flat_map(|i| &i.addresses).map(|a| a.net.addr()).collect();
    let asked = range.addresses().take(MOST_ASKED as usize).filter(|a| !mine.contains(a));
    let asked: Vec<Ipv4Addr> = asked.collect();
    let mut by_dev: BTreeMap<&str, BTreeSet<Ipv4Addr>> = BTreeMap::new();
    for (interface, lan) in net.lans() {
        let hosts = asked.iter().filter(|a| lan.contains(*a) && **a != lan.network() && **a != lan.broadcast());
        by_dev.entry(&interface.name).or_default().extend(hosts);
    }
    let question = |(dev, addresses): (&str, _)| Question {
        dev: dev.to_owned(),
        addresses,
        known: BTreeSet::new(),
        doubtful: BTreeSet::new(),
    };
    by_dev.into_iter().map(question).filter(|q| !q.addresses.is_empty()).collect()
}

impl Question {
    fn forget_old_answers(&mut self) -> io::Result<()> {
        let before = self.neighbours()?;
        self.known = before.keys().copied().collect();
        // What somebody wrote down by hand is not ours to forget.
        let learned: BTreeSet<Ipv4Addr> = before
            .into_iter()
            .filter(|(_, n)| !has(&n.state, "PERMANENT") && !has(&n.state, "NOARP"))
            .map(|(a, _)| a)
            .collect();
        if !learned.is_empty() {
            forget(&self.dev, &learned)?;
            self.doubtful = self.neighbours()?.into_keys().filter(|a| learned.contains(a)).collect();
        }
        Ok(())
    }

    fn ask(&self) -> io::Result<()> {
        let addresses: Vec<Ipv4Addr> = self.addresses.iter().copied().collect();
        let (mut sent, mut refused) = (false, None);
        for some in addresses.chunks(PER_SOCKET) {
            let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
            socket.set_nonblocking(true)?;
            // Routes may prefer another interface to the same network. Where it is not allowed, they decide.
            let _ = setsockopt(&socket, BindToDevice, &self.dev.clone().into());
            for address in some {
                match socket.send_to(&[], (*address, DISCARD)) {
                    Ok(_) => sent = true,
                    Err(e) => refused = Some(e),
                }
            }
        }
        match refused {
            Some(e) if !sent => Err(io::Error::new(
                e.kind(),
                format!("nothing can be sent by {} ({e}): a firewall or a route of this machine forbids it", self.dev),
            )),
            _ => Ok(()),
        }
    }

    /// Adds the answers there are; true when there is nothing left to wait for.
    fn read_answers(&self, answers: &mut BTreeMap<Ipv4Addr, String>) -> io::Result<bool> {
        let neighbours = self.neighbours()?;
        let mut settled = true;
        for address in &self.addresses {
            match neighbours.get(address) {
                Some(Neighbour { lladdr: Some(mac), state, .. }) if self.believable(*address, state) => {
                    answers.entry(*address).or_insert_with(|| mac.clone());
                }
                Some(Neighbour { state, .. }) if has(state, "FAILED") => {}
                _ => settled = false,
            }
        }
        Ok(settled)
    }

    fn believable(&self, address: Ipv4Addr, state: &[String]) -> bool {
        if self.doubtful.contains(&address) {
            return has(state, "REACHABLE");
        }
        !has(state, "FAILED") && !has(state, "INCOMPLETE")
    }

    /// Leaves the table as it was, but for neighbours that were in it before: the kernel has their newest state.
    fn tidy(&self) -> io::Result<()> {
        forget(&self.dev, &self.addresses.difference(&self.known).copied().collect())
    }

    /// What the kernel's table holds of the addresses.
    fn neighbours(&self) -> io::Result<BTreeMap<Ipv4Addr, Neighbour>> {
        let all: Vec<Neighbour> =
            serde_json::from_str(&ip(&["-j", "-4", "neigh", "show", "dev", &self.dev])?).map_err(io::Error::other)?;
        Ok(all.into_iter().filter_map(|n| Some((n.dst.filter(|a| self.addresses.contains(a))?, n))).collect())
    }
}

#[derive(Deserialize)]
struct Neighbour {
    dst: Option<Ipv4Addr>,
    lladdr: Option<String>,
    #[serde(default)]
    state: Vec<String>,
}

fn has(state: &[String], name: &str) -> bool {
    state.iter().any(|s| s == name)
}

/// Takes neighbours out of the kernel's table, where that is allowed; it asks anew when it needs them.
fn forget(dev: &str, addresses: &BTreeSet<Ipv4Addr>) -> io::Result<()> {
    let lines: Vec<String> = addresses.iter().map(|a| format!("neigh del {a} dev {dev}\n")).collect();
    let mut child = command(&["-force", "-batch", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(lines.concat().as_bytes())?;
    }
    child.wait()?;
    Ok(())
}

fn ip(arguments: &[&str]) -> io::Result<String> {
    let output = command(arguments).stdin(Stdio::null()).output()?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(io::Error::other(format!("ip {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim())))
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new("ip");
    command.args(arguments).env("LC_ALL", "C").env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    command
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn says_so_when_nothing_can_be_sent() {
        // Without leave to broadcast, the kernel refuses this one as a firewall refuses others.
        let addresses = BTreeSet::from([Ipv4Addr::BROADCAST]);
        let question =
            Question { dev: "eth0".to_owned(), addresses, known: BTreeSet::new(), doubtful: BTreeSet::new() };
        let error = question.ask().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
        assert!(error.to_string().starts_with("nothing can be sent by eth0 (Permission denied"), "{error}");
    }
}
