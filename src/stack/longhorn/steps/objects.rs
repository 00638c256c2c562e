//! A part of Longhorn's manifest in the cluster, by server-side apply. Whether it is as wanted is asked of the server itself (what would an
//! apply change?), since it writes some fields in its own way. A Longhorn of somebody else is never changed.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Common, REPAIR, removal};
use crate::{
    engine::step::{Act, Memo, Memory, Probe, Scope, Step, Undo},
    error::{Error, Result},
    host::{Host, Watch},
    kube::{self, kind_of, state},
    stack::{
        longhorn::{
            manifest::Part,
            state::{self as longhorn, Installed, NAMESPACE},
        },
        microk8s::state as microk8s,
    },
};

/// The step.
pub(super) struct Objects {
    id: &'static str,
    part: Part,
    common: Common,
}

impl Objects {
    pub(super) fn new(id: &'static str, part: Part, common: &Common) -> Self {
        Self { id, part, common: common.clone() }
    }

    fn get(host: &dyn Host, want: &Value) -> Result<Option<Value>> {
        let Some(kind) = kind_of(want) else { return Ok(None) };
        host.get(kind, want["metadata"]["namespace"].as_str(), state::name(want))
    }

    /// What stands in the way, or makes it unnecessary.
    fn of_others(&self, found: &Installed) -> Option<Probe> {
        let half_deleted = || Probe::Refused {
            why: format!("the namespace {NAMESPACE} is partially deleted: it waits for objects whose manager is gone"),
            hint: "`iris-mk8s repair longhorn` ends it; nothing of Longhorn's data survives that".to_owned(),
        };
        if found.is_half_deleted() {
            return Some(half_deleted());
        }
        if found.is_ours() {
            let way = found.version().and_then(|now| self.common.version().no_way_from(now));
            return way.map(|why| Probe::Refused {
                why,
                hint: "name the installed version with --longhorn-version, or take Longhorn away first: `iris-mk8s teardown --reset`"
                    .to_owned(),
            });
        }
        match (&found.manager, found.version()) {
            (Some(_), version) => {
                let version = version.map_or_else(|| "of an unknown version".to_owned(), |v| v.to_string());
                Some(Probe::satisfied(format!("somebody else installed Longhorn {version}; it stays theirs")))
            }
            (None, _) => Some(Probe::Refused {
                why: format!("somebody else made the namespace {NAMESPACE}, and there is no Longhorn in it"),
                hint: format!(
                    "finish that installation, or delete the namespace: `microk8s kubectl delete namespace {NAMESPACE}`"
                ),
            }),
        }
    }

    /// Compares these objects with those that are there. What is left in a namespace that is gone (`homeless`) is shown by the server and cannot
    /// be changed: it counts as missing.
    fn compare(&self, host: &dyn Host, wanted: &[Value], homeless: bool) -> Result<Probe> {
        let (mut missing, mut other, mut waits) = (Vec::new(), Vec::new(), None);
        for want in wanted {
            let now =
                if homeless && want["metadata"]["namespace"] == NAMESPACE { None } else { Self::get(host, want)? };
            let Some(now) = now else {
                missing.push(kube::describe(want));
                continue;
            };
            if state::going(&now) {
                return Ok(Probe::pending(format!("{} is being deleted", kube::describe(want))));
            }
            let (then, is) = (essence(&host.apply(want, true)?), essence(&now));
            // What an apply would take away counts as well.
            let mut fields = [state::differences(&then, &is), state::differences(&is, &then)].concat();
            fields.sort();
            fields.dedup();
            if !kube::is_ours(&now) {
                other.push(format!("{}, which somebody else applied,", kube::describe(want)));
            } else if !fields.is_empty() {
                other.push(format!("{} ({})", kube::describe(want), fields.join(", ")));
            } else if self.part == Part::Definitions && !state::is(&now, "Established") {
                waits.get_or_insert_with(|| format!("{} is not established yet", kube::describe(want)));
            }
        }
        Ok(match (missing.len(), other.is_empty(), waits) {
            (0, true, None) => Probe::satisfied(format!("{} objects", wanted.len())),
            (0, true, Some(why)) => Probe::pending(why),
            (n, true, _) if n == wanted.len() => Probe::Absent,
            (_, _, _) => {
                let why = missing
                    .iter()
                    .map(|m| format!("{m} is missing"))
                    .chain(other.iter().map(|o| format!("{o} differs")));
                Probe::differs(json!({"missing": missing}), why.collect::<Vec<_>>().join(", "))
            }
        })
    }
}

