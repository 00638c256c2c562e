//! The way out, in the one order that works: volumes first, then the confirmation, then the uninstall job of the installed version. Each look
//! finds out from the cluster where it stands, so it resumes wherever a run died.

use serde_json::{Value, json};

use super::{Common, REPAIR};
use crate::{
    config::version::LonghornVersion,
    engine::step::{Act, Undo},
    error::{Error, Result},
    host::{Cmd, Host},
    kube::{self, Kind, state},
    stack::{
        image,
        longhorn::{
            content,
            state::{self as longhorn, Installed, NAMESPACE},
            uninstall,
        },
        microk8s::state as microk8s,
    },
};

/// A stopped cluster is started: Longhorn can be taken back only while it runs.
pub(super) fn start(host: &dyn Host) -> Option<Undo> {
    let start = || Undo::Acts(vec![Act::Run(Cmd::changes(microk8s::SWITCH_WITHIN, ["microk8s", "start"]))]);
    microk8s::is_stopped(host).then(start)
}

/// The same, where Longhorn's namespace is gone and objects in it are not: the server lets nobody end them before it is there again.
pub(super) fn reachable(host: &dyn Host, todo: Undo) -> Result<Undo> {
    let in_it = |act: &Act| matches!(act, Act::Delete { namespace: Some(namespace), .. } if namespace == NAMESPACE);
    let waits = match &todo {
        Undo::Acts(acts) => acts.iter().any(in_it),
        Undo::Pending(_) => true,
        Undo::Done | Undo::Keep(_) | Undo::Theirs(_) => false,
    };
    if waits && host.get(&kube::NAMESPACE, None, NAMESPACE)?.is_none() && !content::all(host)?.is_empty() {
        return Ok(Undo::Acts(vec![content::again()]));
    }
    Ok(todo)
}

/// What comes before the objects of the manifest may be deleted; none when nothing more does.
pub(super) fn uninstall(host: &dyn Host, common: &Common) -> Result<Option<Undo>> {
    let Some(found) = Installed::find(host)? else { return Ok(None) };
    let version = found.version().unwrap_or_else(|| common.version());
    let left = longhorn::held(host)?;
    if found.manager.is_none() && left.is_empty() {
        let acts = after(host, version)?;
        return Ok((!acts.is_empty()).then_some(Undo::Acts(acts)));
    }
    match &found.manager {
        Some(_) => {
            if let Some(why) = in_use(host)? {
                return Ok(Some(Undo::Pending(why)));
            }
        }
        // Behind the webhooks is nobody any more: they would refuse every change of what is left.
        None => {
            let mut acts = Vec::new();
            for (kind, name) in longhorn::WEBHOOKS {
                if host.get(kind, None, name)?.is_some_and(|o| !state::going(&o)) {
                    acts.push(Act::Delete { kind, namespace: None, name: name.to_owned() });
                }
            }
            if !acts.is_empty() {
                return Ok(Some(Undo::Acts(acts)));
            }
        }
    }
    match host.get(&kube::JOB, Some(uninstall::namespace(version)), uninstall::JOB)? {
        Some(job) => follow(host, version, &job, &left).map(Some),
        None => begin(host, common, version, &found).map(Some),
    }
}

/// All that a removal may do before Longhorn's own objects can go, for a dry run: most of it is to do only after the volumes are gone.
pub(super) fn foreseen(host: &dyn Host, common: &Common) -> Result<Vec<Act>> {
    let Some(found) = Installed::find(host)? else { return Ok(Vec::new()) };
    let version = found.version().unwrap_or_else(|| common.version());
    let delete = |(kind, namespace, name): (&'static Kind, Option<&str>, &str)| Act::Delete {
        kind,
        namespace: namespace.map(str::to_owned),
        name: name.to_owned(),
    };
    let webhooks = longhorn::WEBHOOKS.iter().map(|(kind, name)| delete((kind, None, name)));
    let mut acts: Vec<Act> = webhooks.collect();
    if version.wants_confirmation()
        && let Some(kind) = longhorn::kind(host, "settings")?
    {
        acts.push(Act::Apply(Box::new(uninstall::confirmation(version))));
        acts.push(confirm(kind, "true"));
    }
    acts.extend(job(host, common, version, &found)?);
    acts.extend(uninstall::leftovers(version).into_iter().map(delete));
    acts.push(content::again());
    Ok(acts)
}

/// Longhorn's own uninstall job, with what it needs.
fn job(host: &dyn Host, common: &Common, version: LonghornVersion, found: &Installed) -> Result<Vec<Act>> {
    let manifest = common.manifest(host)?;
    let image = found.manager.as_ref().and_then(longhorn::image_of);
    let image = image.or_else(|| manifest.as_ref().and_then(|m| m.image()));
    let image = image.map_or_else(|| format!("longhornio/longhorn-manager:{version}"), str::to_owned);
    Ok(uninstall::objects(version, &image).into_iter().map(|object| Act::Apply(Box::new(object))).collect())
}

/// What still uses it. Somebody else's volumes were looked for before: these are ours, and on their way.
fn in_use(host: &dyn Host) -> Result<Option<String>> {
    if let Some(volume) = longhorn::volumes(host)?.first() {
        let claim = volume["spec"]["claimRef"]["name"].as_str().unwrap_or("?");
        return Ok(Some(format!("volume {} of claim {claim} is being deleted", state::name(volume))));
    }
    let attached = host.list(&kube::VOLUME_ATTACHMENT, None, "")?;
    if let Some(attachment) = attached.iter().find(|a| a["spec"]["attacher"] == longhorn::DRIVER) {
        return Ok(Some(format!("attachment {} is being detached", state::name(attachment))));
    }
    let volumes = longhorn::list(host, "volumes")?;
    Ok(volumes.first().map(|volume| format!("Longhorn's volume {} is being deleted", state::name(volume))))
}

