//! For logs and pipes: plain lines, each with the time since the run began.
//!
//! A wait that changes its reason every second fills a log that nobody reads, and one that says nothing looks like a hang. So a
//! reason is told at most every ten seconds, and something is told at least every thirty.

use std::{collections::BTreeMap, io::Write};

use super::{
    Reporter, Verbosity,
    words::{self, Teller, about},
};
use crate::engine::event::{Event, Stamped};

/// Milliseconds between two reasons of the same step, at the least.
const PAUSE_MS: u64 = 10_000;
/// Milliseconds without a line, at the most.
const SILENCE_MS: u64 = 30_000;

/// Writes plain lines.
pub struct Lines<W> {
    out: W,
    verbosity: Verbosity,
    teller: Teller,
    running: BTreeMap<String, Running>,
    last_ms: u64,
}

/// A step at work.
struct Running {
    since_ms: u64,
    title: String,
    /// The newest state that is known, which part of it was reported, and when.
    now: String,
    told: Option<(u64, String)>,
}

impl<W: Write> Lines<W> {
    /// A reporter that writes there.
    pub fn new(out: W, verbosity: Verbosity) -> Self {
        Self { out, verbosity, teller: Teller::new(verbosity), running: BTreeMap::new(), last_ms: 0 }
    }

    fn write(&mut self, ms: u64, text: &str) {
        self.last_ms = ms;
        let mut block = String::new();
        for (at, line) in text.lines().enumerate() {
            let time = format!("[{:>4}.{} s]", ms / 1000, ms % 1000 / 100);
            block.push_str(&if at == 0 {
                format!("{time} {line}\n")
            } else {
                format!("{:width$} {line}\n", "", width = time.len())
            });
        }
        let _ = self.out.write_all(block.as_bytes()).and_then(|()| self.out.flush());
    }

    /// A step is active; what it does is reported now or later.
    fn at_work(&mut self, ms: u64, step: &str, title: Option<&str>, now: String) {
        let known = self.running.entry(step.to_owned()).or_insert_with(|| Running {
            since_ms: ms,
            title: String::new(),
            now: String::new(),
            told: None,
        });
        if let Some(title) = title {
            title.clone_into(&mut known.title);
        }
        known.now = now;
    }

    /// Tells the reasons that are new and whose pause is over.
    fn tell(&mut self, ms: u64) {
        if self.verbosity == Verbosity::Quiet {
            return;
        }
        let mut due = Vec::new();
        for (step, running) in &mut self.running {
            let new = running
                .told
                .as_ref()
                .is_none_or(|(at, told)| *told != running.now && ms.saturating_sub(*at) >= PAUSE_MS);
            if new && !running.now.is_empty() {
                running.told = Some((ms, running.now.clone()));
                due.push(about("waits", step, &running.title, &running.now));
            }
        }
        for line in due {
            self.write(ms, &line);
        }
    }
}

impl<W: Write> Reporter for Lines<W> {
    fn event(&mut self, e: &Stamped) {
        let ms = e.ms;
        match &e.event {
            Event::RunStarted { tool, command, stages, .. } if self.verbosity > Verbosity::Quiet => {
                self.write(ms, &format!("{tool} {command}: {}", stages.join(", ")));
            }
            Event::StepActing { step, title, act } => {
                // Each act is told once, as it begins: it is what a person would have typed.
                self.at_work(ms, step, Some(title), String::new());
                if self.verbosity > Verbosity::Quiet {
                    self.write(ms, &about("runs", step, act, ""));
                }
            }
            Event::StepProgress { step, done, total, unit, what } => {
                self.at_work(ms, step, None, words::progress(*done, *total, unit, what));
            }
            Event::StepWaiting { step, title, why } => self.at_work(ms, step, Some(title), words::plain(why)),
            Event::StepKept { step, .. }
            | Event::StepDone { step, .. }
            | Event::StepUndone { step, .. }
            | Event::StepLeft { step, .. }
            | Event::StepFailed { step, .. } => _ = self.running.remove(step),
            Event::RunFinished { .. } => self.running.clear(),
            Event::RunStarted { .. }
            | Event::StageStarted { .. }
            | Event::StageDone { .. }
            | Event::Output { .. }
            | Event::Warning { .. }
            | Event::Note { .. } => {}
        }
        for line in self.teller.lines(&e.event) {
            self.write(ms, &line.text);
        }
        self.tell(ms);
    }

    fn tick(&mut self, ms: u64) {
        self.tell(ms);
        if self.verbosity == Verbosity::Quiet || ms.saturating_sub(self.last_ms) < SILENCE_MS {
            return;
        }
        let still = self.running.iter().map(|(step, running)| {
            let seconds = ms.saturating_sub(running.since_ms) / 1000;
            let now = if running.now.is_empty() { String::new() } else { format!("{}, ", running.now) };
            about("still", step, &running.title, &format!("{now}for {seconds} s"))
        });
        let still: Vec<String> = still.collect();
        for line in still {
            self.write(ms, &line);
        }
    }
}
