//! What a cluster stands on: the snap, its services, its certificates, the address of the host. Asked of the host, since the cluster may
//! not answer.

use std::net::Ipv4Addr;

use super::Facts;
use crate::{error::Result, finding::Finding, steps, version::Channel};

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
        Finding::refused("the snap microk8s is disabled", "`snap enable microk8s`, or the same bootstrap again")
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
    Ok(vec![match steps::stopped(facts.host)? {
        None => Finding::fine("MicroK8s' services run"),
        Some(why) if why.contains("is stopped") => Finding::refused(why, "`microk8s start`"),
        Some(why) => {
            // Its last words mostly say why.
            let service =
                why.split_whitespace().find(|w| w.starts_with("daemon-")).unwrap_or("daemon-kubelite").to_owned();
            let unit = format!("snap.microk8s.{service}");
            let lines = facts.ask(&["journalctl", "--unit", &unit, "--lines=200", "--output=cat", "--no-pager"])?;
            let said = lines.map(|o| o.stdout).unwrap_or_default();
            let last = said.lines().rev().find(|l| is_reason(l)).map(|l| format!("; it said: {}", l.trim()));
            Finding::refused(
                format!("{why}{}", last.unwrap_or_default()),
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

/// Where MicroK8s keeps its certificates; those that end after a year, and are not renewed by themselves.
const CERTIFICATES: &[(&str, &str)] = &[("server.crt", "API server"), ("front-proxy-client.crt", "aggregation layer")];
const FOLDER: &str = "/var/snap/microk8s/current/certs";

/// Below this a certificate is renewed at leisure.
const RENEW_DAYS: i64 = 30;

pub(crate) fn certificates(facts: &Facts<'_>) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for (file, whose) in CERTIFICATES {
        let Some(ends) = end_of(facts, file)? else { continue };
        let now = i64::try_from(facts.host.unix_time()).unwrap_or(i64::MAX);
        let (days, date) =
            ((ends - now) / 86_400, jiff::Timestamp::from_second(ends).unwrap_or_default().strftime("%Y-%m-%d"));
        let hint = format!("`microk8s refresh-certs --cert {file}` renews it, and restarts MicroK8s");
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

/// The end of a certificate, in seconds since 1970.
fn end_of(facts: &Facts<'_>, file: &str) -> Result<Option<i64>> {
    let path = format!("{FOLDER}/{file}");
    if !facts.exists(&path) {
        return Ok(None);
    }
    let Some(output) = facts.ask(&["openssl", "x509", "-noout", "-enddate", "-in", &path])? else { return Ok(None) };
    // notAfter=Nov  4 07:07:01 2027 GMT
    let words: Vec<&str> = output.stdout.trim().trim_start_matches("notAfter=").split_whitespace().collect();
    let date = jiff::civil::DateTime::strptime("%b %d %H:%M:%S %Y", words.get(..4).unwrap_or_default().join(" ")).ok();
    Ok(date.and_then(|d| d.to_zoned(jiff::tz::TimeZone::UTC).ok()).map(|z| z.timestamp().as_second()))
}

/// The API server's certificate names the addresses that the host had when it was made.
pub(crate) fn host_address(facts: &Facts<'_>) -> Result<Vec<Finding>> {
    let path = format!("{FOLDER}/server.crt");
    if !facts.exists(&path) {
        return Ok(Vec::new());
    }
    let output = facts.ask(&["openssl", "x509", "-noout", "-ext", "subjectAltName", "-in", &path])?;
    let text = output.map(|o| o.stdout).unwrap_or_default();
    let named: Vec<Ipv4Addr> = text
        .split("IP Address:")
        .skip(1)
        .filter_map(|rest| rest.split([',', '\n']).next()?.trim().parse().ok())
        .collect();
    let network = facts.network()?;
    let Some((interface, lan)) = network.main_lan() else { return Ok(Vec::new()) };
    let here: Vec<Ipv4Addr> = interface.addresses.iter().map(|a| a.net.addr()).filter(|a| lan.contains(a)).collect();
    let services = facts.reserved()?.services;
    let before: Vec<String> =
        named.iter().filter(|a| !a.is_loopback() && !services.contains(*a)).map(Ipv4Addr::to_string).collect();
    let Some(now) = here.first().filter(|_| !named.is_empty() && !here.iter().any(|a| named.contains(a))) else {
        return Ok(vec![Finding::fine(here.iter().map(Ipv4Addr::to_string).collect::<Vec<_>>().join(", "))]);
    };
    let message = format!(
        "the host's address is now {now} ({}); MicroK8s was set up when it was {}",
        interface.name,
        before.join(", ")
    );
    Ok(vec![if facts.spec.lb.overlaps(&lan) {
        Finding::warned(message, "`microk8s refresh-certs --cert server.crt`, if MicroK8s has not done it in a minute")
    } else {
        Finding::refused(
            format!("{message}, and the range {} is not in its network", facts.spec.lb),
            "give the host its address back, or move the range: `iris-mk8s bootstrap --lb auto`",
        )
    }])
}
