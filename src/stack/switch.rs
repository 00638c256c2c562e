//! The cluster stopped and started with the database in it. These are steps like all others: what is switched is in the journal before it
//! is, so that a stop of our own passes neither for what was there before nor for a change by somebody else.

use std::time::Duration;

use serde_json::Value;

use super::{
    catalog,
    iris::{
        names::set_key,
        objects::{set_object, stateful_set_of},
        state::instances,
    },
    microk8s::{
        running::{self as running, RUNNING},
        state::SWITCH_WITHIN,
    },
    object::Object,
};
use crate::{
    config::{
        credentials::Credentials,
        spec::{Iris, Spec},
    },
    engine::{
        check::Check,
        journal::Ledger,
        step::{Act, Memo, Memory, Probe, SNAP, SOON, Scope, Stage, Step, Undo},
    },
    error::Result,
    host::{Cmd, Host, Watch},
    kube::{self, state},
    stack::microk8s::state as microk8s,
};

/// What `stop` makes true: the database first, so that it need not recover, then the cluster.
pub fn stop(host: &dyn Host, spec: &Spec, ledger: &Ledger) -> Vec<Stage> {
    let stage = |id, steps| Stage { id, needs: &[], lock: None, steps };
    let off: Vec<Box<dyn Step>> = vec![Box::new(Stopped { was_broken_off: ledger.is_open(RUNNING) })];
    // A cluster that is stopped cannot be asked, and no instance runs in it.
    if microk8s::is_stopped(host) {
        return vec![stage("start", off)];
    }
    let set = host.get(&kube::STATEFUL_SET, Some(&spec.iris.namespace), &spec.iris.name);
    let first: Vec<Box<dyn Step>> = if matches!(set, Ok(None)) {
        vec![Box::new(ended(spec))]
    } else if is_ours(spec, ledger) {
        vec![Box::new(scaled(spec, ledger, 0)), Box::new(ended(spec))]
    } else {
        vec![Box::new(nobody_elses(spec))]
    };
    vec![stage("iris", first), stage("start", off)]
}

/// What `start` makes true: the cluster, then the database, until it answers.
pub fn start(spec: &Spec, ledger: &Ledger) -> Vec<Stage> {
    let replicas = instances_before(spec, ledger);
    let spec = &Spec { iris: Iris { replicas, ..spec.iris.clone() }, ..spec.clone() };
    let mut stages = catalog(spec, &Credentials::placeholder());
    stages.retain(|stage| ["start", "pods", "ready"].contains(&stage.id));
    if is_ours(spec, ledger) {
        let scaled: Vec<Box<dyn Step>> = vec![Box::new(there(spec)), Box::new(scaled(spec, ledger, replicas))];
        stages.insert(1, Stage { id: "iris", needs: &[], lock: None, steps: scaled });
    }
    stages
}

fn is_ours(spec: &Spec, ledger: &Ledger) -> bool {
    ledger.memory(&set_key(&spec.iris)).is_some()
}

/// The StatefulSet with that many instances, and everything else as it was applied. The newest spec may ask for more: a bootstrap that
/// ended before it reached the StatefulSet has left its spec, and whoever stops or starts does not ask for that.
fn scaled(spec: &Spec, ledger: &Ledger, replicas: u32) -> Object {
    let iris = Iris { replicas, ..spec.iris.clone() };
    // Only one of ours is switched.
    let essential = stateful_set_of(&iris);
    Object { applied: applied(spec, ledger), ..set_object(&iris, essential, spec.timeouts.remove.into()) }
}

/// All that we applied as the StatefulSet, the newest last.
fn applied(spec: &Spec, ledger: &Ledger) -> Vec<Value> {
    let wants = ledger.memory(&set_key(&spec.iris)).into_iter().flat_map(|memory| &memory.wants);
    wants.map(|want| want["applied"].clone()).filter(Value::is_object).collect()
}

/// The number of instances that the StatefulSet was last applied with, other than to end them.
fn instances_before(spec: &Spec, ledger: &Ledger) -> u32 {
    let counts = applied(spec, ledger).into_iter().rev().filter_map(|set| set["spec"]["replicas"].as_u64());
    counts.filter_map(|count| u32::try_from(count).ok()).find(|count| *count > 0).unwrap_or(spec.iris.replicas)
}

