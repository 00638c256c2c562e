//! A bundle on its way to the disk: its parts first, behind a gap that the manifest fills in the end, when it is known where they lie.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, BufWriter, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use super::{Manifest, Part, read::manifest_size};
use crate::{
    error::{Error, ExitCode, Result},
    image::Hashing,
};

/// The gap. The manifest of two hundred images does not fill it.
pub(super) const GAP: u32 = 1 << 20;

/// Layers, snaps and packages are compressed already: more effort takes time, and saves nothing.
const LEVEL: i32 = 1;

/// A frame that readers of zstd pass over.
const SKIPPABLE: u32 = 0x184D_2A50;

/// Writes a bundle.
pub struct Writer {
    path: PathBuf,
    file: BufWriter<File>,
    at: u64,
    parts: BTreeMap<String, Part>,
}

/// Where a part lies in the tar.
pub(super) fn path_of(digest: &str) -> String {
    format!("blobs/{}", digest.replace(':', "/"))
}

/// What a bundle cannot be written with.
fn cannot(path: &Path, why: impl std::fmt::Display) -> Error {
    Error::failed(format!("the bundle cannot be written to {}", path.display())).because(why)
}

/// Counts what is written.
struct Counting<W> {
    inner: W,
    count: u64,
}

impl<W: Write> Write for Counting<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.inner.write(bytes)?;
        self.count += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// Writes an entry of the tar as one frame; its length in the file.
fn frame(file: &mut impl Write, name: &str, size: u64, source: &mut dyn Read) -> io::Result<u64> {
    let mut header = tar::Header::new_gnu();
    header.set_path(name)?;
    header.set_size(size);
    header.set_mode(0o644);
    header.set_cksum();
    let padding = (512 - size % 512) % 512;
    let whole = header.as_bytes().chain(source).chain(io::repeat(0).take(padding));
    compress(file, &mut { whole })
}

fn compress(file: &mut impl Write, source: &mut dyn Read) -> io::Result<u64> {
    let mut encoder = zstd::stream::write::Encoder::new(Counting { inner: file, count: 0 }, LEVEL)?;
    encoder.include_checksum(true)?;
    io::copy(source, &mut encoder)?;
    Ok(encoder.finish()?.count)
}

impl Writer {
    /// Begins a bundle. It gets its name when it is whole.
    ///
    /// # Errors
    /// The file cannot be made.
    pub fn create(path: &Path) -> Result<Self> {
        let mut file = BufWriter::new(File::create(new(path)).map_err(|e| cannot(path, e))?);
        file.seek(SeekFrom::Start(GAP.into())).map_err(|e| cannot(path, e))?;
        Ok(Self { path: path.to_owned(), file, at: GAP.into(), parts: BTreeMap::new() })
    }

    /// Adds a part, which must have that digest. One that is there already is not added again.
    ///
    /// # Errors
    /// It cannot be read or written, or is another one.
    pub fn add(&mut self, digest: &str, size: u64, source: impl Read) -> Result<()> {
        if self.parts.contains_key(digest) {
            return Ok(());
        }
        let mut source = Hashing::new(source.take(size));
        let length = frame(&mut self.file, &path_of(digest), size, &mut source).map_err(|e| cannot(&self.path, e))?;
        let found = source.digest();
        if found != digest {
            return Err(cannot(&self.path, format!("what was fetched as {digest} is in truth {found}")));
        }
        self.parts.insert(digest.to_owned(), Part { size, offset: self.at, length });
        self.at += length;
        Ok(())
    }

    /// Ends the bundle with what it says of itself.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn finish(mut self, manifest: Manifest) -> Result<Manifest> {
        let path = self.path.clone();
        let end = compress(&mut self.file, &mut io::repeat(0).take(1024)).map_err(|e| cannot(&path, e))?;
        let manifest = Manifest { parts: self.parts, length: self.at + end, ..manifest };
        let json =
            serde_json::to_vec_pretty(&manifest).map_err(|e| Error::new(ExitCode::Bug, "not JSON").because(e))?;
        let mut first = Vec::new();
        frame(&mut first, super::read::MANIFEST, json.len() as u64, &mut json.as_slice())
            .map_err(|e| cannot(&path, e))?;
        let left = u32::try_from(first.len()).ok().and_then(|length| GAP.checked_sub(length + 8));
        let left =
            left.filter(|_| manifest_size(json.len())).ok_or_else(|| cannot(&path, "there is too much in it"))?;
        first.extend(SKIPPABLE.to_le_bytes());
        first.extend(left.to_le_bytes());
        let mut write = || -> io::Result<()> {
            self.file.seek(SeekFrom::Start(0))?;
            self.file.write_all(&first)?;
            io::copy(&mut io::repeat(0).take(left.into()), &mut self.file)?;
            self.file.flush()?;
            self.file.get_ref().sync_all()?;
            std::fs::rename(new(&path), &path)
        };
        write().map_err(|e| cannot(&path, e))?;
        Ok(manifest)
    }
}

/// The name of a bundle that is not whole yet.
fn new(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    name.into()
}
