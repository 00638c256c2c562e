//! MicroK8s' addons, one per call, judged by what they should bring and never by MicroK8s' own "enabled", which only means that
//! some object exists. Whether what they brought works is a check of its own, so that the next addon does not wait for the pods of the last.
//!
//! An addon that is partially installed is completed and never disabled: with the registry its images would go.

use std::{path::Path, time::Duration};

use serde_json::{Value, json};

use super::addon_objects::{KUBELET, brings, missing_object};
use crate::{
    config::{
        spec::Spec,
        version::{Channel, Row},
    },
    engine::{
        check::{Check, Question},
        step::{Act, Memo, Memory, Probe, SNAP, Scope, Step, Undo},
    },
    error::Result,
    host::{Cmd, Host, Watch},
    kube::{self, state},
    stack::{
        addon::{Brings, is_workload, judge, look, outlives, status, take_away},
        data::{self, Known},
        iris::names as iris,
        microk8s::state as microk8s,
    },
};

/// Where MicroK8s 1.27 and later keep the launch configuration that they still have to apply (they enable dns by themselves).
const LAUNCHER: &str = "/var/snap/microk8s/common/etc/launcher";

/// Whether pods are told of the name service.
fn pods_are_told(host: &dyn Host) -> Result<bool> {
    let arguments = host.read(Path::new(KUBELET))?.unwrap_or_default();
    Ok(String::from_utf8_lossy(&arguments).lines().any(|l| l.trim().starts_with("--cluster-dns")))
}

/// What IRIS itself needs, in the order in which one needs the other.
const BASICS: &[&str] = &["dns", "hostpath-storage"];

/// The registry is no part of it. It would enable storage as a side effect of its own: by then that is there.
const REGISTRY: &str = "registry";

fn wanted<'a>(spec: &'a Spec, of: &'a [&'a str]) -> impl Iterator<Item = &'a str> {
    of.iter().copied().filter(|name| spec.addons.iter().any(|addon| addon == name))
}

/// The addons without which no pod of IRIS starts.
pub(crate) fn basics(spec: &Spec) -> Vec<Box<dyn Step>> {
    steps(spec, wanted(spec, BASICS))
}

/// The registry. Its command takes seconds, MetalLB's does not end before its pods run.
pub(crate) fn registry(spec: &Spec) -> Vec<Box<dyn Step>> {
    steps(spec, wanted(spec, &[REGISTRY]))
}

/// All others.
pub(crate) fn others(spec: &Spec) -> Vec<Box<dyn Step>> {
    let others = |name: &&str| !BASICS.contains(name) && *name != REGISTRY;
    steps(spec, spec.addons.iter().map(String::as_str).filter(others))
}

/// Whether the basics work.
pub(crate) fn basics_work(spec: &Spec) -> Vec<Box<dyn Step>> {
    wanted(spec, BASICS).filter_map(|name| works(spec, name)).collect()
}

/// Whether the registry works.
pub(crate) fn registry_works(spec: &Spec) -> Vec<Box<dyn Step>> {
    wanted(spec, &[REGISTRY]).filter_map(|name| works(spec, name)).collect()
}

/// Whether what an addon brought works.
fn works(spec: &Spec, name: &str) -> Option<Box<dyn Step>> {
    let brings = brings(name)?;
    let id = match name {
        "dns" => "works.dns",
        "hostpath-storage" => "works.hostpath-storage",
        _ => "works.registry",
    };
    let question: Question = Box::new(move |host| {
        Ok(match judge(host, brings)? {
            Probe::Absent | Probe::Differs { .. } => Probe::pending("its objects are not there yet"),
            found => found,
        })
    });
    let title = format!("{name} works");
    Some(Box::new(Check { id, title, question, deadline: spec.timeouts.addon.into(), watches: watches(brings) }))
}

fn watches(brings: &[Brings]) -> Vec<Watch> {
    let mut watches: Vec<Watch> = Vec::new();
    for (kind, namespace, _) in brings {
        let namespace = namespace.map(str::to_owned);
        watches.push(Watch::Objects(kind, namespace.clone()));
        watches.push(Watch::Objects(&kube::POD, namespace));
    }
    watches.dedup();
    watches.push(Watch::Pause(Duration::from_secs(1)));
    watches
}

