//! For a person at a terminal: one line for each step at work, redrawn in place; what is done moves up and stays.

use std::{collections::BTreeMap, env, time::Duration};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::{
    Reporter, Verbosity,
    words::{self, Line, Teller, Tone, about},
    wrap::wrapped,
};
use crate::engine::event::{Event, Stamped};

/// How often the live lines are redrawn: a spinner that turns says that we are alive.
const TURN: Duration = Duration::from_millis(120);

/// The live view.
pub struct Terminal {
    view: MultiProgress,
    verbosity: Verbosity,
    colours: bool,
    teller: Teller,
    /// The lowest line: the whole run.
    run: Option<ProgressBar>,
    command: String,
    stages: (usize, usize),
    steps: BTreeMap<String, ProgressBar>,
    /// How wide the lines that stay may be, asked anew for each.
    width: fn() -> usize,
}

impl Terminal {
    /// The view on stderr.
    pub fn on_stderr(verbosity: Verbosity) -> Self {
        let colours = env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        let width = || console::Term::stderr().size_checked().map_or(usize::MAX, |(_, columns)| columns.into());
        let mut view = Self::new(ProgressDrawTarget::stderr(), colours, verbosity);
        view.width = width;
        view
    }

    /// The view on any target, whose lines are not wrapped.
    pub fn new(target: ProgressDrawTarget, colours: bool, verbosity: Verbosity) -> Self {
        Self {
            view: MultiProgress::with_draw_target(target),
            verbosity,
            colours,
            teller: Teller::new(verbosity),
            run: None,
            command: String::new(),
            stages: (0, 0),
            steps: BTreeMap::new(),
            width: || usize::MAX,
        }
    }

    fn style(&self, template: &str) -> ProgressStyle {
        let spinner = if self.colours { "{spinner:.cyan}" } else { "{spinner}" };
        ProgressStyle::with_template(&format!("{spinner} {template}"))
            .unwrap_or_else(|_| ProgressStyle::default_spinner())
            .tick_chars("⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏ ")
    }

    /// The line of a step at work, made when it is first spoken of.
    fn line(&mut self, step: &str) -> &ProgressBar {
        let style = self.style("{prefix:<22} {elapsed:>4}  {wide_msg}");
        let (view, run) = (&self.view, &self.run);
        self.steps.entry(step.to_owned()).or_insert_with(|| {
            let line = ProgressBar::new_spinner().with_style(style).with_prefix(step.to_owned());
            let line = match run {
                Some(run) => view.insert_before(run, line),
                None => view.add(line),
            };
            line.enable_steady_tick(TURN);
            line
        })
    }

    fn gone(&mut self, step: &str) {
        if let Some(line) = self.steps.remove(step) {
            line.finish_and_clear();
            self.view.remove(&line);
        }
    }

    fn overall(&self) {
        let Some(run) = &self.run else { return };
        let (done, all) = self.stages;
        run.set_message(if done == 0 {
            self.command.clone()
        } else {
            format!("{}, {done} of {all} stages done", self.command)
        });
    }

    fn stays(&self, line: &Line) {
        let (sign, colour) = match line.tone {
            Tone::Good => ('✓', "32"),
            Tone::Calm => ('·', "2"),
            Tone::Warning => ('!', "33"),
            Tone::Bad => ('✗', "31"),
        };
        // The sign takes two columns.
        let text = wrapped(&line.text, (self.width)().saturating_sub(2)).replace('\n', "\n  ");
        let text = match (self.colours, line.tone) {
            (false, _) => format!("{sign} {text}"),
            // What was done is read, so only its sign is coloured.
            (true, Tone::Good) => format!("\u{1b}[{colour}m{sign}\u{1b}[0m {text}"),
            (true, _) => format!("\u{1b}[{colour}m{sign} {text}\u{1b}[0m"),
        };
        let _ = self.view.println(text);
    }

    fn clear(&mut self) {
        for line in std::mem::take(&mut self.steps).into_values().chain(self.run.take()) {
            line.finish_and_clear();
        }
        let _ = self.view.clear();
    }
}

impl Reporter for Terminal {
    fn event(&mut self, e: &Stamped) {
        match &e.event {
            Event::RunStarted { command, stages, .. } => {
                self.command.clone_from(command);
                self.stages = (0, stages.len());
                let run = ProgressBar::new_spinner().with_style(self.style("{wide_msg} {elapsed:>4}"));
                let run = self.view.add(run);
                run.enable_steady_tick(TURN);
                self.run = Some(run);
                self.overall();
            }
            Event::StageDone { .. } => {
                self.stages.0 += 1;
                self.overall();
            }
            Event::StepActing { step, title, act } => {
                if self.verbosity == Verbosity::Verbose {
                    self.stays(&Line { tone: Tone::Calm, text: about("runs", step, act, "") });
                }
                self.line(step).set_message(format!("{}: {}", words::plain(title), words::plain(act)));
            }
            Event::StepProgress { step, done, total, unit, what } => {
                self.line(step).set_message(words::progress(*done, *total, unit, what));
            }
            Event::StepWaiting { step, title, why } => {
                self.line(step).set_message(format!("{}: {}", words::plain(title), words::plain(why)));
            }
            Event::StepKept { step, .. }
            | Event::StepDone { step, .. }
            | Event::StepUndone { step, .. }
            | Event::StepLeft { step, .. }
            | Event::StepFailed { step, .. } => self.gone(step),
            Event::RunFinished { .. } => self.clear(),
            Event::StageStarted { .. } | Event::Output { .. } | Event::Warning { .. } | Event::Note { .. } => {}
        }
        for line in self.teller.lines(&e.event) {
            self.stays(&line);
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // Also when a run ended without saying so, nothing of the live view stays behind.
        self.clear();
    }
}
