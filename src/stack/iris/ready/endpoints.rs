//! Pages of the application: each is asked through the load balancer, as its users do, and few times. Every session is ended again: the Community
//! Edition has few licence units.

use std::{
    collections::BTreeSet,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use regex::Regex;
use serde_json::Value;

use super::{address, instances};
use crate::{
    config::spec::{Endpoint, Iris, Spec},
    engine::{
        check::Check,
        step::{Probe, Step},
    },
    error::Result,
    host::{Host, Watch},
    kube::state,
    stack::iris::names::WEB,
};

/// The database answers by now: an application that is not up after this time does not come up without help.
const ANSWERS_WITHIN: Duration = Duration::from_secs(120);

/// Between two looks. Each of them is a handful of requests at the most.
const LOOK_AGAIN: Duration = Duration::from_secs(2);

/// Requests of one look for each pod that must answer.
const ASKED: usize = 3;

/// The rung; none where no endpoint is named.
pub(super) fn rung(spec: &Spec) -> Option<Box<dyn Step>> {
    if spec.iris.endpoints.is_empty() {
        return None;
    }
    let iris = spec.iris.clone();
    // Pods that have answered in an earlier look need not do so again.
    let answered: Mutex<BTreeSet<(usize, String)>> = Mutex::default();
    Some(Box::new(Check {
        id: "ready.endpoints",
        title: "the application answers".to_owned(),
        question: Box::new(move |host| {
            judge(host, &iris, &mut answered.lock().unwrap_or_else(PoisonError::into_inner))
        }),
        deadline: ANSWERS_WITHIN,
        watches: vec![Watch::Pause(LOOK_AGAIN)],
    }))
}

fn judge(host: &dyn Host, iris: &Iris, answered: &mut BTreeSet<(usize, String)>) -> Result<Probe> {
    let Some(address) = address(host, iris)? else { return Ok(Probe::pending("the service has no address")) };
    let (mut notes, mut warnings) = (Vec::new(), Vec::new());
    for (number, endpoint) in iris.endpoints.iter().enumerate() {
        let login = match login(host, endpoint)? {
            Login::As(login) => login,
            Login::Unknown(why) => {
                warnings.push(format!("{}: not asked: {why}", endpoint.path));
                continue;
            }
        };
        let mut left = if endpoint.balanced { missing(host, iris, number, answered)? } else { Vec::new() };
        for _ in 0..(left.len() * ASKED).max(1) {
            match ask(host, &format!("http://{address}:{WEB}"), endpoint, login.as_ref())? {
                Answer::Good(pod) => {
                    left.retain(|known| Some(known) != pod.as_ref());
                    answered.extend(pod.map(|pod| (number, pod)));
                }
                Answer::Bad(probe) => return Ok(probe),
            }
            if left.is_empty() {
                break;
            }
        }
        if !left.is_empty() {
            return Ok(Probe::pending(format!("{}: {} has not answered yet", endpoint.path, left.join(", "))));
        }
        let pods: Vec<&str> = answered.iter().filter(|(of, _)| *of == number).map(|(_, pod)| pod.as_str()).collect();
        notes.push(if endpoint.balanced {
            format!("{} from {}", endpoint.path, pods.join(", "))
        } else {
            endpoint.path.clone()
        });
    }
    Ok(Probe::Satisfied { note: notes.join("; "), warnings })
}

/// Pods that have not answered yet. What pods of before have answered does not count.
fn missing(host: &dyn Host, iris: &Iris, number: usize, answered: &BTreeSet<(usize, String)>) -> Result<Vec<String>> {
    let pods = instances(host, iris)?;
    let names = pods.iter().map(|pod| state::name(pod).to_owned());
    Ok(names.filter(|name| !answered.contains(&(number, name.clone()))).collect())
}

/// Who asks.
enum Login {
    /// A user with a password, or nobody.
    As(Option<(String, String)>),
    /// The password cannot be read.
    Unknown(String),
}

fn login(host: &dyn Host, endpoint: &Endpoint) -> Result<Login> {
    let Some(user) = &endpoint.user else { return Ok(Login::As(None)) };
    let (password, source) = match (&endpoint.password_file, &endpoint.password_variable) {
        (Some(file), _) => {
            let text = host.read(file)?.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
            (
                text.map(|text| text.trim_end_matches(['\r', '\n']).to_owned()),
                format!("there is no file {}", file.display()),
            )
        }
        (None, Some(name)) => (std::env::var(name).ok(), format!("the variable {name} is not set")),
        (None, None) => (None, "no password is named".to_owned()),
    };
    Ok(match password {
        Some(password) => Login::As(Some((user.clone(), password))),
        None => Login::Unknown(source),
    })
}

/// What an endpoint answered.
enum Answer {
    /// What was expected, and the pod that it came from.
    Good(Option<String>),
    /// Something else.
    Bad(Probe),
}

fn ask(host: &dyn Host, base: &str, endpoint: &Endpoint, login: Option<&(String, String)>) -> Result<Answer> {
    let login = login.map(|(user, password)| (user.as_str(), password.as_str()));
    let (status, body) = host.visit(&format!("{base}{}", endpoint.path), login)?;
    Ok(judged(endpoint, status, &body))
}

fn judged(endpoint: &Endpoint, status: u16, body: &str) -> Answer {
    let path = &endpoint.path;
    let wait = |why: String| Answer::Bad(Probe::pending(format!("{path}: {why}")));
    if status != endpoint.status {
        return match (status, &endpoint.user) {
            // Each try would count as a failed login.
            (401 | 403, Some(user)) => Answer::Bad(Probe::Hopeless {
                why: format!("{path}: {user} is not let in (status {status})"),
                hint: "see the user and the source of the password in [[iris.endpoints]]; volumes that were kept keep their accounts".to_owned(),
            }),
            (503, _) => wait("IRIS has no licence unit free (status 503)".to_owned()),
            _ => wait(format!("it answers with status {status}, not {}", endpoint.status)),
        };
    }
    let json: Value = serde_json::from_str(body).unwrap_or_default();
    let field = |name: &str| json[name].as_str().map_or_else(|| json[name].to_string(), str::to_owned);
    if let Some(pattern) = &endpoint.matches {
        let (text, what) = match &endpoint.json {
            Some(name) => (field(name), format!("`{name}`")),
            None => (body.to_owned(), "the answer".to_owned()),
        };
        if !Regex::new(pattern).is_ok_and(|pattern| pattern.is_match(&text)) {
            let shown: String = text.chars().take(80).collect();
            return wait(format!("{what} is `{shown}`, which does not match {pattern}"));
        }
    }
    Answer::Good(json[&endpoint.pod].as_str().map(str::to_owned))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint() -> Endpoint {
        Endpoint {
            path: "/csp/myapp/get".to_owned(),
            user: Some("appuser".to_owned()),
            password_file: None,
            password_variable: Some("APPUSER_PASSWORD".to_owned()),
            status: 200,
            json: Some("Status".to_owned()),
            matches: Some("^OK$".to_owned()),
            balanced: true,
            pod: "HostName".to_owned(),
        }
    }

    #[test]
    fn an_answer_is_judged_by_status_and_content() {
        let good = r#"{"HostName":"data-1","UserName":"appuser","Status":"OK"}"#;
        assert!(matches!(judged(&endpoint(), 200, good), Answer::Good(Some(pod)) if pod == "data-1"));
        for (status, body, words) in [
            (200, r#"{"Status":"NOT OK"}"#, "`Status` is `NOT OK`, which does not match ^OK$"),
            (200, "<html>", "`Status` is `null`"),
            (503, "Service Unavailable. Check License Usage", "no licence unit free"),
            (404, "", "status 404, not 200"),
        ] {
            let Answer::Bad(Probe::Pending { why, .. }) = judged(&endpoint(), status, body) else {
                panic!("{body} is waited for")
            };
            assert!(why.starts_with("/csp/myapp/get: ") && why.contains(words), "{why}");
        }
        assert!(matches!(judged(&endpoint(), 401, ""), Answer::Bad(Probe::Hopeless { .. })), "no second wrong login");
        let other = Endpoint { status: 401, user: None, json: None, matches: None, ..endpoint() };
        assert!(matches!(judged(&other, 401, ""), Answer::Good(None)), "a page that is to be closed");
        let whole = Endpoint { json: None, matches: Some("host.*data".to_owned()), ..endpoint() };
        assert!(matches!(judged(&whole, 200, "<p>host: data-0</p>"), Answer::Good(None)));
    }
}
