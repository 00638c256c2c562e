//! A bundle that is there: what it says of itself, and its parts, each verified while it is read.

use std::{
    fs::File,
    io::{self, BufReader, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
};

use super::{FORMAT, Image, Manifest, Package};
use crate::{
    error::{Error, Result},
    image::Hashing,
};

/// The first entry.
pub(super) const MANIFEST: &str = "manifest.json";

/// No manifest is longer: a larger one is refused before it is read.
const LONGEST: u64 = 16 << 20;

/// How zstd's frames begin.
const SIGN: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// Whether a manifest may be that long.
pub(super) fn manifest_size(length: usize) -> bool {
    length as u64 <= LONGEST
}

/// A bundle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bundle {
    path: PathBuf,
    /// What it says of itself.
    pub manifest: Manifest,
}

/// A part on its way; an error when it ends as another one than it should be.
pub struct Checked<R> {
    inner: Option<Hashing<R>>,
    digest: String,
}

impl<R: Read> Read for Checked<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(inner) = &mut self.inner else { return Ok(0) };
        let count = inner.read(buffer)?;
        if count > 0 || buffer.is_empty() {
            return Ok(count);
        }
        let found = self.inner.take().map(Hashing::digest).unwrap_or_default();
        if found == self.digest {
            return Ok(0);
        }
        Err(io::Error::new(io::ErrorKind::InvalidData, format!("{} is in truth {found}", self.digest)))
    }
}

impl Bundle {
    /// Opens a bundle and reads what it says of itself. Its parts are looked at when they are used, or by [`Bundle::verify`].
    ///
    /// # Errors
    /// Exit code 2: it is not there, no bundle, of another format, damaged, or not whole.
    pub fn open(path: &Path) -> Result<Self> {
        let shown = path.display();
        let unreadable = |e: io::Error| match e.kind() {
            io::ErrorKind::NotFound => Error::usage(format!("there is no bundle {shown}")),
            _ => Error::usage(format!("the bundle {shown} cannot be read")).because(e),
        };
        // The commands of a run do not work in the user's folder.
        let path = std::fs::canonicalize(path).map_err(unreadable)?;
        let file = File::open(&path).map_err(unreadable)?;
        let length = file.metadata().map_err(unreadable)?.len();
        let text = first(file).map_err(|e| e.map_or_else(|| no_bundle(&path), |why| damaged(&path, &why)))?;
        let manifest = parse(&path, &text)?;
        if length != manifest.length {
            let why = format!("it has {length} bytes of {}", manifest.length);
            return Err(damaged(&path, &why));
        }
        Ok(Self { path, manifest })
    }

    /// The image of that whole name; none when it holds none.
    pub fn image(&self, whole: &str) -> Option<&Image> {
        self.manifest.images.iter().find(|image| image.name == whole)
    }

    /// The packages for a release of the distribution; none when it holds none for that.
    pub fn packages_for(&self, release: &str) -> Option<&[Package]> {
        let debian = self.manifest.longhorn.as_ref()?.debian.as_ref()?;
        (debian.release == release).then_some(&debian.packages)
    }

    /// Its file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A part, to be read from its beginning. Who reads it to its end knows that it is the right one.
    ///
    /// # Errors
    /// It is not in the bundle, or the file cannot be read.
    pub fn part(&self, digest: &str) -> Result<Checked<impl Read + Send + use<>>> {
        let part =
            self.manifest.parts.get(digest).ok_or_else(|| damaged(&self.path, &format!("{digest} is not in it")))?;
        let open = || -> io::Result<_> {
            let mut file = File::open(&self.path)?;
            file.seek(SeekFrom::Start(part.offset))?;
            let mut frame =
                zstd::stream::read::Decoder::with_buffer(BufReader::new(file.take(part.length)))?.single_frame();
            // What the tar says of it.
            io::copy(&mut frame.by_ref().take(512), &mut io::sink())?;
            Ok(Checked { inner: Some(Hashing::new(frame.take(part.size))), digest: digest.to_owned() })
        };
        open().map_err(|e| damaged(&self.path, &format!("{digest}: {e}")))
    }

