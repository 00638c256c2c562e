//! The checks of a cluster: what it is made of is read once, and judged without asking again. In the order of weight: what comes first
//! is the cause of what comes later.

use std::thread;

use serde_json::Value;

use super::Facts;
use crate::{
    cluster::{self, Kind, state},
    error::{Error, Result},
    finding::Finding,
    host::Host,
    iris_log::{self, Sign},
    steps::{self, Door, Names, WEB},
    version::MetallbApi,
};

pub(super) mod authority;
#[expect(clippy::unnecessary_wraps, reason = "any look may fail")]
pub(super) mod ground;
mod iris;
mod longhorn;
mod metallb;
mod node;
mod pods;
mod reach;
mod storage;

/// A check of what was read.
#[derive(Debug)]
pub struct Check {
    /// Its name.
    pub id: &'static str,
    judge: Judge,
}

/// A judgement; as it should be when it finds nothing.
type Judge = fn(&Cluster<'_>) -> Vec<Finding>;

const fn check(id: &'static str, judge: Judge) -> Check {
    Check { id, judge }
}

/// The checks.
pub const ALL: &[Check] = &[
    check("node", node::ready),
    check("pressure", node::pressure),
    check("pull", pods::pulls),
    check("longhorn-removal", longhorn::removal),
    check("longhorn-host", longhorn::on_host),
    check("longhorn-driver", longhorn::driver),
    check("longhorn-disks", longhorn::disks),
    check("longhorn-volumes", longhorn::volumes),
    check("storage", storage::provisioner),
    check("claims", storage::claims),
    check("volumes", pods::volumes),
    check("scheduling", pods::scheduling),
    check("iris-stopped", iris::stopped),
    check("iris-start", iris::start),
    check("crash", pods::crashes),
    check("iris-cpf", iris::actions),
    check("iris-licence", iris::licence),
    check("iris-door", iris::door),
    check("pod-network", pods::network),
    check("pod-routes", reach::routes),
    check("dns-pods", pods::dns),
    check("names", reach::names),
    check("metallb", metallb::runs),
    check("metallb-pool", metallb::pool),
    check("address", metallb::address),
    check("strangers", reach::strangers),
    check("answer", iris::answers),
];

/// What a cluster is made of.
pub struct Cluster<'a> {
    facts: &'a Facts<'a>,
    nodes: Vec<Value>,
    pods: Vec<Value>,
    events: Vec<Value>,
    claims: Vec<Value>,
    services: Vec<Value>,
    classes: Vec<Value>,
    workloads: Vec<Value>,
    /// The pool's addresses, and whether they are advertised.
    pool: Option<(Vec<String>, bool)>,
    /// Services that a speaker announces; none where MetalLB does not tell.
    announced: Option<Vec<Value>>,
    /// Addresses of services that somebody else on the LAN answers for, with the MAC.
    claimed: Vec<(String, String)>,
    instances: Vec<Instance>,
    /// What an instance finds when it looks names up.
    names: Option<Names>,
    longhorn: longhorn::Longhorn,
}

/// An instance of IRIS.
struct Instance {
    pod: Value,
    log: String,
    /// Of the run before, if it was started again.
    log_before: String,
    /// Its metrics, when it answers.
    page: Option<String>,
    /// Who can log in, when it is ready.
    door: Option<Door>,
}

/// Lines of a log that are read: a start takes some hundred.
const LINES: u32 = 3000;

