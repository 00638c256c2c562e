//! A run of the product, followed by its events: a test acts at the moment that an event tells, never after a time.

use std::{
    io::{BufRead, BufReader, Read},
    process::{Child, Command, Stdio},
    sync::mpsc::{self, Receiver},
    thread::JoinHandle,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;

/// One record of the stream.
#[derive(Clone, Debug)]
pub(crate) struct Event(Value);

impl Event {
    /// Whether it is this event of this step or stage.
    pub(crate) fn is(&self, event: &str, of: &str) -> bool {
        let subject = self.0.get("step").or_else(|| self.0.get("stage"));
        self.0["event"] == event && subject.is_some_and(|s| s == of)
    }

    pub(crate) fn text(&self, field: &str) -> &str {
        self.0[field].as_str().unwrap_or_default()
    }

    pub(crate) fn number(&self, field: &str) -> u64 {
        self.0[field].as_u64().unwrap_or_default()
    }

    /// Whether it has this text in it.
    pub(crate) fn says(&self, text: &str) -> bool {
        self.0.as_object().is_some_and(|fields| fields.values().any(|f| f.as_str().is_some_and(|f| f.contains(text))))
    }

    /// The outcome, which the last event carries.
    pub(crate) fn outcome(&self) -> &Value {
        &self.0["outcome"]
    }
}

/// The run.
pub(crate) struct Run {
    command: String,
    child: Child,
    lines: Receiver<String>,
    stderr: Option<JoinHandle<String>>,
    events: Vec<Event>,
}

/// A run that ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: i32,
    pub(crate) events: Vec<Event>,
    pub(crate) stderr: String,
}

impl Run {
    pub(super) fn new(line: &str, mut command: Command) -> Self {
        let mut child =
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("scripts/sandbox can be run");
        let stdout = child.stdout.take().expect("a pipe");
        let mut stderr = child.stderr.take().expect("a pipe");
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        let stderr = std::thread::spawn(move || {
            let mut text = String::new();
            let _ = stderr.read_to_string(&mut text);
            text
        });
        Self { command: line.to_owned(), child, lines, stderr: Some(stderr), events: Vec::new() }
    }

    /// The next event; none when the run is over. Anything else on its standard output is a failure.
    pub(crate) fn next(&mut self) -> Option<Event> {
        let line = self.lines.recv().ok()?;
        let record = serde_json::from_str(&line)
            .unwrap_or_else(|e| panic!("`{}` printed what is no event: {line} ({e})", self.command));
        let event = Event(record);
        self.events.push(event.clone());
        Some(event)
    }

    /// Follows it until an event comes; it is a failure when the run ends before.
    #[track_caller]
    pub(crate) fn until(&mut self, what: &str, wanted: impl Fn(&Event) -> bool) -> Event {
        while let Some(event) = self.next() {
            if wanted(&event) {
                return event;
            }
        }
        let ended = self.end();
        panic!("`{}` ended before this came: {what}\n{ended:?}", self.command);
    }

    /// Follows it to its end.
    pub(crate) fn finish(mut self) -> Ended {
        while self.next().is_some() {}
        self.end()
    }

    /// Waits for its end, whatever it still prints.
    pub(crate) fn drain(&mut self) {
        while self.lines.recv().is_ok() {}
    }

    /// How it ended, after its last event.
    pub(crate) fn end(&mut self) -> Ended {
        let status = self.child.wait().expect("the run can be waited for");
        let stderr = self.stderr.take().map(|t| t.join().unwrap_or_default()).unwrap_or_default();
        Ended { code: status.code().unwrap_or(137), events: std::mem::take(&mut self.events), stderr }
    }
}

/// A test that fails leaves no run behind: its machine is about to go.
impl Drop for Run {
    fn drop(&mut self) {
        if let (Ok(None), Ok(id)) = (self.child.try_wait(), i32::try_from(self.child.id())) {
            // `timeout` passes the signal on to what it runs.
            let _ = kill(Pid::from_raw(id), Signal::SIGTERM);
            let _ = self.child.wait();
        }
    }
}

impl Ended {
    /// The outcome, after an exit with this code.
    #[track_caller]
    pub(crate) fn exits(&self, code: i32) -> &Value {
        assert!(self.code == code, "it should exit with {code}: {self:?}\n{}", self.stderr);
        let last = self.events.last().unwrap_or_else(|| panic!("it told no event: {self:?}"));
        assert!(last.text("event") == "run-finished", "the last event is not the outcome: {self:?}");
        last.outcome()
    }

    /// The events of this kind of this step.
    pub(crate) fn all(&self, event: &str, of: &str) -> Vec<&Event> {
        self.events.iter().filter(|e| e.is(event, of)).collect()
    }
}
