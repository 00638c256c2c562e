//! What a journal's bytes say. A power cut may tear the last line: reading takes the longest prefix of whole records. Anything else that
//! cannot be read is refused, never guessed, and a journal of an older format is brought to today's while it is read.

use std::{collections::BTreeMap, fmt, fs};

use serde_json::Value;

use super::{FORMAT, Ledger, Record, record::BadLine};
use crate::{
    config::{
        place::{Place, check_place},
        spec::Spec,
    },
    error::{Error, ExitCode, Result},
};

/// What a record of format 1 left to the spec of its run.
#[derive(Clone, Debug, PartialEq)]
pub struct Origin {
    /// The step's key.
    pub key: String,
    /// What its undo needs.
    pub recipe: Value,
}

/// Finds the origin of a step of format 1, by the spec of its run and the step's name; none when no step is called so.
pub type OriginOf = fn(&Spec, &str) -> Option<Origin>;

/// What a journal says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Contents {
    /// Its records, in today's format.
    pub records: Vec<Record>,
    /// What they add up to.
    pub ledger: Ledger,
    /// The format in which it was written; 0 = there is none.
    pub format: u32,
    /// Bytes of whole records.
    pub whole: u64,
    /// Bytes of a torn last line.
    pub torn: u64,
}

/// The records for people, oldest first.
impl fmt::Display for Contents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for record in &self.records {
            match record {
                Record::Header { tool, .. } => writeln!(f, "written by {tool}, format {}", self.format)?,
                Record::Run { run, command, at, .. } => {
                    let time = i64::try_from(*at).ok().and_then(|s| jiff::Timestamp::from_second(s).ok());
                    writeln!(f, "\n{} {command} ({run})", time.map(|t| t.to_string()).unwrap_or_default())?;
                }
                Record::Intent { step, memo, .. } if memo.prior.is_null() => {
                    writeln!(f, "  makes    {step} (nothing was there)")?;
                }
                Record::Intent { step, memo, .. } => writeln!(f, "  changes  {step} (there was: {})", memo.prior)?,
                Record::Done { step, .. } => writeln!(f, "  done     {step}")?,
                Record::UndoIntent { step } => writeln!(f, "  undoes   {step}")?,
                Record::Undone { step } => writeln!(f, "  undone   {step}")?,
                Record::Recipe { step, .. } => writeln!(f, "  renews   {step}")?,
                Record::Kept { step, why } => writeln!(f, "  kept     {step}: {why}")?,
            }
        }
        if self.torn > 0 {
            writeln!(f, "\nthe last {} bytes are a torn record: the host lost its power there", self.torn)?;
        }
        let ours: Vec<&str> = self.ledger.steps().collect();
        writeln!(f, "\nours now: {}", if ours.is_empty() { "nothing".to_owned() } else { ours.join(", ") })
    }
}

impl Contents {
    /// Reads a journal's bytes.
    ///
    /// # Errors
    /// There is no whole header, a line before the last one is no record, records come in an impossible order, or a record or its
    /// version is unknown.
    pub fn parse(bytes: &[u8], origin_of: OriginOf) -> Result<Self> {
        let mut contents = Self::default();
        let mut older = Older::default();
        let mut rest = bytes;
        let mut line_number = 0;
        while let Some(end) = rest.iter().position(|b| *b == b'\n') {
            line_number += 1;
            let (line, after) = (&rest[..end], &rest[end + 1..]);
            let mut record = match Record::decode(line) {
                Ok(record) => record,
                // A disk may keep the end of a torn write and lose its middle.
                Err(BadLine::Garbled(_)) if after.is_empty() && line_number > 1 => break,
                Err(BadLine::Garbled(why)) => return Err(damaged(line_number, &why)),
                Err(BadLine::NoRecord) => return Err(damaged(line_number, "it is no record")),
                Err(BadLine::Unknown(what)) => return Err(newer(&format!("line {line_number} is {what}"))),
            };
            if let Record::Header { format, tool } = &mut record {
                if *format > FORMAT || *format == 0 {
                    let what = format!("it is of format {format} and was written by {tool}");
                    return Err(newer(&what));
                }
                contents.format = std::mem::replace(format, FORMAT);
            }
            if contents.format == 1 {
                older.bring_up_to_date(&mut record, origin_of);
            }
            contents.ledger.apply(&record).map_err(|why| damaged(line_number, &why))?;
            contents.records.push(record);
            contents.whole += end as u64 + 1;
            rest = after;
        }
        if contents.records.is_empty() {
            let why = if bytes.is_empty() { "it is empty" } else { "it does not begin with a whole header" };
            return Err(damaged(1, why));
        }
        contents.torn = rest.len() as u64;
        Ok(contents)
    }

    /// Reads the journal at its place; an empty one when there is none.
    ///
    /// # Errors
    /// As [`Contents::parse`], or the file cannot be read.
    pub fn read(place: &Place, origin_of: OriginOf) -> Result<Self> {
        check_place(place)?;
        match fs::read(place.journal()) {
            Ok(bytes) => Self::parse(&bytes, origin_of)
                .map_err(|e| Error { what: format!("{} ({})", e.what, place.journal().display()), ..e }),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(e) => {
                Err(Error::new(ExitCode::Journal, format!("cannot read {}", place.journal().display())).caused_by(e))
            }
        }
    }
}

/// What is known while records of format 1 are read: that format left what an undo needs to the spec of the run.
#[derive(Default)]
struct Older {
    spec: Option<Box<Spec>>,
    /// The newest key of each step.
    keys: BTreeMap<String, String>,
}

impl Older {
    fn bring_up_to_date(&mut self, record: &mut Record, origin_of: OriginOf) {
        if let Record::Run { spec: Some(spec), .. } = record {
            self.spec = Some(spec.clone());
        }
        if let Record::Intent { step, recipe, .. } = record
            && recipe.is_null()
            && let Some(origin) = self.spec.as_ref().and_then(|spec| origin_of(spec, step))
        {
            *recipe = origin.recipe;
            self.keys.insert(step.clone(), origin.key);
        }
        if let Some(step) = record.step_mut()
            && let Some(key) = self.keys.get(step.as_str())
        {
            step.clone_from(key);
        }
    }
}

fn damaged(line: usize, why: &str) -> Error {
    Error::new(ExitCode::Journal, format!("the journal is damaged at line {line}")).because(why).hint(
        "without it nobody knows what was there before; look at the file, move it away to start anew (bootstrap converges \
         without it, teardown --reset then takes nothing back)",
    )
}

fn newer(what: &str) -> Error {
    Error::new(ExitCode::Journal, format!("the journal was written by a newer iris-mk8s: {what}"))
        .because(format!("this is iris-mk8s {}, which reads up to format {FORMAT}", env!("CARGO_PKG_VERSION")))
        .hint("use that version, or a later one: it knows how to go on and how to take back what was done")
}
