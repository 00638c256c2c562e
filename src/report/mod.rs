//! From events to what a person or a program reads. Nothing else in the crate prints.
//!
//! Results go to stdout, everything else to stderr. A write that fails never stops the work. What was lost of stdout is an error at the end of
//! the command, unless the reader left by itself (`| head`): it has read as much as it wanted.

mod json;
mod lines;
mod terminal;
mod timings;
mod words;
mod wrap;

use std::{
    env,
    io::{self, IsTerminal, Write},
    sync::mpsc::{Receiver, RecvTimeoutError},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

pub use json::Json;
pub use lines::Lines;
pub use terminal::Terminal;
pub use timings::Timings;

use crate::{
    cli::{Format, Global},
    engine::event::{ErrorRecord, Event, Stamped},
    error::{Error, Result},
};

/// How often a reporter may say something although nothing happened.
const TICK: Duration = Duration::from_millis(500);

/// Shows events.
pub trait Reporter {
    /// Something happened.
    fn event(&mut self, e: &Stamped);

    /// Time passed: so many milliseconds since the run began.
    fn tick(&mut self, _ms: u64) {}

    /// Whether everything that a program relies on could be written. What people read on stderr is worth no error.
    ///
    /// # Errors
    /// The first write that failed.
    fn written(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// How much is told to people.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verbosity {
    /// Warnings and failures.
    Quiet,
    /// What was done, and why it waits.
    #[default]
    Normal,
    /// Also each act, and what the commands print.
    Verbose,
}

/// Who reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A person at a terminal: a live view.
    Terminal(Verbosity),
    /// A person who reads a log.
    Lines(Verbosity),
    /// A program.
    Json,
}

impl Kind {
    /// By the options and by where stderr goes.
    pub fn choose(global: &Global) -> Self {
        let verbosity = match (global.quiet, global.verbose) {
            (true, _) => Verbosity::Quiet,
            (false, false) => Verbosity::Normal,
            (false, true) => Verbosity::Verbose,
        };
        // A terminal that cannot move its cursor gets the plain lines.
        let live =
            io::stderr().is_terminal() && env::var_os("TERM").is_some_and(|term| term != "dumb" && !term.is_empty());
        match global.output {
            Format::Json => Self::Json,
            Format::Text if live && verbosity != Verbosity::Quiet => Self::Terminal(verbosity),
            Format::Text => Self::Lines(verbosity),
        }
    }

    fn reporter(self) -> Box<dyn Reporter> {
        match self {
            Self::Terminal(verbosity) => Box::new(Terminal::on_stderr(verbosity)),
            Self::Lines(verbosity) => Box::new(Lines::new(io::stderr(), verbosity)),
            Self::Json => Box::new(Json::new(io::stdout())),
        }
    }
}

/// Shows the events on a thread of its own, up to the outcome. The thread's result tells whether they could be written.
pub fn spawn(events: Receiver<Stamped>, kind: Kind) -> JoinHandle<Result<()>> {
    thread::spawn(move || {
        let mut reporter = kind.reporter();
        drive(&events, &mut *reporter);
        on_stdout(reporter.written())
    })
}

fn drive(events: &Receiver<Stamped>, reporter: &mut dyn Reporter) {
    // The run's clock as the events carry it, told from the first of them.
    let mut began: Option<Instant> = None;
    loop {
        match events.recv_timeout(TICK) {
            Ok(e) => {
                began.get_or_insert_with(|| {
                    Instant::now().checked_sub(Duration::from_millis(e.ms)).unwrap_or_else(Instant::now)
                });
                reporter.event(&e);
                // Nothing follows the outcome, though somebody may still hold a sender.
                if matches!(e.event, Event::RunFinished { .. }) {
                    return;
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        if let Some(began) = began {
            reporter.tick(u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX));
        }
    }
}

/// Prints a result.
///
/// # Errors
/// It could not be written, and somebody still waits for it.
pub fn results(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    on_stdout(out.write_all(text.as_bytes()).and_then(|()| out.flush()))
}

/// What a write to stdout means for the command.
///
/// # Errors
/// It failed, and not because the reader has closed the pipe.
pub fn on_stdout(written: io::Result<()>) -> Result<()> {
    match written {
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => {
            Err(Error::failed(format!("cannot write to standard output: {e}")))
        }
        _ => Ok(()),
    }
}

/// Tells of an error outside a run: on stderr, or as one JSON record on stdout.
pub fn failure(error: &Error, global: &Global) {
    let record = || format!("{}\n", serde_json::json!({ "error": ErrorRecord::from(error) }));
    if global.output == Format::Text || results(&record()).is_err() {
        complain(error);
    }
}

/// Tells of an error on stderr, whatever the output's format is.
pub fn complain(error: &Error) {
    let _ = writeln!(io::stderr(), "{}", words::explain(&ErrorRecord::from(error)));
}

/// Asks: the text without a new line, on stderr.
pub fn prompt(text: &str) {
    let mut err = io::stderr().lock();
    let _ = err.write_all(text.as_bytes()).and_then(|()| err.flush());
}
