//! Conditions that must hold before objects of IRIS are applied.

use serde_json::Value;

use super::{
    names::{MANAGED_BY, external},
    stateful_set::cpf_name,
};
use crate::{
    config::spec::Iris,
    engine::{
        check::Check,
        step::{Probe, SOON},
    },
    host::{Host, Watch},
    kube::{self, MANAGER},
};

/// IRIS of an earlier bootstrap in another place: with other names it would be left behind, and nobody would know of it.
pub(super) fn elsewhere(iris: &Iris) -> Check {
    let (place, named) =
        (iris.namespace.clone(), [iris.name.clone(), iris.service.clone(), external(iris), cpf_name(iris)]);
    let question = move |host: &dyn Host| {
        for kind in [&kube::STATEFUL_SET, &kube::SERVICE, &kube::SECRET] {
            let ours = host.list(kind, None, &format!("{MANAGED_BY}={MANAGER}"))?;
            let known = |o: &Value| {
                o["metadata"]["namespace"] == *place && named.iter().any(|name| name == kube::state::name(o))
            };
            if let Some(other) = ours.iter().find(|o| !known(o) && !kube::state::going(o)) {
                return Ok(Probe::Refused {
                    why: format!("{} {} of an earlier bootstrap exists", kind.kind, place_of(other)),
                    hint: "remove it first: `iris-mk8s teardown` (its claims stay, with the data)".to_owned(),
                });
            }
        }
        Ok(Probe::satisfied(""))
    };
    Check {
        id: "iris.place",
        title: format!("IRIS runs in namespace {} only", iris.namespace),
        question: Box::new(question),
        deadline: SOON,
        watches: vec![Watch::Objects(&kube::STATEFUL_SET, None)],
    }
}

fn place_of(object: &Value) -> String {
    format!("{}/{}", object["metadata"]["namespace"].as_str().unwrap_or("?"), kube::state::name(object))
}

/// A class that the user named must be there: a claim of a class that is not would wait for ever.
pub(super) fn storage_class(class: String) -> Check {
    let title = format!("StorageClass {class}");
    Check {
        id: "iris.storage-class",
        title,
        question: Box::new(move |host| {
            Ok(if host.get(&kube::STORAGE_CLASS, None, &class)?.is_some() {
                Probe::satisfied("")
            } else {
                let there = host.list(&kube::STORAGE_CLASS, None, "")?;
                let names: Vec<&str> = there.iter().map(kube::state::name).collect();
                Probe::Refused {
                    why: format!("there is no StorageClass `{class}`"),
                    hint: format!("the cluster has: {}; name one of them with --storage", names.join(", ")),
                }
            })
        }),
        deadline: SOON,
        watches: vec![Watch::Objects(&kube::STORAGE_CLASS, None)],
    }
}
