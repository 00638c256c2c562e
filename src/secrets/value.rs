//! Where a value begins and ends: quoted, escaped within another text, a block of YAML, or bare.

use std::ops::Range;

/// The value at this place of a text, without its quotes; none where something else than a value begins. `rest_of_line`: a bare value has
/// blanks and signs in it, and ends with its line.
pub(super) fn read(text: &str, at: usize, rest_of_line: bool) -> Option<Range<usize>> {
    let rest = &text[at..];
    let escapes = rest.len() - rest.trim_start_matches('\\').len();
    let first = rest[escapes..].chars().next()?;
    if matches!(first, '"' | '\'') {
        return Some(quoted(text, at, &rest[..=escapes]));
    }
    if matches!(first, '|' | '>') && rest.lines().next().is_some_and(|line| line.trim_end().len() <= 2) {
        return block(text, at);
    }
    let end = if rest_of_line {
        rest.find('\n').unwrap_or(rest.len())
    } else {
        rest.find(|c: char| c.is_whitespace() || "\"',;&{}[]".contains(c)).unwrap_or(rest.len())
    };
    let value = rest[..end].trim_end();
    // A list, a map, or the end of the line: what is in there has names of its own.
    (!value.is_empty() && !value.starts_with(['{', '['])).then(|| at..at + value.len())
}

/// Between a quote and its like: `"`, `'`, or `\"` within a text that is quoted itself.
fn quoted(text: &str, at: usize, quote: &str) -> Range<usize> {
    let begin = at + quote.len();
    let mut end = begin;
    while let Some(next) = text[end..].find(quote) {
        end += next;
        let escaped = quote == "\"" && text[begin..end].bytes().rev().take_while(|b| *b == b'\\').count() % 2 == 1;
        if !escaped {
            return begin..end;
        }
        end += quote.len();
    }
    // It is not closed: what follows cannot be told from it.
    begin..text.len()
}

/// The lines after `|` or `>` that are indented as far as the first one.
fn block(text: &str, at: usize) -> Option<Range<usize>> {
    let begin = at + text[at..].find('\n')? + 1;
    let indent = text[begin..].len() - text[begin..].trim_start_matches(' ').len();
    let mut end = begin;
    for line in text[begin..].split_inclusive('\n') {
        let blank = line.trim().is_empty();
        if !blank && (indent == 0 || !line.starts_with(&" ".repeat(indent))) {
            break;
        }
        end += line.len();
    }
    let value = text[begin + indent.min(end - begin)..end].trim_end();
    (!value.is_empty()).then(|| begin + indent..begin + indent + value.len())
}

/// What is no secret in any place: nothing, a switch, a count, a reference to something else, or what was hidden before.
pub(super) fn is_trivial(value: &str) -> bool {
    let value = value.trim();
    let word = value.trim_matches(['<', '>', '[', ']', '(', ')', '*']).to_ascii_lowercase();
    let words = [
        "", "~", "true", "false", "yes", "no", "on", "off", "none", "null", "nil", "unset", "redacted", "secret",
        "hidden",
    ];
    let refers = [("${", "}"), ("$(", ")"), ("{{", "}}")]
        .iter()
        .any(|(from, to)| value.starts_with(from) && value.ends_with(to));
    refers || words.contains(&word.as_str()) || value.len() <= 2 && value.bytes().all(|b| b.is_ascii_digit())
}
