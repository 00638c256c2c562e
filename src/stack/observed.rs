//! What a cluster is made of: it is read once, and judged without asking again.

use std::thread;

use serde_json::Value;

use crate::{
    config::{lb_range, version::MetallbApi},
    error::{self, Error, Result},
    host::Host,
    kube::{self, Kind, state},
    stack::{
        facts::Facts,
        iris::state::{self as iris, Instance, Names, announced_password},
        longhorn::state::Longhorn,
        metallb::state as metallb,
    },
};

/// What a cluster is made of.
pub struct Cluster<'a> {
    pub(crate) facts: &'a Facts<'a>,
    pub(crate) nodes: Vec<Value>,
    pub(crate) pods: Vec<Value>,
    events: Vec<Value>,
    pub(crate) claims: Vec<Value>,
    pub(crate) services: Vec<Value>,
    pub(crate) classes: Vec<Value>,
    workloads: Vec<Value>,
    /// The pool of MetalLB that serves us.
    pub(crate) pool: Option<metallb::Pool>,
    /// Services that a speaker announces; none where MetalLB does not tell.
    pub(crate) announced: Option<Vec<Value>>,
    /// Addresses of services that somebody else on the LAN answers for, with the MAC.
    pub(crate) claimed: Vec<(String, String)>,
    pub(crate) instances: Vec<Instance>,
    /// What an instance finds when it looks names up.
    pub(crate) names: Option<Names>,
    pub(crate) longhorn: Longhorn,
}

impl<'a> Cluster<'a> {
    /// Reads it.
    ///
    /// # Errors
    /// The API server does not answer.
    pub fn read(facts: &'a Facts<'a>) -> Result<Self> {
        let host = facts.host;
        // Nothing else is asked of a server that does not answer.
        let nodes = host.list(&kube::NODE, None, "")?;
        let kinds: [&'static Kind; 8] = [
            &kube::POD,
            &kube::EVENT,
            &kube::PERSISTENT_VOLUME_CLAIM,
            &kube::SERVICE,
            &kube::STORAGE_CLASS,
            &kube::DEPLOYMENT,
            &kube::DAEMON_SET,
            &kube::STATEFUL_SET,
        ];
        let api = facts.spec.channel.row().metallb;
        let password = announced_password(facts)?;
        let password = password.as_deref();
        thread::scope(|scope| {
            let asked = kinds.map(|kind| scope.spawn(move || of_kind(host, kind)));
            let pool = scope.spawn(move || metallb::configured(host, facts.spec));
            let announced = scope.spawn(move || announced(facts, api));
            let longhorn = scope.spawn(move || Longhorn::read(facts));
            let [pods, events, claims, services, classes, deployments, daemon_sets, stateful_sets] = asked.map(joined);
            let (pods, services) = (pods?, services?);
            let of_iris: Vec<Value> = pods.iter().filter(|pod| is_iris(facts, pod)).cloned().collect();
            let names = iris::ask(facts, &of_iris);
            let read = |pod| scope.spawn(move || Instance::read(facts, pod, password));
            let instances = of_iris.into_iter().map(read);
            let instances: Vec<_> = instances.collect();
            let claimed = claimed(facts, &services);
            Ok(Self {
                facts,
                nodes,
                pods,
                events: events?,
                claims: claims?,
                services,
                classes: classes?,
                workloads: [deployments?, daemon_sets?, stateful_sets?].concat(),
                pool: joined(pool)?,
                announced: announced.join().ok().flatten(),
                claimed,
                instances: instances.into_iter().filter_map(|t| t.join().ok()).collect(),
                names,
                longhorn: joined(longhorn)?,
            })
        })
    }

    /// Pods that the database needs: of IRIS, and of the cluster itself. What else runs there is its owner's concern.
    pub(crate) fn ours(&self) -> impl Iterator<Item = &Value> {
        const SYSTEM: &[&str] = &["kube-system", "metallb-system", "container-registry"];
        let system = |pod: &Value| pod["metadata"]["namespace"].as_str().is_some_and(|ns| SYSTEM.contains(&ns));
        self.pods.iter().filter(move |pod| system(pod) || is_iris(self.facts, pod))
    }