/// There is something to start: whoever removed it, or MicroK8s with it, may not want it back.
fn there(spec: &Spec) -> Check {
    let Iris { namespace, name, .. } = spec.iris.clone();
    Check {
        id: "iris.there",
        title: "IRIS is there".to_owned(),
        question: Box::new(move |host| {
            Ok(match host.get(&kube::STATEFUL_SET, Some(&namespace), &name)? {
                Some(_) => Probe::satisfied(""),
                None => Probe::Hopeless {
                    why: format!("somebody removed StatefulSet {namespace}/{name}"),
                    hint: "`sudo iris-mk8s bootstrap` makes it again".to_owned(),
                },
            })
        }),
        deadline: spec.timeouts.ready.into(),
        watches: vec![Watch::Pause(Duration::from_millis(500))],
    }
}

/// No instance runs any more.
fn ended(spec: &Spec) -> Check {
    let iris = spec.iris.clone();
    let watches = vec![Watch::Objects(&kube::POD, Some(iris.namespace.clone()))];
    Check {
        id: "iris.ended",
        title: "IRIS is shut down; its data stays".to_owned(),
        question: Box::new(move |host| {
            let left = instances(host, &iris)?;
            let names: Vec<&str> = left.iter().map(state::name).collect();
            Ok(if names.is_empty() {
                Probe::satisfied("")
            } else {
                Probe::pending(format!("IRIS shuts down ({})", names.join(", ")))
            })
        }),
        deadline: spec.timeouts.remove.into(),
        watches,
    }
}

/// IRIS of somebody else's would be killed with the cluster, in the middle of what it writes.
fn nobody_elses(spec: &Spec) -> Check {
    let Iris { namespace, name, .. } = spec.iris.clone();
    Check {
        id: "iris.ended",
        title: "no IRIS of somebody else's runs".to_owned(),
        question: Box::new(move |host| {
            let set = host.get(&kube::STATEFUL_SET, Some(&namespace), &name)?;
            let pods = match &set {
                Some(set) => host.list(&kube::POD, Some(&namespace), &state::selector(set))?,
                None => Vec::new(),
            };
            Ok(if pods.is_empty() {
                Probe::satisfied("")
            } else {
                Probe::Refused {
                    why: format!(
                        "StatefulSet {namespace}/{name} was applied by somebody else and runs: its databases would not be shut down"
                    ),
                    hint: format!(
                        "shut it down first: `microk8s kubectl scale statefulset/{name} --namespace {namespace} --replicas=0`, \
                         then run the same command again"
                    ),
                }
            })
        }),
        deadline: SOON,
        watches: Vec::new(),
    }
}

/// The cluster is stopped.
struct Stopped {
    /// The last switch of ours did not come to its end.
    was_broken_off: bool,
}

impl Stopped {
    fn is_true(&self, host: &dyn Host) -> Result<bool> {
        Ok(microk8s::is_stopped(host) && !(self.was_broken_off && running::will_run(host)?))
    }
}

impl Step for Stopped {
    fn id(&self) -> &'static str {
        RUNNING
    }

    fn title(&self) -> String {
        "MicroK8s is stopped".to_owned()
    }

    fn probe(&self, host: &dyn Host) -> Result<Probe> {
        Ok(if self.is_true(host)? {
            Probe::satisfied("")
        } else {
            Probe::differs(running::switched(false), "MicroK8s runs")
        })
    }

    fn apply(&self, _: &dyn Host, _: &Probe) -> Result<Vec<Act>> {
        Ok(vec![Act::Run(Cmd::changes(SWITCH_WITHIN, ["microk8s", "stop"]))])
    }

    fn memo(&self, _: &dyn Host, _: &Probe) -> Result<Memo> {
        Ok(Memo { prior: running::switched(false), want: running::switched(true) })
    }

    fn undo(&self, _: &dyn Host, _: &Memory) -> Result<Undo> {
        Ok(Undo::Done)
    }

    fn recipe(&self) -> Value {
        Value::Null
    }

    fn newest_want_counts(&self) -> bool {
        true
    }

    fn deadline(&self) -> Duration {
        SWITCH_WITHIN
    }

    fn watches(&self) -> Vec<Watch> {
        vec![Watch::Pause(Duration::from_millis(500))]
    }

    fn scope(&self) -> Scope {
        Scope::Host
    }

    fn inside(&self) -> Option<&'static str> {
        Some(SNAP)
    }
}
