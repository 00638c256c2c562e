//! For programs: each event as one line of JSON, as it happens. The form is [`Stamped`]'s.

use std::io::Write;

use super::Reporter;
use crate::event::Stamped;

/// Writes JSON Lines.
pub struct Json<W> {
    out: W,
}

impl<W: Write> Json<W> {
    /// A reporter that writes there.
    pub fn new(out: W) -> Self {
        Self { out }
    }
}

impl<W: Write> Reporter for Json<W> {
    fn event(&mut self, e: &Stamped) {
        if let Ok(line) = serde_json::to_string(e) {
            // One write for each record, so that a reader never gets half of one.
            let _ = self.out.write_all(format!("{line}\n").as_bytes()).and_then(|()| self.out.flush());
        }
    }
}
