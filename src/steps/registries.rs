//! Where containerd fetches images: a mirror for a registry, and a proxy. Both are lines in files of MicroK8s' own, which get back what
//! was in them before.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::{Value, json};

use super::{SNAP, SOON};
use crate::{
    checks,
    error::Result,
    host::{Cmd, FileWrite, Host},
    spec::{Mirror, Registries, Spec},
    step::{Act, Memo, Memory, Probe, Scope, Step, Undo},
};

/// MicroK8s' arguments; each revision of the snap has its own copy, and takes the last one's along.
const ARGS: &str = "/var/snap/microk8s/current/args";

/// The steps; none unless they are asked for.
pub(super) fn all(spec: &Spec) -> Vec<Box<dyn Step>> {
    let Registries { mirrors, proxy, no_proxy } = &spec.registries;
    let mirror =
        |m: &Mirror| -> Box<dyn Step> { Box::new(Hosts { id: format!("mirror.{}", m.registry), mirror: m.clone() }) };
    let mut steps: Vec<Box<dyn Step>> = mirrors.iter().map(mirror).collect();
    if let Some(proxy) = proxy {
        steps.push(Box::new(Proxy { proxy: proxy.clone(), no_proxy: no_proxy.clone() }));
    }
    steps
}

fn text(host: &dyn Host, path: &Path) -> Result<Option<String>> {
    Ok(host.read(path)?.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
}

fn write(path: PathBuf, text: &str) -> Act {
    Act::Write(FileWrite {
        path,
        bytes: text.as_bytes().to_vec(),
        mode: 0o640,
        owner: None,
        secret: false,
        keeps: true,
    })
}

/// What an undo of a file has to do: three ways, by what is in it now.
enum Back {
    Done,
    Keep,
    To(Option<String>),
}

fn back(now: Option<&String>, memory: &Memory) -> Back {
    let prior = memory.prior.as_str();
    if now.map(String::as_str) == prior {
        Back::Done
    } else if memory.open || now.is_some_and(|now| memory.wants.iter().any(|want| want == now)) {
        Back::To(prior.map(str::to_owned))
    } else {
        Back::Keep
    }
}

/// The mirror of a registry. containerd reads the file anew with each pull.
struct Hosts {
    id: String,
    mirror: Mirror,
}

impl Hosts {
    fn path(&self) -> PathBuf {
        // A colon in a folder's name is no name of containerd's.
        let folder = self.mirror.registry.replace(':', "__");
        Path::new(ARGS).join("certs.d").join(folder).join("hosts.toml")
    }

    fn wanted(&self) -> String {
        let Mirror { registry, url } = &self.mirror;
        // Docker Hub answers under another name than it is called by.
        let server = if registry == "docker.io" { "registry-1.docker.io" } else { registry };
        format!("server = \"https://{server}\"\n\n[host.\"{url}\"]\n  capabilities = [\"pull\", \"resolve\"]\n")
    }
}

impl Step for Hosts {
    fn id(&self) -> &str {
        &self.id
    }

    fn recipe(&self) -> Value {
        json!({"registries": {"mirrors": [self.mirror]}})
    }

    fn title(&self) -> String {
        format!("images of {} from {}", self.mirror.registry, self.mirror.url)
    }

    fn probe(&self, host: &dyn Host) -> Result<Probe> {
        Ok(match text(host, &self.path())? {
            None => Probe::Absent,
            Some(now) if now == self.wanted() => Probe::satisfied(""),
            Some(now) => Probe::differs(json!(now), "containerd asks others for them"),
        })
    }

    fn apply(&self, _: &dyn Host, _: &Probe) -> Result<Vec<Act>> {
        Ok(vec![write(self.path(), &self.wanted())])
    }

    fn memo(&self, _: &dyn Host, found: &Probe) -> Result<Memo> {
        let prior = if let Probe::Differs { now, .. } = found { now.clone() } else { Value::Null };
        Ok(Memo { prior, want: json!(self.wanted()) })
    }

    fn undo(&self, host: &dyn Host, memory: &Memory) -> Result<Undo> {
        let path = self.path();
        Ok(match back(text(host, &path)?.as_ref(), memory) {
            Back::Done => Undo::Done,
            Back::Keep => Undo::Keep(format!("somebody changed {} since", path.display())),
            Back::To(Some(before)) => Undo::Acts(vec![write(path, &before)]),
            Back::To(None) => {
                let folder = path.parent().unwrap_or(Path::new(ARGS)).to_owned();
                let alone = host.names(&folder).len() <= 1;
                let mut acts = vec![Act::Remove { path, all: false }];
                if alone {
                    acts.push(Act::Remove { path: folder, all: false });
                }
                Undo::Acts(acts)
            }
        })
    }

    fn deadline(&self) -> Duration {
        SOON
    }

    fn scope(&self) -> Scope {
        Scope::Host
    }

    fn inside(&self) -> Option<&'static str> {
        Some(SNAP)
    }
}

