//! A command as data: an argument vector (never a shell), what it does to the host, and its deadline.

use std::time::Duration;

use crate::{kube, secrets};

/// Whether a command changes the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It only looks.
    Reads,
    /// It may change something.
    Changes,
}

/// A command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cmd {
    /// Program and arguments.
    pub argv: Vec<String>,
    /// What it does.
    pub effect: Effect,
    /// What it reads; none = nothing (`/dev/null`), so that no command can wait for an answer.
    pub stdin: Option<Vec<u8>>,
    /// After this time its process group is ended.
    pub deadline: Duration,
    /// Words of its output that mean: what it should remove is already gone. Then its exit code does not matter.
    pub gone: Option<&'static str>,
    /// What it does, for people, where its words do not tell: what it reads is not shown.
    pub note: Option<String>,
}

/// Reading commands answer in an instant, or something is broken.
const READS_WITHIN: Duration = Duration::from_secs(30);

impl Cmd {
    /// A command that only looks.
    pub fn reads<S: Into<String>>(argv: impl IntoIterator<Item = S>) -> Self {
        Self {
            argv: argv.into_iter().map(Into::into).collect(),
            effect: Effect::Reads,
            stdin: None,
            deadline: READS_WITHIN,
            gone: None,
            note: None,
        }
    }

    /// A command that changes the host, with its deadline.
    pub fn changes<S: Into<String>>(deadline: Duration, argv: impl IntoIterator<Item = S>) -> Self {
        let argv = argv.into_iter().map(Into::into).collect();
        Self { argv, effect: Effect::Changes, stdin: None, deadline, gone: None, note: None }
    }

    /// Words that mean that what it should remove is already gone.
    #[must_use]
    pub fn or_gone(mut self, words: &'static str) -> Self {
        self.gone = Some(words);
        self
    }

    /// Gives it something to read.
    #[must_use]
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = Some(bytes.into());
        self
    }

    /// Says what it does.
    #[must_use]
    pub fn note(mut self, what: String) -> Self {
        self.note = Some(what);
        self
    }

    /// The command as a person would type it.
    pub fn show(&self) -> String {
        let words: Vec<String> = self.argv.iter().map(|word| quote(word)).collect();
        let note = self.note.as_ref().map(|note| format!(" # {note}")).unwrap_or_default();
        words.join(" ") + &note
    }
}

/// Quotes a word for a POSIX shell, where it needs it.
fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:,=+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

/// What a command left.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Output {
    /// Its exit code; none = ended by a signal.
    pub code: Option<i32>,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

impl From<kube::Exec> for Output {
    fn from(kube::Exec { code, stdout, stderr }: kube::Exec) -> Self {
        Self { code, stdout, stderr }
    }
}

impl Output {
    /// Exit code 0.
    pub fn ok(&self) -> bool {
        self.code == Some(0)
    }

    /// The last lines, for an error's cause, without what looks like a secret.
    pub fn tail(&self) -> String {
        let all = format!("{}\n{}", self.stdout.trim_end(), self.stderr.trim_end());
        let lines: Vec<&str> = all.lines().filter(|l| !l.trim().is_empty()).collect();
        secrets::hide(&lines[lines.len().saturating_sub(10)..].join("\n"))
    }

    /// How it ended, in words.
    pub fn ended(&self) -> String {
        match self.code {
            Some(143) => "was interrupted (exit 143: systemd ended it)".to_owned(),
            Some(code) => format!("exited {code}"),
            None => "was ended by a signal".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_what_can_be_typed() {
        assert_eq!(Cmd::reads(["a", "b c", "it's", ""]).show(), r"a 'b c' 'it'\''s' ''");
        assert_eq!(Cmd::reads(["a"]).note("looks".to_owned()).show(), "a # looks");
    }

    #[test]
    fn tail_is_the_last_ten_lines_without_blank_ones() {
        let stdout: String = (0..20).map(|n| format!("{n}\n\n")).collect();
        let out = Output { code: Some(1), stdout, stderr: "last\n".into() };
        assert_eq!(out.tail(), "11\n12\n13\n14\n15\n16\n17\n18\n19\nlast");
    }
}
