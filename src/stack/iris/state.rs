//! Which pods are instances of IRIS. Anybody may use the label `app`: a pod of somebody else's that has it must neither get requests nor
//! count as ready. So services select by a label of our own besides, and instances are told by who owns them.
//!
//! A StatefulSet that was applied before there was this label, or by somebody else, keeps its pods as they are: the label would restart
//! them. Its services go without it, too.

use std::{net::Ipv4Addr, thread};

use serde_json::Value;

use crate::{
    config::{cpf::Cpf, credentials::PUBLISHED, place::Place, spec::Iris},
    error::Result,
    host::Host,
    kube::{self, state},
    network::{EXTERNAL, NOBODY},
    stack::{
        facts::Facts,
        iris::{
            log::{self, LogPattern},
            names::{USERS, WEB, external},
        },
    },
};

/// The label; its value is the name of the StatefulSet.
pub(crate) const OWN: &str = "iris-mk8s/statefulset";

/// The instances, by name.
///
/// # Errors
/// The cluster does not answer.
pub fn instances(host: &dyn Host, iris: &Iris) -> Result<Vec<Value>> {
    let mut pods = host.list(&kube::POD, Some(&iris.namespace), &format!("app={}", iris.service))?;
    pods.retain(|pod| is_instance(pod, iris));
    pods.sort_by_key(|pod| state::name(pod).to_owned());
    Ok(pods)
}

/// Whether a pod is one of them: the StatefulSet made it.
pub fn is_instance(pod: &Value, iris: &Iris) -> bool {
    let owners = pod["metadata"]["ownerReferences"].as_array();
    let by_set = |owner: &Value| owner["kind"] == "StatefulSet" && owner["name"] == *iris.name;
    pod["metadata"]["namespace"] == *iris.namespace && owners.is_some_and(|owners| owners.iter().any(by_set))
}

/// An object for a StatefulSet with our label, or without.
pub(crate) struct Labelled {
    pub(crate) namespace: String,
    pub(crate) set: String,
}

impl Labelled {
    pub(crate) fn new(iris: &Iris) -> Self {
        Self { namespace: iris.namespace.clone(), set: iris.name.clone() }
    }

    /// The object as it suits the StatefulSet that is there.
    pub(crate) fn suited(&self, host: &dyn Host, want: &Value) -> Result<Value> {
        // A plan may be asked for before there is a cluster.
        let set = host.get(&kube::STATEFUL_SET, Some(&self.namespace), &self.set);
        let set = set.or_else(|e| if e.transient { Ok(None) } else { Err(e) })?;
        let is_without = |set: &Value| set["spec"]["template"]["metadata"]["labels"][OWN].is_null();
        Ok(if set.as_ref().is_some_and(is_without) { without(want) } else { want.clone() })
    }
}

/// The same object without the label: in the pods that it makes, and in what it selects.
pub(crate) fn without(object: &Value) -> Value {
    let mut object = object.clone();
    for place in ["/spec/template/metadata/labels", "/spec/selector"] {
        if let Some(labels) = object.pointer_mut(place).and_then(Value::as_object_mut) {
            labels.remove(OWN);
        }
    }
    object
}

/// An instance of IRIS.
pub(crate) struct Instance {
    pub(crate) pod: Value,
    pub(crate) log: String,
    /// Of the run before, if it was started again.
    pub(crate) log_before: String,
    /// Its metrics, when it answers.
    pub(crate) page: Option<String>,
    /// Who can log in, when it is ready.
    pub(crate) door: Option<Door>,
}

/// Lines of a log that are read: a start takes some hundred.
pub(crate) const LINES: u32 = 3000;

impl Instance {
    pub(crate) fn read(facts: &Facts<'_>, pod: Value, announced: Option<&str>) -> Self {
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
            .zip(account(&facts.spec.iris))
            .and_then(|(address, user)| knock(host, address, user, announced).ok());
        Self { log: log(""), log_before, pod, page, door }
    }
}

impl Instance {
    /// Why it does not start, as far as it says so.
    pub(crate) fn sign(&self) -> Option<&'static LogPattern> {
        log::sign(&self.log).or_else(|| log::sign(&self.log_before))
    }
}

/// The password that the last bootstrap announced; none for a StatefulSet of somebody else's, which brings its own.
pub(crate) fn announced_password(facts: &Facts<'_>) -> Result<Option<String>> {
    let iris = &facts.spec.iris;
    let set = facts.host.get(&kube::STATEFUL_SET, Some(&iris.namespace), &iris.name)?;
    if set.is_some_and(|set| kube::is_ours(&set)) { announced(facts.host) } else { Ok(None) }
}

