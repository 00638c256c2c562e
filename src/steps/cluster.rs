//! The cluster runs: services, API, node, pod network. MicroK8s' own "running" is the text ` Ready ` in a list, and its API says
//! ready before a node exists: what is waited for is counted here, and an empty list is not ready.

use std::time::Duration;

use serde_json::{Value, json};

use super::{SNAP, image};
pub use crate::microk8s::is_stopped;
use crate::{
    cluster::{self, state},
    error::Result,
    host::{Cmd, Host, Watch},
    microk8s,
    spec::Spec,
    step::{Act, Memo, Memory, Probe, Scope, Step, Undo, lies_in_the_cluster},
};

/// Services without which nothing works; which of them exist depends on the version.
const SERVICES: &[&str] = &["daemon-kubelite", "daemon-apiserver", "daemon-kubelet", "daemon-containerd"];

/// `microk8s start` waits up to a minute for the node by itself, and stop for the pods.
pub const SWITCH_WITHIN: Duration = Duration::from_secs(180);

/// The name of the step.
pub(super) const RUNNING: &str = "cluster.running";

/// What the journal holds of a cluster that is started or stopped.
pub(super) fn switched(stopped: bool) -> Value {
    json!({"stopped": stopped})
}

/// The step.
pub(super) struct Running {
    deadline: Duration,
}

impl Running {
    pub(super) fn new(spec: &Spec) -> Self {
        Self { deadline: spec.timeouts.ready.into() }
    }
}

/// Whether services of it run or are to start at the next boot: a start that was broken off leaves them so beside the sign of a stop.
fn will_run(host: &dyn Host) -> Result<bool> {
    let services = host.snapd_get(APPS)?.unwrap_or_default();
    let is_on = |service: &Value| {
        let name = service["name"].as_str().unwrap_or_default();
        SERVICES.contains(&name) && (service["active"] == true || service["enabled"] == true)
    };
    Ok(services.as_array().is_some_and(|all| all.iter().any(is_on)))
}

/// Where snapd tells of the services.
const APPS: &str = "/v2/apps?names=microk8s&select=service";

/// Why the cluster does not run, as far as the host itself tells.
///
/// # Errors
/// snapd does not answer.
pub fn stopped(host: &dyn Host) -> Result<Option<String>> {
    if is_stopped(host) {
        return Ok(Some("MicroK8s is stopped".to_owned()));
    }
    let services = host.snapd_get(APPS)?.unwrap_or_default();
    let down = services
        .as_array()
        .into_iter()
        .flatten()
        .find(|s| s["name"].as_str().is_some_and(|name| SERVICES.contains(&name)) && s["active"] != true);
    Ok(down.map(|s| format!("service {} does not run", s["name"].as_str().unwrap_or("?"))))
}

impl Step for Running {
    fn id(&self) -> &'static str {
        RUNNING
    }

    fn recipe(&self) -> Value {
        json!({"timeouts": {"ready": self.deadline.as_secs()}})
    }

    fn title(&self) -> String {
        "the cluster runs".to_owned()
    }

    fn probe(&self, host: &dyn Host) -> Result<Probe> {
        if host.snapd_get(microk8s::SNAP)?.is_none() {
            let why = "MicroK8s is not installed any more".to_owned();
            return Ok(Probe::Hopeless { why, hint: "`sudo iris-mk8s bootstrap` installs it".to_owned() });
        }
        if let Some(why) = stopped(host)? {
            // Services that died are started, and nobody wants them dead again.
            return Ok(Probe::differs(json!({"stopped": is_stopped(host)}), why));
        }
        let health = host.api_text("/readyz")?;
        if health.trim() != "ok" {
            return Ok(Probe::pending("the API server is not ready"));
        }
        let nodes = host.list(&cluster::NODE, None, "")?;
        let Some(node) = nodes.first() else { return Ok(Probe::pending("no node has registered yet")) };
        if let Some(node) = nodes.iter().find(|n| !state::is(n, "Ready")) {
            let why = state::condition(node, "Ready").map_or("", |(_, message)| message);
            return Ok(Probe::pending(format!("node {} is not ready: {why}", state::name(node))));
        }
        // Calico is MicroK8s' pod network; with another one there is nothing of that name, and the node's own word counts.
        if let Some(calico) = host.get(&cluster::DAEMON_SET, Some("kube-system"), "calico-node")?
            && !state::rolled_out(&calico)
        {
            let pods = host.list(&cluster::POD, Some("kube-system"), &state::selector(&calico))?;
            let why = pods
                .iter()
                .find_map(|pod| image::trouble(host, pod))
                .unwrap_or_else(|| "its pods are not made yet".to_owned());
            return Ok(Probe::pending(format!("pod network calico-node: {why}")));
        }
        let version = node["status"]["nodeInfo"]["kubeletVersion"].as_str().unwrap_or("?");
        Ok(Probe::satisfied(format!("node {} is ready, Kubernetes {version}", state::name(node))))
    }

    fn apply(&self, _: &dyn Host, found: &Probe) -> Result<Vec<Act>> {
        let start = Act::Run(Cmd::changes(SWITCH_WITHIN, ["microk8s", "start"]));
        Ok(if let Probe::Differs { .. } = found { vec![start] } else { Vec::new() })
    }

    fn memo(&self, _: &dyn Host, found: &Probe) -> Result<Memo> {
        let prior = if let Probe::Differs { now, .. } = found { now.clone() } else { Value::Null };
        Ok(Memo { prior, want: switched(false) })
    }

    fn undo(&self, host: &dyn Host, memory: &Memory) -> Result<Undo> {
        if host.snapd_get(microk8s::SNAP)?.is_none() {
            return Ok(Undo::Done);
        }
        // Ours is the last switch alone: what somebody switched since is theirs.
        let ours = |stopped| memory.wants.last() == Some(&switched(stopped));
        let switch = |verb| Ok(Undo::Acts(vec![Act::Run(Cmd::changes(SWITCH_WITHIN, ["microk8s", verb]))]));
        if memory.prior["stopped"] == true {
            // A stop of ours that was broken off counts as well.
            let is_ours = ours(false) || (ours(true) && memory.open);
            let runs = !is_stopped(host) || (memory.open && will_run(host)?);
            return if is_ours && runs { switch("stop") } else { Ok(Undo::Done) };
        }
        // A stop that was broken off leaves services that do not run, with or without the sign of a stop.
        if ours(true) && stopped(host)?.is_some() { switch("start") } else { Ok(Undo::Done) }
    }

    fn deadline(&self) -> Duration {
        self.deadline
    }

    fn watches(&self) -> Vec<Watch> {
        let kube_system = Some("kube-system".to_owned());
        vec![
            Watch::Objects(&cluster::NODE, None),
            Watch::Objects(&cluster::DAEMON_SET, kube_system),
            // Neither a service nor `/readyz` can be watched.
            Watch::Pause(Duration::from_millis(500)),
        ]
    }

    fn scope(&self) -> Scope {
        Scope::Host
    }

    fn inside(&self) -> Option<&'static str> {
        Some(SNAP)
    }

    fn opens(&self) -> bool {
        true
    }

    /// As long as something of ours stays in the cluster, the next teardown has to look at it: a MicroK8s that was stopped before us is not
    /// stopped again before that has gone.
    fn is_needed_while_ours(&self, key: &str) -> bool {
        lies_in_the_cluster(key)
    }

    fn newest_want_counts(&self) -> bool {
        true
    }
}
