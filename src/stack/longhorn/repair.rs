//! A Longhorn that was removed in the wrong order: its namespace waits for objects that no manager finalizes any more, or is gone and left them
//! behind. Each of these steps is safe to run again, and does nothing where there is nothing to do. Nothing of Longhorn's data survives them;
//! its files on the host stay.

use std::{path::Path, time::Duration};

use serde_json::{Value, json};

use super::{
    content,
    emptied::{self, by_force, is_stuck},
    state::{DRIVER, Installed, KUBELET, MADE, NAMESPACE, WEBHOOKS, definitions, served, volumes},
};
use crate::{
    engine::step::{Act, Memo, Memory, Probe, Scope, Stage, Step, Undo},
    error::{Error, ExitCode, Result},
    host::{Host, Watch},
    kube::{self, Kind, state},
    stack::longhorn::steps::before,
};

/// What is left to do of a step.
type Todo = fn(&dyn Host) -> Result<Undo>;

/// Longest wait for each of them. A namespace takes its time: the server deletes what is in it kind by kind, pods first.
const WITHIN: Duration = Duration::from_secs(300);

/// One step.
struct RepairStep {
    id: &'static str,
    title: &'static str,
    todo: Todo,
}

/// The steps, in the order in which one makes the next one possible.
const STEPS: &[RepairStep] = &[
    RepairStep {
        id: "repair.namespace-again",
        title: "its namespace, so that what it left can be ended",
        todo: emptied::again,
    },
    RepairStep { id: "repair.webhooks", title: "webhooks without a server", todo: webhooks },
    RepairStep { id: "repair.consumers", title: "pods and claims that use its volumes", todo: consumers },
    RepairStep { id: "repair.programs", title: "what is left of its programs", todo: programs },
    RepairStep { id: "repair.webhooks-again", title: "webhooks that they registered meanwhile", todo: webhooks },
    RepairStep { id: "repair.conversion", title: "conversion webhooks without a server", todo: conversion },
    RepairStep { id: "repair.objects", title: "its objects, which wait for a manager", todo: objects },
    RepairStep { id: "repair.kinds", title: "its custom resource definitions", todo: kinds },
    RepairStep { id: "repair.volumes", title: "volumes and attachments that are stuck", todo: volumes_of_cluster },
    RepairStep { id: "repair.namespace", title: "its namespace", todo: emptied::ended },
    RepairStep { id: "repair.leftovers", title: "what it left in the cluster", todo: leftovers },
    RepairStep { id: "repair.host", title: "what it left on the host", todo: on_host },
    RepairStep { id: "repair.verified", title: "nothing of it is left", todo: verified },
];

/// The stage.
pub fn stages() -> Vec<Stage> {
    let steps = STEPS.iter().map(|m| Box::new(RepairStep { id: m.id, title: m.title, todo: m.todo }) as Box<dyn Step>);
    vec![Stage { id: "repair", needs: &[], lock: None, steps: steps.collect() }]
}

/// What is wrong with it; none when nothing is left of it at all.
///
/// # Errors
/// The cluster does not answer, or Longhorn works.
pub fn diagnose(host: &dyn Host) -> Result<Option<String>> {
    let installed = Installed::find(host)?;
    if let Some(found) = &installed
        && !state::going(&found.namespace)
        && found.manager.as_ref().is_some_and(|m| !state::going(m) && state::rolled_out(m))
    {
        return Err(Error::new(ExitCode::NotOurs, "refused: Longhorn works, so there is nothing to repair").hint(
            "`iris-mk8s teardown --reset` takes away one that is ours; `iris-mk8s doctor` looks for other troubles",
        ));
    }
    let mut found = Vec::new();
    found.extend(installed.as_ref().map(|longhorn| {
        if longhorn.is_half_deleted() {
            format!("the namespace {NAMESPACE} is partially deleted")
        } else if longhorn.manager.is_none() {
            format!("the namespace {NAMESPACE} has no manager in it")
        } else {
            "its manager does not run".to_owned()
        }
    }));
    let orphans = content::orphans(host)?;
    if !orphans.is_empty() {
        let names = content::names(&orphans);
        found.push(format!("the namespace {NAMESPACE} is gone and left {} objects behind: {names}", orphans.len()));
    }
    let kinds = definitions(host)?;
    if !kinds.is_empty() {
        let going = kinds.iter().filter(|d| state::going(d)).count();
        found.push(format!("{} of its kinds are there, {going} of them being deleted", kinds.len()));
    }
    for (kind, name) in WEBHOOKS {
        if host.get(kind, None, name)?.is_some() {
            found.push(format!("{name} is registered"));
        }
    }
    Ok((!found.is_empty()).then(|| found.join("; ")))
}

