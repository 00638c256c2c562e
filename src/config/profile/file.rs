//! Reads a profile: TOML whose every key is in the table [`KEYS`], with the line of each value and of each mistake.

use std::{fmt, path::Path};

use toml::de::{DeTable, DeValue};

use super::{KEYS, Key, Origin, Value, check, key, keys::Refusal};
use crate::error::{Error, Result};

/// Where the text of a profile is.
pub(super) enum Source<'a> {
    BuiltIn(&'static str),
    File(&'a Path),
}

impl Source<'_> {
    pub(super) fn origin(&self, line: usize) -> Origin {
        match self {
            Self::BuiltIn(name) => Origin::BuiltIn(name),
            Self::File(path) => Origin::File(path.to_path_buf(), line),
        }
    }
}

impl fmt::Display for Source<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BuiltIn(name) => write!(f, "profile {name}"),
            Self::File(path) => path.display().fmt(f),
        }
    }
}

/// A value and its line.
pub(super) struct Found {
    pub(super) line: usize,
    pub(super) key: &'static Key,
    pub(super) value: Value,
}

/// What a profile holds: values in the order of the file, and mistakes.
pub(super) struct Content {
    pub(super) found: Vec<Found>,
    wrong: Vec<(usize, String)>,
}

impl Content {
    /// Adds a mistake.
    pub(super) fn wrong(&mut self, line: usize, why: String) {
        self.wrong.push((line, why));
    }

    /// All mistakes as one error.
    pub(super) fn verdict(mut self, source: &Source<'_>) -> Result<()> {
        self.wrong.sort();
        match self.wrong.as_slice() {
            [] => Ok(()),
            [(line, why)] => Err(Error::usage(format!("{source}, line {line}: {why}"))),
            many => {
                let lines: Vec<String> = many.iter().map(|(line, why)| format!("line {line}: {why}")).collect();
                Err(Error::usage(format!("{source}: {} mistakes", many.len())).because(lines.join("\n")))
            }
        }
    }
}

/// Reads the text of a profile.
///
/// # Errors
/// When it is not TOML. Everything else that is wrong is in the content's verdict.
pub(super) fn read(text: &str, source: &Source<'_>) -> Result<Content> {
    let line_of = |at: usize| text[..at.min(text.len())].matches('\n').count() + 1;
    let table = DeTable::parse(text).map_err(|e| {
        let span = e.span().unwrap_or_default();
        // A short piece names the key or the word that is meant.
        let piece =
            text.get(span.clone()).filter(|piece| (1..40).contains(&piece.len()) && check::printable(piece).is_ok());
        let piece = piece.map(|piece| format!(" at `{piece}`")).unwrap_or_default();
        Error::usage(format!("{source}, line {}: {}{piece}", line_of(span.start), e.message()))
    })?;
    let mut found = Vec::new();
    let mut wrong = Vec::new();
    walk("", table.get_ref(), &mut found, &mut wrong);
    // The table is sorted by name; people read files from the top.
    found.sort_by_key(|(at, ..)| *at);
    Ok(Content {
        found: found.into_iter().map(|(at, key, value)| Found { line: line_of(at), key, value }).collect(),
        wrong: wrong.into_iter().map(|(at, why)| (line_of(at), why)).collect(),
    })
}

/// Finds the values of a table and of those in it, and what is wrong with them.
fn walk(
    prefix: &str,
    table: &DeTable<'_>,
    found: &mut Vec<(usize, &'static Key, Value)>,
    wrong: &mut Vec<(usize, String)>,
) {
    for (name, value) in table {
        let at = name.span().start;
        let full = format!("{prefix}{}", name.get_ref());
        let is_table = KEYS.iter().any(|key| key.name.starts_with(&format!("{full}.")));
        match (key(&full), value.get_ref()) {
            (Some(key), raw) => match key.read_toml(raw) {
                Ok(value) => found.push((at, key, value)),
                Err(Refusal { why, hint }) => wrong.push((at, format!("{full}: {why}{}", suffix(hint)))),
            },
            (None, DeValue::Table(inner)) if is_table => walk(&format!("{full}."), inner, found, wrong),
            (None, _) if is_table => {
                wrong.push((at, format!("`{full}` is a table: write [{full}] and its keys below")));
            }
            (None, _) => {
                let tables = KEYS.iter().filter_map(|key| key.name.split_once('.')).map(|(table, _)| table);
                let meant = nearest(&full, KEYS.iter().map(|key| key.name).chain(tables));
                let meant = meant.map(|near| format!("did you mean `{near}`?"));
                let all = || "`iris-mk8s profile show` lists all keys".to_owned();
                wrong.push((at, format!("unknown key `{}`; {}", full.escape_debug(), meant.unwrap_or_else(all))));
            }
        }
    }
}

/// The name that was meant: the right key in the wrong table, or one that differs by a slip of the finger.
pub(super) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str> + Clone) -> Option<&'a str> {
    let last = |name: &str| name.rsplit('.').next().unwrap_or_default().to_owned();
    let distance = |near: &str| {
        let whole = strsim::damerau_levenshtein(name, near);
        whole.min(strsim::damerau_levenshtein(&last(name), &last(near)) + usize::from(whole > 0))
    };
    let close = |near: &&str| distance(near) <= 1 + last(near).chars().count() / 4;
    known.filter(close).min_by_key(|near| (distance(near), strsim::damerau_levenshtein(name, near)))
}

/// A hint as the end of a line.
pub(super) fn suffix(hint: Option<String>) -> String {
    hint.map_or(String::new(), |hint| format!("; {hint}"))
}
