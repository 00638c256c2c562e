//! Longhorn as it is in a cluster: whose it is, which version, and who has volumes on it. It only reads.
//!
//! What somebody else installed is never changed; what is ours goes only when no volume of somebody else lies on it.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::{
    config::{place::Place, version::LonghornVersion},
    error::Result,
    host::Host,
    kube::{self, Kind, longhorn as kinds, state},
    stack::{
        data::{self, Whose},
        facts::Facts,
        longhorn::{content, state as longhorn, steps::packages},
    },
};

/// Where it lives.
pub const NAMESPACE: &str = "longhorn-system";

/// The name of its CSI driver, in volumes, attachments and on nodes.
pub const DRIVER: &str = "driver.longhorn.io";

/// Its DaemonSet, which makes and does everything else.
pub const MANAGER: &str = "longhorn-manager";

/// Its web page: service and port. It asks nobody who they are.
pub const UI: (&str, u16) = ("longhorn-frontend", 80);

/// Where its data lies on the host.
pub const DATA: &str = "/var/lib/longhorn";

/// Names of the targets that it makes on the host begin so.
pub const TARGETS: &str = "iqn.2019-10.io.longhorn:";

/// The webhooks that its manager registers (1.3 and newer): with a dead manager they block every change.
pub const WEBHOOKS: [(&Kind, &str); 2] =
    [(&kube::VALIDATING_WEBHOOK, "longhorn-webhook-validator"), (&kube::MUTATING_WEBHOOK, "longhorn-webhook-mutator")];

/// kubelet's directory under MicroK8s. The link `/var/lib/kubelet` must never be used: pods would write beside their volume.
pub const KUBELET: &str = "/var/snap/microk8s/common/var/lib/kubelet";

/// Objects that the manager and the driver make, and that its manifest does not name.
pub const MADE: [(&Kind, &str); 3] =
    [(&kube::STORAGE_CLASS, "longhorn"), (&kube::STORAGE_CLASS, "longhorn-static"), (&kube::CSI_DRIVER, DRIVER)];

/// Whether the host lacks iSCSI, and its package is to be installed.
///
/// # Errors
/// dpkg cannot be asked.
pub fn lacks_iscsi(host: &dyn Host) -> Result<bool> {
    Ok(packages::state_of(host, packages::ISCSI)?.as_deref() != Some("ii"))
}

/// Where its manifest is kept, by version.
pub fn cached(version: LonghornVersion) -> PathBuf {
    Path::new(CACHE).join("longhorn").join(format!("{version}.yaml"))
}

/// Files that can be fetched again. It goes with the last of them.
pub const CACHE: &str = "/var/cache/iris-mk8s";

/// What of Longhorn's traces was there before us.
pub fn before() -> PathBuf {
    Place::default().before_longhorn()
}

/// A Longhorn in the cluster.
pub struct Installed {
    /// Its namespace.
    pub namespace: Value,
    /// Its DaemonSet; none when it is half there.
    pub manager: Option<Value>,
    /// Somebody made the namespace by hand, and what is in it is what we applied.
    ours_in_it: bool,
}

impl Installed {
    /// What is there; none without its namespace.
    ///
    /// # Errors
    /// The cluster does not answer.
    pub fn find(host: &dyn Host) -> Result<Option<Self>> {
        let Some(namespace) = host.get(&kube::NAMESPACE, None, NAMESPACE)? else { return Ok(None) };
        let manager = host.get(&kube::DAEMON_SET, Some(NAMESPACE), MANAGER)?;
        let ours_in_it = !kube::is_ours(&namespace) && Self::holds_ours(host, manager.as_ref())?;
        Ok(Some(Self { namespace, manager, ours_in_it }))
    }

