//! Where the journal's bytes lie. In the product a file, with a lock beside it; tests bring a place that dies, fills up or forgets.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Read, Seek, SeekFrom, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::Path,
};

use crate::{
    config::place::{Place, check_place, unfinished},
    error::{Error, ExitCode, Result},
};

/// A journal's bytes.
pub trait Store: Send {
    /// All of them; none when there is no journal.
    ///
    /// # Errors
    /// They cannot be read.
    fn read(&mut self) -> io::Result<Option<Vec<u8>>>;

    /// Puts these in the place of all that is there, or makes the journal with them: all of them or nothing, and durable when it returns.
    ///
    /// # Errors
    /// What was there stays.
    fn replace(&mut self, bytes: &[u8]) -> io::Result<()>;

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

    /// Removes our files beside the journal, the password among them.
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
    /// None before there is a journal.
    file: Option<File>,
    /// Locked as long as it is open.
    _lock: File,
}

impl FileStore {
    /// Takes the lock and opens the file, making it when there is none.
    pub(super) fn open(place: &Place) -> Result<Self> {
        let cannot = |what: &Path, e: &dyn std::fmt::Display| {
            Error::new(ExitCode::Journal, format!("cannot write {}", what.display()))
                .because(e)
                .hint("nothing was changed: without a journal nothing could be taken back")
        };
        check_place(place)?;
        fs::DirBuilder::new().recursive(true).mode(0o755).create(&place.dir).map_err(|e| cannot(&place.dir, &e))?;
        let mut open = OpenOptions::new();
        open.read(true).write(true).create(true).truncate(false).mode(0o600);
        let lock = open.open(place.lock()).map_err(|e| cannot(&place.lock(), &e))?;
        lock.try_lock().map_err(|e| match e {
            TryLockError::WouldBlock => Error::new(ExitCode::Locked, "another run of iris-mk8s is active on this host")
                .hint(format!(
                    "wait for it, or see which process holds the lock: `fuser -v {}`",
                    place.lock().display()
                )),
            TryLockError::Error(e) => cannot(&place.lock(), &e),
        })?;
        // A run that died while it wrote all of it anew left the old one.
        absent(fs::remove_file(unfinished(&place.journal()))).map_err(|e| cannot(&unfinished(&place.journal()), &e))?;
        let path = place.journal();
        let file = match OpenOptions::new().read(true).write(true).open(&path) {
            Ok(file) => Some(file),
            Err(e) if e.kind() == io::ErrorKind::NotFound => None,
            Err(e) => return Err(cannot(&path, &e)),
        };
        Ok(Self { place: place.clone(), file, _lock: lock })
    }

    fn file(&mut self) -> io::Result<&mut File> {
        self.file.as_mut().ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
    }
}

/// What is not there need not be removed.
fn absent(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

impl Store for FileStore {
    fn read(&mut self) -> io::Result<Option<Vec<u8>>> {
        let Some(file) = &mut self.file else { return Ok(None) };
        let mut bytes = Vec::new();
        file.seek(SeekFrom::Start(0))?;
        file.read_to_end(&mut bytes)?;
        Ok(Some(bytes))
    }

    fn replace(&mut self, bytes: &[u8]) -> io::Result<()> {
        let new = unfinished(&self.place.journal());
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        let written = file.write_all(bytes).and_then(|()| file.sync_all());
        let moved = written.and_then(|()| fs::rename(&new, self.place.journal()));
        if let Err(e) = moved {
            let _ = fs::remove_file(&new);
            return Err(e);
        }
        // The file's name is durable only with its directory.
        File::open(&self.place.dir)?.sync_all()?;
        self.file = Some(file);
        Ok(())
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let file = self.file()?;
        file.seek(SeekFrom::End(0))?;
        file.write_all(bytes)?;
        file.sync_data()
    }

    fn cut(&mut self, len: u64) -> io::Result<()> {
        self.file()?.set_len(len)
    }

    fn clear(&mut self) -> io::Result<()> {
        self.place.beside().into_iter().try_for_each(|file| absent(fs::remove_file(file)))
    }

    fn remove(&mut self) -> io::Result<()> {
        absent(fs::remove_file(self.place.lock()))?;
        absent(fs::remove_file(self.place.journal()))?;
        match fs::remove_dir(&self.place.dir) {
            Err(e) if e.kind() != io::ErrorKind::DirectoryNotEmpty => Err(e),
            _ => Ok(()),
        }
    }
}
