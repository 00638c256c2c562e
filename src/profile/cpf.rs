//! What we need to know of a CPF merge: that it is one, that it holds no password, and which databases it makes.
//!
//! The text goes to IRIS as it is; IRIS alone understands it in full.

use super::check::Check;

/// The volumes of an instance. What lies elsewhere is gone when its pod is.
const VOLUMES: [&str; 2] = ["/vol-data/", "/iris-mgr/"];

/// One form for the same text, however it was written down: lines end with a newline, nothing hangs over.
pub fn normalise(text: &str) -> String {
    let lines: Vec<&str> = text.trim().lines().map(str::trim_end).collect();
    lines.join("\n") + "\n"
}

/// Whether the text can be a CPF merge of ours.
pub fn check(text: &str) -> Check {
    if text.len() > 64 << 10 {
        return Err("the CPF is longer than 64 KiB".into());
    }
    if text.trim().is_empty() {
        return Err("the CPF is empty; without one there is no database".into());
    }
    let mut in_section = false;
    for (number, line) in (1..).zip(text.lines()) {
        let wrong = |why: String| Err(format!("line {number} of the CPF: {why}"));
        if let Some(c) = line.chars().find(|c| c.is_control() && *c != '\t') {
            return wrong(format!("contains the control character {}", c.escape_unicode()));
        }
        let line = line.trim();
        if line.starts_with('[') {
            if !line.ends_with(']') {
                return wrong(format!("`{line}` is not a section; write it as [Startup]"));
            }
            in_section = true;
        } else if !line.is_empty() && !line.starts_with(';') {
            if !in_section {
                return wrong("comes before the first section, such as [Startup]".into());
            }
            if !line.contains('=') {
                return wrong(format!("`{line}` is neither a section nor of the form key=value"));
            }
        }
        // The CPF is kept in the journal and shown in plans; a password, hashed or not, is not to be found there.
        if let Some(property) = properties(line).find(|(name, _)| is_secret(name)).map(|(name, _)| name) {
            return wrong(format!("`{property}` does not belong into a CPF; give the password with --password-file"));
        }
        if let Some(directory) = property(line, "CreateDatabase", "Directory") {
            let inside = |volume: &&str| directory.starts_with(*volume) && !directory.contains("/../");
            if !VOLUMES.iter().any(inside) {
                return wrong(format!(
                    "the database in `{directory}` would be lost with its pod; put it into /vol-data/, the volume for databases"
                ));
            }
        }
    }
    Ok(())
}

/// Names of the databases that the CPF makes.
pub fn databases(text: &str) -> Vec<String> {
    names(text, "CreateDatabase")
}

/// Names of the namespaces that the CPF makes.
pub fn namespaces(text: &str) -> Vec<String> {
    names(text, "CreateNamespace")
}

fn names(text: &str, action: &str) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for name in text.lines().filter_map(|line| property(line, action, "Name")) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

/// The value of a setting; none when the CPF leaves it to IRIS.
pub(crate) fn setting<'a>(text: &'a str, section: &str, key: &str) -> Option<&'a str> {
    let mut inside = false;
    let mut found = None;
    for line in text.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
            inside = name.eq_ignore_ascii_case(section);
        } else if let (true, Some((name, value))) = (inside, line.split_once('='))
            && name.trim().eq_ignore_ascii_case(key)
        {
            found = Some(value.trim());
        }
    }
    found
}

fn is_secret(property: &str) -> bool {
    ["password", "passwordhash"].contains(&property.to_ascii_lowercase().as_str())
}

/// `Name=value` pairs of a line, be it `Name=value` or `Action:Name=value,Name=value`.
fn properties(line: &str) -> impl Iterator<Item = (&str, &str)> {
    line.split([',', ':'])
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, value)| (name.trim(), value.trim().trim_matches('"')))
}

/// The value of a property of an action, when the line is that action.
fn property(line: &str, action: &str, name: &str) -> Option<String> {
    let (verb, rest) = line.trim().split_once(':')?;
    if !verb.eq_ignore_ascii_case(action) {
        return None;
    }
    properties(rest).find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.to_owned())
}