fn steps<'a>(spec: &Spec, names: impl Iterator<Item = &'a str>) -> Vec<Box<dyn Step>> {
    let known = Known::wanted(spec);
    names.map(|name| one(spec, name, &known)).collect()
}

/// An addon by its name.
pub(crate) fn one(spec: &Spec, name: &str, known: &Known) -> Box<dyn Step> {
    Box::new(Addon::new(spec, name, known))
}

/// One addon.
pub(crate) struct Addon {
    id: String,
    channel: Channel,
    /// As this version of MicroK8s calls it.
    called: String,
    brings: Option<&'static [Brings]>,
    row: &'static Row,
    known: Known,
    deadline: Duration,
}

impl Addon {
    fn new(spec: &Spec, name: &str, known: &Known) -> Self {
        let row = spec.channel.row();
        let called = if name == "hostpath-storage" { row.storage_addon } else { name };
        let id = format!("addon.{name}");
        Self {
            id,
            channel: spec.channel.clone(),
            called: called.to_owned(),
            brings: brings(name),
            row,
            known: known.clone(),
            deadline: spec.timeouts.addon.into(),
        }
    }

    /// Today's name of it.
    fn name(&self) -> &str {
        self.id.strip_prefix("addon.").unwrap_or(&self.id)
    }

    /// What it should bring and is not there.
    fn missing(&self, host: &dyn Host) -> Result<Vec<&'static Brings>> {
        let mut missing = Vec::new();
        for object in self.brings.unwrap_or_default() {
            let (kind, namespace, name) = object;
            if host.get(kind, *namespace, name)?.is_none() {
                missing.push(object);
            }
        }
        Ok(missing)
    }

    /// A pod of a workload that is gone: as long as it is there, MicroK8s takes the addon for enabled.
    fn outlives(&self, host: &dyn Host) -> Result<Option<String>> {
        for (_, namespace, name) in self.missing(host)?.into_iter().filter(|brings| is_workload(brings)) {
            if let Some(pod) = outlives(host, *namespace, name)? {
                return Ok(Some(pod));
            }
        }
        Ok(None)
    }

    /// The name service, and no pod would be told of it.
    fn is_untold(&self, host: &dyn Host) -> Result<bool> {
        Ok(self.called == "dns" && !pods_are_told(host)?)
    }

    fn run(&self, verb: &str) -> Act {
        Act::Run(Cmd::changes(self.deadline, ["microk8s", verb, &self.called]))
    }
}

/// What a probe says is missing.
const NO_CLUSTER_DNS: &str = "--cluster-dns";

impl Step for Addon {
    fn id(&self) -> &str {
        &self.id
    }

    fn recipe(&self) -> Value {
        json!({"channel": self.channel, "timeouts": {"addon": self.deadline.as_secs()}})
    }

    fn title(&self) -> String {
        format!("addon {}", self.called)
    }

    fn probe(&self, host: &dyn Host) -> Result<Probe> {
        let found = match self.brings {
            Some(brings) => match look(host, brings, false)? {
                Probe::Satisfied { .. } | Probe::Pending { .. } if self.is_untold(host)? => Probe::differs(
                    json!({"missing": NO_CLUSTER_DNS}),
                    "partially installed: kubelet does not tell pods of it",
                ),
                Probe::Differs { now, why } => match self.outlives(host)? {
                    Some(pod) => Probe::pending(format!("{why}; {pod}")),
                    None => Probe::Differs { now, why },
                },
                found => found,
            },
            None if status(host, &self.called)? => Probe::satisfied("enabled, as MicroK8s says"),
            None => Probe::Absent,
        };
        // Half an addon too: MicroK8s makes one object after the other.
        let unfinished = matches!(found, Probe::Absent | Probe::Differs { .. });
        if unfinished && self.called == "dns" && self.row.enables_dns {
            let names = host.names(Path::new(LAUNCHER));
            if names.iter().any(|n| Path::new(n).extension().is_some_and(|e| e == "yaml")) {
                return Ok(Probe::pending("MicroK8s enables it automatically after its installation"));
            }
        }
        Ok(found)
    }

