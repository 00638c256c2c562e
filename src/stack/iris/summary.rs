//! The summary at the end of a run, for the person who wants to use it: addresses, users, where the data is, and how to stop it all.

use std::fmt;

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

/// How Longhorn's web page is reached; none without one. It has no login, so it is never put on the network automatically.
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
    /// First what a person wants first: where to log in, as whom, and the password. No line is wider than a terminal of 80 columns, unless a
    /// single path or name is.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, lines) in self.parts() {
            for (at, line) in lines.iter().enumerate() {
                writeln!(f, "{:<10} {line}", if at == 0 { name } else { "" })?;
            }
        }
        Ok(())
    }
}

impl Summary {
    /// Each part with its lines.
    fn parts(&self) -> Vec<(&'static str, Vec<String>)> {
        let or_none = |url: &Option<String>| vec![url.clone().unwrap_or_else(|| "no address yet".to_owned())];
        let mut parts = vec![("portal", or_none(&self.portal)), ("users", vec![self.users.join(", ")])];
        if let Some(file) = &self.password_file {
            parts.push(("password", vec![format!("sudo cat {file}")]));
        }
        parts.push(("metrics", or_none(&self.metrics)));
        parts.push(("pods", self.pods.iter().map(|pod| format!("{}: {}", pod.name, pod.state)).collect()));
        parts.push(("data", self.volumes.iter().flat_map(|volume| self.of_volume(volume)).collect()));
        parts.push(("terminal", vec![self.terminal()]));
        if self.longhorn.is_some() {
            let what = "shows Longhorn's page on this host only; it has no password";
            parts.push(("longhorn", vec!["sudo iris-mk8s forward".to_owned(), what.to_owned()]));
        }
        // Root needs no group.
        if self.user != "root" {
            parts.push((
                "group",
                vec![
                    format!("{} is in the group microk8s from the next login on;", self.user),
                    "until then: sg microk8s -c 'COMMAND'".to_owned(),
                ],
            ));
        }
        parts.push(("stop", vec!["sudo iris-mk8s stop      (IRIS first, then MicroK8s)".to_owned()]));
        parts.push(("start", vec!["sudo iris-mk8s start".to_owned()]));
        let remove = [
            "sudo iris-mk8s teardown          (the data stays)",
            "sudo iris-mk8s teardown --data   (deletes the data, too)",
            "sudo iris-mk8s teardown --reset  (removes everything it installed)",
        ];
        parts.push(("remove", remove.map(str::to_owned).to_vec()));
        parts
    }

    /// A volume, and on a line of its own where its data is.
    fn of_volume(&self, volume: &Volume) -> Vec<String> {
        let elsewhere =
            if volume.namespace == self.namespace { String::new() } else { format!("{}/", volume.namespace) };
        let mut lines = vec![format!("{elsewhere}{} {} {}", volume.claim, volume.size, volume.class)];
        lines.extend(volume.path.as_ref().map(|path| format!("  {path}")));
        lines
    }

    fn terminal(&self) -> String {
        let kubectl = self.kubectl.as_deref().unwrap_or("microk8s kubectl");
        let namespace = if self.namespace == "default" { String::new() } else { format!(" -n {}", self.namespace) };
        let pod = self.pods.first().map_or("POD", |p| p.name.as_str());
        format!("{kubectl} exec -it{namespace} {pod} -- iris session IRIS")
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

    #[test]
    fn a_terminal_of_80_columns_shows_it_whole_with_the_login_first() {
        let path = "/var/snap/microk8s/common/default-storage/default-data-data-0-pvc-1";
        let volume = Volume {
            namespace: "default".to_owned(),
            claim: "data-data-0".to_owned(),
            size: "5Gi".to_owned(),
            class: "microk8s-hostpath".to_owned(),
            path: Some(path.to_owned()),
        };
        let portal = Some("http://192.168.11.110:52773/csp/sys/UtilHome.csp".to_owned());
        let longhorn = Some("it is there".to_owned());
        let text = Summary { portal, longhorn, volumes: vec![volume], ..summary("ubuntu") }.to_string();
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        let first: Vec<&str> = text.lines().filter_map(|line| line.split_whitespace().next()).take(3).collect();
        assert_eq!(first, ["portal", "users", "password"]);
        assert!(text.lines().any(|line| line.trim() == path), "{text}");
    }
}
