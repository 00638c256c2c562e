//! A small HTTP/1.1 client over hyper: snapd's socket and the monitoring page of IRIS need nothing more.

use std::time::Duration;

use base64::Engine;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    Request, Response,
    client::conn::http1,
    header::{AUTHORIZATION, COOKIE, HeaderValue, SET_COOKIE},
    http::request::Builder,
};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
};

/// Nobody whom we ask sends more than this.
const LARGEST_ANSWER: usize = 32 * 1024 * 1024;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Status and body.
pub type Answer = (u16, String);

/// A request over snapd's socket.
pub async fn over_socket(
    socket: &str,
    method: &str,
    path: &str,
    body: Option<String>,
    limit: Duration,
) -> Result<Answer, Failure> {
    tokio::time::timeout(limit, async {
        let request = Request::builder().method(method).uri(path).header("host", "localhost");
        let request = match body {
            Some(body) => request.header("content-type", "application/json").body(Full::new(Bytes::from(body))),
            None => request.body(Full::new(Bytes::new())),
        };
        let answer = exchange(UnixStream::connect(socket).await?, request?).await?;
        Ok((answer.status().as_u16(), text(answer.body())))
    })
    .await?
}

/// A GET without TLS.
pub async fn get(url: &str, limit: Duration) -> Result<Answer, Failure> {
    let answer = tokio::time::timeout(limit, fetch(url, |request| request)).await??;
    Ok((answer.status().as_u16(), text(answer.body())))
}

/// The status of a GET with a user's password. The session that the server opens for it is ended, so that it keeps nothing.
pub async fn login(url: &str, user: &str, password: &str, limit: Duration) -> Result<u16, Failure> {
    let pair = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
    let mut basic = HeaderValue::from_str(&format!("Basic {pair}"))?;
    basic.set_sensitive(true);
    let answer = tokio::time::timeout(limit, fetch(url, |request| request.header(AUTHORIZATION, basic))).await??;
    let sessions: Vec<&str> = answer
        .headers()
        .get_all(SET_COOKIE)
        .iter()
        .filter_map(|cookie| cookie.to_str().ok()?.split(';').next())
        .collect();
    if !sessions.is_empty() {
        // The server ends the session before it looks at the rest of the request; its answer does not matter.
        let end = format!("{url}?IRISLogout=end");
        let _ = tokio::time::timeout(limit, fetch(&end, |request| request.header(COOKIE, sessions.join("; ")))).await;
    }
    Ok(answer.status().as_u16())
}

/// A GET with headers of its own.
async fn fetch(url: &str, with: impl FnOnce(Builder) -> Builder) -> Result<Response<Bytes>, Failure> {
    let uri: hyper::Uri = url.parse()?;
    let authority = uri.authority().ok_or("the URL has no host")?;
    let address = (authority.host().to_owned(), authority.port_u16().unwrap_or(80));
    let path = uri.path_and_query().map_or("/", |p| p.as_str());
    let request = with(Request::get(path).header("host", authority.as_str())).body(Full::new(Bytes::new()))?;
    exchange(TcpStream::connect(address).await?, request).await
}

fn text(body: &[u8]) -> String {
    String::from_utf8_lossy(body).into_owned()
}

async fn exchange<S>(stream: S, request: Request<Full<Bytes>>) -> Result<Response<Bytes>, Failure>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let (head, body) = sender.send_request(request).await?.into_parts();
    let body = Limited::new(body, LARGEST_ANSWER).collect().await?.to_bytes();
    Ok(Response::from_parts(head, body))
}
