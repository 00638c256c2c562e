//! What a look at the host, its network or its cluster found, for the person at the terminal: what it means, what is there, and
//! what to do about it.

use serde::Serialize;

/// What a finding means for the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// It does not work, would not work, or would break something: nothing is begun.
    Refused,
    /// It may work; the user should know.
    Warned,
    /// As it should be.
    Fine,
}

/// Something that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Stable name of what was looked at.
    pub id: &'static str,
    /// What it means for the run.
    pub severity: Severity,
    /// What is there, with the measured value.
    pub message: String,
    /// What to do about it; empty where there is nothing to do.
    pub hint: String,
    /// The finding that explains this one, by its name: when that is put right, this one most likely is, too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub because: Option<&'static str>,
}

impl Finding {
    fn new(severity: Severity, message: String, hint: String) -> Self {
        Self { id: "", severity, message, hint, because: None }
    }

    /// The same under this name.
    #[must_use]
    pub fn named(self, id: &'static str) -> Self {
        Self { id, ..self }
    }

    /// Something that is in the way. Whoever looked gives it its name.
    pub fn refused(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::new(Severity::Refused, message.into(), hint.into())
    }

    /// Something to know.
    pub fn warned(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::new(Severity::Warned, message.into(), hint.into())
    }

    /// Something that is as it should be.
    pub fn fine(message: impl Into<String>) -> Self {
        Self::new(Severity::Fine, message.into(), String::new())
    }
}
