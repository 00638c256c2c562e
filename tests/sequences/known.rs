//! What is known to be broken, so that more can be found: the words by which it shows, and what it is.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use crate::play::Rule;

/// Promise, words that the line must hold, and what it is.
pub const KNOWN: &[(Rule, &[&str], &str)] = &[];

static SEEN: Mutex<BTreeMap<&str, usize>> = Mutex::new(BTreeMap::new());

/// Whether a line is of what is known; then it is counted.
pub fn is_known(rule: Rule, line: &str) -> bool {
    if std::env::var_os("IRIS_MK8S_STRICT").is_some() {
        return false;
    }
    let known = KNOWN.iter().find(|(of, words, _)| *of == rule && words.iter().all(|word| line.contains(word)));
    if let Some((_, _, what)) = known {
        *SEEN.lock().unwrap_or_else(PoisonError::into_inner).entry(what).or_default() += 1;
    }
    known.is_some()
}

pub fn seen() -> Vec<(String, usize)> {
    SEEN.lock().unwrap_or_else(PoisonError::into_inner).iter().map(|(what, n)| ((*what).to_owned(), *n)).collect()
}
