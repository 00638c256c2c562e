//! The internet, for what is fetched from several servers: the snap store and registries. The proxy of the environment is heeded, and the
//! certificates are those that this host trusts.

use std::{io::Read, time::Duration};

use ureq::{
    Agent,
    http::{Response, response::Parts},
    tls::{RootCerts, TlsConfig},
};

use crate::error::{Error, Result};

/// Until a server answers.
const ANSWERS_WITHIN: Duration = Duration::from_secs(60);

/// The longest silence in the middle of a file.
const SILENT_FOR: Duration = Duration::from_secs(60);

/// An answer that is read as a whole is never longer.
const LONGEST: u64 = 16 << 20;

/// The client.
pub struct Web(Agent);

/// An answer, whatever its status.
pub struct Page {
    /// The status.
    pub status: u16,
    head: Parts,
    body: Box<dyn Read + Send>,
}

impl Default for Web {
    fn default() -> Self {
        let tls = TlsConfig::builder().root_certs(RootCerts::PlatformVerifier).build();
        let config = Agent::config_builder()
            .tls_config(tls)
            .http_status_as_error(false)
            .timeout_connect(Some(ANSWERS_WITHIN))
            .timeout_recv_response(Some(ANSWERS_WITHIN))
            .timeout_per_read(Some(SILENT_FOR));
        Self(config.build().new_agent())
    }
}

impl Web {
    /// Asks for a page.
    ///
    /// # Errors
    /// Nobody answers (transient).
    pub fn get(&self, url: &str, headers: &[(&str, &str)]) -> Result<Page> {
        let request = headers.iter().fold(self.0.get(url), |request, (name, value)| request.header(*name, *value));
        Page::of(url, request.call())
    }

    /// Sends a question as JSON.
    ///
    /// # Errors
    /// Nobody answers (transient).
    pub fn post(&self, url: &str, headers: &[(&str, &str)], body: &serde_json::Value) -> Result<Page> {
        let request = self.0.post(url).header("content-type", "application/json");
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        Page::of(url, request.send(body.to_string()))
    }
}

impl Page {
    fn of(url: &str, answer: Result<Response<ureq::Body>, ureq::Error>) -> Result<Self> {
        let answer = answer.map_err(|e| Error::transient(format!("{url} does not answer")).because(e))?;
        let (head, body) = answer.into_parts();
        Ok(Self { status: head.status.as_u16(), head, body: Box::new(body.into_reader()) })
    }

    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.headers.get(name)?.to_str().ok()
    }

    /// The body, as it comes.
    pub fn body(self) -> Box<dyn Read + Send> {
        self.body
    }

    /// The whole body.
    ///
    /// # Errors
    /// It breaks off (transient).
    pub fn bytes(self) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.body
            .take(LONGEST)
            .read_to_end(&mut bytes)
            .map_err(|e| Error::transient("the answer broke off").because(e))?;
        Ok(bytes)
    }
}
