//! Snaps and their assertions from the snap store, over the API that it documents (<https://api.snapcraft.io/docs/>): no snapd and no root are needed.

use std::{fs, fs::File, io, path::Path};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use sha3::{Digest, Sha3_384};

use super::{
    Tell,
    fetch::{Folder, Wanted},
};
use crate::{
    bundle::Snap,
    error::{Error, Result, one_line},
    host::web::Web,
    image,
};

/// The base that has snapd in it.
pub(super) const CORE: &str = "core";

/// The store, unless the environment names another one in the variable that snapd itself heeds.
const STORE: &str = "https://api.snapcraft.io";
const ANOTHER: &str = "SNAPPY_FORCE_API_URL";

/// The series of all snaps.
const SERIES: &str = "16";

/// The store.
pub(super) struct Store {
    web: Web,
    url: String,
}

/// A snap, and the base that it stands on.
pub(super) struct Fetched {
    pub(super) snap: Snap,
    pub(super) base: Option<String>,
}

impl Default for Store {
    fn default() -> Self {
        let url = std::env::var(ANOTHER).unwrap_or_else(|_| STORE.to_owned());
        Self { web: Web::default(), url: url.trim_end_matches('/').to_owned() }
    }
}

impl Store {
    /// Fetches a snap of a channel with its assertions.
    ///
    /// # Errors
    /// The store does not answer, or does not have it; or what came is not what it announced.
    pub(super) fn fetch(&self, folder: &mut Folder, name: &str, channel: &str, tell: Tell<'_>) -> Result<Fetched> {
        let found = self.find(name, channel)?;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let (revision, sum) = (found["revision"].as_u64().unwrap_or_default(), text(&found["download"]["sha3-384"]));
        let what = format!("fetches the snap {name} {channel}, revision {revision}");
        let wanted = Wanted {
            url: text(&found["download"]["url"]),
            headers: Vec::new(),
            what: &what,
            size: found["download"]["size"].as_u64(),
        };
        let file = folder.fetch(&self.web, &format!("{name}_{revision}.snap"), &wanted, tell)?;
        let digest = sha3(&file)?;
        if hex(&digest) != sum {
            let _ = fs::remove_file(&file);
            return Err(Error::failed(format!("the snap {name} is not what the store announced; it was discarded"))
                .because(format!("its SHA3-384 is {}, not {sum}", hex(&digest)))
                .hint(
                    "run the same command again; if it happens again, somebody between here and the store changes it",
                ));
        }
        let assertions = self.assertions(&URL_SAFE_NO_PAD.encode(&digest), &text(&found["snap-id"]))?;
        let snap = Snap {
            name: name.to_owned(),
            version: text(&found["version"]),
            revision,
            classic: found["confinement"] == "classic",
            file: folder.take_file(&file)?,
            assertions: folder.keep(assertions.as_bytes())?,
        };
        Ok(Fetched { snap, base: found["base"].as_str().map(str::to_owned) })
    }

    /// What the store has of a snap in a channel.
    fn find(&self, name: &str, channel: &str) -> Result<Value> {
        let fields = ["base", "confinement", "download", "revision", "snap-id", "version"];
        let action = json!({"action": "download", "instance-key": name, "name": name, "channel": channel});
        let question = json!({"context": [], "actions": [action], "fields": fields});
        let headers = [
            ("Snap-Device-Series", SERIES),
            ("Snap-Device-Architecture", image::architecture()),
            ("accept", "application/json"),
        ];
        let page =
            self.web.post(&format!("{}/v2/snaps/refresh", self.url), &headers, &question).map_err(|e| away(&e))?;
        let status = page.status;
        let answer: Value = serde_json::from_slice(&page.bytes()?).map_err(|e| {
            Error::failed("the snap store's answer is not JSON").because(format!("HTTP status {status}: {e}"))
        })?;
        let result = &answer["results"][0];
        if result["result"] == "download" {
            return Ok(result["snap"].clone());
        }
        let why = result["error"]["message"].as_str().map_or_else(|| format!("HTTP status {status}"), str::to_owned);
        Err(Error::failed(format!("the snap store does not give out the snap {name} of the channel {channel}"))
            .because(why)
            .hint("`snap info microk8s` lists the channels; name one with --channel"))
    }

    /// Everything that proves a snap: its revision, its declaration, who publishes it, and the keys of who signed each.
    fn assertions(&self, digest: &str, id: &str) -> Result<String> {
        let revision = self.assertion(&format!("snap-revision/{digest}"))?.ok_or_else(|| no_proof("revision"))?;
        let declaration =
            self.assertion(&format!("snap-declaration/{SERIES}/{id}"))?.ok_or_else(|| no_proof("declaration"))?;
        let publisher = header(&declaration, "publisher-id").unwrap_or_default();
        let account = self.assertion(&format!("account/{publisher}"))?;
        let mut keys: Vec<String> = Vec::new();
        let mut found = Vec::new();
        let mut open: Vec<String> = [Some(&revision), Some(&declaration), account.as_ref()]
            .into_iter()
            .flatten()
            .filter_map(|text| header(text, "sign-key-sha3-384"))
            .collect();
        while let Some(key) = open.pop() {
            if keys.contains(&key) {
                continue;
            }
            // The root's own key is in snapd, and need not be given out.
            if let Some(text) = self.assertion(&format!("account-key/{key}"))? {
                open.extend(header(&text, "sign-key-sha3-384"));
                found.push(text);
            }
            keys.push(key);
        }
        // Who signs comes before what is signed.
        found.reverse();
        let all = found.into_iter().chain(account).chain([declaration, revision]);
        Ok(all.map(|text| text.trim_end().to_owned() + "\n").collect::<Vec<_>>().join("\n"))
    }

    fn assertion(&self, path: &str) -> Result<Option<String>> {
        let url = format!("{}/v2/assertions/{path}", self.url);
        let page = self.web.get(&url, &[("accept", "application/x.ubuntu.assertion")]).map_err(|e| away(&e))?;
        match page.status {
            200 => Ok(Some(String::from_utf8_lossy(&page.bytes()?).into_owned())),
            404 => Ok(None),
            status => Err(super::fetch::refused("an assertion of the snap store", &url, status)),
        }
    }
}

fn no_proof(what: &str) -> Error {
    Error::failed(format!(
        "the snap store does not give out the {what} of the snap, without which snapd takes it from nobody"
    ))
}

fn away(e: &Error) -> Error {
    let why = one_line(e);
    Error { transient: true, ..Error::failed("the snap store does not answer") }.because(why).hint(
        "see the network, the name servers and the proxy (HTTPS_PROXY); then run the same command again: it resumes",
    )
}

/// A header of an assertion.
fn header(assertion: &str, name: &str) -> Option<String> {
    let mut lines = assertion.lines().take_while(|line| !line.is_empty());
    lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).map(str::to_owned)
}

fn sha3(file: &Path) -> Result<Vec<u8>> {
    let mut hash = Sha3_384::new();
    let read = File::open(file).and_then(|mut file| io::copy(&mut file, &mut Feeding(&mut hash)));
    read.map_err(|e| Error::failed(format!("{} cannot be read", file.display())).because(e))?;
    Ok(hash.finalize().to_vec())
}

/// What is written goes into a digest.
struct Feeding<'a>(&'a mut Sha3_384);

impl io::Write for Feeding<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
