//! The end of Longhorn's namespace: it goes when nothing is in it any more, and never before.

use std::time::Duration;

use serde_json::{Value, json};

use super::{
    content,
    repair::{remove, remove_finalizers},
    state::NAMESPACE,
};
use crate::{
    engine::step::{Act, Undo},
    error::{Error, Result},
    host::{Cmd, Host},
    kube::{self, state},
};

/// The server begins to delete what is in a namespace at once, and is done with the pods by then.
const BEGUN_SECONDS: u64 = 120;

/// Whoever has to let go of an object does so within moments; one that waits for so long waits for somebody who is gone.
const STUCK_SECONDS: u64 = 60;

/// A namespace that has nothing left in it ends within moments.
const NAMESPACE_SETTLES_SECONDS: u64 = 30;

/// The server lets nobody end what is left in a namespace that is gone.
pub(crate) fn again(host: &dyn Host) -> Result<Undo> {
    Ok(if content::orphans(host)?.is_empty() { Undo::Done } else { Undo::Acts(vec![content::again()]) })
}

/// It goes when nothing is in it any more. What waits for somebody who is gone is let go by its name; the namespace itself never is while it is
/// not empty: what would be left in it nobody could see or end.
pub(crate) fn ended(host: &dyn Host) -> Result<Undo> {
    let Some(namespace) = host.get(&kube::NAMESPACE, None, NAMESPACE)? else { return again(host) };
    let Some(seconds) = ends_since(host, &namespace) else {
        return Ok(Undo::Acts(vec![remove(&kube::NAMESPACE, &namespace)]));
    };
    if let Some(("True", why)) = state::condition(&namespace, "NamespaceDeletionDiscoveryFailure") {
        return Err(Error::failed(format!("the namespace {NAMESPACE} cannot end, and that is not Longhorn's fault"))
            .because(why)
            .hint("a service behind the API is broken: `microk8s kubectl get apiservices`; repair or delete it, then run the same command again"));
    }
    let left = content::all(host)?;
    if left.is_empty() {
        return Ok(if seconds > NAMESPACE_SETTLES_SECONDS {
            Undo::Acts(vec![finalize()])
        } else {
            is_going("it is empty")
        });
    }
    let mut acts = Vec::new();
    for (kind, object) in &left {
        let held = object["metadata"]["finalizers"].as_array().is_some_and(|f| !f.is_empty());
        match ends_since(host, object) {
            Some(since) if held && since > STUCK_SECONDS => acts.push(remove_finalizers(kind, object)),
            Some(_) if **kind == kube::POD && is_stuck(host, object) => acts.push(by_force(object)),
            None if seconds > BEGUN_SECONDS => acts.push(remove(kind, object)),
            _ => {}
        }
    }
    Ok(if acts.is_empty() {
        is_going(&format!("{} objects are left: {}", left.len(), content::names(&left)))
    } else {
        Undo::Acts(acts)
    })
}

fn is_going(how_far: &str) -> Undo {
    Undo::Pending(format!("{NAMESPACE} is being deleted; {how_far}"))
}

/// The last resort, when nothing is in it.
fn finalize() -> Act {
    let empty =
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}, "spec": {"finalizers": []}});
    let path = format!("/api/v1/namespaces/{NAMESPACE}/finalize");
    let words = ["microk8s", "kubectl", "replace", "--raw", &path, "-f", "-"];
    Act::Run(Cmd::changes(Duration::from_secs(60), words).stdin(empty.to_string()))
}

/// Seconds since somebody asked for the end of an object; none when nobody did.
fn ends_since(host: &dyn Host, object: &Value) -> Option<u64> {
    let since: jiff::Timestamp = object["metadata"]["deletionTimestamp"].as_str()?.parse().ok()?;
    Some(host.unix_time().saturating_sub(u64::try_from(since.as_second()).ok()?))
}

/// A pod that ends for longer than it was given.
pub(crate) fn is_stuck(host: &dyn Host, pod: &Value) -> bool {
    const GIVEN_SECONDS: u64 = 45;
    ends_since(host, pod).is_some_and(|seconds| seconds > GIVEN_SECONDS)
}

pub(crate) fn by_force(pod: &Value) -> Act {
    let namespace = pod["metadata"]["namespace"].as_str().unwrap_or("default");
    let words = [
        "microk8s",
        "kubectl",
        "delete",
        "pod",
        "--namespace",
        namespace,
        state::name(pod),
        "--force",
        "--grace-period=0",
        "--wait=false",
    ];
    Act::Run(Cmd::changes(Duration::from_secs(60), words))
}
