//! The snap `microk8s`, by snapd's own changes.

use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};

use super::baseline;
use crate::{
    bundle::{Bundle, Sideload},
    config::{
        spec::Spec,
        version::{Channel, Minor},
    },
    engine::step::{Act, Memo, Memory, Probe, SNAP, Scope, Step, Undo},
    error::Result,
    host::{Host, SnapdChange, microk8s},
    stack::{
        data::{Known, List},
        image,
        microk8s::state::Doing,
    },
};

/// What snapd does, while it removes the snap.
pub(crate) fn being_removed(host: &dyn Host) -> Result<Option<String>> {
    Ok(Doing::now(host)?.filter(|doing| doing.removes).map(|doing| doing.why))
}

/// What snapd does with it, whoever asked for that.
pub(crate) fn busy(host: &dyn Host) -> Result<Option<String>> {
    Ok(Doing::now(host)?.map(|doing| doing.why))
}

/// What a shell says of a command that is not there.
const COMMAND_MISSING: [&str; 3] = ["command not found", "required file not found", "exit status 127"];

/// The base snap of each version, from this one on (`base:` in MicroK8s' snapcraft.yaml).
const BASES: [(Minor, &str); 4] =
    [(Minor(1, 20), "core"), (Minor(1, 21), "core18"), (Minor(1, 27), "core20"), (Minor(1, 34), "core22")];

/// How to go on with the MicroK8s that is there, and nothing of it lost.
fn keep_channel(tracking: &str, ours: bool) -> String {
    let Ok(channel) = tracking.parse::<Channel>() else {
        return format!(
            "channel {tracking} has no version that could be kept: move it to one that has, see `snap info microk8s`"
        );
    };
    let newer =
        if ours { "; MicroK8s cannot go back to an older version, and can be refreshed to a newer one" } else { "" };
    format!("use what is there: --channel {channel}{newer}")
}

/// The snap in its channel.
pub(crate) struct Snap {
    channel: Channel,
    known: Known,
    deadline: Duration,
    removal: Duration,
    bundle: Option<Arc<Bundle>>,
}

impl Snap {
    pub(crate) fn new(spec: &Spec, known: &Known) -> Self {
        Self {
            channel: spec.channel.clone(),
            known: known.clone(),
            deadline: spec.timeouts.install.into(),
            removal: spec.timeouts.remove.into(),
            bundle: None,
        }
    }

    /// The same, where it comes from a bundle.
    pub(crate) fn from(self, bundle: Option<&Arc<Bundle>>) -> Self {
        Self { bundle: bundle.cloned(), ..self }
    }

    /// What to do about another channel: a snap of ours moves on to the next minor, and no further at a time, as MicroK8s asks for.
    fn other_channel(&self, host: &dyn Host, tracking: &str, now: Option<Channel>) -> Probe {
        let ours = host.exists(&super::baseline::file());
        let newer = now.filter(|now| ours && now.minor < self.channel.minor);
        let why = format!("MicroK8s is installed from channel {tracking}, not {}", self.channel);
        match newer {
            Some(now) if self.channel.follows(&now) => Probe::differs(json!({"channel": now}), why),
            Some(now) => Probe::Refused {
                why,
                hint: format!(
                    "MicroK8s is refreshed one minor at a time: first --channel {}, then the next one",
                    now.next().minor
                ),
            },
            // The data of what is there must not be the price: snapd could only remove it with all that is in it.
            None => Probe::Refused { why, hint: keep_channel(tracking, ours) },
        }
    }

