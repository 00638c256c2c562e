//! Texts without what looks like a secret: logs, errors, and what leaves the host in a bundle.
//!
//! Three kinds are known: forms that are secret wherever they stand (a private key, a token with a known beginning), places in commands and
//! protocols (`curl -u user:…`, `https://…@host`), and values of a name that says so (`DB_PASSWORD=…`, `"token": "…"`, `--password …`). In
//! doubt something is hidden: a reader then misses a word, and nobody gets a secret.

use std::{borrow::Cow, sync::LazyLock};

use regex::{Captures, Regex, RegexBuilder};

mod value;

#[cfg(test)]
mod table;

/// What stands in the place of a secret.
pub const REDACTED: &str = "[redacted]";

/// Ends of names whose value is secret.
const NAMES: &[&str] = &[
    "password",
    "passwd",
    "passphrase",
    "passcode",
    "secret",
    "token",
    "credential",
    "credentials",
    "macaroon",
    "api-key",
    "access-key",
    "account-key",
    "authorization-key",
    "encryption-key",
    "key-data",
    "license-key",
    "master-key",
    "private-key",
    "secret-key",
    "session-key",
    "shared-key",
    "signing-key",
];

/// Names that are the end of many a harmless word: they count only as a whole part of a name, as in `MYSQL_PWD`.
const SHORT: &[&str] = &["pwd", "pass", "psk", "auth"];

/// What matches goes, but for the first group and the second one.
static FORMS: LazyLock<Vec<Regex>> = LazyLock::new(|| {
    let forms = [
        r"()-----BEGIN [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----(?s:.*?)(?:-----END [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----|\z)",
        // The whole line: a hash has commas in it.
        r"(password_?hash[\x22']?[ \t]*[:=][ \t]*[\x22']?)[^\n\\\x22']+",
        // Their parameters are quoted, each by itself.
        r"(\b(?:macaroon root|digest username|aws4-hmac-sha256 credential)=)[^\n]+",
        r"(\bauthorization\\*[\x22']?[ \t]*[:=][ \t]*\\*[\x22']?(?:basic|bearer|token|negotiate|ntlm|apikey)[ \t]+)[^\r\n\x22'\\]+",
        r"(\bauthorization\\*[\x22']?[ \t]*[:=][ \t]*\\*[\x22']?)[^\s\x22'\\]{16,}",
        r"(\bbearer[ \t]+)[a-z0-9._~+/=-]{16,}",
        r"(\b(?:set-)?cookie[ \t]*:[ \t]*)[^\r\n\x22']+",
        // Up to the last @ before the path: a password may have one in it.
        r"([a-z][a-z0-9+.-]*://)[^/\s\x22'<>]+(@)",
        r"([?&](?:sig|signature|x-amz-signature|x-amz-credential|x-amz-security-token)=)[^&\s\x22']+",
        // Tokens of a known form: JSON web tokens, macaroons, those of clouds and forges, and that of `microk8s join`.
        r"()\beyJ[\w-]{10,}\.[\w-]{10,}(?:\.[\w-]*)?",
        r"()\bMDAx[\w+/=-]{16,}",
        r"()\b(?:AKIA|ASIA)[0-9A-Z]{16}\b",
        r"()\b(?:gh[pousr]_[a-z0-9]{20,}|github_pat_\w{20,}|glpat-[\w-]{16,}|xox[abeoprs]-[\w-]{10,}|dckr_pat_[\w-]{16,}|npm_[a-z0-9]{30,})",
        r"(:[0-9]{2,5}/)[0-9a-f]{32}(?:/[0-9a-f]{6,})?\b",
        // Hashes of passwords, as in /etc/shadow and htpasswd.
        r"()\$(?:[1567y]|2[abxy]|gy|apr1|argon2\w+)\$[./a-z0-9$,=+]{16,}",
        // Commands that take a password beside a user, or behind a short option.
        r"(\b(?:curl|wget|ctr|nerdctl|skopeo)\b[^\n]*?[ \t](?:-u|--user|--proxy-user|--creds)[ =]?[\x22']?[^\s:\x22']+:)[^\s\x22']+",
        r"(\b(?:mysql|mysqldump|mysqladmin|mariadb)\b[^\n]*?[ \t](?-i:-p))[^\s\x22']+",
        r"(\b(?:sshpass|(?:docker|nerdctl|podman|registry) login)\b[^\n]*?[ \t](?-i:-p)[ =]?[\x22']?)[^\s\x22']+",
        r"(\bpass(?:in|out)?[ \t]+pass:)\S+",
        r"(\bmachine[ \t]+\S+\s+login[ \t]+\S+\s+password[ \t]+)\S+",
        r"(\b(?:Login|ChangePassword)\([ \t]*\x22[^\x22]*\x22[ \t]*,[ \t]*\x22)[^\x22]+",
    ];
    forms.iter().map(|form| pattern(form)).collect()
});

