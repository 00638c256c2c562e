//! An image on its way into the registry: layer by layer, each in pieces. What the registry has is not sent again. After a broken connection the
//! upload resumes where the registry says that it is, as long as the registry still knows it. What is read is verified on the way.

use std::{io::Read, ops::ControlFlow, time::Duration};

use super::{ADDRESS, ask, refused};
use crate::{
    error::{Error, ExitCode, Result},
    host::{Host, HttpAnswer, HttpContent, HttpRequest, Progress, Watch},
    image::{
        Blob, Push,
        archive::{damaged, open_blob},
        hashing::Hashing,
    },
};

/// The registry writes a piece down as a whole: what breaks costs at most so much.
const PIECE: u64 = 16 << 20;

/// The longest time that a piece may take: a slow disk that is busy with other things.
const PIECE_WITHIN: Duration = Duration::from_secs(180);

/// Times that one layer may break off without one piece in between.
const TRIES: u32 = 6;

/// Who listens: what is done, and how far it is. It may break off.
type Seen<'a> = &'a mut dyn FnMut(&str, Option<Progress>) -> ControlFlow<()>;

/// Pushes an image: its parts, then its manifest under its tag.
///
/// # Errors
/// The registry does not answer any more, refuses, or is full; a layer is damaged; or it was interrupted.
pub fn push(host: &dyn Host, push: &Push, seen: Seen<'_>) -> Result<()> {
    let Push { name, content } = push;
    let mut way =
        UploadSession { host, repository: &name.repository, done: 0, total: content.size(), what: String::new(), seen };
    for (number, blob) in (1..).zip(&content.blobs) {
        way.what = format!("pushes {} of {}", part(number, content.blobs.len()), name.short());
        if way.has(blob)? {
            way.done += blob.size;
        } else {
            way.send(blob)?;
        }
        way.tell()?;
    }
    let request = HttpRequest {
        method: "PUT",
        url: format!("{ADDRESS}/v2/{}/manifests/{}", name.repository, name.tag),
        headers: vec![("content-type", content.media_type.clone())],
        body: HttpContent::Bytes(content.manifest.clone()),
        within: PIECE_WITHIN,
    };
    let answer = host.http(request)?;
    if answer.status == 201 {
        return Ok(());
    }
    let error = refused(&format!("the registry does not take the manifest of {name}"), &answer);
    // Registries before 2.7 know no manifests of OCI.
    Err(if answer.status == 400 && content.media_type.contains(".oci.") && error.hint.is_none() {
        error.hint("the registry of MicroK8s 1.20 to 1.22 takes no OCI layout: write the archive with `docker save` of Docker 24 or older, or `podman save --format docker-archive`")
    } else {
        error
    })
}

fn part(number: usize, count: usize) -> String {
    if number == count { "the configuration".to_owned() } else { format!("layer {number} of {}", count - 1) }
}

/// An image on its way.
struct UploadSession<'a, 's> {
    host: &'a dyn Host,
    repository: &'a str,
    done: u64,
    total: u64,
    what: String,
    seen: Seen<'s>,
}

/// What became of a piece.
enum Sent {
    /// The registry has it, and wants the next one there.
    Taken(String),
    /// It broke off, or the registry counts otherwise.
    Broken(Error),
}

impl UploadSession<'_, '_> {
    fn tell(&mut self) -> Result<()> {
        let progress = Progress { done: self.done, total: self.total, unit: "bytes" };
        let late = (self.seen)(&self.what, Some(progress)).is_break();
        if self.host.stopping() {
            return Err(Error::new(ExitCode::Interrupted, "interrupted").hint("run the same command again: it resumes"));
        }
        if late {
            return Err(Error::new(ExitCode::TimedOut, "the image was not pushed in time")
                .hint("what was pushed is kept: run the same command again: it resumes"));
        }
        Ok(())
    }

    /// Whether the registry has it whole.
    fn has(&self, blob: &Blob) -> Result<bool> {
        let answer = ask(self.host, "HEAD", &format!("/v2/{}/blobs/{}", self.repository, blob.digest), Vec::new())?;
        match answer.status {
            200 => Ok(true),
            404 => Ok(false),
            _ => Err(refused("the registry does not tell whether it has a layer", &answer)),
        }
    }

