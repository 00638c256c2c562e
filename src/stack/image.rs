//! What keeps a pod from starting, and an image that its registry does not have: no waiting brings it. One that is down, slow or counts too many pulls may come back. What
//! was said before this run began is not believed: somebody may have put it right since, and kubelet asks again by itself.

use serde_json::Value;

use crate::{
    host::Host,
    kube::{
        self,
        pull::{self, Failure},
        state,
    },
};

/// What the registry said of an image of this pod that it does not have.
pub(super) fn missing(host: &dyn Host, pod: &Value) -> Option<String> {
    // Most pods wait for nothing.
    pull::waiting(pod)?;
    judge(pod, event(host, pod).as_ref(), begun(host))
}

/// When this run began, in seconds since 1970.
pub(super) fn begun(host: &dyn Host) -> u64 {
    host.unix_time().saturating_sub(host.now().as_secs())
}

/// Whether a time of Kubernetes', which has whole seconds, is in a run that began then.
pub(super) fn is_since(time: &Value, begun: u64) -> bool {
    let time = time.as_str().and_then(|t| t.parse::<jiff::Timestamp>().ok());
    time.and_then(|t| u64::try_from(t.as_second()).ok()).is_some_and(|t| t >= begun)
}

fn judge(pod: &Value, event: Option<&Value>, begun: u64) -> Option<String> {
    let (image, words) = pull::waiting(pod)?;
    if event.is_some_and(|event| !is_since(&event["lastTimestamp"], begun)) {
        return None;
    }
    // An older kubelet only says that it backs off; the event before told why.
    let words = if pull::read(&words).is_some() { words } else { event?["message"].as_str()?.to_owned() };
    (pull::read(&words) == Some(Failure::NotFound)).then(|| format!("image {image}: {words}"))
}

/// The last event of a pod of which this holds.
fn last(host: &dyn Host, pod: &Value, holds: impl Fn(&Value) -> bool) -> Option<Value> {
    let events = host.list(&kube::EVENT, pod["metadata"]["namespace"].as_str(), "").ok()?;
    let of_pod = |e: &Value| e["involvedObject"]["uid"] == pod["metadata"]["uid"] && holds(e);
    let time = |e: &Value| e["lastTimestamp"].as_str().unwrap_or_default().to_owned();
    events.into_iter().filter(of_pod).max_by_key(time)
}

/// The last failure of a pull that the pod's events tell of.
fn event(host: &dyn Host, pod: &Value) -> Option<Value> {
    last(host, pod, |e| e["reason"] == "Failed" && e["message"].as_str().is_some_and(|m| pull::read(m).is_some()))
}

/// Why a pod is not ready; of one that has no container yet, with what kubelet said of it in this run.
pub(super) fn trouble(host: &dyn Host, pod: &Value) -> Option<String> {
    let trouble = state::pod_trouble(pod)?;
    if !state::is_being_made(pod) {
        return Some(trouble);
    }
    let begun = begun(host);
    let warned = |e: &Value| e["type"] == "Warning" && is_since(&e["lastTimestamp"], begun);
    let event = last(host, pod, warned);
    let said = event.as_ref().and_then(|e| e["message"].as_str());
    Some(said.map_or(trouble.clone(), |said| format!("{trouble}: {said}")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(reason: &str, message: &str) -> Value {
        let waiting = json!({"waiting": {"reason": reason, "message": message}});
        json!({"status": {"containerStatuses": [{"image": "a:1", "state": waiting}]}})
    }

    fn event(second: u64, message: &str) -> Value {
        json!({"reason": "Failed", "message": message, "lastTimestamp": format!("1970-01-01T00:00:{second:02}Z")})
    }

    const NOT_FOUND: &str = "Failed to pull image \"a:1\": a:1: not found";

    #[test]
    fn only_an_unknown_image_is_missing() {
        let judged = |reason, message| judge(&pod(reason, message), None, 0);
        assert!(judged("ErrImagePull", "a:1: not found").is_some());
        assert!(judged("InvalidImageName", "").is_some());
        assert_eq!(judged("ErrImagePull", "connection refused"), None);
        assert_eq!(judged("ImagePullBackOff", "429 Too Many Requests"), None);
        assert_eq!(judged("CrashLoopBackOff", "not found"), None);
    }

    /// The kubelet of 1.20 says why only for a moment.
    #[test]
    fn who_only_backs_off_told_why_before() {
        let pod = pod("ImagePullBackOff", "Back-off pulling image \"a:1\"");
        assert_eq!(judge(&pod, None, 0), None);
        assert_eq!(judge(&pod, Some(&event(9, NOT_FOUND)), 0), Some(format!("image a:1: {NOT_FOUND}")));
        assert_eq!(judge(&pod, Some(&event(9, "Failed to pull image \"a:1\": connection refused")), 0), None);
    }

    /// The image may have been put there since.
    #[test]
    fn what_was_said_before_the_run_is_not_believed() {
        let pod = pod("ImagePullBackOff", "Back-off pulling image \"a:1\": ErrImagePull: a:1: not found");
        assert_eq!(judge(&pod, Some(&event(9, NOT_FOUND)), 10), None);
        assert!(judge(&pod, Some(&event(10, NOT_FOUND)), 10).is_some());
    }
}
