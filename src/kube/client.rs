//! A client of the API server with MicroK8s' own credentials, made anew when they change or the server restarts.

use std::{path::Path, sync::Mutex, time::Duration};

use kube::{
    Api, Error as KubeError,
    api::{
        ApiResource, AttachParams, AttachedProcess, DeleteParams, DynamicObject, GroupVersionKind, ListParams, Patch,
        PatchParams, PropagationPolicy,
    },
    config::{KubeConfigOptions, Kubeconfig},
};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};

use super::{Kind, MANAGER};
use crate::error::{self, Error, Result};

/// MicroK8s' admin credentials (root and the group `microk8s` may read them).
pub const CLIENT_CONFIG: &str = "/var/snap/microk8s/current/credentials/client.config";

/// What a command in a pod left.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exec {
    /// Its exit code; none = ended by a signal.
    pub code: Option<i32>,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

/// A call that takes longer than this is worth asking again: the server restarts, or its webhook does not answer.
const CALL_WITHIN: Duration = Duration::from_secs(20);

/// So long after it was touched, a file that cannot be used is not being written any more.
const WRITTEN_WITHIN: Duration = Duration::from_secs(10);

/// Whether the credentials were written that short a time ago.
fn written_within(time: Duration) -> bool {
    let written = std::fs::metadata(CLIENT_CONFIG).and_then(|m| m.modified());
    written.is_ok_and(|at| at.elapsed().is_ok_and(|age| age < time))
}

/// The client. Cheap to make: it connects with the first call.
#[derive(Default)]
pub struct Client {
    cached: Mutex<Option<(Vec<u8>, kube::Client)>>,
}

impl Client {
    /// The client of today's credentials.
    async fn connect(&self) -> Result<kube::Client> {
        let config = std::fs::read(Path::new(CLIENT_CONFIG)).map_err(|e| match e.kind() {
            std::io::ErrorKind::NotFound => Error::transient("MicroK8s has no credentials yet").because(CLIENT_CONFIG),
            _ => Error::failed(format!("cannot read {CLIENT_CONFIG}")).caused_by(e),
        })?;
        if let Some((known, client)) = self.cached.lock().ok().and_then(|c| c.clone())
            && known == config
        {
            return Ok(client);
        }
        let unusable = |e: &dyn std::fmt::Display| {
            if written_within(WRITTEN_WITHIN) {
                return Error::transient(format!("{CLIENT_CONFIG} is not usable yet")).because(e);
            }
            Error::failed(format!("{CLIENT_CONFIG} is damaged")).because(e).hint(
                "MicroK8s' own commands need it too: restore it from a backup, or let `sudo microk8s refresh-certs --cert ca.crt` \
                 (before 1.22 without `--cert ca.crt`) make all credentials anew; then run the same command again",
            )
        };
        let text = String::from_utf8(config.clone()).map_err(|e| unusable(&e))?;
        // The parser's own words would show a part of the file, which holds a token.
        let kubeconfig = Kubeconfig::from_yaml(&text).map_err(|_| unusable(&"it is no kubeconfig"))?;
        let mut settings = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
            .await
            .map_err(|e| unusable(&e))?;
        // The server is on this host: a proxy of the environment must not come between.
        settings.proxy_url = None;
        let client = kube::Client::try_from(settings).map_err(|e| unusable(&e))?;
        if let Ok(mut cached) = self.cached.lock() {
            *cached = Some((config, client.clone()));
        }
        Ok(client)
    }

