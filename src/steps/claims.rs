//! The claims of the volumes. We make them before the StatefulSet does, so that the journal knows which were there before: those
//! hold somebody's data and are never deleted.

use std::time::Duration;

use serde_json::{Value, json};

use super::{SNAP, iris::claim_names};
use crate::{
    cluster::{self, state},
    error::Result,
    host::{Host, Watch},
    spec::Iris,
    step::{Act, Memo, Memory, Probe, Scope, Step, Undo},
};

/// The step.
pub(super) struct Claims {
    pub(super) iris: Iris,
    pub(super) wanted: Vec<Value>,
    pub(super) deadline: Duration,
}

/// Names of the claims of the spec that exist.
pub(super) fn existing(host: &dyn Host, iris: &Iris) -> Result<Vec<String>> {
    let claims = host.list(&cluster::PERSISTENT_VOLUME_CLAIM, Some(&iris.namespace), "")?;
    let names = claim_names(iris);
    let there = claims.iter().filter(|c| !state::going(c)).map(|c| state::name(c).to_owned());
    Ok(there.filter(|n| names.iter().any(|(name, _)| name == n)).collect())
}

impl Step for Claims {
    fn id(&self) -> &'static str {
        "iris.claims"
    }

    fn title(&self) -> String {
        format!("claims of {} and {} for each of {} pods", self.iris.mgr_size, self.iris.data_size, self.iris.replicas)
    }

    fn probe(&self, host: &dyn Host) -> Result<Probe> {
        let there = existing(host, &self.iris)?;
        let missing: Vec<&str> =
            self.wanted.iter().map(state::name).filter(|n| !there.iter().any(|e| e == n)).collect();
        Ok(match (there.len(), missing.len()) {
            (_, 0) => Probe::satisfied(format!("{} claims", there.len())),
            (0, _) => Probe::Absent,
            _ => Probe::differs(json!(there), format!("missing: {}", missing.join(", "))),
        })
    }

    fn apply(&self, host: &dyn Host, found: &Probe) -> Result<Vec<Act>> {
        // What is there stays as it is: a claim's spec cannot be changed.
        let there = if *found == Probe::Absent { Vec::new() } else { existing(host, &self.iris)? };
        let missing = self.wanted.iter().filter(|w| !there.iter().any(|e| e == state::name(w)));
        Ok(missing.map(|w| Act::Apply(Box::new(w.clone()))).collect())
    }

    fn memo(&self, _: &dyn Host, found: &Probe) -> Result<Memo> {
        let prior = if let Probe::Differs { now, .. } = found { now.clone() } else { Value::Null };
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
        let claims = host.list(&cluster::PERSISTENT_VOLUME_CLAIM, namespace, "")?;
        let (going, there): (Vec<&Value>, Vec<&Value>) =
            claims.iter().filter(|c| ours(state::name(c))).partition(|c| state::going(c));
        if !there.is_empty() {
            let delete = |claim: &Value| Act::Delete {
                kind: &cluster::PERSISTENT_VOLUME_CLAIM,
                namespace: Some(self.iris.namespace.clone()),
                name: state::name(claim).to_owned(),
            };
            return Ok(Undo::Acts(there.into_iter().map(delete).collect()));
        }
        if let Some(claim) = going.first() {
            return Ok(Undo::Pending(format!("claim {} is being deleted", state::name(claim))));
        }
        // The provisioner deletes the files after the claim; a Released volume whose policy is Retain stays on purpose.
        let volumes = host.list(&cluster::PERSISTENT_VOLUME, None, "")?;
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
        vec![
            Watch::Objects(&cluster::PERSISTENT_VOLUME_CLAIM, namespace),
            Watch::Objects(&cluster::PERSISTENT_VOLUME, None),
        ]
    }

    fn scope(&self) -> Scope {
        Scope::Data
    }

    fn inside(&self) -> Option<&'static str> {
        Some(SNAP)
    }
}
