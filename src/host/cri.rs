//! containerd over its socket, as kubelet speaks with it: so mirrors, logins and proxies that MicroK8s' containerd knows of hold here, too. A
//! pull that nobody waits for any more ends, and the next one goes on with what it has fetched.

use std::{io, ops::ControlFlow, time::Duration};

use hyper::http::uri::PathAndQuery;
use hyper_util::rt::TokioIo;
use prost::Message;
use tokio::net::UnixStream;
use tonic::{
    Code, Request, Status,
    client::Grpc,
    metadata::MetadataValue,
    transport::{Channel, Endpoint, Error as TransportError},
};
use tonic_prost::ProstCodec;
use tower::service_fn;

use super::poll;
use crate::{
    error::{Error, ExitCode, Result},
    host::Progress,
    host::microk8s,
    kube::pull,
};

/// Of so many looks one is told: nobody reads faster.
const TOLD_EACH: u32 = 5;

/// containerd answers at once, unless it has just been started.
const ANSWER_WITHIN: Duration = Duration::from_secs(20);

/// The image service, newest name first: Kubernetes 1.26 no longer speaks the older one, containerd before 1.6 not yet the newer one.
const SERVICES: [&str; 2] = ["runtime.v1.ImageService", "runtime.v1alpha2.ImageService"];

/// `ImageSpec`
#[derive(Clone, PartialEq, Message)]
struct Name {
    #[prost(string, tag = "1")]
    image: String,
}

/// `ImageStatusRequest` and `PullImageRequest`
#[derive(Clone, PartialEq, Message)]
struct Asked {
    #[prost(message, optional, tag = "1")]
    image: Option<Name>,
}

/// `Image`
#[derive(Clone, PartialEq, Message)]
struct Image {
    #[prost(string, tag = "1")]
    id: String,
}

/// `ImageStatusResponse`
#[derive(Clone, PartialEq, Message)]
struct Found {
    #[prost(message, optional, tag = "1")]
    image: Option<Image>,
}

/// `PullImageResponse`
#[derive(Clone, PartialEq, Message)]
struct Pulled {
    #[prost(string, tag = "1")]
    image_ref: String,
}

/// `ListContentStatusesRequest` of containerd's own content service
#[derive(Clone, PartialEq, Message)]
struct Everything {}

/// `Status` of what is being fetched
#[derive(Clone, PartialEq, Message)]
struct Fetching {
    #[prost(string, tag = "3")]
    name: String,
    #[prost(int64, tag = "4")]
    offset: i64,
    #[prost(int64, tag = "5")]
    total: i64,
}

/// `ListContentStatusesResponse`
#[derive(Clone, PartialEq, Message)]
struct Statuses {
    #[prost(message, repeated, tag = "1")]
    statuses: Vec<Fetching>,
}

/// Whether there is an image of that name.
pub async fn is_there(name: &str) -> Result<bool> {
    let mut client = connect(microk8s::CONTAINERD).await?;
    let found = tokio::time::timeout(ANSWER_WITHIN, client.image::<Found>("ImageStatus", name)).await;
    let found = found.map_err(|_| away(&"no answer"))?.map_err(|status| away(&status))?;
    Ok(found.image.is_some_and(|image| !image.id.is_empty()))
}

/// Pulls an image; `seen` hears how far it is.
pub async fn pull(
    name: &str,
    seen: &mut dyn FnMut(&str, Option<Progress>) -> ControlFlow<()>,
    stopping: impl Fn() -> bool,
) -> Result<()> {
    let mut client = connect(microk8s::CONTAINERD).await?;
    let mut watching = client.clone();
    let mut bytes = Bytes::default();
    let mut looks = 0;
    let mut pulling = std::pin::pin!(client.image::<Pulled>("PullImage", name));
    loop {
        tokio::select! {
            pulled = &mut pulling => return pulled.map(drop).map_err(|status| failed(name, &status)),
            // containerd tells nobody by itself how far it is.
            () = poll::again() => {}
        }
        if stopping() {
            return Err(Error::new(ExitCode::Interrupted, "interrupted").hint("run the same command again: it resumes"));
        }
        looks += 1;
        if looks % TOLD_EACH != 0 {
            continue;
        }
        if let Ok(Ok(statuses)) = tokio::time::timeout(ANSWER_WITHIN, watching.fetching()).await {
            bytes.note(&statuses);
        }
        if seen(&format!("pulls {name}"), bytes.progress()).is_break() {
            return Err(Error::new(ExitCode::TimedOut, format!("image {name}: not pulled in time"))
                .hint("what was fetched is kept: run the same command again: it resumes"));
        }
    }
}

/// What a refused pull means.
fn failed(name: &str, status: &Status) -> Error {
    match status.code() {
        // containerd ends, or begins.
        Code::Unavailable | Code::Cancelled => away(status),
        _ => pull::refused(name, status.message()),
    }
}

fn away(why: &dyn std::fmt::Display) -> Error {
    Error::transient("containerd does not answer yet").because(format!("{}: {why}", microk8s::CONTAINERD))
}

