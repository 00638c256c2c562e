//! The folder beside a bundle in which everything is gathered, each file by its digest.

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    path::{Path, PathBuf},
    time::Duration,
};

use super::Tell;
use crate::{
    error::{Error, Result},
    host::{Progress, digest::sha256, poll, web::Web},
    image::Hashing,
};

/// Times that a download may break off without one byte in between.
const TRIES: u32 = 6;

/// A whole gathers in pieces of this size between two looks at who listens.
const PIECE: usize = 1 << 18;

/// The folder.
pub(super) struct Folder {
    path: PathBuf,
    /// Files that lie elsewhere, or under a name of their own.
    others: BTreeMap<String, PathBuf>,
}

/// What is fetched, and how it is known.
pub(super) struct Wanted<'a> {
    pub(super) url: String,
    pub(super) headers: Vec<(&'a str, String)>,
    /// For people.
    pub(super) what: &'a str,
    /// Its length, where it is known.
    pub(super) size: Option<u64>,
}

impl Folder {
    /// The folder that goes with a bundle.
    ///
    /// # Errors
    /// It cannot be made.
    pub(super) fn open(output: &Path) -> Result<Self> {
        let mut name = output.as_os_str().to_owned();
        name.push(".parts");
        let path = PathBuf::from(name);
        fs::create_dir_all(&path)
            .map_err(|e| Error::failed(format!("the folder {} cannot be made", path.display())).because(e))?;
        Ok(Self { path, others: BTreeMap::new() })
    }

    /// Where a part is, or will be.
    pub(super) fn place(&self, name: &str) -> PathBuf {
        self.path.join(name.replace(':', "-"))
    }

    /// The file of a part.
    ///
    /// # Errors
    /// It was not fetched.
    pub(super) fn file(&self, digest: &str) -> Result<PathBuf> {
        let file = self.others.get(digest).cloned().unwrap_or_else(|| self.place(digest));
        if file.is_file() { Ok(file) } else { Err(Error::failed(format!("{} is gone", file.display()))) }
    }

    /// Keeps a small part: its digest.
    ///
    /// # Errors
    /// It cannot be written.
    pub(super) fn keep(&self, bytes: &[u8]) -> Result<String> {
        let digest = format!("sha256:{}", sha256(bytes));
        let file = self.place(&digest);
        if !file.is_file() {
            let new = file.with_extension("new");
            let write = || fs::write(&new, bytes).and_then(|()| fs::rename(&new, &file));
            write().map_err(|e| cannot(&file, e))?;
        }
        Ok(digest)
    }

    /// Takes a file that is there already: its digest.
    ///
    /// # Errors
    /// It cannot be read.
    pub(super) fn take_file(&mut self, file: &Path) -> Result<String> {
        let read = || -> io::Result<String> {
            let mut reader = Hashing::new(File::open(file)?);
            io::copy(&mut reader, &mut io::sink())?;
            Ok(reader.digest())
        };
        let digest = read().map_err(|e| Error::failed(format!("{} cannot be read", file.display())).because(e))?;
        self.others.insert(digest.clone(), file.to_owned());
        Ok(digest)
    }

    /// Fetches a file to a place of the folder, and goes on with what an earlier try has of it. What it is, the caller verifies.
    ///
    /// # Errors
    /// It could not be downloaded.
    pub(super) fn fetch(&self, web: &Web, name: &str, wanted: &Wanted<'_>, tell: Tell<'_>) -> Result<PathBuf> {
        let file = self.place(name);
        if file.is_file() {
            return Ok(file);
        }
        let begun = self.place(&format!("{name}.begun"));
        let mut tries = 0;
        loop {
            let before = fs::metadata(&begun).map_or(0, |meta| meta.len());
            match some(web, &begun, before, wanted, tell) {
                Ok(()) => break,
                Err(e) if e.transient => {
                    let after = fs::metadata(&begun).map_or(0, |meta| meta.len());
                    tries = if after > before { 0 } else { tries + 1 };
                    if tries >= TRIES {
                        return Err(e.hint("what was fetched is kept: run the same command again: it resumes"));
                    }
                    poll::pause_in_thread(Duration::from_secs(1));
                }
                Err(e) => return Err(e),
            }
        }
        fs::rename(&begun, &file).map_err(|e| cannot(&file, e))?;
        Ok(file)
    }

    /// Removes it with all that is in it.
    ///
    /// # Errors
    /// The file system refuses.
    pub(super) fn remove(self) -> Result<()> {
        fs::remove_dir_all(&self.path).map_err(|e| cannot(&self.path, e))
    }
}

pub(super) fn cannot(path: &Path, why: impl std::fmt::Display) -> Error {
    Error::failed(format!("{} cannot be written", path.display())).because(why)
}

/// Fetches what is missing of a file, as far as the connection lasts.
fn some(web: &Web, begun: &Path, have: u64, wanted: &Wanted<'_>, tell: Tell<'_>) -> Result<()> {
    if have > 0 && wanted.size == Some(have) {
        return Ok(());
    }
    let range = format!("bytes={have}-");
    let mut headers: Vec<(&str, &str)> = wanted.headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    if have > 0 {
        headers.push(("range", &range));
    }
    let page = web.get(&wanted.url, &headers)?;
    let mut done = match page.status {
        206 => have,
        200 => 0,
        status => return Err(refused(wanted.what, &wanted.url, status)),
    };
    let mut file = OpenOptions::new()
        .create(true)
        .write(true)
        .append(done > 0)
        .truncate(done == 0)
        .open(begun)
        .map_err(|e| cannot(begun, e))?;
    let mut body = page.body();
    let mut buffer = vec![0; PIECE];
    loop {
        let count = body
            .read(&mut buffer)
            .map_err(|e| Error::transient(format!("{}: the download broke off", wanted.what)).because(e))?;
        if count == 0 {
            break;
        }
        file.write_all(&buffer[..count]).map_err(|e| cannot(begun, e))?;
        done += count as u64;
        let total = wanted.size.unwrap_or(done);
        tell(wanted.what, Some(Progress { done, total, unit: "bytes" }))?;
    }
    if wanted.size.is_some_and(|size| done < size) {
        return Err(Error::transient(format!("{}: the download broke off", wanted.what)));
    }
    file.sync_all().map_err(|e| cannot(begun, e))
}

/// What a server that refuses means.
pub(super) fn refused(what: &str, url: &str, status: u16) -> Error {
    let error = Error::failed(format!("{what} cannot be fetched")).because(format!("{url}: HTTP status {status}"));
    Error { transient: matches!(status, 429 | 500..=504), ..error }
}