impl Step for RepairStep {
    fn id(&self) -> &str {
        self.id
    }

    fn title(&self) -> String {
        self.title.to_owned()
    }

    fn probe(&self, host: &dyn Host) -> Result<Probe> {
        Ok(match (self.todo)(host)? {
            Undo::Done => Probe::satisfied("nothing of it is there"),
            Undo::Acts(_) => Probe::differs(json!({}), "it is there"),
            Undo::Pending(why) | Undo::Keep(why) | Undo::Theirs(why) => Probe::pending(why),
        })
    }

    fn apply(&self, host: &dyn Host, _: &Probe) -> Result<Vec<Act>> {
        Ok(if let Undo::Acts(acts) = (self.todo)(host)? { acts } else { Vec::new() })
    }

    fn memo(&self, _: &dyn Host, _: &Probe) -> Result<Memo> {
        Ok(Memo::default())
    }

    fn undo(&self, host: &dyn Host, _: &Memory) -> Result<Undo> {
        (self.todo)(host)
    }

    fn deadline(&self) -> Duration {
        WITHIN
    }

    fn watches(&self) -> Vec<Watch> {
        vec![
            Watch::Objects(&kube::POD, Some(NAMESPACE.to_owned())),
            Watch::Objects(&kube::NAMESPACE, None),
            Watch::Objects(&kube::CUSTOM_RESOURCE_DEFINITION, None),
            // A look at the namespace asks for objects of every kind there is.
            Watch::Pause(Duration::from_millis(if self.id == "repair.namespace" { 2000 } else { 500 })),
        ]
    }

    fn scope(&self) -> Scope {
        Scope::Data
    }
}

pub(crate) fn remove(kind: &'static Kind, object: &Value) -> Act {
    let namespace = object["metadata"]["namespace"].as_str().map(str::to_owned);
    Act::Delete { kind, namespace, name: state::name(object).to_owned() }
}

pub(crate) fn remove_finalizers(kind: &'static Kind, object: &Value) -> Act {
    let namespace = object["metadata"]["namespace"].as_str().map(str::to_owned);
    Act::Patch { kind, namespace, name: state::name(object).to_owned(), patch: json!({"metadata": {"finalizers": []}}) }
}

