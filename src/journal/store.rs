//! Where the journal's bytes lie. In the product a file, with a lock beside it; tests bring a place that dies, fills up or forgets.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::Path,
};

use nix::fcntl::{Flock, FlockArg};

use super::Place;
use crate::error::{Error, ExitCode, Result};

/// A journal's bytes.
pub trait Store: Send {
    /// All of them.
    ///
    /// # Errors
    /// They cannot be read.
    fn read(&mut self) -> io::Result<Vec<u8>>;

    /// Adds some at the end, and returns when they are durable.
    ///
    /// # Errors
    /// They are not, or not all of them.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Keeps only the first ones.
    ///
    /// # Errors
    /// The rest cannot be cut off.
    fn cut(&mut self, len: u64) -> io::Result<()>;

    /// Removes what lies beside the journal, the password among it.
    ///
    /// # Errors
    /// Something stays.
    fn clear(&mut self) -> io::Result<()>;

    /// Removes the journal, and its directory when nothing else is in it.
    ///
    /// # Errors
    /// It stays.
    fn remove(&mut self) -> io::Result<()>;
}

/// The file, and the lock that gives the right to change the host.
pub(super) struct FileStore {
    place: Place,
    file: File,
    _lock: Flock<File>,
}

impl FileStore {
    /// Takes the lock and opens the file, making it when there is none.
    pub(super) fn open(place: &Place) -> Result<Self> {
        let cannot = |what: &Path, e: &dyn std::fmt::Display| {
            Error::new(ExitCode::Journal, format!("cannot write {}", what.display()))
                .because(e)
                .hint("nothing was changed: without a journal nothing could be taken back")
        };
        fs::DirBuilder::new().recursive(true).mode(0o755).create(&place.dir).map_err(|e| cannot(&place.dir, &e))?;
        let open =
            |path: &Path| OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path);
        let lock = open(&place.lock()).map_err(|e| cannot(&place.lock(), &e))?;
        let lock = Flock::lock(lock, FlockArg::LockExclusiveNonblock).map_err(|(_, e)| {
            if e == nix::errno::Errno::EWOULDBLOCK {
                Error::new(ExitCode::Locked, "another run of iris-mk8s is at work on this host")
                    .hint(format!("wait for it, or see who holds it: `fuser -v {}`", place.lock().display()))
            } else {
                cannot(&place.lock(), &e)
            }
        })?;
        let path = place.journal();
        let file = open(&path).map_err(|e| cannot(&path, &e))?;
        // The file's name is durable only with its directory.
        File::open(&place.dir).and_then(|d| d.sync_all()).map_err(|e| cannot(&place.dir, &e))?;
        Ok(Self { place: place.clone(), file, _lock: lock })
    }
}

impl Store for FileStore {
    fn read(&mut self) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.file.seek(SeekFrom::Start(0))?;
        self.file.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.seek(SeekFrom::End(0))?;
        self.file.write_all(bytes)?;
        self.file.sync_data()
    }

    fn cut(&mut self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn clear(&mut self) -> io::Result<()> {
        for entry in fs::read_dir(&self.place.dir)? {
            let path = entry?.path();
            if path != self.place.journal() && path != self.place.lock() {
                fs::remove_file(path)?;
            }
        }
        Ok(())
    }

    fn remove(&mut self) -> io::Result<()> {
        fs::remove_file(self.place.lock())?;
        fs::remove_file(self.place.journal())?;
        match fs::remove_dir(&self.place.dir) {
            Err(e) if e.kind() != io::ErrorKind::DirectoryNotEmpty => Err(e),
            _ => Ok(()),
        }
    }
}
