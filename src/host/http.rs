//! A small HTTP/1.1 client over hyper: snapd's socket and the monitoring page of IRIS need nothing more.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{Request, client::conn::http1};
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
        exchange(UnixStream::connect(socket).await?, request?).await
    })
    .await?
}

/// A GET without TLS.
pub async fn get(url: &str, limit: Duration) -> Result<Answer, Failure> {
    tokio::time::timeout(limit, async {
        let uri: hyper::Uri = url.parse()?;
        let authority = uri.authority().ok_or("the URL has no host")?;
        let address = (authority.host().to_owned(), authority.port_u16().unwrap_or(80));
        let path = uri.path_and_query().map_or("/", |p| p.as_str());
        let request = Request::get(path).header("host", authority.as_str()).body(Full::new(Bytes::new()))?;
        exchange(TcpStream::connect(address).await?, request).await
    })
    .await?
}

async fn exchange<S>(stream: S, request: Request<Full<Bytes>>) -> Result<Answer, Failure>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let answer = sender.send_request(request).await?;
    let status = answer.status().as_u16();
    let body = Limited::new(answer.into_body(), LARGEST_ANSWER).collect().await?.to_bytes();
    Ok((status, String::from_utf8_lossy(&body).into_owned()))
}
