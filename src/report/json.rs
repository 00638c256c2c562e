//! For programs: each event as one line of JSON, as it happens. The form is [`Stamped`]'s.

use std::io::{self, Write};

use super::Reporter;
use crate::engine::event::Stamped;

/// Writes JSON Lines.
pub struct Json<W> {
    out: W,
    /// The first write that failed. Nothing follows it: records after a gap, or after half of a record, would be misread.
    failed: Option<io::Error>,
}

impl<W: Write> Json<W> {
    /// A reporter that writes there.
    pub fn new(out: W) -> Self {
        Self { out, failed: None }
    }
}

impl<W: Write> Reporter for Json<W> {
    fn event(&mut self, e: &Stamped) {
        if self.failed.is_some() {
            return;
        }
        let written = serde_json::to_string(e).map_err(io::Error::from).and_then(|line| {
            // One write for each record, so that a reader never gets half of one.
            self.out.write_all(format!("{line}\n").as_bytes())?;
            self.out.flush()
        });
        self.failed = written.err();
    }

    fn written(&mut self) -> io::Result<()> {
        self.failed.take().map_or(Ok(()), Err)
    }
}
