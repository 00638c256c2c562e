//! Ready means: the database answers. Each rung of the ladder has its own check, and what cannot heal ends the wait at once.
//!
//! Rungs below these are steps of their own, each with its time: node and pod network (`cluster.running`), name service and storage
//! (`addon.dns`, `addon.hostpath-storage`), pool and advertisement (`metallb.pool`).

use std::time::Duration;

use serde_json::Value;

use super::{names::external, state::instances};
use crate::{
    config::spec::{Iris, Spec},
    engine::{
        check::{Check, Question},
        step::{Probe, Step},
    },
    error::Result,
    host::{Host, Watch},
    kube::{self, state},
    stack::{
        image,
        iris::{
            log::{self, LogPattern},
            state::address,
        },
    },
};

mod door;
mod endpoints;
mod inside;
mod metrics;
mod names;

/// A rung: a question about IRIS that is asked until it is answered.
fn rung(
    spec: &Spec,
    id: &'static str,
    title: &str,
    watches: Vec<Watch>,
    question: fn(&dyn Host, &Iris) -> Result<Probe>,
) -> Box<dyn Step> {
    let iris = spec.iris.clone();
    let question: Question = Box::new(move |host| question(host, &iris));
    Box::new(Check { id, title: title.to_owned(), question, deadline: spec.timeouts.iris.into(), watches })
}

/// Nobody tells when a page begins to answer, or what changes inside of a pod.
fn pause() -> Vec<Watch> {
    vec![Watch::Pause(Duration::from_millis(300))]
}

/// The checks that need nothing but the pods: their problems are reported while the other addons are still being enabled.
pub(crate) fn of_pods(spec: &Spec) -> Vec<Box<dyn Step>> {
    let namespace = Some(spec.iris.namespace.clone());
    let kinds = [&kube::POD, &kube::STATEFUL_SET];
    let pods = kinds.map(|kind| Watch::Objects(kind, namespace.clone())).to_vec();
    vec![
        rung(spec, "ready.pods", "IRIS runs", pods, pods_ready),
        rung(spec, "ready.volumes", "IRIS can write to its volumes", pause(), inside::volumes),
        rung(spec, "ready.names", "the pods find each other by name", pause(), inside::names),
        // It may take seconds, in which MetalLB is still on its way.
        rung(spec, "ready.resolver", "pods can resolve public names", pause(), names::judge),
    ]
}

/// The other rungs, in order.
pub(crate) fn all(spec: &Spec) -> Vec<Box<dyn Step>> {
    let (lb, iris) = (spec.lb.clone(), spec.iris.clone());
    let in_range: Question = Box::new(move |host| {
        Ok(match address(host, &iris)? {
            Some(ip) if lb.contains(ip) => Probe::satisfied(ip.to_string()),
            Some(ip) => Probe::pending(format!("service {} still has {ip}, outside {lb}", external(&iris))),
            None => Probe::pending(format!("service {} has no address yet", external(&iris))),
        })
    });
    let mut rungs: Vec<Box<dyn Step>> = vec![
        Box::new(Check {
            id: "ready.address",
            title: "the service has an address in the range".to_owned(),
            question: in_range,
            deadline: spec.timeouts.iris.into(),
            watches: vec![Watch::Objects(&kube::SERVICE, Some(spec.iris.namespace.clone()))],
        }),
        rung(spec, "ready.metrics", "metrics answer through that address", pause(), metrics::through_the_address),
        rung(spec, "ready.licence", "the licence has free units", pause(), metrics::licence),
        rung(spec, "ready.database", "the databases and namespaces of the CPF are there", pause(), metrics::databases),
        rung(spec, "ready.terminal", "a terminal answers", pause(), inside::terminal),
        // Last: where all licence units are in use, the terminal has said so.
        door::rung(spec),
    ];
    rungs.extend(endpoints::rung(spec));
    rungs
}

