//! A small HTTP/1.1 client over hyper: snapd's socket, IRIS' pages and the registry of MicroK8s need nothing more.

use std::{
    io::{self, Read},
    time::Duration,
};

use base64::Engine;
use bytes::Bytes;
use futures_util::stream;
use http_body_util::{BodyExt, Full, Limited, StreamBody, combinators::BoxBody};
use hyper::{
    Request, Response,
    body::Frame,
    client::conn::http1,
    header::{AUTHORIZATION, CONTENT_LENGTH, COOKIE, HeaderValue, SET_COOKIE},
};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
    sync::mpsc,
};

/// Nobody whom we ask sends more than this.
const LARGEST_ANSWER: usize = 32 * 1024 * 1024;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Status and body.
pub type Answer = (u16, String);

/// How much of a body is read at a time. A few of these are in memory, however long the body is.
const PIECE: usize = 64 * 1024;

/// A request without TLS.
pub struct HttpRequest<'a> {
    /// `GET`, `PATCH`.
    pub method: &'static str,
    /// With the host and the port.
    pub url: String,
    /// Name and value each.
    pub headers: Vec<(&'static str, String)>,
    /// What is sent.
    pub body: HttpContent<'a>,
    /// The longest time until the answer is there.
    pub within: Duration,
}

/// What a request sends.
pub enum HttpContent<'a> {
    /// These bytes.
    Bytes(Vec<u8>),
    /// As many bytes of a reader, which is read while they are sent.
    Stream(&'a mut dyn Read, u64),
}

/// What came back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HttpAnswer {
    /// The status.
    pub status: u16,
    /// Names in small letters, and values.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl HttpAnswer {
    /// The value of a header, by its name in small letters.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// Sends a request. What it reads for the body is read on the caller's thread.
pub async fn send(request: HttpRequest<'_>) -> Result<HttpAnswer, Failure> {
    let within = request.within;
    tokio::time::timeout(within, exchange_streaming(request)).await?
}

async fn exchange_streaming(request: HttpRequest<'_>) -> Result<HttpAnswer, Failure> {
    let (address, authority, path) = parts(&request.url)?;
    converse(TcpStream::connect(address).await?, authority, path, request).await
}

/// The same over a socket of this host. The URL is the path alone.
pub async fn send_over_socket(socket: &str, request: HttpRequest<'_>) -> Result<HttpAnswer, Failure> {
    let (within, path) = (request.within, request.url.clone());
    tokio::time::timeout(within, async {
        converse(UnixStream::connect(socket).await?, "localhost".to_owned(), path, request).await
    })
    .await?
}

/// A request over a connection. The body is read on the caller's thread.
async fn converse<S>(
    stream: S,
    authority: String,
    path: String,
    request: HttpRequest<'_>,
) -> Result<HttpAnswer, Failure>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut builder = Request::builder().method(request.method).uri(path).header("host", authority);
    for (name, value) in request.headers {
        builder = builder.header(name, value);
    }
    let (body, feeding) = match request.body {
        HttpContent::Bytes(bytes) => (Full::new(Bytes::from(bytes)).map_err(|never| match never {}).boxed(), None),
        HttpContent::Stream(reader, length) => {
            builder = builder.header(CONTENT_LENGTH, length);
            let (pieces, body) = channel();
            (body, Some((reader, length, pieces)))
        }
    };
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let mut answering = std::pin::pin!(sender.send_request(builder.body(body)?));
    let answer = match feeding {
        None => answering.await?,
        // A server that refuses answers before it has read everything.
        Some((reader, length, pieces)) => tokio::select! {
            answer = &mut answering => answer?,
            fed = feed(reader, length, pieces) => {
                fed?;
                answering.await?
            }
        },
    };
    let (head, body) = answer.into_parts();
    let body = Limited::new(body, LARGEST_ANSWER).collect().await?.to_bytes().to_vec();
    let headers = head
        .headers
        .iter()
        .filter_map(|(name, value)| Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned())));
    Ok(HttpAnswer { status: head.status.as_u16(), headers: headers.collect(), body })
}

type Piece = Result<Frame<Bytes>, io::Error>;

/// A body whose pieces come through a channel.
fn channel() -> (mpsc::Sender<Piece>, BoxBody<Bytes, io::Error>) {
    let (pieces, receiver) = mpsc::channel::<Piece>(4);
    let stream = stream::unfold(receiver, |mut receiver| async move { Some((receiver.recv().await?, receiver)) });
    (pieces, BodyExt::boxed(StreamBody::new(stream)))
}

/// Reads a body and passes it on.
async fn feed(reader: &mut dyn Read, length: u64, pieces: mpsc::Sender<Piece>) -> io::Result<()> {
    let mut left = length;
    let mut buffer = vec![0; PIECE];
    while left > 0 {
        let most = usize::try_from(left).unwrap_or(PIECE).min(PIECE);
        let count = reader.read(&mut buffer[..most])?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        left -= count as u64;
        if pieces.send(Ok(Frame::data(Bytes::copy_from_slice(&buffer[..count])))).await.is_err() {
            // The connection has ended: the answer, or its failure, tells why.
            break;
        }
    }
    Ok(())
}

