//! What a cluster stands on: the snap, its services, its certificates. Asked of the host, since the cluster may not answer.

use crate::{
    config::version::Channel,
    error::{Result, finding::Finding},
    stack::{
        facts::Facts,
        microk8s::{
            certificate::moment,
            state::{self as microk8s, Down},
        },
    },
};

pub(crate) fn snap(facts: &Facts<'_>) -> Result<Vec<Finding>> {
    let Some(snap) = &facts.snap else {
        return Ok(vec![Finding::refused(
            "the snap microk8s is not installed",
            "`iris-mk8s bootstrap` installs it, and everything in it",
        )]);
    };
    let text = |name: &str| snap[name].as_str().unwrap_or("").to_owned();
    let tracking = text("tracking-channel");
    let wanted = &facts.spec.channel;
    Ok(vec![if text("status") != "active" {
        Finding::refused("the snap microk8s is disabled", "`snap enable microk8s`, or run the same bootstrap again")
    } else if !tracking.is_empty() && tracking.parse::<Channel>().is_ok_and(|c| c != *wanted) {
        Finding::warned(
            format!("the snap microk8s tracks {tracking}, and the last bootstrap wanted {wanted}"),
            format!(
                "somebody refreshed it; the next bootstrap keeps that where it is told no other: --channel {tracking}, or auto"
            ),
        )
    } else {
        Finding::fine(format!("{} ({tracking})", text("version")))
    }])
}

pub(crate) fn services(facts: &Facts<'_>) -> Result<Vec<Finding>> {
    if !facts.installed() {
        return Ok(Vec::new());
    }
    Ok(vec![match microk8s::stopped(facts.host)? {
        None => Finding::fine("MicroK8s' services run"),
        Some(Down::Stopped) => Finding::refused(Down::Stopped.to_string(), facts.start()),
        Some(Down::Service(service)) => {
            // Its last words mostly say why.
            let unit = format!("snap.microk8s.{service}");
            let lines = facts.ask(&["journalctl", "--unit", &unit, "--lines=200", "--output=cat", "--no-pager"])?;
            let said = lines.map(|o| o.stdout).unwrap_or_default();
            let last = said.lines().rev().find(|l| is_reason(l)).map(|l| format!("; it said: {}", l.trim()));
            Finding::refused(
                format!("{}{}", Down::Service(service), last.unwrap_or_default()),
                format!("`systemctl restart {unit}`; `journalctl -u {unit}` tells more"),
            )
        }
    }])
}

/// A line of a service's log that says why it ended.
fn is_reason(line: &str) -> bool {
    let words = ["error", "Error", "failed", "fatal", "panic", "cannot", "unable"];
    words.iter().any(|w| line.contains(w)) && !line.contains("systemd")
}

/// Certificates that end after a year, and are not renewed by themselves.
const CERTIFICATES: &[(&str, &str)] = &[("server.crt", "API server"), ("front-proxy-client.crt", "aggregation layer")];

/// Below this a certificate is renewed at leisure.
const RENEW_DAYS: i64 = 30;

pub(crate) fn certificates(facts: &Facts<'_>) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for (file, whose) in CERTIFICATES {
        let Some(ends) = moment(facts, file, "-enddate")? else { continue };
        let now = i64::try_from(facts.host.unix_time()).unwrap_or(i64::MAX);
        let (date, ends) = (ends.strftime("%Y-%m-%d"), ends.as_second());
        let days = (ends - now) / 86_400;
        let hint = if facts.spec.channel.row().names_certificates {
            format!("`sudo microk8s refresh-certs --cert {file}` renews it, and restarts MicroK8s")
        } else {
            "`sudo microk8s refresh-certs` makes all of them anew, and restarts MicroK8s".to_owned()
        };
        findings.push(if ends <= now {
            Finding::refused(
                format!("the certificate of the {whose} ({file}) ended on {date}: nothing can speak with it"),
                hint,
            )
        } else if days < RENEW_DAYS {
            Finding::warned(format!("the certificate of the {whose} ({file}) ends on {date}, in {days} days"), hint)
        } else {
            Finding::fine(format!("{file} is good until {date}"))
        });
    }
    Ok(findings)
}
