//! The host's iSCSI service: it runs, or its socket starts it when somebody knocks, and it comes back after a boot.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Common, GONE, SERVICE_WITHIN, stays, unit_is};
use crate::{
    engine::step::{Act, Memo, Memory, Probe, Scope, Step, Undo},
    error::{Kind, Result},
    host::{Cmd, Host},
    stack::longhorn::state as longhorn,
};

const SERVICE: &str = "iscsid.service";
const SOCKET: &str = "iscsid.socket";

/// The step.
pub(super) struct Service {
    common: Common,
}

impl Service {
    pub(super) fn new(common: &Common) -> Self {
        Self { common: common.clone() }
    }
}

fn either(host: &dyn Host, what: &str) -> Result<bool> {
    Ok(unit_is(host, what, SERVICE)? || unit_is(host, what, SOCKET)?)
}

/// iSCSI targets of somebody else: the host is logged in to one, or would be after a boot.
pub(super) fn of_others(host: &dyn Host) -> Result<Option<String>> {
    for mode in ["session", "node"] {
        let output = match host.ask(&Cmd::reads(["iscsiadm", "-m", mode])) {
            Err(e) if e.kind == Kind::NoProgram => return Ok(None),
            other => other?,
        };
        let theirs = |line: &&str| line.contains("iqn.") && !line.contains(longhorn::TARGETS);
        if let Some(line) = output.stdout.lines().find(theirs) {
            return Ok(Some(line.trim().to_owned()));
        }
    }
    Ok(None)
}

fn systemctl(words: &[&str]) -> Act {
    Act::Run(Cmd::changes(SERVICE_WITHIN, std::iter::once("systemctl").chain(words.iter().copied())))
}

impl Step for Service {
    fn id(&self) -> &'static str {
        "longhorn.iscsid"
    }

    fn recipe(&self) -> Value {
        self.common.recipe()
    }

    fn title(&self) -> String {
        "service iscsid".to_owned()
    }

    fn probe(&self, host: &dyn Host) -> Result<Probe> {
        let (active, enabled) = (either(host, "is-active")?, either(host, "is-enabled")?);
        Ok(match (active, enabled) {
            (true, true) => Probe::satisfied("runs, and comes back after a boot"),
            (false, true) => Probe::differs(json!({"active": false, "enabled": true}), "it does not run"),
            (true, false) => {
                Probe::differs(json!({"active": true, "enabled": false}), "it would not come back after a boot")
            }
            (false, false) => Probe::Absent,
        })
    }

    fn apply(&self, _: &dyn Host, _: &Probe) -> Result<Vec<Act>> {
        Ok(vec![systemctl(&["enable", "--now", SERVICE])])
    }

    fn memo(&self, _: &dyn Host, found: &Probe) -> Result<Memo> {
        let prior = if let Probe::Differs { now, .. } = found { now.clone() } else { Value::Null };
        Ok(Memo { prior, want: json!({"active": true, "enabled": true}) })
    }

    fn undo(&self, host: &dyn Host, memory: &Memory) -> Result<Undo> {
        if let Some(kept) = stays(host)? {
            return Ok(kept);
        }
        let was = |field: &str| memory.prior[field] == true;
        let mut acts = Vec::new();
        if !was("enabled") && unit_is(host, "is-enabled", SERVICE)? {
            acts.push(systemctl(&["disable", SERVICE]));
        }
        if !was("active") && unit_is(host, "is-active", SERVICE)? {
            acts.push(systemctl(&["stop", SERVICE]));
        }
        if acts.is_empty() {
            return Ok(Undo::Done);
        }
        Ok(match of_others(host)? {
            Some(target) => Undo::Theirs(format!("the host has an iSCSI target of its own: {target}")),
            None => Undo::Acts(acts),
        })
    }

    fn deadline(&self) -> Duration {
        SERVICE_WITHIN * 2
    }

    fn scope(&self) -> Scope {
        Scope::Host
    }

    fn clears(&self) -> Option<&'static str> {
        Some(GONE)
    }
}
