//! The journal's bytes in the modelled file system, and the wrong ways to keep them.

use std::{io, sync::Arc};

use iris_mk8s::{
    config::place::Place,
    engine::journal::{Record, Store},
};

use super::{host::Model, world::World};

/// When records are written, and which prior counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// As the product does: before the act, and the first prior stands.
    Proposed,
    /// The prior of the last intent counts, though it may be our own half-made state.
    LastPriorWins,
    /// Nothing is written before the host shows the effect.
    OnlyAfterTheAct,
    /// A bootstrap writes all of its records when it ends.
    ReceiptAtTheEnd,
}

/// The journal of a modelled host.
pub struct ModelStore {
    model: Arc<Model>,
    policy: Policy,
    /// Records that the policy holds back.
    held: Vec<Record>,
    is_bootstrap: bool,
}

fn path() -> String {
    Place::default().journal().to_str().expect("UTF-8").to_owned()
}

fn lock() -> String {
    Place::default().lock().to_str().expect("UTF-8").to_owned()
}

/// The journal's bytes.
pub fn bytes(world: &World) -> Vec<u8> {
    world.files.read(path()).unwrap_or_default().to_vec()
}

fn records(bytes: &[u8]) -> Vec<Record> {
    bytes.split(|b| *b == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect()
}

fn lines(records: &[Record]) -> Vec<u8> {
    records.iter().flat_map(|r| r.encode().expect("JSON")).collect()
}

/// Every intent of a step gets the prior of the newest one.
fn last_prior(mut records: Vec<Record>) -> Vec<Record> {
    for at in (0..records.len()).rev() {
        let Record::Intent { step, memo, .. } = records[at].clone() else { continue };
        for earlier in records[..at].iter_mut().rev() {
            match earlier {
                Record::Undone { step: undone } if *undone == step => break,
                Record::Intent { step: same, memo: old, .. } if *same == step => old.prior = memo.prior.clone(),
                _ => {}
            }
        }
    }
    records
}

/// What a reader of the journal sees under a policy.
pub fn read_as(policy: Policy, bytes: Vec<u8>) -> Vec<u8> {
    if policy == Policy::LastPriorWins { lines(&last_prior(records(&bytes))) } else { bytes }
}

impl ModelStore {
    /// Opens it, making it and its lock when there is none.
    pub fn open(model: &Arc<Model>, policy: Policy, is_bootstrap: bool) -> Self {
        {
            let mut world = model.world();
            let file = lock();
            if !world.files.has(&file) {
                world.files.write_as(&file, "", 0o600, "root");
                model.moment(&mut world, || format!("{file} is made"));
            }
        }
        Self { model: Arc::clone(model), policy, held: Vec::new(), is_bootstrap }
    }

    fn write(&self, line: &[u8]) -> io::Result<()> {
        let mut world = self.model.world();
        let shown = || String::from_utf8_lossy(&line[..line.len().min(90)]).trim_end().to_owned();
        self.model.moment(&mut world, || format!("before {}", shown()));
        let all = bytes(&world);
        // A disk that fills up, and a power cut, may keep the first part of a line.
        let half = [&all[..], &line[..line.len() / 2]].concat();
        world.files.write_as(&path(), half, 0o600, "root");
        if !world.files.has_room() {
            return Err(io::Error::from(io::ErrorKind::StorageFull));
        }
        self.model.moment(&mut world, || format!("within {}", shown()));
        world.files.write_as(&path(), [&all[..], line].concat(), 0o600, "root");
        self.model.moment(&mut world, || format!("after {}", shown()));
        Ok(())
    }

    /// Writes what the policy lets out.
    fn release(&mut self, record: Record) -> io::Result<()> {
        let begins = matches!(record, Record::Intent { .. } | Record::UndoIntent { .. });
        let ends = matches!(record, Record::Done { .. } | Record::Undone { .. });
        match self.policy {
            Policy::OnlyAfterTheAct if begins => self.held.push(record),
            Policy::OnlyAfterTheAct if ends => {
                let step = record.step().map(str::to_owned);
                let (of_step, rest) =
                    std::mem::take(&mut self.held).into_iter().partition(|r| r.step() == step.as_deref());
                self.held = rest;
                let mut all: Vec<Record> = of_step;
                all.push(record);
                // A crash between the two lines would be a crash after the act all the same.
                return self.write(&lines(&all));
            }
            Policy::ReceiptAtTheEnd if self.is_bootstrap => self.held.push(record),
            _ => return self.write(&lines(&[record])),
        }
        Ok(())
    }
}

impl Drop for ModelStore {
    fn drop(&mut self) {
        if self.policy == Policy::ReceiptAtTheEnd && !self.held.is_empty() {
            let held = std::mem::take(&mut self.held);
            let _ = self.write(&lines(&held));
        }
    }
}

impl Store for ModelStore {
    fn read(&mut self) -> io::Result<Option<Vec<u8>>> {
        let world = self.model.world();
        Ok(world.files.has(path()).then(|| read_as(self.policy, bytes(&world))))
    }

    fn replace(&mut self, all: &[u8]) -> io::Result<()> {
        let mut world = self.model.world();
        self.model.moment(&mut world, || "before the journal is written anew".to_owned());
        if !world.files.has_room() {
            return Err(io::Error::from(io::ErrorKind::StorageFull));
        }
        world.files.write_as(&path(), all, 0o600, "root");
        self.model.moment(&mut world, || "after the journal was written anew".to_owned());
        Ok(())
    }

    fn append(&mut self, line: &[u8]) -> io::Result<()> {
        let record = serde_json::from_slice(line).expect("a record");
        self.release(record)
    }

    fn cut(&mut self, len: u64) -> io::Result<()> {
        let mut world = self.model.world();
        let all = bytes(&world);
        let len = usize::try_from(len).expect("a small journal").min(all.len());
        // The wrong policies hold records back, and so the product's count is ahead of the file.
        world.files.write_as(&path(), &all[..len], 0o600, "root");
        Ok(())
    }

    fn clear(&mut self) -> io::Result<()> {
        for file in Place::default().beside() {
            if self.model.world().files.has(&file) {
                let mut world = self.model.world();
                world.files.remove(&file);
                self.model.moment(&mut world, || format!("{} is removed", file.display()));
            }
        }
        Ok(())
    }

    fn remove(&mut self) -> io::Result<()> {
        let dir = Place::default().dir;
        for file in [lock(), path()] {
            let mut world = self.model.world();
            world.files.remove(&file);
            self.model.moment(&mut world, || format!("{file} is removed"));
        }
        let mut world = self.model.world();
        if world.files.names(&dir).is_empty() {
            world.files.remove(&dir);
        }
        Ok(())
    }
}
