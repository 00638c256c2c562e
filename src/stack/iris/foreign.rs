//! What somebody else applied: a StatefulSet that brings its own CPF and password, a service that keeps its address.

use super::names::external;
use crate::{
    config::spec::{Iris, Spec},
    engine::{
        altered::Altered,
        check::Question,
        step::{Probe, Step},
    },
    error::Result,
    host::Host,
    kube::{self, STATEFUL_SET},
    stack::{iris::state as iris, metallb::state::Pools, object::THEIRS},
};

/// A service that belongs to somebody else keeps the address of another pool. Waiting does not change that, so it is reported before anything is changed.
pub(crate) fn address_may_follow(spec: &Spec) -> Question {
    let (lb, iris, api) = (spec.lb.clone(), spec.iris.clone(), spec.channel.row().metallb);
    Box::new(move |host| {
        let outside = iris::address(host, &iris)?.filter(|ip| !lb.contains(*ip));
        let Some(ip) = outside else { return Ok(Probe::satisfied(THEIRS)) };
        let pools = Pools::read(host, api, Some(&iris))?;
        let ours = pools.ours(&lb);
        // MetalLB takes no address away that is in a pool.
        let other = pools.all.iter().find(|pool| pool.name != ours && pool.holds(ip));
        Ok(other.map_or_else(|| Probe::satisfied(THEIRS), |pool| Probe::Refused {
            why: format!("somebody else applied service {}, and it has {ip} of the pool {}", external(&iris), pool.name),
            hint: format!("delete the service, and the same command makes its own; or give --lb a range with {ip} in it, and delete that pool"),
        }))
    })
}

/// Why a teardown takes nothing of IRIS back, where somebody else applied it; none where it is ours, or not there.
///
/// # Errors
/// The cluster does not answer.
pub fn adopted(host: &dyn Host, iris: &Iris) -> Result<Option<String>> {
    let set = host.get(&STATEFUL_SET, Some(&iris.namespace), &iris.name)?.filter(|set| !kube::is_ours(set));
    Ok(set.map(|_| {
        format!(
            "IRIS in namespace {} stays, with its data: somebody else applied StatefulSet {} before us",
            iris.namespace, iris.name
        )
    }))
}

/// A step that is not needed when the StatefulSet is somebody else's.
pub(crate) struct UnlessForeign {
    pub(crate) inner: Box<dyn Step>,
    pub(crate) iris: Iris,
}

impl Altered for UnlessForeign {
    fn inner(&self) -> &dyn Step {
        &*self.inner
    }

    fn probe(&self, host: &dyn Host) -> Result<Probe> {
        let set = host.get(&STATEFUL_SET, Some(&self.iris.namespace), &self.iris.name)?;
        if set.is_some_and(|set| !kube::is_ours(&set)) {
            return Ok(Probe::satisfied(format!(
                "not needed: the existing StatefulSet {} brings its own",
                self.iris.name
            )));
        }
        self.inner.probe(host)
    }
}
