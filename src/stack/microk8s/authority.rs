//! Certificates that the clock or strict clients do not take: one that is not valid yet, since the clock jumped back, and an authority
//! that does not say what it is for.

use super::certificate::{asked, moment};
use crate::{
    error::{Result, finding::Finding},
    stack::facts::Facts,
};

/// MicroK8s made its authority without keyUsage until June 2026 (canonical/microk8s #5537); RFC 5280 asks for it.
pub(crate) fn issuer(facts: &Facts<'_>) -> Result<Vec<Finding>> {
    let Some(said) = asked(facts, "ca.crt", &["-ext", "keyUsage"])? else { return Ok(Vec::new()) };
    Ok(vec![if said.contains("Key Usage") {
        Finding::fine("the certificate authority states its key usage")
    } else {
        Finding::warned(
            "the cluster's certificate authority is one from before June 2026, without key usage: strict clients (Python 3.13 and newer) refuse it",
            "`sudo microk8s refresh-certs --cert ca.crt` makes a new one, and restarts MicroK8s; kubeconfig files have to be fetched anew",
        )
    }])
}

/// A certificate from the future: the clock jumped back, or was ahead when it was made.
pub(crate) fn begin(facts: &Facts<'_>) -> Result<Vec<Finding>> {
    let begins = moment(facts, "server.crt", "-startdate")?;
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
