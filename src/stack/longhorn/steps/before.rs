//! What of Longhorn's traces was there before us: on the host and in the cluster, whatever is there later came with our Longhorn, and its
//! undo takes it away. Sessions and records of other iSCSI targets are never touched.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Common, GONE, SERVICE_WITHIN, has_cluster, stays};
use crate::{
    engine::step::{Act, Memo, Memory, Probe, Scope, Step, Undo},
    error::{Error, ExitCode, Kind, Result},
    host::{self, Cmd, FileWrite, Host},
    kube::{self, state},
    stack::{
        left::{End, Left, read_record},
        longhorn::state as longhorn,
    },
};

/// What the driver leaves in kubelet's directory, and what the engine makes.
const TRACES: [&str; 3] = [
    "/var/snap/microk8s/common/var/lib/kubelet/plugins/driver.longhorn.io",
    "/var/snap/microk8s/common/var/lib/kubelet/plugins_registry/driver.longhorn.io-reg.sock",
    "/dev/longhorn",
];

/// What Longhorn makes in its folder; anything else there is somebody's.
const MADE: [&str; 6] =
    ["backing-images", "engine-binaries", "longhorn-disk.cfg", "longhorn.cfg", "replicas", "unix-domain-socket"];

/// In it each replica of a volume has a folder.
const REPLICAS: &str = "replicas";

/// What was there.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Found {
    /// Its folder was there: an empty one, a disk of its own, or with data of an earlier Longhorn.
    folder: bool,
    /// Names in it.
    names: Vec<String>,
    /// Replicas of an earlier Longhorn; journals of the first format do not know them.
    #[serde(default)]
    replicas: Option<Vec<String>>,
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
    end: End,
}

impl Before {
    pub(super) fn new(common: &Common) -> Self {
        Self { common: common.clone(), file: longhorn::before(), end: End::default() }
    }

    fn without(&self) -> String {
        format!(
            "{} is gone, and with it what was there before Longhorn: what it left in {} cannot be told from what is somebody else's, and stays",
            self.file.display(),
            longhorn::DATA
        )
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
            replicas: Some(host.names(&Path::new(longhorn::DATA).join(REPLICAS))),
            absent: absent.collect(),
            free,
        })
    }

    /// What was written down; none when it was not.
    fn read(&self, host: &dyn Host) -> Result<Option<Found>> {
        read_record(host, &self.file, |bytes| serde_json::from_slice(bytes).map_err(|e| e.to_string()))
    }

    /// What takes the traces on the host away, and what stays.
    fn on_host(host: &dyn Host, before: &Found) -> Result<(Vec<Act>, Vec<Left>)> {
        let mut acts = sessions(host)?;
        for path in before.absent.iter().map(PathBuf::from).filter(|path| host.exists(path)) {
            acts.push(Act::Remove { path, all: true });
        }
        let (more, left) = folder(host, before);
        acts.extend(more);
        Ok((acts, left))
    }
}

/// Its folder: what Longhorn made in it goes, and the folder when it is empty and was not there.
fn folder(host: &dyn Host, before: &Found) -> (Vec<Act>, Vec<Left>) {
    let data = Path::new(longhorn::DATA);
    let names = host.names(data);
    let (known, others): (Vec<String>, Vec<String>) =
        names.into_iter().filter(|name| !before.names.contains(name)).partition(|n| MADE.contains(&n.as_str()));
    let mut acts: Vec<Act> = known.into_iter().map(|name| Act::Remove { path: data.join(name), all: true }).collect();
    if let Some(were) = before.replicas.as_ref().filter(|_| before.names.iter().any(|n| n == REPLICAS)) {
        let new = host.names(&data.join(REPLICAS)).into_iter().filter(|name| !were.contains(name));
        acts.extend(new.map(|name| Act::Remove { path: data.join(REPLICAS).join(name), all: true }));
    }
    let why = "Longhorn makes nothing of that name";
    let left: Vec<Left> = others.iter().map(|name| Left::theirs(data.join(name).display().to_string(), why)).collect();
    if !before.folder && left.is_empty() && host.exists(data) {
        acts.push(Act::Remove { path: data.to_owned(), all: false });
    }
    (acts, left)
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
        Err(e) if e.kind == Kind::NoProgram => Ok(Vec::new()),
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
        "record of the host before Longhorn".to_owned()
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
        let bytes =
            serde_json::to_vec_pretty(&found).map_err(|e| Error::new(ExitCode::Bug, "not JSON").caused_by(e))?;
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

    fn undo(&self, host: &dyn Host, memory: &Memory) -> Result<Undo> {
        if let Some(kept) = stays(host)? {
            return Ok(kept);
        }
        if let Some(told) = (!host.exists(&self.file)).then(|| self.end.told()).flatten() {
            return Ok(told);
        }
        let Some(before) = self.read(host)? else {
            // Whether it was ever written is not known while an intent is open.
            return Ok(if memory.open { Undo::Done } else { Undo::Theirs(self.without()) });
        };
        if has_cluster(host)? {
            let acts = in_cluster(host, &before)?;
            if !acts.is_empty() {
                return Ok(Undo::Acts(acts));
            }
        }
        let (acts, left) = Self::on_host(host, &before)?;
        Ok(if acts.is_empty() { self.end.of(&self.file, left) } else { Undo::Acts(acts) })
    }

    fn foresees(&self, host: &dyn Host, memory: &Memory) -> Result<Vec<String>> {
        let Some(before) = self.read(host)? else {
            return Ok(if memory.open { Vec::new() } else { vec![format!("stays: {}", self.without())] });
        };
        let (acts, left) = Self::on_host(host, &before)?;
        let stays = left.iter().map(|l| format!("stays: {}: {}", l.what, l.why));
        let forget = Act::Remove { path: self.file.clone(), all: false };
        let forgets = left.iter().all(|l| l.theirs).then(|| forget.show());
        Ok(acts.iter().map(Act::show).chain(stays).chain(forgets).collect())
    }

    fn deadline(&self) -> Duration {
        self.common.deadline
    }

    fn watches(&self) -> Vec<host::Watch> {
        vec![host::Watch::Objects(&kube::STORAGE_CLASS, None), host::Watch::Pause(Duration::from_secs(1))]
    }

    fn scope(&self) -> Scope {
        Scope::Host
    }

    fn clears(&self) -> Option<&'static str> {
        Some(GONE)
    }
}
