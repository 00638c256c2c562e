//! The volumes of the cluster: claims with theirs, those without a claim, Longhorn's, and folders that no volume names.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use serde::Serialize;
use serde_json::Value;

use super::{FOLDERS, Known, REGISTRY, Whose};
use crate::{
    error::Result,
    host::{Cmd, Host},
    kube::{self, state},
    stack::longhorn::state as longhorn,
};

/// A volume: a claim with its volume, or what has no claim any more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Volume {
    /// The namespace of its claim.
    pub namespace: Option<String>,
    /// Its claim; none when no claim has it.
    pub claim: Option<String>,
    /// The volume, or the folder that no volume names; none while the claim is not bound.
    pub volume: Option<String>,
    /// What was asked for, or what it takes up where nobody asked.
    pub size: String,
    /// Its StorageClass.
    pub class: String,
    /// Where its data lies on this host; nothing where it lies elsewhere.
    pub paths: Vec<String>,
    /// Whose it is.
    pub whose: Whose,
    /// A claim that is made anew under the same name is another one.
    #[serde(skip)]
    pub(super) uid: String,
}

impl fmt::Display for Volume {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.namespace, &self.claim, &self.volume) {
            (Some(namespace), Some(claim), _) => write!(f, "{namespace}/{claim}")?,
            (Some(namespace), None, Some(volume)) => write!(f, "volume {volume} of {namespace}")?,
            (_, _, volume) => write!(f, "volume {}", volume.as_deref().unwrap_or("?"))?,
        }
        let facts: Vec<&str> =
            [self.size.as_str(), self.class.as_str()].into_iter().filter(|f| !f.is_empty()).collect();
        if !facts.is_empty() {
            write!(f, " ({})", facts.join(", "))?;
        }
        if !self.paths.is_empty() {
            write!(f, " at {}", self.paths.join(", "))?;
        }
        Ok(())
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

pub(super) fn namespace(object: &Value) -> &str {
    object["metadata"]["namespace"].as_str().unwrap_or_default()
}

/// What identifies a claim, for as long as it lives.
pub(super) fn identity(claim: &Value) -> String {
    format!("{}/{} {}", namespace(claim), state::name(claim), text(&claim["metadata"]["uid"]))
}

/// The claim with which a bootstrap tries Longhorn: it holds nothing.
pub(super) fn is_trial(claim: &Value) -> bool {
    namespace(claim) == longhorn::NAMESPACE && state::name(claim) == longhorn::TRIAL
}

impl Volume {
    fn of_claim(host: &dyn Host, claim: &Value, volumes: &[Value], known: &Known) -> Self {
        let (namespace, name) = (namespace(claim).to_owned(), state::name(claim).to_owned());
        let bound = claim["spec"]["volumeName"].as_str();
        let volume = volumes.iter().find(|v| Some(state::name(v)) == bound);
        // The registry's claim may have been put back by us, and is still the registry's.
        let is_iris = kube::is_ours(claim) && (namespace.as_str(), name.as_str()) != REGISTRY;
        let whose = if is_iris { Whose::Iris } else { known.owner_of(&namespace, &name) };
        Self {
            size: text(&claim["spec"]["resources"]["requests"]["storage"]),
            class: text(&claim["spec"]["storageClassName"]),
            paths: volume.map(|v| paths_of(host, v)).unwrap_or_default(),
            volume: bound.map(str::to_owned),
            uid: identity(claim),
            namespace: Some(namespace),
            claim: Some(name),
            whose,
        }
    }

    /// A volume whose claim is gone, and whose policy keeps its data.
    fn without_claim(host: &dyn Host, volume: &Value, known: &Known) -> Self {
        let of = &volume["spec"]["claimRef"];
        let (namespace, claim) = (text(&of["namespace"]), text(&of["name"]));
        Self {
            whose: known.owner_of(&namespace, &claim),
            size: text(&volume["spec"]["capacity"]["storage"]),
            class: text(&volume["spec"]["storageClassName"]),
            paths: paths_of(host, volume),
            volume: Some(state::name(volume).to_owned()),
            namespace: (!claim.is_empty()).then(|| format!("{namespace}/{claim}, which is gone")),
            claim: None,
            uid: String::new(),
        }
    }
}

