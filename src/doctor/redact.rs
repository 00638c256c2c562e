//! Takes secrets out of texts before they leave the host: those that are known, wherever they stand, and what looks like one.

use std::{path::Path, sync::LazyLock};

use k8s_openapi::ByteString;
use regex::{Regex, RegexBuilder};
use serde_json::Value;

use crate::{cluster, host::Host, journal::Place};

const REDACTED: &str = "[redacted]";

/// A value shorter than this stands in many texts by chance.
const SHORTEST: usize = 6;

/// What looks like a secret: a pattern, and what is put in its place.
static PATTERNS: LazyLock<Vec<(Regex, &str)>> = LazyLock::new(|| {
    let pattern = |text: &str| {
        let built = RegexBuilder::new(text).case_insensitive(true).multi_line(true).build();
        // A test compiles all of them.
        built.unwrap_or_else(|e| unreachable!("{e}"))
    };
    vec![
        (pattern(r"-----BEGIN [A-Z ]*PRIVATE KEY-----(?s:.*?)(-----END [A-Z ]*PRIVATE KEY-----|\z)"), REDACTED),
        // The whole line: a hash has commas in it.
        (pattern(r"(passwordhash\s*=\s*)[^\n\\\x22]+"), "${1}[redacted]"),
        (
            pattern(
                r"((?:password|passwd|token|secret|api[-_]?key|client-key-data|private[-_]?key)[\x22']?\s*[:=]\s*[\x22']?)([^\s\x22',;{\[\]}]+)",
            ),
            "${1}[redacted]",
        ),
        (pattern(r"(bearer\s+)[A-Za-z0-9._~+/=-]+"), "${1}[redacted]"),
        (pattern(r"(\w+://)[^/\s:@\x22]+:[^/\s@\x22]+@"), "${1}[redacted]@"),
    ]
});

/// Files whose every line is secret, or begins with one up to a comma.
const FILES: &[&str] = &[
    "/var/snap/microk8s/current/credentials/known_tokens.csv",
    "/var/snap/microk8s/current/credentials/basic_auth.csv",
    "/var/snap/microk8s/current/credentials/cluster-tokens.txt",
    "/var/snap/microk8s/current/credentials/persistent-cluster-tokens.txt",
    "/var/snap/microk8s/current/credentials/callback-tokens.txt",
    "/var/snap/microk8s/current/credentials/callback-token.txt",
];

/// Takes secrets out.
#[derive(Default)]
pub struct Redactor {
    known: Vec<String>,
}

impl Redactor {
    /// Knows the secrets of this host: the password, tokens, and what the cluster's Secrets hold.
    pub fn of(host: &dyn Host) -> Self {
        let mut redactor = Self::default();
        let place = Place::default();
        for path in [place.password(), place.password_hash()] {
            for line in lines(host, &path) {
                redactor.know(line.split(',').map(str::to_owned).collect());
                redactor.know(vec![line]);
            }
        }
        for path in FILES {
            for line in lines(host, Path::new(path)) {
                redactor.know(line.split([',', '|']).take(1).map(str::to_owned).collect());
            }
        }
        for secret in host.list(&cluster::SECRET, None, "").unwrap_or_default() {
            for (_, value) in secret["data"].as_object().cloned().unwrap_or_default() {
                let decoded =
                    serde_json::from_value::<ByteString>(value.clone()).ok().and_then(|b| String::from_utf8(b.0).ok());
                redactor.know(
                    decoded.into_iter().map(|d| d.trim().to_owned()).chain(value.as_str().map(str::to_owned)).collect(),
                );
            }
        }
        // The longest first: one may be part of another.
        redactor.known.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        redactor.known.dedup();
        redactor
    }

    fn know(&mut self, secrets: Vec<String>) {
        // Numbers and names of algorithms are parts of a hash, too.
        let secret = |s: &String| s.len() >= SHORTEST && s != "SHA512";
        self.known.extend(secrets.into_iter().filter(secret));
    }

    /// The text without secrets.
    pub fn text(&self, text: &str) -> String {
        let known = self.known.iter().fold(text.to_owned(), |text, secret| text.replace(secret.as_str(), REDACTED));
        PATTERNS.iter().fold(known, |text, (pattern, instead)| pattern.replace_all(&text, *instead).into_owned())
    }
}

