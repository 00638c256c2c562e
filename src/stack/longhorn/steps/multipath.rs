//! multipathd, where it runs: it must keep its hands off Longhorn's disks, or they are "already mounted or busy". A file of ours says so,
//! beside the user's own configuration; where multipathd really joins paths, nothing is changed.

use std::{path::Path, time::Duration};

use serde_json::{Value, json};

use super::{Common, GONE, SERVICE_WITHIN, stays, text, unit_is};
use crate::{
    engine::step::{Act, Memo, Memory, Probe, Scope, Step, Undo},
    error::Result,
    host::{Cmd, FileWrite, Host},
    stack::left,
};

const FILE: &str = "/etc/multipath/conf.d/iris-mk8s-longhorn.conf";
const CONTENT: &str = "# Longhorn's volumes are disks /dev/sdX of this host, each with one path.\nblacklist {\n    devnode \"^sd[a-z0-9]+\"\n}\n";
const PATTERN: &str = "^sd[a-z0-9]+";

/// Its service, which its socket may start at any time.
const UNITS: [&str; 2] = ["multipathd.service", "multipathd.socket"];

/// The step.
pub(super) struct Blacklist {
    common: Common,
}

/// Whether multipathd runs, or would.
fn runs(host: &dyn Host) -> Result<bool> {
    Ok(unit_is(host, "is-active", UNITS[0])? || unit_is(host, "is-active", UNITS[1])?)
}

/// Whether a configuration keeps these disks from it.
fn keeps_away(host: &dyn Host) -> Result<bool> {
    let mut files = vec!["/etc/multipath.conf".to_owned()];
    let dir = "/etc/multipath/conf.d";
    files.extend(host.names(Path::new(dir)).iter().filter(|n| super::is_conf(n)).map(|n| format!("{dir}/{n}")));
    for file in files {
        if blacklists(&text(host, &file)?) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether it runs and would take Longhorn's disks.
pub(crate) fn takes_disks(host: &dyn Host) -> Result<bool> {
    Ok(runs(host)? && !keeps_away(host)?)
}

/// Why our line must not be added: multipathd joins paths to disks of this host. What it is, and what to do.
pub(crate) fn in_use(host: &dyn Host) -> Result<Option<(String, String)>> {
    if !takes_disks(host)? {
        return Ok(None);
    }
    let maps = host.ask(&Cmd::reads(["multipath", "-ll"])).map(|output| output.stdout).unwrap_or_default();
    Ok(maps.lines().find(|l| !l.trim().is_empty()).map(|map| {
        let why = format!(
            "multipathd joins paths to disks of this host ({}); with all of /dev/sd* in its blacklist it could not",
            map.trim()
        );
        let hint = "add exceptions of your own and the line `devnode \"^sd[a-z0-9]+\"` to the section blacklist of \
                    /etc/multipath.conf, so that your disks stay joined; or take --storage microk8s-hostpath";
        (why, hint.to_owned())
    }))
}

/// Whether a text of multipath's has our pattern in its section `blacklist`.
fn blacklists(text: &str) -> bool {
    let mut section = String::new();
    for line in text.lines().map(str::trim).filter(|l| !l.starts_with(['#', '!'])) {
        if let Some((name, rest)) = line.split_once('{') {
            name.trim().clone_into(&mut section);
            if section == "blacklist" && rest.contains(PATTERN) {
                return true;
            }
        } else if section == "blacklist" && line.starts_with("devnode") && line.contains(PATTERN) {
            return true;
        }
        if line.ends_with('}') {
            section.clear();
        }
    }
    false
}

impl Blacklist {
    pub(super) fn new(common: &Common) -> Self {
        Self { common: common.clone() }
    }

    fn read_again() -> Act {
        Act::Run(Cmd::changes(SERVICE_WITHIN, ["systemctl", "reload-or-restart", UNITS[0]]))
    }
}

impl Step for Blacklist {
    fn id(&self) -> &'static str {
        "longhorn.multipath"
    }

    fn recipe(&self) -> Value {
        self.common.recipe()
    }

    fn title(&self) -> String {
        "multipathd ignores Longhorn's disks".to_owned()
    }

    fn probe(&self, host: &dyn Host) -> Result<Probe> {
        if !runs(host)? {
            return Ok(Probe::satisfied("it does not run"));
        }
        if keeps_away(host)? {
            return Ok(Probe::satisfied("its blacklist has /dev/sd*"));
        }
        if let Some((why, hint)) = in_use(host)? {
            return Ok(Probe::Refused { why, hint });
        }
        Ok(Probe::Absent)
    }

    fn apply(&self, _: &dyn Host, _: &Probe) -> Result<Vec<Act>> {
        let (path, bytes) = (Path::new(FILE).to_owned(), CONTENT.as_bytes().to_vec());
        Ok(vec![
            Act::Write(FileWrite { path, bytes, mode: 0o644, owner: None, secret: false, keeps: false }),
            Self::read_again(),
        ])
    }

    fn memo(&self, host: &dyn Host, _: &Probe) -> Result<Memo> {
        let there: Vec<&str> =
            ["/etc/multipath", "/etc/multipath/conf.d"].into_iter().filter(|d| host.exists(Path::new(d))).collect();
        Ok(Memo { prior: json!({"directories": there}), want: json!(CONTENT) })
    }

    fn undo(&self, host: &dyn Host, memory: &Memory) -> Result<Undo> {
        if let Some(kept) = stays(host)? {
            return Ok(kept);
        }
        let mut acts = Vec::new();
        if host.exists(Path::new(FILE)) {
            if !memory.open && text(host, FILE)? != CONTENT {
                return Ok(Undo::Theirs(format!("somebody changed {FILE} since")));
            }
            acts.push(Act::Remove { path: Path::new(FILE).to_owned(), all: false });
            if runs(host)? {
                acts.push(Self::read_again());
            }
            return Ok(Undo::Acts(acts));
        }
        if let Some(act) = left::unfinished(host, Path::new(FILE)) {
            return Ok(Undo::Acts(vec![act]));
        }
        let before = |dir: &str| memory.prior["directories"].as_array().is_some_and(|d| d.contains(&Value::from(dir)));
        for dir in ["/etc/multipath/conf.d", "/etc/multipath"] {
            if before(dir) || !host.exists(Path::new(dir)) {
                continue;
            }
            let others = host.names(Path::new(dir));
            if !others.is_empty() {
                return Ok(Undo::Theirs(format!("{} lies in {dir}, and stays there", others.join(", "))));
            }
            return Ok(Undo::Acts(vec![Act::Remove { path: Path::new(dir).to_owned(), all: false }]));
        }
        Ok(Undo::Done)
    }

    fn deadline(&self) -> Duration {
        SERVICE_WITHIN
    }

    fn scope(&self) -> Scope {
        Scope::Host
    }

    fn clears(&self) -> Option<&'static str> {
        Some(GONE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_section_blacklist_counts() {
        assert!(blacklists(CONTENT));
        assert!(blacklists(
            "defaults {\n user_friendly_names yes\n}\nblacklist {\n  devnode \"^(ram|loop)\"\n  devnode \"^sd[a-z0-9]+\"\n}\n"
        ));
        assert!(!blacklists("blacklist_exceptions {\n  devnode \"^sd[a-z0-9]+\"\n}\n"));
        assert!(!blacklists("#blacklist {\n#  devnode \"^sd[a-z0-9]+\"\n#}\n"));
        assert!(!blacklists("blacklist {\n  devnode \"^vd[a-z]\"\n}\n"));
    }
}
