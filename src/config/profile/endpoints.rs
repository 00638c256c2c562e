//! `[[iris.endpoints]]`: pages of the application that are asked for in the end, one table each.

use std::{fmt, path::PathBuf};

use regex::Regex;
use toml::de::{DeTable, DeValue};

use super::{check, file::nearest, keys::Refusal};
use crate::config::spec::Endpoint;

/// The keys of a table.
const KEYS: [&str; 9] =
    ["path", "user", "password_file", "password_variable", "status", "json", "matches", "balanced", "pod"];

/// The field in which the article's service names its pod.
const POD: &str = "HostName";

/// Reads one table.
///
/// # Errors
/// Says what is wrong with it.
pub(super) fn read(table: &DeTable<'_>) -> Result<Endpoint, Refusal> {
    let mut endpoint = Endpoint {
        path: String::new(),
        user: None,
        password_file: None,
        password_variable: None,
        status: 200,
        json: None,
        matches: None,
        balanced: false,
        pod: POD.to_owned(),
    };
    for (name, value) in table {
        let name: &str = name.get_ref();
        let value = value.get_ref();
        match name {
            "path" => endpoint.path = text(name, value)?,
            "user" => endpoint.user = Some(text(name, value)?),
            "password_file" => endpoint.password_file = Some(PathBuf::from(text(name, value)?)),
            "password_variable" => endpoint.password_variable = Some(text(name, value)?),
            "status" => endpoint.status = status(value)?,
            "json" => endpoint.json = Some(text(name, value)?),
            "matches" => endpoint.matches = Some(text(name, value)?),
            "balanced" => endpoint.balanced = switch(name, value)?,
            "pod" => endpoint.pod = text(name, value)?,
            other => return Err(unknown(other)),
        }
    }
    agree(&endpoint).map(|()| endpoint).map_err(Refusal::from)
}

/// What the keys of a table say together.
fn agree(endpoint: &Endpoint) -> check::Check {
    let Endpoint { path, user, password_file, password_variable, json, matches, .. } = endpoint;
    if path.is_empty() {
        return Err("an endpoint has no path; write for example path = \"/csp/myapp/get\"".to_owned());
    }
    if !path.starts_with('/') || path.contains(|c: char| c.is_whitespace() || c == '#' || !c.is_ascii()) {
        return Err(format!("`{path}` is not a path; write it as /csp/myapp/get"));
    }
    match (user, password_file, password_variable) {
        (Some(_), Some(_), None) | (Some(_), None, Some(_)) | (None, None, None) => {}
        (Some(user), _, _) => {
            return Err(format!("user `{user}` needs either password_file or password_variable, one of the two"));
        }
        (None, _, _) => return Err("a password is given without a user".to_owned()),
    }
    if let Some(user) = user {
        check::user(user)?;
    }
    if let Some(name) = password_variable {
        let good = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if !name.chars().all(good) || name.starts_with(|c: char| c.is_ascii_digit()) || name.starts_with(super::PREFIX)
        {
            return Err(format!("`{name}` is not the name of a variable of yours, such as APPUSER_PASSWORD"));
        }
    }
    match matches.as_ref().map(|pattern| Regex::new(pattern)) {
        Some(Err(why)) => Err(format!("matches: {}", why.to_string().lines().last().unwrap_or_default())),
        None if json.is_some() => {
            Err("json names a field, and matches does not say what is to be found there".to_owned())
        }
        _ => Ok(()),
    }
}

fn unknown(name: &str) -> Refusal {
    if name.contains("password") {
        let why = format!("`{name}`: a password does not belong into a profile");
        let hint = "write it into a file or a variable, and name that: password_file or password_variable".to_owned();
        return Refusal { why, hint: Some(hint) };
    }
    let meant = nearest(name, KEYS.into_iter()).map(|near| format!("; did you mean `{near}`?"));
    format!(
        "unknown key `{}`{}",
        name.escape_debug(),
        meant.unwrap_or_else(|| format!("; there are {}", KEYS.join(", ")))
    )
    .into()
}

fn text(name: &str, value: &DeValue<'_>) -> Result<String, Refusal> {
    let DeValue::String(text) = value else { return Err(format!("{name}: expected a text").into()) };
    check::printable(text).map_err(|why| format!("{name}: {why}"))?;
    Ok(text.to_string())
}

fn status(value: &DeValue<'_>) -> Result<u16, Refusal> {
    let number = if let DeValue::Integer(number) = value {
        u16::from_str_radix(number.as_str(), number.radix()).ok()
    } else {
        None
    };
    number
        .filter(|n| (100..600).contains(n))
        .ok_or_else(|| "status: expected a number from 100 to 599".to_owned().into())
}

fn switch(name: &str, value: &DeValue<'_>) -> Result<bool, Refusal> {
    if let DeValue::Boolean(on) = value { Ok(*on) } else { Err(format!("{name}: expected true or false").into()) }
}

/// In one line, for people.
impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.path)?;
        if let Some(user) = &self.user {
            write!(f, " as {user}")?;
        }
        write!(f, ": {}", self.status)?;
        if let Some(pattern) = &self.matches {
            write!(f, ", {} ~ {pattern}", self.json.as_deref().unwrap_or("the answer"))?;
        }
        if self.balanced {
            write!(f, ", from each pod ({})", self.pod)?;
        }
        Ok(())
    }
}
