//! The record of what was there before MicroK8s. What it does not say is not guessed: one that cannot be read is told, and nothing that
//! depends on it is done.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::{files, links, rules, settings};
use crate::{
    engine::step::Memory,
    error::Result,
    host::Host,
    stack::{
        left::{self, read_record},
        microk8s::group,
    },
};

/// Version of the record; raised when an older program could misread it. The first one had no number.
const FORMAT: u32 = 2;

/// What was there.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Found {
    #[serde(default = "first")]
    format: u32,
    /// The group `microk8s`.
    pub(super) group: bool,
    /// Places of MicroK8s' traces that were not there.
    pub(super) absent: Vec<PathBuf>,
    /// In those that were: what MicroK8s might have made. The first format does not know it.
    #[serde(default)]
    pub(super) there: Option<Vec<PathBuf>>,
    /// Rules of a Kubernetes.
    filter_rules: bool,
    /// These rules. The first format does not know them.
    #[serde(default)]
    rules: Option<Vec<String>>,
    /// Units of MicroK8s' that had failed. The first format does not know them.
    #[serde(default)]
    pub(super) failed: Vec<String>,
    /// Network devices.
    pub(super) links: Vec<String>,
    /// Network namespaces.
    pub(super) namespaces: Vec<String>,
    /// Kernel settings, and their values.
    pub(super) settings: BTreeMap<String, String>,
    /// The boot at which it was written down. Rules, network namespaces and failed units end with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    boot: Option<String>,
}

/// The kernel's name for the boot that it runs since.
fn boot(host: &dyn Host) -> Result<Option<String>> {
    let id = host.read(Path::new("/proc/sys/kernel/random/boot_id"))?;
    Ok(id.map(|id| String::from_utf8_lossy(&id).trim().to_owned()))
}

fn first() -> u32 {
    1
}

impl Found {
    /// What is there now.
    pub(super) fn look(host: &dyn Host, homes: &[PathBuf]) -> Result<Self> {
        let (absent, there) = files::there(host, homes)?;
        let rules = rules::there(host)?;
        Ok(Self {
            format: FORMAT,
            group: group::exists(host)?,
            absent,
            there: Some(there),
            filter_rules: !rules.is_empty(),
            rules: Some(rules),
            failed: left::failed_units(host, &[super::UNITS])?,
            links: links::names(host)?,
            namespaces: host.names(Path::new("/run/netns")),
            settings: settings::read(host)?,
            boot: boot(host)?,
        })
    }

    /// What of it can still be there: of an earlier boot, only what is on the disk, and the kernel's devices and settings, which come back.
    pub(super) fn of_this_boot(self, host: &dyn Host) -> Result<Self> {
        let now = boot(host)?;
        if self.boot.is_none() || self.boot == now {
            return Ok(self);
        }
        Ok(Self { filter_rules: false, rules: Some(Vec::new()), failed: Vec::new(), namespaces: Vec::new(), ..self })
    }

    /// Of a host of which nothing is known: everything that looks like MicroK8s' may be its own.
    pub(super) fn nothing(homes: &[PathBuf]) -> Self {
        Self { absent: files::roots(homes), rules: Some(Vec::new()), ..Self::default() }
    }

    /// Rules that were there; none when there were some, and nobody wrote down which.
    pub(super) fn rules(&self) -> Option<&[String]> {
        match &self.rules {
            Some(rules) => Some(rules),
            None if self.filter_rules => None,
            None => Some(&[]),
        }
    }

    /// What the journal has of it, should the file be lost.
    pub(super) fn of_journal(memory: &Memory) -> Option<Self> {
        memory.wants.iter().rev().find_map(|want| serde_json::from_value(want.get("found")?.clone()).ok())
    }

    /// What was written down; none when there is no such file.
    pub(super) fn read(host: &dyn Host, file: &Path) -> Result<Option<Self>> {
        read_record(host, file, parse)
    }
}

fn parse(bytes: &[u8]) -> Result<Found, String> {
    let found: Found = serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
    if found.format > FORMAT {
        return Err(format!("its format is {}, and the newest one that this program reads is {FORMAT}", found.format));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stack::left::whole;

    /// As commit 8767765 wrote it.
    const FIRST: &str = r#"{"group": false, "absent": ["/etc/cni"], "filter_rules": false, "links": ["lo"], "namespaces": [],
                           "settings": {"net.ipv4.ip_forward": "0"}}"#;

    #[test]
    fn a_record_of_the_first_format_is_read_and_knows_nothing_of_places_that_were_there() {
        let found = parse(FIRST.as_bytes()).expect("it is read");
        assert_eq!((found.rules(), found.format), (Some(&[][..]), 1));
        assert_eq!((found.there, found.links), (None, vec!["lo".to_owned()]));
        let with_rules = parse(FIRST.replace("\"filter_rules\": false", "\"filter_rules\": true").as_bytes());
        assert_eq!(with_rules.expect("it is read").rules(), None, "whose rules are unknown");
    }

    #[test]
    fn what_cannot_be_read_is_told_and_never_taken_for_nothing() {
        for (bytes, why) in [
            (&b""[..], "it is empty"),
            (&[0; 512][..], "512 zero bytes"),
            (b"{}", "missing field"),
            (b"null", "invalid type"),
            (&FIRST.as_bytes()[..40], "EOF"),
            (FIRST.replacen('{', "{\"format\": 3,", 1).as_bytes(), "its format is 3"),
        ] {
            let read = whole(bytes).and_then(|()| parse(bytes));
            assert!(read.as_ref().is_err_and(|e| e.contains(why)), "{read:?}");
        }
    }
}
