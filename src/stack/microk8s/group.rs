//! The user's membership in the group `microk8s`. We ourselves run as root and need none.

use std::{path::PathBuf, time::Duration};

use serde_json::{Value, json};

use crate::{
    config::spec::Spec,
    engine::step::{Act, Memo, Memory, Probe, SOON, Scope, Step, Undo},
    error::Result,
    host::{Cmd, Host},
    stack::left::Left,
};

/// Made by the snap's install hook; it stays when the snap goes.
pub(crate) const GROUP: &str = "microk8s";

/// Whether the group exists.
pub(crate) fn exists(host: &dyn Host) -> Result<bool> {
    Ok(members(host)?.is_some())
}

/// A user's home directory; none when there is no such user.
pub(crate) fn home(host: &dyn Host, user: &str) -> Result<Option<PathBuf>> {
    let output = host.ask(&Cmd::reads(["getent", "passwd", user]))?;
    Ok(output.stdout.trim_end().split(':').nth(5).map(PathBuf::from))
}

/// The group's members as the database has them; a login that is older than the change does not show it.
fn members(host: &dyn Host) -> Result<Option<Vec<String>>> {
    let output = host.ask(&Cmd::reads(["getent", "group", GROUP]))?;
    let list = output.ok().then(|| output.stdout.trim_end().split(':').nth(3).unwrap_or("").to_owned());
    Ok(list.map(|l| l.split(',').filter(|m| !m.is_empty()).map(str::to_owned).collect()))
}

/// What to do about the group when MicroK8s is gone, which made it. Whom somebody added since, they want in it; `going` are those whose
/// membership goes before.
pub(crate) fn left(host: &dyn Host, going: &[String]) -> Result<(Vec<Act>, Vec<Left>)> {
    let others = |members: Vec<String>| members.into_iter().filter(|m| !going.contains(m)).collect::<Vec<_>>();
    Ok(match members(host)?.map(others) {
        None => (Vec::new(), Vec::new()),
        Some(members) if members.is_empty() => {
            (vec![Act::Run(Cmd::changes(SOON, ["groupdel", GROUP]).or_gone("does not exist"))], Vec::new())
        }
        Some(members) => {
            let why =
                format!("{} is in it, whom iris-mk8s did not add; `groupdel {GROUP}` removes it", members.join(", "));
            (Vec::new(), vec![Left::ours(format!("group {GROUP}"), why)])
        }
    })
}

/// The step.
pub(crate) struct Member {
    user: String,
}

impl Member {
    pub(crate) fn new(spec: &Spec) -> Self {
        Self { user: spec.user.clone() }
    }
}

impl Step for Member {
    fn id(&self) -> &'static str {
        "group.member"
    }

    fn recipe(&self) -> Value {
        json!({"user": self.user})
    }

    fn title(&self) -> String {
        format!("user {} in the group {GROUP}", self.user)
    }

    fn probe(&self, host: &dyn Host) -> Result<Probe> {
        if self.user == "root" {
            return Ok(Probe::satisfied("root needs no membership"));
        }
        Ok(match members(host)? {
            Some(members) if members.contains(&self.user) => Probe::satisfied("member"),
            _ => Probe::Absent,
        })
    }

    fn apply(&self, _: &dyn Host, _: &Probe) -> Result<Vec<Act>> {
        Ok(vec![Act::Run(Cmd::changes(SOON, ["usermod", "--append", "--groups", GROUP, &self.user]))])
    }

    fn memo(&self, _: &dyn Host, _: &Probe) -> Result<Memo> {
        Ok(Memo { prior: Value::Null, want: json!({"user": self.user}) })
    }

    fn undo(&self, host: &dyn Host, memory: &Memory) -> Result<Undo> {
        // The user may be another one by now; what goes is the membership that we gave.
        let users: Vec<&str> = memory.wants.iter().filter_map(|w| w["user"].as_str()).collect();
        let members = members(host)?.unwrap_or_default();
        let acts: Vec<Act> = members
            .iter()
            .filter(|m| users.contains(&m.as_str()))
            .map(|m| Act::Run(Cmd::changes(SOON, ["gpasswd", "--delete", m, GROUP])))
            .collect();
        Ok(if acts.is_empty() { Undo::Done } else { Undo::Acts(acts) })
    }

    fn deadline(&self) -> Duration {
        SOON
    }

    fn scope(&self) -> Scope {
        Scope::Host
    }
}
