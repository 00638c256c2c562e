//! The claims of the volumes. We make them before the StatefulSet does, so that the journal knows which were there before: those
//! hold somebody's data and are never deleted.

use std::time::Duration;

use serde_json::{Value, json};

use super::names::{claim_names, is_claim_of, set_key};
use crate::{
    config::spec::{Iris, Spec},
    engine::step::{Act, Memo, Memory, Probe, SNAP, Scope, Step, Undo},
    error::Result,
    host::{Host, Watch},
    kube::{self, state},
    stack::{image, iris::names as iris, microk8s::state::is_default},
};

/// The step.
pub(crate) struct Claims {
    pub(crate) iris: Iris,
    pub(crate) wanted: Vec<Value>,
    pub(crate) deadline: Duration,
    /// Volumes of another class may go, with their data.
    pub(crate) data_goes: bool,
}

impl Claims {
    /// Those of an earlier run, to be taken back.
    pub(crate) fn recalled(spec: &Spec) -> Self {
        let (iris, deadline) = (spec.iris.clone(), spec.timeouts.remove.into());
        Self { iris, wanted: Vec::new(), deadline, data_goes: false }
    }

    /// Claims of another class than the wanted one.
    fn of_other_class(&self, host: &dyn Host, there: &[Value]) -> Result<Vec<Value>> {
        let wanted = match &self.iris.storage_class {
            Some(class) => class.clone(),
            None => match host.list(&kube::STORAGE_CLASS, None, "")?.iter().find(|c| is_default(c)) {
                Some(class) => state::name(class).to_owned(),
                None => return Ok(Vec::new()),
            },
        };
        // A class of somebody's own choice counts only where ours was named.
        let counts = |claim: &&Value| self.iris.storage_class.is_some() || kube::is_ours(claim);
        let class = |claim: &Value| claim["spec"]["storageClassName"].as_str().unwrap_or_default().to_owned();
        let other = |claim: &&Value| !class(claim).is_empty() && class(claim) != wanted;
        Ok(there.iter().filter(counts).filter(other).cloned().collect())
    }

    /// What to do about them: they are named, and refused; or they go.
    fn judge_class(&self, host: &dyn Host, there: &[Value]) -> Result<Option<Probe>> {
        let other = self.of_other_class(host, there)?;
        let Some(first) = other.first() else { return Ok(None) };
        let class = first["spec"]["storageClassName"].as_str().unwrap_or("?");
        let names: Vec<&str> = other.iter().map(state::name).collect();
        let why = format!("{} lie on {class}: a volume cannot move to another class", names.join(", "));
        let set = host.get(&kube::STATEFUL_SET, Some(&self.iris.namespace), &self.iris.name)?;
        let theirs = other.iter().chain(&set).any(|object| !kube::is_ours(object));
        Ok(Some(if theirs {
            Probe::Refused {
                why: format!("{why}, and not all of it is ours"),
                hint: format!("keep the class: --storage {class}; or move the data yourself"),
            }
        } else if self.data_goes {
            Probe::differs(json!({"class": class}), format!("{why}; their data goes (--data)"))
        } else {
            Probe::Refused {
                why,
                hint: format!(
                    "keep the class: --storage {class}; or say --data, and all their data is lost: they are deleted and made anew"
                ),
            }
        }))
    }
}

/// Claims of another class than the wanted one that a bootstrap with `--data` deletes, with their data.
///
/// # Errors
/// The cluster cannot be asked.
pub fn that_go(host: &dyn Host, spec: &Spec) -> Result<Vec<Value>> {
    let claims = Claims { iris: spec.iris.clone(), wanted: Vec::new(), deadline: Duration::ZERO, data_goes: true };
    let there = found(host, &spec.iris)?;
    match claims.judge_class(host, &there)? {
        Some(Probe::Differs { .. }) => claims.of_other_class(host, &there),
        _ => Ok(Vec::new()),
    }
}

