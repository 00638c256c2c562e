//! Where the time of a run was spent, computed from its events: a chart for people, and the trace-event JSON that Perfetto and Chrome open.

use std::{fmt::Write, time::Duration};

use serde_json::{Value, json};

use crate::engine::{
    event::{Event, Stamped},
    step::Stage,
};

/// Columns of the chart.
const WIDTH: u64 = 50;

/// A step that took less than this part of the run has no line of its own.
const WORTH_A_LINE: u64 = 50;

/// A stage begins so many milliseconds after the one that it waited for, at the most.
const AT_ONCE: u64 = 5;

fn seconds(ms: u64) -> f64 {
    Duration::from_millis(ms).as_secs_f64()
}

/// From when to when, in milliseconds since the run began.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Span {
    name: String,
    from: u64,
    to: u64,
}

/// A step, and what it did and waited for.
struct Done {
    span: Span,
    parts: Vec<Span>,
}

/// A stage that began.
struct Line<'a> {
    stage: &'a Stage,
    from: u64,
    to: u64,
    steps: Vec<Done>,
}

/// What the events tell of a run.
pub struct Timings<'a> {
    lines: Vec<Line<'a>>,
    end: u64,
}

impl<'a> Timings<'a> {
    /// Those of a run of these stages.
    pub fn new(stages: &'a [Stage], events: &[Stamped]) -> Self {
        let mut timings = Self { lines: Vec::new(), end: events.last().map_or(0, |e| e.ms) };
        for Stamped { ms, event, .. } in events {
            match event {
                Event::StageStarted { stage } => {
                    let stage = stages.iter().find(|s| s.id == stage);
                    timings.lines.extend(stage.map(|stage| Line { stage, from: *ms, to: *ms, steps: Vec::new() }));
                }
                Event::StepActing { step, act, .. } => timings.part(step, act, *ms),
                Event::StepWaiting { step, why, .. } => timings.part(step, why, *ms),
                Event::StepDone { step, .. } | Event::StepKept { step, .. } | Event::StepFailed { step, .. } => {
                    if let Some(done) = timings.step(step, *ms) {
                        done.span.to = *ms;
                        done.parts.last_mut().into_iter().for_each(|part| part.to = *ms);
                    }
                }
                _ => {}
            }
        }
        timings
    }

    /// The step, which begins where the one before it ended.
    fn step(&mut self, id: &str, ms: u64) -> Option<&mut Done> {
        let of_it = |line: &&mut Line<'_>| line.stage.steps.iter().any(|step| step.id() == id);
        let line = self.lines.iter_mut().find(of_it)?;
        line.to = ms;
        if line.steps.last().is_none_or(|done| done.span.name != id) {
            let from = line.steps.last().map_or(line.from, |done| done.span.to);
            line.steps.push(Done { span: Span { name: id.to_owned(), from, to: ms }, parts: Vec::new() });
        }
        line.steps.last_mut()
    }

    fn part(&mut self, id: &str, what: &str, ms: u64) {
        let Some(done) = self.step(id, ms) else { return };
        done.parts.last_mut().into_iter().for_each(|part| part.to = ms);
        done.parts.push(Span { name: what.to_owned(), from: ms, to: ms });
        done.span.to = ms;
    }

