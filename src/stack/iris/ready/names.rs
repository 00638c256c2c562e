//! Names of the world, as a pod sees them: one that there is, and one that nobody has. Neither keeps IRIS from working, so both are told
//! and not waited for.

use super::image;
use crate::{
    config::spec::Iris,
    engine::step::Probe,
    error::Result,
    host::Host,
    kube::state as kube,
    stack::iris::state::{look_up, told},
};

pub(super) fn judge(host: &dyn Host, iris: &Iris) -> Result<Probe> {
    let pods = super::instances(host, iris)?;
    let Some(pod) = pods.first() else { return Ok(Probe::pending("there are no pods")) };
    // Where nobody answers, a look-up takes seconds, and it only warns: what these pods were told once is not asked again at every run.
    if !pods.iter().any(|pod| image::is_since(&pod["status"]["startTime"], image::begun(host))) {
        return Ok(Probe::satisfied("asked when the pods were started; `iris-mk8s doctor` asks again"));
    }
    let found = look_up(host, iris, kube::name(pod))?;
    let warnings = told(&found).into_iter().map(|(message, hint)| format!("{message} ({hint})")).collect();
    Ok(Probe::Satisfied { note: format!("asked in {}", found.pod), warnings })
}
