//! A running command: what it is, how far it is, and when it goes on.

use std::time::Duration;

/// A command of ours that changes the host and takes its time, or one that MicroK8s runs by itself.
#[derive(Clone, Debug)]
pub struct Process {
    pub group: i32,
    pub argv: Vec<String>,
    /// The run of ours that started it; none = somebody else did.
    pub run: Option<String>,
    /// How far it is.
    pub stage: usize,
    /// When it goes on.
    pub next: Duration,
    /// Until when the stage waits at the most, where it waits.
    pub until: Option<Duration>,
    /// It holds MicroK8s' addon lock.
    pub lock: bool,
    /// Lines that nobody has read yet.
    pub lines: Vec<String>,
    /// Who read its lines is dead: the next line ends it.
    pub unheard: bool,
    /// How it ended.
    pub code: Option<i32>,
}

/// How a command goes on.
pub enum Go {
    /// The next stage, after that time.
    After(Duration),
    /// The same stage again, after that time.
    Again(Duration),
    /// It ends, with that code.
    End(i32),
}

impl Process {
    pub fn new(group: i32, argv: &[String], run: Option<String>, now: Duration) -> Self {
        Self {
            group,
            argv: argv.to_vec(),
            run,
            stage: 0,
            next: now,
            until: None,
            lock: false,
            lines: Vec::new(),
            unheard: false,
            code: None,
        }
    }

    pub fn say(&mut self, line: impl Into<String>) {
        self.lines.push(line.into());
    }

    pub fn shown(&self) -> String {
        self.argv.join(" ")
    }
}
