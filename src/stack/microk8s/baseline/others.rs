//! Who else has come to the host since: another Kubernetes, which has rules and folders of the same names, and other runtimes, which need
//! the kernel's settings as they are.

use std::path::Path;

use super::processes::Seen;
use crate::{error::Result, host::Host, stack::microk8s::state::OTHER_KUBERNETES};

/// Programs of a Kubernetes that work on the host itself.
const PROGRAMS: &[&str] = &["kubelet", "kube-proxy", "k3s", "k3s-server", "k3s-agent", "rke2", "k0s"];

/// Sockets of other container runtimes. Each of them needs forwarding, and turns it on only when it starts.
const RUNTIMES: &[(&str, &str)] = &[
    ("Docker", "/run/docker.sock"),
    ("containerd", "/run/containerd/containerd.sock"),
    ("CRI-O", "/run/crio/crio.sock"),
    ("Podman", "/run/podman/podman.sock"),
    ("LXD", "/var/snap/lxd/common/lxd/unix.socket"),
    ("LXD", "/var/lib/lxd/unix.socket"),
    ("Incus", "/var/lib/incus/unix.socket"),
    ("libvirt", "/run/libvirt/libvirt-sock"),
];

/// They.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Others {
    /// A Kubernetes on the host's own network.
    pub(super) kubernetes: Option<String>,
    /// Another runtime.
    pub(super) runtime: Option<String>,
}

impl Others {
    pub(super) fn look(host: &dyn Host, processes: &[Seen]) -> Result<Self> {
        let installed = OTHER_KUBERNETES.iter().find(|(_, path, _)| host.exists(Path::new(path)));
        let mut kubernetes = installed.map(|(name, path, _)| format!("{name} is on this host ({path})"));
        if kubernetes.is_none() {
            kubernetes = processes.iter().find_map(running);
        }
        if kubernetes.is_none() && host.snapd_get("/v2/snaps/k8s")?.is_some() {
            kubernetes = Some("Canonical Kubernetes is on this host (the snap k8s)".to_owned());
        }
        let runtime = RUNTIMES.iter().find(|(_, path)| host.exists(Path::new(path)));
        Ok(Self { kubernetes, runtime: runtime.map(|(name, path)| format!("{name} is on this host ({path})")) })
    }
}

/// A program of another Kubernetes. In a container with a network of its own it has rules and settings of its own, too.
fn running(process: &Seen) -> Option<String> {
    let of_microk8s = process.program.as_ref().is_some_and(|p| p.starts_with("/snap/microk8s"))
        || process.groups.iter().any(|g| g.contains("snap.microk8s."));
    let is_one = process.on_network && !of_microk8s && PROGRAMS.contains(&process.name());
    is_one.then(|| format!("another Kubernetes runs on this host (process {}, {})", process.pid, process.name()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kubernetes_counts_where_it_has_the_networks_of_this_host() {
        let kubelet = Seen {
            pid: 7,
            argv: vec!["/usr/bin/kubelet".to_owned(), "--config=x".to_owned()],
            groups: vec!["/system.slice/kubelet.service".to_owned()],
            on_network: true,
            ..Seen::default()
        };
        assert!(running(&kubelet).is_some_and(|why| why.contains("process 7, kubelet")));
        let kind = Seen { on_network: false, ..kubelet.clone() };
        let of_microk8s = Seen { program: Some("/snap/microk8s/7731/kubelet".into()), ..kubelet.clone() };
        let service =
            Seen { groups: vec!["/system.slice/snap.microk8s.daemon-kubelet.service".into()], ..kubelet.clone() };
        let editor = Seen { argv: vec!["vi".into(), "/usr/bin/kubelet".into()], ..kubelet };
        for other in [kind, of_microk8s, service, editor] {
            assert_eq!(running(&other), None, "{other:?}");
        }
    }
}
