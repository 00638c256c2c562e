//! Longhorn's manifest on this host: fetched by the exact tag, with the checksum that was published, or taken from a file.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::{Value, json};

use super::{Common, GONE, stays};
use crate::{
    engine::step::{Act, Memo, Memory, Probe, Scope, Step, Undo},
    error::{Error, Result},
    host::{Download, FileWrite, Host, digest},
    stack::{left, longhorn::state as longhorn},
};

/// A download, and some tries when the network is slow.
const WITHIN: Duration = Duration::from_secs(300);

/// The step.
pub(super) struct CachedManifest {
    common: Common,
}

impl CachedManifest {
    pub(super) fn new(common: &Common) -> Self {
        Self { common: common.clone() }
    }

    fn file(&self) -> PathBuf {
        longhorn::cached(self.common.version())
    }

    /// The file that was given, if one was.
    fn given(&self, host: &dyn Host) -> Result<Option<Vec<u8>>> {
        if let Some(bytes) = self.common.of_bundle()? {
            return Ok(Some(bytes));
        }
        let Some(path) = &self.common.wanted.manifest else { return Ok(None) };
        let found = host.read(path)?;
        let gone = || {
            Error::usage(format!("the manifest {} is not there", path.display()))
                .hint("give Longhorn's deploy/longhorn.yaml with --longhorn-manifest FILE")
        };
        found.map(Some).ok_or_else(gone)
    }
}

impl Step for CachedManifest {
    fn id(&self) -> &'static str {
        "longhorn.manifest"
    }

    fn recipe(&self) -> Value {
        self.common.recipe()
    }

    fn title(&self) -> String {
        format!("manifest of Longhorn {}", self.common.version())
    }

    fn probe(&self, host: &dyn Host) -> Result<Probe> {
        if let Some(theirs) = super::foreign(host)? {
            let version = theirs.version().map(|v| v.to_string()).unwrap_or_default();
            return Ok(Probe::satisfied(format!("not needed: somebody else installed Longhorn {version}")));
        }
        let (kept, published) = (host.read(&self.file())?, self.common.version().checksum());
        let Some(kept) = kept else { return Ok(Probe::Absent) };
        let sum = digest::sha256(&kept);
        // The file that was given may be gone by now: then the one that was taken stands.
        let given = match self.common.of_bundle()? {
            Some(bytes) => Some(bytes),
            None => self.common.wanted.manifest.as_ref().map(|path| host.read(path)).transpose()?.flatten(),
        };
        let as_wanted = match (&given, &self.common.wanted.manifest) {
            (Some(given), _) => *given == kept,
            (None, Some(_)) => true,
            (None, None) => Some(sum.as_str()) == published,
        };
        if !as_wanted {
            return Ok(Probe::differs(json!({"sha256": sum}), "another one is kept"));
        }
        self.common.parsed(&kept)?;
        let other =
            || format!("Longhorn's manifest is not the published one (its SHA-256 is {sum}): taken as it was given");
        let warnings = if published == Some(sum.as_str()) { Vec::new() } else { vec![other()] };
        Ok(Probe::Satisfied { note: self.file().display().to_string(), warnings })
    }

    fn apply(&self, host: &dyn Host, _: &Probe) -> Result<Vec<Act>> {
        let path = self.file();
        if let Some(bytes) = self.given(host)? {
            self.common.parsed(&bytes)?;
            return Ok(vec![Act::Write(FileWrite {
                path,
                bytes,
                mode: 0o644,
                owner: None,
                secret: false,
                keeps: false,
            })]);
        }
        let version = self.common.version();
        let sha256 = version.checksum().unwrap_or_default().to_owned();
        Ok(vec![Act::Download(Download { url: version.url(), path, sha256 })])
    }

    fn memo(&self, _: &dyn Host, _: &Probe) -> Result<Memo> {
        Ok(Memo { prior: Value::Null, want: json!({"file": self.file()}) })
    }

    fn undo(&self, host: &dyn Host, memory: &Memory) -> Result<Undo> {
        if let Some(kept) = stays(host)? {
            return Ok(kept);
        }
        let files = memory.wants.iter().filter_map(|w| w["file"].as_str()).map(PathBuf::from);
        // A write that died half-way left its own beside it.
        let all = files.flat_map(|file| [left::half_written(&file), file]);
        let there: Vec<PathBuf> = all.filter(|f| host.exists(f)).collect();
        if !there.is_empty() {
            return Ok(Undo::Acts(there.into_iter().map(|path| Act::Remove { path, all: false }).collect()));
        }
        for dir in [Path::new(longhorn::CACHE).join("longhorn"), PathBuf::from(longhorn::CACHE)] {
            if host.exists(&dir) && host.names(&dir).is_empty() {
                return Ok(Undo::Acts(vec![Act::Remove { path: dir, all: false }]));
            }
        }
        Ok(Undo::Done)
    }

    fn foresees(&self, host: &dyn Host, _: &Memory) -> Result<Vec<String>> {
        let dirs = [Path::new(longhorn::CACHE).join("longhorn"), PathBuf::from(longhorn::CACHE)];
        let there = dirs.into_iter().filter(|dir| host.exists(dir));
        Ok(there.map(|path| Act::Remove { path, all: false }.show()).collect())
    }

    fn deadline(&self) -> Duration {
        WITHIN
    }

    fn scope(&self) -> Scope {
        Scope::Host
    }

    fn clears(&self) -> Option<&'static str> {
        Some(GONE)
    }
}
