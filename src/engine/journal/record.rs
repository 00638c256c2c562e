//! One line of the journal, and how it is read back: a version in each line, and nothing unknown is ever skipped.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{config::spec::Spec, engine::step::Memo, host::microk8s::Identity};

/// Version of the records; raised when an older program could misread them.
///
/// 1: an intent did not say what its undo needs; that lay in the spec of its run.
/// 2: each intent carries its recipe, keys may name a target, and what an undo left is written down.
pub const FORMAT: u32 = 2;

/// One record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "record", rename_all = "kebab-case")]
pub enum Record {
    /// Always the first line, and only there.
    Header {
        /// Version of the records.
        format: u32,
        /// Who wrote it.
        tool: String,
    },
    /// A run began; the steps that follow are of its spec.
    Run {
        /// The run's name, as in the log's file name.
        run: String,
        /// `bootstrap`, `teardown`, `stop` or `start`.
        command: String,
        /// Seconds since 1970.
        at: u64,
        /// What it wants; only a bootstrap has one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        spec: Option<Box<Spec>>,
    },
    /// A step is about to act.
    Intent {
        /// The step's key.
        step: String,
        /// What is there now, and what it shall be.
        #[serde(flatten)]
        memo: Memo,
        /// What an undo of the step needs to know, so that no spec is needed for it.
        #[serde(default, skip_serializing_if = "Value::is_null")]
        recipe: Value,
        /// The MicroK8s that it is about, where it is about one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        microk8s: Option<Identity>,
        /// Whether nothing was there.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        anew: bool,
    },
    /// The host shows what the step should have brought.
    Done {
        /// The step's key.
        step: String,
        /// The MicroK8s that it is about, where it is about one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        microk8s: Option<Identity>,
    },
    /// A step is about to be taken back.
    UndoIntent {
        /// The step's key.
        step: String,
    },
    /// The host is as it was before the step.
    Undone {
        /// The step's key.
        step: String,
    },
    /// What an undo of the step needs to know is another thing by now: the newest spec says so, while the thing itself is as it was.
    Recipe {
        /// The step's key.
        step: String,
        /// What an undo needs to know.
        recipe: Value,
    },
    /// An undo ended, and what the step made is still there and still ours: a later teardown continues with it.
    Kept {
        /// The step's key.
        step: String,
        /// Why it stays.
        why: String,
    },
}

/// Why a line is no record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum BadLine {
    /// It is not JSON: torn, or damaged.
    Garbled(String),
    /// It is whole, and no record.
    NoRecord,
    /// It is a whole record that this program does not know.
    Unknown(String),
}

impl Record {
    /// The record as a line of the file.
    ///
    /// # Errors
    /// It is not JSON.
    pub fn encode(&self) -> serde_json::Result<Vec<u8>> {
        let mut line = serde_json::to_value(self)?;
        line["v"] = FORMAT.into();
        let mut bytes = serde_json::to_vec(&line)?;
        bytes.push(b'\n');
        Ok(bytes)
    }

    /// Reads a line, without its end. Lines of format 1 have no version.
    pub(super) fn decode(line: &[u8]) -> Result<Self, BadLine> {
        let mut value: Value = serde_json::from_slice(line).map_err(|e| BadLine::Garbled(e.to_string()))?;
        let version = value.as_object_mut().and_then(|fields| fields.remove("v")).map_or(Some(1), |v| v.as_u64());
        let Some(kind) = value["record"].as_str().map(str::to_owned) else { return Err(BadLine::NoRecord) };
        if !version.is_some_and(|v| (1..=u64::from(FORMAT)).contains(&v)) {
            let version = version.map_or_else(|| "unreadable".to_owned(), |v| v.to_string());
            return Err(BadLine::Unknown(format!("a record `{kind}` of version {version}")));
        }
        serde_json::from_value(value).map_err(|e| BadLine::Unknown(format!("a record `{kind}` ({e})")))
    }

    /// The key of the step that it is about.
    pub fn step(&self) -> Option<&str> {
        match self {
            Self::Header { .. } | Self::Run { .. } => None,
            Self::Intent { step, .. }
            | Self::Done { step, .. }
            | Self::UndoIntent { step }
            | Self::Undone { step }
            | Self::Recipe { step, .. }
            | Self::Kept { step, .. } => Some(step),
        }
    }

    pub(super) fn step_mut(&mut self) -> Option<&mut String> {
        match self {
            Self::Header { .. } | Self::Run { .. } => None,
            Self::Intent { step, .. }
            | Self::Done { step, .. }
            | Self::UndoIntent { step }
            | Self::Undone { step }
            | Self::Recipe { step, .. }
            | Self::Kept { step, .. } => Some(step),
        }
    }
}
