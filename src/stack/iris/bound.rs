//! The LoadBalancer service of IRIS, bound to the pool that serves us: which one that is depends on who else lives in MetalLB's pools.

use crate::{
    config::{lb_range::LbRange, spec::Iris, version::MetallbApi},
    engine::{
        altered::Altered,
        step::{Memory, Step, Undo},
    },
    error::Result,
    host::Host,
    kube,
    stack::{
        metallb::state::{OWN, Pools},
        object::Object,
    },
};

/// The notes by which a service names its pool. The second one is its name since MetalLB 0.13, and MetalLB 0.15 knows both.
pub(crate) const POOL_NOTES: [&str; 2] = ["metallb.universe.tf/address-pool", "metallb.io/address-pool"];

/// The step.
pub(crate) struct PoolBoundService {
    pub(crate) lb: LbRange,
    pub(crate) iris: Iris,
    pub(crate) api: MetallbApi,
    /// The service bound to the pool that MicroK8s makes.
    pub(crate) to_microk8s: Object,
    /// The same, bound to a pool of ours.
    pub(crate) to_own: Object,
}

impl Altered for PoolBoundService {
    fn inner(&self) -> &dyn Step {
        &self.to_microk8s
    }

    fn here(&self, host: &dyn Host) -> Result<&dyn Step> {
        // Without a cluster, which a plan may be asked for, nobody else lives in a pool.
        let pools = Pools::read(host, self.api, Some(&self.iris));
        let pools = pools.or_else(|e| if e.transient { Ok(Pools::none(self.api)) } else { Err(e) })?;
        Ok(if pools.ours(&self.lb) == OWN { &self.to_own } else { &self.to_microk8s })
    }

    fn undo(&self, host: &dyn Host, memory: &Memory) -> Result<Undo> {
        // By then the pools may be gone: the service itself tells.
        let want = &self.to_microk8s.want;
        let now = host.get(&kube::SERVICE, want["metadata"]["namespace"].as_str(), kube::state::name(want))?;
        let named = now.unwrap_or_default()["metadata"]["annotations"][POOL_NOTES[0]].take();
        if named == OWN { self.to_own.undo(host, memory) } else { self.to_microk8s.undo(host, memory) }
    }
}
