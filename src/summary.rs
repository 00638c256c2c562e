//! What is there in the end, for the person who wants to use it: addresses, users, where the data lies, and how to stop it all.

use std::fmt::{self, Write};

use serde::Serialize;

use crate::{
    cluster::{self, state},
    error::Result,
    host::Host,
    journal::Place,
    longhorn,
    spec::Spec,
    steps,
};

/// The summary.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// Address of the LoadBalancer service.
    pub address: Option<String>,
    /// Management portal.
    pub portal: Option<String>,
    /// Metrics.
    pub metrics: Option<String>,
    /// Accounts of IRIS.
    pub users: Vec<String>,
    /// File with their password.
    pub password_file: Option<String>,
    /// Their namespace.
    pub namespace: String,
    /// The pods and what they say of themselves.
    pub pods: Vec<Pod>,
    /// The volumes.
    pub volumes: Vec<Volume>,
    /// Longhorn's web page, when there is one: how it is reached.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub longhorn: Option<String>,
    /// The short name for `microk8s.kubectl`.
    pub kubectl: Option<String>,
    /// The user in the group.
    pub user: String,
}

/// A pod.
#[derive(Clone, Debug, Serialize)]
pub struct Pod {
    /// Its name.
    pub name: String,
    /// `ready`, or why not.
    pub state: String,
}

/// A claim and where its data lies.
#[derive(Clone, Debug, Serialize)]
pub struct Volume {
    /// The claim.
    pub claim: String,
    /// Its capacity.
    pub size: String,
    /// Its StorageClass.
    pub class: String,
    /// The directory on this host, if it is one.
    pub path: Option<String>,
}

impl Summary {
    /// Reads it from the cluster.
    ///
    /// # Errors
    /// The cluster does not answer.
    pub fn read(host: &dyn Host, spec: &Spec) -> Result<Self> {
        let iris = &spec.iris;
        let namespace = Some(iris.namespace.as_str());
        let address = steps::address(host, iris)?.map(|ip| ip.to_string());
        let url = |path: &str| address.as_ref().map(|ip| format!("http://{ip}:{}{path}", steps::WEB));
        let pods = host.list(&cluster::POD, namespace, &format!("app={}", iris.service))?;
        let pods = pods.iter().map(|p| Pod {
            name: state::name(p).to_owned(),
            state: state::pod_trouble(p).map_or_else(
                || "ready".to_owned(),
                |why| why.split_once(": ").map_or(why.clone(), |(_, w)| w.to_owned()),
            ),
        });
        let password = Place::default().password();
        let aliases = host.snapd_get("/v2/aliases")?.unwrap_or_default();
        Ok(Self {
            portal: url("/csp/sys/UtilHome.csp"),
            metrics: url("/api/monitor/metrics"),
            address,
            users: steps::USERS.map(str::to_owned).to_vec(),
            password_file: host.exists(&password).then(|| password.display().to_string()),
            namespace: iris.namespace.clone(),
            pods: pods.collect(),
            volumes: volumes(host, spec)?,
            longhorn: longhorn(host)?,
            kubectl: aliases["microk8s"].as_object().and_then(|a| a.keys().next().cloned()),
            user: spec.user.clone(),
        })
    }
}

/// How Longhorn's web page is reached; none without one. It asks nobody who they are, so it is never put on the network by itself.
fn longhorn(host: &dyn Host) -> Result<Option<String>> {
    let (service, port) = longhorn::UI;
    let there = host.get(&cluster::SERVICE, Some(longhorn::NAMESPACE), service)?.is_some();
    Ok(there.then(|| format!("`sudo iris-mk8s forward` shows its page (service {service}:{port}) on this host alone: it asks for no password")))
}

/// The claims of the spec that exist, with their places on this host.
///
/// # Errors
/// The cluster does not answer.
pub fn volumes(host: &dyn Host, spec: &Spec) -> Result<Vec<Volume>> {
    let mut found = Vec::new();
    for (name, _) in steps::claim_names(&spec.iris) {
        let Some(claim) = host.get(&cluster::PERSISTENT_VOLUME_CLAIM, Some(&spec.iris.namespace), &name)? else {
            continue;
        };
        let volume = match claim["spec"]["volumeName"].as_str() {
            Some(volume) => host.get(&cluster::PERSISTENT_VOLUME, None, volume)?,
            None => None,
        };
        let source = volume.unwrap_or_default()["spec"].take();
        let path = source["hostPath"]["path"].as_str().or_else(|| source["local"]["path"].as_str());
        let text = |value: &serde_json::Value| value.as_str().unwrap_or("?").to_owned();
        found.push(Volume {
            claim: name,
            size: text(&claim["spec"]["resources"]["requests"]["storage"]),
            class: text(&claim["spec"]["storageClassName"]),
            path: path.map(str::to_owned),
        });
    }
    Ok(found)
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = |name: &str, value: &str| {
            if name.is_empty() { writeln!(f, "           {value}") } else { writeln!(f, "{name:<10} {value}") }
        };
        line("portal", self.portal.as_deref().unwrap_or("no address yet"))?;
        line("metrics", self.metrics.as_deref().unwrap_or("no address yet"))?;
        line("users", &self.users.join(", "))?;
        if let Some(file) = &self.password_file {
            line("password", &format!("in {file} (readable for {} only)", self.user))?;
        }
        for (at, pod) in self.pods.iter().enumerate() {
            line(if at == 0 { "pods" } else { "" }, &format!("{}: {}", pod.name, pod.state))?;
        }
        for (at, volume) in self.volumes.iter().enumerate() {
            let mut text = format!("{} {} {}", volume.claim, volume.size, volume.class);
            if let Some(path) = &volume.path {
                let _ = write!(text, " {path}");
            }
            line(if at == 0 { "data" } else { "" }, &text)?;
        }
        if let Some(page) = &self.longhorn {
            line("longhorn", page)?;
        }
        let kubectl = self.kubectl.as_deref().unwrap_or("microk8s kubectl");
        line(
            "terminal",
            &format!(
                "{kubectl} exec -it{} {} -- iris session IRIS",
                if self.namespace == "default" { String::new() } else { format!(" -n {}", self.namespace) },
                self.pods.first().map_or("POD", |p| p.name.as_str())
            ),
        )?;
        line(
            "group",
            &format!(
                "{} is in the group microk8s from the next login on; before that: `sg microk8s -c 'COMMAND'`",
                self.user
            ),
        )?;
        line("stop", "`sudo iris-mk8s stop` (the database first), and `sudo iris-mk8s start` to go on")?;
        line(
            "remove",
            "`sudo iris-mk8s teardown` (data stays), `teardown --data`, or `teardown --reset` (everything that is ours)",
        )
    }
}