    /// Whether what is in the namespace is what we applied: its manager tells, and without one any object of its manifest does.
    fn holds_ours(host: &dyn Host, manager: Option<&Value>) -> Result<bool> {
        if let Some(manager) = manager {
            return Ok(kube::is_ours(manager));
        }
        for kind in [&kube::CONFIG_MAP, &kube::SERVICE_ACCOUNT, &kube::SERVICE, &kube::DEPLOYMENT] {
            let labelled = host.list(kind, Some(NAMESPACE), &format!("{}=longhorn", content::label()))?;
            if labelled.iter().any(kube::is_ours) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether we made it. A namespace that is somebody's may hold what is left of ours: it was deleted, and made again by hand.
    pub fn is_ours(&self) -> bool {
        kube::is_ours(&self.namespace) || self.ours_in_it
    }

    /// Whether somebody else installed it. A namespace alone is no Longhorn.
    pub fn is_of_others(&self) -> bool {
        !self.is_ours() && self.manager.is_some()
    }

    /// Its version, from the tag of the manager's image.
    pub fn version(&self) -> Option<LonghornVersion> {
        self.manager.as_ref().and_then(version_of)
    }

    /// Whether its namespace ends, and nobody is left who could take the finalizers of its objects away.
    pub fn is_half_deleted(&self) -> bool {
        state::going(&self.namespace) && self.manager.is_none()
    }
}

/// The version of a manager's DaemonSet.
pub fn version_of(manager: &Value) -> Option<LonghornVersion> {
    image_of(manager)?.rsplit_once(':')?.1.parse().ok()
}

/// The manager's image.
pub fn image_of(manager: &Value) -> Option<&str> {
    let containers = manager["spec"]["template"]["spec"]["containers"].as_array()?;
    containers.iter().find(|c| c["name"] == MANAGER)?["image"].as_str()
}

/// A kind of Longhorn's in the API version that this cluster keeps it in; none when it does not know the kind.
///
/// # Errors
/// The cluster does not answer.
pub fn kind(host: &dyn Host, plural: &str) -> Result<Option<&'static Kind>> {
    let name = format!("{plural}.{}", kinds::GROUP);
    let Some(definition) = host.get(&kube::CUSTOM_RESOURCE_DEFINITION, None, &name)? else { return Ok(None) };
    Ok(served(&definition))
}

/// The kind that a definition defines, in the newest API version that we know.
pub fn served(definition: &Value) -> Option<&'static Kind> {
    let versions = definition["spec"]["versions"].as_array()?;
    let is_served = |api: &str| versions.iter().any(|v| v["name"] == api && v["served"] == true);
    let plural = definition["spec"]["names"]["plural"].as_str()?;
    kinds::ALL.iter().filter(|(api, _)| is_served(api)).find_map(|(api, _)| kinds::kind(api, plural))
}

/// Its definitions of kinds that are there.
///
/// # Errors
/// The cluster does not answer.
pub fn definitions(host: &dyn Host) -> Result<Vec<Value>> {
    let all = host.list(&kube::CUSTOM_RESOURCE_DEFINITION, None, "")?;
    Ok(all.into_iter().filter(|d| d["spec"]["group"] == kinds::GROUP).collect())
}

/// Objects of one of its kinds; none when there is no such kind.
///
/// # Errors
/// The cluster does not answer.
pub fn list(host: &dyn Host, plural: &str) -> Result<Vec<Value>> {
    match kind(host, plural)? {
        Some(kind) => host.list(kind, Some(NAMESPACE), ""),
        None => Ok(Vec::new()),
    }
}

/// Objects of its kinds that somebody must let go of, with their kinds: all but its settings have a finalizer.
///
/// # Errors
/// The cluster does not answer.
pub fn held(host: &dyn Host) -> Result<Vec<(&'static Kind, Value)>> {
    let mut found = Vec::new();
    for kind in definitions(host)?.iter().filter_map(served) {
        let is_held = |o: &Value| o["metadata"]["finalizers"].as_array().is_some_and(|f| !f.is_empty());
        let all = host.list(kind, Some(NAMESPACE), "")?;
        found.extend(all.into_iter().filter(is_held).map(|object| (kind, object)));
    }
    Ok(found)
}

/// Volumes of the cluster that lie on it.
///
/// # Errors
/// The cluster does not answer.
pub fn volumes(host: &dyn Host) -> Result<Vec<Value>> {
    let all = host.list(&kube::PERSISTENT_VOLUME, None, "")?;
    Ok(all.into_iter().filter(|v| v["spec"]["csi"]["driver"] == DRIVER).collect())
}

/// The claim and the pod that try it out.
pub const TRIAL: &str = "iris-mk8s-trial";

/// Why a Longhorn of ours must stay; none when nobody else needs it.
///
/// # Errors
/// The cluster does not answer.
pub fn needed_by_others(host: &dyn Host) -> Result<Option<String>> {
    // A claim that was there before us holds somebody's data, although it has the name of one of ours.
    let (theirs, ours): (Vec<_>, Vec<_>) = data::on_longhorn(host)?.into_iter().partition(|v| v.whose == Whose::Others);
    if !theirs.is_empty() {
        let shown = |v: &data::Volume| if v.claim.is_some() { format!("claim {v}") } else { v.to_string() };
        let names: Vec<String> = theirs.iter().map(shown).collect();
        return Ok(Some(format!("volumes that belong to somebody else are on Longhorn: {}", names.join("; "))));
    }
    let mut sets = if ours.is_empty() { Vec::new() } else { host.list(&kube::STATEFUL_SET, None, "")? };
    sets.retain(|set| !kube::is_ours(set));
    let claims = ours.into_iter().filter_map(|v| Some((v.namespace?, v.claim?)));
    for (namespace, claim) in claims {
        let uses = |set: &&Value| set["metadata"]["namespace"] == *namespace && makes(set, &claim);
        if let Some(set) = sets.iter().find(uses) {
            let set = state::name(set);
            return Ok(Some(format!("StatefulSet {namespace}/{set} of somebody else uses {namespace}/{claim} on it")));
        }
    }
    Ok(None)
}