/// What of an object says the same before and after an apply that changes nothing.
fn essence(object: &Value) -> Value {
    let mut object = object.clone();
    for field in ["managedFields", "resourceVersion", "generation"] {
        if let Some(meta) = object["metadata"].as_object_mut() {
            meta.remove(field);
        }
    }
    if let Some(fields) = object.as_object_mut() {
        fields.remove("status");
    }
    object
}

impl Step for Objects {
    fn id(&self) -> &'static str {
        self.id
    }

    fn recipe(&self) -> Value {
        self.common.recipe()
    }

    fn title(&self) -> String {
        let what = match self.part {
            Part::Namespace => "its namespace",
            Part::Definitions => "its custom resource definitions",
            Part::Rights => "its service accounts and roles",
            Part::Settings => "its settings",
            Part::Workloads => "its services and workloads",
        };
        format!("Longhorn {}: {what}", self.common.version())
    }

    fn probe(&self, host: &dyn Host) -> Result<Probe> {
        let found = Installed::find(host)?;
        if let Some(found) = &found {
            if let Some(answer) = self.of_others(found) {
                return Ok(answer);
            }
            if state::going(&found.namespace) {
                return Ok(Probe::pending(format!("namespace {NAMESPACE} is being deleted")));
            }
        }
        if self.part == Part::Workloads {
            let (works, acts) = removal::remnants(host, self.common.version())?;
            if works {
                return Ok(Probe::pending("an uninstall job of Longhorn's works: it comes to its end first"));
            }
            if !acts.is_empty() {
                return Ok(Probe::differs(
                    json!({"remnants": acts.len()}),
                    "a removal was broken off, and left its job or its confirmation",
                ));
            }
        }
        let Some(wanted) = self.common.part(host, self.part)? else { return Ok(Probe::Absent) };
        self.compare(host, &wanted, found.is_none())
    }

    fn apply(&self, host: &dyn Host, found: &Probe) -> Result<Vec<Act>> {
        let wanted = self.common.part(host, self.part)?.unwrap_or_default();
        let mut acts: Vec<Act> = wanted.into_iter().map(|object| Act::Apply(Box::new(object))).collect();
        if matches!(found, Probe::Differs { now, .. } if now["remnants"].is_number()) {
            acts.extend(removal::remnants(host, self.common.version())?.1);
        }
        Ok(acts)
    }

    /// What an uninstall job that still works will have left.
    fn follows(&self, host: &dyn Host, found: &Probe) -> Result<Vec<Act>> {
        if self.part != Part::Workloads || !matches!(found, Probe::Pending { .. }) {
            return Ok(Vec::new());
        }
        let (works, remnants) = removal::remnants(host, self.common.version())?;
        let mut acts = if works { self.apply(host, &Probe::Absent)? } else { Vec::new() };
        acts.extend(remnants);
        Ok(acts)
    }

    fn memo(&self, host: &dyn Host, _: &Probe) -> Result<Memo> {
        let wanted = self.common.part(host, self.part)?.unwrap_or_default();
        let names: Vec<Value> = wanted.iter().map(name_of).collect();
        Ok(Memo { prior: Value::Null, want: json!({"version": self.common.version(), "objects": names}) })
    }

    fn undo(&self, host: &dyn Host, memory: &Memory) -> Result<Undo> {
        if host.snapd_get(microk8s::SNAP)?.is_none() {
            return Ok(Undo::Done);
        }
        if let Some(start) = removal::start(host) {
            return Ok(start);
        }
        if let Some(found) = Installed::find(host)? {
            if found.is_of_others() {
                return Ok(Undo::Theirs("somebody replaced Longhorn since by one of their own".to_owned()));
            }
            if let Some(why) = longhorn::needed_by_others(host)? {
                return Ok(Undo::Keep(why));
            }
        }
        if self.part == Part::Workloads {
            if let Some(first) = removal::uninstall(host, &self.common)? {
                return Ok(first);
            }
        } else if let Some(manager) = host.get(&kube::DAEMON_SET, Some(NAMESPACE), longhorn::MANAGER)? {
            // It would make anew what is deleted.
            let name = kube::describe(&manager);
            return Err(
                Error::failed(format!("{name} is still there: the rest of Longhorn goes after it")).hint(REPAIR)
            );
        }
        self.delete(host, memory)
    }

    fn foresees(&self, host: &dyn Host, memory: &Memory) -> Result<Vec<String>> {
        if self.part != Part::Workloads {
            return Ok(Vec::new());
        }
        let mut acts = removal::foreseen(host, &self.common)?;
        if let Undo::Acts(own) = self.delete(host, memory)? {
            acts.extend(own);
        }
        Ok(acts.iter().map(Act::show).collect())
    }

    fn deadline(&self) -> Duration {
        self.common.deadline
    }

    fn watches(&self) -> Vec<Watch> {
        let namespace = Some(NAMESPACE.to_owned());
        match self.part {
            Part::Workloads => {
                let kinds = [&kube::POD, &kube::DAEMON_SET, &kube::DEPLOYMENT];
                let mut watches = kinds.map(|kind| Watch::Objects(kind, namespace.clone())).to_vec();
                watches.push(Watch::Objects(&kube::JOB, None));
                watches.push(Watch::Objects(&kube::PERSISTENT_VOLUME, None));
                watches.push(Watch::Pause(Duration::from_secs(1)));
                watches
            }
            Part::Definitions => vec![Watch::Objects(&kube::CUSTOM_RESOURCE_DEFINITION, None)],
            Part::Namespace => vec![Watch::Objects(&kube::NAMESPACE, None)],
            Part::Rights | Part::Settings => vec![Watch::Pause(Duration::from_millis(500))],
        }
    }

    fn scope(&self) -> Scope {
        Scope::Host
    }

    fn clears(&self) -> Option<&'static str> {
        (self.part != Part::Workloads).then_some("longhorn.workloads")
    }
}