    /// An API handle for a kind, of one namespace or of all.
    pub async fn api(&self, kind: &Kind, namespace: Option<&str>) -> Result<Api<DynamicObject>> {
        let resource =
            ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(kind.group, kind.version, kind.kind), kind.plural);
        let client = self.connect().await?;
        Ok(match namespace {
            Some(namespace) => Api::namespaced_with(client, namespace, &resource),
            None => Api::all_with(client, &resource),
        })
    }

    /// One object.
    pub async fn get(&self, kind: &Kind, namespace: Option<&str>, name: &str) -> Result<Option<Value>> {
        let api = self.api(kind, namespace).await?;
        let what = format!("get {}/{name}", kind.plural);
        let found = within(&what, async {
            match api.get(name).await {
                // Without its kind, the server says so in plain text: only the code tells.
                Err(KubeError::Api(status)) if status.code == 404 => Ok(None),
                other => other.map(Some),
            }
        });
        found.await?.map(|object| to_value(&object)).transpose()
    }

    /// Objects of a kind; none when the kind is not there.
    pub async fn list(&self, kind: &Kind, namespace: Option<&str>, labels: &str) -> Result<Vec<Value>> {
        let api = self.api(kind, namespace).await?;
        let what = format!("list {}", kind.plural);
        let found = within(&what, async {
            match api.list(&ListParams::default().labels(labels)).await {
                Err(KubeError::Api(status)) if status.code == 404 => Ok(Vec::new()),
                Err(e) => Err(e),
                Ok(list) => Ok(list.items),
            }
        });
        found.await?.iter().map(to_value).collect()
    }

    /// Server-side apply.
    pub async fn apply(&self, object: &Value, dry_run: bool) -> Result<Value> {
        let what = format!("apply {}", super::describe(object));
        let kind =
            super::kind_of(object).ok_or_else(|| Error::new(error::ExitCode::Bug, format!("{what}: unknown kind")))?;
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        let api = self.api(kind, object["metadata"]["namespace"].as_str()).await?;
        let params = PatchParams { dry_run, ..PatchParams::apply(MANAGER).force() };
        to_value(&within(&what, api.patch(name, &params, &Patch::Apply(object))).await?)
    }

    /// A merge patch.
    pub async fn patch(&self, kind: &Kind, namespace: Option<&str>, name: &str, patch: &Value) -> Result<()> {
        let api = self.api(kind, namespace).await?;
        within(&format!("patch {}/{name}", kind.plural), async {
            match api.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await {
                Err(KubeError::Api(status)) if status.code == 404 => Ok(()),
                other => other.map(|_| ()),
            }
        })
        .await
    }

    /// Deletes an object; what it owns goes first.
    pub async fn delete(&self, kind: &Kind, namespace: Option<&str>, name: &str) -> Result<()> {
        let api = self.api(kind, namespace).await?;
        let params =
            DeleteParams { propagation_policy: Some(PropagationPolicy::Foreground), ..DeleteParams::default() };
        within(&format!("delete {}/{name}", kind.plural), async {
            match api.delete(name, &params).await {
                Err(KubeError::Api(status)) if status.code == 404 => Ok(()),
                other => other.map(|_| ()),
            }
        })
        .await
    }

    /// Runs a command in a container to its end.
    pub async fn exec(&self, namespace: &str, pod: &str, container: &str, argv: &[&str], stdin: &str) -> Result<Exec> {
        let api: Api<k8s_openapi::api::core::v1::Pod> = Api::namespaced(self.connect().await?, namespace);
        let what = format!("exec {} in pod {pod}", argv.first().unwrap_or(&""));
        let params = AttachParams::default().container(container).stdin(!stdin.is_empty());
        let run = async {
            let process = api.exec(pod, argv.iter().copied(), &params).await.map_err(|e| error::chain(&e))?;
            finish(process, stdin).await
        };
        let cannot = |why: String| Error::transient(format!("{what}: it cannot be run")).because(why);
        match tokio::time::timeout(CALL_WITHIN, run).await {
            Ok(ended) => ended.map_err(cannot),
            Err(_) => Err(cannot(format!("it did not end within {} s", CALL_WITHIN.as_secs()))),
        }
    }

    /// A plain GET.
    pub async fn text(&self, path: &str) -> Result<String> {
        let client = self.connect().await?;
        let request = hyper::Request::get(path)
            .body(Vec::new())
            .map_err(|e| Error::new(error::ExitCode::Bug, format!("GET {path}")).caused_by(e))?;
        within(&format!("GET {path}"), client.request_text(request)).await
    }
}

/// Gives a process what it reads, and takes what it writes and how it ends.
async fn finish(mut process: AttachedProcess, stdin: &str) -> Result<Exec, String> {
    let status = process.take_status();
    let (mut writer, stdout, stderr) = (process.stdin(), process.stdout(), process.stderr());
    if let Some(writer) = &mut writer {
        // Who has ended reads no more.
        let _ = writer.write_all(stdin.as_bytes()).await;
    }
    let (stdout, stderr) = tokio::join!(all_of(stdout), all_of(stderr));
    // Up to 1.29 an API server knows no end of what is read: to close this end closes the whole connection, with the answer in it.
    drop(writer);
    let status = match status {
        Some(status) => status.await,
        None => None,
    };
    let status = status.ok_or("its connection was lost")?;
    let causes = status.details.and_then(|d| d.causes).unwrap_or_default();
    let code = causes.iter().find(|c| c.reason.as_deref() == Some("ExitCode")).and_then(|c| c.message.as_ref());
    match (status.status.as_deref(), code.and_then(|code| code.parse().ok())) {
        (Some("Success"), _) => Ok(Exec { code: Some(0), stdout, stderr }),
        (_, Some(code)) => Ok(Exec { code: Some(code), stdout, stderr }),
        _ => Err(status.message.unwrap_or_default()),
    }
}

async fn all_of(stream: Option<impl AsyncRead + Unpin>) -> String {
    let mut bytes = Vec::new();
    if let Some(mut stream) = stream {
        // What came before a connection is lost is all that there is.
        let _ = stream.read_to_end(&mut bytes).await;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Waits for an answer, not for ever, and puts refusals into our words.
async fn within<T>(what: &str, call: impl Future<Output = Result<T, KubeError>>) -> Result<T> {
    match tokio::time::timeout(CALL_WITHIN, call).await {
        Err(_) => Err(Error::transient("the API server does not answer")
            .because(format!("{what}: no answer within {} s", CALL_WITHIN.as_secs()))),
        Ok(Ok(value)) => Ok(value),
        Ok(Err(KubeError::Api(status))) => {
            // 5xx and 429: the server or a webhook behind it is not up yet; 401 while it makes its certificates anew; 409:
            // somebody else wrote at the same time.
            let passing = status.code >= 500 || matches!(status.code, 401 | 409 | 429);
            let message = format!("{what}: {} ({})", status.message, status.code);
            Err(Error { transient: passing, ..Error::failed("the API server refused").because(message) })
        }
        Ok(Err(e)) => {
            Err(Error::transient("the API server does not answer").because(format!("{what}: {}", error::chain(&e))))
        }
    }
}

fn to_value(object: &DynamicObject) -> Result<Value> {
    serde_json::to_value(object)
        .map_err(|e| Error::new(error::ExitCode::Bug, "an object of the API is not JSON").caused_by(e))
}
