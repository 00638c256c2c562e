//! The journal: what we are about to do, durable before we do it. It alone decides what may be taken back.
//!
//! One JSON record a line. A power cut may tear the last line: reading takes the longest prefix of whole records, and the next
//! writer cuts the rest off. Anything else that cannot be read is refused, never guessed.

use std::{
    fs::{self, File, OpenOptions},
    io::{Seek, SeekFrom, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::Mutex,
};

use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};

use crate::{
    error::{Error, ExitCode, Result},
    spec::Spec,
    step::Memo,
};

mod ledger;

pub use ledger::Ledger;

/// Version of the records; raised when an older program could misread them.
pub const FORMAT: u32 = 1;

/// One line of the journal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "record", rename_all = "kebab-case")]
pub enum Record {
    /// Always the first line, and only there.
    Header {
        /// Version of the records.
        format: u32,
        /// Who wrote it.
        tool: String,
    },
    /// A run began; the steps that follow are of its spec.
    Run {
        /// The run's name, as in the log's file name.
        run: String,
        /// `bootstrap` or `teardown`.
        command: String,
        /// Seconds since 1970.
        at: u64,
        /// What it wants; a teardown has none of its own.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        spec: Option<Box<Spec>>,
    },
    /// A step is about to act.
    Intent {
        /// The step.
        step: String,
        /// What is there now, and what it shall be.
        #[serde(flatten)]
        memo: Memo,
    },
    /// The host shows what the step should have brought.
    Done {
        /// The step.
        step: String,
    },
    /// A step is about to be taken back.
    UndoIntent {
        /// The step.
        step: String,
    },
    /// The host is as it was before the step.
    Undone {
        /// The step.
        step: String,
    },
}

/// Where the journal, the lock and the password live.
#[derive(Clone, Debug)]
pub struct Place {
    /// `/var/lib/iris-mk8s`
    pub dir: PathBuf,
}

impl Default for Place {
    fn default() -> Self {
        Self { dir: PathBuf::from("/var/lib/iris-mk8s") }
    }
}

impl Place {
    /// The journal's file.
    pub fn journal(&self) -> PathBuf {
        self.dir.join("journal.jsonl")
    }

    /// The password, readable for the user alone.
    pub fn password(&self) -> PathBuf {
        self.dir.join("password")
    }

    /// Its hash, so that a later run finds the CPF as it made it.
    pub fn password_hash(&self) -> PathBuf {
        self.dir.join("password.hash")
    }

    /// The lock's file.
    pub fn lock(&self) -> PathBuf {
        self.dir.join("lock")
    }
}

/// What a journal says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Contents {
    /// Its records.
    pub records: Vec<Record>,
    /// What they add up to.
    pub ledger: Ledger,
    /// Bytes of whole records.
    pub whole: u64,
    /// Bytes of a torn last line.
    pub torn: u64,
}

impl Contents {
    /// Reads a journal's bytes.
    ///
    /// # Errors
    /// A line before the last one that is no record, records in an impossible order, or a format that is newer than ours.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let mut contents = Self::default();
        let mut rest = bytes;
        let mut line_number = 0;
        while let Some(end) = rest.iter().position(|b| *b == b'\n') {
            line_number += 1;
            let (line, after) = (&rest[..end], &rest[end + 1..]);
            match serde_json::from_slice::<Record>(line) {
                Ok(record) => {
                    contents.ledger.apply(&record).map_err(|why| unreadable(line_number, &why))?;
                    contents.records.push(record);
                }
                // A disk may keep the end of a torn write and lose its middle.
                Err(_) if after.is_empty() => break,
                Err(e) => return Err(unreadable(line_number, &e.to_string())),
            }
            contents.whole += end as u64 + 1;
            rest = after;
        }
        contents.torn = rest.len() as u64;
        Ok(contents)
    }

    /// Reads the journal at its place; an empty one when there is none.
    ///
    /// # Errors
    /// As [`Contents::parse`], or the file cannot be read.
    pub fn read(place: &Place) -> Result<Self> {
        match fs::read(place.journal()) {
            Ok(bytes) => Self::parse(&bytes).map_err(|e| Error { what: format!("{} ({})", e.what, place.journal().display()), ..e }),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(e) => Err(Error::new(ExitCode::Journal, format!("cannot read {}", place.journal().display())).because(e)),
        }
    }
}

fn unreadable(line: usize, why: &str) -> Error {
    Error::new(ExitCode::Journal, format!("the journal is damaged at line {line}")).because(why).hint(
        "without it nobody knows what was there before; look at the file, move it away to start anew (bootstrap converges \
         without it, teardown --reset then takes nothing back)",
    )
}

/// The journal, open for writing, and with it the right to change the host: it holds the lock.
pub struct Journal {
    place: Place,
    inner: Mutex<(File, Ledger)>,
    _lock: Flock<File>,
    /// Bytes of a torn last line that were cut off.
    pub torn: u64,
    created: bool,
}

