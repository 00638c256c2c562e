//! Why an image was not pulled: from a container's own words, or from the events of its pod.

use serde_json::Value;

use crate::error::{Error, ExitCode};

/// The kinds of failure that ask for different cures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The registry has no such image, or the name is none.
    NotFound,
    /// The registry counts pulls, and these were too many.
    TooMany,
    /// The registry wants a login.
    Login,
    /// The node's disk is full.
    NoRoom,
    /// The registry does not answer, or answers with an error of its own.
    Away,
}

/// What the words mean, in the order in which they are looked for: a message may hold several.
const WORDS: &[(Failure, &[&str])] = &[
    (Failure::NoRoom, &["no space left on device"]),
    (Failure::TooMany, &["toomanyrequests", "Too Many Requests", "rate limit"]),
    // Docker Hub says the same of a repository that is not there and of one that is private.
    (
        Failure::NotFound,
        &["repository does not exist", "not found", "manifest unknown", "InvalidImageName", "invalid reference"],
    ),
    (Failure::Login, &["Unauthorized", "Forbidden", "authorization failed", "access denied"]),
    (
        Failure::Away,
        &[
            "dial tcp",
            "no such host",
            "connection re",
            "timeout",
            "deadline exceeded",
            "EOF",
            "x509",
            "proxyconnect",
            "server gave HTTP response",
            "unexpected status",
        ],
    ),
];

/// What a message of containerd's means.
pub fn read(message: &str) -> Option<Failure> {
    WORDS.iter().find(|(_, words)| words.iter().any(|word| message.contains(word))).map(|(failure, _)| *failure)
}

/// A pull that failed, with what it means. A registry that is down, slow or counts too many pulls may come back: that one is waited for.
pub fn refused(image: &str, words: &str) -> Error {
    let (means, hint) = match read(words) {
        Some(Failure::NotFound) => {
            ("the registry does not have the image", format!("see the name and the tag: --image (now {image})"))
        }
        Some(Failure::Login) => (
            "the registry wants a login for the image",
            "give it one (registries.login in the profile), or take an image that everybody may pull".to_owned(),
        ),
        Some(Failure::NoRoom) => (
            "there is no room for the image",
            "free some space under /var/snap/microk8s, and run the same command again".to_owned(),
        ),
        Some(Failure::TooMany) => {
            return Error::transient(format!("the registry counts too many pulls of {image}")).because(words);
        }
        Some(Failure::Away) | None => {
            return Error::transient(format!("image {image} cannot be pulled yet")).because(words);
        }
    };
    Error::new(ExitCode::Unverified, format!("{means} ({image})")).because(words).hint(hint)
}

/// The image of a container that waits for it, and the words of who refused.
pub fn waiting(pod: &Value) -> Option<(String, String)> {
    let statuses = |field: &str| pod["status"][field].as_array().cloned().unwrap_or_default();
    let all = [statuses("initContainerStatuses"), statuses("containerStatuses")].concat();
    all.iter().find_map(|container| {
        let waiting = &container["state"]["waiting"];
        let reason = waiting["reason"].as_str().unwrap_or("");
        let pulls = matches!(reason, "ErrImagePull" | "ImagePullBackOff" | "InvalidImageName" | "RegistryUnavailable");
        let message = waiting["message"].as_str().unwrap_or("");
        let words = if reason == "InvalidImageName" { format!("{reason}: {message}") } else { message.to_owned() };
        pulls.then(|| (container["image"].as_str().unwrap_or("?").to_owned(), words))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_of_containerd_are_told_apart() {
        let head = "failed to pull and unpack image \"quay.io/metallb/controller:v0.15.2\": failed to resolve reference \"quay.io/metallb/controller:v0.15.2\":";
        for (message, failure) in [
            (
                "failed to do request: Head \"https://quay.io/v2/x\": dial tcp: lookup quay.io on 10.255.255.1:53: i/o timeout",
                Failure::Away,
            ),
            (
                "failed to do request: Head \"http://192.168.11.2:5000/v2/x\": read tcp 10.0.0.1:2->10.0.0.2:3: read: connection reset by peer",
                Failure::Away,
            ),
            (
                "unexpected status from HEAD request to http://192.168.11.2:5000/v2/x: 503 Service Unavailable",
                Failure::Away,
            ),
            ("quay.io/metallb/controller:v0.15.2: not found", Failure::NotFound),
            (
                "unexpected status code https://registry-1.docker.io/v2/x: 429 Too Many Requests - Server message: toomanyrequests: You have reached",
                Failure::TooMany,
            ),
            (
                "pull access denied, repository does not exist or may require authorization: server message: insufficient_scope",
                Failure::NotFound,
            ),
            ("unexpected status from HEAD request to http://x: 401 Unauthorized", Failure::Login),
            ("failed to copy: write /var/lib/containerd/x: no space left on device", Failure::NoRoom),
        ] {
            assert_eq!(read(&format!("{head} {message}")), Some(failure), "{message}");
        }
        assert_eq!(read("Back-off pulling image \"x\""), None);
    }
}