/// Where a volume's data lies on this host.
fn paths_of(host: &dyn Host, volume: &Value) -> Vec<String> {
    let spec = &volume["spec"];
    if let Some(path) = spec["hostPath"]["path"].as_str().or_else(|| spec["local"]["path"].as_str()) {
        return vec![path.to_owned()];
    }
    if spec["csi"]["driver"] == longhorn::DRIVER {
        return replicas_of(host, spec["csi"]["volumeHandle"].as_str().unwrap_or_default());
    }
    Vec::new()
}

/// The folders of a Longhorn volume's replicas on this host: `VOLUME-` and a word of chance each.
fn replicas_of(host: &dyn Host, volume: &str) -> Vec<String> {
    let folder = Path::new(longhorn::DATA).join("replicas");
    let is_of = |name: &String| name.strip_prefix(volume).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'));
    let found = host.names(&folder).into_iter().filter(|name| !volume.is_empty() && is_of(name));
    found.map(|name| folder.join(name).display().to_string()).collect()
}

/// Every volume of the cluster.
///
/// # Errors
/// The cluster cannot be asked.
pub fn volumes(host: &dyn Host, known: &Known) -> Result<Vec<Volume>> {
    let claims = host.list(&kube::PERSISTENT_VOLUME_CLAIM, None, "")?;
    let volumes = host.list(&kube::PERSISTENT_VOLUME, None, "")?;
    let mut found: Vec<Volume> = claims
        .iter()
        .filter(|claim| !is_trial(claim))
        .map(|claim| Volume::of_claim(host, claim, &volumes, known))
        .collect();
    let alone = volumes.iter().filter(|v| !has_claim(v, &claims));
    let alone = alone.map(|v| (is_on_its_way(v), Volume::without_claim(host, v, known)));
    // What somebody else gave up goes by itself. What goes of ours may be stuck, and holds its data until it has gone.
    found.extend(alone.filter(|(goes, volume)| !goes || volume.whose != Whose::Others).map(|(_, volume)| volume));
    found.extend(of_longhorn_alone(host, &volumes)?);
    found.extend(folders_alone(host, &claims, &volumes, known));
    Ok(found)
}

/// The volumes of these claims.
///
/// # Errors
/// The cluster cannot be asked.
pub fn volumes_of(host: &dyn Host, claims: &[Value]) -> Result<Vec<Volume>> {
    let volumes = host.list(&kube::PERSISTENT_VOLUME, None, "")?;
    Ok(claims.iter().map(|claim| Volume::of_claim(host, claim, &volumes, &Known::default())).collect())
}

/// The volumes that lie on Longhorn, whoever made them.
///
/// # Errors
/// The cluster cannot be asked.
pub fn on_longhorn(host: &dyn Host) -> Result<Vec<Volume>> {
    let there = longhorn::volumes(host)?;
    let is_on_it = |v: &Volume| there.iter().any(|there| v.volume.as_deref() == Some(state::name(there)));
    let claimed = volumes(host, &Known::NOTHING)?.into_iter().filter(is_on_it);
    Ok(claimed.chain(of_longhorn_alone(host, &there)?).collect())
}

/// Whether a claim that is there has this volume, or is about to get it.
fn has_claim(volume: &Value, claims: &[Value]) -> bool {
    let (of, name) = (&volume["spec"]["claimRef"], state::name(volume));
    claims.iter().any(|claim| match claim["spec"]["volumeName"].as_str() {
        Some(bound) => bound == name,
        None => of["namespace"] == namespace(claim) && of["name"] == state::name(claim),
    })
}

/// Whether a volume ends: somebody deleted its claim, and its policy says that the data goes with the claim.
fn is_on_its_way(volume: &Value) -> bool {
    let was_bound = volume["spec"]["claimRef"]["name"].is_string();
    state::going(volume) || (was_bound && volume["spec"]["persistentVolumeReclaimPolicy"] == "Delete")
}

