//! Certificates that the clock or strict clients do not take: one that is not valid yet, since the clock jumped back, and an authority
//! that does not say what it is for.

use super::super::Facts;
use crate::{error::Result, finding::Finding};

/// Where MicroK8s keeps them.
const FOLDER: &str = "/var/snap/microk8s/current/certs";

fn asked(facts: &Facts<'_>, file: &str, what: &[&str]) -> Result<Option<String>> {
    let path = format!("{FOLDER}/{file}");
    if !facts.exists(&path) {
        return Ok(None);
    }
    let words = [&["openssl", "x509", "-noout"], what, &["-in", &path]].concat();
    Ok(facts.ask(&words)?.map(|output| format!("{}{}", output.stdout, output.stderr)))
}

/// MicroK8s made its authority without keyUsage until June 2026 (canonical/microk8s #5537); RFC 5280 asks for it.
pub(crate) fn issuer(facts: &Facts<'_>) -> Result<Vec<Finding>> {
    let Some(said) = asked(facts, "ca.crt", &["-ext", "keyUsage"])? else { return Ok(Vec::new()) };
    Ok(vec![if said.contains("Key Usage") {
        Finding::fine("the authority says what it is for")
    } else {
        Finding::warned(
            "the cluster's certificate authority is one from before June 2026, without key usage: strict clients (Python 3.13 and newer) refuse it",
            "`sudo microk8s refresh-certs --cert ca.crt` makes a new one, and restarts MicroK8s; kubeconfig files have to be fetched anew",
        )
    }])
}

/// A certificate from the future: the clock jumped back, or was ahead when it was made.
pub(crate) fn begin(facts: &Facts<'_>) -> Result<Vec<Finding>> {
    let Some(said) = asked(facts, "server.crt", &["-startdate"])? else { return Ok(Vec::new()) };
    // notBefore=Nov  4 07:07:01 2026 GMT
    let words: Vec<&str> = said.trim().trim_start_matches("notBefore=").split_whitespace().collect();
    let date = jiff::civil::DateTime::strptime("%b %d %H:%M:%S %Y", words.get(..4).unwrap_or_default().join(" ")).ok();
    let begins = date.and_then(|d| d.to_zoned(jiff::tz::TimeZone::UTC).ok()).map(|z| z.timestamp());
    let now = i64::try_from(facts.host.unix_time())
        .ok()
        .and_then(|s| jiff::Timestamp::from_second(s).ok())
        .unwrap_or_default();
    Ok(match begins {
        Some(begins) if begins > now => vec![Finding::refused(
            format!(
                "the certificate of the API server is valid from {begins} on, and the clock says {now}: nothing can speak with it"
            ),
            "set the clock (`timedatectl set-ntp true`); if it is right, `sudo microk8s refresh-certs --cert server.crt`",
        )],
        Some(begins) => vec![Finding::fine(format!("valid since {begins}"))],
        None => Vec::new(),
    })
}