/// A name that may be secret, and what stands before its value: a sign; or an option, and a blank or the end of an item of a list.
static ASSIGNED: LazyLock<Regex> = LazyLock::new(|| {
    let ends: Vec<String> = NAMES.iter().chain(SHORT).map(|name| name.replace('-', "[-_]?")).collect();
    let ends = ends.join("|");
    pattern(&format!(
        r"(?P<name>[\w.-]*(?:{ends}))(?P<sign>\\*[\x22']?[ \t]*(?::=|=>|[:=])[ \t]*)|(?P<option>--?[\w-]*(?:{ends}))(?:[ \t]+|\\*[\x22'],\s*)"
    ))
});

/// An environment variable of a pod, whose name and value are two fields.
static VARIABLE: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"\bname\\*[\x22']?[ \t]*:[ \t]*\\*[\x22']?(?P<name>[\w.-]+)\\*[\x22']?,?\s*\\*[\x22']?value(?P<sign>\\*[\x22']?[ \t]*:[ \t]*)",
    )
});

fn pattern(text: &str) -> Regex {
    let built = RegexBuilder::new(text).case_insensitive(true).multi_line(true).build();
    // A test compiles all of them.
    built.unwrap_or_else(|e| unreachable!("{e}"))
}

/// The text without what looks like a secret.
pub fn hide(text: &str) -> String {
    let text =
        FORMS.iter().fold(Cow::Borrowed(text), |text, form| match form.replace_all(&text, "${1}[redacted]${2}") {
            Cow::Borrowed(_) => text,
            Cow::Owned(changed) => Cow::Owned(changed),
        });
    values(&values(&text, &VARIABLE), &ASSIGNED)
}

/// The text without the values that stand behind secret names.
fn values(text: &str, names: &Regex) -> String {
    let mut hidden = String::with_capacity(text.len());
    let mut at = 0;
    while let Some(found) = names.captures_at(text, at) {
        let end = found.get(0).map_or(text.len(), |all| all.end());
        hidden.push_str(&text[at..end]);
        at = end;
        let Some(value) = value::read(text, end, rest_of_line(text, &found)) else { continue };
        if hides(&found, &text[value.clone()]) {
            hidden.push_str(&text[at..value.start]);
            hidden.push_str(REDACTED);
            at = value.end;
        }
    }
    hidden.push_str(&text[at..]);
    hidden
}

/// Whether the value goes to the end of its line, as in a file of variables or in YAML: the name is the first word there.
fn rest_of_line(text: &str, found: &Captures<'_>) -> bool {
    let (Some(all), Some(sign)) = (found.get(0), found.name("sign")) else { return false };
    let line = text[..all.start()].rfind('\n').map_or(0, |at| at + 1);
    let before = text[line..all.start()].trim_start().trim_start_matches("- ");
    let first = ["", "export ", "Environment="].contains(&before);
    first && (sign.as_str() == "=" || sign.as_str().trim_start().starts_with(": "))
}

/// Whether the value of a name is a secret. `PWD=/root` is where a shell stands, and `pass: 12` counts tests.
fn hides(found: &Captures<'_>, value: &str) -> bool {
    let part = |part: &str| found.name(part).map(|part| part.as_str());
    let (name, sign) = (part("name").or(part("option")).unwrap_or_default(), part("sign").unwrap_or("="));
    if value::is_trivial(value) || part("option").is_some() && value.starts_with('-') {
        return false;
    }
    let is_option = name.starts_with('-');
    let name = simple(name);
    let is_path = value.starts_with('/') || value.starts_with("file:");
    let last = name.rsplit(['-', '.']).next().unwrap_or_default();
    match last {
        "pwd" => !is_path,
        // A user with a password in base64, as Docker keeps it.
        "auth" => value.len() >= 8 && value.bytes().all(|b| b.is_ascii_alphanumeric() || b"+/=_-".contains(&b)),
        "pass" | "psk" => is_option || last != name || sign.contains(['=', '"']),
        _ => {
            // A key may be told by the file that it lies in; a password may begin with a slash.
            let may_be_a_file = ["key", "credential", "credentials"].iter().any(|end| name.ends_with(end));
            NAMES.iter().any(|known| ends_with(&name, known)) && !(may_be_a_file && is_path)
        }
    }
}

/// Whether a name says that its value is secret, whatever that is.
pub fn is_name(name: &str) -> bool {
    let name = simple(name);
    let short = |part: &str| part != "auth" && SHORT.contains(&part);
    NAMES.iter().any(|known| name.contains(known) || name.contains(&known.replace('-', "")))
        || name.split(['-', '.']).any(short)
}

fn simple(name: &str) -> String {
    name.trim_start_matches('-').to_ascii_lowercase().replace('_', "-")
}

fn ends_with(name: &str, known: &str) -> bool {
    name.ends_with(known) || name.ends_with(&known.replace('-', ""))
}