    fn apply(&self, host: &dyn Host, found: &Probe) -> Result<Vec<Act>> {
        let enable = self.run("enable");
        let Probe::Differs { now, .. } = found else { return Ok(vec![enable]) };
        // The name service holds nothing, and only an `enable` that does all of its work tells kubelet.
        if now["missing"] == NO_CLUSTER_DNS {
            return Ok(vec![self.run("disable"), enable]);
        }
        let missing = self.missing(host)?;
        if missing.iter().any(|brings| is_workload(brings)) {
            return Ok(vec![enable]);
        }
        // MicroK8s takes an addon with its workload for an enabled one, and would do nothing.
        let objects = missing.into_iter().map(|brings| missing_object(host, self.row, brings));
        let objects: Vec<Option<Value>> = objects.collect::<Result<_>>()?;
        Ok(objects.into_iter().flatten().map(|object| Act::Apply(Box::new(object))).collect())
    }

    /// An `enable` that died leaves a name service that no pod is told of, and only the whole command tells.
    fn follows(&self, host: &dyn Host, _: &Probe) -> Result<Vec<Act>> {
        let may_be_half = self.called == "dns" && host.snapd_get(microk8s::SNAP)?.is_some();
        Ok(if may_be_half { vec![self.run("disable"), self.run("enable")] } else { Vec::new() })
    }

    fn memo(&self, _: &dyn Host, found: &Probe) -> Result<Memo> {
        let prior = if let Probe::Differs { now, .. } = found { now.clone() } else { Value::Null };
        Ok(Memo { prior, want: json!({"enabled": true}) })
    }

    fn undo(&self, host: &dyn Host, memory: &Memory) -> Result<Undo> {
        if !memory.prior.is_null() {
            return Ok(Undo::Theirs("it was there before, half; it was repaired and stays".to_owned()));
        }
        let gone = match self.brings {
            Some(brings) => {
                let mut there = Vec::new();
                for (kind, namespace, name) in brings {
                    there.extend(host.get(kind, *namespace, name)?);
                }
                // One that goes may wait for another that does not: a claim for the pod that uses it.
                match there.first() {
                    Some(first) if there.iter().all(state::going) => {
                        return Ok(Undo::Pending(format!("{} is being deleted", kube::describe(first))));
                    }
                    Some(_) => false,
                    // An interrupted `disable` may have left kubelet telling pods of what is gone.
                    None => self.called != "dns" || !pods_are_told(host)?,
                }
            }
            None => !status(host, &self.called)?,
        };
        if gone && self.name() == "registry" {
            // Its data goes after its claim.
            let (namespace, name) = data::REGISTRY;
            let of_it =
                |v: &Value| v["spec"]["claimRef"]["namespace"] == namespace && v["spec"]["claimRef"]["name"] == name;
            let volumes = host.list(&kube::PERSISTENT_VOLUME, None, "")?;
            if let Some(volume) = volumes.iter().find(|v| of_it(v)) {
                return Ok(Undo::Pending(format!("{} is being deleted", kube::describe(volume))));
            }
        }
        if gone {
            return Ok(Undo::Done);
        }
        if let Some(user) = data::needed(host, self.name(), &self.known)? {
            return Ok(Undo::Keep(format!("{user} needs it and belongs to somebody else")));
        }
        Ok(Undo::Acts(take_away(host, &self.called, self.run("enable"), self.run("disable"))?))
    }

    fn deadline(&self) -> Duration {
        self.deadline
    }

    fn watches(&self) -> Vec<Watch> {
        watches(self.brings.unwrap_or_default())
    }

    fn scope(&self) -> Scope {
        Scope::Host
    }

    fn inside(&self) -> Option<&'static str> {
        Some(SNAP)
    }

    fn used_by(&self) -> Option<String> {
        let user = match self.name() {
            "dns" => iris::SET,
            "hostpath-storage" => "iris.claims",
            _ => return None,
        };
        Some(user.to_owned())
    }
}
