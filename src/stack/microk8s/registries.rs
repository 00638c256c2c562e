//! Where containerd fetches images: a mirror for a registry, and a proxy. Both are lines in files of MicroK8s' own, which get back what
//! was in them before.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use base64::Engine;
use serde_json::{Value, json};

use crate::{
    config::spec::{Mirror, Registries, Spec},
    engine::step::{Act, Memo, Memory, Probe, SNAP, SOON, Scope, Step, Undo},
    error::{Error, Result},
    host::{Cmd, FileWrite, Host, digest},
    stack::{
        lan, left,
        microk8s::state::{ARGS, registry_folder},
    },
};

/// The steps; none unless they are asked for.
pub(crate) fn all(spec: &Spec) -> Vec<Box<dyn Step>> {
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

fn write(path: PathBuf, text: &str, secret: bool) -> Act {
    // With a password in it, it is nobody's but root's, whatever it was before.
    let (mode, keeps) = if secret { (0o600, false) } else { (0o640, true) };
    Act::Write(FileWrite { path, bytes: text.as_bytes().to_vec(), mode, owner: None, secret, keeps })
}

/// A file's text as the journal may hold it: of one with a password only the digest.
fn without_secret(text: &str) -> Value {
    if text.contains("authorization") { json!({"sha256": digest::sha256(text)}) } else { json!(text) }
}

/// Whether a text is the one that the journal holds.
fn is(text: &str, held: &Value) -> bool {
    *held == without_secret(text)
}

/// What an undo of a file has to do: three ways, by what is in it now.
enum Back {
    Done,
    Keep,
    Lost,
    To(Option<String>),
}

fn back(now: Option<&String>, memory: &Memory) -> Back {
    let is_prior = now.map_or(memory.prior.is_null(), |now| is(now, &memory.prior));
    if is_prior {
        Back::Done
    } else if memory.open || now.is_some_and(|now| memory.wants.iter().any(|want| is(now, want))) {
        // What had a password in it cannot be put back: only its digest is known.
        if memory.prior.is_object() { Back::Lost } else { Back::To(memory.prior.as_str().map(str::to_owned)) }
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
    /// Where containerd looks for it.
    fn path(&self) -> PathBuf {
        Path::new(ARGS).join("certs.d").join(registry_folder(&self.mirror.registry)).join("hosts.toml")
    }

    /// The content, with the password where one is needed.
    fn wanted(&self, host: &dyn Host) -> Result<String> {
        let Mirror { registry, url, ca, login } = &self.mirror;
        // Docker Hub answers under another name than it is called by.
        let server = if registry == "docker.io" { "registry-1.docker.io" } else { registry };
        let mut wanted =
            format!("server = \"https://{server}\"\n\n[host.\"{url}\"]\n  capabilities = [\"pull\", \"resolve\"]\n");
        // Who names the API's own path means it as it stands; else containerd appends it.
        if url.split('/').skip(3).any(|part| part == "v2") {
            wanted.push_str("  override_path = true\n");
        }
        if let Some(ca) = ca {
            wanted.push_str(&format!("  ca = {}\n", json!(ca.display().to_string())));
        }
        if let Some(login) = login {
            let given = text(host, login)?.unwrap_or_default();
            let Some(pair) = given.lines().next().map(str::trim).filter(|pair| pair.contains(':')) else {
                return Err(Error::failed(format!("{} holds no login for {registry}", login.display()))
                    .hint("write it as one line: USER:PASSWORD (registries.login in the profile)"));
            };
            let basic = base64::engine::general_purpose::STANDARD.encode(pair);
            wanted.push_str(&format!("  [host.\"{url}\".header]\n    authorization = \"Basic {basic}\"\n"));
        }
        Ok(wanted)
    }

    /// Where this program put it before it knew of [`Hosts::path`]'s way with ports: nobody reads it there.
    fn former(&self) -> Option<PathBuf> {
        let folder = self.mirror.registry.replace(':', "__");
        (folder != self.mirror.registry).then(|| Path::new(ARGS).join("certs.d").join(folder).join("hosts.toml"))
    }

    /// Removes a file of ours, and its folder if that is empty then.
    fn remove(host: &dyn Host, path: PathBuf) -> Vec<Act> {
        let folder = path.parent().unwrap_or(Path::new(ARGS)).to_owned();
        let alone = host.names(&folder).len() <= 1;
        let mut acts = vec![Act::Remove { path, all: false }];
        if alone {
            acts.push(Act::Remove { path: folder, all: false });
        }
        acts
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
            Some(now) if now == self.wanted(host)? => Probe::satisfied(""),
            Some(now) => Probe::differs(without_secret(&now), "containerd asks others for them, or in another way"),
        })
    }

    fn apply(&self, host: &dyn Host, _: &Probe) -> Result<Vec<Act>> {
        Ok(vec![write(self.path(), &self.wanted(host)?, self.mirror.login.is_some())])
    }

    fn memo(&self, host: &dyn Host, found: &Probe) -> Result<Memo> {
        let prior = if let Probe::Differs { now, .. } = found { now.clone() } else { Value::Null };
        Ok(Memo { prior, want: without_secret(&self.wanted(host)?) })
    }

    fn undo(&self, host: &dyn Host, memory: &Memory) -> Result<Undo> {
        let path = self.path();
        if let Some(former) = self.former()
            && text(host, &former)?.is_some_and(|now| memory.wants.iter().any(|want| is(&now, want)))
        {
            return Ok(Undo::Acts(Self::remove(host, former)));
        }
        if let Some(act) = left::unfinished(host, &path).filter(|_| memory.open) {
            return Ok(Undo::Acts(vec![act]));
        }
        Ok(match back(text(host, &path)?.as_ref(), memory) {
            Back::Done => Undo::Done,
            Back::Keep => Undo::Keep(format!("somebody changed {} since", path.display())),
            Back::Lost => {
                Undo::Keep(format!("{} had a password in it before, which the journal does not hold", path.display()))
            }
            Back::To(Some(before)) => Undo::Acts(vec![write(path, &before, false)]),
            Back::To(None) => Undo::Acts(Self::remove(host, path)),
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
        let lans: Vec<String> = lan::network(host)?.lans().map(|(_, lan)| lan.to_string()).collect();
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
        Ok(vec![write(Self::path(), &Self::wanted(&now, &self.lines(host)?), false), Self::restart()])
    }

    fn memo(&self, host: &dyn Host, found: &Probe) -> Result<Memo> {
        let Probe::Differs { now, .. } = found else { return Ok(Memo::default()) };
        let want = Self::wanted(now.as_str().unwrap_or_default(), &self.lines(host)?);
        Ok(Memo { prior: now.clone(), want: json!(want) })
    }

    fn undo(&self, host: &dyn Host, memory: &Memory) -> Result<Undo> {
        if let Some(act) = left::unfinished(host, &Self::path()).filter(|_| memory.open) {
            return Ok(Undo::Acts(vec![act]));
        }
        Ok(match back(text(host, &Self::path())?.as_ref(), memory) {
            Back::Done => Undo::Done,
            Back::Keep | Back::Lost => Undo::Keep(format!("somebody changed {} since", Self::path().display())),
            Back::To(before) => {
                Undo::Acts(vec![write(Self::path(), &before.unwrap_or_default(), false), Self::restart()])
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

    /// A host that has one file, and can do nothing else.
    fn step(registry: &str, url: &str, ca: Option<&str>, login: Option<&str>) -> Hosts {
        let file = |path: Option<&str>| path.map(PathBuf::from);
        let mirror = Mirror { registry: registry.to_owned(), url: url.to_owned(), ca: file(ca), login: file(login) };
        Hosts { id: String::new(), mirror }
    }

    fn wanted(step: &Hosts) -> Result<String> {
        step.wanted(&crate::host::Real::new("registries", |_| {}).expect("a host"))
    }

    #[test]
    fn a_mirror_is_written_as_containerd_reads_it() {
        let hosts = step("docker.io", "http://mirror.lan:5000", None, None);
        assert_eq!(hosts.path(), Path::new("/var/snap/microk8s/current/args/certs.d/docker.io/hosts.toml"));
        assert_eq!(
            wanted(&hosts).expect("a text"),
            "server = \"https://registry-1.docker.io\"\n\n[host.\"http://mirror.lan:5000\"]\n  capabilities = [\"pull\", \"resolve\"]\n"
        );
        let other = step("reg.lan:5000", "http://m", None, None);
        assert!(other.path().ends_with("certs.d/reg.lan_5000_/hosts.toml"));
        assert!(other.former().expect("a former place").ends_with("certs.d/reg.lan__5000/hosts.toml"));
    }

    #[test]
    fn a_path_an_authority_and_a_login_are_told_to_containerd() {
        let with_path =
            |url| wanted(&step("quay.io", url, None, None)).expect("a text").contains("override_path = true");
        assert!(with_path("https://harbor.lan/v2/quay-proxy"));
        assert!(!with_path("https://art.lan/artifactory/api/docker/quay") && !with_path("https://v2.lan"));

        let dir = tempfile::tempdir().expect("a folder");
        let login = dir.path().join("login");
        std::fs::write(&login, "robot:s3cret\n").expect("a file");
        let hosts = step("reg.lan:5000", "https://reg.lan:5000", Some("/etc/ssl/reg.crt"), login.to_str());
        let text = wanted(&hosts).expect("a text");
        assert!(text.ends_with(
            "  ca = \"/etc/ssl/reg.crt\"\n  [host.\"https://reg.lan:5000\".header]\n    authorization = \"Basic cm9ib3Q6czNjcmV0\"\n"
        ));
        // The journal knows that it is the same, and no more.
        let held = without_secret(&text);
        assert!(is(&text, &held) && !held.to_string().contains("cm9ib3Q6czNjcmV0"));
        let memory = Memory { wants: vec![held], ..Memory::default() };
        assert!(matches!(back(Some(&text), &memory), Back::To(None)));
        std::fs::write(&login, "nobody\n").expect("a file");
        assert!(wanted(&hosts).expect_err("no login").what.contains("holds no login for reg.lan:5000"));
    }
}
