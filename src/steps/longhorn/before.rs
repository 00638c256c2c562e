//! What of Longhorn's traces was there before us: on the host and in the cluster, whatever is there later came with our Longhorn, and its
//! undo takes it away. Sessions and records of other iSCSI targets are never touched.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Common, GONE, SERVICE_WITHIN, has_cluster};
use crate::{
    cluster::{self, state},
    error::{Error, ExitCode, Result},
    host::{Cmd, FileWrite, Host},
    longhorn,
    step::{Act, Memo, Memory, Probe, Scope, Step, Undo},
};

/// What the driver leaves in kubelet's directory, and what the engine makes.
const TRACES: [&str; 3] = [
    "/var/snap/microk8s/common/var/lib/kubelet/plugins/driver.longhorn.io",
    "/var/snap/microk8s/common/var/lib/kubelet/plugins_registry/driver.longhorn.io-reg.sock",
    "/dev/longhorn",
];

/// What was there.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Found {
    /// Its folder was there: an empty one, a disk of its own, or with data of an earlier Longhorn.
    folder: bool,
    /// Names in it.
    names: Vec<String>,
    /// Traces that were not there.
    absent: Vec<String>,
    /// Objects of the cluster that were not there.
    #[serde(default)]
    free: Vec<String>,
}

/// The step.
pub(super) struct Before {
    common: Common,
    file: PathBuf,
}

impl Before {
    pub(super) fn new(common: &Common) -> Self {
        Self { common: common.clone(), file: longhorn::before() }
    }

    fn look(host: &dyn Host) -> Result<Found> {
        let absent = TRACES.iter().filter(|t| !host.exists(Path::new(t))).map(|t| (*t).to_owned());
        let mut free = Vec::new();
        for (kind, name) in longhorn::MADE.iter().chain(&longhorn::WEBHOOKS) {
            if host.get(kind, None, name)?.is_none() {
                free.push(format!("{}/{name}", kind.plural));
            }
        }
        Ok(Found {
            folder: host.exists(Path::new(longhorn::DATA)),
            names: host.names(Path::new(longhorn::DATA)),
            absent: absent.collect(),
            free,
        })
    }

    /// The acts that take the traces away; of these the host's own last ones only when nothing of the cluster is left.
    fn traces(host: &dyn Host, before: &Found) -> Result<Vec<Act>> {
        if has_cluster(host)? {
            let acts = in_cluster(host, before)?;
            if !acts.is_empty() {
                return Ok(acts);
            }
        }
        let mut acts = sessions(host)?;
        for path in before.absent.iter().map(PathBuf::from).filter(|path| host.exists(path)) {
            acts.push(Act::Remove { path, all: true });
        }
        let data = Path::new(longhorn::DATA);
        if before.folder {
            let new = host.names(data).into_iter().filter(|name| !before.names.contains(name));
            acts.extend(new.map(|name| Act::Remove { path: data.join(name), all: true }));
        } else if host.exists(data) {
            acts.push(Act::Remove { path: data.to_owned(), all: true });
        }
        Ok(acts)
    }
}

/// Objects that Longhorn's manager and driver made, and its own uninstall leaves.
fn in_cluster(host: &dyn Host, before: &Found) -> Result<Vec<Act>> {
    let mut acts = Vec::new();
    for (kind, name) in longhorn::MADE.iter().chain(&longhorn::WEBHOOKS) {
        let ours = before.free.contains(&format!("{}/{name}", kind.plural));
        if ours && host.get(kind, None, name)?.is_some_and(|o| !state::going(&o)) {
            acts.push(Act::Delete { kind, namespace: None, name: (*name).to_owned() });
        }
    }
    Ok(acts)
}

/// Ends what Longhorn left on the host: mounts, sessions, and records that would be logged into again.
pub(crate) fn sessions(host: &dyn Host) -> Result<Vec<Act>> {
    let mut acts = Vec::new();
    let run = |words: &[&str]| Act::Run(Cmd::changes(SERVICE_WITHIN, words.iter().copied()));
    let mounts = host.ask(&Cmd::reads(["findmnt", "--noheadings", "--list", "--output", "SOURCE,TARGET"]))?.stdout;
    for line in mounts.lines() {
        if let Some((source, target)) = line.split_once(char::is_whitespace)
            && source.starts_with("/dev/longhorn/")
        {
            acts.push(run(&["umount", "--lazy", target.trim()]));
        }
    }
    let ask = |mode: &str| match host.ask(&Cmd::reads(["iscsiadm", "-m", mode])) {
        Ok(output) => Ok(longhorn::sessions(&output.stdout)),
        Err(e) if e.what.starts_with("there is no program") => Ok(Vec::new()),
        Err(e) => Err(e),
    };
    for (target, portal) in ask("session")? {
        acts.push(run(&["iscsiadm", "-m", "node", "-T", &target, "-p", &portal, "--logout"]));
    }
    for (target, portal) in ask("node")? {
        acts.push(run(&["iscsiadm", "-m", "node", "-T", &target, "-p", &portal, "-o", "delete"]));
    }
    Ok(acts)
}

impl Step for Before {
    fn id(&self) -> &'static str {
        "longhorn.before"
    }

    fn recipe(&self) -> Value {
        self.common.recipe()
    }

    fn title(&self) -> String {
        "what was there before Longhorn".to_owned()
    }

    fn probe(&self, host: &dyn Host) -> Result<Probe> {
        if host.exists(&self.file) {
            return Ok(Probe::satisfied("written down"));
        }
        Ok(match super::foreign(host)? {
            Some(_) => Probe::satisfied("somebody else's Longhorn was there before us: its traces are not ours"),
            None => Probe::Absent,
        })
    }

    fn apply(&self, host: &dyn Host, _: &Probe) -> Result<Vec<Act>> {
        // A plan may ask before there is a cluster.
        let found = Self::look(host).or_else(|e| if e.transient { Ok(Found::default()) } else { Err(e) })?;
        let bytes = serde_json::to_vec_pretty(&found).map_err(|e| Error::new(ExitCode::Bug, "not JSON").because(e))?;
        Ok(vec![Act::Write(FileWrite {
            path: self.file.clone(),
            bytes,
            mode: 0o600,
            owner: None,
            secret: false,
            keeps: false,
        })])
    }

    fn memo(&self, host: &dyn Host, _: &Probe) -> Result<Memo> {
        // What it writes down must be true.
        Self::look(host)?;
        Ok(Memo { prior: Value::Null, want: json!({"file": self.file}) })
    }

    fn undo(&self, host: &dyn Host, _: &Memory) -> Result<Undo> {
        if let Some(stays) = self.common.stays(host)? {
            return Ok(stays);
        }
        let Some(bytes) = host.read(&self.file)? else { return Ok(Undo::Done) };
        let before: Found = serde_json::from_slice(&bytes)
            .map_err(|e| Error::new(ExitCode::Journal, format!("{} is damaged", self.file.display())).because(e))?;
        let acts = Self::traces(host, &before)?;
        Ok(Undo::Acts(if acts.is_empty() { vec![Act::Remove { path: self.file.clone(), all: false }] } else { acts }))
    }

    fn deadline(&self) -> Duration {
        self.common.deadline
    }

    fn watches(&self) -> Vec<crate::host::Watch> {
        vec![
            crate::host::Watch::Objects(&cluster::STORAGE_CLASS, None),
            crate::host::Watch::Pause(Duration::from_secs(1)),
        ]
    }

    fn scope(&self) -> Scope {
        Scope::Host
    }

    fn clears(&self) -> Option<&'static str> {
        Some(GONE)
    }
}
