//! The one error of the crate: what happened, why, what to do next, and the exit code that goes with it.
//!
//! Exit codes are API (see [`ExitCode`]): scripts and provisioners branch on them, so a number never changes its meaning.

pub mod defect;
pub mod finding;

use std::{error, fmt, sync::Arc};

/// What a finished process tells its caller. Documented in the README; never renumbered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
#[repr(u8)]
pub enum ExitCode {
    /// The host matches the spec (or: nothing of ours is left).
    Done = 0,
    /// A defect of this program.
    Bug = 1,
    /// The command line or a profile is wrong; nothing was changed.
    Usage = 2,
    /// The host or the range is not fit; nothing was changed.
    Preflight = 10,
    /// The command needs root.
    NotRoot = 11,
    /// Another run is active on this host.
    Locked = 12,
    /// A command, a snapd change or an API call failed.
    CommandFailed = 20,
    /// A deadline passed, or nothing moved any more.
    TimedOut = 21,
    /// The commands succeeded, but the expected state was not reached.
    Unverified = 22,
    /// Something there belongs to somebody else and stands in the way.
    NotOurs = 23,
    /// `status` and `plan --check`: the host differs from the spec.
    Differs = 30,
    /// The journal cannot be read or written.
    Journal = 40,
    /// After a reset something we know of is still there.
    Residue = 41,
    /// Interrupted by a signal; the same command resumes the run.
    Interrupted = 130,
}

/// An error for the person at the terminal.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Error {
    /// The exit code, and with it the kind of error.
    pub code: ExitCode,
    /// What happened, as one sentence without a full stop.
    pub what: String,
    /// Why: the words of whoever refused (the last lines of a command's output, the API server's message).
    pub cause: Option<String>,
    /// What to do next: a command where there is one.
    pub hint: Option<String>,
    /// The step in which it happened.
    pub step: Option<String>,
    /// It may resolve without help (a server that restarts): worth waiting for, within the step's deadline.
    pub transient: bool,
    /// What a caller may tell it by; the words are for people alone.
    pub kind: Kind,
    /// The error that it comes from, where that is one of Rust's and not another program's words.
    pub source: Option<Source>,
}

/// The error behind an error. Two errors are the same when what they say is.
#[derive(Clone, Debug, thiserror::Error)]
#[error(transparent)]
pub struct Source(Arc<dyn error::Error + Send + Sync>);

impl PartialEq for Source {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Source {}

/// An error with the errors behind it: the outermost one of a TLS or connection failure says little.
pub fn chain(error: &dyn error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(inner) = next {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text = format!("{text}: {inner_text}");
        }
        next = inner.source();
    }
    text
}

/// What a caller can do something about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// Nothing in particular.
    #[default]
    Other,
    /// The program of a command is not on this host.
    NoProgram,
    /// snapd has no setting of that name: nobody ever made it.
    NoSuchOption,
    /// The snap store answered, but not with what was asked for.
    StoreTrouble,
}

/// The crate's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error of the given kind.
    pub fn new(code: ExitCode, what: impl Into<String>) -> Self {
        Self {
            code,
            what: what.into(),
            cause: None,
            hint: None,
            step: None,
            transient: false,
            kind: Kind::Other,
            source: None,
        }
    }

    /// Wrong input: names the part that is wrong.
    pub fn usage(what: impl Into<String>) -> Self {
        Self::new(ExitCode::Usage, what)
    }

    /// A command or an API call that failed.
    pub fn failed(what: impl Into<String>) -> Self {
        Self::new(ExitCode::CommandFailed, what)
    }

    /// Something that does not answer now and may answer soon.
    pub fn transient(what: impl Into<String>) -> Self {
        Self { transient: true, ..Self::failed(what) }
    }

    /// A command whose program is not on this host.
    pub fn no_program(program: &str) -> Self {
        Self { kind: Kind::NoProgram, ..Self::failed(format!("there is no program `{program}` on this host")) }
    }

    /// Adds the error that it comes from: its words are the reason.
    #[must_use]
    pub fn caused_by(self, e: impl Into<Box<dyn error::Error + Send + Sync>>) -> Self {
        let source: Arc<dyn error::Error + Send + Sync> = e.into().into();
        Self { source: Some(Source(Arc::clone(&source))), ..self.because(chain(&source)) }
    }

    /// Adds the reason, in the words of another program or of ours.
    #[must_use]
    pub fn because(mut self, cause: impl fmt::Display) -> Self {
        self.cause = Some(cause.to_string());
        self
    }

    /// Adds what to do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Names the step, unless an inner call named one already.
    #[must_use]
    pub fn in_step(mut self, step: &str) -> Self {
        self.step.get_or_insert_with(|| step.to_owned());
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.what)?;
        if let Some(step) = &self.step {
            write!(f, " (step {step})")?;
        }
        if let Some(cause) = &self.cause {
            write!(f, "\n  cause: {}", cause.trim_end().replace('\n', "\n         "))?;
        }
        if let Some(hint) = &self.hint {
            write!(f, "\n  hint:  {}", hint.trim_end().replace('\n', "\n         "))?;
        }
        Ok(())
    }
}

/// An error as a reason on one line.
pub(crate) fn one_line(e: &Error) -> String {
    let text = e.cause.as_ref().map_or_else(|| e.what.clone(), |cause| format!("{}: {cause}", e.what));
    text.lines().map(str::trim).filter(|l| !l.is_empty()).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use std::{error::Error as _, io};

    use super::*;

    #[test]
    fn an_error_keeps_the_one_it_comes_from() {
        let inner = io::Error::new(io::ErrorKind::StorageFull, "no space left");
        let error = Error::failed("cannot write x").caused_by(inner);
        assert_eq!(error.cause.as_deref(), Some("no space left"));
        let io = |e: &(dyn error::Error + 'static)| e.downcast_ref::<io::Error>().map(io::Error::kind);
        let mut next = error.source();
        let mut kinds = Vec::new();
        while let Some(e) = next {
            kinds.extend(io(e));
            next = e.source();
        }
        assert!(error.source().is_some(), "{kinds:?}");
    }
}
