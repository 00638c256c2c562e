//! The addon metallb: its workloads, judged by themselves. What MicroK8s takes for enabled, or for disabled, may be half of it.

use std::{sync::Mutex, time::Duration};

use serde_json::{Value, json};

use super::{
    pool::{POOLS, Pool},
    state::{self as metallb, NAMESPACE, Pools, made_by_microk8s, text},
};
use crate::{
    config::{
        lb_range::LbRange,
        spec::Spec,
        version::{Channel, MetallbApi},
    },
    engine::step::{Act, Memo, Memory, Probe, SNAP, Scope, Step, Undo},
    error::Result,
    host::{Cmd, Host, Watch},
    kube::{self, Kind, state},
    stack::{
        addon::{judge, outlives, take_away},
        data::{self, Known},
        microk8s::state as microk8s,
    },
};

/// The steps.
pub(crate) fn all(spec: &Spec, known: &Known) -> Vec<Box<dyn Step>> {
    let (lb, deadline, row) = (spec.lb.clone(), spec.timeouts.addon.into(), spec.channel.row());
    let (api, iris) = (row.metallb, spec.iris.clone());
    vec![
        Box::new(Addon {
            channel: spec.channel.clone(),
            lb: lb.clone(),
            deadline,
            images: row.metallb_images,
            api,
            known: known.clone(),
        }),
        Box::new(Pool { channel: spec.channel.clone(), lb, deadline, api, iris, deaf: Mutex::default() }),
    ]
}

/// The addon.
struct Addon {
    channel: Channel,
    lb: LbRange,
    deadline: Duration,
    /// Where the images are, when those of the addon are gone.
    images: Option<(&'static str, &'static str)>,
    api: MetallbApi,
    known: Known,
}

/// Services of somebody else that have an address of MetalLB, for as long as MicroK8s stays.
pub(crate) fn stays(host: &dyn Host, known: &Known) -> Result<Option<Undo>> {
    let user = data::needed(host, "metallb", known)?;
    Ok(user.map(|user| Undo::Keep(format!("{user} needs it and belongs to somebody else"))))
}

/// The addon's workloads, each with one container of the same name.
const CONTROLLER: (&Kind, &str) = (&kube::DEPLOYMENT, "controller");
const SPEAKER: (&Kind, &str) = (&kube::DAEMON_SET, "speaker");

impl Addon {
    /// The workloads with images that exist.
    fn replaced(&self) -> Vec<Value> {
        let Some((prefix, tag)) = self.images else { return Vec::new() };
        let workload = |(kind, name): (&Kind, &str)| {
            json!({"apiVersion": "apps/v1", "kind": kind.kind, "metadata": {"name": name, "namespace": NAMESPACE},
                "spec": {"template": {"spec": {"containers": [{"name": name, "image": format!("{prefix}/{name}:{tag}")}]}}}})
        };
        vec![workload(CONTROLLER), workload(SPEAKER)]
    }

    /// The workloads that are there and name an image that is gone, with one that exists. One that is not there cannot be made this
    /// way: the rest of it is the addon's.
    fn outdated(&self, host: &dyn Host) -> Result<Vec<Value>> {
        let mut found = Vec::new();
        for want in self.replaced() {
            let kind = if want["kind"] == CONTROLLER.0.kind { CONTROLLER.0 } else { SPEAKER.0 };
            let now = host.get(kind, Some(NAMESPACE), state::name(&want))?;
            if now.is_some_and(|now| !state::differences(&want["spec"], &now["spec"]).is_empty()) {
                found.push(want);
            }
        }
        Ok(found)
    }

    /// Whether what is there is of a MicroK8s before this one: a refresh leaves addons as they are, and this one would not read our pool.
    /// Without the ConfigMap of the old one it is this one, half disabled.
    fn is_legacy_release(&self, host: &dyn Host, kinds: Option<&Value>) -> Result<bool> {
        Ok(self.api == MetallbApi::Crd
            && kinds.is_none()
            && host.get(CONTROLLER.0, Some(NAMESPACE), CONTROLLER.1)?.is_some()
            && text(host)?.is_some())
    }

    /// Pools that go with the namespace, and that nobody would put back.
    fn pools_at_stake(&self, host: &dyn Host) -> Result<Vec<String>> {
        let pools = Pools::read(host, self.api, None)?;
        let is_ours = |pool: &metallb::Pool| {
            pool.name == made_by_microk8s(self.api)
                && LbRange::from_metallb(&pool.addresses).is_ok_and(|lb| lb == self.lb)
        };
        Ok(pools.all.iter().filter(|pool| !is_ours(pool)).map(|pool| pool.name.clone()).collect())
    }

