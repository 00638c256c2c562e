//! A file of the internet, over HTTPS, taken only when its checksum is the right one. The proxy of the environment is used.
//! `ureq` follows redirects and knows proxies, which `hyper` (it comes with `kube`) leaves to its users.

use std::time::Duration;

use ureq::{
    Agent,
    tls::{RootCerts, TlsConfig},
};

use crate::{
    error::{Error, Result},
    host::digest,
};

/// The largest file that we ever fetch is a fifth of a megabyte.
const LARGEST: u64 = 8 * 1024 * 1024;

/// From the first byte asked for to the last one received.
const WITHIN: Duration = Duration::from_secs(60);

/// The file's bytes.
///
/// # Errors
/// It could not be downloaded, or is another one.
pub fn fetch(url: &str, sha256: &str) -> Result<Vec<u8>> {
    // The certificates that this host trusts: a company's proxy may look into the connection.
    let tls = TlsConfig::builder().root_certs(RootCerts::PlatformVerifier).build();
    let config = Agent::config_builder().timeout_global(Some(WITHIN)).https_only(true).tls_config(tls).build();
    let away = |e: ureq::Error| {
        let error = Error::failed(format!("could not download {url}")).because(&e);
        let missing = matches!(e, ureq::Error::StatusCode(400..500));
        Error { transient: !missing, ..error }
            .hint("fetch it on a machine that can, and give it with --longhorn-manifest FILE")
    };
    let mut answer = config.new_agent().get(url).call().map_err(away)?;
    let bytes = answer.body_mut().with_config().limit(LARGEST).read_to_vec().map_err(away)?;
    let found = digest::sha256(&bytes);
    if found == sha256 {
        return Ok(bytes);
    }
    Err(Error::failed(format!("{url}: the checksum does not match; the download was discarded"))
        .because(format!("its SHA-256 is {found}, not {sha256}"))
        .hint(
            "somebody between here and there changes it; a file that you trust is given with --longhorn-manifest FILE",
        ))
}