pub(crate) fn restarts(pod: &Value) -> i64 {
    let all = pod["status"]["containerStatuses"].as_array();
    all.into_iter().flatten().filter_map(|c| c["restartCount"].as_i64()).sum()
}

/// Asks in the first instance that is ready.
pub(crate) fn ask(cluster: &Facts<'_>, pods: &[Value]) -> Option<Names> {
    let pod = pods.iter().find(|pod| state::is(pod, "Ready"))?;
    look_up(cluster.host, &cluster.spec.iris, state::name(pod)).ok()
}

/// What came of trying.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Door {
    /// Only the announced password is taken.
    Shut,
    /// The password that everybody knows is taken.
    Open,
    /// Neither is taken.
    Other,
    /// It cannot be said: the status of the answer.
    Unclear(u16),
}

/// The account that is tried: the first one that the CPF lets log in.
pub fn account(iris: &Iris) -> Option<&'static str> {
    let cpf = Cpf::read(&iris.cpf);
    USERS.into_iter().find(|user| !cpf.locks(user))
}

/// Tries both passwords at an instance, one request each; without an announced one only the well-known one. The failure comes first:
/// a success sets the account's count of failures back.
///
/// # Errors
/// The instance does not answer (transient).
pub fn knock(host: &dyn Host, address: &str, user: &str, announced: Option<&str>) -> Result<Door> {
    let url = format!("http://{address}:{WEB}/api/atelier/");
    if announced != Some(PUBLISHED) {
        match host.login(&url, user, PUBLISHED)? {
            200 => return Ok(Door::Open),
            401 | 403 => {}
            other => return Ok(Door::Unclear(other)),
        }
    }
    let Some(announced) = announced else { return Ok(Door::Shut) };
    Ok(match host.login(&url, user, announced)? {
        200 => Door::Shut,
        401 | 403 => Door::Other,
        other => Door::Unclear(other),
    })
}

/// The password that is announced: what is in its file.
///
/// # Errors
/// The file cannot be read.
pub fn announced(host: &dyn Host) -> Result<Option<String>> {
    let bytes = host.read(&Place::default().password())?.unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    Ok(Some(text.trim_end_matches('\n').to_owned()).filter(|password| !password.is_empty()))
}

/// What to do about an open door.
pub const OPEN_HINT: &str = "give SuperUser, _SYSTEM and Admin another password now (portal: System Administration, Security, Users), or \
                             begin with new volumes: `iris-mk8s teardown --data`, then bootstrap";

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    /// The pod that was asked.
    pub(crate) pod: String,
    /// An address for the name that there is.
    external: Option<String>,
    /// An address for the name that nobody has.
    nobody: Option<String>,
}

/// Asks in a pod.
///
/// # Errors
/// Nothing can be run there (transient).
pub fn look_up(host: &dyn Host, iris: &Iris, pod: &str) -> Result<Names> {
    let address = |name: &str| -> Result<Option<String>> {
        let output = host.exec(&iris.namespace, pod, "iris", &["getent", "ahostsv4", name], "")?;
        Ok(output.stdout.split_whitespace().next().filter(|_| output.ok()).map(str::to_owned))
    };
    // A resolver that has nobody to ask takes its time over each of them.
    let (external, nobody) = thread::scope(|scope| {
        let external = scope.spawn(|| address(EXTERNAL));
        let nobody = address(NOBODY);
        (external.join(), nobody)
    });
    let external = external.unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
    Ok(Names { pod: pod.to_owned(), external, nobody: nobody? })
}

/// What a person should know of it: messages, each with what to do.
pub fn told(names: &Names) -> Vec<(String, String)> {
    let mut told = Vec::new();
    if names.external.is_none() {
        told.push((
            format!("pod {} does not find {EXTERNAL}: names outside of the cluster are not looked up there", names.pod),
            "without a way to the internet this is to be expected; else tell the cluster a name server that answers: \
             `microk8s disable dns; microk8s enable dns:SERVER`"
                .to_owned(),
        ));
    }
    if let Some(address) = &names.nobody {
        told.push((
            format!("pod {} finds {address} for `{NOBODY}`, which nobody is called: a search domain of this host has every name", names.pod),
            "take it out of the host's search domains (netplan: nameservers: search), then `microk8s stop; microk8s start`".to_owned(),
        ));
    }
    told
}

/// The address that MetalLB gave to the LoadBalancer service.
pub fn address(host: &dyn Host, iris: &Iris) -> Result<Option<Ipv4Addr>> {
    let service = host.get(&kube::SERVICE, Some(&iris.namespace), &external(iris))?;
    Ok(service.and_then(|s| state::addresses(&s).first().and_then(|a| a.parse().ok())))
}