/// The claims of the spec that exist.
fn found(host: &dyn Host, iris: &Iris) -> Result<Vec<Value>> {
    let claims = host.list(&kube::PERSISTENT_VOLUME_CLAIM, Some(&iris.namespace), "")?;
    let names = claim_names(iris);
    Ok(claims.into_iter().filter(|c| names.iter().any(|(name, _)| name == state::name(c))).collect())
}

/// Names of those that stay.
pub(crate) fn existing(host: &dyn Host, iris: &Iris) -> Result<Vec<String>> {
    let there = found(host, iris)?;
    Ok(there.iter().filter(|c| !state::going(c)).map(|c| state::name(c).to_owned()).collect())
}

/// Names of those that hold accounts with the password, in whatever namespace: there is one password for all of them.
pub(crate) fn with_a_password(host: &dyn Host, iris: &Iris) -> Result<Vec<String>> {
    named(host, |claim| kube::is_ours(claim) || is_claim_of(claim, iris))
}

/// Those that no step of ours takes back, and that came since the password did: a StatefulSet that somebody made larger makes claims without our
/// mark, and the accounts in them have this password, too.
pub(crate) fn with_our_password(host: &dyn Host, iris: &[Iris], since: u64) -> Result<Vec<String>> {
    let is_newer = |claim: &Value| image::is_since(&claim["metadata"]["creationTimestamp"], since);
    let is_of_one = |claim: &Value| iris.iter().any(|iris| is_claim_of(claim, iris));
    named(host, |claim| !kube::is_ours(claim) && is_of_one(claim) && is_newer(claim))
}

fn named(host: &dyn Host, counts: impl Fn(&Value) -> bool) -> Result<Vec<String>> {
    let all = host.list(&kube::PERSISTENT_VOLUME_CLAIM, None, "")?;
    let kept = all.iter().filter(|claim| !state::going(claim) && counts(claim));
    let shown = |claim: &Value| {
        format!("{}/{}", claim["metadata"]["namespace"].as_str().unwrap_or_default(), state::name(claim))
    };
    Ok(kept.map(shown).collect())
}