/// What the layers of a pull have brought so far. A layer that is whole is not told of any more.
#[derive(Default)]
struct Bytes(std::collections::BTreeMap<String, (u64, u64)>);

impl Bytes {
    fn note(&mut self, statuses: &[Fetching]) {
        let now = |name: &str| statuses.iter().any(|s| s.name == name);
        for (name, (done, total)) in &mut self.0 {
            if !now(name) {
                *done = *total;
            }
        }
        for status in statuses.iter().filter(|s| s.total > 0) {
            let number = |n: i64| u64::try_from(n).unwrap_or_default();
            self.0.insert(status.name.clone(), (number(status.offset), number(status.total)));
        }
    }

    fn progress(&self) -> Option<Progress> {
        let sum = |of: fn(&(u64, u64)) -> u64| self.0.values().map(of).sum();
        let (done, total) = (sum(|(done, _)| *done), sum(|(_, total)| *total));
        (total > 0).then_some(Progress { done, total, unit: "bytes" })
    }
}

/// A connection to containerd.
#[derive(Clone)]
struct Client(Grpc<Channel>);

async fn connect(socket: &'static str) -> Result<Client> {
    let connector =
        service_fn(move |_| async move { io::Result::Ok(TokioIo::new(UnixStream::connect(socket).await?)) });
    // The name is of no consequence: the socket is its own address.
    let connected = Endpoint::from_static("http://containerd").connect_with_connector(connector).await;
    let channel = connected.map_err(|e| away(&innermost(&e)))?;
    Ok(Client(Grpc::new(channel)))
}

/// tonic itself only says "transport error".
fn innermost(e: &TransportError) -> String {
    let mut e: &dyn std::error::Error = e;
    while let Some(source) = e.source() {
        e = source;
    }
    e.to_string()
}

impl Client {
    /// Asks the image service by the name that it has here.
    async fn image<T: Message + Default + 'static>(&mut self, method: &str, name: &str) -> Result<T, Status> {
        let mut answer = Err(Status::unimplemented("no image service"));
        for service in SERVICES {
            let asked = Asked { image: Some(Name { image: name.to_owned() }) };
            answer = self.call(service, method, Request::new(asked)).await;
            if !answer.as_ref().is_err_and(|status| status.code() == Code::Unimplemented) {
                break;
            }
        }
        answer
    }

    /// What containerd fetches right now for Kubernetes.
    async fn fetching(&mut self) -> Result<Vec<Fetching>, Status> {
        let mut request = Request::new(Everything {});
        request.metadata_mut().insert("containerd-namespace", MetadataValue::from_static("k8s.io"));
        let answer: Statuses = self.call("containerd.services.content.v1.Content", "ListStatuses", request).await?;
        Ok(answer.statuses)
    }

    async fn call<Q, A>(&mut self, service: &str, method: &str, request: Request<Q>) -> Result<A, Status>
    where
        Q: Message + 'static,
        A: Message + Default + 'static,
    {
        let path =
            PathAndQuery::try_from(format!("/{service}/{method}")).map_err(|e| Status::internal(e.to_string()))?;
        self.0.ready().await.map_err(|e| Status::unavailable(innermost(&e)))?;
        Ok(self.0.unary(request, path, ProstCodec::<Q, A>::default()).await?.into_inner())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fetching(name: &str, offset: i64, total: i64) -> Fetching {
        Fetching { name: name.to_owned(), offset, total }
    }

    #[test]
    fn a_layer_that_is_whole_counts_although_it_is_told_of_no_more() {
        let mut bytes = Bytes::default();
        assert_eq!(bytes.progress(), None);
        bytes.note(&[fetching("manifest", 3, 0), fetching("layer-a", 10, 100), fetching("layer-b", 0, 50)]);
        assert_eq!(bytes.progress(), Some(Progress { done: 10, total: 150, unit: "bytes" }));
        bytes.note(&[fetching("layer-b", 20, 50)]);
        assert_eq!(bytes.progress(), Some(Progress { done: 120, total: 150, unit: "bytes" }));
    }

    /// As Kubernetes' and containerd's own files of protocols number the fields.
    #[test]
    fn messages_are_as_on_the_wire() {
        let asked = Asked { image: Some(Name { image: "a:1".to_owned() }) };
        assert_eq!(asked.encode_to_vec(), b"\x0a\x05\x0a\x03a:1");
        let found = Found::decode(&b"\x0a\x0c\x0a\x03x:1\x12\x05a:1,b"[..]).expect("an answer");
        assert_eq!(found.image.map(|image| image.id), Some("x:1".to_owned()));
        assert_eq!(Found::decode(&b""[..]).expect("an answer").image, None);
        let statuses = Statuses::decode(&b"\x0a\x09\x1a\x03l-a\x20\x05\x28\x09"[..]).expect("an answer");
        assert_eq!(statuses.statuses, [fetching("l-a", 5, 9)]);
    }

    #[test]
    fn who_is_about_to_end_or_to_begin_is_asked_again() {
        assert!(failed("a:1", &Status::unavailable("server is not initialized yet")).transient);
        assert!(!failed("a:1", &Status::not_found("a:1: not found")).transient);
    }
}
