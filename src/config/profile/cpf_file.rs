//! A CPF in a file: read as UTF-8, and checked on its own.

use std::{fmt, fs::File, io::Read, path::Path};

use serde::Serialize;

use super::{DEFAULT, Settings, check};
use crate::{
    config::cpf::{self, Cpf, Mistake},
    error::{Error, Result},
};

/// The check of the host that tells of data outside of the volumes, and that may be skipped.
pub const DIRECTORY: &str = "cpf-directory";

/// The text of a file.
///
/// # Errors
/// The reason, as a sentence without its subject: it cannot be read, or is in another encoding.
pub(super) fn read(path: &Path) -> Result<String, String> {
    let mut bytes = Vec::new();
    // A device or a log given by mistake has no end.
    let most = cpf::LONGEST as u64 * 4;
    let opened = File::open(path).and_then(|file| file.take(most).read_to_end(&mut bytes));
    opened.map_err(|e| format!("cannot be read ({e})"))?;
    cpf::decode(&bytes)
}

/// All mistakes in one sentence; none when there are none.
pub(super) fn joined(mistakes: &[Mistake]) -> Option<String> {
    let all: Vec<String> = mistakes.iter().map(Mistake::to_string).collect();
    (!all.is_empty()).then(|| all.join("; "))
}

/// What a good CPF says.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    file: String,
    databases: Vec<String>,
    namespaces: Vec<String>,
    memory: String,
    notes: Vec<String>,
}

/// Checks a CPF by itself.
///
/// # Errors
/// Exit code 2: names all that is wrong in the file.
pub fn check_cpf(path: &Path) -> Result<Report> {
    let file = path.display().to_string();
    let text = read(path).map_err(|why| Error::usage(format!("the CPF {file} {why}")))?;
    let text = cpf::normalise(&text);
    let cpf = Cpf::read(&text);
    let outside = cpf.outside();
    let hint = (!outside.is_empty()).then(mounted);
    let mut mistakes = [cpf.mistakes(), outside].concat();
    mistakes.sort_by_key(|mistake| mistake.line);
    let error = match mistakes.as_slice() {
        [] => {
            let notes = [cpf.notes().iter().map(Mistake::to_string).collect(), memory_notes(&cpf)?].concat();
            let (databases, namespaces, memory) = (cpf.databases(), cpf.namespaces(), cpf.memory(None).to_string());
            return Ok(Report { file, databases, namespaces, memory, notes });
        }
        [mistake] => Error::usage(format!("{file}: {mistake}")),
        many => {
            let lines: Vec<String> = many.iter().map(Mistake::to_string).collect();
            Error::usage(format!("{file}: {} mistakes", many.len())).because(lines.join("\n"))
        }
    };
    Err(match hint {
        Some(hint) => error.hint(hint),
        None => error,
    })
}

/// What to do for those who know better.
pub(super) fn mounted() -> String {
    format!("if the data may be lost, or lies on a volume of your own: --skip-check {DIRECTORY} makes a warning of it")
}

/// Whether an instance fits what the default profile gives it.
fn memory_notes(cpf: &Cpf<'_>) -> Result<Vec<String>> {
    let mut settings = Settings { profile: DEFAULT.to_owned(), values: std::collections::BTreeMap::new() };
    settings.built_in(DEFAULT)?;
    let memory = cpf.memory(None);
    let given = |key| {
        let value = settings.get(key).map(|s| s.value.to_string()).unwrap_or_default();
        (check::bytes(&value).unwrap_or(0) >> 20, value)
    };
    let too_small = |key| {
        let (mib, value) = given(key);
        (u128::from(memory.total()) > mib)
            .then(|| format!("an instance takes {memory}, and {key} is {value}; set a larger one in the profile"))
    };
    Ok(too_small("iris.memory_limit").or_else(|| too_small("iris.memory_request")).into_iter().collect())
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |names: &[String]| if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        writeln!(f, "{} is a good CPF", self.file)?;
        writeln!(f, "  databases:  {}", list(&self.databases))?;
        writeln!(f, "  namespaces: {}", list(&self.namespaces))?;
        writeln!(f, "  memory of an instance: {}", self.memory)?;
        self.notes.iter().try_for_each(|note| writeln!(f, "  note: {note}"))
    }
}
