//! What several checks want to know of the host, read once; and the ways in which a check may look. All of them only read.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
};

use serde_json::Value;

use super::{lan, mounts};
use crate::{
    bundle::Bundle,
    config::{place::Place, spec::Spec},
    error::{Kind, Result},
    host::{Cmd, Host, Output},
    network::{Network, Reserved},
    stack::microk8s::state as microk8s,
};

/// The facts.
pub struct Facts<'a> {
    /// The host.
    pub host: &'a dyn Host,
    /// What is wanted of it.
    pub spec: &'a Spec,
    /// Where everything comes from that would be fetched; none where it is fetched.
    pub bundle: Option<Arc<Bundle>>,
    /// The snap `microk8s` as snapd describes it; none where it is not installed.
    pub snap: Option<Value>,
    /// The kind of container that the host is, if it is one.
    pub container: Option<String>,
    network: OnceLock<Result<Network>>,
    mounts: OnceLock<Result<Vec<mounts::Mount>>>,
}

impl<'a> Facts<'a> {
    /// Reads what everybody asks for.
    pub fn read(host: &'a dyn Host, spec: &'a Spec) -> Self {
        // A snapd that does not answer has a check of its own.
        let snap = host.snapd_get(microk8s::SNAP).unwrap_or_default();
        let (network, mounts) = (OnceLock::new(), OnceLock::new());
        let mut facts = Self { host, spec, bundle: None, snap, container: None, network, mounts };
        let kind = facts.ask(&["systemd-detect-virt", "--container"]).unwrap_or_default();
        facts.container = kind.map(|k| k.stdout.trim().to_owned()).filter(|k| !k.is_empty() && k != "none");
        facts
    }

    /// The command that starts MicroK8s: ours, where a bootstrap has run, since it starts IRIS as well.
    pub(crate) fn start(&self) -> &'static str {
        if self.is_known() { "`sudo iris-mk8s start`" } else { "`microk8s start`" }
    }

    /// The command that starts IRIS in a cluster that runs.
    pub(crate) fn start_iris(&self) -> String {
        let iris = &self.spec.iris;
        if self.is_known() {
            return self.start().to_owned();
        }
        format!("`microk8s kubectl -n {} scale statefulset {} --replicas={}`", iris.namespace, iris.name, iris.replicas)
    }

    /// The commands that start MicroK8s anew. MicroK8s' own stop would end the database in the middle of a write.
    pub(crate) fn restart(&self) -> &'static str {
        if self.is_known() {
            "`sudo iris-mk8s stop`, then `sudo iris-mk8s start`"
        } else {
            "`microk8s stop`, then `microk8s start`"
        }
    }

    /// Whether a bootstrap has run on this host.
    fn is_known(&self) -> bool {
        self.host.exists(&Place::default().journal())
    }

    /// Whether MicroK8s is there already: then much of what it takes to get it no longer matters.
    pub fn installed(&self) -> bool {
        self.snap.is_some()
    }

    /// A file's text; empty when there is none.
    pub(crate) fn text(&self, path: &str) -> Result<String> {
        Ok(self.host.read(Path::new(path))?.map(|b| String::from_utf8_lossy(&b).into_owned()).unwrap_or_default())
    }

    pub(crate) fn exists(&self, path: &str) -> bool {
        self.host.exists(Path::new(path))
    }

    /// The number in a file of one line.
    pub(crate) fn number(&self, path: &str) -> Result<Option<u64>> {
        Ok(self.text(path)?.trim().parse().ok())
    }

    /// Runs a program that only looks; none where there is no such program.
    pub(crate) fn ask(&self, argv: &[&str]) -> Result<Option<Output>> {
        match self.host.ask(&Cmd::reads(argv.iter().copied())) {
            Ok(output) => Ok(Some(output)),
            Err(e) if e.kind == Kind::NoProgram => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// The path, or the nearest folder above it that exists.
    pub(crate) fn nearest(&self, path: &str) -> PathBuf {
        let found = Path::new(path).ancestors().find(|p| self.host.exists(p));
        found.unwrap_or(Path::new("/")).to_owned()
    }

    /// What is mounted where.
    pub(crate) fn mounts(&self) -> Result<&[mounts::Mount]> {
        let read = || Ok(mounts::parse(&self.text("/proc/self/mountinfo")?));
        self.mounts.get_or_init(read).as_ref().map(Vec::as_slice).map_err(Clone::clone)
    }

    /// The network around the host.
    ///
    /// # Errors
    /// `ip` fails, or prints something unknown.
    pub fn network(&self) -> Result<&Network> {
        self.network.get_or_init(|| lan::network(self.host)).as_ref().map_err(Clone::clone)
    }

    /// What the range must keep clear of.
    pub(crate) fn reserved(&self) -> Result<Reserved> {
        lan::reserved(self.host, &self.spec.channel, Some(self.spec))
    }
}