    /// Why half of it is not installed anew, where pools of somebody else's would be lost.
    fn refused_for_pools(&self, host: &dyn Host) -> Result<Option<Probe>> {
        let pools = self.pools_at_stake(host)?;
        if pools.is_empty() {
            return Ok(None);
        }
        Ok(Some(Probe::Refused {
            why: format!(
                "MetalLB is only partially installed, and this MicroK8s installs it anew only without its namespace, which holds the pools \
                 {} of somebody else's",
                pools.join(", ")
            ),
            hint: format!(
                "save them: `microk8s kubectl get configmap config --namespace {NAMESPACE} -o yaml`; remove it: `microk8s kubectl delete \
                 namespace {NAMESPACE}`; run the same command again, then apply them again"
            ),
        }))
    }

    fn enable(&self) -> Act {
        self.enable_with(&self.lb)
    }

    fn enable_with(&self, lb: &LbRange) -> Act {
        Act::Run(Cmd::changes(self.deadline, ["microk8s".to_owned(), "enable".to_owned(), format!("metallb:{lb}")]))
    }

    /// The same where parts of it are there: `enable` writes the pool of its name anew, so it is given what that pool holds.
    fn enable_again(&self, host: &dyn Host) -> Result<Act> {
        let pools = Pools::read(host, self.api, None)?;
        let held = pools.find(made_by_microk8s(self.api)).and_then(|pool| LbRange::from_metallb(&pool.addresses).ok());
        Ok(self.enable_with(held.as_ref().unwrap_or(&self.lb)))
    }

    /// A speaker whose DaemonSet is gone: as long as it is there, MicroK8s takes the addon for enabled, and `enable` does nothing.
    fn outlives(host: &dyn Host) -> Result<Option<String>> {
        if host.get(SPEAKER.0, Some(NAMESPACE), SPEAKER.1)?.is_some() {
            return Ok(None);
        }
        outlives(host, Some(NAMESPACE), SPEAKER.1)
    }

    /// What lets `enable` do its work again. `disable` would take away the pools and what else others told MetalLB.
    fn renew(&self, host: &dyn Host) -> Result<Vec<Act>> {
        let speaker = host.get(SPEAKER.0, Some(NAMESPACE), SPEAKER.1)?;
        Ok(if speaker.is_some() { vec![delete_speaker()] } else { self.again(host)? })
    }

    fn again(&self, host: &dyn Host) -> Result<Vec<Act>> {
        Ok(self.whole(self.enable_again(host)?))
    }

    /// An `enable` with what follows it: workloads with images that exist.
    fn whole(&self, enable: Act) -> Vec<Act> {
        std::iter::once(enable).chain(applied(self.replaced())).collect()
    }

    fn disable(&self) -> Act {
        Act::Run(Cmd::changes(self.deadline, ["microk8s", "disable", "metallb"]))
    }
}

/// All that `disable` does up to 1.24. It does nothing where it sees no speaker, and `enable` does nothing where the namespace is: what
/// a killed `enable` left would stay for ever.
fn delete_namespace() -> Act {
    Act::Delete { kind: &kube::NAMESPACE, namespace: None, name: NAMESPACE.to_owned() }
}

/// Without it MicroK8s takes the addon for disabled.
fn delete_speaker() -> Act {
    Act::Delete { kind: SPEAKER.0, namespace: Some(NAMESPACE.to_owned()), name: SPEAKER.1.to_owned() }
}

fn applied(objects: Vec<Value>) -> impl Iterator<Item = Act> {
    objects.into_iter().map(|o| Act::Apply(Box::new(o)))
}

