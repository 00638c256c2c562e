//! A short name for MicroK8s' kubectl that clashes with nothing. snapd looks only at snaps: a `kubectl` elsewhere on the PATH
//! would silently win over the alias, or lose to it.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::{Value, json};

use crate::{
    config::spec::Spec,
    engine::step::{Act, Memo, Memory, Probe, SNAP, SOON, Scope, Step, Undo},
    error::Result,
    host::{Host, SnapdChange},
    stack::{
        left::Left,
        microk8s::state::{HOME_PATHS, PATHS},
    },
};

const TARGET: &str = "microk8s.kubectl";

/// The step.
pub(crate) struct Alias {
    user: String,
}

impl Alias {
    pub(crate) fn new(spec: &Spec) -> Self {
        Self { user: spec.user.clone() }
    }

    /// Aliases of our target that exist.
    fn existing(host: &dyn Host) -> Result<Vec<String>> {
        let all = host.snapd_get("/v2/aliases")?.unwrap_or_default();
        let ours = all["microk8s"].as_object().cloned().unwrap_or_default();
        Ok(ours
            .into_iter()
            .filter(|(_, a)| a["command"] == TARGET && a["status"] != "disabled")
            .map(|(name, _)| name)
            .collect())
    }

    /// What stands behind a name among all snaps' aliases: `snap.app`.
    fn owner(host: &dyn Host, name: &str) -> Result<Option<String>> {
        let all = host.snapd_get("/v2/aliases")?.unwrap_or_default();
        let of_snap = |aliases: &Value| {
            let alias = &aliases[name];
            (alias.is_object() && alias["status"] != "disabled")
                .then(|| alias["command"].as_str().unwrap_or("?").to_owned())
        };
        Ok(all.as_object().into_iter().flatten().find_map(|(_, aliases)| of_snap(aliases)))
    }

    /// Where another program of that name is; none when the name is free.
    fn taken(&self, host: &dyn Host, name: &str) -> Result<Option<PathBuf>> {
        let home = super::group::home(host, &self.user)?;
        let in_home = home.iter().flat_map(|home| HOME_PATHS.iter().map(move |p| home.join(p)));
        let mut dirs = PATHS.iter().map(PathBuf::from).chain(in_home);
        if let Some(found) = dirs.find_map(|dir| Some(dir.join(name)).filter(|p| host.exists(p))) {
            return Ok(Some(found));
        }
        let link = Path::new("/snap/bin").join(name);
        let foreign = host.exists(&link) && host.link(&link).is_none_or(|to| to != Path::new(TARGET));
        Ok(foreign.then_some(link))
    }

    /// The first free name, and what is in the way of `kubectl`.
    pub(crate) fn choose(&self, host: &dyn Host) -> Result<(String, Option<PathBuf>)> {
        let first = self.taken(host, "kubectl")?;
        if first.is_none() {
            return Ok(("kubectl".to_owned(), None));
        }
        for n in 2..10 {
            let name = format!("kubectl{n}");
            if self.taken(host, &name)?.is_none() {
                return Ok((name, first));
            }
        }
        Ok(("microk8s-kubectl".to_owned(), first))
    }

    fn change(action: &str, alias: &str) -> Act {
        let mut body = json!({"action": action, "alias": alias, "snap": "microk8s"});
        let shown = if action == "alias" {
            body["app"] = json!("kubectl");
            format!("snap alias {TARGET} {alias}")
        } else {
            format!("snap unalias {alias}")
        };
        Act::Snapd(SnapdChange { method: "POST", path: "/v2/aliases".to_owned(), body, shown })
    }
}

/// Short names of the snap's that snapd still knows although the snap is gone.
pub(crate) fn left(host: &dyn Host) -> Result<Vec<Left>> {
    let all = host.snapd_get("/v2/aliases")?.unwrap_or_default();
    let names = all["microk8s"].as_object().into_iter().flatten().map(|(name, _)| name);
    let told =
        |name: &String| Left::ours(format!("alias {name}"), format!("snapd still has it: `snap unalias {name}`"));
    Ok(names.map(told).collect())
}

impl Step for Alias {
    fn id(&self) -> &'static str {
        "alias.kubectl"
    }

    fn recipe(&self) -> Value {
        json!({"user": self.user})
    }

    fn title(&self) -> String {
        "a kubectl command for MicroK8s".to_owned()
    }

    fn probe(&self, host: &dyn Host) -> Result<Probe> {
        let (name, other) = self.choose(host)?;
        let existing = Self::existing(host)?;
        if existing.contains(&name) {
            let why = other.map(|o| format!(" ({} is another kubectl)", o.display())).unwrap_or_default();
            return Ok(Probe::satisfied(format!("{name}{why}")));
        }
        Ok(match existing.first() {
            // Only a name that something else took since is moved; any other one that is free of clashes will do.
            Some(old) if self.taken(host, old)?.is_none() => Probe::satisfied(old.clone()),
            Some(old) => Probe::differs(json!(old), format!("{old} is now also the name of another program")),
            None => Probe::Absent,
        })
    }

    fn apply(&self, host: &dyn Host, found: &Probe) -> Result<Vec<Act>> {
        let (name, _) = self.choose(host)?;
        // The old one goes first: where the new one is there, nothing else is left to do, wherever a run was broken off.
        let old = if let Probe::Differs { now, .. } = found { now.as_str() } else { None };
        let unalias = old.map(|old| Self::change("unalias", old));
        Ok(unalias.into_iter().chain([Self::change("alias", &name)]).collect())
    }

    fn memo(&self, host: &dyn Host, found: &Probe) -> Result<Memo> {
        let prior = if let Probe::Differs { now, .. } = found { now.clone() } else { Value::Null };
        Ok(Memo { prior, want: json!(self.choose(host)?.0) })
    }

    fn undo(&self, host: &dyn Host, memory: &Memory) -> Result<Undo> {
        let existing = Self::existing(host)?;
        // A name that we moved away from is free again, and whoever takes it since has it.
        let wants =
            if memory.open { &memory.wants[..] } else { memory.wants.last().map_or(&[][..], std::slice::from_ref) };
        let ours = existing.iter().filter(|name| wants.contains(&json!(name)));
        let mut acts: Vec<Act> = ours.map(|name| Self::change("unalias", name)).collect();
        if let Some(prior) = memory.prior.as_str().filter(|p| !existing.iter().any(|e| e == p))
            && Self::owner(host, prior)?.is_none()
        {
            acts.push(Self::change("alias", prior));
        }
        if !acts.is_empty() {
            return Ok(Undo::Acts(acts));
        }
        for name in wants.iter().filter_map(Value::as_str) {
            if let Some(other) = Self::owner(host, name)? {
                return Ok(Undo::Theirs(format!("somebody made {name} the short name of {other} since")));
            }
        }
        Ok(Undo::Done)
    }

    fn deadline(&self) -> Duration {
        SOON
    }

    fn scope(&self) -> Scope {
        Scope::Host
    }

    fn inside(&self) -> Option<&'static str> {
        Some(SNAP)
    }
}