/// The confirmation, and the job.
fn begin(host: &dyn Host, common: &Common, version: LonghornVersion, found: &Installed) -> Result<Undo> {
    let manager = found.manager.as_ref();
    if version.wants_confirmation() {
        if state::going(&found.namespace) {
            return Err(Error::failed(format!(
                "the namespace {NAMESPACE} is partially deleted: no uninstall job can be made in it"
            ))
            .hint(REPAIR));
        }
        // Its webhook judges the setting, and lives in the manager.
        if let Some(manager) = manager
            && let Some(trouble) = not_ready(host, manager)?
        {
            return Ok(Undo::Pending(trouble));
        }
        let Some(kind) = longhorn::kind(host, "settings")? else {
            return Err(
                Error::failed("Longhorn's kind `settings` is gone, and other objects of it are left").hint(REPAIR)
            );
        };
        let setting = host.get(kind, Some(NAMESPACE), uninstall::CONFIRMATION)?;
        match setting {
            None => return Ok(Undo::Acts(vec![Act::Apply(Box::new(uninstall::confirmation(version)))])),
            Some(setting) if setting["value"] != "true" => return Ok(Undo::Acts(vec![confirm(kind, "true")])),
            Some(_) => {}
        }
    }
    Ok(Undo::Acts(job(host, common, version, found)?))
}

/// Whether its removal is confirmed.
fn confirm(kind: &'static Kind, value: &str) -> Act {
    let (namespace, name) = (Some(NAMESPACE.to_owned()), uninstall::CONFIRMATION.to_owned());
    Act::Patch { kind, namespace, name, patch: json!({"value": value}) }
}

/// What a removal that was broken off left of itself, before Longhorn is wanted again: whether a job still works, and the acts that take
/// the rest away.
pub(super) fn remnants(host: &dyn Host, version: LonghornVersion) -> Result<(bool, Vec<Act>)> {
    let mut acts = after(host, version)?;
    let job = host.get(&kube::JOB, Some(uninstall::namespace(version)), uninstall::JOB)?;
    let works = job.is_some_and(|job| !state::is(&job, "Failed") && !state::is(&job, "Complete"));
    if let Some(kind) = longhorn::kind(host, "settings")? {
        let setting = host.get(kind, Some(NAMESPACE), uninstall::CONFIRMATION)?;
        if setting.is_some_and(|s| s["value"] == "true") {
            // Its webhook may have to come back first.
            acts.push(confirm(kind, "false"));
        }
    }
    Ok((works, acts))
}

/// Why the manager does not run; none when it does.
fn not_ready(host: &dyn Host, manager: &Value) -> Result<Option<String>> {
    if state::rolled_out(manager) || state::going(manager) {
        return Ok(None);
    }
    let pods = host.list(&kube::POD, Some(NAMESPACE), &state::selector(manager))?;
    let why = pods.iter().find_map(state::pod_trouble).unwrap_or_else(|| "it has no pod".to_owned());
    Ok(Some(format!("Longhorn's manager must run to end its own objects: {why}")))
}

/// A job that is there: it works, it is done, or it failed.
fn follow(host: &dyn Host, version: LonghornVersion, job: &Value, left: &[(&'static Kind, Value)]) -> Result<Undo> {
    if state::going(job) {
        return Ok(Undo::Pending("the uninstall job of before is being deleted".to_owned()));
    }
    let failed = state::is(job, "Failed");
    if !failed && !state::is(job, "Complete") {
        let first = left
            .first()
            .map(|(kind, o)| format!(", {} objects are left, first {} {}", left.len(), kind.kind, state::name(o)));
        return Ok(Undo::Pending(format!("Longhorn's uninstall job works{}", first.unwrap_or_default())));
    }
    // Complete, and objects are there all the same: somebody installed it anew since.
    // One of an earlier run may have failed because that run's machine lost its power: it is tried again, once.
    if failed && image::is_since(&job["metadata"]["creationTimestamp"], image::begun(host)) {
        let why = state::condition(job, "Failed").map(|(_, message)| message.to_owned()).unwrap_or_default();
        let log = log_of(host, version)?;
        return Err(Error::failed("Longhorn's uninstall job failed").because(format!("{why}\n{log}")).hint(REPAIR));
    }
    let (kind, namespace, name) = uninstall::leftovers(version)[0];
    Ok(Undo::Acts(vec![Act::Delete { kind, namespace: namespace.map(str::to_owned), name: name.to_owned() }]))
}

/// The last words of the job's pod.
fn log_of(host: &dyn Host, version: LonghornVersion) -> Result<String> {
    let namespace = uninstall::namespace(version);
    let pods = host.list(&kube::POD, Some(namespace), &format!("job-name={}", uninstall::JOB))?;
    let Some(pod) = pods.last() else { return Ok(String::new()) };
    let path = format!("/api/v1/namespaces/{namespace}/pods/{}/log?tailLines=5", state::name(pod));
    Ok(host.api_text(&path).unwrap_or_default())
}

/// What the job itself leaves.
fn after(host: &dyn Host, version: LonghornVersion) -> Result<Vec<Act>> {
    let mut acts = Vec::new();
    for (kind, namespace, name) in uninstall::leftovers(version) {
        if host.get(kind, namespace, name)?.is_some_and(|o| !state::going(&o)) {
            acts.push(Act::Delete { kind, namespace: namespace.map(str::to_owned), name: name.to_owned() });
        }
    }
    Ok(acts)
}
