//! Names of the world, as a pod sees them: one that there is, and one that nobody has. Neither keeps IRIS from working, so both are told
//! and not waited for.

use std::thread;

use super::image;
use crate::{
    config::spec::Iris,
    engine::step::Probe,
    error::Result,
    host::Host,
    network::{EXTERNAL, NOBODY},
};

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    /// The pod that was asked.
    pod: String,
    /// An address for the name that there is.
    external: Option<String>,
    /// An address for the name that nobody has.
    nobody: Option<String>,
}

/// Asks in a pod.
///
/// # Errors
/// Nothing can be run there (transient).
pub fn look_up(host: &dyn Host, iris: &Iris, pod: &str) -> Result<Names> {
    let address = |name: &str| -> Result<Option<String>> {
        let output = host.exec(&iris.namespace, pod, "iris", &["getent", "ahostsv4", name], "")?;
        Ok(output.stdout.split_whitespace().next().filter(|_| output.ok()).map(str::to_owned))
    };
    // A resolver that has nobody to ask takes its time over each of them.
    let (external, nobody) = thread::scope(|scope| {
        let external = scope.spawn(|| address(EXTERNAL));
        let nobody = address(NOBODY);
        (external.join(), nobody)
    });
    let external = external.unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
    Ok(Names { pod: pod.to_owned(), external, nobody: nobody? })
}

/// What a person should know of it: messages, each with what to do.
pub fn told(names: &Names) -> Vec<(String, String)> {
    let mut told = Vec::new();
    if names.external.is_none() {
        told.push((
            format!("pod {} does not find {EXTERNAL}: names outside of the cluster are not looked up there", names.pod),
            "without a way to the internet this is to be expected; else tell the cluster a name server that answers: \
             `microk8s disable dns; microk8s enable dns:SERVER`"
                .to_owned(),
        ));
    }
    if let Some(address) = &names.nobody {
        told.push((
            format!("pod {} finds {address} for `{NOBODY}`, which nobody is called: a search domain of this host has every name", names.pod),
            "take it out of the host's search domains (netplan: nameservers: search), then `microk8s stop; microk8s start`".to_owned(),
        ));
    }
    told
}

pub(super) fn judge(host: &dyn Host, iris: &Iris) -> Result<Probe> {
    let pods = super::instances(host, iris)?;
    let Some(pod) = pods.first() else { return Ok(Probe::pending("there are no pods")) };
    // Where nobody answers, a look-up takes seconds, and it only warns: what these pods were told once is not asked again at every run.
    if !pods.iter().any(|pod| image::is_since(&pod["status"]["startTime"], image::begun(host))) {
        return Ok(Probe::satisfied("asked when the pods were started; `iris-mk8s doctor` asks again"));
    }
    let found = look_up(host, iris, crate::kube::state::name(pod))?;
    let warnings = told(&found).into_iter().map(|(message, hint)| format!("{message} ({hint})")).collect();
    Ok(Probe::Satisfied { note: format!("asked in {}", found.pod), warnings })
}