fn lines(host: &dyn Host, path: &Path) -> Vec<String> {
    let bytes = host.read(path).ok().flatten().unwrap_or_default();
    String::from_utf8_lossy(&bytes).lines().map(|l| l.trim().to_owned()).filter(|l| !l.is_empty()).collect()
}

/// Takes the values out of an object that is made to hold secrets, and of variables whose name says so.
pub fn object(value: &mut Value) {
    if value["kind"] == "Secret"
        || value["kind"] == "ConfigMap" && value["metadata"]["name"].as_str().is_some_and(is_secret)
    {
        for field in ["data", "stringData"] {
            for (_, data) in value[field].as_object_mut().into_iter().flatten() {
                *data = REDACTED.into();
            }
        }
    }
    match value {
        Value::Object(fields) => {
            // What was applied last is a copy of the object as text.
            fields.remove("kubectl.kubernetes.io/last-applied-configuration");
            fields.remove("managedFields");
            let secret = fields.get("name").and_then(Value::as_str).is_some_and(is_secret);
            if let Some(held) = fields.get_mut("value").filter(|v| secret && v.is_string()) {
                *held = REDACTED.into();
            }
            fields.values_mut().for_each(object);
        }
        Value::Array(items) => items.iter_mut().for_each(object),
        _ => {}
    }
}

fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    ["password", "passwd", "token", "secret", "apikey", "api_key", "private_key", "credential"]
        .iter()
        .any(|word| name.contains(word))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_looks_like_a_secret_goes() {
        let redactor = Redactor::default();
        for (text, left) in [
            ("PasswordHash=aa,bb,10000,SHA512\nWebServer=1", "PasswordHash=[redacted]\nWebServer=1"),
            ("ModifyUser:Name=x,Password=hunter2,Enabled=1", "ModifyUser:Name=x,Password=[redacted],Enabled=1"),
            ("{\"token\": \"abc.def\", \"x\": 1}", "{\"token\": \"[redacted]\", \"x\": 1}"),
            ("    client-key-data: LS0tLS1C\n", "    client-key-data: [redacted]\n"),
            ("Authorization: Bearer eyJhb.c-d_e", "Authorization: Bearer [redacted]"),
            ("HTTPS_PROXY=http://me:secret1@proxy:3128", "HTTPS_PROXY=http://[redacted]@proxy:3128"),
            ("a\n-----BEGIN RSA PRIVATE KEY-----\nMIIE\nx==\n-----END RSA PRIVATE KEY-----\nb", "a\n[redacted]\nb"),
            ("IRIS_PASSWORD='s3cret' next", "IRIS_PASSWORD='[redacted]' next"),
        ] {
            assert_eq!(redactor.text(text), left);
        }
    }

    #[test]
    fn what_only_speaks_of_secrets_stays() {
        let redactor = Redactor::default();
        for text in [
            "\"secret\":{\"secretName\":\"iris-merge-cpf\"}",
            "MountVolume.SetUp failed for volume \"iris-cpf\" : secret \"iris-merge-cpf\" not found",
            "password of IRIS, for ubuntu",
            "http://192.168.11.110:52773/csp/sys/UtilHome.csp",
        ] {
            assert_eq!(redactor.text(text), text);
        }
    }

    #[test]
    fn what_is_known_goes_wherever_it_stands() {
        let redactor = Redactor { known: vec!["Tr0ub4dor".to_owned()] };
        assert_eq!(redactor.text("xTr0ub4dory"), "x[redacted]y");
    }

    #[test]
    fn objects_lose_what_they_were_made_to_hide() {
        let mut pod = json!({"kind": "Pod", "metadata": {"managedFields": [1]}, "spec": {"containers": [
            {"env": [{"name": "DB_PASSWORD", "value": "x"}, {"name": "TZ", "value": "UTC"}]}]}});
        object(&mut pod);
        let env = &pod["spec"]["containers"][0]["env"];
        assert_eq!((&env[0]["value"], &env[1]["value"]), (&json!(REDACTED), &json!("UTC")));
        assert!(pod["metadata"].get("managedFields").is_none());
        let mut secret = json!({"kind": "Secret", "data": {"a": "YQ=="}, "metadata": {"annotations": {
            "kubectl.kubernetes.io/last-applied-configuration": "{\"data\":{\"a\":\"YQ==\"}}"}}});
        object(&mut secret);
        assert!(!secret.to_string().contains("YQ=="), "{secret}");
    }
}
