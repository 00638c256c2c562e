//! Images from registries, over the OCI distribution API: the manifest for this platform, its configuration and its layers, each verified.

use std::{
    collections::{BTreeMap, HashMap},
    fs,
};

use oci_spec::{
    distribution::Reference,
    image::{ImageIndex, ImageManifest},
};
use serde_json::Value;

use super::{
    Login, Logins, Tell,
    fetch::{Folder, Wanted, refused},
};
use crate::{
    bundle::Image,
    config::spec::Mirror,
    error::{Error, Result},
    host::{
        digest::sha256,
        web::{Page, Web},
    },
    image::{archive, registry::MANIFESTS},
};

/// Who answers for a registry.
struct Source {
    url: String,
    login: Option<Login>,
}

/// Pulls images.
pub(super) struct Puller<'a> {
    web: Web,
    mirrors: BTreeMap<&'a str, Source>,
    logins: &'a Logins,
    /// What was given for a repository's questions.
    passes: HashMap<String, String>,
}

impl<'a> Puller<'a> {
    /// # Errors
    /// The file with a mirror's login cannot be read.
    pub(super) fn new(mirrors: &'a [Mirror], logins: &'a Logins) -> Result<Self> {
        let source = |mirror: &'a Mirror| {
            let login = mirror.login.as_ref().map(|file| {
                let cannot =
                    |why: String| Error::usage(format!("the login in {} cannot be read", file.display())).because(why);
                let text = fs::read_to_string(file).map_err(|e| cannot(e.to_string()))?;
                let (user, password) =
                    text.trim_end().split_once(':').ok_or_else(|| cannot("it is not USER:PASSWORD".into()))?;
                Ok(Login { user: user.to_owned(), password: password.to_owned() })
            });
            Ok((
                mirror.registry.as_str(),
                Source { url: mirror.url.trim_end_matches('/').to_owned(), login: login.transpose()? },
            ))
        };
        let mirrors = mirrors.iter().map(source).collect::<Result<_>>()?;
        Ok(Self { web: Web::default(), mirrors, logins, passes: HashMap::new() })
    }

    /// Pulls an image, for this platform.
    ///
    /// # Errors
    /// Its registry does not answer or does not have it, or it is for other platforms alone.
    pub(super) fn pull(&mut self, folder: &mut Folder, name: &str, tell: Tell<'_>) -> Result<Image> {
        let reference: Reference = name.parse().map_err(|e| Error::usage(format!("`{name}`: {e}")))?;
        let source = self.source(reference.registry());
        let mut asked = reference.digest().or(reference.tag()).unwrap_or("latest").to_owned();
        tell(&format!("asks for {name}"), None)?;
        loop {
            let (kind, bytes) = self.manifest(&reference, &source, name, &asked)?;
            if !archive::is_index(&kind) {
                return self.rest(folder, &reference, &source, name, kind, &bytes, tell);
            }
            let index: ImageIndex = parse(name, &bytes)?;
            archive::ours(name, &index)?.digest().as_ref().clone_into(&mut asked);
        }
    }

    /// Where a registry is asked, and with which login.
    fn source(&self, registry: &str) -> Source {
        if let Some(mirror) = self.mirrors.get(registry) {
            return Source { url: mirror.url.clone(), login: mirror.login.clone() };
        }
        // Docker Hub's name for people is not the one of its registry.
        let host = if registry == "docker.io" { "registry-1.docker.io" } else { registry };
        Source { url: format!("https://{host}"), login: self.logins.of(registry) }
    }

    /// A manifest or an index, with its media type.
    fn manifest(
        &mut self,
        reference: &Reference,
        source: &Source,
        name: &str,
        asked: &str,
    ) -> Result<(String, Vec<u8>)> {
        let url = format!("{}/v2/{}/manifests/{asked}", source.url, reference.repository());
        let page = self.ask(&url, source, reference)?;
        if page.status != 200 {
            let status = page.status;
            let words = String::from_utf8_lossy(&page.bytes()?).trim().to_owned();
            let error = refused(&format!("the image {name}"), &url, status);
            let cause = error.cause.clone().unwrap_or_default();
            let error = error.because(format!("{cause}: {words}"));
            return Err(if matches!(status, 401 | 403 | 404) {
                error.hint(format!(
                    "check the name; if it needs a login: `docker login {0}` or `podman login {0}`, then run the same command again",
                    reference.registry()
                ))
            } else {
                error.hint("run the same command again: it resumes")
            });
        }
        let kind = page.header("content-type").unwrap_or_default().to_owned();
        let bytes = page.bytes()?;
        let found = format!("sha256:{}", sha256(&bytes));
        if asked.starts_with("sha256:") && found != asked {
            return Err(Error::failed(format!("the manifest of {name} is in truth {found}, not {asked}")));
        }
        Ok((kind, bytes))
    }

    /// Configuration and layers.
    #[expect(clippy::too_many_arguments, reason = "each is a fact of the image on its way")]
    fn rest(
        &mut self,
        folder: &mut Folder,
        reference: &Reference,
        source: &Source,
        name: &str,
        kind: String,
        bytes: &[u8],
        tell: Tell<'_>,
    ) -> Result<Image> {
        let manifest: ImageManifest = parse(name, bytes)?;
        let digest = folder.keep(bytes)?;
        let parts: Vec<_> = std::iter::once(manifest.config()).chain(manifest.layers()).collect();
        let mut blobs = Vec::new();
        for (number, part) in (0..).zip(&parts) {
            let part_digest = part.digest().to_string();
            let what = if number == 0 {
                format!("pulls {name}")
            } else {
                format!("pulls layer {number} of {} of {name}", parts.len() - 1)
            };
            self.blob(folder, reference, source, &part_digest, part.size(), &what, tell)?;
            if !blobs.contains(&part_digest) {
                blobs.push(part_digest);
            }
        }
        let config: Value =
            parse(name, &fs::read(folder.file(&blobs[0])?).map_err(|e| Error::failed("a part is gone").because(e))?)?;
        let field = |key: &str| config[key].as_str().unwrap_or("unknown").to_owned();
        archive::check_platform(name, &field("architecture"), &field("os"))?;
        Ok(Image { name: name.to_owned(), digest, media_type: kind, blobs })
    }

    #[expect(clippy::too_many_arguments, reason = "each is a fact of the part on its way")]
    fn blob(
        &mut self,
        folder: &mut Folder,
        reference: &Reference,
        source: &Source,
        digest: &str,
        size: u64,
        what: &str,
        tell: Tell<'_>,
    ) -> Result<()> {
        if folder.file(digest).is_ok() {
            return Ok(());
        }
        let url = format!("{}/v2/{}/blobs/{digest}", source.url, reference.repository());
        let headers = self.pass(reference, source).map(|pass| ("authorization", pass)).into_iter().collect();
        let file = folder.fetch(&self.web, digest, &Wanted { url, headers, what, size: Some(size) }, tell)?;
        let found = folder.take_file(&file)?;
        if found == digest {
            return Ok(());
        }
        let _ = fs::remove_file(&file);
        Err(Error::failed(format!("{what}: {digest} is in truth {found}; it was discarded"))
            .hint("run the same command again; if it happens again, somebody between here and the registry changes it"))
    }

    fn key(reference: &Reference, source: &Source) -> String {
        format!("{} {}", source.url, reference.repository())
    }

    fn pass(&self, reference: &Reference, source: &Source) -> Option<String> {
        self.passes.get(&Self::key(reference, source)).cloned()
    }

    /// A question, with what the registry asks for in return: a token of who gives them out, or the login itself.
    fn ask(&mut self, url: &str, source: &Source, reference: &Reference) -> Result<Page> {
        let page = self.ask_once(url, source, reference)?;
        if page.status != 401 {
            return Ok(page);
        }
        let challenge = page.header("www-authenticate").unwrap_or_default();
        let Some(pass) = self.admitted(challenge, source, reference)? else { return Ok(page) };
        self.passes.insert(Self::key(reference, source), pass);
        self.ask_once(url, source, reference)
    }

    fn ask_once(&self, url: &str, source: &Source, reference: &Reference) -> Result<Page> {
        let pass = self.pass(reference, source);
        let headers: Vec<(&str, &str)> =
            std::iter::once(("accept", MANIFESTS)).chain(pass.as_deref().map(|pass| ("authorization", pass))).collect();
        self.web.get(url, &headers)
    }

    /// What a registry takes as a pass, by its challenge; none where there is no login to show.
    fn admitted(&self, challenge: &str, source: &Source, reference: &Reference) -> Result<Option<String>> {
        let Some(fields) = challenge.strip_prefix("Bearer ") else {
            return Ok(source.login.as_ref().map(Login::basic));
        };
        let field = |name: &str| fields.split(&format!("{name}=\"")).nth(1)?.split('"').next().map(str::to_owned);
        let Some(realm) = field("realm") else { return Ok(None) };
        let service = field("service").map(|service| format!("service={service}&")).unwrap_or_default();
        let url = format!("{realm}?{service}scope=repository:{}:pull", reference.repository());
        let basic = source.login.as_ref().map(Login::basic);
        let headers: Vec<(&str, &str)> = basic.as_deref().map(|basic| ("authorization", basic)).into_iter().collect();
        let page = self.web.get(&url, &headers)?;
        if page.status != 200 {
            return Ok(None);
        }
        let answer: Value = serde_json::from_slice(&page.bytes()?).unwrap_or_default();
        let token = answer["token"].as_str().or(answer["access_token"].as_str());
        Ok(token.map(|token| format!("Bearer {token}")))
    }
}

fn parse<T: serde::de::DeserializeOwned>(name: &str, bytes: &[u8]) -> Result<T> {
    serde_json::from_slice(bytes)
        .map_err(|e| Error::failed(format!("the manifest of {name} cannot be read")).because(e))
}