/// Volumes that somebody made in Longhorn's web page: no claim knows them. A volume that is being deleted outlives its claim by a moment.
fn of_longhorn_alone(host: &dyn Host, volumes: &[Value]) -> Result<Vec<Volume>> {
    let is_known = |name: &str| volumes.iter().any(|v| v["spec"]["csi"]["volumeHandle"] == name);
    let all = longhorn::list(host, "volumes")?;
    let alone = all.iter().filter(|v| !state::going(v) && !is_known(state::name(v)));
    let volume = |v: &Value| Volume {
        namespace: None,
        claim: None,
        volume: Some(state::name(v).to_owned()),
        size: v["spec"]["size"].as_str().and_then(|size| size.parse().ok()).map(shown).unwrap_or_default(),
        class: "longhorn".to_owned(),
        paths: replicas_of(host, state::name(v)),
        whose: Whose::Others,
        uid: String::new(),
    };
    Ok(alone.map(volume).collect())
}

/// What Longhorn keeps on this host, where there is no cluster any more that knows of it.
pub(super) fn replicas_alone(host: &dyn Host) -> Vec<Volume> {
    let folder = Path::new(longhorn::DATA).join("replicas");
    let paths: Vec<PathBuf> = host.names(&folder).into_iter().map(|name| folder.join(name)).collect();
    let sizes = used(host, &paths);
    let of = |(path, size): (PathBuf, String)| Volume {
        namespace: None,
        claim: None,
        volume: path.file_name().map(|name| name.to_string_lossy().into_owned()),
        size,
        class: "longhorn".to_owned(),
        paths: vec![path.display().to_string()],
        whose: Whose::Nobody,
        uid: String::new(),
    };
    paths.into_iter().zip(sizes).map(of).collect()
}

/// Folders among those of volumes that no volume of the cluster names: what an addon left that was disabled, or somebody's files.
fn folders_alone(host: &dyn Host, claims: &[Value], volumes: &[Value], known: &Known) -> Vec<Volume> {
    let is_of_a_volume = |folder: &str| {
        let of_volume = |v: &Value| paths_of(host, v).iter().any(|p| Path::new(p).ends_with(folder));
        // The folder comes before its volume does, and has its name, which ends in the claim's uid.
        let of_claim = |c: &Value| c["metadata"]["uid"].as_str().is_some_and(|uid| folder.ends_with(uid));
        volumes.iter().any(of_volume) || claims.iter().any(of_claim)
    };
    let alone: Vec<String> = host.names(Path::new(FOLDERS)).into_iter().filter(|f| !is_of_a_volume(f)).collect();
    let paths: Vec<PathBuf> = alone.iter().map(|folder| Path::new(FOLDERS).join(folder)).collect();
    let sizes = used(host, &paths);
    let of = |((folder, path), size): ((String, PathBuf), String)| Volume {
        whose: known.owner_of_folder(&folder),
        namespace: None,
        claim: None,
        volume: Some(folder),
        size,
        class: String::new(),
        paths: vec![path.display().to_string()],
        uid: String::new(),
    };
    alone.into_iter().zip(paths).zip(sizes).map(of).collect()
}

/// How much each of these folders takes up on the disk, for people; `?` where that cannot be said.
pub(super) fn used(host: &dyn Host, folders: &[PathBuf]) -> Vec<String> {
    let size = |folder: &PathBuf| {
        let words = ["du", "--summarize", "--block-size=1", "--"].map(str::to_owned).into_iter();
        let output = host.ask(&Cmd::reads(words.chain([folder.display().to_string()]))).ok()?;
        Some(shown(output.stdout.split_whitespace().next()?.parse().ok()?))
    };
    folders.iter().map(|folder| size(folder).unwrap_or_else(|| "?".to_owned())).collect()
}

/// A number of bytes as Kubernetes writes it.
fn shown(bytes: u64) -> String {
    let unit = [(30, "Gi"), (20, "Mi"), (10, "Ki")].into_iter().find(|(shift, _)| bytes >> shift > 0);
    let Some((shift, unit)) = unit else { return bytes.to_string() };
    // Tenths in whole numbers.
    let tenths = (u128::from(bytes) * 10) >> shift;
    if tenths.is_multiple_of(10) {
        format!("{}{unit}", tenths / 10)
    } else {
        format!("{}.{}{unit}", tenths / 10, tenths % 10)
    }
}
