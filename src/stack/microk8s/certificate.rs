//! What openssl says of MicroK8s' certificates. Every Ubuntu has it; a parser of X.509 would bring a dozen crates for two dates and one word.

use crate::{error::Result, host::microk8s::CERTIFICATES, stack::facts::Facts};

/// Both outputs of `openssl x509` with these words; none where there is no such certificate, or no openssl.
pub(crate) fn asked(facts: &Facts<'_>, file: &str, what: &[&str]) -> Result<Option<String>> {
    let path = format!("{CERTIFICATES}/{file}");
    if !facts.exists(&path) {
        return Ok(None);
    }
    let words = [&["openssl", "x509", "-noout"], what, &["-in", &path]].concat();
    Ok(facts.ask(&words)?.map(|output| format!("{}{}", output.stdout, output.stderr)))
}

/// The moment that `-startdate` or `-enddate` tells.
pub(crate) fn moment(facts: &Facts<'_>, file: &str, which: &str) -> Result<Option<jiff::Timestamp>> {
    let Some(said) = asked(facts, file, &[which])? else { return Ok(None) };
    // notAfter=Nov  4 07:07:01 2027 GMT
    let date = said.split_once('=').map_or("", |(_, date)| date);
    let words: Vec<&str> = date.split_whitespace().take(4).collect();
    let date = jiff::civil::DateTime::strptime("%b %d %H:%M:%S %Y", words.join(" ")).ok();
    Ok(date.and_then(|d| d.to_zoned(jiff::tz::TimeZone::UTC).ok()).map(|z| z.timestamp()))
}
