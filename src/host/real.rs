//! The host we run on. What changes it is written into the log of the run.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Read},
    net::Ipv4Addr,
    ops::ControlFlow,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use serde_json::Value;
use tokio::{runtime::Runtime, sync::watch};

use super::{
    Changes, Cmd, Effect, FileKind, FileWrite, Host, HttpAnswer, HttpRequest, Leftover, Log, Output, Process, Upload,
    Watch, cri, download, files, http, kill, leftover,
    programs::{Listener, Programs, end_group},
    remove, run_name,
    signals::{self, Groups, Manner},
    snapd,
    watch::Bell,
};
use crate::{
    config::lb_range::LbRange,
    error::{Error, ExitCode, Result},
    host::{Download, Progress, SnapdChange, neighbours},
    kube::{self, Client, Kind},
};

/// The kernel asks three times, a second apart; who is silent then has not got the address.
const NEIGHBOURS_WITHIN: Duration = Duration::from_secs(3);

/// The host.
pub struct Real {
    runtime: Runtime,
    client: Arc<Client>,
    start: Instant,
    level: watch::Receiver<u8>,
    programs: Programs,
    log: Log,
}

impl Real {
    /// The host for a run that changes it: the first SIGINT, SIGTERM or SIGHUP asks us to stop after the running act, the second one also
    /// ends its process group, the third one ends us. `told` hears of the first two.
    ///
    /// # Errors
    /// The runtime cannot be started.
    pub fn new(run: &str, told: impl Fn(&str) + Send + Sync + 'static) -> Result<Self> {
        Self::with(run, Manner::Stops(Box::new(told)))
    }

    /// The host for a command that only looks: the first signal ends it, with exit code 130 and the commands that it runs. `told` hears of it.
    ///
    /// # Errors
    /// The runtime cannot be started.
    pub fn looking(command: &str, told: fn()) -> Result<Self> {
        Self::with(&run_name(command), Manner::Ends(told))
    }

    fn with(run: &str, manner: Manner) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.map_err(|e| Error::new(ExitCode::Bug, "cannot start the runtime").caused_by(e))?;
        let groups = Groups::default();
        let level = signals::listen(&runtime, Arc::clone(&groups), manner)
            .map_err(|e| Error::new(ExitCode::Bug, "cannot listen for signals").caused_by(e))?;
        Ok(Self {
            runtime,
            client: Arc::new(Client::default()),
            start: Instant::now(),
            level,
            programs: Programs::new(run, groups),
            log: Log::new(run),
        })
    }

    /// The log of this run.
    pub fn log(&self) -> &Log {
        &self.log
    }
}

impl Host for Real {
    fn run(&self, cmd: &Cmd, listen: Listener<'_>) -> Result<Output> {
        if cmd.effect == Effect::Changes {
            // Its end may never come.
            self.log.change(&format!("$ {} ...", cmd.show()));
        }
        let result = self.programs.run(cmd, listen);
        match &result {
            Ok(output) => self.log.command(cmd, output),
            Err(e) => self.log.failed(cmd, e),
        }
        result
    }

    fn pipe(&self, cmd: &Cmd, source: &mut (dyn Read + Send), listen: Listener<'_>) -> Result<Output> {
        self.log.change(&format!("$ {} ...", cmd.show()));
        let result = self.programs.run_fed(cmd, source, listen);
        match &result {
            Ok(output) => self.log.command(cmd, output),
            Err(e) => self.log.failed(cmd, e),
        }
        result
    }

    fn read(&self, path: &Path) -> Result<Option<Vec<u8>>> {
        match fs::read(path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(e) if matches!(e.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) => Ok(None),
            Err(e) => Err(Error::failed(format!("cannot read {}", path.display())).caused_by(e)),
        }
    }

    fn exists(&self, path: &Path) -> bool {
        path.symlink_metadata().is_ok()
    }

    fn link(&self, path: &Path) -> Option<PathBuf> {
        fs::read_link(path).ok()
    }

