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
}

impl Finding {
    /// Something that is in the way. Whoever looked gives it its name.
    pub fn refused(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { id: "", severity: Severity::Refused, message: message.into(), hint: hint.into() }
    }

    /// Something to know.
    pub fn warned(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { id: "", severity: Severity::Warned, message: message.into(), hint: hint.into() }
    }

    /// Something that is as it should be.
    pub fn fine(message: impl Into<String>) -> Self {
        Self { id: "", severity: Severity::Fine, message: message.into(), hint: String::new() }
    }
}
