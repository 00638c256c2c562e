//! The cluster runs: services, API, node, pod network. MicroK8s' own "running" is the text ` Ready ` in a list, and its API says
//! ready before a node exists: what is waited for is counted here, and an empty list is not ready.

use std::time::Duration;

use serde_json::{Value, json};

use crate::{
    config::spec::Spec,
    engine::step::{Act, Memo, Memory, Probe, SNAP, Scope, Step, Undo, lies_in_the_cluster},
    error::Result,
    host::{Cmd, Host, Watch},
    kube::{self, state},
    stack::{
        image,
        microk8s::state::{self as microk8s, APPS, SERVICES, SWITCH_WITHIN, is_stopped, stopped},
    },
};

/// The name of the step.
pub(crate) const RUNNING: &str = "cluster.running";

/// What the journal holds of a cluster that is started or stopped.
pub(crate) fn switched(stopped: bool) -> Value {
    json!({"stopped": stopped})
}

/// The step.
pub(crate) struct Running {
    deadline: Duration,
}

impl Running {
    pub(crate) fn new(spec: &Spec) -> Self {
        Self { deadline: spec.timeouts.ready.into() }
    }
}

/// Whether services of it run or are to start at the next boot: a start that was broken off leaves them so beside the sign of a stop.
pub(crate) fn will_run(host: &dyn Host) -> Result<bool> {
    let services = host.snapd_get(APPS)?.unwrap_or_default();
    let is_on = |service: &Value| {
        let name = service["name"].as_str().unwrap_or_default();
        SERVICES.contains(&name) && (service["active"] == true || service["enabled"] == true)
    };
    Ok(services.as_array().is_some_and(|all| all.iter().any(is_on)))
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
            return Ok(Probe::differs(json!({"stopped": is_stopped(host)}), why.to_string()));
        }
        let health = host.api_text("/readyz")?;
        if health.trim() != "ok" {
            return Ok(Probe::pending("the API server is not ready"));
        }
        let nodes = host.list(&kube::NODE, None, "")?;
        let Some(node) = nodes.first() else { return Ok(Probe::pending("no node has registered yet")) };
        if let Some(node) = nodes.iter().find(|n| !state::is(n, "Ready")) {
            let why = state::condition(node, "Ready").map_or("", |(_, message)| message);
            return Ok(Probe::pending(format!("node {} is not ready: {why}", state::name(node))));
        }
        // Calico is MicroK8s' pod network; with another one there is nothing of that name, and the node's own word counts.
        if let Some(calico) = host.get(&kube::DAEMON_SET, Some("kube-system"), "calico-node")?
            && !state::rolled_out(&calico)
        {
            let pods = host.list(&kube::POD, Some("kube-system"), &state::selector(&calico))?;
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
            Watch::Objects(&kube::NODE, None),
            Watch::Objects(&kube::DAEMON_SET, kube_system),
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
