//! One object of the cluster, by server-side apply. What somebody else applied is kept when it does what the spec asks for, else
//! refused by naming the fields; it is never changed and never deleted.

use std::time::Duration;

use serde_json::{Value, json};

use super::iris::state::Labelled;
use super::registry::Pin;
use crate::{
    config::spec::Spec,
    engine::{
        check::Question,
        step::{Act, Memo, Memory, Probe, SNAP, SOON, Scope, Step, Undo},
    },
    error::{Error, ExitCode, Result},
    host::{Host, Watch, digest},
    kube::{self, Kind, state},
};

/// What is said of an object that somebody else applied and that serves.
pub(crate) const THEIRS: &str = "somebody else applied it; it serves, and is left unchanged";

/// The step.
pub(crate) struct Object {
    pub(crate) id: &'static str,
    pub(crate) kind: &'static Kind,
    /// The object as we want it.
    pub(crate) want: Value,
    /// The part of it that somebody else's object must have to serve as well.
    pub(crate) essential: Value,
    /// What must hold besides for somebody else's object to serve.
    pub(crate) serves: Option<Question>,
    /// How long its deletion may take.
    pub(crate) deadline: Duration,
    /// The key of the step that cannot do without it.
    pub(crate) used_by: Option<String>,
    /// It has our label, unless the StatefulSet that is there goes without.
    pub(crate) labelled: Option<Labelled>,
    /// Its image is named by a digest.
    pub(crate) pin: Option<Pin>,
    /// What was applied before, the newest last, for whoever changes the number of its instances and nothing else.
    pub(crate) applied: Vec<Value>,
}

impl Object {
    pub(crate) fn new(id: &'static str, kind: &'static Kind, want: Value, essential: Value) -> Self {
        Self {
            id,
            kind,
            want,
            essential,
            serves: None,
            deadline: SOON,
            used_by: None,
            labelled: None,
            pin: None,
            applied: Vec::new(),
        }
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

    /// The object as we want it in the cluster as it is.
    fn wanted(&self, host: &dyn Host) -> Result<Value> {
        if !self.applied.is_empty() {
            return Ok(self.rescaled(self.get(host)?.as_ref()));
        }
        let want = match &self.pin {
            Some(pin) => pin.suited(host, &self.want)?,
            None => self.want.clone(),
        };
        match &self.labelled {
            Some(labelled) => labelled.suited(host, &want),
            None => Ok(want),
        }
    }

    /// The object as it was applied, with the number of instances that we want. Of all that was applied, this is what is there: an apply
    /// that the API refused, or that an interrupted run did not reach, is among it. Where nothing is there, or somebody changed it, it is
    /// the newest.
    fn rescaled(&self, now: Option<&Value>) -> Value {
        let is_there = |applied: &&Value| {
            now.is_some_and(|now| state::differences(applied, now).iter().all(|field| field == REPLICAS))
        };
        let mut want = self.applied.iter().rfind(is_there).or(self.applied.last()).unwrap_or(&self.want).clone();
        want["spec"]["replicas"] = self.want["spec"]["replicas"].clone();
        want
    }
}

/// The number of a StatefulSet's instances, as [`state::differences`] names it.
const REPLICAS: &str = "spec.replicas";

impl Step for Object {
    fn id(&self) -> &str {
        self.id
    }

    fn key(&self) -> String {
        let place = self.namespace().map(|namespace| format!("{namespace}/")).unwrap_or_default();
        format!("{}@{place}{}", self.id, self.name())
    }

    fn recipe(&self) -> Value {
        let metadata = &self.want["metadata"];
        json!({
            "object": {
                "apiVersion": self.want["apiVersion"],
                "kind": self.want["kind"],
                "metadata": {"namespace": metadata["namespace"], "name": metadata["name"]},
            },
            "used_by": self.used_by,
            "timeouts": {"remove": self.deadline.as_secs()},
        })
    }

    fn title(&self) -> String {
        kube::describe(&self.want)
    }

