//! The kernel's iSCSI: loaded now, and after every boot.

use std::{path::Path, time::Duration};

use serde_json::json;

use super::{Common, GONE, SERVICE_WITHIN, packages::MODULE, stays, text};
use crate::{
    engine::step::{Act, Memo, Memory, Probe, Scope, Step, Undo},
    error::Result,
    host::{Cmd, FileWrite, Host},
    stack::left,
};

const FILE: &str = "/etc/modules-load.d/iris-mk8s-longhorn.conf";
const CONTENT: &str = "# Longhorn's volumes are iSCSI disks of this host.\niscsi_tcp\n";

/// The step.
pub(super) struct Module {
    common: Common,
}

impl Module {
    pub(super) fn new(common: &Common) -> Self {
        Self { common: common.clone() }
    }

    fn loaded(host: &dyn Host) -> bool {
        host.exists(Path::new(&format!("/sys/module/{MODULE}")))
    }

    /// Files that ask for it at boot: ours, or somebody's.
    fn asking(host: &dyn Host) -> Result<Vec<String>> {
        let mut files = vec!["/etc/modules".to_owned()];
        for dir in ["/etc/modules-load.d", "/usr/lib/modules-load.d"] {
            let names = host.names(Path::new(dir)).into_iter().filter(|n| super::is_conf(n));
            files.extend(names.map(|name| format!("{dir}/{name}")));
        }
        let mut found = Vec::new();
        for file in files {
            if text(host, &file)?.lines().any(|l| l.trim() == MODULE) {
                found.push(file);
            }
        }
        Ok(found)
    }

    fn at_boot(host: &dyn Host) -> Result<bool> {
        Ok(!Self::asking(host)?.is_empty())
    }

    /// Why the module stays loaded, if it does.
    fn needed(host: &dyn Host) -> Result<Option<String>> {
        if let Some(file) = Self::asking(host)?.iter().find(|f| *f != FILE) {
            return Ok(Some(format!("{file} asks for it by now")));
        }
        let used = text(host, &format!("/sys/module/{MODULE}/refcnt"))?.trim().parse::<u32>().is_ok_and(|n| n > 0);
        Ok(used.then(|| "something uses it; it goes with the next boot".to_owned()))
    }
}

impl Step for Module {
    fn id(&self) -> &'static str {
        "longhorn.module"
    }

    fn recipe(&self) -> serde_json::Value {
        self.common.recipe()
    }

    fn title(&self) -> String {
        format!("kernel module {MODULE}")
    }

    fn probe(&self, host: &dyn Host) -> Result<Probe> {
        let (loaded, at_boot) = (Self::loaded(host), Self::at_boot(host)?);
        Ok(match (loaded, at_boot) {
            (true, true) => Probe::satisfied("loaded, and after every boot"),
            (false, false) => Probe::Absent,
            (true, false) => Probe::differs(json!({"loaded": true}), "it would not be loaded after a boot"),
            (false, true) => Probe::differs(json!({"at_boot": true}), "it is not loaded"),
        })
    }

    fn apply(&self, host: &dyn Host, _: &Probe) -> Result<Vec<Act>> {
        let mut acts = Vec::new();
        if !Self::loaded(host) {
            acts.push(Act::Run(Cmd::changes(SERVICE_WITHIN, ["modprobe", MODULE])));
        }
        if !Self::at_boot(host)? {
            let (path, bytes) = (Path::new(FILE).to_owned(), CONTENT.as_bytes().to_vec());
            acts.push(Act::Write(FileWrite { path, bytes, mode: 0o644, owner: None, secret: false, keeps: false }));
        }
        Ok(acts)
    }

    fn memo(&self, host: &dyn Host, _: &Probe) -> Result<Memo> {
        // Half of it may be ours already: the first memory stands.
        Ok(Memo { prior: json!({"loaded": Self::loaded(host), "at_boot": Self::at_boot(host)?}), want: json!(CONTENT) })
    }

    fn undo(&self, host: &dyn Host, memory: &Memory) -> Result<Undo> {
        if let Some(kept) = stays(host)? {
            return Ok(kept);
        }
        let mut acts = Vec::new();
        if memory.prior["at_boot"] != true && host.exists(Path::new(FILE)) {
            if !memory.open && text(host, FILE)? != CONTENT {
                return Ok(Undo::Theirs(format!("somebody changed {FILE} since")));
            }
            acts.push(Act::Remove { path: Path::new(FILE).to_owned(), all: false });
        }
        acts.extend(left::unfinished(host, Path::new(FILE)));
        let mut stays = None;
        if memory.prior["loaded"] != true && Self::loaded(host) {
            stays = Self::needed(host)?;
            if stays.is_none() {
                acts.push(Act::Run(Cmd::changes(SERVICE_WITHIN, ["modprobe", "--remove", MODULE])));
            }
        }
        Ok(match stays {
            _ if !acts.is_empty() => Undo::Acts(acts),
            Some(why) => Undo::Theirs(format!("the module {MODULE}: {why}")),
            None => Undo::Done,
        })
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
