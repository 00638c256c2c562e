//! All that somebody far away needs to help: one tar with what doctor found, the plan, the journal, logs, objects and events. Everything
//! that goes in passes through the [`Redactor`].

use std::{
    fs::OpenOptions,
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};

use super::{Redactor, Report, redact};
use crate::{
    config::{place::Place, spec::Spec},
    engine::{Plan, journal::Contents},
    error::{Error, Result},
    host::{Cmd, Host, LOG_DIR},
    kube::{self, Kind},
    stack::{self, microk8s::state as microk8s},
};

/// Kinds whose objects go in, of all namespaces.
const KINDS: &[&Kind] = &[
    &kube::NODE,
    &kube::POD,
    &kube::EVENT,
    &kube::SERVICE,
    &kube::STATEFUL_SET,
    &kube::DEPLOYMENT,
    &kube::DAEMON_SET,
    &kube::PERSISTENT_VOLUME_CLAIM,
    &kube::PERSISTENT_VOLUME,
    &kube::STORAGE_CLASS,
    &kube::CONFIG_MAP,
    &kube::SECRET,
    &kube::IP_ADDRESS_POOL,
    &kube::L2_ADVERTISEMENT,
    &kube::SERVICE_L2_STATUS,
];

/// What commands print of the host and of MicroK8s' services.
const COMMANDS: &[(&str, &[&str])] = &[
    ("host/addresses.txt", &["ip", "addr"]),
    ("host/routes.txt", &["ip", "route"]),
    ("host/neighbours.txt", &["ip", "neigh"]),
    ("host/ports.txt", &["ss", "-tlnp"]),
    ("host/disks.txt", &["df", "-h"]),
    ("host/memory.txt", &["free", "-m"]),
    ("host/processes.txt", &["ps", "axfww", "-o", "pid,ppid,user,rss,comm"]),
    ("host/packet-filter.txt", &["iptables-save"]),
    ("microk8s/kubelite.log", &["journalctl", "-u", "snap.microk8s.daemon-kubelite", "--lines=2000", "--no-pager"]),
    ("microk8s/containerd.log", &["journalctl", "-u", "snap.microk8s.daemon-containerd", "--lines=1000", "--no-pager"]),
    ("microk8s/datastore.log", &["journalctl", "-u", "snap.microk8s.daemon-k8s-dqlite", "--lines=500", "--no-pager"]),
    ("snapd/snapd.log", &["journalctl", "-u", "snapd", "--lines=500", "--no-pager"]),
];

const FILES: &[&str] = &[
    "/etc/os-release",
    "/proc/meminfo",
    "/proc/cpuinfo",
    "/etc/hosts",
    "/etc/resolv.conf",
    "/etc/environment",
    "/proc/version",
];

const SNAPD: &[(&str, &str)] = &[
    ("snapd/system-info.json", "/v2/system-info"),
    ("snapd/changes.json", "/v2/changes?select=all"),
    ("snapd/microk8s.json", microk8s::SNAP),
    ("snapd/services.json", "/v2/apps?names=microk8s&select=service"),
    ("snapd/aliases.json", "/v2/aliases"),
];

/// The newest of our own logs that go in.
const LOGS: usize = 10;

/// The bundle, in memory: some megabytes.
pub struct Bundle {
    redactor: Redactor,
    files: Vec<(String, String)>,
}

impl Bundle {
    /// Gathers everything. What cannot be read is left out, and a line in its place says so.
    pub fn gather(host: &dyn Host, spec: Option<&Spec>, report: &Report, plan: Option<&Plan>) -> Self {
        let mut bundle = Self { redactor: Redactor::of(host), files: Vec::new() };
        bundle.add("doctor.txt", &report.show(true));
        bundle.add_json("doctor.json", &json!(report));
        bundle.add("version.txt", &format!("iris-mk8s {}\n", env!("CARGO_PKG_VERSION")));
        if let Some(plan) = plan {
            bundle.add("plan.txt", &plan.show());
        }
        bundle.journal(host);
        bundle.host(host);
        bundle.cluster(host, spec);
        bundle
    }

    /// Adds a file without its secrets.
    fn add(&mut self, name: &str, text: &str) {
        self.files.push((name.to_owned(), self.redactor.text(text)));
    }

    fn add_json(&mut self, name: &str, value: &Value) {
        let mut value = value.clone();
        redact::object(&mut value);
        self.add(name, &format!("{value:#}\n"));
    }

