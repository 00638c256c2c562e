//! How an event reads: the lines that stay, the same on a terminal and in a log.

use std::fmt::Write;

use console::strip_ansi_codes;

use super::Verbosity;
use crate::{
    engine::event::{Change, ErrorRecord, Event, Outcome},
    error::ExitCode,
};

/// How a line is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tone {
    /// Something was done.
    Good,
    /// Nothing to look at.
    Calm,
    /// Something to know.
    Warning,
    /// Something failed.
    Bad,
}

/// A line that stays, or several that belong together.
pub(super) struct Line {
    pub(super) tone: Tone,
    pub(super) text: String,
}

/// Turns events into lines, and tells each failure once.
pub(super) struct Teller {
    verbosity: Verbosity,
    told: Vec<ErrorRecord>,
    command: String,
}

impl Teller {
    pub(super) fn new(verbosity: Verbosity) -> Self {
        Self { verbosity, told: Vec::new(), command: String::new() }
    }

    /// What stays of an event.
    pub(super) fn lines(&mut self, event: &Event) -> Vec<Line> {
        let least = |verbosity: Verbosity, tone: Tone, text: String| {
            if self.verbosity >= verbosity { vec![Line { tone, text }] } else { Vec::new() }
        };
        match event {
            Event::StepKept { step, title, note, seconds } => {
                let waited = time(*seconds);
                let (verb, tone) = if waited.is_empty() { ("kept", Tone::Calm) } else { ("reached", Tone::Good) };
                least(Verbosity::Normal, tone, about(verb, step, title, note) + &waited)
            }
            Event::StepDone { step, title, change, note, seconds } => {
                let verb = match change {
                    Change::Created => "created",
                    Change::Changed => "changed",
                };
                least(Verbosity::Normal, Tone::Good, about(verb, step, title, note) + &time(*seconds))
            }
            Event::StepUndone { step, title, seconds } => {
                least(Verbosity::Normal, Tone::Good, about("undone", step, title, "") + &time(*seconds))
            }
            Event::StepLeft { step, title, why } => least(Verbosity::Quiet, Tone::Warning, left(step, title, why)),
            Event::StepFailed { step, error } => {
                self.told.push(error.clone());
                let error = ErrorRecord { step: None, ..error.clone() };
                let text = format!("{}{}", about("failed", step, &error.what, ""), reasons(&error));
                vec![Line { tone: Tone::Bad, text }]
            }
            Event::Output { step, line } => {
                least(Verbosity::Verbose, Tone::Calm, format!("{:<8} {:<22} | {}", "", step, plain(line)))
            }
            Event::Warning { message } => {
                least(Verbosity::Quiet, Tone::Warning, format!("{:<8} {}", "warning", plain(message)))
            }
            Event::Note { message } => {
                least(Verbosity::Normal, Tone::Calm, format!("{:<8} {}", "note", plain(message)))
            }
            Event::RunFinished { outcome } => self.end(outcome),
            Event::RunStarted { command, .. } => {
                self.command.clone_from(command);
                Vec::new()
            }
            Event::StageStarted { .. }
            | Event::StageDone { .. }
            | Event::StepActing { .. }
            | Event::StepProgress { .. }
            | Event::StepWaiting { .. } => Vec::new(),
        }
    }

    fn end(&self, outcome: &Outcome) -> Vec<Line> {
        let mut lines: Vec<Line> = outcome
            .errors
            .iter()
            .map(|e| self.rest(e))
            .filter(|text| !text.is_empty())
            .map(|text| Line { tone: Tone::Bad, text })
            .collect();
        let seconds = outcome.seconds;
        let switch = Switch::of(&self.command);
        if outcome.exit == ExitCode::Done as u8 {
            if self.verbosity > Verbosity::Quiet {
                let text = match switch {
                    Some(Switch { state, back }) => format!("{state} ({seconds:.1} s); {back}"),
                    None => format!("done in {seconds:.1} s: {}", counts(outcome)),
                };
                lines.push(Line { tone: Tone::Good, text });
            }
            return lines;
        }
        // These have no steps that could be counted.
        let counts = if switch.is_some() { String::new() } else { format!(": {}", counts(outcome)) };
        let resumes = [ExitCode::CommandFailed, ExitCode::TimedOut, ExitCode::Unverified, ExitCode::Interrupted];
        let next = if resumes.iter().any(|code| *code as u8 == outcome.exit) {
            "; run the same command again: it resumes"
        } else {
            ""
        };
        lines.push(Line {
            tone: Tone::Bad,
            text: format!("ended after {seconds:.1} s with exit code {}{counts}{next}", outcome.exit),
        });
        lines
    }