/// Deletes what is there, and waits for what is going.
fn all_gone(found: Vec<(&'static Kind, Value)>) -> Undo {
    let (going, there): (Vec<_>, Vec<_>) = found.into_iter().partition(|(_, o)| state::going(o));
    if !there.is_empty() {
        return Undo::Acts(there.iter().map(|(kind, object)| remove(kind, object)).collect());
    }
    going
        .first()
        .map_or(Undo::Done, |(kind, o)| Undo::Pending(format!("{} {} is being deleted", kind.kind, state::name(o))))
}

fn webhooks(host: &dyn Host) -> Result<Undo> {
    let mut found = Vec::new();
    for (kind, name) in WEBHOOKS {
        found.extend(host.get(kind, None, name)?.map(|o| (kind, o)));
    }
    Ok(all_gone(found))
}

/// StatefulSets and pods first, since they hold the claims; a claim that has a pod waits for it.
fn consumers(host: &dyn Host) -> Result<Undo> {
    let volumes = volumes(host)?;
    let is_its = |namespace: &Value, claim: &Value| {
        volumes
            .iter()
            .any(|v| v["spec"]["claimRef"]["namespace"] == *namespace && v["spec"]["claimRef"]["name"] == *claim)
    };
    let uses = |pod: &Value| {
        let volumes = pod["spec"]["volumes"].as_array();
        volumes
            .into_iter()
            .flatten()
            .any(|v| is_its(&pod["metadata"]["namespace"], &v["persistentVolumeClaim"]["claimName"]))
    };
    let pods: Vec<Value> = host.list(&kube::POD, None, "")?.into_iter().filter(uses).collect();
    let mut found = Vec::new();
    for set in host.list(&kube::STATEFUL_SET, None, "")? {
        let owns = |pod: &Value| {
            let owners = pod["metadata"]["ownerReferences"].as_array();
            pod["metadata"]["namespace"] == set["metadata"]["namespace"]
                && owners
                    .into_iter()
                    .flatten()
                    .any(|o| o["kind"] == "StatefulSet" && o["name"] == set["metadata"]["name"])
        };
        if pods.iter().any(owns) {
            found.push((&kube::STATEFUL_SET, set));
        }
    }
    if let Undo::Acts(acts) = all_gone(found) {
        return Ok(Undo::Acts(acts));
    }
    let claims = host.list(&kube::PERSISTENT_VOLUME_CLAIM, None, "")?;
    let claims = claims.into_iter().filter(|c| is_its(&c["metadata"]["namespace"], &c["metadata"]["name"]));
    let claims: Vec<(&'static Kind, Value)> = claims.map(|c| (&kube::PERSISTENT_VOLUME_CLAIM, c)).collect();
    let mut found: Vec<(&'static Kind, Value)> = pods.into_iter().map(|p| (&kube::POD, p)).collect();
    // A pod whose volume cannot be unmounted never ends without help.
    let stuck: Vec<Act> = found.iter().filter(|(_, pod)| is_stuck(host, pod)).map(|(_, pod)| by_force(pod)).collect();
    if !stuck.is_empty() {
        return Ok(Undo::Acts(stuck));
    }
    found.extend(claims);
    Ok(all_gone(found))
}

/// They would make anew what is taken away.
fn programs(host: &dyn Host) -> Result<Undo> {
    let mut found = Vec::new();
    for kind in [&kube::DAEMON_SET, &kube::DEPLOYMENT, &kube::JOB] {
        found.extend(host.list(kind, Some(NAMESPACE), "")?.into_iter().map(|o| (kind, o)));
    }
    if let Undo::Acts(acts) = all_gone(found) {
        return Ok(Undo::Acts(acts));
    }
    let pods = host.list(&kube::POD, Some(NAMESPACE), "")?;
    let stuck: Vec<Act> = pods.iter().filter(|pod| is_stuck(host, pod)).map(by_force).collect();
    if !stuck.is_empty() {
        return Ok(Undo::Acts(stuck));
    }
    Ok(all_gone(pods.into_iter().map(|p| (&kube::POD, p)).collect()))
}

/// From 1.3 to 1.9 the manager also translated between two API versions: without it some kinds cannot even be read.
fn conversion(host: &dyn Host) -> Result<Undo> {
    let all = definitions(host)?;
    let translated = all.iter().filter(|d| d["spec"]["conversion"]["strategy"] == "Webhook");
    let acts: Vec<Act> = translated
        .map(|definition| Act::Patch {
            kind: &kube::CUSTOM_RESOURCE_DEFINITION,
            namespace: None,
            name: state::name(definition).to_owned(),
            patch: json!({"spec": {"conversion": {"strategy": "None", "webhook": null}}}),
        })
        .collect();
    Ok(if acts.is_empty() { Undo::Done } else { Undo::Acts(acts) })
}

fn objects(host: &dyn Host) -> Result<Undo> {
    let mut acts = Vec::new();
    for kind in definitions(host)?.iter().filter_map(served) {
        for object in host.list(kind, Some(NAMESPACE), "")? {
            if object["metadata"]["finalizers"].as_array().is_some_and(|f| !f.is_empty()) {
                acts.push(remove_finalizers(kind, &object));
            }
            if !state::going(&object) {
                acts.push(remove(kind, &object));
            }
        }
    }
    Ok(if acts.is_empty() { Undo::Done } else { Undo::Acts(acts) })
}

fn kinds(host: &dyn Host) -> Result<Undo> {
    Ok(all_gone(definitions(host)?.into_iter().map(|d| (&kube::CUSTOM_RESOURCE_DEFINITION, d)).collect()))
}

/// The driver that would detach and delete them is gone.
fn volumes_of_cluster(host: &dyn Host) -> Result<Undo> {
    let attachments = host.list(&kube::VOLUME_ATTACHMENT, None, "")?;
    let attachments = attachments.into_iter().filter(|a| a["spec"]["attacher"] == DRIVER);
    let mut found: Vec<(&'static Kind, Value)> = attachments.map(|a| (&kube::VOLUME_ATTACHMENT, a)).collect();
    found.extend(volumes(host)?.into_iter().map(|v| (&kube::PERSISTENT_VOLUME, v)));
    let acts = found.iter().flat_map(|(kind, object)| {
        let held = object["metadata"]["finalizers"].as_array().is_some_and(|f| !f.is_empty());
        let gone = (!state::going(object)).then(|| remove(kind, object));
        gone.into_iter().chain(held.then(|| remove_finalizers(kind, object)))
    });
    let acts: Vec<Act> = acts.collect();
    Ok(if acts.is_empty() { Undo::Done } else { Undo::Acts(acts) })
}

/// Names of what its manifests and its uninstall bring for the whole cluster.
const NAMES: &[(&Kind, Option<&str>, &str)] = &[
    (&kube::PRIORITY_CLASS, None, "longhorn-critical"),
    (&kube::CLUSTER_ROLE_BINDING, None, "longhorn-bind"),
    (&kube::CLUSTER_ROLE_BINDING, None, "longhorn-support-bundle"),
    (&kube::CLUSTER_ROLE_BINDING, None, "longhorn-uninstall-bind"),
    (&kube::CLUSTER_ROLE, None, "longhorn-role"),
    (&kube::CLUSTER_ROLE, None, "longhorn-uninstall-role"),
    (&kube::POD_SECURITY_POLICY, None, "longhorn-psp"),
    (&kube::POD_SECURITY_POLICY, None, "longhorn-uninstall-psp"),
    (&kube::JOB, Some("default"), "longhorn-uninstall"),
    (&kube::SERVICE_ACCOUNT, Some("default"), "longhorn-uninstall-service-account"),
];

fn leftovers(host: &dyn Host) -> Result<Undo> {
    let mut found = Vec::new();
    let made = MADE.iter().map(|(kind, name)| (*kind, None, *name));
    for (kind, namespace, name) in made.chain(NAMES.iter().copied()) {
        found.extend(host.get(kind, namespace, name)?.map(|o| (kind, o)));
    }
    Ok(all_gone(found))
}

fn on_host(host: &dyn Host) -> Result<Undo> {
    let mut acts = before::sessions(host)?;
    for trace in ["plugins/driver.longhorn.io", "plugins_registry/driver.longhorn.io-reg.sock"] {
        let path = Path::new(KUBELET).join(trace);
        if host.exists(&path) {
            acts.push(Act::Remove { path, all: true });
        }
    }
    Ok(if acts.is_empty() { Undo::Done } else { Undo::Acts(acts) })
}

fn verified(host: &dyn Host) -> Result<Undo> {
    match diagnose(host)? {
        None => Ok(Undo::Done),
        Some(left) => Err(Error::new(ExitCode::Residue, "something of Longhorn is still there")
            .because(left)
            .hint("run the same command again; `microk8s kubectl get all,crd -A | grep longhorn` shows what is left")),
    }
}