    /// The base that MicroK8s runs on, when its last installation failed for want of a basic command, which is the base's: a refresh of
    /// that is what helps. (Seen with core20 and core22 whose mount had gone stale.)
    fn broken_base(&self, host: &dyn Host) -> Result<Option<&'static str>> {
        let changes = host.snapd_get("/v2/changes?select=ready&for=microk8s")?.unwrap_or_default();
        let number = |change: &&Value| change["id"].as_str().and_then(|id| id.parse::<u64>().ok());
        let last = changes.as_array().into_iter().flatten().filter(|c| c["kind"] == "install-snap").max_by_key(number);
        let Some(failed) = last.filter(|change| change["status"] == "Error") else { return Ok(None) };
        let logs = failed["tasks"].as_array().into_iter().flatten().filter_map(|t| t["log"].as_array()).flatten();
        let lacks = |line: &Value| {
            line.as_str().is_some_and(|l| l.contains("hook") && COMMAND_MISSING.iter().any(|m| l.contains(m)))
        };
        let base = BASES.iter().rev().find(|(from, _)| self.channel.minor >= *from).map_or("core22", |(_, base)| base);
        let broken = logs.into_iter().any(lacks) || failed["err"].as_str().is_some_and(|e| lacks(&json!(e)));
        // One from a file (its revisions have an x) has no store to be refreshed from.
        let from_store = |snap: &Value| snap["revision"].as_str().is_some_and(|revision| !revision.starts_with('x'));
        let found = if broken { host.snapd_get(&format!("/v2/snaps/{base}"))? } else { None };
        Ok(found.is_some_and(|snap| from_store(&snap)).then_some(base))
    }

    /// Whether snapd knows that what our newest run installed was removed, and another one installed.
    fn was_replaced(host: &dyn Host, since: u64) -> Result<bool> {
        let changes = host.snapd_get("/v2/changes?select=ready&for=microk8s")?.unwrap_or_default();
        let mut done: Vec<(u64, &str)> = changes
            .as_array()
            .into_iter()
            .flatten()
            .filter(|change| change["status"] == "Done" && image::is_since(&change["ready-time"], since))
            .filter_map(|change| Some((change["id"].as_str()?.parse().ok()?, change["kind"].as_str()?)))
            .collect();
        done.sort_unstable();
        let after = |kind: &str, rest: &[(u64, &str)]| rest.iter().position(|(_, k)| *k == kind).map(|at| at + 1);
        let removed = after("install-snap", &done)
            .and_then(|installed| Some(installed + after("remove-snap", &done[installed..])?));
        Ok(removed.is_some_and(|removed| after("install-snap", &done[removed..]).is_some()))
    }

    /// Whether it is our own installation from the bundle, which does not follow its channel yet.
    fn is_unfollowed(&self, host: &dyn Host, snap: &Value) -> bool {
        let held = self.bundle.as_ref().and_then(|bundle| bundle.manifest.snaps.first());
        held.is_some_and(|held| snap["revision"].as_str() == Some(&*held.revision.to_string()))
            && snap["tracking-channel"].as_str().unwrap_or_default().is_empty()
            && host.exists(&baseline::file())
    }

    /// Lets snapd follow the channel, from which a network brings refreshes one day.
    fn follow(&self) -> Act {
        Self::change(
            json!({"action": "switch", "channel": self.channel}),
            &format!("snap switch --channel={} microk8s", self.channel),
        )
    }

    /// The snaps of a bundle: what MicroK8s stands on comes first, where it is not there.
    fn sideload(&self, host: &dyn Host, bundle: &Arc<Bundle>) -> Result<Vec<Act>> {
        let is_there = |name: &str| Ok(host.snapd_get(&format!("/v2/snaps/{name}"))?.is_some());
        let mut acts = Vec::new();
        for snap in bundle.manifest.snaps.iter().rev() {
            let needed = match snap.name.as_str() {
                "microk8s" => true,
                // snapd is in `core`, too.
                "snapd" => !is_there("snapd")? && !is_there("core")?,
                base => !is_there(base)?,
            };
            if needed {
                acts.push(Act::Sideload(Box::new(Sideload { bundle: Arc::clone(bundle), snap: snap.clone() })));
            }
        }
        // Bases before what stands on them, and snapd before all.
        acts.sort_by_key(|act| !matches!(act, Act::Sideload(held) if held.snap.name == "snapd"));
        acts.push(self.follow());
        Ok(acts)
    }

    fn enable() -> Act {
        Self::change(json!({"action": "enable"}), "snap enable microk8s")
    }

    pub(super) fn change(body: Value, shown: &str) -> Act {
        Act::Snapd(SnapdChange { method: "POST", path: microk8s::SNAP.to_owned(), body, shown: shown.to_owned() })
    }
}

fn abort(doing: &Doing) -> Act {
    Act::Snapd(SnapdChange {
        method: "POST",
        path: format!("/v2/changes/{}", doing.id),
        body: json!({"action": "abort"}),
        shown: format!("snap abort {}", doing.id),
    })
}