/// Where a URL leads: host and port, the same as one word, and the path.
fn parts(url: &str) -> Result<((String, u16), String, String), Failure> {
    let uri: hyper::Uri = url.parse()?;
    let authority = uri.authority().ok_or("the URL has no host")?;
    let address = (authority.host().to_owned(), authority.port_u16().unwrap_or(80));
    let path = uri.path_and_query().map_or("/", |p| p.as_str()).to_owned();
    Ok((address, authority.as_str().to_owned(), path))
}

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
    let (url, body) = (url.to_owned(), HttpContent::Bytes(Vec::new()));
    let answer = send(HttpRequest { method: "GET", url, headers: Vec::new(), body, within: limit }).await?;
    Ok((answer.status, text(&answer.body)))
}

/// A GET with a user's password, or without one. The session that the server opens for it is ended, so that it keeps nothing.
pub async fn visit(url: &str, login: Option<(&str, &str)>, limit: Duration) -> Result<Answer, Failure> {
    tokio::time::timeout(limit, ask_and_leave(url, login)).await?
}

async fn ask_and_leave(url: &str, login: Option<(&str, &str)>) -> Result<Answer, Failure> {
    let (address, authority, path) = parts(url)?;
    let get = |path: &str| Request::get(path).header("host", &authority);
    let (mut sender, connection) = http1::handshake(TokioIo::new(TcpStream::connect(address).await?)).await?;
    tokio::spawn(connection);
    let mut request = get(&path);
    if let Some((user, password)) = login {
        let pair = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
        let mut basic = HeaderValue::from_str(&format!("Basic {pair}"))?;
        basic.set_sensitive(true);
        request = request.header(AUTHORIZATION, basic);
    }
    let (head, body) = sender.send_request(request.body(Full::new(Bytes::new()))?).await?.into_parts();
    let body = Limited::new(body, LARGEST_ANSWER).collect().await?.to_bytes();
    let cookies = head.headers.get_all(SET_COOKIE).iter();
    let sessions: Vec<&str> = cookies.filter_map(|cookie| cookie.to_str().ok()?.split(';').next()).collect();
    if !sessions.is_empty() {
        // The session lives in one instance, and a load balancer leads another connection to another one. The server ends the session before
        // it looks at the rest of the request; its answer does not matter.
        let joint = if path.contains('?') { '&' } else { '?' };
        let end = get(&format!("{path}{joint}IRISLogout=end")).header(COOKIE, sessions.join("; "));
        if let (Ok(end), Ok(())) = (end.body(Full::new(Bytes::new())), sender.ready().await) {
            let _ = sender.send_request(end).await;
        }
    }
    Ok((head.status.as_u16(), text(&body)))
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

#[cfg(test)]
mod tests {
    use std::{
        io::{BufRead, BufReader, Write},
        net::TcpListener,
    };

    use super::*;

    /// The first lines of the requests that come over one connection, each with its cookie and its authorization.
    fn heard(listener: &TcpListener) -> Vec<String> {
        let (mut stream, _) = listener.accept().expect("a connection");
        let mut lines = BufReader::new(stream.try_clone().expect("a handle")).lines();
        let mut requests = Vec::new();
        while let Some(Ok(first)) = lines.next() {
            let headers: Vec<String> =
                lines.by_ref().map_while(Result::ok).take_while(|line| !line.is_empty()).collect();
            let named = headers.iter().filter(|h| h.starts_with("cookie:") || h.starts_with("authorization:"));
            requests.push(named.fold(first, |all, header| format!("{all} {header}")));
            let answer = "HTTP/1.1 200 OK\r\nset-cookie: CSPSESSIONID=abc; path=/x\r\ncontent-length: 4\r\n\r\nbody";
            stream.write_all(answer.as_bytes()).expect("an answer");
        }
        requests
    }

    /// Behind a load balancer each connection may lead to another instance.
    #[test]
    fn a_session_is_ended_over_the_connection_that_it_was_opened_with() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}/x?a=b", listener.local_addr().expect("an address"));
        let server = std::thread::spawn(move || heard(&listener));
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
        let answer = runtime.block_on(visit(&url, Some(("u", "p")), Duration::from_secs(20))).expect("an answer");
        assert_eq!(answer, (200, "body".to_owned()));
        drop(runtime);
        let requests = server.join().expect("no panic");
        assert_eq!(
            requests,
            [
                "GET /x?a=b HTTP/1.1 authorization: Basic dTpw",
                "GET /x?a=b&IRISLogout=end HTTP/1.1 cookie: CSPSESSIONID=abc"
            ]
        );
    }
}
