//! snapd over its socket: reads, and changes that are followed to their end. snapd works on a change whether we live or not;
//! a later run finds it again among the changes in progress.

use std::{
    io::Read,
    ops::ControlFlow,
    time::{Duration, Instant},
};

use serde_json::Value;

use super::{http, poll};
use crate::{
    error::{Error, ExitCode, Kind, Result},
    host::{HttpContent, HttpRequest, Progress, SnapdChange, Upload},
};

const SOCKET: &str = "/run/snapd.socket";

/// snapd answers at once, unless it restarts itself.
const ANSWER_WITHIN: Duration = Duration::from_secs(20);

/// Before it answers a request to install or refresh, snapd asks the store, again and again for some 40 s when that has a bad moment.
const ASKED_THE_STORE_WITHIN: Duration = Duration::from_secs(120);

/// How long snapd may be away while it refreshes itself.
const AWAY_AT_MOST: Duration = Duration::from_secs(60);

/// The `result` of a GET; none for 404.
pub async fn get(path: &str) -> Result<Option<Value>> {
    get_from(SOCKET, path).await
}

async fn get_from(socket: &str, path: &str) -> Result<Option<Value>> {
    let (status, body) =
        http::over_socket(socket, "GET", path, None, ANSWER_WITHIN).await.map_err(|e| away(path, &*e))?;
    if status == 404 {
        return Ok(None);
    }
    Ok(Some(result(path, status, &body)?["result"].take()))
}

/// Starts a change and follows it.
pub async fn change(
    change: &SnapdChange,
    seen: &mut dyn FnMut(&str, Option<Progress>) -> ControlFlow<()>,
    stopping: impl Fn() -> bool,
) -> Result<()> {
    let body = change.body.to_string();
    let path = &change.path;
    let (status, answer) = http::over_socket(SOCKET, change.method, path, Some(body), ASKED_THE_STORE_WITHIN)
        .await
        .map_err(|e| away(path, &*e))?;
    let answer = result(path, status, &answer)?;
    let Some(id) = answer["change"].as_str() else { return Ok(()) };
    follow(SOCKET, id, &change.shown, seen, stopping).await
}

/// A snap of the largest size over a slow disk.
const TAKES_WITHIN: Duration = Duration::from_secs(600);