fn pods_ready(host: &dyn Host, iris: &Iris) -> Result<Probe> {
    let Some(set) = host.get(&kube::STATEFUL_SET, Some(&iris.namespace), &iris.name)? else {
        return Ok(Probe::pending("there is no StatefulSet yet"));
    };
    let pods = instances(host, iris)?;
    for pod in pods.iter().filter(|p| state::of_template(p, &set)) {
        if let Some(end) = hopeless(host, iris, pod) {
            return Ok(end);
        }
    }
    if state::rolled_out(&set) {
        let ready =
            if pods.len() == 1 { "1 pod is ready".to_owned() } else { format!("{} pods are ready", pods.len()) };
        return Ok(Probe::satisfied(ready));
    }
    let why = pods.iter().find_map(|pod| image::trouble(host, pod));
    Ok(Probe::pending(why.unwrap_or_else(|| format!("{} of {} pods exist", pods.len(), iris.replicas))))
}

/// Starts after which another one will not be better.
const STARTS: i64 = 3;

/// Lines of a log that are shown when their meaning is unknown.
const LAST_WORDS: usize = 5;

/// What a pod's state and log say that cannot heal by waiting.
fn hopeless(host: &dyn Host, iris: &Iris, pod: &Value) -> Option<Probe> {
    let name = state::name(pod);
    if let Some(missing) = image::missing(host, pod) {
        return Some(Probe::Hopeless {
            why: format!("pod {name}: the registry does not have the image ({missing})"),
            hint: format!("see the name and the tag: --image (now {})", iris.image),
        });
    }
    let statuses = pod["status"]["containerStatuses"].as_array();
    let container = statuses.into_iter().flatten().find(|c| c["name"] == "iris")?;
    let waits = container["state"]["waiting"]["reason"] == "CrashLoopBackOff";
    if !waits && !container["state"]["terminated"].is_object() {
        return None;
    }
    // An end from before this run may have had a cause that is put right by now: the next start tells.
    let ends = ["state", "lastState"].map(|state| &container[state]["terminated"]["finishedAt"]);
    let codes = ["state", "lastState"].map(|state| container[state]["terminated"]["exitCode"].as_i64());
    let begun = image::begun(host);
    if ends.iter().any(|end| end.is_string()) && !ends.iter().any(|end| image::is_since(end, begun)) {
        return None;
    }
    if waits && codes.contains(&Some(log::BUS_ERROR)) {
        return Some(Probe::Hopeless {
            why: format!("pod {name}: IRIS ends with exit code {}: {}", log::BUS_ERROR, log::BUS_ERROR_MEANS),
            hint: log::BUS_ERROR_HINT.to_owned(),
        });
    }
    // There may be no log (yet): the next look will have it.
    let logs: Vec<String> =
        [false, true].into_iter().filter_map(|previous| log_of(host, iris, name, previous).ok()).collect();
    if let Some(LogPattern { line, means, hint, .. }) = logs.iter().find_map(|log| log::sign(log)) {
        return Some(Probe::Hopeless {
            why: format!("pod {name}: {means} (its log says: {line})"),
            hint: (*hint).to_owned(),
        });
    }
    let starts = container["restartCount"].as_i64().unwrap_or(0) + 1;
    let log = logs.iter().find(|log| !log.trim().is_empty())?;
    let lines: Vec<&str> = log.trim_end().lines().collect();
    let last = lines[lines.len().saturating_sub(LAST_WORDS)..].join("\n");
    (waits && starts > STARTS).then(|| Probe::Hopeless {
        why: format!("pod {name}: IRIS was started {starts} times and ended each time; its last words:\n{last}"),
        hint: "`iris-mk8s doctor` looks for the cause; `kubectl logs` shows all of it".to_owned(),
    })
}

fn log_of(host: &dyn Host, iris: &Iris, pod: &str, previous: bool) -> Result<String> {
    let previous = if previous { "&previous=true" } else { "" };
    host.api_text(&format!(
        "/api/v1/namespaces/{}/pods/{pod}/log?container=iris&tailLines=300{previous}",
        iris.namespace
    ))
}