/// The proxy. containerd has its environment from when it was started.
struct Proxy {
    proxy: String,
    no_proxy: Vec<String>,
}

/// Addresses and names of the cluster itself, which no proxy knows.
const CLUSTER: [&str; 6] = ["127.0.0.1", "localhost", "10.1.0.0/16", "10.152.183.0/24", ".svc", ".cluster.local"];

const SERVICE: &str = "microk8s.daemon-containerd";

impl Proxy {
    fn path() -> PathBuf {
        Path::new(ARGS).join("containerd-env")
    }

    /// The lines, in the form of the file: a shell reads it.
    fn lines(&self, host: &dyn Host) -> Result<[String; 3]> {
        let lans: Vec<String> = checks::network(host)?.lans().map(|(_, lan)| lan.to_string()).collect();
        let mut direct: Vec<&str> = CLUSTER.to_vec();
        direct.extend(lans.iter().chain(&self.no_proxy).map(String::as_str));
        let proxy = &self.proxy;
        Ok([format!("HTTP_PROXY={proxy}"), format!("HTTPS_PROXY={proxy}"), format!("NO_PROXY={}", direct.join(","))])
    }

    /// The file with our lines in the place of others of the same names.
    fn wanted(now: &str, lines: &[String]) -> String {
        let name = |line: &str| line.split_once('=').map(|(name, _)| name.trim().to_ascii_uppercase());
        let ours: Vec<Option<String>> = lines.iter().map(|line| name(line)).collect();
        let others = now.lines().filter(|line| !ours.contains(&name(line)));
        others.chain(lines.iter().map(String::as_str)).map(|line| format!("{line}\n")).collect()
    }

    /// Whether the containerd that runs was started with these lines.
    fn in_effect(host: &dyn Host, lines: &[String]) -> Result<bool> {
        let unit = format!("snap.{SERVICE}.service");
        let shown = host.ask(&Cmd::reads(["systemctl", "show", "--property=MainPID", "--value", &unit]))?;
        let environment =
            text(host, &Path::new("/proc").join(shown.stdout.trim()).join("environ"))?.unwrap_or_default();
        Ok(lines.iter().all(|line| environment.split('\0').any(|there| there == line)))
    }

    fn restart() -> Act {
        Act::Run(Cmd::changes(SOON, ["snap", "restart", SERVICE]))
    }
}