    /// The stages that a shorter run would need to be shorter, the last one first: each began when the one before it ended.
    fn critical(&self) -> Vec<&'static str> {
        let mut path = Vec::new();
        let mut next = self.lines.iter().max_by_key(|line| line.to);
        while let Some(line) = next {
            path.push(line.stage.id);
            let waited_for = |other: &&Line<'_>| {
                let same_lock = other.stage.lock.is_some() && other.stage.lock == line.stage.lock;
                (same_lock || line.stage.needs.contains(&other.stage.id))
                    && other.to <= line.from + AT_ONCE
                    && !path.contains(&other.stage.id)
            };
            next = self.lines.iter().filter(waited_for).max_by_key(|other| other.to);
        }
        path
    }

    /// The chart.
    pub fn chart(&self) -> String {
        let critical = self.critical();
        let mut text = format!("{:.1} s; # is the critical path, = went beside it\n", seconds(self.end));
        let first = self.lines.first().map_or(self.end, |line| line.from);
        text.push_str(&self.bar("looks", 0, first, '#'));
        for line in &self.lines {
            let sign = if critical.contains(&line.stage.id) { '#' } else { '=' };
            text.push_str(&self.bar(line.stage.id, line.from, line.to, sign));
            for Done { span, parts } in &line.steps {
                let took = span.to.saturating_sub(span.from);
                if took * WORTH_A_LINE < self.end.max(1) {
                    continue;
                }
                let longest = parts.iter().max_by_key(|part| part.to.saturating_sub(part.from));
                let why = longest.map(|part| part.name.chars().take(70).collect::<String>()).unwrap_or_default();
                let _ = writeln!(text, "  {:<24}{:>6.1} s  {why}", span.name, seconds(took));
            }
        }
        text
    }

    fn bar(&self, name: &str, from: u64, to: u64, sign: char) -> String {
        let column = |ms: u64| usize::try_from(ms * WIDTH / self.end.max(1)).unwrap_or_default();
        let bar = sign.to_string().repeat((column(to) - column(from)).max(1));
        let took = seconds(to.saturating_sub(from));
        format!("{name:<12}{took:>6.1} s |{}{bar}\n", " ".repeat(column(from)))
    }

    /// The trace: one row for each stage.
    pub fn trace(&self) -> Value {
        let critical = self.critical();
        let mut events = vec![json!({"ph": "M", "name": "process_name", "pid": 1, "args": {"name": "iris-mk8s"}})];
        for (row, line) in self.lines.iter().enumerate() {
            let row = row + 1;
            events
                .push(json!({"ph": "M", "name": "thread_name", "pid": 1, "tid": row, "args": {"name": line.stage.id}}));
            let slice = |name: &str, kind: &str, from: u64, to: u64| {
                let (ts, dur) = (from * 1000, to.saturating_sub(from) * 1000);
                json!({"ph": "X", "name": name, "cat": kind, "pid": 1, "tid": row, "ts": ts, "dur": dur,
                    "args": {"critical": critical.contains(&line.stage.id)}})
            };
            events.push(slice(line.stage.id, "stage", line.from, line.to));
            for Done { span, parts } in &line.steps {
                events.push(slice(&span.name, "step", span.from, span.to));
                events.extend(parts.iter().map(|part| slice(&part.name, "part", part.from, part.to)));
            }
        }
        json!({"traceEvents": events, "displayTimeUnit": "ms"})
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::{credentials::Credentials, spec::example},
        stack,
    };

    fn events(told: Vec<(u64, Event)>) -> Vec<Stamped> {
        told.into_iter().zip(0..).map(|((ms, event), seq)| Stamped { seq, ms, event }).collect()
    }

    fn begins(stage: &str) -> Event {
        Event::StageStarted { stage: stage.to_owned() }
    }

    fn kept(step: &str) -> Event {
        Event::StepKept { step: step.to_owned(), title: String::new(), note: String::new(), seconds: 0.0 }
    }

    fn waits(step: &str, why: &str) -> Event {
        Event::StepWaiting { step: step.to_owned(), title: String::new(), why: why.to_owned() }
    }

    /// Two stages after another one, and one that waits for the slower of them.
    fn run() -> Vec<Stamped> {
        events(vec![
            (1000, begins("snap")),
            (1500, waits("snap.microk8s", "a download")),
            (4000, kept("snap.microk8s")),
            (4001, begins("start")),
            (4002, begins("images")),
            (5000, kept("image.iris")),
            (6000, waits("cluster.running", "no node")),
            (9000, kept("cluster.running")),
            (9001, begins("enable")),
            (10_000, kept("addon.dns")),
        ])
    }

    #[test]
    fn the_critical_path_goes_back_from_the_end_by_what_was_waited_for() {
        let stages = stack::catalog(&example(), &Credentials::placeholder());
        let (run, of) = (run(), |run: &[Stamped]| Timings::new(&stages, run).critical());
        assert_eq!(of(&run), ["enable", "start", "snap"]);
        let chart = Timings::new(&stages, &run).chart();
        let line = |name: &str| chart.lines().find(|l| l.trim_start().starts_with(name)).unwrap_or_default();
        assert!(line("start").contains('#') && line("images").contains('='), "{chart}");
        assert!(line("cluster.running").contains("5.0 s  no node"), "{chart}");
        assert!(line("snap.microk8s").contains("3.0 s  a download"), "{chart}");
    }

    #[test]
    fn a_trace_has_a_row_for_each_stage_and_microseconds() {
        let stages = stack::catalog(&example(), &Credentials::placeholder());
        let trace = Timings::new(&stages, &run()).trace();
        let find = |name: &str| {
            let all = trace["traceEvents"].as_array().expect("a list");
            all.iter().find(|e| e["name"] == name && e["ph"] == "X").cloned().unwrap_or_default()
        };
        let step = find("cluster.running");
        assert_eq!((step["ts"].as_u64(), step["dur"].as_u64()), (Some(4_001_000), Some(4_999_000)), "{step}");
        assert_eq!(find("no node")["tid"], step["tid"]);
        assert_ne!(find("image.iris")["tid"], step["tid"]);
        assert_eq!((&find("images")["args"]["critical"], &step["args"]["critical"]), (&json!(false), &json!(true)));
    }
}
