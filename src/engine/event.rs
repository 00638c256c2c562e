//! What happened, as data. The engine sends events, the reporters show them; neither knows the other.
//!
//! The serialised form is API (`--output json`): the first record is [`Event::RunStarted`] with the format's version, the
//! last one is [`Event::RunFinished`], and nothing follows it.

use std::{
    sync::{Arc, Mutex, mpsc},
    time::Instant,
};

use serde::Serialize;

use crate::error::{Error, ExitCode};

/// Version of the event format; raised when a field changes its meaning or goes away.
pub const FORMAT: u32 = 1;

/// One thing that happened.
#[expect(missing_docs, reason = "the fields' names say what they are")]
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    /// Always first.
    RunStarted { format: u32, tool: String, command: String, run: String, stages: Vec<String> },
    /// A stage began to work.
    StageStarted { stage: String },
    /// A stage is done.
    StageDone { stage: String, seconds: f64 },
    /// A step is as it should be without any act of ours: at once, or after `seconds` of waiting for others.
    StepKept { step: String, title: String, note: String, seconds: f64 },
    /// A step acts: what it runs, as a person would type it.
    StepActing { step: String, title: String, act: String },
    /// A step acts and knows how far it is.
    StepProgress { step: String, done: u64, total: u64, unit: String, what: String },
    /// A step waits, and why it is not there yet.
    StepWaiting { step: String, title: String, why: String },
    /// A step brought about what it should.
    StepDone { step: String, title: String, change: Change, note: String, seconds: f64 },
    /// A step's work was taken back.
    StepUndone { step: String, title: String, seconds: f64 },
    /// A step's work stays, and why (somebody changed it since, or it was never ours).
    StepLeft { step: String, title: String, why: String },
    /// A step failed.
    StepFailed { step: String, error: ErrorRecord },
    /// A line of a command's output.
    Output { step: String, line: String },
    /// Something the person should know, but that stops nothing.
    Warning { message: String },
    /// Something healed or found on the way that is worth a line.
    Note { message: String },
    /// Always last.
    RunFinished { outcome: Outcome },
}

/// What a step did to the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Change {
    /// It was not there before.
    Created,
    /// It was there, but different.
    Changed,
}

/// An error as an event carries it.
#[derive(Clone, Debug, Serialize)]
pub struct ErrorRecord {
    /// Exit code that belongs to it.
    pub code: u8,
    /// What happened.
    pub what: String,
    /// Why.
    pub cause: Option<String>,
    /// What to do next.
    pub hint: Option<String>,
    /// Where.
    pub step: Option<String>,
}

impl From<&Error> for ErrorRecord {
    fn from(e: &Error) -> Self {
        Self {
            code: e.code as u8,
            what: e.what.clone(),
            cause: e.cause.clone(),
            hint: e.hint.clone(),
            step: e.step.clone(),
        }
    }
}

/// How the run ended.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    /// Exit code of the process.
    pub exit: u8,
    /// Steps whose thing was not there before.
    pub created: usize,
    /// Steps whose thing was there, but different.
    pub changed: usize,
    /// Steps that found everything as it should be.
    pub kept: usize,
    /// Steps taken back (teardown).
    pub undone: usize,
    /// Seconds from start to end.
    pub seconds: f64,
    /// The errors, when it failed.
    pub errors: Vec<ErrorRecord>,
    /// What is there in the end: addresses, users, volumes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result: Option<serde_json::Value>,
}

impl Outcome {
    /// An outcome with nothing done yet.
    pub fn new(code: ExitCode) -> Self {
        Self {
            exit: code as u8,
            created: 0,
            changed: 0,
            kept: 0,
            undone: 0,
            seconds: 0.0,
            errors: Vec::new(),
            result: None,
        }
    }
}

/// An event with its number and its time since the start of the run.
#[derive(Clone, Debug, Serialize)]
pub struct Stamped {
    /// 0, 1, 2, ... without gaps.
    pub seq: u64,
    /// Milliseconds since the run began.
    pub ms: u64,
    /// What happened.
    #[serde(flatten)]
    pub event: Event,
}

/// The sending end: cheap to clone, and never fails (a reporter that is gone must not stop the work).
#[derive(Clone)]
pub struct Events {
    inner: Arc<Mutex<Inner>>,
    start: Instant,
}

struct Inner {
    /// How many were sent.
    count: u64,
    to: mpsc::Sender<Stamped>,
    /// Those that are kept for the end, when they are.
    kept: Option<Vec<Stamped>>,
}

impl Events {
    /// A channel: the engine keeps the one end, a reporter reads the other.
    pub fn channel() -> (Self, mpsc::Receiver<Stamped>) {
        let (tx, rx) = mpsc::channel();
        let inner = Inner { count: 0, to: tx, kept: None };
        (Self { inner: Arc::new(Mutex::new(inner)), start: Instant::now() }, rx)
    }

    /// Sends one event.
    pub fn send(&self, event: Event) {
        let Ok(mut inner) = self.inner.lock() else { return };
        let ms = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        let stamped = Stamped { seq: inner.count, ms, event };
        inner.count += 1;
        if let Some(kept) = &mut inner.kept {
            kept.push(stamped.clone());
        }
        let _ = inner.to.send(stamped);
    }

    /// Keeps what is sent from now on, for [`Events::kept`].
    pub fn keep(&self) {
        if let Ok(mut inner) = self.inner.lock() {
            inner.kept.get_or_insert_with(Vec::new);
        }
    }

    /// What was kept.
    pub fn kept(&self) -> Vec<Stamped> {
        self.inner.lock().ok().and_then(|mut inner| inner.kept.take()).unwrap_or_default()
    }

    /// Seconds since the run began.
    pub fn elapsed(&self) -> f64 {
        self.start.elapsed().as_secs_f64()
    }
}