/// Whether a claim has the name that this StatefulSet gives to its claims.
fn makes(set: &Value, claim: &str) -> bool {
    let templates = set["spec"]["volumeClaimTemplates"].as_array();
    templates.into_iter().flatten().any(|template| {
        let begin = format!("{}-{}-", state::name(template), state::name(set));
        claim.strip_prefix(&begin).is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_digit()))
    })
}

/// A session on the host with one of Longhorn's targets: target and portal. Others are never named.
pub fn sessions(text: &str) -> Vec<(String, String)> {
    // `tcp: [1] 10.1.243.5:3260,1 iqn.2019-10.io.longhorn:pvc-... (non-flash)`
    let of_line = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let target = words.iter().find(|w| w.starts_with(TARGETS))?;
        let portal = words.iter().find(|w| w.contains(":3260") || (w.contains(':') && w.contains(',')))?;
        Some(((*target).to_owned(), portal.split(',').next().unwrap_or(portal).to_owned()))
    };
    text.lines().filter_map(of_line).collect()
}

/// What of it is in the cluster.
#[derive(Default)]
pub(crate) struct Longhorn {
    pub(crate) installed: Option<Installed>,
    pub(crate) definitions: Vec<Value>,
    pub(crate) webhooks: Vec<&'static str>,
    /// Objects that are left in a namespace that is gone, by their names.
    pub(crate) orphans: Option<String>,
    pub(crate) answered: bool,
    pub(crate) nodes: Vec<Value>,
    pub(crate) volumes: Vec<Value>,
}

impl Longhorn {
    /// Reads it; nothing more is asked where nothing of it is there.
    pub(crate) fn read(facts: &Facts<'_>) -> Result<Self> {
        let host = facts.host;
        let (installed, definitions) = (Installed::find(host)?, longhorn::definitions(host)?);
        let mut webhooks = Vec::new();
        for (kind, name) in longhorn::WEBHOOKS {
            if host.get(kind, None, name)?.is_some() {
                webhooks.push(name);
            }
        }
        if installed.is_none() && definitions.is_empty() && webhooks.is_empty() && facts.spec.longhorn.is_none() {
            return Ok(Self::default());
        }
        // A part of the server that does not answer keeps nobody from the rest.
        let orphans = content::orphans(host).unwrap_or_default();
        let orphans = (!orphans.is_empty()).then(|| content::names(&orphans));
        let endpoints = host.get(&kube::ENDPOINTS, Some(NAMESPACE), "longhorn-admission-webhook")?.unwrap_or_default();
        let answered = endpoints["subsets"].as_array().is_some_and(|s| s.iter().any(|s| s["addresses"].is_array()));
        let list = |plural| longhorn::list(host, plural).unwrap_or_default();
        Ok(Self { installed, definitions, webhooks, orphans, answered, nodes: list("nodes"), volumes: list("volumes") })
    }

    /// It is installed, and nobody takes it away.
    pub(crate) fn is_there(&self) -> bool {
        self.installed.as_ref().is_some_and(|found| !state::going(&found.namespace))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_sessions_of_longhorn_are_taken() {
        let text = "tcp: [1] 10.1.243.5:3260,1 iqn.2019-10.io.longhorn:pvc-1 (non-flash)\n\
                    tcp: [2] 192.168.11.9:3260,1 iqn.2004-04.com.qnap:ts-453 (non-flash)\n";
        assert_eq!(sessions(text), [("iqn.2019-10.io.longhorn:pvc-1".to_owned(), "10.1.243.5:3260".to_owned())]);
        // `iscsiadm -m node` has the two the other way round.
        assert_eq!(sessions("10.1.243.5:3260,1 iqn.2019-10.io.longhorn:pvc-1\n").len(), 1);
        assert!(sessions("iscsiadm: No active sessions.\n").is_empty());
    }

    #[test]
    fn the_version_is_that_of_the_managers_image() {
        let set = json!({"spec": {"template": {"spec": {"containers": [
            {"name": "longhorn-manager", "image": "registry:5000/longhornio/longhorn-manager:v1.11.3"}]}}}});
        assert_eq!(version_of(&set).map(|v| v.to_string()).as_deref(), Some("v1.11.3"));
    }
}
