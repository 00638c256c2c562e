//! An image that its registry does not have: no waiting brings it. One that is down, slow or counts too many pulls may come back.

use serde_json::Value;

use crate::{
    cluster::{
        self,
        pull::{self, Failure},
    },
    host::Host,
};

/// What the registry said of an image of this pod that it does not have.
pub(super) fn missing(host: &dyn Host, pod: &Value) -> Option<String> {
    judge(pod, || event(host, pod))
}

fn judge(pod: &Value, told: impl FnOnce() -> Option<String>) -> Option<String> {
    let (image, words) = pull::waiting(pod)?;
    // An older kubelet only says that it backs off; the event before told why.
    let words = if pull::read(&words).is_some() { words } else { told()? };
    (pull::read(&words) == Some(Failure::NotFound)).then(|| format!("image {image}: {words}"))
}

/// The last failure of a pull that the pod's events tell of.
fn event(host: &dyn Host, pod: &Value) -> Option<String> {
    let namespace = pod["metadata"]["namespace"].as_str();
    let events = host.list(&cluster::EVENT, namespace, "").ok()?;
    let of_pull = |e: &&Value| {
        e["involvedObject"]["uid"] == pod["metadata"]["uid"]
            && e["reason"] == "Failed"
            && e["message"].as_str().is_some_and(|m| pull::read(m).is_some())
    };
    let last =
        events.iter().filter(of_pull).max_by_key(|e| e["lastTimestamp"].as_str().unwrap_or_default().to_owned())?;
    last["message"].as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_an_unknown_image_is_missing() {
        let pod = |reason: &str, message: &str| {
            let waiting = json!({"waiting": {"reason": reason, "message": message}});
            judge(&json!({"status": {"containerStatuses": [{"image": "a:1", "state": waiting}]}}), || None)
        };
        assert!(pod("ErrImagePull", "a:1: not found").is_some());
        assert!(pod("InvalidImageName", "").is_some());
        assert_eq!(pod("ErrImagePull", "connection refused"), None);
        assert_eq!(pod("ImagePullBackOff", "429 Too Many Requests"), None);
        assert_eq!(pod("CrashLoopBackOff", "not found"), None);
    }

    /// The kubelet of 1.20 says why only for a moment.
    #[test]
    fn who_only_backs_off_told_why_before() {
        let waiting = json!({"waiting": {"reason": "ImagePullBackOff", "message": "Back-off pulling image \"a:1\""}});
        let pod = json!({"status": {"containerStatuses": [{"image": "a:1", "state": waiting}]}});
        let told = |message: &str| judge(&pod, || Some(message.to_owned()));
        assert_eq!(judge(&pod, || None), None);
        assert_eq!(
            told("Failed to pull image \"a:1\": a:1: not found").as_deref(),
            Some("image a:1: Failed to pull image \"a:1\": a:1: not found")
        );
        assert_eq!(told("Failed to pull image \"a:1\": connection refused"), None);
    }
}
