//! Whether there is a registry to speak with.

use serde_json::Value;

use crate::{
    error::{Error, ExitCode, Result},
    host::{Host, microk8s},
    image::Name,
    kube::{self, state},
    stack::microk8s::state::is_stopped,
};

/// The namespace and the name of the registry's deployment.
pub(crate) const DEPLOYMENT: (&str, &str) = ("container-registry", "registry");

/// That the registry can be there: MicroK8s is installed and runs, and the addon is enabled. Whether it answers is waited for later.
///
/// # Errors
/// Exit code 10: what is missing, and the command that brings it.
pub fn need(host: &dyn Host) -> Result<()> {
    let unfit = |what: &str, hint: &str| Err(Error::new(ExitCode::Preflight, what).hint(hint));
    if host.snapd_get(microk8s::SNAP)?.is_none() {
        return unfit("MicroK8s is not installed, and so there is no registry", "run `sudo iris-mk8s bootstrap` first");
    }
    if is_stopped(host) {
        return unfit("MicroK8s is stopped, and so is its registry", "start it with `sudo iris-mk8s start`");
    }
    match host.get(&kube::DEPLOYMENT, Some(DEPLOYMENT.0), DEPLOYMENT.1) {
        Ok(Some(_)) => Ok(()),
        Ok(None) => unfit(
            "the built-in registry is not enabled",
            "enable it with `sudo iris-mk8s bootstrap` (addons in the profile name `registry`), or with `sudo microk8s enable registry`",
        ),
        Err(e) => Err(e.hint("`sudo iris-mk8s doctor` looks for the cause")),
    }
}

/// Pods that run this image, for people.
///
/// # Errors
/// The cluster does not answer.
pub fn users_of(host: &dyn Host, name: &Name, digest: &str) -> Result<Vec<String>> {
    let runs = |pod: &Value| {
        let all = ["initContainers", "containers"].into_iter().filter_map(|field| pod["spec"][field].as_array());
        all.flatten().filter_map(|c| Name::in_registry(c["image"].as_str()?)).any(|image| {
            image.repository == name.repository && image.digest.map_or(image.tag == name.tag, |pinned| pinned == digest)
        })
    };
    let pods = host.list(&kube::POD, None, "")?;
    let shown =
        |pod: &Value| format!("pod {}/{}", pod["metadata"]["namespace"].as_str().unwrap_or("?"), state::name(pod));
    Ok(pods.iter().filter(|pod| runs(pod)).map(shown).collect())
}