impl Step for Claims {
    fn id(&self) -> &'static str {
        "iris.claims"
    }

    fn key(&self) -> String {
        format!("{}@{}/{}", self.id(), self.iris.namespace, self.iris.name)
    }

    fn recipe(&self) -> Value {
        json!({"iris": iris::recipe(&self.iris), "timeouts": {"remove": self.deadline.as_secs()}})
    }

    fn title(&self) -> String {
        let Iris { namespace, name, mgr_size, data_size, replicas, .. } = &self.iris;
        // Those of an earlier run are as many as the journal says.
        if self.wanted.is_empty() {
            return format!("volume claims of {namespace}/{name}");
        }
        format!("volume claims of {mgr_size} and {data_size} for each of {replicas} pods")
    }

    fn probe(&self, host: &dyn Host) -> Result<Probe> {
        let found = found(host, &self.iris)?;
        if let Some(going) = found.iter().find(|c| state::going(c)) {
            return Ok(Probe::pending(format!("claim {} is being deleted", state::name(going))));
        }
        if let Some(answer) = self.judge_class(host, &found)? {
            return Ok(answer);
        }
        let there: Vec<&str> = found.iter().map(state::name).collect();
        let missing: Vec<&str> = self.wanted.iter().map(state::name).filter(|n| !there.contains(n)).collect();
        Ok(match (there.len(), missing.len()) {
            (_, 0) => Probe::satisfied(format!("{} claims", there.len())),
            (0, _) => Probe::Absent,
            _ => Probe::differs(json!(there), format!("missing: {}", missing.join(", "))),
        })
    }

    fn apply(&self, host: &dyn Host, found: &Probe) -> Result<Vec<Act>> {
        if let Probe::Differs { now, .. } = found
            && now["class"].is_string()
        {
            let delete = |kind, name: &str| {
                let (namespace, name) = (Some(self.iris.namespace.clone()), name.to_owned());
                Act::Delete { kind, namespace, name }
            };
            let there = self::found(host, &self.iris)?;
            let other = self.of_other_class(host, &there)?;
            let claims = other.iter().map(|c| delete(&kube::PERSISTENT_VOLUME_CLAIM, state::name(c)));
            // Its pods hold the claims, and its own template names the class: it is made anew, too.
            let set = std::iter::once(delete(&kube::STATEFUL_SET, &self.iris.name));
            return Ok(set.chain(claims).collect());
        }
        // What is there stays as it is: a claim's spec cannot be changed.
        let there = if *found == Probe::Absent { Vec::new() } else { existing(host, &self.iris)? };
        let missing = self.wanted.iter().filter(|w| !there.iter().any(|e| e == state::name(w)));
        Ok(missing.map(|w| Act::Apply(Box::new(w.clone()))).collect())
    }

    /// What is deleted because of its class is made anew.
    fn follows(&self, _: &dyn Host, found: &Probe) -> Result<Vec<Act>> {
        let anew = matches!(found, Probe::Differs { now, .. } if now["class"].is_string());
        Ok(self.wanted.iter().filter(|_| anew).map(|w| Act::Apply(Box::new(w.clone()))).collect())
    }

    fn memo(&self, _: &dyn Host, found: &Probe) -> Result<Memo> {
        let prior = match found {
            Probe::Differs { now, .. } if now.is_array() => now.clone(),
            _ => Value::Null,
        };
        Ok(Memo { prior, want: json!(self.wanted.iter().map(state::name).collect::<Vec<_>>()) })
    }

    fn undo(&self, host: &dyn Host, memory: &Memory) -> Result<Undo> {
        let namespace = Some(self.iris.namespace.as_str());
        let before: Vec<String> = serde_json::from_value(memory.prior.clone()).unwrap_or_default();
        let made: Vec<String> = memory
            .wants
            .iter()
            .filter_map(|w| serde_json::from_value::<Vec<String>>(w.clone()).ok())
            .flatten()
            .collect();
        let ours = |name: &str| made.iter().any(|m| m == name) && !before.iter().any(|b| b == name);
        let claims = host.list(&kube::PERSISTENT_VOLUME_CLAIM, namespace, "")?;
        let (going, there): (Vec<&Value>, Vec<&Value>) =
            claims.iter().filter(|c| ours(state::name(c))).partition(|c| state::going(c));
        if !there.is_empty() {
            let delete = |claim: &Value| Act::Delete {
                kind: &kube::PERSISTENT_VOLUME_CLAIM,
                namespace: Some(self.iris.namespace.clone()),
                name: state::name(claim).to_owned(),
            };
            return Ok(Undo::Acts(there.into_iter().map(delete).collect()));
        }
        if let Some(claim) = going.first() {
            return Ok(Undo::Pending(format!("claim {} is being deleted", state::name(claim))));
        }
        // The provisioner deletes the files after the claim; a Released volume whose policy is Retain stays on purpose.
        let volumes = host.list(&kube::PERSISTENT_VOLUME, None, "")?;
        let left = volumes.iter().find(|v| {
            let claim = &v["spec"]["claimRef"];
            claim["namespace"] == json!(namespace)
                && claim["name"].as_str().is_some_and(ours)
                && v["spec"]["persistentVolumeReclaimPolicy"] == "Delete"
        });
        Ok(left.map_or(Undo::Done, |v| Undo::Pending(format!("volume {} is being deleted", state::name(v)))))
    }

    fn deadline(&self) -> Duration {
        self.deadline
    }

    fn watches(&self) -> Vec<Watch> {
        let namespace = Some(self.iris.namespace.clone());
        vec![Watch::Objects(&kube::PERSISTENT_VOLUME_CLAIM, namespace), Watch::Objects(&kube::PERSISTENT_VOLUME, None)]
    }

    fn scope(&self) -> Scope {
        Scope::Data
    }

    fn inside(&self) -> Option<&'static str> {
        Some(SNAP)
    }

    fn used_by(&self) -> Option<String> {
        Some(set_key(&self.iris))
    }
}
