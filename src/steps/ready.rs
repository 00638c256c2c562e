//! Ready means: the database answers. Each rung has its own check, and what cannot heal ends the wait at once.

use std::{net::Ipv4Addr, time::Duration};

use serde_json::Value;

use super::{
    check::{Check, Question},
    iris::{WEB, external},
};
use crate::{
    cluster::{self, state},
    error::Result,
    host::{Host, Watch},
    iris_log::{self, Sign},
    spec::{Iris, Spec},
    step::{Probe, Step},
};

/// The rungs, in order.
pub(super) fn all(spec: &Spec) -> Vec<Box<dyn Step>> {
    let namespace = Some(spec.iris.namespace.clone());
    let check = |id, title: &str, watches, question: Question| -> Box<dyn Step> {
        Box::new(Check { id, title: title.to_owned(), question, deadline: spec.timeouts.iris.into(), watches })
    };
    let pods = vec![
        Watch::Objects(&cluster::POD, namespace.clone()),
        Watch::Objects(&cluster::STATEFUL_SET, namespace.clone()),
    ];
    let services = vec![Watch::Objects(&cluster::SERVICE, namespace)];
    // Nobody tells when a page begins to answer.
    let page = vec![Watch::Pause(Duration::from_millis(300))];
    let iris = || spec.iris.clone();
    let (of_pods, of_metrics, of_databases, of_address) = (iris(), iris(), iris(), iris());
    let lb = spec.lb.clone();
    vec![
        check("ready.pods", "IRIS runs", pods, Box::new(move |host| pods_ready(host, &of_pods))),
        check(
            "ready.address",
            "an address of the range",
            services,
            Box::new(move |host| {
                Ok(match address(host, &of_address)? {
                    Some(ip) if lb.contains(ip) => Probe::satisfied(ip.to_string()),
                    Some(ip) => {
                        Probe::pending(format!("service {} still has {ip}, outside {lb}", external(&of_address)))
                    }
                    None => Probe::pending(format!("service {} has no address yet", external(&of_address))),
                })
            }),
        ),
        check(
            "ready.metrics",
            "metrics through that address",
            page.clone(),
            Box::new(move |host| metrics(host, &of_metrics)),
        ),
        check("ready.database", "the CPF's databases", page, Box::new(move |host| databases(host, &of_databases))),
    ]
}

/// The address that MetalLB gave to the LoadBalancer service.
pub fn address(host: &dyn Host, iris: &Iris) -> Result<Option<Ipv4Addr>> {
    let service = host.get(&cluster::SERVICE, Some(&iris.namespace), &external(iris))?;
    Ok(service.and_then(|s| state::addresses(&s).first().and_then(|a| a.parse().ok())))
}

fn iris_pods(host: &dyn Host, iris: &Iris) -> Result<Vec<Value>> {
    let mut pods = host.list(&cluster::POD, Some(&iris.namespace), &format!("app={}", iris.service))?;
    pods.sort_by_key(|p| state::name(p).to_owned());
    Ok(pods)
}

fn pods_ready(host: &dyn Host, iris: &Iris) -> Result<Probe> {
    let Some(set) = host.get(&cluster::STATEFUL_SET, Some(&iris.namespace), &iris.name)? else {
        return Ok(Probe::pending("there is no StatefulSet yet"));
    };
    let pods = iris_pods(host, iris)?;
    for pod in &pods {
        if let Some(end) = hopeless(host, iris, pod) {
            return Ok(end);
        }
    }
    if state::rolled_out(&set) {
        return Ok(Probe::satisfied(format!("{} pods ready", pods.len())));
    }
    let why = pods.iter().find_map(state::pod_trouble);
    Ok(Probe::pending(why.unwrap_or_else(|| format!("{} of {} pods are made", pods.len(), iris.replicas))))
}

/// What a pod's state and log say that cannot heal by waiting.
fn hopeless(host: &dyn Host, iris: &Iris, pod: &Value) -> Option<Probe> {
    let name = state::name(pod);
    if let Some(missing) = state::image_missing(pod) {
        return Some(Probe::Hopeless {
            why: format!("pod {name}: the registry does not have the image ({missing})"),
            hint: format!("see the name and the tag: --image (now {})", iris.image),
        });
    }
    let statuses = pod["status"]["containerStatuses"].as_array();
    let container = statuses.into_iter().flatten().find(|c| c["name"] == "iris")?;
    let waiting = &container["state"]["waiting"];
    let ended = container["state"]["terminated"].is_object() || waiting["reason"] == "CrashLoopBackOff";
    if !ended {
        return None;
    }
    for previous in [false, true] {
        // There may be no log (yet): the next look will have it.
        let Ok(log) = log_of(host, iris, name, previous) else { continue };
        if let Some(Sign { line, means, hint, .. }) = iris_log::sign(&log) {
            return Some(Probe::Hopeless {
                why: format!("pod {name}: {means} (its log says: {line})"),
                hint: (*hint).to_owned(),
            });
        }
    }
    None
}

fn log_of(host: &dyn Host, iris: &Iris, pod: &str, previous: bool) -> Result<String> {
    let previous = if previous { "&previous=true" } else { "" };
    host.api_text(&format!(
        "/api/v1/namespaces/{}/pods/{pod}/log?container=iris&tailLines=300{previous}",
        iris.namespace
    ))
}

fn metrics(host: &dyn Host, iris: &Iris) -> Result<Probe> {
    let Some(ip) = address(host, iris)? else { return Ok(Probe::pending("no address yet")) };
    let url = format!("http://{ip}:{WEB}/api/monitor/metrics");
    let (status, text) = host.http_get(&url)?;
    if status != 200 || !text.contains("\niris_") {
        return Ok(Probe::pending(format!("{url} answers with status {status}")));
    }
    let warnings = iris_log::ends_soon(&text).map(|ends| format!("{ends}: take a newer one before (--image)"));
    Ok(Probe::Satisfied { note: url, warnings: warnings.into_iter().collect() })
}

/// Each pod's own metrics name its databases; a sensor takes them once in a while, so they come later than the page.
fn databases(host: &dyn Host, iris: &Iris) -> Result<Probe> {
    for pod in iris_pods(host, iris)? {
        let Some(ip) = pod["status"]["podIP"].as_str() else { return Ok(Probe::pending("a pod has no address")) };
        let (status, text) = host.http_get(&format!("http://{ip}:{WEB}/api/monitor/metrics"))?;
        if status != 200 {
            return Ok(Probe::pending(format!("pod {}: metrics answer with status {status}", state::name(&pod))));
        }
        for database in &iris.databases {
            let sample = format!("iris_db_size_mb{{id=\"{database}\"");
            if !text.contains(&sample) {
                let name = state::name(&pod);
                let log = log_of(host, iris, name, false).unwrap_or_default();
                if let Some(failed) = iris_log::failed_actions(&log).first() {
                    return Ok(Probe::Hopeless {
                        why: format!(
                            "pod {name}: there is no database {database}, because an action of the CPF failed: {failed}"
                        ),
                        hint: iris_log::ACTIONS_HINT.to_owned(),
                    });
                }
                return Ok(Probe::pending(format!("pod {name}: database {database} is not in the metrics yet")));
            }
        }
    }
    Ok(Probe::satisfied(iris.databases.join(", ")))
}
