//! What an undo cannot take away is named, with the reason; and the records of what was there before us.

use std::{
    path::{Path, PathBuf},
    sync::Mutex,
};

use crate::{
    engine::step::{Act, SOON, Undo},
    error::{Error, ExitCode, Result},
    host::{Cmd, Host},
};

/// The half of a file that a write left which died.
pub(crate) fn half_written(file: &std::path::Path) -> std::path::PathBuf {
    std::path::PathBuf::from(format!("{}.new", file.display()))
}

/// Something that stays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Left {
    pub(crate) what: String,
    pub(crate) why: String,
    /// It is known to be somebody else's, or somebody else needs it: then it does not count.
    pub(crate) theirs: bool,
}

impl Left {
    /// It is ours, or may be.
    pub(crate) fn ours(what: impl Into<String>, why: impl Into<String>) -> Self {
        Self { what: what.into(), why: why.into(), theirs: false }
    }

    pub(crate) fn theirs(what: impl Into<String>, why: impl Into<String>) -> Self {
        Self { what: what.into(), why: why.into(), theirs: true }
    }
}

/// All of them, a line each.
pub(crate) fn lines(left: &[Left]) -> String {
    let lines: Vec<String> = left.iter().map(|l| format!("{}: {}", l.what, l.why)).collect();
    lines.join("\n")
}

/// The end of an undo: the record of the former state is removed, and after that what stays is reported.
#[derive(Default)]
pub(crate) struct End(Mutex<Option<Vec<Left>>>);

impl End {
    /// What is left to do when nothing can be taken away any more.
    pub(crate) fn of(&self, file: &Path, left: Vec<Left>) -> Undo {
        if left.iter().any(|l| !l.theirs) {
            return Undo::Keep(lines(&left));
        }
        if let Ok(mut end) = self.0.lock() {
            *end = Some(left);
        }
        Undo::Acts(vec![Act::Remove { path: file.to_owned(), all: false }])
    }

    /// What was left, once the record is gone.
    pub(crate) fn told(&self) -> Option<Undo> {
        let left = self.0.lock().ok()?.take()?;
        Some(if left.is_empty() { Undo::Done } else { Undo::Theirs(lines(&left)) })
    }
}

/// Units of these patterns that failed, as systemd remembers them.
pub(crate) fn failed_units(host: &dyn Host, patterns: &[&str]) -> Result<Vec<String>> {
    let look = ["systemctl", "list-units", "--all", "--failed", "--plain", "--no-legend"];
    let failed = host.ask(&Cmd::reads(look.iter().chain(patterns).copied()))?;
    Ok(failed.stdout.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect())
}

/// Makes systemd forget units of these patterns that failed, but for those that had failed before; none where no other did.
pub(crate) fn forget_failed(host: &dyn Host, patterns: &[&str], before: &[String]) -> Result<Option<Act>> {
    let is_left = |unit: &String| !before.contains(unit) && !has_a_file(host, unit);
    let failed: Vec<String> = failed_units(host, patterns)?.into_iter().filter(is_left).collect();
    let words = ["systemctl", "reset-failed"].map(str::to_owned);
    let reset = || Act::Run(Cmd::changes(SOON, words.into_iter().chain(failed.iter().cloned())));
    Ok((!failed.is_empty()).then(reset))
}

/// Whether a unit has a file. snapd takes away those of its services with the snap, also when that is disabled: one that still has its file is
/// somebody's.
pub(crate) fn has_a_file(host: &dyn Host, unit: &str) -> bool {
    let folders =
        ["/etc/systemd/system", "/run/systemd/system", "/usr/local/lib/systemd/system", "/lib/systemd/system"];
    folders.iter().any(|folder| host.exists(&Path::new(folder).join(unit)))
}

/// A record of what was there before; none when there is no such file.
///
/// # Errors
/// It is there, and cannot be read.
pub(crate) fn read_record<T>(
    host: &dyn Host,
    file: &Path,
    parse: impl Fn(&[u8]) -> Result<T, String>,
) -> Result<Option<T>> {
    let Some(bytes) = host.read(file)? else { return Ok(None) };
    let found = whole(&bytes).and_then(|()| parse(&bytes)).map_err(|why| {
        Error::new(ExitCode::Journal, format!("{} cannot be read", file.display())).because(why).hint(format!(
            "it says what was there before us, and so nothing was done: put it back from a backup; or move it away (`mv {0} {0}.damaged`), then \
             the journal's copy of it counts, where it has one, else what is left stays and is named",
            file.display()
        ))
    })?;
    Ok(Some(found))
}

/// Whether there is anything in it.
pub(crate) fn whole(bytes: &[u8]) -> Result<(), String> {
    if bytes.is_empty() {
        return Err("it is empty".to_owned());
    }
    if bytes.iter().all(|b| *b == 0) {
        return Err(format!("it holds {} zero bytes, as a power cut leaves them", bytes.len()));
    }
    Ok(())
}

/// What a write that died half-way left beside a file of ours; no later run takes it along when nothing is wanted any more.
pub(crate) fn unfinished(host: &dyn Host, file: &Path) -> Option<Act> {
    let path = PathBuf::from(format!("{}.new", file.display()));
    host.exists(&path).then_some(Act::Remove { path, all: false })
}
