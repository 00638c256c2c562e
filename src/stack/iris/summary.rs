//! What is there in the end, for the person who wants to use it: addresses, users, where the data lies, and how to stop it all.

use std::fmt::{self, Write};

use serde::Serialize;

use crate::{
    config::{place::Place, spec::Spec},
    error::Result,
    host::Host,
    kube::{self, state},
    stack::{
        data::{self, Known, Whose},
        iris::{names, state as iris},
        longhorn::state as longhorn,
    },
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
    /// Its namespace.
    pub namespace: String,
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
        let address = iris::address(host, iris)?.map(|ip| ip.to_string());
        let url = |path: &str| address.as_ref().map(|ip| format!("http://{ip}:{}{path}", names::WEB));
        let pods = iris::instances(host, iris)?;
        let pods = pods.iter().map(|p| Pod {
            name: state::name(p).to_owned(),
            state: state::pod_state(p).unwrap_or_else(|| "ready".to_owned()),
        });
        let password = Place::default().password();
        let aliases = host.snapd_get("/v2/aliases")?.unwrap_or_default();
        Ok(Self {
            portal: url("/csp/sys/UtilHome.csp"),
            metrics: url("/api/monitor/metrics"),
            address,
            users: names::USERS.map(str::to_owned).to_vec(),
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
    let there = host.get(&kube::SERVICE, Some(longhorn::NAMESPACE), service)?.is_some();
    Ok(there.then(|| format!("`sudo iris-mk8s forward` shows its page (service {service}:{port}) on this host alone: it asks for no password")))
}

/// The volumes of IRIS: all that we made, in any namespace and for any number of instances, and those that it works on.
///
/// # Errors
/// The cluster does not answer.
fn volumes(host: &dyn Host, spec: &Spec) -> Result<Vec<Volume>> {
    let in_use = names::claim_names(&spec.iris);
    let is_in_use = |v: &data::Volume| {
        v.namespace.as_ref() == Some(&spec.iris.namespace)
            && in_use.iter().any(|(name, _)| Some(name) == v.claim.as_ref())
    };
    let all = data::volumes(host, &Known::wanted(spec))?.into_iter();
    let of_iris = all.filter(|v| v.whose == Whose::Iris || is_in_use(v)).filter_map(|v| {
        let (namespace, claim) = (v.namespace?, v.claim?);
        Some(Volume { namespace, claim, size: v.size, class: v.class, path: v.paths.into_iter().next() })
    });
    Ok(of_iris.collect())
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
            let elsewhere =
                if volume.namespace == self.namespace { String::new() } else { format!("{}/", volume.namespace) };
            let mut text = format!("{elsewhere}{} {} {}", volume.claim, volume.size, volume.class);
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
        // Root needs no group.
        if self.user != "root" {
            let user = &self.user;
            let text = format!(
                "{user} is in the group microk8s from the next login on; before that: `sg microk8s -c 'COMMAND'`"
            );
            line("group", &text)?;
        }
        line("stop", "`sudo iris-mk8s stop` (the database first), and `sudo iris-mk8s start` to go on")?;
        line(
            "remove",
            "`sudo iris-mk8s teardown` (data stays), `teardown --data`, or `teardown --reset` (everything that is ours)",
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary(user: &str) -> Summary {
        Summary {
            address: None,
            portal: None,
            metrics: None,
            users: vec!["SuperUser".to_owned()],
            password_file: Some("/var/lib/iris-mk8s/password".to_owned()),
            namespace: "default".to_owned(),
            pods: Vec::new(),
            volumes: Vec::new(),
            longhorn: None,
            kubectl: None,
            user: user.to_owned(),
        }
    }

    #[test]
    fn only_a_user_who_needs_the_group_is_told_of_it() {
        assert!(summary("ubuntu").to_string().contains("ubuntu is in the group microk8s from the next login on"));
        let of_root = summary("root").to_string();
        assert!(!of_root.contains("group") && !of_root.contains("login"), "{of_root}");
    }
}
