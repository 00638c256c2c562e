//! One object of the cluster, by server-side apply. What somebody else applied is kept when it does what the spec asks for, else
//! refused by naming the fields; it is never changed and never deleted.

use std::time::Duration;

use serde_json::{Value, json};

use super::{SNAP, SOON, check::Question};
use crate::{
    cluster::{self, Kind, state},
    error::Result,
    host::{Host, Watch},
    step::{Act, Memo, Memory, Probe, Scope, Step, Undo},
};

/// What is said of an object that somebody else applied and that serves.
pub(super) const THEIRS: &str = "somebody else applied it; it does what is asked for, and stays theirs";

/// The step.
pub(super) struct Object {
    pub(super) id: &'static str,
    pub(super) kind: &'static Kind,
    /// The object as we want it.
    pub(super) want: Value,
    /// The part of it that somebody else's object must have to serve as well.
    pub(super) essential: Value,
    /// What must hold besides for somebody else's object to serve.
    pub(super) serves: Option<Question>,
    /// How long its deletion may take.
    pub(super) deadline: Duration,
    /// The step that cannot do without it.
    pub(super) used_by: Option<&'static str>,
}

impl Object {
    pub(super) fn new(id: &'static str, kind: &'static Kind, want: Value, essential: Value) -> Self {
        Self { id, kind, want, essential, serves: None, deadline: SOON, used_by: None }
    }

    fn name(&self) -> &str {
        state::name(&self.want)
    }

    fn namespace(&self) -> Option<&str> {
        self.want["metadata"]["namespace"].as_str()
    }

    fn get(&self, host: &dyn Host) -> Result<Option<Value>> {
        host.get(self.kind, self.namespace(), self.name())
    }
}

impl Step for Object {
    fn id(&self) -> &str {
        self.id
    }

    fn title(&self) -> String {
        cluster::describe(&self.want)
    }

    fn probe(&self, host: &dyn Host) -> Result<Probe> {
        let Some(now) = self.get(host)? else { return Ok(Probe::Absent) };
        if state::going(&now) {
            return Ok(Probe::pending("it is being deleted"));
        }
        if cluster::is_ours(&now) {
            let differences = state::differences(&self.want, &now);
            return Ok(if differences.is_empty() {
                Probe::satisfied("")
            } else {
                Probe::differs(json!(differences), format!("differs in {}", differences.join(", ")))
            });
        }
        let differences = state::differences(&self.essential, &now);
        if !differences.is_empty() {
            return Ok(Probe::Refused {
                why: format!("somebody else applied {}, and it differs in {}", self.title(), differences.join(", ")),
                hint: "set the same in a profile or by flags, choose another --namespace, or delete the object (its claims stay)"
                    .to_owned(),
            });
        }
        match &self.serves {
            Some(question) => question(host),
            None => Ok(Probe::satisfied(THEIRS)),
        }
    }

    fn apply(&self, _: &dyn Host, _: &Probe) -> Result<Vec<Act>> {
        Ok(vec![Act::Apply(Box::new(self.want.clone()))])
    }

    fn memo(&self, _: &dyn Host, _: &Probe) -> Result<Memo> {
        // The object itself may hold a secret; that it is ours, its managed fields say.
        Ok(Memo { prior: Value::Null, want: json!(self.title()) })
    }

    fn undo(&self, host: &dyn Host, memory: &Memory) -> Result<Undo> {
        let Some(now) = self.get(host)? else { return Ok(Undo::Done) };
        if state::going(&now) {
            return Ok(Undo::Pending(self.why_not_gone(host, &now)?));
        }
        if !cluster::is_ours(&now) {
            return Ok(Undo::Keep("somebody replaced it since by one of their own".to_owned()));
        }
        let differences = state::differences(&self.want, &now);
        if !memory.open && !differences.is_empty() {
            return Ok(Undo::Keep(format!("somebody changed it since ({})", differences.join(", "))));
        }
        let namespace = self.namespace().map(str::to_owned);
        Ok(Undo::Acts(vec![Act::Delete { kind: self.kind, namespace, name: self.name().to_owned() }]))
    }

    fn deadline(&self) -> Duration {
        self.deadline
    }

    fn watches(&self) -> Vec<Watch> {
        let namespace = self.namespace().map(str::to_owned);
        vec![Watch::Objects(self.kind, namespace.clone()), Watch::Objects(&cluster::POD, namespace)]
    }

    fn scope(&self) -> Scope {
        Scope::App
    }

    fn inside(&self) -> Option<&'static str> {
        Some(SNAP)
    }

    fn used_by(&self) -> Option<&'static str> {
        self.used_by
    }
}

impl Object {
    fn why_not_gone(&self, host: &dyn Host, now: &Value) -> Result<String> {
        if *self.kind != cluster::STATEFUL_SET {
            return Ok("it is being deleted".to_owned());
        }
        let pods = host.list(&cluster::POD, self.namespace(), &state::selector(now))?;
        let names: Vec<&str> = pods.iter().map(state::name).collect();
        Ok(format!("IRIS shuts down ({})", names.join(", ")))
    }
}
