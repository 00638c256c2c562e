//! Logins for registries that the person has already, from `docker login` or `podman login`. They are used while a bundle is made, and are not in it.

use std::{
    collections::BTreeMap,
    fs,
    io::Write,
    path::PathBuf,
    process::{Command, Stdio},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::Deserialize;

/// A user and a password.
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    /// The user.
    pub user: String,
    /// The password, or a token.
    pub password: String,
}

impl Login {
    /// As a header of HTTP.
    pub(super) fn basic(&self) -> String {
        format!("Basic {}", STANDARD.encode(format!("{}:{}", self.user, self.password)))
    }
}

/// The files of Docker and Podman.
#[derive(Default)]
pub struct Logins(Vec<File>);

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct File {
    auths: BTreeMap<String, Auth>,
    creds_store: Option<String>,
    cred_helpers: BTreeMap<String, String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Auth {
    auth: String,
}

/// What a helper of Docker's prints.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Helped {
    username: String,
    secret: String,
}

/// Docker Hub's name among logins.
const HUB: &str = "https://index.docker.io/v1/";

impl Logins {
    /// Those of who runs this.
    pub fn of_person() -> Self {
        let variable = |name: &str| std::env::var_os(name).map(PathBuf::from);
        let files = [
            variable("REGISTRY_AUTH_FILE"),
            variable("XDG_RUNTIME_DIR").map(|folder| folder.join("containers/auth.json")),
            variable("DOCKER_CONFIG")
                .or(variable("HOME").map(|home| home.join(".docker")))
                .map(|f| f.join("config.json")),
        ];
        // A file that is not there, or that only its own program reads, is no login.
        let read = |path: PathBuf| serde_json::from_slice(&fs::read(path).ok()?).ok();
        Self(files.into_iter().flatten().filter_map(read).collect())
    }

    /// The login for a registry; none where there is none.
    pub(super) fn of(&self, registry: &str) -> Option<Login> {
        self.0.iter().find_map(|file| file.of(registry))
    }
}

impl File {
    fn of(&self, registry: &str) -> Option<Login> {
        let hub = (registry == "docker.io").then_some(HUB);
        let names = [Some(registry), hub].into_iter().flatten();
        let names: Vec<&str> = names.collect();
        for name in &names {
            if let Some(login) = self.cred_helpers.get(*name).and_then(|helper| ask(helper, name)) {
                return Some(login);
            }
            if let Some(login) = self.auths.get(*name).and_then(|auth| plain(&auth.auth)) {
                return Some(login);
            }
        }
        names.iter().find_map(|name| ask(self.creds_store.as_deref()?, name))
    }
}

/// `user:password`, encoded.
fn plain(auth: &str) -> Option<Login> {
    let text = String::from_utf8(STANDARD.decode(auth).ok()?).ok()?;
    let (user, password) = text.split_once(':')?;
    (!user.is_empty()).then(|| Login { user: user.to_owned(), password: password.to_owned() })
}

/// Asks a helper of Docker's, which reads the registry and prints the login.
fn ask(helper: &str, registry: &str) -> Option<Login> {
    let mut child = Command::new(format!("docker-credential-{helper}"))
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    child.stdin.take()?.write_all(registry.as_bytes()).ok()?;
    let output = child.wait_with_output().ok()?;
    let answer: Helped = serde_json::from_slice(&output.stdout).ok()?;
    Some(Login { user: answer.username, password: answer.secret })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_is_found_by_the_registry_and_docker_hub_by_its_old_name() {
        let text = r#"{"auths": {"https://index.docker.io/v1/": {"auth": "dTpw"}, "quay.io": {}, "r.example:5000": {"auth": "YTpiOmM="}}}"#;
        let logins = Logins(vec![serde_json::from_str(text).expect("JSON")]);
        let of = |registry: &str| logins.of(registry).map(|login| (login.user, login.password));
        assert_eq!(of("docker.io"), Some(("u".to_owned(), "p".to_owned())));
        assert_eq!(of("r.example:5000"), Some(("a".to_owned(), "b:c".to_owned())));
        assert_eq!(of("quay.io"), None);
        assert_eq!(of("r.example"), None);
    }
}