    fn journal(&mut self, host: &dyn Host) {
        let path = Place::default().journal();
        let bytes = host.read(&path).ok().flatten().unwrap_or_default();
        match Contents::parse(&bytes, stack::origin) {
            Ok(contents) => self.add("journal.txt", &contents.to_string()),
            Err(e) => self.add("journal.txt", &e.to_string()),
        }
        let mut lines = String::new();
        // What was there before is in it: an object that somebody made to hide something, too.
        for line in String::from_utf8_lossy(&bytes).lines() {
            lines.push_str(&match serde_json::from_str::<Value>(line) {
                Ok(mut record) => {
                    redact::object(&mut record);
                    format!("{record}\n")
                }
                Err(_) => format!("{line}\n"),
            });
        }
        self.add("journal.jsonl", &lines);
        let names = host.names(Path::new(LOG_DIR));
        for name in &names[names.len().saturating_sub(LOGS)..] {
            let log = host.read(&Path::new(LOG_DIR).join(name)).ok().flatten().unwrap_or_default();
            self.add(&format!("logs/{name}"), &String::from_utf8_lossy(&log));
        }
    }

    fn host(&mut self, host: &dyn Host) {
        for (name, argv) in COMMANDS {
            let text = match host.ask(&Cmd::reads(argv.iter().copied())) {
                Ok(output) => output.stdout + &output.stderr,
                Err(e) => format!("{e}\n"),
            };
            self.add(name, &text);
        }
        for path in FILES {
            let bytes = host.read(Path::new(path)).ok().flatten().unwrap_or_default();
            let name = path.rsplit('/').next().unwrap_or(path);
            self.add(&format!("host/{name}"), &String::from_utf8_lossy(&bytes));
        }
        for (name, path) in SNAPD {
            match host.snapd_get(path) {
                Ok(answer) => self.add_json(name, &answer.unwrap_or_default()),
                Err(e) => self.add(name, &format!("{e}\n")),
            }
        }
    }

    fn cluster(&mut self, host: &dyn Host, spec: Option<&Spec>) {
        let ready = host.api_text("/readyz?verbose");
        let answers = ready.is_ok();
        self.add("cluster/readyz.txt", &ready.unwrap_or_else(|e| e.to_string()));
        if !answers {
            return;
        }
        let mut pods = Vec::new();
        for kind in KINDS {
            let name = format!("cluster/{}.json", kind.plural);
            match host.list(kind, None, "") {
                Ok(objects) => {
                    let objects: Vec<Value> = objects.into_iter().map(|o| kube::with_kind(o, kind)).collect();
                    if kind.kind == "Pod" {
                        pods.clone_from(&objects);
                    }
                    self.add_json(&name, &json!(objects));
                }
                Err(e) => self.add(&name, &format!("{e}\n")),
            }
        }
        for pod in pods {
            self.logs(host, spec, &pod);
        }
    }

    /// Logs of the pods that matter: of IRIS, and of the cluster itself.
    fn logs(&mut self, host: &dyn Host, spec: Option<&Spec>, pod: &Value) {
        let (namespace, name) = (pod["metadata"]["namespace"].as_str().unwrap_or(""), kube::state::name(pod));
        let of_iris = spec.is_some_and(|s| {
            s.iris.namespace == namespace && pod["metadata"]["labels"]["app"] == s.iris.service.as_str()
        });
        if !of_iris && !matches!(namespace, "kube-system" | "metallb-system" | "container-registry") {
            return;
        }
        for container in pod["spec"]["containers"].as_array().into_iter().flatten() {
            let container = container["name"].as_str().unwrap_or("");
            for (end, query) in [("", ""), (".previous", "&previous=true")] {
                let path = format!(
                    "/api/v1/namespaces/{namespace}/pods/{name}/log?container={container}&tailLines=2000{query}"
                );
                if let Ok(log) = host.api_text(&path) {
                    self.add(&format!("cluster/logs/{namespace}.{name}.{container}{end}.log"), &log);
                }
            }
        }
    }

    /// The files, for whoever wants to look before it is sent.
    pub fn files(&self) -> impl Iterator<Item = (&str, &str)> {
        self.files.iter().map(|(name, text)| (name.as_str(), text.as_str()))
    }

    /// Writes the tar, readable for root alone; an existing file is not overwritten.
    ///
    /// # Errors
    /// It is there already, or cannot be written.
    pub fn write(&self, path: &PathBuf, now: u64) -> Result<()> {
        let cannot = |e: &dyn std::fmt::Display| Error::failed(format!("cannot write {}", path.display())).because(e);
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(|e| cannot(&e))?;
        let mut tar = tar::Builder::new(file);
        for (name, text) in &self.files {
            let mut header = tar::Header::new_gnu();
            header.set_size(text.len() as u64);
            header.set_mode(0o600);
            header.set_mtime(now);
            tar.append_data(&mut header, format!("iris-mk8s-bundle/{name}"), text.as_bytes())
                .map_err(|e| cannot(&e))?;
        }
        let mut file = tar.into_inner().map_err(|e| cannot(&e))?;
        file.flush().map_err(|e| cannot(&e))
    }
}
