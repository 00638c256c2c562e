//! Changes of a host as data: the engine executes them, and a plan prints them.

use std::path::PathBuf;

use serde_json::Value;

use crate::{
    bundle::{Import, Sideload},
    host::{Cmd, Download, FileWrite, Process, SnapdChange, microk8s},
    image::{Push, registry},
    kube::{self, Kind},
};

/// One act, as data. The engine executes it; a plan prints it.
#[derive(Clone, Debug, PartialEq)]
pub enum Act {
    /// Run a command.
    Run(Cmd),
    /// Let snapd make a change, and follow it to its end.
    Snapd(SnapdChange),
    /// Write a file.
    Write(FileWrite),
    /// Kill processes. Each is known by its number and the moment it began, so that no other one is hit.
    Kill {
        /// Which.
        processes: Vec<Process>,
        /// What they are, and how that is known.
        why: String,
    },
    /// Remove a file or an empty directory; `all` also what is in it.
    Remove {
        /// What goes.
        path: PathBuf,
        /// With everything below.
        all: bool,
    },
    /// Fetch a file over HTTPS; it is written only when its checksum is the right one.
    Download(Download),
    /// Pull an image into MicroK8s' containerd.
    Pull {
        /// Its name.
        image: String,
    },
    /// Import an image of a bundle into MicroK8s' containerd.
    Import(Box<Import>),
    /// Let snapd install a snap of a bundle, and follow it to its end.
    Sideload(Box<Sideload>),
    /// Push an image into MicroK8s' built-in registry.
    Push(Box<Push>),
    /// Remove an image from it, with all tags that it has in that repository.
    Unpush {
        /// Where it lies.
        repository: String,
        /// Which it is.
        digest: String,
    },
    /// Server-side apply of an object.
    Apply(Box<Value>),
    /// Change some fields of an object (merge patch): what holds it, for example.
    Patch {
        /// Its kind.
        kind: &'static Kind,
        /// Its namespace, if it has one.
        namespace: Option<String>,
        /// Its name.
        name: String,
        /// The fields.
        patch: Value,
    },
    /// Delete an object, and wait for nothing: the undo's next round looks.
    Delete {
        /// Its kind.
        kind: &'static Kind,
        /// Its namespace, if it has one.
        namespace: Option<String>,
        /// Its name.
        name: String,
    },
}

impl Act {
    /// The act as a person would type it (a plan's line). Secrets are not shown.
    pub fn show(&self) -> String {
        match self {
            Self::Run(cmd) => cmd.show(),
            Self::Snapd(change) => change.shown.clone(),
            Self::Write(file) => {
                let content = if file.secret { "secret".to_owned() } else { format!("{} bytes", file.bytes.len()) };
                format!("write {} ({content}, mode {:04o})", file.path.display(), file.mode)
            }
            Self::Kill { processes, why } => {
                let pids: Vec<String> = processes.iter().map(|p| p.pid.to_string()).collect();
                let mut names: Vec<&str> = processes.iter().map(|p| p.name.as_str()).collect();
                names.sort_unstable();
                names.dedup();
                format!("kill -KILL {} # {}: {why}", pids.join(" "), names.join(", "))
            }
            Self::Remove { path, all } => format!("rm {}{}", if *all { "-r " } else { "" }, path.display()),
            Self::Download(Download { url, path, sha256 }) => {
                format!("curl --fail --location --output {} {url} # SHA-256 {sha256}", path.display())
            }
            Self::Pull { image } => {
                format!("crictl --image-endpoint unix://{} pull {image}", microk8s::CONTAINERD)
            }
            Self::Import(import) => import.show(),
            Self::Sideload(sideload) => sideload.show(),
            Self::Push(push) => {
                let file = push.content.blobs.first().map(|blob| format!(" # from {}", blob.file.display()));
                format!("docker push {}{}", push.name, file.unwrap_or_default())
            }
            Self::Unpush { repository, digest } => {
                format!("curl --request DELETE {}/v2/{repository}/manifests/{digest}", registry::ADDRESS)
            }
            Self::Patch { kind, namespace, name, patch } => {
                let ns = namespace.as_ref().map(|n| format!(" --namespace {n}")).unwrap_or_default();
                format!("kubectl patch {}/{name}{ns} --type=merge --patch='{patch}'", kind.show())
            }
            Self::Apply(object) => {
                format!("kubectl apply --server-side --field-manager=iris-mk8s -f - # {}", kube::describe(object))
            }
            Self::Delete { kind, namespace, name } => {
                let ns = namespace.as_ref().map(|n| format!(" --namespace {n}")).unwrap_or_default();
                format!("kubectl delete {}/{name}{ns}", kind.show())
            }
        }
    }
}