    /// What has not been told of an error: all of it, or what was added to its hint since.
    fn rest(&self, error: &ErrorRecord) -> String {
        match self.told.iter().find(|told| told.what == error.what && told.step == error.step) {
            None => explain(error),
            Some(told) => {
                let known: Vec<&str> = told.hint.iter().flat_map(|hint| hint.lines()).collect();
                let new = error.hint.iter().flat_map(|hint| hint.lines()).filter(|line| !known.contains(line));
                new.map(plain).collect::<Vec<_>>().join("\n")
            }
        }
    }
}

/// How many steps ended in which way.
fn counts(outcome: &Outcome) -> String {
    let counts: Vec<String> = [
        (outcome.created, "created"),
        (outcome.changed, "changed"),
        (outcome.kept, "kept"),
        (outcome.undone, "undone"),
    ]
    .iter()
    .filter(|(count, _)| *count > 0)
    .map(|(count, what)| format!("{count} {what}"))
    .collect();
    if counts.is_empty() { "nothing was done".to_owned() } else { counts.join(", ") }
}

/// What a command that switches everything on or off has reached, and the way back.
struct Switch {
    state: &'static str,
    back: &'static str,
}

impl Switch {
    fn of(command: &str) -> Option<Self> {
        match command {
            "stop" => Some(Self {
                state: "IRIS and MicroK8s are stopped",
                back: "to start them again: `sudo iris-mk8s start`",
            }),
            "start" => {
                Some(Self { state: "MicroK8s and IRIS are running", back: "to stop them: `sudo iris-mk8s stop`" })
            }
            _ => None,
        }
    }
}

/// An error in full: what, why, what next.
pub(super) fn explain(error: &ErrorRecord) -> String {
    let step = error.step.as_ref().map(|step| format!(" (step {step})")).unwrap_or_default();
    format!("error: {}{step}{}", plain(&error.what), reasons(error))
}

fn reasons(error: &ErrorRecord) -> String {
    let mut text = String::new();
    for (name, lines) in [("cause:", &error.cause), ("hint: ", &error.hint)] {
        for (at, line) in lines.iter().flat_map(|text| text.trim_end().lines()).enumerate() {
            let _ = write!(text, "\n  {} {}", if at == 0 { name } else { "      " }, plain(line));
        }
    }
    text
}

/// A step that stays; of several reasons each has a line of its own.
fn left(step: &str, title: &str, why: &str) -> String {
    let reasons: Vec<&str> = why.lines().collect();
    if let [reason] = reasons.as_slice() {
        return about("left", step, title, reason);
    }
    let lines: String = reasons.iter().map(|reason| format!("\n{:<8} {}", "", plain(reason))).collect();
    about("left", step, title, "") + &lines
}

/// A line about a step, in columns.
pub(super) fn about(verb: &str, step: &str, title: &str, note: &str) -> String {
    let note = if note.is_empty() { String::new() } else { format!(": {}", plain(note)) };
    format!("{verb:<8} {step:<22} {}{note}", plain(title))
}

fn time(seconds: f64) -> String {
    // What took no time needs no figure.
    if seconds < 0.05 { String::new() } else { format!(" ({seconds:.1} s)") }
}

/// How far something is.
pub(super) fn progress(done: u64, total: u64, unit: &str, what: &str) -> String {
    let what = plain(what);
    if total <= 1 {
        return what;
    }
    let percent = u128::from(done.min(total)) * 100 / u128::from(total);
    let (done, total) = match unit {
        "bytes" | "byte" | "B" => {
            // Tenths of a MiB in whole numbers: no rounding up to a total that is not reached yet.
            let mib = |n: u64| format!("{}.{}", n >> 20, ((n & 0xF_FFFF) * 10) >> 20);
            return format!("{what} {percent} % ({} of {} MiB)", mib(done), mib(total));
        }
        _ => (done, total),
    };
    format!("{what} {percent} % ({done} of {total}{}{unit})", if unit.is_empty() { "" } else { " " })
}

/// One line without anything that moves a cursor or changes colours: commands' output is shown, not obeyed.
pub(super) fn plain(text: &str) -> String {
    let plain = strip_ansi_codes(text.trim_end());
    plain.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
