//! What several checks want to know of the host, read once; and the ways in which a check may look. All of them only read.

use std::{
    path::{Path, PathBuf},
    sync::OnceLock,
};

use serde_json::Value;

use crate::{
    cluster::{self, state},
    error::{Error, Result},
    host::{CLIENT_CONFIG, Cmd, Host, Output},
    network::{Network, Reserved},
    spec::Spec,
};

/// The facts.
pub struct Facts<'a> {
    /// The host.
    pub host: &'a dyn Host,
    /// What is wanted of it.
    pub spec: &'a Spec,
    /// The snap `microk8s` as snapd describes it; none where it is not installed.
    pub snap: Option<Value>,
    /// The kind of container that the host is, if it is one.
    pub container: Option<String>,
    network: OnceLock<Result<Network>>,
}

impl<'a> Facts<'a> {
    /// Reads what everybody asks for.
    pub fn read(host: &'a dyn Host, spec: &'a Spec) -> Self {
        // A snapd that does not answer has a check of its own.
        let snap = host.snapd_get("/v2/snaps/microk8s").unwrap_or_default();
        let mut facts = Self { host, spec, snap, container: None, network: OnceLock::new() };
        let kind = facts.ask(&["systemd-detect-virt", "--container"]).unwrap_or_default();
        facts.container = kind.map(|k| k.stdout.trim().to_owned()).filter(|k| !k.is_empty() && k != "none");
        facts
    }

    /// Whether MicroK8s is there already: then much of what it takes to get it no longer matters.
    pub fn installed(&self) -> bool {
        self.snap.is_some()
    }

    /// A file's text; empty when there is none.
    pub(super) fn text(&self, path: &str) -> Result<String> {
        Ok(self.host.read(Path::new(path))?.map(|b| String::from_utf8_lossy(&b).into_owned()).unwrap_or_default())
    }

    pub(super) fn exists(&self, path: &str) -> bool {
        self.host.exists(Path::new(path))
    }

    /// The number in a file of one line.
    pub(super) fn number(&self, path: &str) -> Result<Option<u64>> {
        Ok(self.text(path)?.trim().parse().ok())
    }

    /// Runs a program that only looks; none where there is no such program.
    pub(super) fn ask(&self, argv: &[&str]) -> Result<Option<Output>> {
        match self.host.ask(&Cmd::reads(argv.iter().copied())) {
            Ok(output) => Ok(Some(output)),
            Err(e) if e.what.starts_with("there is no program") => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// The path, or what of it exists.
    pub(super) fn nearest(&self, path: &str) -> PathBuf {
        let found = Path::new(path).ancestors().find(|p| self.host.exists(p));
        found.unwrap_or(Path::new("/")).to_owned()
    }

    /// The network around the host.
    ///
    /// # Errors
    /// `ip` fails, or prints something unknown.
    pub fn network(&self) -> Result<&Network> {
        self.network.get_or_init(|| self.read_network()).as_ref().map_err(Clone::clone)
    }

    fn read_network(&self) -> Result<Network> {
        let ip = |what: &str| -> Result<String> {
            let output = self.host.ask(&Cmd::reads(["ip", "-j", "-d", what]))?;
            if output.ok() {
                Ok(output.stdout)
            } else {
                Err(Error::failed(format!("`ip {what}` {}", output.ended())).because(output.tail()))
            }
        };
        let mut network = Network::from_ip_json(&ip("addr")?, &ip("route")?)
            .map_err(|e| Error::failed("`ip -j` printed something unknown").because(e))?;
        for path in ["/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"] {
            network.add_resolv_conf(&self.text(path)?);
        }
        for path in self.dhcp_files() {
            network.add_dhcp_file(&path, &self.text(&path)?);
        }
        Ok(network)
    }

    /// Where DHCP clients keep their leases, and DHCP servers on this host their configuration.
    fn dhcp_files(&self) -> Vec<String> {
        let folders = [
            ("/run/systemd/netif/leases", ""),
            ("/var/lib/NetworkManager", ".lease"),
            ("/var/lib/dhcp", ".leases"),
            ("/var/lib/dhclient", ".leases"),
            ("/var/lib/libvirt/dnsmasq", ".conf"),
            ("/etc/dnsmasq.d", ".conf"),
        ];
        let inside = |(folder, end): (&str, &str)| {
            let names =
                self.host.names(Path::new(folder)).into_iter().filter(|name| name.ends_with(end)).collect::<Vec<_>>();
            names.into_iter().map(|name| format!("{folder}/{name}")).collect::<Vec<_>>()
        };
        let mut files: Vec<String> = folders.into_iter().flat_map(inside).collect();
        files.push("/etc/dnsmasq.conf".to_owned());
        files
    }

    /// What the range must keep clear of: the cluster's networks, and what its services want and have. As MicroK8s comes, while
    /// there is no cluster that answers.
    pub(super) fn reserved(&self) -> Result<Reserved> {
        let mut reserved = Reserved::default();
        if !self.exists(CLIENT_CONFIG) {
            return Ok(reserved);
        }
        let argument = |file: &str, name: &str| -> Result<Option<ipnet::Ipv4Net>> {
            let text = self.text(&format!("/var/snap/microk8s/current/args/{file}"))?;
            // Two networks (IPv4 and IPv6) are separated by a comma.
            let value = text.lines().find_map(|l| l.trim().strip_prefix(name)?.strip_prefix('=').map(str::to_owned));
            Ok(value.and_then(|v| v.split(',').find_map(|net| net.trim().parse().ok())))
        };
        if let Some(pods) = argument("kube-proxy", "--cluster-cidr")? {
            reserved.pods = pods;
        }
        if let Some(services) = argument("kube-apiserver", "--service-cluster-ip-range")? {
            reserved.services = services;
        }
        let services = self.host.list(&cluster::SERVICE, None, "").unwrap_or_default();
        let balanced = || services.iter().filter(|s| s["spec"]["type"] == "LoadBalancer");
        reserved.own = balanced().flat_map(state::addresses).filter_map(|a| a.parse().ok()).collect();
        reserved.wanted = reserved.wanted.max(balanced().count() as u64);
        Ok(reserved)
    }
}
