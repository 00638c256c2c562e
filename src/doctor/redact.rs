//! Takes secrets out of texts before they leave the host: those that are known, wherever they stand, and what looks like one.

use std::path::Path;

use k8s_openapi::ByteString;
use serde_json::Value;

use crate::{
    config::place::Place,
    host::Host,
    kube,
    secrets::{self, REDACTED},
};

/// A value shorter than this stands in many texts by chance.
const SHORTEST: usize = 6;

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
        for secret in host.list(&kube::SECRET, None, "").unwrap_or_default() {
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
        for secret in secrets {
            // Within JSON some of its signs are escaped.
            let escaped = Value::from(secret.as_str()).to_string();
            let escaped = escaped[1..escaped.len() - 1].to_owned();
            // Numbers and names of algorithms are parts of a hash, too.
            let known = [secret, escaped].into_iter().filter(|s| s.len() >= SHORTEST && s != "SHA512");
            self.known.extend(known);
        }
    }

    /// The text without secrets.
    pub fn text(&self, text: &str) -> String {
        let text = self.known.iter().fold(text.to_owned(), |text, secret| text.replace(secret.as_str(), REDACTED));
        secrets::hide(&text)
    }
}

fn lines(host: &dyn Host, path: &Path) -> Vec<String> {
    let bytes = host.read(path).ok().flatten().unwrap_or_default();
    String::from_utf8_lossy(&bytes).lines().map(|l| l.trim().to_owned()).filter(|l| !l.is_empty()).collect()
}

/// Takes the values out of an object that is made to hold secrets, and of variables whose name says so.
pub fn object(value: &mut Value) {
    if value["kind"] == "Secret"
        || value["kind"] == "ConfigMap" && value["metadata"]["name"].as_str().is_some_and(secrets::is_name)
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
            let secret = fields.get("name").and_then(Value::as_str).is_some_and(secrets::is_name);
            if let Some(held) = fields.get_mut("value").filter(|v| secret && v.is_string()) {
                *held = REDACTED.into();
            }
            fields.values_mut().for_each(object);
        }
        Value::Array(items) => items.iter_mut().for_each(object),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_known_goes_wherever_it_stands() {
        let mut redactor = Redactor::default();
        redactor.know(vec!["Tr0ub4dor".to_owned(), "a\\b c\"d".to_owned()]);
        assert_eq!(redactor.text("xTr0ub4dory"), "x[redacted]y");
        assert_eq!(redactor.text(&json!({"x": "1a\\b c\"d2"}).to_string()), "{\"x\":\"1[redacted]2\"}");
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