/// Gives snapd a snap with its assertions, and follows the installation. What snapd got only a part of, it throws away.
pub async fn upload(
    upload: Upload<'_>,
    seen: &mut dyn FnMut(&str, Option<Progress>) -> ControlFlow<()>,
    stopping: impl Fn() -> bool,
) -> Result<()> {
    send("/v2/assertions", Vec::new(), HttpContent::Bytes(upload.assertions)).await?;
    let boundary = format!("{:032x}", rand::random::<u128>());
    let field = |name: &str, value: &str| {
        format!("--{boundary}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
    };
    let before = format!(
        "{}{}--{boundary}\r\nContent-Disposition: form-data; name=\"snap\"; filename=\"{}\"\r\nContent-Type: \
         application/octet-stream\r\n\r\n",
        field("action", "install"),
        field("classic", if upload.classic { "true" } else { "false" }),
        upload.name
    );
    let after = format!("\r\n--{boundary}--\r\n");
    let length = before.len() as u64 + upload.length + after.len() as u64;
    let mut body = before.as_bytes().chain(upload.source).chain(after.as_bytes());
    let kind = ("content-type", format!("multipart/form-data; boundary={boundary}"));
    let answer = send("/v2/snaps", vec![kind], HttpContent::Stream(&mut body, length)).await?;
    let Some(id) = answer["change"].as_str() else { return Ok(()) };
    follow(SOCKET, id, &upload.shown, seen, stopping).await
}

async fn send(path: &str, headers: Vec<(&'static str, String)>, body: HttpContent<'_>) -> Result<Value> {
    let request = HttpRequest { method: "POST", url: path.to_owned(), headers, body, within: TAKES_WITHIN };
    let answer = http::send_over_socket(SOCKET, request).await.map_err(|e| away(path, &*e))?;
    result(path, answer.status, &String::from_utf8_lossy(&answer.body))
}

/// Follows a change to its end. snapd has no deadline, and continues with it when it is not followed any more.
async fn follow(
    socket: &str,
    id: &str,
    shown: &str,
    seen: &mut dyn FnMut(&str, Option<Progress>) -> ControlFlow<()>,
    stopping: impl Fn() -> bool,
) -> Result<()> {
    let path = format!("/v2/changes/{id}");
    let begun = Instant::now();
    let mut away_since = None;
    loop {
        if stopping() {
            return Err(Error::new(ExitCode::Interrupted, "interrupted")
                .because(format!("snapd goes on with change {id} by itself (`{shown}`)")));
        }
        match get_from(socket, &path).await {
            Ok(Some(state)) => {
                away_since = None;
                if state["ready"] == true {
                    return ended(&state, shown);
                }
                let (what, progress) = doing(&state);
                if seen(&what, progress).is_break() {
                    let waited = begun.elapsed().as_secs();
                    return Err(Error::new(ExitCode::TimedOut, format!("`{shown}` did not end within {waited} s"))
                        .because(format!("snapd still works on change {id}: {what}"))
                        .hint(format!(
                            "snapd goes on by itself, and the same command follows it again; `snap change {id}` shows how far it is, \
                             `snap abort {id}` gives it up"
                        )));
                }
            }
            Ok(None) => return Err(Error::failed(format!("snapd forgot its change {id} (`{shown}`)"))),
            // snapd goes away for some seconds while it refreshes itself, and takes its changes up again.
            Err(e) => {
                let since = *away_since.get_or_insert_with(Instant::now);
                if since.elapsed() > AWAY_AT_MOST {
                    return Err(e);
                }
            }
        }
        // snapd 2.57 has no way to be told of a change's progress; its socket is local and answers in a millisecond.
        poll::again().await;
    }
}

/// What a change does now, and how far it is.
pub fn doing(change: &Value) -> (String, Option<Progress>) {
    let tasks = change["tasks"].as_array();
    let Some(task) = tasks.into_iter().flatten().find(|t| t["status"] == "Doing" || t["status"] == "Undoing") else {
        return (change["summary"].as_str().unwrap_or("waiting for snapd").to_owned(), None);
    };
    let what = task["summary"].as_str().unwrap_or("working").to_owned();
    let done = task["progress"]["done"].as_u64().unwrap_or(0);
    let total = task["progress"]["total"].as_u64().unwrap_or(0);
    // Tasks without a measure say "1 of 1".
    let progress = (total > 1).then_some(Progress { done, total, unit: "bytes" });
    (what, progress)
}

fn ended(change: &Value, shown: &str) -> Result<()> {
    if change["status"] == "Done" {
        return Ok(());
    }
    let why = change["err"].as_str().map_or_else(|| format!("the change ended as {}", change["status"]), str::to_owned);
    let logs = change["tasks"].as_array().into_iter().flatten().filter_map(|t| t["log"].as_array()).flatten();
    let logs: Vec<&str> = logs.filter_map(Value::as_str).collect();
    let last = logs[logs.len().saturating_sub(5)..].join("\n");
    Err(Error::failed(format!("`{shown}` failed"))
        .because(format!("{why}\n{last}").trim())
        .hint("`snap changes` and `snap tasks ID` tell more; run the same command again when the cause is gone"))
}

/// The answer as JSON, or snapd's refusal in our words.
fn result(path: &str, status: u16, body: &str) -> Result<Value> {
    let answer: Value = serde_json::from_str(body)
        .map_err(|e| Error::failed(format!("snapd's answer to {path} is not JSON")).caused_by(e))?;
    if (200..300).contains(&status) {
        return Ok(answer);
    }
    let message = answer["result"]["message"].as_str().unwrap_or("no message");
    let kind = answer["result"]["kind"].as_str().unwrap_or("");
    if kind == "snap-no-update-available" {
        // The newest one is there: that is what a refresh is for.
        return Ok(Value::Null);
    }
    Err(refusal(kind, message, status))
}

/// snapd's refusal as an error of ours, by its kind and its message.
pub fn refusal(kind: &str, message: &str, status: u16) -> Error {
    let error = Error::failed("snapd refused").because(format!("{message} ({kind}, HTTP {status})"));
    match kind {
        "option-not-found" => Error { kind: Kind::NoSuchOption, ..error },
        // Somebody else's change of the same snap: it passes.
        "snap-change-conflict" => Error { transient: true, ..error },
        "snap-channel-not-available" => error.hint("`snap info microk8s` lists the channels; name one with --channel"),
        "insufficient-disk-space" => error.hint("free some space under /var/lib/snapd and run the same command again"),
        // snapd has no kind for trouble with the store: these are the words of its errors (store/store.go and client/client.go). It has
        // tried again long enough by itself.
        _ if message.contains("unexpected HTTP status") => Error { kind: Kind::StoreTrouble, ..error.hint(STORE_HINT) },
        _ if message.contains("cannot communicate with server") => error.hint(STORE_HINT),
        _ => error,
    }
}

const STORE_HINT: &str = "the snap store or the network path to it has a problem: `snap info microk8s` asks the same question. Then run the \
                          same command again: it resumes";

fn away(path: &str, e: &(dyn std::error::Error + Send + Sync)) -> Error {
    let what =
        if path.starts_with("/v2/find") { "snapd got no answer from the store" } else { "snapd does not answer" };
    Error::transient(what)
        .because(format!("{SOCKET} {path}: {e}"))
        .hint("is snapd installed and running? `systemctl status snapd.socket snapd`")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn progress_is_of_the_task_that_works() {
        let change = json!({"summary": "Install", "tasks": [
            {"status": "Done", "summary": "a", "progress": {"done": 1, "total": 1}},
            {"status": "Doing", "summary": "Download snap", "progress": {"done": 5, "total": 10}}]});
        assert_eq!(doing(&change), ("Download snap".into(), Some(Progress { done: 5, total: 10, unit: "bytes" })));
    }

    /// Answers every request on a socket with this change, for ever.
    fn snapd_with(change: &Value) -> tempfile::TempDir {
        use std::io::{BufRead, BufReader, Write};

        let dir = tempfile::tempdir().expect("a directory");
        let socket = std::os::unix::net::UnixListener::bind(dir.path().join("snapd.socket")).expect("a socket");
        let body = json!({"result": change}).to_string();
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len());
        std::thread::spawn(move || {
            for stream in socket.incoming() {
                let mut stream = stream.expect("a connection");
                let mut request = BufReader::new(stream.try_clone().expect("a second handle")).lines();
                while request.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
                let _ = stream.write_all(answer.as_bytes());
            }
        });
        dir
    }

    #[test]
    fn a_change_that_never_ends_is_followed_as_long_as_the_caller_wants() {
        let change =
            json!({"ready": false, "summary": "Install", "tasks": [{"status": "Doing", "summary": "Run hook"}]});
        let dir = snapd_with(&change);
        let socket = dir.path().join("snapd.socket");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let mut looks = 0;
        let mut seen = |_: &str, _: Option<Progress>| {
            looks += 1;
            if looks == 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        let followed = runtime.block_on(async {
            let socket = socket.to_str().expect("UTF-8");
            tokio::time::timeout(Duration::from_secs(20), follow(socket, "7", "snap install x", &mut seen, || false))
                .await
        });
        let error = followed.expect("it ends").unwrap_err();
        assert_eq!((error.code, looks), (ExitCode::TimedOut, 3));
        assert_eq!(error.cause.as_deref(), Some("snapd still works on change 7: Run hook"));
    }

    #[test]
    fn a_failed_change_tells_its_log() {
        let change = json!({"status": "Error", "err": "cannot perform", "tasks": [{"log": ["a", "b"]}]});
        let error = ended(&change, "snap install x").unwrap_err();
        assert_eq!(error.cause.as_deref(), Some("cannot perform\na\nb"));
    }

    #[test]
    fn nothing_newer_is_as_good_as_refreshed() {
        let body = json!({"result": {"kind": "snap-no-update-available", "message": "no updates"}}).to_string();
        assert_eq!(result("/v2/snaps/core22", 400, &body).expect("no refusal"), Value::Null);
    }

    #[test]
    fn a_conflict_passes() {
        let body = json!({"result": {"kind": "snap-change-conflict", "message": "busy"}}).to_string();
        assert!(result("/v2/snaps/x", 409, &body).unwrap_err().transient);
    }
}
