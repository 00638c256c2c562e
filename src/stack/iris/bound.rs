//! The LoadBalancer service of IRIS, bound to the pool that serves us: which one that is depends on who else lives in MetalLB's pools.

use std::time::Duration;

use serde_json::Value;

use crate::{
    config::{lb_range::LbRange, spec::Iris, version::MetallbApi},
    engine::step::{Act, Memo, Memory, Probe, Scope, Step, Undo},
    error::Result,
    host::{Host, Watch},
    kube,
    stack::{
        metallb::state::{OWN, Pools},
        object::Object,
    },
};

/// The notes by which a service names its pool. The second one is its name since MetalLB 0.13, and MetalLB 0.15 knows both.
pub(crate) const POOL_NOTES: [&str; 2] = ["metallb.universe.tf/address-pool", "metallb.io/address-pool"];

/// The step.
pub(crate) struct Bound {
    pub(crate) lb: LbRange,
    pub(crate) iris: Iris,
    pub(crate) api: MetallbApi,
    /// The service bound to the pool that MicroK8s makes.
    pub(crate) to_microk8s: Object,
    /// The same, bound to a pool of ours.
    pub(crate) to_own: Object,
}

impl Bound {
    fn object(&self, host: &dyn Host) -> Result<&Object> {
        // Without a cluster, which a plan may be asked for, nobody else lives in a pool.
        let pools = Pools::read(host, self.api, Some(&self.iris));
        let pools = pools.or_else(|e| if e.transient { Ok(Pools::none(self.api)) } else { Err(e) })?;
        Ok(if pools.ours(&self.lb) == OWN { &self.to_own } else { &self.to_microk8s })
    }
}

impl Step for Bound {
    fn id(&self) -> &str {
        self.to_microk8s.id()
    }

    fn key(&self) -> String {
        self.to_microk8s.key()
    }

    fn recipe(&self) -> Value {
        self.to_microk8s.recipe()
    }

    fn title(&self) -> String {
        self.to_microk8s.title()
    }

    fn probe(&self, host: &dyn Host) -> Result<Probe> {
        self.object(host)?.probe(host)
    }

    fn apply(&self, host: &dyn Host, found: &Probe) -> Result<Vec<Act>> {
        self.object(host)?.apply(host, found)
    }

    fn memo(&self, host: &dyn Host, found: &Probe) -> Result<Memo> {
        self.object(host)?.memo(host, found)
    }

    fn undo(&self, host: &dyn Host, memory: &Memory) -> Result<Undo> {
        // By then the pools may be gone: the service itself tells.
        let want = &self.to_microk8s.want;
        let now = host.get(&kube::SERVICE, want["metadata"]["namespace"].as_str(), kube::state::name(want))?;
        let named = now.unwrap_or_default()["metadata"]["annotations"][POOL_NOTES[0]].take();
        if named == OWN { self.to_own.undo(host, memory) } else { self.to_microk8s.undo(host, memory) }
    }

    fn deadline(&self) -> Duration {
        self.to_microk8s.deadline()
    }

    fn watches(&self) -> Vec<Watch> {
        self.to_microk8s.watches()
    }

    fn scope(&self) -> Scope {
        self.to_microk8s.scope()
    }

    fn inside(&self) -> Option<&'static str> {
        self.to_microk8s.inside()
    }

    fn newest_want_counts(&self) -> bool {
        self.to_microk8s.newest_want_counts()
    }

    fn changes_with(&self, host: &dyn Host, deletion: &Act) -> Result<bool> {
        self.object(host)?.changes_with(host, deletion)
    }

    fn used_by(&self) -> Option<String> {
        self.to_microk8s.used_by()
    }
}