    /// The newest event of an object with one of these reasons.
    pub(crate) fn event(&self, object: &Value, reasons: &[&str]) -> Option<&str> {
        self.event_that(object, |event| event["reason"].as_str().is_some_and(|r| reasons.contains(&r)))
    }

    /// The newest event of an object of which this holds.
    pub(crate) fn event_that(&self, object: &Value, holds: impl Fn(&Value) -> bool) -> Option<&str> {
        let about = |event: &&Value| {
            let of = &event["involvedObject"];
            of["name"] == object["metadata"]["name"]
                && of["namespace"] == object["metadata"]["namespace"]
                && (of["kind"] == object["kind"] || of["uid"] == object["metadata"]["uid"])
                && holds(event)
        };
        let time = |event: &&Value| {
            let field = |name: &str| event[name].as_str().unwrap_or("").to_owned();
            [field("lastTimestamp"), field("eventTime"), field("firstTimestamp")].into_iter().max()
        };
        self.events.iter().filter(about).max_by_key(time).and_then(|event| event["message"].as_str())
    }

    pub(crate) fn workload(&self, kind: &str, namespace: &str, name: &str) -> Option<&Value> {
        let same =
            |w: &&Value| w["kind"] == kind && w["metadata"]["namespace"] == namespace && w["metadata"]["name"] == name;
        self.workloads.iter().find(same)
    }

    /// Why a Deployment or DaemonSet does not do its work; none when it does.
    pub(crate) fn down(&self, kind: &str, namespace: &str, name: &str) -> Option<String> {
        let Some(workload) = self.workload(kind, namespace, name) else {
            return Some(format!("there is no {kind} {name}"));
        };
        if kind == "Deployment" && workload["spec"]["replicas"] == 0 {
            return Some(format!("{name} is scaled to 0"));
        }
        if state::rolled_out(workload) {
            return None;
        }
        let wanted = workload["spec"]["selector"]["matchLabels"].as_object().cloned().unwrap_or_default();
        let selected = |pod: &&Value| {
            pod["metadata"]["namespace"] == namespace
                && wanted.iter().all(|(label, value)| pod["metadata"]["labels"][label] == *value)
        };
        let trouble = self.pods.iter().filter(selected).find_map(state::pod_trouble);
        Some(trouble.unwrap_or_else(|| format!("{name} has no pod")))
    }
}

/// All objects of a kind, each with its kind.
fn of_kind(host: &dyn Host, kind: &'static Kind) -> Result<Vec<Value>> {
    Ok(host.list(kind, None, "")?.into_iter().map(|object| kube::with_kind(object, kind)).collect())
}

fn is_iris(facts: &Facts<'_>, pod: &Value) -> bool {
    iris::is_instance(pod, &facts.spec.iris)
}

fn joined<T>(thread: thread::ScopedJoinHandle<'_, Result<T>>) -> Result<T> {
    thread.join().unwrap_or_else(|_| Err(Error::new(error::ExitCode::Bug, "a look at the cluster panicked")))
}

/// What the speakers announce; none where this MetalLB has no record of it.
fn announced(facts: &Facts<'_>, api: MetallbApi) -> Option<Vec<Value>> {
    let known =
        api == MetallbApi::Crd && facts.host.api_text("/apis/metallb.io/v1beta1").ok()?.contains("servicel2statuses");
    if known { facts.host.list(&kube::SERVICE_L2_STATUS, None, "").ok() } else { None }
}

/// A service's address must be MetalLB's alone.
fn claimed(facts: &Facts<'_>, services: &[Value]) -> Vec<(String, String)> {
    let given = services.iter().flat_map(state::addresses).filter_map(|a| a.parse::<std::net::Ipv4Addr>().ok());
    let Some(given) = lb_range::LbRange::from_intervals(given.map(|a| (a, a))) else {
        return Vec::new();
    };
    let answers = facts.host.neighbours(&given).unwrap_or_default();
    answers.into_iter().map(|(address, mac)| (address.to_string(), mac)).collect()
}