    fn kind(&self, path: &Path) -> Result<Option<FileKind>> {
        match path.symlink_metadata() {
            Ok(meta) if meta.is_symlink() => Ok(Some(FileKind::Link)),
            Ok(meta) if meta.is_dir() => Ok(Some(FileKind::Directory)),
            Ok(meta) if meta.is_file() => Ok(Some(FileKind::File)),
            Ok(_) => Ok(Some(FileKind::Other)),
            Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
            Err(e) => Err(Error::failed(format!("cannot look at {}", path.display())).caused_by(e)),
        }
    }

    fn names(&self, dir: &Path) -> Vec<String> {
        let entries = fs::read_dir(dir).into_iter().flatten().flatten();
        let mut names: Vec<String> = entries.map(|e| e.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    fn write(&self, file: &FileWrite) -> Result<()> {
        self.log.change(&format!("write {} (mode {:04o})", file.path.display(), file.mode));
        files::write(file)
    }

    fn remove(&self, path: &Path, all: bool) -> Result<()> {
        self.log.change(&format!("remove {}", path.display()));
        let removed = remove::remove(path, all).and_then(|()| files::sync_parent(path));
        removed.map_err(|e| Error::failed(format!("cannot remove {}", path.display())).caused_by(e))
    }

    fn snapd_get(&self, path: &str) -> Result<Option<Value>> {
        self.runtime.block_on(snapd::get(path))
    }

    fn snapd_change(
        &self,
        change: &SnapdChange,
        seen: &mut dyn FnMut(&str, Option<Progress>) -> ControlFlow<()>,
    ) -> Result<()> {
        self.log.change(&format!("snapd: {} {} (`{}`)", change.method, change.path, change.shown));
        let result = self.runtime.block_on(snapd::change(change, seen, || self.stopping()));
        self.log.change(
            &result.as_ref().map_or_else(ToString::to_string, |()| format!("snapd: done (`{}`)", change.shown)),
        );
        result
    }

    fn snapd_upload(
        &self,
        upload: Upload<'_>,
        seen: &mut dyn FnMut(&str, Option<Progress>) -> ControlFlow<()>,
    ) -> Result<()> {
        let shown = upload.shown.clone();
        self.log.change(&format!("snapd: `{shown}`"));
        let result = self.runtime.block_on(snapd::upload(upload, seen, || self.stopping()));
        self.log.change(&result.as_ref().map_or_else(ToString::to_string, |()| format!("snapd: done (`{shown}`)")));
        result
    }

    fn has_image(&self, name: &str) -> Result<bool> {
        self.runtime.block_on(cri::is_there(name))
    }

    fn pull(&self, name: &str, seen: &mut dyn FnMut(&str, Option<Progress>) -> ControlFlow<()>) -> Result<()> {
        self.log.change(&format!("pull {name}"));
        let result = self.runtime.block_on(cri::pull(name, seen, || self.stopping()));
        self.log.change(&format!(
            "pull {name}: {}",
            result.as_ref().map_or_else(ToString::to_string, |()| "done".to_owned())
        ));
        result
    }

    fn get(&self, kind: &'static Kind, namespace: Option<&str>, name: &str) -> Result<Option<Value>> {
        self.runtime.block_on(self.client.get(kind, namespace, name))
    }

    fn list(&self, kind: &'static Kind, namespace: Option<&str>, labels: &str) -> Result<Vec<Value>> {
        self.runtime.block_on(self.client.list(kind, namespace, labels))
    }

    fn apply(&self, object: &Value, dry_run: bool) -> Result<Value> {
        let result = self.runtime.block_on(self.client.apply(object, dry_run));
        if !dry_run {
            let end = result.as_ref().err().map(|e| format!(": {e}")).unwrap_or_default();
            self.log.change(&format!("apply {}{end}", kube::describe(object)));
        }
        result
    }

    fn patch(&self, kind: &'static Kind, namespace: Option<&str>, name: &str, patch: &Value) -> Result<()> {
        self.log.change(&format!("patch {} {}/{name}: {patch}", kind.kind, namespace.unwrap_or("-")));
        self.runtime.block_on(self.client.patch(kind, namespace, name, patch))
    }

    fn delete(&self, kind: &'static Kind, namespace: Option<&str>, name: &str) -> Result<()> {
        self.log.change(&format!("delete {} {}/{name}", kind.kind, namespace.unwrap_or("-")));
        self.runtime.block_on(self.client.delete(kind, namespace, name))
    }

    fn api_text(&self, path: &str) -> Result<String> {
        self.runtime.block_on(self.client.text(path))
    }

    fn exec(&self, namespace: &str, pod: &str, container: &str, argv: &[&str], stdin: &str) -> Result<Output> {
        self.runtime.block_on(self.client.exec(namespace, pod, container, argv, stdin)).map(Output::from)
    }

    fn http_get(&self, url: &str) -> Result<(u16, String)> {
        let answer = self.runtime.block_on(http::get(url, Duration::from_secs(5)));
        answer.map_err(|e| Error::transient(format!("{url} does not answer")).caused_by(e))
    }

    fn visit(&self, url: &str, login: Option<(&str, &str)>) -> Result<(u16, String)> {
        let answer = self.runtime.block_on(http::visit(url, login, Duration::from_secs(5)));
        answer.map_err(|e| Error::transient(format!("{url} does not answer")).caused_by(e))
    }

    fn http(&self, request: HttpRequest<'_>) -> Result<HttpAnswer> {
        let url = request.url.clone();
        if !matches!(request.method, "GET" | "HEAD") {
            // What follows the path is the registry's own note of an upload.
            self.log.change(&format!("{} {}", request.method, url.split('?').next().unwrap_or_default()));
        }
        let answer = self.runtime.block_on(http::send(request));
        answer.map_err(|e| Error::transient(format!("{url} does not answer")).caused_by(e))
    }

    fn download(&self, file: &Download) -> Result<()> {
        self.log.change(&format!("download {} to {}", file.url, file.path.display()));
        let bytes = download::fetch(&file.url, &file.sha256)?;
        self.write(&FileWrite { path: file.path.clone(), bytes, mode: 0o644, owner: None, secret: false, keeps: false })
    }

    fn reach(&self, name: &str, port: u16) -> Result<()> {
        super::reach::reach(name, port)
    }

    fn ask_name(&self, server: Ipv4Addr, name: &str) -> Result<usize> {
        super::names::ask(server, 53, name)
    }

    fn sync_latency(&self, folder: &Path, writes: u32, within: Duration) -> Result<Vec<Duration>> {
        let taken = super::disk::sync_latency(folder, writes, within);
        taken.map_err(|e| Error::failed(format!("the disk below {} cannot be measured", folder.display())).caused_by(e))
    }

    fn neighbours(&self, range: &LbRange) -> Result<BTreeMap<Ipv4Addr, String>> {
        let answers = neighbours::in_use(range, NEIGHBOURS_WITHIN);
        answers.map_err(|e| Error::failed("could not check the LAN for addresses in use").caused_by(e))
    }

    fn watch(&self, what: &[Watch]) -> Box<dyn Changes> {
        Box::new(Bell::new(self.runtime.handle(), &self.client, self.level.clone(), what))
    }

    fn leftovers(&self) -> Vec<Leftover> {
        leftover::find()
    }

    fn end(&self, group: &Leftover) {
        end_group(group.group);
    }

    fn kill(&self, processes: &[Process]) -> Result<()> {
        for process in processes {
            self.log.change(&format!("kill process {} ({})", process.pid, process.name));
        }
        kill::kill(processes).map_err(|e| Error::failed("not all processes could be ended").caused_by(e))
    }

    fn takes_questions_abreast(&self) -> bool {
        true
    }

    fn now(&self) -> Duration {
        self.start.elapsed()
    }

    fn unix_time(&self) -> u64 {
        SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |d| d.as_secs())
    }

    fn stopping(&self) -> bool {
        *self.level.borrow() > 0
    }
}