/// Kind and name of an object, as a journal remembers it.
fn name_of(object: &Value) -> Value {
    json!({"apiVersion": object["apiVersion"], "kind": object["kind"],
        "metadata": {"name": object["metadata"]["name"], "namespace": object["metadata"]["namespace"]}})
}

impl Objects {
    /// Deletes the objects of all versions that we ever applied, and waits until they are gone.
    fn delete(&self, host: &dyn Host, memory: &Memory) -> Result<Undo> {
        let (mut acts, mut goes, mut seen, mut theirs) = (Vec::new(), None, Vec::new(), Vec::new());
        let ours = memory.wants.iter().rev().filter_map(|w| w["objects"].as_array()).flatten();
        for object in ours {
            if seen.contains(&object) {
                continue;
            }
            seen.push(object);
            let (Some(kind), Some(now)) = (kind_of(object), Self::get(host, object)?) else { continue };
            if state::going(&now) {
                let why = if self.part == Part::Definitions { stuck(host, &now)? } else { String::new() };
                goes.get_or_insert_with(|| format!("{} is being deleted{why}", kube::describe(object)));
            } else if kube::is_ours(&now) {
                let namespace = object["metadata"]["namespace"].as_str().map(str::to_owned);
                acts.push(Act::Delete { kind, namespace, name: state::name(object).to_owned() });
            } else {
                theirs.push(kube::describe(object));
            }
        }
        let left = if !acts.is_empty() {
            Undo::Acts(acts)
        } else if let Some(why) = goes {
            Undo::Pending(why)
        } else if theirs.is_empty() {
            Undo::Done
        } else {
            Undo::Theirs(format!("somebody made it anew: {}", theirs.join(", ")))
        };
        removal::reachable(host, left)
    }
}

/// What keeps a definition that is being deleted: objects of its kind.
fn stuck(host: &dyn Host, definition: &Value) -> Result<String> {
    let Some(kind) = longhorn::served(definition) else { return Ok(String::new()) };
    let left = host.list(kind, Some(NAMESPACE), "")?;
    let names: Vec<&str> = left.iter().map(state::name).collect();
    Ok(if names.is_empty() { String::new() } else { format!("; objects of it are left: {}", names.join(", ")) })
}
