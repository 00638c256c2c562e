//! What the host has and what the pods ask for.

use crate::{error::Result, kube::state::quantity, stack::facts::Facts};

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "sizes of claims were checked before")]
pub(crate) fn bytes(size: &str) -> u64 {
    quantity(size).unwrap_or(0.0) as u64
}

/// What the pods of the cluster itself ask for, in thousandths of a core (calico, coredns).
pub(crate) const SYSTEM_CPU: u64 = 350;

pub(crate) fn cores(facts: &Facts<'_>) -> Result<u64> {
    Ok(facts.text("/proc/cpuinfo")?.lines().filter(|l| l.starts_with("processor")).count() as u64)
}

/// What the pods of IRIS and of the cluster ask for, in thousandths of a core.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the request was checked before")]
pub(crate) fn asked_cpu(facts: &Facts<'_>) -> u64 {
    let iris = &facts.spec.iris;
    (quantity(&iris.cpu_request).unwrap_or(0.0) * 1000.0).round() as u64 * u64::from(iris.replicas) + SYSTEM_CPU
}