impl Step for Proxy {
    fn id(&self) -> &'static str {
        "registries.proxy"
    }

    fn recipe(&self) -> Value {
        json!({"registries": {"proxy": self.proxy, "no_proxy": self.no_proxy}})
    }

    fn title(&self) -> String {
        format!("images through the proxy {}", self.proxy)
    }

    fn probe(&self, host: &dyn Host) -> Result<Probe> {
        let Some(now) = text(host, &Self::path())? else { return Ok(Probe::pending("MicroK8s has no arguments yet")) };
        let lines = self.lines(host)?;
        if !lines.iter().all(|line| now.lines().any(|l| l == line)) {
            return Ok(Probe::differs(json!(now), "containerd does not know of the proxy"));
        }
        Ok(if Self::in_effect(host, &lines)? {
            Probe::satisfied(&lines[2])
        } else {
            Probe::differs(json!(now), "containerd was started before it could know of the proxy")
        })
    }

    fn apply(&self, host: &dyn Host, _: &Probe) -> Result<Vec<Act>> {
        // The snap brings the file: a plan that is made before knows only what will be in it.
        let now = text(host, &Self::path())?.unwrap_or_default();
        Ok(vec![write(Self::path(), &Self::wanted(&now, &self.lines(host)?)), Self::restart()])
    }

    fn memo(&self, host: &dyn Host, found: &Probe) -> Result<Memo> {
        let Probe::Differs { now, .. } = found else { return Ok(Memo::default()) };
        let want = Self::wanted(now.as_str().unwrap_or_default(), &self.lines(host)?);
        Ok(Memo { prior: now.clone(), want: json!(want) })
    }

    fn undo(&self, host: &dyn Host, memory: &Memory) -> Result<Undo> {
        Ok(match back(text(host, &Self::path())?.as_ref(), memory) {
            Back::Done => Undo::Done,
            Back::Keep => Undo::Keep(format!("somebody changed {} since", Self::path().display())),
            Back::To(before) => Undo::Acts(vec![write(Self::path(), &before.unwrap_or_default()), Self::restart()]),
        })
    }

    fn deadline(&self) -> Duration {
        SOON
    }

    fn scope(&self) -> Scope {
        Scope::Host
    }

    fn inside(&self) -> Option<&'static str> {
        Some(SNAP)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_same_name_give_way_and_others_stay() {
        let lines = ["HTTP_PROXY=http://p:1".to_owned(), "NO_PROXY=a".to_owned()];
        let now = "# HTTPS_PROXY is an example\nulimit -n 65536 || true\nhttp_proxy=http://old:2\nNO_PROXY=b\n";
        let wanted = Proxy::wanted(now, &lines);
        assert_eq!(wanted, "# HTTPS_PROXY is an example\nulimit -n 65536 || true\nHTTP_PROXY=http://p:1\nNO_PROXY=a\n");
        assert_eq!(Proxy::wanted(&wanted, &lines), wanted);
    }

    #[test]
    fn a_file_goes_back_to_what_it_was_unless_somebody_changed_it() {
        let memory = |open| Memory { prior: json!("old"), wants: vec![json!("ours")], open, ..Memory::default() };
        let (old, ours, theirs) = ("old".to_owned(), "ours".to_owned(), "theirs".to_owned());
        assert!(matches!(back(Some(&old), &memory(false)), Back::Done));
        assert!(matches!(back(Some(&ours), &memory(false)), Back::To(Some(before)) if before == "old"));
        assert!(matches!(back(Some(&theirs), &memory(false)), Back::Keep));
        assert!(matches!(back(Some(&theirs), &memory(true)), Back::To(Some(_))));
        assert!(matches!(back(None, &Memory::default()), Back::Done));
    }

    #[test]
    fn a_mirror_is_written_as_containerd_reads_it() {
        let mirror = |registry: &str, url: &str| Mirror { registry: registry.to_owned(), url: url.to_owned() };
        let hosts = Hosts { id: String::new(), mirror: mirror("docker.io", "http://mirror.lan:5000") };
        assert_eq!(hosts.path(), Path::new("/var/snap/microk8s/current/args/certs.d/docker.io/hosts.toml"));
        assert_eq!(
            hosts.wanted(),
            "server = \"https://registry-1.docker.io\"\n\n[host.\"http://mirror.lan:5000\"]\n  capabilities = [\"pull\", \"resolve\"]\n"
        );
        let other = Hosts { id: String::new(), mirror: mirror("reg.lan:5000", "http://m") };
        assert!(other.path().ends_with("certs.d/reg.lan__5000/hosts.toml"));
    }
}