    fn probe(&self, host: &dyn Host) -> Result<Probe> {
        let now = self.get(host)?;
        if now.as_ref().is_none_or(kube::is_ours)
            && let Some(pin) = &self.pin
            && let Some(missing) = pin.missing(host)?
        {
            return Ok(missing);
        }
        let Some(now) = now else { return Ok(Probe::Absent) };
        if state::going(&now) {
            return Ok(Probe::pending("it is being deleted"));
        }
        if kube::is_ours(&now) {
            let differences = state::differences(&self.wanted(host)?, &now);
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

    fn apply(&self, host: &dyn Host, _: &Probe) -> Result<Vec<Act>> {
        // A plan may be asked for before there is a registry, or the image in it. In a run the probe has just asked it, and the memo will.
        let is_later = |e: &Error| e.transient || e.code == ExitCode::Unverified;
        let want = self.wanted(host).or_else(|e| if is_later(&e) { Ok(self.want.clone()) } else { Err(e) })?;
        Ok(vec![Act::Apply(Box::new(want))])
    }

    fn memo(&self, host: &dyn Host, _: &Probe) -> Result<Memo> {
        Ok(Memo { prior: Value::Null, want: applied(&self.wanted(host)?) })
    }

    fn undo(&self, host: &dyn Host, memory: &Memory) -> Result<Undo> {
        let Some(now) = self.get(host)? else { return Ok(Undo::Done) };
        if state::going(&now) {
            return Ok(Undo::Pending(self.why_not_gone(host, &now)?));
        }
        if !kube::is_ours(&now) {
            return Ok(Undo::Theirs("somebody has replaced it with one of their own".to_owned()));
        }
        let changes = changed(memory, &now);
        if !changes.is_empty() {
            let how = format!("somebody has changed it since ({})", changes.join(", "));
            return Ok(Undo::Keep(format!("{how}; delete it yourself if it is not needed")));
        }
        let namespace = self.namespace().map(str::to_owned);
        Ok(Undo::Acts(vec![Act::Delete { kind: self.kind, namespace, name: self.name().to_owned() }]))
    }

    fn deadline(&self) -> Duration {
        self.deadline
    }

    fn watches(&self) -> Vec<Watch> {
        let namespace = self.namespace().map(str::to_owned);
        vec![Watch::Objects(self.kind, namespace.clone()), Watch::Objects(&kube::POD, namespace)]
    }

    fn scope(&self) -> Scope {
        Scope::App
    }

    fn inside(&self) -> Option<&'static str> {
        Some(SNAP)
    }

    fn newest_want_counts(&self) -> bool {
        true
    }

    fn changes_with(&self, host: &dyn Host, deletion: &Act) -> Result<bool> {
        match (&self.labelled, deletion) {
            (Some(labelled), Act::Delete { kind, namespace, name }) if kind.kind == kube::STATEFUL_SET.kind => {
                let is_its = namespace.as_deref() == Some(&labelled.namespace) && *name == labelled.set;
                Ok(is_its && self.wanted(host)? != self.want)
            }
            _ => Ok(false),
        }
    }

    fn used_by(&self) -> Option<String> {
        self.used_by.clone()
    }
}

/// An object of an earlier run, to be taken back.
///
/// # Errors
/// The recipe names no object of a kind that this program knows.
pub(crate) fn recalled(id: &'static str, recipe: &Value, spec: &Spec) -> Result<Box<dyn Step>> {
    let want = recipe["object"].clone();
    let kind = kube::kind_of(&want).ok_or_else(|| {
        Error::new(ExitCode::Journal, format!("the journal holds an object of `{id}` whose kind is unknown: {want}"))
            .hint("use the version of iris-mk8s that wrote it, or a later one; nothing was changed")
    })?;
    let used_by = recipe["used_by"].as_str().map(str::to_owned);
    let deadline = spec.timeouts.remove.into();
    Ok(Box::new(Object { deadline, used_by, ..Object::new(id, kind, want, json!({})) }))
}

/// What the journal holds of an object that is applied.
pub(crate) fn applied(object: &Value) -> Value {
    json!({"applied": without_secrets(object)})
}

/// An object as the journal may hold it: a Secret's content is there as digests, which say no more than whether it is still the same.
fn without_secrets(object: &Value) -> Value {
    let mut object = object.clone();
    if object["kind"] != "Secret" {
        return object;
    }
    for field in ["data", "stringData"] {
        for value in object[field].as_object_mut().into_iter().flat_map(|data| data.values_mut()) {
            *value = json!(format!("sha256:{}", digest::sha256(value.as_str().unwrap_or_default())));
        }
    }
    object
}

/// What somebody changed of an object since we applied it, by what was applied then and not by what would be today. An apply is done as a
/// whole or not at all: what is there is as one of them made it, or somebody changed it.
fn changed(memory: &Memory, now: &Value) -> Vec<String> {
    let shown = without_secrets(now);
    let (known, unknown): (Vec<&Value>, Vec<&Value>) =
        memory.wants.iter().map(|want| &want["applied"]).partition(|applied| applied.is_object());
    let mut newest = Vec::new();
    for applied in known {
        newest = state::differences(applied, &shown);
        if newest.is_empty() {
            return newest;
        }
    }
    // Journals of the first format do not say what was applied; the object itself says who set which field.
    if unknown.is_empty() && !newest.is_empty() { newest } else { state::changed_by_others(now) }
}

impl Object {
    fn why_not_gone(&self, host: &dyn Host, now: &Value) -> Result<String> {
        if *self.kind != kube::STATEFUL_SET {
            return Ok("it is being deleted".to_owned());
        }
        let pods = host.list(&kube::POD, self.namespace(), &state::selector(now))?;
        let names: Vec<&str> = pods.iter().map(state::name).collect();
        Ok(format!("IRIS is shutting down ({})", names.join(", ")))
    }
}
