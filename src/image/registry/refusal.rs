//! What a registry says when it refuses, in its own words.

use serde_json::Value;

use crate::{
    error::{Error, ExitCode},
    host::HttpAnswer,
};

/// A disk without room in the words of Linux and as the number that Go writes into an answer (ENOSPC).
const FULL: [&str; 3] = ["no space left on device", "\"Err\":28", "disk quota exceeded"];

/// The error for an answer that is none of those hoped for.
pub(in crate::image) fn refused(what: &str, answer: &HttpAnswer) -> Error {
    let words = format!("status {}{}", answer.status, told(&answer.body));
    let text = String::from_utf8_lossy(&answer.body);
    if answer.status == 507 || FULL.iter().any(|sign| text.contains(sign)) {
        return Error::new(ExitCode::Unverified, format!("{what}: its disk is full")).because(words).hint(
            "free some room below /var/snap/microk8s (`sudo iris-mk8s image remove` and the registry's garbage-collect; see `image remove \
             --help`), and run the same command again: what was pushed is kept",
        );
    }
    let error = Error::failed(what).because(words);
    match answer.status {
        429 | 502..=504 => Error { transient: true, ..error },
        401 | 403 => {
            error.hint("the built-in registry of MicroK8s wants no login: see what listens at port 32000 of this host")
        }
        _ => error,
    }
}

/// What an answer's errors say.
fn told(body: &[u8]) -> String {
    let Ok(answer) = serde_json::from_slice::<Value>(body) else {
        let text = String::from_utf8_lossy(body);
        let line = text.lines().next().unwrap_or_default().trim();
        return if line.is_empty() {
            String::new()
        } else {
            format!(": {}", line.chars().take(200).collect::<String>())
        };
    };
    let errors = answer["errors"].as_array().cloned().unwrap_or_default();
    let told: Vec<String> = errors.iter().map(one).collect();
    if told.is_empty() { String::new() } else { format!(": {}", told.join("; ")) }
}

fn one(error: &Value) -> String {
    let text = |field: &str| error[field].as_str().unwrap_or_default().to_owned();
    let detail = match &error["detail"] {
        Value::Null => String::new(),
        Value::String(text) => format!(" ({text})"),
        other => format!(" ({})", other.to_string().chars().take(300).collect::<String>()),
    };
    format!("{} {}{detail}", text("code"), text("message")).trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &str) -> HttpAnswer {
        HttpAnswer { status, headers: Vec::new(), body: body.as_bytes().to_vec() }
    }

    /// As distribution 2.8 and 3.1 answer (errcode), the file system's error in its detail.
    #[test]
    fn a_full_disk_is_told_apart() {
        let full = r#"{"errors":[{"code":"UNKNOWN","message":"unknown error","detail":{"DriverName":"filesystem","Enclosed":{"Op":"write","Path":"/var/lib/registry/x","Err":28}}}]}"#;
        for answer in [answer(500, full), answer(507, ""), answer(500, "write: no space left on device")] {
            let error = refused("the registry takes no layer", &answer);
            assert!(error.what.ends_with("its disk is full") && error.code == ExitCode::Unverified, "{error}");
            assert!(!error.transient && error.hint.is_some(), "{error}");
        }
        let other = r#"{"errors":[{"code":"UNKNOWN","message":"unknown error","detail":{"Enclosed":{"Err":5}}}]}"#;
        assert!(!refused("x", &answer(500, other)).what.contains("full"));
    }

    #[test]
    fn the_registrys_own_words_are_the_cause() {
        for (body, cause) in [
            (
                r#"{"errors":[{"code":"UNSUPPORTED","message":"The operation is unsupported."}]}"#,
                "status 405: UNSUPPORTED The operation is unsupported.",
            ),
            (
                r#"{"errors":[{"code":"A","message":"b","detail":"c"},{"code":"D","message":"e"}]}"#,
                "status 405: A b (c); D e",
            ),
            ("<html>\nno", "status 405: <html>"),
            ("{}", "status 405"),
            ("", "status 405"),
        ] {
            assert_eq!(refused("x", &answer(405, body)).cause.as_deref(), Some(cause));
        }
    }
}