    fn send(&mut self, blob: &Blob) -> Result<()> {
        let begun = self.done;
        let mut tries = 0;
        let mut url = self.begin()?;
        let (mut reader, mut sent) = (Hashing::new(open_blob(blob)?), 0);
        while sent < blob.size {
            let count = PIECE.min(blob.size - sent);
            match self.piece(&url, blob, &mut reader, sent, count)? {
                Sent::Taken(next) => {
                    (url, sent, tries) = (next, sent + count, 0);
                }
                Sent::Broken(why) if tries >= TRIES => return Err(why),
                Sent::Broken(_) => {
                    tries += 1;
                    self.host.watch(&[Watch::Pause(Duration::from_secs(1))]).next(Duration::from_secs(1));
                    (url, sent) = self.resume(&url)?;
                    reader = Hashing::new(open_blob(blob)?);
                    reader.skip(sent).map_err(|e| unreadable(blob, &e))?;
                }
            }
            self.done = begun + sent;
            self.tell()?;
        }
        let found = reader.digest();
        if found != blob.digest {
            // Nobody else will end it, and it takes room until the registry tidies up.
            let _ = ask(self.host, "DELETE", path_of(&url), Vec::new());
            let shown = blob.file.display().to_string();
            return Err(damaged(&shown, &format!("the layer {} is in truth {found}", blob.digest)));
        }
        self.end(&url, blob)
    }

    /// Begins an upload: where its first piece goes.
    fn begin(&self) -> Result<String> {
        let answer = ask(self.host, "POST", &format!("/v2/{}/blobs/uploads/", self.repository), length(0))?;
        if answer.status != 202 {
            return Err(refused("the registry takes no layer", &answer));
        }
        location(&answer).ok_or_else(|| refused("the registry does not tell where a layer goes", &answer))
    }

    fn piece(&self, url: &str, blob: &Blob, reader: &mut dyn Read, from: u64, count: u64) -> Result<Sent> {
        let mut reader = Noting { inner: reader, failed: None };
        let answer = self.host.http(HttpRequest {
            method: "PATCH",
            url: url.to_owned(),
            headers: vec![
                ("content-type", "application/octet-stream".to_owned()),
                ("content-range", format!("{from}-{}", from + count - 1)),
            ],
            body: HttpContent::Stream(&mut reader, count),
            within: PIECE_WITHIN,
        });
        if let Some(failed) = reader.failed {
            return Err(unreadable(blob, &failed));
        }
        match answer {
            Ok(answer) if matches!(answer.status, 202 | 204) => match location(&answer) {
                Some(next) => Ok(Sent::Taken(next)),
                None => Err(refused("the registry does not tell where a layer goes", &answer)),
            },
            Ok(answer) => {
                let error = refused("the registry does not take a layer", &answer);
                // It does not know the upload any more, or is further or less far than we think.
                if error.transient || matches!(answer.status, 404 | 416) { Ok(Sent::Broken(error)) } else { Err(error) }
            }
            Err(e) => Ok(Sent::Broken(e)),
        }
    }

    /// Where a broken upload goes on: where the registry says that it is, or from its beginning in a new one.
    fn resume(&self, url: &str) -> Result<(String, u64)> {
        if let Ok(answer) = ask(self.host, "GET", path_of(url), Vec::new())
            && answer.status == 204
            && let (Some(url), Some(reached)) = (location(&answer), reached(&answer))
        {
            return Ok((url, reached));
        }
        Ok((self.begin()?, 0))
    }

    fn end(&self, url: &str, blob: &Blob) -> Result<()> {
        let joint = if url.contains('?') { '&' } else { '?' };
        let answer = self.host.http(HttpRequest {
            method: "PUT",
            url: format!("{url}{joint}digest={}", blob.digest),
            headers: length(0),
            body: HttpContent::Bytes(Vec::new()),
            // The registry may read the whole layer once more.
            within: PIECE_WITHIN,
        })?;
        if matches!(answer.status, 201 | 204) {
            Ok(())
        } else {
            Err(refused("the registry does not take a layer", &answer))
        }
    }
}

fn length(count: u64) -> Vec<(&'static str, String)> {
    vec![("content-length", count.to_string())]
}

fn unreadable(blob: &Blob, why: &std::io::Error) -> Error {
    Error::failed(format!("{} cannot be read", blob.file.display())).because(why)
}

/// Where an upload goes on: at this registry, whatever name it has for itself.
fn location(answer: &HttpAnswer) -> Option<String> {
    Some(format!("{ADDRESS}{}", path_of(answer.header("location")?)))
}

/// The path of an address, with its query.
fn path_of(url: &str) -> &str {
    url.find("/v2/").map_or(url, |at| &url[at..])
}

/// The bytes that an upload has. `0-0` stands for none: a piece is never of a single byte.
fn reached(answer: &HttpAnswer) -> Option<u64> {
    let last: u64 = answer.header("range")?.rsplit_once('-')?.1.parse().ok()?;
    Some(if last == 0 { 0 } else { last + 1 })
}

/// A reader that notes why it could not be read: then nobody else is to blame.
struct Noting<'a> {
    inner: &'a mut dyn Read,
    failed: Option<std::io::Error>,
}

impl Read for Noting<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let result = self.inner.read(buffer);
        match result {
            Ok(0) => self.failed = Some(std::io::ErrorKind::UnexpectedEof.into()),
            Ok(_) => {}
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => return Err(e),
            Err(e) => {
                let copy = std::io::Error::new(e.kind(), e.to_string());
                self.failed = Some(copy);
                return Err(e);
            }
        }
        result
    }
}
