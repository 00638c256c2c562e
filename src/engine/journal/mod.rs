//! The journal: what we are about to do, durable before we do it. It alone decides what may be taken back.
//!
//! One JSON record a line. A power cut may tear the last line: reading takes the longest prefix of whole records, and the next
//! writer cuts the rest off. Anything else that cannot be read is refused, never guessed.

use std::{
    path::PathBuf,
    sync::{Mutex, PoisonError},
};

use crate::{
    config::place::Place,
    error::{Error, ExitCode, Result},
};

use store::FileStore;

mod contents;
mod ledger;
mod record;
mod store;

pub use contents::{Contents, Origin, OriginOf};
pub use ledger::Ledger;
pub use record::{FORMAT, Record};
pub use store::Store;

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
    pub fn open(place: &Place, origin_of: OriginOf) -> Result<Self> {
        Self::over(Box::new(FileStore::open(place)?), place.journal(), origin_of)
    }

    /// A journal whose bytes lie in `store`; `path` is its name in messages.
    ///
    /// # Errors
    /// It cannot be read or written.
    pub fn over(mut store: Box<dyn Store>, path: PathBuf, origin_of: OriginOf) -> Result<Self> {
        let cannot = |what: &str, e: &dyn std::fmt::Display| {
            Error::new(ExitCode::Journal, format!("cannot {what} {}", path.display())).because(e)
        };
        let Some(bytes) = store.read().map_err(|e| cannot("read", &e))? else {
            let header = Record::Header { format: FORMAT, tool: tool() };
            let line = header.encode().map_err(|e| cannot("write", &e))?;
            let mut ledger = Ledger::default();
            ledger.apply(&header).map_err(|e| cannot("write", &e))?;
            // All of the header or nothing: a journal that is there says something.
            if let Err(e) = store.replace(&line) {
                let _ = store.remove();
                return Err(cannot("write", &e).hint("make room on the disk; nothing was changed"));
            }
            let inner = Mutex::new(Inner { store, len: line.len() as u64, ledger });
            return Ok(Self { path, inner, torn: 0 });
        };
        let contents = Contents::parse(&bytes, origin_of)
            .map_err(|e| Error { what: format!("{} ({})", e.what, path.display()), ..e })?;
        let mut len = contents.whole;
        if contents.format < FORMAT {
            // An older program must not go on with it: it would misread what is written from now on.
            let lines: serde_json::Result<Vec<Vec<u8>>> = contents.records.iter().map(Record::encode).collect();
            let all = lines.map_err(|e| cannot("write", &e))?.concat();
            store.replace(&all).map_err(|e| cannot("write", &e))?;
            len = all.len() as u64;
        } else if contents.torn > 0 {
            store.cut(contents.whole).map_err(|e| cannot("write", &e))?;
        }
        let inner = Mutex::new(Inner { store, len, ledger: contents.ledger });
        Ok(Self { path, inner, torn: contents.torn })
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
        let line = record.encode().map_err(|e| cannot(&e))?;
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
        // A panic while a record was written leaves the ledger without it: an empty one would say that nothing is ours.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).ledger.clone()
    }

    /// Removes a journal that says nothing. What lies beside it stays: a password belongs to data that may still be there.
    ///
    /// # Errors
    /// The file system refuses.
    pub fn discard(self) -> Result<()> {
        self.end(|store| store.remove())
    }

    /// The end of a reset: removes our files beside the journal, and the journal last, so that an interrupted removal goes on.
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

fn tool() -> String {
    format!("iris-mk8s {}", env!("CARGO_PKG_VERSION"))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use serde_json::{Value, json};

    use super::*;
    use crate::{config::spec::Spec, engine::step::Memo};

    fn unknown(_: &Spec, _: &str) -> Option<Origin> {
        None
    }

    fn bytes() -> Vec<u8> {
        let memo = Memo { prior: json!(null), want: json!({"x": "ü\n"}) };
        let records = [
            Record::Header { format: FORMAT, tool: "t".into() },
            Record::Run { run: "r".into(), command: "bootstrap".into(), at: 1, spec: None },
            Record::Intent { step: "a.b".into(), memo, recipe: Value::Null, microk8s: None, anew: false },
            Record::Done { step: "a.b".into(), microk8s: None },
        ];
        records.iter().flat_map(|r| r.encode().expect("json")).collect()
    }

    #[test]
    fn a_damaged_line_in_the_middle_is_refused() {
        let mut all = bytes();
        all[3] = b'#';
        assert_eq!(Contents::parse(&all, unknown).unwrap_err().code, ExitCode::Journal);
    }

    #[test]
    fn a_torn_tail_is_cut_off_before_the_next_record() {
        let dir = tempfile::tempdir().expect("dir");
        let place = Place { dir: dir.path().to_owned() };
        let all = bytes();
        fs::write(place.journal(), &all[..all.len() - 4]).expect("write");
        let journal = Journal::open(&place, unknown).expect("open");
        assert!(journal.torn > 0);
        journal.append(&Record::Done { step: "a.b".into(), microk8s: None }).expect("append");
        drop(journal);
        assert_eq!(Contents::read(&place, unknown).expect("read").records.len(), 4);
    }

    #[test]
    fn a_second_run_is_locked_out() {
        let dir = tempfile::tempdir().expect("dir");
        let place = Place { dir: dir.path().to_owned() };
        let _first = Journal::open(&place, unknown).expect("open");
        assert_eq!(Journal::open(&place, unknown).map(|_| ()).unwrap_err().code, ExitCode::Locked);
    }
}
