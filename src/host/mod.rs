//! The one seam for every touch of the host: commands, files, snapd, the cluster's API, the clock.
//!
//! [`Real`] is the host we run on. Tests bring a modelled one.

use std::{
    collections::BTreeMap,
    io::Read,
    net::Ipv4Addr,
    ops::ControlFlow,
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::Value;

use crate::{
    config::lb_range::LbRange,
    error::{Error, Result},
    kube::Kind,
};

mod command;
mod cri;
pub mod digest;
mod disk;
pub mod download;
mod files;
mod http;
mod kill;
mod leftover;
mod log;
pub mod microk8s;
mod mount_points;
mod names;
pub mod neighbours;
pub mod poll;
mod programs;
mod reach;
mod real;
mod remove;
mod signals;
mod snapd;
mod values;
mod watch;
pub mod web;

pub use command::{Cmd, Effect, Output};
pub use files::set_umask;
pub use http::{HttpAnswer, HttpContent, HttpRequest, send};
pub use kill::began;
pub use log::{DIR as LOG_DIR, Log, is_log, run_name};
pub use mount_points::{mount_points, mounts};
pub use programs::PATH;
pub use real::Real;
pub use snapd::{doing, refusal as snapd_refusal};
pub use values::{
    Changes, Download, FileKind, FileWrite, Heard, Leftover, Process, Progress, SnapdChange, Upload, Watch,
};

pub use crate::kube::CLIENT_CONFIG;

/// Everything that a step may read and the engine may do.
pub trait Host: Send + Sync {
    /// Runs a command to its end. Its exit code is the caller's to judge. Who listens may end it, with its process group, by
    /// breaking off; its exit code is then none.
    ///
    /// # Errors
    /// It could not be started, or it passed its deadline and was ended with its process group.
    fn run(&self, cmd: &Cmd, listen: &mut dyn FnMut(Heard<'_>) -> ControlFlow<()>) -> Result<Output>;

    /// Runs a command that answers at once.
    ///
    /// # Errors
    /// As for [`Host::run`].
    fn ask(&self, cmd: &Cmd) -> Result<Output> {
        self.run(cmd, &mut |_| ControlFlow::Continue(()))
    }

    /// Runs a command that reads all of a source. Who listens may end it, as with [`Host::run`]. A host of a test has no such command unless it
    /// says otherwise.
    ///
    /// # Errors
    /// As for [`Host::run`]; or the source cannot be read.
    fn pipe(
        &self,
        cmd: &Cmd,
        _source: &mut (dyn Read + Send),
        _listen: &mut dyn FnMut(Heard<'_>) -> ControlFlow<()>,
    ) -> Result<Output> {
        Err(Error::no_program(&cmd.argv[0]))
    }

    /// A file's content; none when there is no such file.
    ///
    /// # Errors
    /// It is there and cannot be read.
    fn read(&self, path: &Path) -> Result<Option<Vec<u8>>>;

    /// Whether something has that name (a dangling link too).
    fn exists(&self, path: &Path) -> bool;

    /// Where a symbolic link points; none when it is none.
    fn link(&self, path: &Path) -> Option<PathBuf>;

    /// What something is; none when there is nothing of that name.
    ///
    /// # Errors
    /// It cannot be looked at.
    fn kind(&self, path: &Path) -> Result<Option<FileKind>>;

    /// Names in a directory; empty when there is none.
    fn names(&self, dir: &Path) -> Vec<String>;

    /// Writes a file whole (a temporary file beside it, renamed).
    ///
    /// # Errors
    /// The file system refuses.
    fn write(&self, file: &FileWrite) -> Result<()>;

    /// Removes a file or directory; one that is gone is no error. No link is followed, and no mount is crossed.
    ///
    /// # Errors
    /// The file system refuses, or something is mounted in it: then nothing of it is removed.
    fn remove(&self, path: &Path, all: bool) -> Result<()>;

    /// Reads from snapd; none when it answers 404.
    ///
    /// # Errors
    /// snapd does not answer, or refuses.
    fn snapd_get(&self, path: &str) -> Result<Option<Value>>;

    /// Starts a change in snapd and follows it to its end, or until who sees it breaks off: snapd goes on by itself then.
    ///
    /// # Errors
    /// snapd refuses, the change fails (its tasks' last words are the cause), or it was not followed to its end.
    fn snapd_change(
        &self,
        change: &SnapdChange,
        seen: &mut dyn FnMut(&str, Option<Progress>) -> ControlFlow<()>,
    ) -> Result<()>;

    /// Gives snapd a snap with its assertions, and follows the installation as [`Host::snapd_change`] does. The snapd of a test takes none unless
    /// it says otherwise.
    ///
    /// # Errors
    /// snapd refuses, the installation fails, or it was not followed to its end.
    fn snapd_upload(
        &self,
        upload: Upload<'_>,
        _seen: &mut dyn FnMut(&str, Option<Progress>) -> ControlFlow<()>,
    ) -> Result<()> {
        Err(Error::failed("snapd refused").because(upload.shown))
    }

    /// Whether MicroK8s' containerd has an image of that name.
    ///
    /// # Errors
    /// containerd does not answer (transient).
    fn has_image(&self, name: &str) -> Result<bool>;

    /// Pulls an image as kubelet does, or until who sees it breaks off: what was fetched is kept, and the next pull goes on with it.
    ///
    /// # Errors
    /// containerd or the registry does not answer (transient), or the registry refuses.
    fn pull(&self, name: &str, seen: &mut dyn FnMut(&str, Option<Progress>) -> ControlFlow<()>) -> Result<()>;

    /// One object; none when it, its namespace or its kind is not there.
    ///
    /// # Errors
    /// The API server does not answer (transient) or refuses.
    fn get(&self, kind: &'static Kind, namespace: Option<&str>, name: &str) -> Result<Option<Value>>;

    /// Objects of a kind, of one namespace or of all, with a label selector or without.
    ///
    /// # Errors
    /// As for [`Host::get`].
    fn list(&self, kind: &'static Kind, namespace: Option<&str>, labels: &str) -> Result<Vec<Value>>;

    /// Server-side apply; with `dry_run` the server only says what would come of it.
    ///
    /// # Errors
    /// As for [`Host::get`]; a webhook that does not answer is transient.
    fn apply(&self, object: &Value, dry_run: bool) -> Result<Value>;

    /// Changes some fields of an object (merge patch); one that is gone is no error.
    ///
    /// # Errors
    /// As for [`Host::get`].
    fn patch(&self, kind: &'static Kind, namespace: Option<&str>, name: &str, patch: &Value) -> Result<()>;

    /// Deletes an object; one that is gone is no error.
    ///
    /// # Errors
    /// As for [`Host::get`].
    fn delete(&self, kind: &'static Kind, namespace: Option<&str>, name: &str) -> Result<()>;

    /// The body of a plain GET on the API server, e.g. `/readyz`, or a pod's log.
    ///
    /// # Errors
    /// As for [`Host::get`].
    fn api_text(&self, path: &str) -> Result<String>;

    /// Runs a command in a container of a pod, as its user; it reads `stdin`, and must end by itself. For looking only.
    ///
    /// # Errors
    /// The container does not run, or the command does not end (transient).
    fn exec(&self, namespace: &str, pod: &str, container: &str, argv: &[&str], stdin: &str) -> Result<Output>;

    /// An HTTP GET without TLS: status and body.
    ///
    /// # Errors
    /// Nobody answers (transient).
    fn http_get(&self, url: &str) -> Result<(u16, String)>;

    /// The status of an HTTP GET without TLS with a user's password (`Basic`); the session that it opens is ended. Neither is written
    /// into a log. A web application of a test is not there unless it says otherwise.
    ///
    /// # Errors
    /// Nobody answers (transient).
    fn login(&self, url: &str, user: &str, password: &str) -> Result<u16> {
        self.visit(url, Some((user, password))).map(|(status, _)| status)
    }

    /// The same with the body of the answer, and also without a user.
    ///
    /// # Errors
    /// Nobody answers (transient).
    fn visit(&self, _url: &str, _login: Option<(&str, &str)>) -> Result<(u16, String)> {
        Ok((404, String::new()))
    }

    /// A request to a service of this host, without TLS. Nobody answers on a host of a test unless it says otherwise.
    ///
    /// # Errors
    /// Nobody answers, or not to the end (transient).
    fn http(&self, request: HttpRequest<'_>) -> Result<HttpAnswer> {
        Err(Error::transient(format!("{} does not answer", request.url)))
    }

    /// Fetches a file over HTTPS and writes it when it is the right one.
    ///
    /// # Errors
    /// It could not be downloaded, or its checksum is a different one (never transient: trying again would not help).
    fn download(&self, file: &Download) -> Result<()>;

    /// Whether a TCP connection can be made; nothing is sent. A host of a test reaches everybody unless it says otherwise.
    ///
    /// # Errors
    /// The name is not known, nobody listens there, or nobody answers in time (transient).
    fn reach(&self, _name: &str, _port: u16) -> Result<()> {
        Ok(())
    }

    /// The number of IPv4 addresses that a name server has for a name. Servers of a test know no name unless it says otherwise.
    ///
    /// # Errors
    /// The server does not answer (transient).
    fn ask_name(&self, _server: Ipv4Addr, _name: &str) -> Result<usize> {
        Ok(0)
    }

    /// How long each of so many small writes takes until it is on the disk, for about so long at the most. They leave nothing behind.
    /// The disk of a test is not measured unless it says otherwise.
    ///
    /// # Errors
    /// Nothing can be written there that way.
    fn sync_latency(&self, _folder: &Path, _writes: u32, _within: Duration) -> Result<Vec<Duration>> {
        Ok(Vec::new())
    }

    /// Addresses of the range that other machines of the LAN answer for, each with the MAC. A host of a test is alone on its LAN
    /// unless it says otherwise.
    ///
    /// # Errors
    /// The question cannot be sent.
    fn neighbours(&self, _range: &LbRange) -> Result<BTreeMap<Ipv4Addr, String>> {
        Ok(BTreeMap::new())
    }

    /// Starts to watch; keep the watch as long as the wait lasts, so that nothing between two looks is missed.
    fn watch(&self, what: &[Watch]) -> Box<dyn Changes>;

    /// Commands of an earlier, killed run that still change the host.
    fn leftovers(&self) -> Vec<Leftover>;

    /// Ends a process group: asks first, kills after a while.
    fn end(&self, group: &Leftover);

    /// Kills processes, and waits for their end. One that is gone is no error; one whose number is another process' by now is left alone.
    ///
    /// # Errors
    /// One of them does not end.
    fn kill(&self, processes: &[Process]) -> Result<()>;

    /// Whether it may be asked several things at a time. A host of a test is asked one after the other unless it says otherwise.
    fn takes_questions_abreast(&self) -> bool {
        false
    }

    /// A clock that only goes forward.
    fn now(&self) -> Duration;

    /// Seconds since 1970, for time stamps that others read.
    fn unix_time(&self) -> u64;

    /// Whether the person asked us to stop.
    fn stopping(&self) -> bool;
}