impl<'a> Cluster<'a> {
    /// Reads it.
    ///
    /// # Errors
    /// The API server does not answer.
    pub fn read(facts: &'a Facts<'a>) -> Result<Self> {
        let host = facts.host;
        // Nothing else is asked of a server that does not answer.
        let nodes = host.list(&cluster::NODE, None, "")?;
        let kinds: [&'static Kind; 8] = [
            &cluster::POD,
            &cluster::EVENT,
            &cluster::PERSISTENT_VOLUME_CLAIM,
            &cluster::SERVICE,
            &cluster::STORAGE_CLASS,
            &cluster::DEPLOYMENT,
            &cluster::DAEMON_SET,
            &cluster::STATEFUL_SET,
        ];
        let api = facts.spec.channel.row().metallb;
        let password = announced_password(facts)?;
        let password = password.as_deref();
        thread::scope(|scope| {
            let asked = kinds.map(|kind| scope.spawn(move || of_kind(host, kind)));
            let pool = scope.spawn(move || steps::configured(host, facts.spec));
            let announced = scope.spawn(move || announced(facts, api));
            let longhorn = scope.spawn(move || longhorn::Longhorn::read(facts));
            let [pods, events, claims, services, classes, deployments, daemon_sets, stateful_sets] = asked.map(joined);
            let (pods, services) = (pods?, services?);
            let of_iris: Vec<Value> = pods.iter().filter(|pod| is_iris(facts, pod)).cloned().collect();
            let names = reach::ask(facts, &of_iris);
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

    /// All findings, in the order of the table.
    pub fn judge(&self) -> Vec<Finding> {
        let of = |check: &Check| {
            let mut findings = (check.judge)(self);
            if findings.is_empty() {
                findings.push(Finding::fine("as it should be"));
            }
            for finding in &mut findings {
                finding.id = check.id;
            }
            findings
        };
        // Some of them wait for an answer.
        std::thread::scope(|scope| {
            let looks: Vec<_> = ALL.iter().map(|check| scope.spawn(move || of(check))).collect();
            let joined =
                looks.into_iter().map(|look| look.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
            joined.flatten().collect()
        })
    }

    /// Pods that the database needs: of IRIS, and of the cluster itself. What else runs there is its owner's concern.
    fn ours(&self) -> impl Iterator<Item = &Value> {
        const SYSTEM: &[&str] = &["kube-system", "metallb-system", "container-registry"];
        let system = |pod: &Value| pod["metadata"]["namespace"].as_str().is_some_and(|ns| SYSTEM.contains(&ns));
        self.pods.iter().filter(move |pod| system(pod) || is_iris(self.facts, pod))
    }

    /// The newest event of an object with one of these reasons.
    fn event(&self, object: &Value, reasons: &[&str]) -> Option<&str> {
        self.event_that(object, |event| event["reason"].as_str().is_some_and(|r| reasons.contains(&r)))
    }

    /// The newest event of an object of which this holds.
    fn event_that(&self, object: &Value, holds: impl Fn(&Value) -> bool) -> Option<&str> {
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

    fn workload(&self, kind: &str, namespace: &str, name: &str) -> Option<&Value> {
        let same =
            |w: &&Value| w["kind"] == kind && w["metadata"]["namespace"] == namespace && w["metadata"]["name"] == name;
        self.workloads.iter().find(same)
    }

    /// Why a Deployment or DaemonSet does not do its work; none when it does.
    fn down(&self, kind: &str, namespace: &str, name: &str) -> Option<String> {
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
    Ok(host.list(kind, None, "")?.into_iter().map(|object| cluster::with_kind(object, kind)).collect())
}

impl Instance {
    fn read(facts: &Facts<'_>, pod: Value, announced: Option<&str>) -> Self {
        let (host, name) = (facts.host, state::name(&pod).to_owned());
        let namespace = &facts.spec.iris.namespace;
        let log = |previous: &str| {
            let path =
                format!("/api/v1/namespaces/{namespace}/pods/{name}/log?container=iris&tailLines={LINES}{previous}");
            host.api_text(&path).unwrap_or_default()
        };
        let log_before = if restarts(&pod) > 0 { log("&previous=true") } else { String::new() };
        let page = pod["status"]["podIP"].as_str().filter(|_| state::is(&pod, "Ready")).and_then(|ip| {
            let (status, text) = host.http_get(&format!("http://{ip}:{WEB}/api/monitor/metrics")).ok()?;
            (status == 200).then_some(text)
        });
        let address = pod["status"]["podIP"].as_str().filter(|_| page.is_some());
        let door = address
            .zip(steps::account(&facts.spec.iris))
            .and_then(|(address, user)| steps::knock(host, address, user, announced).ok());
        Self { log: log(""), log_before, pod, page, door }
    }
}

impl Instance {
    /// Why it does not start, as far as it says so.
    fn sign(&self) -> Option<&'static Sign> {
        iris_log::sign(&self.log).or_else(|| iris_log::sign(&self.log_before))
    }
}

/// The password that the last bootstrap announced; none for a StatefulSet of somebody else's, which brings its own.
fn announced_password(facts: &Facts<'_>) -> Result<Option<String>> {
    let iris = &facts.spec.iris;
    let set = facts.host.get(&cluster::STATEFUL_SET, Some(&iris.namespace), &iris.name)?;
    if set.is_some_and(|set| cluster::is_ours(&set)) { steps::announced(facts.host) } else { Ok(None) }
}

fn restarts(pod: &Value) -> i64 {
    let all = pod["status"]["containerStatuses"].as_array();
    all.into_iter().flatten().filter_map(|c| c["restartCount"].as_i64()).sum()
}

fn is_iris(facts: &Facts<'_>, pod: &Value) -> bool {
    steps::is_instance(pod, &facts.spec.iris)
}

fn joined<T>(thread: thread::ScopedJoinHandle<'_, Result<T>>) -> Result<T> {
    thread.join().unwrap_or_else(|_| Err(Error::new(crate::error::ExitCode::Bug, "a look at the cluster panicked")))
}

/// What the speakers announce; none where this MetalLB has no record of it.
fn announced(facts: &Facts<'_>, api: MetallbApi) -> Option<Vec<Value>> {
    let known =
        api == MetallbApi::Crd && facts.host.api_text("/apis/metallb.io/v1beta1").ok()?.contains("servicel2statuses");
    if known { facts.host.list(&cluster::SERVICE_L2_STATUS, None, "").ok() } else { None }
}

/// A service's address must be MetalLB's alone.
fn claimed(facts: &Facts<'_>, services: &[Value]) -> Vec<(String, String)> {
    let given = services.iter().flat_map(state::addresses).filter_map(|a| a.parse::<std::net::Ipv4Addr>().ok());
    let Some(given) = crate::lb_range::LbRange::from_intervals(given.map(|a| (a, a))) else { return Vec::new() };
    let answers = facts.host.neighbours(&given).unwrap_or_default();
    answers.into_iter().map(|(address, mac)| (address.to_string(), mac)).collect()
}
