//! Longhorn's own kinds of objects, in both of its API versions; and what these objects say of themselves, which came in two shapes.

use std::fmt;

use serde_json::Value;

use super::Kind;

/// Group of its kinds.
pub const GROUP: &str = "longhorn.io";

macro_rules! kinds {
    ($($kind:literal $plural:literal),* $(,)?) => {
        /// Longhorn 1.2 and older.
        static V1BETA1: &[Kind] = &[$(Kind { group: GROUP, version: "v1beta1", kind: $kind, plural: $plural }),*];
        /// Longhorn 1.3 and newer.
        static V1BETA2: &[Kind] = &[$(Kind { group: GROUP, version: "v1beta2", kind: $kind, plural: $plural }),*];
    };
}

kinds! {
    "BackingImage" "backingimages",
    "BackingImageDataSource" "backingimagedatasources",
    "BackingImageManager" "backingimagemanagers",
    "Backup" "backups",
    "BackupBackingImage" "backupbackingimages",
    "BackupTarget" "backuptargets",
    "BackupVolume" "backupvolumes",
    "Engine" "engines",
    "EngineFrontend" "enginefrontends",
    "EngineImage" "engineimages",
    "InstanceManager" "instancemanagers",
    "Node" "nodes",
    "Orphan" "orphans",
    "RecurringJob" "recurringjobs",
    "Replica" "replicas",
    "Setting" "settings",
    "Shard" "shards",
    "ShardGroup" "shardgroups",
    "ShareManager" "sharemanagers",
    "Snapshot" "snapshots",
    "SupportBundle" "supportbundles",
    "SystemBackup" "systembackups",
    "SystemRestore" "systemrestores",
    "Volume" "volumes",
    "VolumeAttachment" "volumeattachments",
}

/// All of them, by API version; the newer one first.
pub static ALL: [(&str, &[Kind]); 2] = [("v1beta2", V1BETA2), ("v1beta1", V1BETA1)];

/// The kind in an API version; none when Longhorn has no such kind.
pub fn kind(api: &str, plural: &str) -> Option<&'static Kind> {
    let (_, kinds) = ALL.iter().find(|(version, _)| *version == api)?;
    kinds.iter().find(|kind| kind.plural == plural)
}

/// A condition's status and the words with it: a list of conditions in `v1beta2`, a map of them before, under names that begin with
/// a small letter for volumes.
pub fn condition<'a>(status: &'a Value, name: &str) -> Option<(&'a str, String)> {
    let same = |other: &str| other.eq_ignore_ascii_case(name);
    let found = match &status["conditions"] {
        Value::Array(list) => list.iter().find(|c| c["type"].as_str().is_some_and(same))?,
        Value::Object(map) => map.iter().find(|(key, _)| same(key))?.1,
        _ => return None,
    };
    let words: Vec<&str> =
        ["reason", "message"].iter().filter_map(|f| found[*f].as_str()).filter(|w| !w.is_empty()).collect();
    Some((found["status"].as_str().unwrap_or(""), words.join(": ")))
}

/// Why a condition does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unmet {
    /// The object has no such condition yet.
    Unknown(String),
    /// Longhorn's own words.
    Told(String),
}

impl fmt::Display for Unmet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(name) => write!(f, "its condition {name} is not known yet"),
            Self::Told(words) => f.write_str(words),
        }
    }
}

/// Why a condition does not hold; none when it does.
pub fn unmet(status: &Value, name: &str) -> Option<Unmet> {
    match condition(status, name) {
        Some(("True", _)) => None,
        Some((_, words)) if !words.is_empty() => Some(Unmet::Told(words)),
        Some((word, _)) => Some(Unmet::Told(format!("{name} is {word}"))),
        None => Some(Unmet::Unknown(name.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn conditions_of_both_shapes_are_read() {
        let map = json!({"conditions": {"scheduled": {"status": "False", "reason": "ReplicaSchedulingFailure", "message": "insufficient storage"}}});
        let list = json!({"conditions": [{"type": "Scheduled", "status": "False", "reason": "ReplicaSchedulingFailure", "message": "insufficient storage"}]});
        for status in [map, list] {
            let told = Unmet::Told("ReplicaSchedulingFailure: insufficient storage".to_owned());
            assert_eq!(unmet(&status, "Scheduled"), Some(told));
        }
        assert_eq!(unmet(&json!({"conditions": [{"type": "Ready", "status": "True"}]}), "Ready"), None);
        assert_eq!(unmet(&json!({}), "Ready"), Some(Unmet::Unknown("Ready".to_owned())));
    }

    #[test]
    fn a_kind_is_found_in_its_api_version() {
        assert_eq!(kind("v1beta1", "nodes").map(|k| (k.version, k.kind)), Some(("v1beta1", "Node")));
        assert!(kind("v1beta2", "pods").is_none() && kind("v1", "nodes").is_none());
    }
}
