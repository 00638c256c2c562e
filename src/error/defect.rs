//! A panic is a defect of this program. It ends as an error like every other one, with exit code 1: it is neither a hang nor a page of source
//! code on somebody's terminal.

use std::{
    any::Any,
    fmt::Write,
    panic::{self, AssertUnwindSafe},
    path::PathBuf,
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::error::{Error, ExitCode, Result};

/// A panic that nobody has told yet: its message, and its place in the source.
struct Seen {
    message: String,
    place: String,
}

static SEEN: Mutex<Vec<Seen>> = Mutex::new(Vec::new());

/// The logs that were written because a panic unwound past them.
static LOGS: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// What `thread::scope` says when one of its threads panicked.
const OF_A_SCOPE: &str = "a scoped thread panicked";

/// A panic must not make the record of panics unusable.
fn open<T>(list: &Mutex<Vec<T>>) -> MutexGuard<'_, Vec<T>> {
    list.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Notes every panic from now on instead of printing it. With `RUST_BACKTRACE` set, it is printed as well.
pub fn watch() {
    let print = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        if std::env::var_os("RUST_BACKTRACE").is_some_and(|value| value != "0") {
            print(info);
        }
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        open(&SEEN).push(Seen { message: message(info.payload()), place });
    }));
}

/// Runs this; a panic in it becomes an error.
///
/// # Errors
/// Those of the work itself, and a panic in it.
pub fn caught<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    panic::catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|payload| Err(error(&*payload)))
}

/// The error for the payload of a panic, as a thread's `join` gives it.
pub fn error(payload: &(dyn Any + Send)) -> Error {
    let message = message(payload);
    let mut seen = open(&SEEN);
    let mut take = |message: &str| seen.iter().position(|seen| seen.message == message).map(|at| seen.remove(at));
    let own = take(&message).unwrap_or(Seen { message, place: String::new() });
    // `thread::scope` panics by itself when one of its threads has: that one's words are the cause.
    let cause = if own.message == OF_A_SCOPE { seen.pop() } else { None };
    tell(&cause.unwrap_or(own))
}

/// A panic of a thread that nobody waited for: the run went on without it, and cannot be called good.
pub fn unnoticed() -> Option<Error> {
    open(&SEEN).pop().map(|seen| tell(&seen))
}

/// Remembers a log that tells more of a panic.
pub fn note_log(file: PathBuf) {
    open(&LOGS).push(file);
}

fn message(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_else(|| "it does not say why".to_owned())
}

fn tell(seen: &Seen) -> Error {
    let version = env!("CARGO_PKG_VERSION");
    let place = if seen.place.is_empty() { "unknown".to_owned() } else { seen.place.clone() };
    let mut hint = "this is not your fault: please report it, with this message and the log".to_owned();
    for log in open(&LOGS).drain(..) {
        let _ = write!(hint, "\nthe log, with every command that was run and its output: {}", log.display());
    }
    Error::new(ExitCode::Bug, "this is a defect of iris-mk8s")
        .because(format!("{} (at {place}, version {version})", seen.message))
        .hint(hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_an_error_with_its_message() {
        for (ended, text) in [
            (caught::<()>(|| panic!("plain")), "plain"),
            (caught(|| panic!("number {}", 7)), "number 7"),
            (caught(|| std::panic::resume_unwind(Box::new(5))), "it does not say why"),
        ] {
            let error = ended.unwrap_err();
            assert_eq!(error.code, ExitCode::Bug);
            assert!(error.cause.as_deref().is_some_and(|cause| cause.contains(text)), "{error}");
        }
        assert_eq!(caught(|| Ok(1)), Ok(1));
    }
}