impl Step for Addon {
    fn id(&self) -> &'static str {
        "addon.metallb"
    }

    fn recipe(&self) -> Value {
        json!({"channel": self.channel, "lb": self.lb, "timeouts": {"addon": self.deadline.as_secs()}})
    }

    fn title(&self) -> String {
        "addon metallb".to_owned()
    }

    fn probe(&self, host: &dyn Host) -> Result<Probe> {
        let namespace = host.get(&kube::NAMESPACE, None, NAMESPACE)?;
        let kinds = match self.api {
            MetallbApi::ConfigMap => None,
            MetallbApi::Crd => host.get(&kube::CUSTOM_RESOURCE_DEFINITION, None, POOLS)?,
        };
        // Its workloads may still be there and work.
        if namespace.iter().chain(&kinds).any(state::going) {
            return Ok(Probe::pending("it is being disabled"));
        }
        if self.is_legacy_release(host, kinds.as_ref())? {
            return Ok(Probe::differs(
                json!({"release": "before"}),
                "it is the one of an older MicroK8s, which takes its pool from a ConfigMap",
            ));
        }
        let found = judge(host, &[CONTROLLER, SPEAKER].map(|(kind, name)| (kind, Some(NAMESPACE), name)))?;
        // Where it works, somebody brought the images.
        if !matches!(found, Probe::Satisfied { .. }) && !self.outdated(host)?.is_empty() {
            return Ok(Probe::differs(json!({"images": "gone"}), "its images are gone from their registry since 2023"));
        }
        if !matches!(found, Probe::Satisfied { .. })
            && let Some(why) = Self::outlives(host)?
        {
            return Ok(Probe::pending(why));
        }
        if self.api == MetallbApi::Crd && kinds.is_none() && found != Probe::Absent {
            return Ok(Probe::differs(json!({"kinds": false}), "partially installed: its kinds are missing"));
        }
        // What tells that it is, or was, there: somebody may have taken away the rest.
        let (sign, called) = match self.api {
            MetallbApi::ConfigMap => (namespace, "namespace"),
            MetallbApi::Crd => (kinds, "kinds"),
        };
        let found = match (found, sign) {
            (Probe::Absent, Some(_)) => Probe::differs(
                json!({called: true}),
                format!("partially installed: its {called}, and no workload that works"),
            ),
            (found, _) => found,
        };
        if self.api == MetallbApi::ConfigMap && matches!(found, Probe::Differs { .. }) {
            return Ok(self.refused_for_pools(host)?.unwrap_or(found));
        }
        Ok(found)
    }

    fn apply(&self, host: &dyn Host, found: &Probe) -> Result<Vec<Act>> {
        Ok(match found {
            Probe::Differs { now, .. } if now["images"] == "gone" => applied(self.outdated(host)?).collect(),
            Probe::Differs { .. } if self.api == MetallbApi::ConfigMap => vec![delete_namespace()],
            Probe::Differs { now, .. } if now["release"] == "before" => {
                std::iter::once(self.disable()).chain(self.whole(self.enable())).collect()
            }
            Probe::Differs { .. } => self.renew(host)?,
            _ => self.whole(self.enable()),
        })
    }

    /// Half of it is taken away first; whether it is there shows only when the cluster answers.
    fn follows(&self, host: &dyn Host, found: &Probe) -> Result<Vec<Act>> {
        if matches!(found, Probe::Differs { .. }) {
            return if self.api == MetallbApi::Crd { self.again(host) } else { self.apply(host, &Probe::Absent) };
        }
        if host.snapd_get(microk8s::SNAP)?.is_none() {
            return Ok(Vec::new());
        }
        let answers = match host.get(&kube::NAMESPACE, None, NAMESPACE) {
            Err(e) if e.transient => false,
            found => found.map(|_| true)?,
        };
        // What is on its way may also be what an interrupted `enable` left.
        if answers && !matches!(found, Probe::Pending { .. }) {
            return Ok(Vec::new());
        }
        let first = if self.api == MetallbApi::Crd { delete_speaker() } else { delete_namespace() };
        Ok(std::iter::once(first).chain(self.apply(host, &Probe::Absent)?).collect())
    }

    fn memo(&self, _: &dyn Host, found: &Probe) -> Result<Memo> {
        let prior = if let Probe::Differs { now, .. } = found { now.clone() } else { Value::Null };
        Ok(Memo { prior, want: json!({"enabled": true}) })
    }

    fn undo(&self, host: &dyn Host, memory: &Memory) -> Result<Undo> {
        if !memory.prior.is_null() {
            return Ok(Undo::Theirs("it was there before, half; it was repaired and stays".to_owned()));
        }
        // The kinds come first and go first, so either may be there alone.
        let namespace = host.get(&kube::NAMESPACE, None, NAMESPACE)?;
        let kind = host.get(&kube::CUSTOM_RESOURCE_DEFINITION, None, POOLS)?;
        let left: Vec<Value> = namespace.into_iter().chain(kind).collect();
        if let Some(going) = left.iter().find(|o| state::going(o)) {
            return Ok(Undo::Pending(format!("{} is being deleted", kube::describe(going))));
        }
        if left.is_empty() {
            return Ok(Undo::Done);
        }
        if let Some(stays) = stays(host, &self.known)? {
            return Ok(stays);
        }
        if self.api == MetallbApi::ConfigMap {
            return Ok(Undo::Acts(vec![delete_namespace()]));
        }
        Ok(Undo::Acts(take_away(host, "metallb", self.enable(), self.disable())?))
    }

    fn deadline(&self) -> Duration {
        self.deadline
    }

    fn watches(&self) -> Vec<Watch> {
        let kinds = [&kube::DEPLOYMENT, &kube::DAEMON_SET, &kube::POD];
        kinds.map(|kind| Watch::Objects(kind, Some(NAMESPACE.to_owned()))).to_vec()
    }

    fn scope(&self) -> Scope {
        Scope::Host
    }

    fn inside(&self) -> Option<&'static str> {
        Some(SNAP)
    }
}
