//! Longhorn, when the volumes shall lie on it: what it needs of the host, its objects, every rung until it stores, and a volume that is
//! tried out. Nothing of a Longhorn that somebody else installed is changed.

use std::{
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use serde_json::Value;

use crate::{
    bundle::{self, Bundle, Package},
    config::{
        spec::{Longhorn, Spec},
        version::{LonghornVersion, Minor},
    },
    engine::step::{SOON, Step, Undo},
    error::{Error, Result},
    host::{self, Host, digest},
    stack::{
        iris::names as iris,
        longhorn::{
            manifest::{Manifest, Part},
            state::{self as longhorn, Installed},
        },
        microk8s::state as microk8s,
    },
};

pub(crate) mod before;
mod cache;
mod first;
mod iscsid;
mod module;
pub(crate) mod multipath;
mod objects;
pub(crate) mod packages;
pub(crate) mod ready;
mod removal;
mod trial;
mod trial_end;

/// The steps; none where no Longhorn is wanted. What is first is taken back last.
pub(crate) fn all(spec: &Spec, bundle: Option<&Arc<Bundle>>) -> Vec<Box<dyn Step>> {
    let Some(wanted) = &spec.longhorn else { return Vec::new() };
    let common = Common {
        wanted: wanted.clone(),
        minor: spec.channel.minor,
        deadline: spec.timeouts.longhorn.into(),
        read: Arc::default(),
        bundle: bundle.cloned(),
    };
    let mut steps: Vec<Box<dyn Step>> = vec![
        Box::new(packages::PackageLists::new(&common)),
        Box::new(packages::Packages::new(&common)),
        Box::new(iscsid::Service::new(&common)),
        Box::new(module::Module::new(&common)),
        Box::new(multipath::Blacklist::new(&common)),
        Box::new(before::Before::new(&common)),
        Box::new(cache::CachedManifest::new(&common)),
    ];
    let parts = [
        ("longhorn.namespace", Part::Namespace),
        ("longhorn.definitions", Part::Definitions),
        ("longhorn.rights", Part::Rights),
        ("longhorn.settings", Part::Settings),
        ("longhorn.workloads", Part::Workloads),
    ];
    steps.extend(parts.map(|(id, part)| Box::new(objects::Objects::new(id, part, &common)) as Box<dyn Step>));
    steps.extend(ready::all(&common));
    steps.extend(trial::all(&common));
    steps
}

/// The steps of IRIS, whose volumes lie on Longhorn, in the form in which they go before it.
pub(crate) fn before_it(spec: &Spec, steps: Vec<Box<dyn Step>>) -> Vec<Box<dyn Step>> {
    let Some(longhorn) = &spec.longhorn else { return steps };
    let first = |inner: Box<dyn Step>| -> Box<dyn Step> {
        // The password outlives all volumes, wherever they lie.
        if inner.id() == iris::PASSWORD {
            return inner;
        }
        // The steps of Longhorn itself, and of what it does not stand on, are none of these.
        Box::new(first::UndoBeforeLonghorn { inner, longhorn: longhorn.clone() })
    };
    steps.into_iter().map(first).collect()
}

/// What all of them want to know.
#[derive(Clone)]
struct Common {
    wanted: Longhorn,
    minor: Minor,
    deadline: Duration,
    /// The manifest as it was read last, with its text's length and checksum.
    read: Arc<Mutex<Option<Arc<Manifest>>>>,
    /// Where everything comes from that would be fetched.
    bundle: Option<Arc<Bundle>>,
}

impl Common {
    fn version(&self) -> LonghornVersion {
        self.wanted.version
    }

    /// What an undo of any of these needs to know.
    fn recipe(&self) -> Value {
        serde_json::json!({
            "longhorn": self.wanted,
            "channel": format!("{}/stable", self.minor),
            "timeouts": {"longhorn": self.deadline.as_secs()},
        })
    }

    /// The manifest of the bundle, where that holds one.
    fn of_bundle(&self) -> Result<Option<Vec<u8>>> {
        let held = self.bundle.as_ref().and_then(|bundle| Some((bundle, bundle.manifest.longhorn.as_ref()?)));
        held.map(|(bundle, longhorn)| bundle.bytes(&longhorn.manifest)).transpose()
    }

    /// The packages of the bundle, where that holds some for this host.
    fn packages(&self, host: &dyn Host) -> Result<Option<&[Package]>> {
        let Some(bundle) = &self.bundle else { return Ok(None) };
        let release = bundle::release_of(&text(host, "/etc/os-release")?).unwrap_or_default();
        Ok(bundle.packages_for(&release))
    }

    /// A small part of the bundle.
    fn bytes(&self, digest: &str) -> Result<Vec<u8>> {
        self.bundle.as_ref().map_or_else(|| Ok(Vec::new()), |bundle| bundle.bytes(digest))
    }

    /// The manifest: the one that we keep, else the file that was given; none when it has not been fetched yet.
    fn manifest(&self, host: &dyn Host) -> Result<Option<Arc<Manifest>>> {
        let given = self.wanted.manifest.as_deref();
        let kept = longhorn::cached(self.version());
        let mut bytes = self.of_bundle()?;
        for path in [given, Some(kept.as_path())].into_iter().flatten() {
            if bytes.is_some() {
                break;
            }
            bytes = host.read(path)?;
        }
        bytes.map(|bytes| self.parsed(&bytes)).transpose()
    }

    fn parsed(&self, bytes: &[u8]) -> Result<Arc<Manifest>> {
        let text = String::from_utf8_lossy(bytes);
        let sum = digest::sha256(text.as_bytes());
        let known = self.read.lock().ok().and_then(|known| known.clone()).filter(|known| known.sha256 == sum);
        if let Some(known) = known {
            return Ok(known);
        }
        let parsed = Arc::new(Manifest::parse(&text)?);
        if parsed.version != self.version() {
            let (found, wanted) = (parsed.version, self.version());
            return Err(Error::usage(format!("the manifest is that of Longhorn {found}, not of {wanted}"))
                .hint(format!("give the one of {wanted}, or say --longhorn-version {found}")));
        }
        if let Ok(mut known) = self.read.lock() {
            *known = Some(Arc::clone(&parsed));
        }
        Ok(parsed)
    }

    /// Objects of a part; none when there is no manifest yet.
    fn part(&self, host: &dyn Host, part: Part) -> Result<Option<Vec<Value>>> {
        self.manifest(host)?.map(|manifest| manifest.part(part, self.minor)).transpose()
    }
}

/// Why what Longhorn needs of the host must stay; none when it may go.
///
/// # Errors
/// The cluster cannot be asked; or Longhorn is ours and still there: its own removal comes first, and has failed.
fn stays(host: &dyn Host) -> Result<Option<Undo>> {
    if host.snapd_get(microk8s::SNAP)?.is_none() {
        return Ok(None);
    }
    // A cluster that cannot be asked may still have volumes on it.
    if microk8s::is_stopped(host) {
        return Err(Error::failed("MicroK8s is stopped: whether volumes lie on Longhorn cannot be seen")
            .hint("`sudo iris-mk8s start`, then the same command again"));
    }
    let Some(found) = Installed::find(host)? else { return Ok(None) };
    if found.is_of_others() {
        return Ok(Some(Undo::Keep("somebody else's Longhorn needs it".to_owned())));
    }
    if !found.is_ours() {
        return Ok(None);
    }
    if let Some(why) = longhorn::needed_by_others(host)? {
        return Ok(Some(Undo::Keep(why)));
    }
    Err(Error::failed("Longhorn is still there, and needs it").hint(REPAIR))
}

/// What helps when it is not removed without help.
const REPAIR: &str = "run the same command again; if Longhorn is stuck: `iris-mk8s repair longhorn`";

/// The step after whose undo nothing of Longhorn is left in the cluster.
const GONE: &str = "longhorn.namespace";

/// A Longhorn that somebody else installed.
fn foreign(host: &dyn Host) -> Result<Option<Installed>> {
    if !has_cluster(host)? {
        return Ok(None);
    }
    Ok(Installed::find(host)?.filter(|found| !found.is_ours()))
}

/// Whether there is a cluster that can be asked: its snap is there, and is not stopped.
fn has_cluster(host: &dyn Host) -> Result<bool> {
    Ok(host.snapd_get(microk8s::SNAP)?.is_some() && !microk8s::is_stopped(host))
}

/// A file's text; empty when there is none.
fn text(host: &dyn Host, path: &str) -> Result<String> {
    Ok(host.read(Path::new(path))?.map(|b| String::from_utf8_lossy(&b).into_owned()).unwrap_or_default())
}

/// Whether a file of a drop-in folder counts: others are left alone by whoever reads it.
fn is_conf(name: &str) -> bool {
    Path::new(name).extension().is_some_and(|ending| ending == "conf")
}

/// Whether a unit of systemd's is in this state (`active`, `enabled`).
fn unit_is(host: &dyn Host, what: &str, unit: &str) -> Result<bool> {
    let output = host.ask(&host::Cmd::reads(["systemctl", what, unit]))?;
    Ok(output.ok())
}

/// How long a service may take to start or stop.
const SERVICE_WITHIN: Duration = SOON;