impl Step for Snap {
    fn id(&self) -> &'static str {
        SNAP
    }

    fn recipe(&self) -> Value {
        let (install, remove) = (self.deadline.as_secs(), self.removal.as_secs());
        json!({"channel": self.channel, "timeouts": {"install": install, "remove": remove}})
    }

    fn title(&self) -> String {
        format!("MicroK8s {}", self.channel)
    }

    fn probe(&self, host: &dyn Host) -> Result<Probe> {
        if let Some(Doing { why, progress, .. }) = Doing::now(host)? {
            return Ok(Probe::Pending { why, progress });
        }
        let Some(snap) = host.snapd_get(microk8s::SNAP)? else { return Ok(Probe::Absent) };
        let version = snap["version"].as_str().unwrap_or("?");
        let tracking = snap["tracking-channel"].as_str().unwrap_or("");
        // A snap from a file tracks nothing; what counts then is that it is there.
        let now = tracking.parse::<Channel>();
        if !tracking.is_empty() && now.as_ref().ok() != Some(&self.channel) {
            return Ok(self.other_channel(host, tracking, now.ok()));
        }
        if snap["status"] != "active" {
            return Ok(Probe::differs(json!({"enabled": false}), "the snap is disabled"));
        }
        if self.is_unfollowed(host, &snap) {
            return Ok(Probe::differs(json!({"follows": tracking}), "it follows no channel yet"));
        }
        Ok(Probe::satisfied(format!("{version}, revision {}", snap["revision"].as_str().unwrap_or("?"))))
    }

    fn apply(&self, host: &dyn Host, found: &Probe) -> Result<Vec<Act>> {
        match (found, &self.bundle) {
            (Probe::Differs { now, .. }, Some(_)) if now["follows"].is_string() => return Ok(vec![self.follow()]),
            (Probe::Differs { now, .. }, Some(_)) if !now["channel"].is_string() => {}
            (_, Some(bundle)) => return self.sideload(host, bundle),
            (_, None) => {}
        }
        let channel = self.channel.to_string();
        let base = if *found == Probe::Absent { self.broken_base(host)? } else { None };
        let first = base.map(|base| {
            Act::Snapd(SnapdChange {
                method: "POST",
                path: format!("/v2/snaps/{base}"),
                body: json!({"action": "refresh"}),
                shown: format!("snap refresh {base}"),
            })
        });
        let then = match found {
            Probe::Differs { now, .. } if now["channel"].is_string() => Self::change(
                json!({"action": "refresh", "channel": channel}),
                &format!("snap refresh microk8s --channel={channel}"),
            ),
            Probe::Differs { .. } => Self::enable(),
            _ => Self::change(
                json!({"action": "install", "channel": channel, "classic": true}),
                &format!("snap install microk8s --classic --channel={channel}"),
            ),
        };
        Ok(first.into_iter().chain([then]).collect())
    }

    fn memo(&self, _: &dyn Host, found: &Probe) -> Result<Memo> {
        let prior = if let Probe::Differs { now, .. } = found { now.clone() } else { Value::Null };
        Ok(Memo { prior, want: json!({"channel": self.channel}) })
    }

    fn undo(&self, host: &dyn Host, memory: &Memory) -> Result<Undo> {
        if let Some(doing) = Doing::now(host)? {
            // An installation that an interrupted run of ours began would be finished only to be removed.
            if doing.installs && memory.open && memory.prior.is_null() {
                return Ok(Undo::Acts(vec![abort(&doing)]));
            }
            return Ok(Undo::Pending(doing.why));
        }
        let Some(snap) = host.snapd_get(microk8s::SNAP)? else { return Ok(Undo::Done) };
        // An installation that was broken off is told from others by what snapd did since: which one it is was not written down yet.
        if memory.open && memory.microk8s.is_none() && Self::was_replaced(host, memory.at)? {
            return Ok(Undo::Theirs(
                "somebody removed and installed it while ours was not complete; `snap remove --purge microk8s` removes it".to_owned(),
            ));
        }
        if memory.prior["enabled"] == false {
            let disable = Self::change(json!({"action": "disable"}), "snap disable microk8s");
            let act = if snap["status"] == "active" { Some(disable) } else { baseline::end_services(host)? };
            return Ok(act.map_or(Undo::Done, |act| Undo::Acts(vec![act])));
        }
        let tracking = snap["tracking-channel"].as_str().unwrap_or("");
        let is_ours = |want: &Value| {
            let ours = serde_json::from_value::<Channel>(want["channel"].clone());
            matches!((ours, tracking.parse::<Channel>()), (Ok(ours), Ok(now)) if ours == now)
        };
        if !memory.open && !tracking.is_empty() && !memory.wants.iter().any(is_ours) {
            return Ok(Undo::Keep(format!(
                "somebody moved it to channel {tracking} since; remove it with `snap remove --purge microk8s`"
            )));
        }
        // What cannot be asked here was refused before, or agreed to: the engine asks again before it removes the snap.
        let theirs = List::read(host, &self.known).map(|list| list.of_others()).unwrap_or_default();
        if !theirs.is_empty() {
            return Ok(Undo::Keep(format!(
                "somebody else has something in it, which would go with it: {}; `snap remove --purge microk8s` removes it with all of that",
                theirs.join("; ")
            )));
        }
        // snapd runs no hook of a disabled snap, and its data would stay: `device or resource busy`.
        if snap["status"] != "active" {
            return Ok(Undo::Acts(vec![Self::enable()]));
        }
        // Without `purge` snapd would first pack all of its data into a snapshot.
        let remove = Self::change(json!({"action": "remove", "purge": true}), "snap remove --purge microk8s");
        Ok(Undo::Acts(vec![remove]))
    }

    fn deadline(&self) -> Duration {
        self.deadline.max(self.removal)
    }

    fn scope(&self) -> Scope {
        Scope::Host
    }

    fn opens(&self) -> bool {
        true
    }
}
