//! The journal: what we are about to do, durable before we do it. It alone decides what may be taken back.
//!
//! One JSON record a line. A power cut may tear the last line: reading takes the longest prefix of whole records, and the next
//! writer cuts the rest off. Anything else that cannot be read is refused, never guessed.

use std::{fmt, fs, path::PathBuf, sync::Mutex};

use serde::{Deserialize, Serialize};

use crate::{
    error::{Error, ExitCode, Result},
    spec::Spec,
    step::Memo,
};

mod ledger;
mod store;

pub use ledger::Ledger;
pub use store::Store;

use store::FileStore;

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

/// The records for people, oldest first.
impl fmt::Display for Contents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for record in &self.records {
            match record {
                Record::Header { format, tool } => writeln!(f, "written by {tool}, format {format}")?,
                Record::Run { run, command, at, .. } => {
                    let time = i64::try_from(*at).ok().and_then(|s| jiff::Timestamp::from_second(s).ok());
                    writeln!(f, "\n{} {command} ({run})", time.map(|t| t.to_string()).unwrap_or_default())?;
                }
                Record::Intent { step, memo } if memo.prior.is_null() => {
                    writeln!(f, "  makes    {step} (nothing was there)")?;
                }
                Record::Intent { step, memo } => writeln!(f, "  changes  {step} (there was: {})", memo.prior)?,
                Record::Done { step } => writeln!(f, "  done     {step}")?,
                Record::UndoIntent { step } => writeln!(f, "  undoes   {step}")?,
                Record::Undone { step } => writeln!(f, "  undone   {step}")?,
            }
        }
        if self.torn > 0 {
            writeln!(f, "\nthe last {} bytes are a torn record: the host lost its power there", self.torn)?;
        }
        let ours: Vec<&str> = self.ledger.steps().collect();
        writeln!(f, "\nours now: {}", if ours.is_empty() { "nothing".to_owned() } else { ours.join(", ") })
    }
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
            Ok(bytes) => Self::parse(&bytes)
                .map_err(|e| Error { what: format!("{} ({})", e.what, place.journal().display()), ..e }),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(e) => {
                Err(Error::new(ExitCode::Journal, format!("cannot read {}", place.journal().display())).because(e))
            }
        }
    }
}

fn unreadable(line: usize, why: &str) -> Error {
    Error::new(ExitCode::Journal, format!("the journal is damaged at line {line}")).because(why).hint(
        "without it nobody knows what was there before; look at the file, move it away to start anew (bootstrap converges \
         without it, teardown --reset then takes nothing back)",
    )
}

/// The journal, open for writing, and with it the right to change the host: its store holds the lock.
pub struct Journal {
    /// Where it lies, for messages.
    path: PathBuf,
    inner: Mutex<Inner>,
    /// Bytes of a torn last line that were cut off.
    pub torn: u64,
}

struct Inner {
    store: Box<dyn Store>,
    /// Bytes of whole records.
    len: u64,
    ledger: Ledger,
}

impl Journal {
    /// Takes the lock and opens the journal, making it when there is none.
    ///
    /// # Errors
    /// Another run holds the lock, or the journal cannot be read or written.
    pub fn open(place: &Place) -> Result<Self> {
        Self::over(Box::new(FileStore::open(place)?), place.journal())
    }

    /// A journal whose bytes lie in `store`; `path` is its name in messages.
    ///
    /// # Errors
    /// It cannot be read or written.
    pub fn over(mut store: Box<dyn Store>, path: PathBuf) -> Result<Self> {
        let cannot = |what: &str, e: std::io::Error| {
            Error::new(ExitCode::Journal, format!("cannot {what} {}", path.display())).because(e)
        };
        let bytes = store.read().map_err(|e| cannot("read", e))?;
        let contents =
            Contents::parse(&bytes).map_err(|e| Error { what: format!("{} ({})", e.what, path.display()), ..e })?;
        if contents.torn > 0 {
            store.cut(contents.whole).map_err(|e| cannot("write", e))?;
        }
        let is_new = contents.records.is_empty();
        let inner = Mutex::new(Inner { store, len: contents.whole, ledger: contents.ledger });
        let journal = Self { path, inner, torn: contents.torn };
        if is_new {
            let header = Record::Header { format: FORMAT, tool: format!("iris-mk8s {}", env!("CARGO_PKG_VERSION")) };
            if let Err(e) = journal.append(&header) {
                // Nothing of a journal that could not even be begun stays.
                let _ = journal.discard();
                return Err(e);
            }
        }
        Ok(journal)
    }

    /// Writes one record and waits until it is on the disk.
    ///
    /// # Errors
    /// The disk is full or broken: then what the record announces must not be done.
    pub fn append(&self, record: &Record) -> Result<()> {
        let cannot = |e: &dyn std::fmt::Display| {
            Error::new(ExitCode::Journal, format!("cannot write {}", self.path.display()))
                .because(e)
                .hint("make room on the disk and run the same command again; the act that it announces was not begun")
        };
        let mut inner = self.inner.lock().map_err(|e| cannot(&e))?;
        let mut next = inner.ledger.clone();
        next.apply(record).map_err(|why| Error::new(ExitCode::Bug, "a record in an impossible order").because(why))?;
        let mut line = serde_json::to_vec(record).map_err(|e| cannot(&e))?;
        line.push(b'\n');
        if let Err(e) = inner.store.append(&line) {
            // A half-written line would be in the way of the next one.
            let len = inner.len;
            let _ = inner.store.cut(len);
            return Err(cannot(&e));
        }
        inner.len += line.len() as u64;
        inner.ledger = next;
        Ok(())
    }

    /// What the journal adds up to now.
    pub fn ledger(&self) -> Ledger {
        self.inner.lock().map(|inner| inner.ledger.clone()).unwrap_or_default()
    }

    /// Removes a journal that says nothing. What lies beside it stays: a password belongs to data that may still be there.
    ///
    /// # Errors
    /// The file system refuses.
    pub fn discard(self) -> Result<()> {
        self.end(|store| store.remove())
    }

    /// The end of a reset: removes everything beside the journal, and the journal last, so that an interrupted removal goes on.
    ///
    /// # Errors
    /// The file system refuses.
    pub fn remove(self) -> Result<()> {
        self.end(|store| store.clear().and_then(|()| store.remove()))
    }

    fn end(self, how: impl FnOnce(&mut dyn Store) -> std::io::Result<()>) -> Result<()> {
        let cannot = |e: &dyn std::fmt::Display| {
            Error::new(ExitCode::Residue, format!("cannot remove {} and what lies beside it", self.path.display()))
                .because(e)
        };
        how(&mut *self.inner.into_inner().map_err(|e| cannot(&e))?.store).map_err(|e| cannot(&e))
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
}