impl Journal {
    /// Takes the lock and opens the journal, making it when there is none.
    ///
    /// # Errors
    /// Another run holds the lock, or the journal cannot be read or written.
    pub fn open(place: &Place) -> Result<Self> {
        let cannot = |what: &Path, e: &dyn std::fmt::Display| {
            Error::new(ExitCode::Journal, format!("cannot write {}", what.display()))
                .because(e)
                .hint("nothing was changed: without a journal nothing could be taken back")
        };
        fs::DirBuilder::new().recursive(true).mode(0o755).create(&place.dir).map_err(|e| cannot(&place.dir, &e))?;
        let open = |path: &Path| OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path);
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
        let contents = Contents::read(place)?;
        let mut file = open(&path).map_err(|e| cannot(&path, &e))?;
        file.set_len(contents.whole).and_then(|()| file.seek(SeekFrom::End(0))).map_err(|e| cannot(&path, &e))?;
        let created = contents.records.is_empty();
        let journal =
            Self { place: place.clone(), inner: Mutex::new((file, contents.ledger)), _lock: lock, torn: contents.torn, created };
        if created {
            journal.append(&Record::Header { format: FORMAT, tool: format!("iris-mk8s {}", env!("CARGO_PKG_VERSION")) })?;
            // The file's name is durable only with its directory.
            File::open(&place.dir).and_then(|d| d.sync_all()).map_err(|e| cannot(&place.dir, &e))?;
        }
        Ok(journal)
    }

    /// Writes one record and waits until it is on the disk.
    ///
    /// # Errors
    /// The disk is full or broken: then what the record announces must not be done.
    pub fn append(&self, record: &Record) -> Result<()> {
        let cannot = |e: &dyn std::fmt::Display| {
            Error::new(ExitCode::Journal, format!("cannot write {}", self.place.journal().display()))
                .because(e)
                .hint("make room on the disk and run the same command again; the act that it announces was not begun")
        };
        let mut inner = self.inner.lock().map_err(|e| cannot(&e))?;
        let (file, ledger) = &mut *inner;
        let mut next = ledger.clone();
        next.apply(record).map_err(|why| Error::new(ExitCode::Bug, "a record in an impossible order").because(why))?;
        let mut line = serde_json::to_vec(record).map_err(|e| cannot(&e))?;
        line.push(b'\n');
        let before = file.stream_position().map_err(|e| cannot(&e))?;
        if let Err(e) = file.write_all(&line).and_then(|()| file.sync_data()) {
            // A half-written line would be in the way of the next one.
            let _ = file.set_len(before).and_then(|()| file.seek(SeekFrom::Start(before)));
            return Err(cannot(&e));
        }
        *ledger = next;
        Ok(())
    }

    /// What the journal adds up to now.
    pub fn ledger(&self) -> Ledger {
        self.inner.lock().map(|inner| inner.1.clone()).unwrap_or_default()
    }

    /// Removes the journal and everything beside it: the end of a reset. A journal that nothing was ever written to goes as well.
    ///
    /// # Errors
    /// The file system refuses.
    pub fn remove(self) -> Result<()> {
        fs::remove_dir_all(&self.place.dir)
            .map_err(|e| Error::new(ExitCode::Residue, format!("cannot remove {}", self.place.dir.display())).because(e))
    }

    /// Whether this run made it.
    pub fn is_new(&self) -> bool {
        self.created
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn bytes() -> Vec<u8> {
        let records = [
            Record::Header { format: 1, tool: "t".into() },
            Record::Run { run: "r".into(), command: "bootstrap".into(), at: 1, spec: None },
            Record::Intent { step: "a.b".into(), memo: Memo { prior: json!(null), want: json!({"x": "ü\n"}) } },
            Record::Done { step: "a.b".into() },
        ];
        records.iter().flat_map(|r| [serde_json::to_vec(r).expect("json"), b"\n".to_vec()].concat()).collect()
    }

    #[test]
    fn cut_at_every_byte_it_gives_the_whole_records() {
        let all = bytes();
        for cut in 0..=all.len() {
            let contents = Contents::parse(&all[..cut]).expect("a prefix is readable");
            let whole = all[..cut].iter().filter(|b| **b == b'\n').count();
            assert_eq!(contents.records.len(), whole, "cut at {cut}");
            assert_eq!(contents.whole + contents.torn, cut as u64);
        }
    }

    #[test]
    fn a_damaged_line_in_the_middle_is_refused() {
        let mut all = bytes();
        all[3] = b'#';
        assert_eq!(Contents::parse(&all).unwrap_err().code, ExitCode::Journal);
    }

    #[test]
    fn a_torn_tail_is_cut_off_before_the_next_record() {
        let dir = tempfile::tempdir().expect("dir");
        let place = Place { dir: dir.path().to_owned() };
        let all = bytes();
        fs::write(place.journal(), &all[..all.len() - 4]).expect("write");
        let journal = Journal::open(&place).expect("open");
        assert!(journal.torn > 0);
        journal.append(&Record::Done { step: "a.b".into() }).expect("append");
        drop(journal);
        assert_eq!(Contents::read(&place).expect("read").records.len(), 4);
    }

    #[test]
    fn a_second_run_is_locked_out() {
        let dir = tempfile::tempdir().expect("dir");
        let place = Place { dir: dir.path().to_owned() };
        let _first = Journal::open(&place).expect("open");
        assert_eq!(Journal::open(&place).map(|_| ()).unwrap_err().code, ExitCode::Locked);
    }

    #[test]
    fn a_full_disk_is_an_error_before_the_act() {
        // /dev/full takes no byte, as a full disk does.
        let dir = tempfile::tempdir().expect("dir");
        let place = Place { dir: dir.path().to_owned() };
        std::os::unix::fs::symlink("/dev/full", place.journal()).expect("link");
        let error = Journal::open(&place).map(|_| ()).unwrap_err();
        assert_eq!(error.code, ExitCode::Journal);
    }
}
