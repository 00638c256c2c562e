//! The node can give the instances the memory that they ask for. The scheduler would leave one of them waiting for ever, and says so
//! only to who looks.

use serde_json::Value;

use super::state::is_instance;
use crate::{
    config::spec::Iris,
    engine::{
        check::Check,
        step::{Probe, SOON},
    },
    error::Result,
    host::{Host, Watch},
    kube::{self, state},
};

const MIB: f64 = 1024.0 * 1024.0;

/// The step.
pub(crate) fn check(iris: &Iris) -> Check {
    let title = format!("memory for {} instances", iris.replicas);
    let iris = iris.clone();
    Check {
        id: "iris.memory",
        title,
        question: Box::new(move |host| judge(host, &iris)),
        deadline: SOON,
        watches: vec![Watch::Objects(&kube::POD, None)],
    }
}

fn judge(host: &dyn Host, iris: &Iris) -> Result<Probe> {
    let nodes = host.list(&kube::NODE, None, "")?;
    let allocatable = |node: &Value| node["status"]["allocatable"]["memory"].as_str().and_then(state::quantity);
    let Some(has) = nodes.iter().find_map(allocatable) else {
        return Ok(Probe::satisfied("the node does not say how much it has"));
    };
    let pods = host.list(&kube::POD, None, "")?;
    let ours = |pod: &Value| is_instance(pod, iris);
    let ended = |pod: &Value| matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed"));
    let others: f64 = pods.iter().filter(|p| !ours(p) && !ended(p)).map(requested).sum();
    let each = state::quantity(&iris.memory_request).unwrap_or(0.0);
    let free = (has - others).max(0.0);
    let fit = (1..=iris.replicas).rev().find(|n| f64::from(*n) * each <= free).unwrap_or(0);
    let said = format!(
        "the node has {:.0} MiB for pods, others ask for {:.0}, each instance for {:.0}",
        has / MIB,
        others / MIB,
        each / MIB
    );
    if fit == iris.replicas {
        return Ok(Probe::satisfied(said));
    }
    let fewer = if fit > 0 { format!("take fewer instances (--replicas {fit}), ") } else { String::new() };
    Ok(Probe::Refused {
        why: format!("{said}: {fit} of {} fit", iris.replicas),
        hint: format!("{fewer}let each ask for less (iris.memory_request in a profile), or give the VM more memory"),
    })
}

/// What a pod asks for.
fn requested(pod: &Value) -> f64 {
    let containers = pod["spec"]["containers"].as_array();
    let memory = |c: &Value| c["resources"]["requests"]["memory"].as_str().and_then(state::quantity);
    containers.into_iter().flatten().filter_map(memory).sum()
}