    /// The bytes of a small part.
    ///
    /// # Errors
    /// As for [`Bundle::part`]; it is damaged, or larger than any such part.
    pub fn bytes(&self, digest: &str) -> Result<Vec<u8>> {
        if self.size(digest) > LONGEST {
            return Err(damaged(&self.path, &format!("{digest} is longer than any such part")));
        }
        let mut bytes = Vec::new();
        self.part(digest)?.read_to_end(&mut bytes).map_err(|e| damaged(&self.path, &e.to_string()))?;
        Ok(bytes)
    }

    /// The length of a part.
    pub fn size(&self, digest: &str) -> u64 {
        self.manifest.parts.get(digest).map_or(0, |part| part.size)
    }

    /// Reads all parts and compares them with their digests; `seen` hears how many bytes of the parts were read.
    ///
    /// # Errors
    /// Exit code 2: names the part that is another one.
    pub fn verify(&self, seen: &mut dyn FnMut(u64) -> Result<()>) -> Result<()> {
        let mut done = 0;
        let mut buffer = vec![0; 1 << 20];
        for digest in self.manifest.parts.keys() {
            let mut part = self.part(digest)?;
            loop {
                let count = part.read(&mut buffer).map_err(|e| damaged(&self.path, &format!("{digest}: {e}")))?;
                if count == 0 {
                    break;
                }
                done += count as u64;
                seen(done)?;
            }
        }
        Ok(())
    }

    /// The bytes of all parts.
    pub fn total(&self) -> u64 {
        self.manifest.parts.values().map(|part| part.size).sum()
    }
}

/// The text of the first entry. An error without words: it is no bundle.
fn first(mut file: File) -> std::result::Result<Vec<u8>, Option<String>> {
    let mut sign = [0; 4];
    file.read_exact(&mut sign).map_err(|_| None)?;
    if sign != SIGN {
        return Err(None);
    }
    let damaged = |e: io::Error| Some(e.to_string());
    file.rewind().map_err(damaged)?;
    let frame = zstd::stream::read::Decoder::with_buffer(BufReader::new(file)).map_err(damaged)?.single_frame();
    let mut tar = tar::Archive::new(frame.take(LONGEST + 4096));
    let mut entry = tar.entries().map_err(damaged)?.next().ok_or(None)?.map_err(damaged)?;
    if entry.path().map_err(damaged)? != Path::new(MANIFEST) {
        return Err(None);
    }
    let mut text = Vec::new();
    entry.read_to_end(&mut text).map_err(damaged)?;
    drop(entry);
    // The checksum of the frame stands at its end.
    io::copy(&mut tar.into_inner(), &mut io::sink()).map_err(damaged)?;
    Ok(text)
}

/// What it says of itself; the format first, since another one may mean anything.
fn parse(path: &Path, text: &[u8]) -> Result<Manifest> {
    let value: serde_json::Value = serde_json::from_slice(text).map_err(|e| damaged(path, &e.to_string()))?;
    let format = value["format"].as_u64();
    if format != Some(FORMAT.into()) {
        let format = format.map_or_else(|| "none".to_owned(), |format| format.to_string());
        return Err(Error::usage(format!("the bundle {} is of format {format}, and this program reads format {FORMAT}", path.display()))
            .hint("use the iris-mk8s that made it (`bundle show` there tells its version), or make the bundle again with this one"));
    }
    serde_json::from_value(value).map_err(|e| damaged(path, &e.to_string()))
}

/// What a bundle that is not what it says is refused with.
pub(super) fn damaged(path: &Path, why: &str) -> Error {
    Error::usage(format!("the bundle {} is damaged: {why}", path.display())).hint(
        "copy it again from where it was made; `iris-mk8s bundle verify FILE` compares all of it with its digests",
    )
}

fn no_bundle(path: &Path) -> Error {
    Error::usage(format!("{} is no bundle", path.display())).hint("`iris-mk8s bundle create FILE` makes one")
}
