//! The host we run on. One invariant: every child gets a process group of its own, so that it can be ended as a whole; and one that changes
//! the host carries [`leftover::MARK`] in its environment, so that a later run finds it again.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs,
    io::{self, BufRead, BufReader, Read},
    net::Ipv4Addr,
    ops::ControlFlow,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    sync::{Arc, mpsc},
    time::{Duration, Instant, SystemTime},
};

use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use serde_json::Value;
use tokio::{runtime::Runtime, sync::watch};

use super::{
    Changes, Cmd, Effect, FileKind, FileWrite, Heard, Host, HttpAnswer, HttpRequest, Leftover, Log, Output, Process,
    Upload, Watch, cri, download, files, http, kill, leftover, poll, remove, run_name,
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

/// Where commands are looked for. `/snap/bin` is not in the PATH of systemd units, cron and some sudo settings; and a `kubectl`
/// of the user's must not come before MicroK8s' own (its helper scripts of 1.23 and older call a bare `kubectl`).
pub const PATH: &str = "/snap/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Who listens to a running command.
type Listener<'a> = &'a mut dyn FnMut(Heard<'_>) -> ControlFlow<()>;

/// How often a silent command is looked after.
const SILENCE: Duration = Duration::from_secs(1);

/// The kernel asks three times, a second apart; who is silent then has not got the address.
const NEIGHBOURS_WITHIN: Duration = Duration::from_secs(3);

/// How long a command may take to end after the end of its output.
const ENDS_WITHIN: Duration = Duration::from_secs(2);

/// How long a process group may take to end when asked.
const GRACE: Duration = Duration::from_secs(10);

/// The host.
pub struct Real {
    runtime: Runtime,
    client: Arc<Client>,
    start: Instant,
    level: watch::Receiver<u8>,
    groups: Groups,
    run: String,
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
        let runtime = runtime.map_err(|e| Error::new(ExitCode::Bug, "cannot start the runtime").because(e))?;
        let groups = Groups::default();
        let level = signals::listen(&runtime, Arc::clone(&groups), manner)
            .map_err(|e| Error::new(ExitCode::Bug, "cannot listen for signals").because(e))?;
        Ok(Self {
            runtime,
            client: Arc::new(Client::default()),
            start: Instant::now(),
            level,
            groups,
            run: run.to_owned(),
            log: Log::new(run),
        })
    }

    /// The log of this run.
    pub fn log(&self) -> &Log {
        &self.log
    }

    fn environment(&self, effect: Effect) -> Vec<(OsString, OsString)> {
        let mut env: Vec<(OsString, OsString)> = [
            ("PATH", PATH),
            ("LC_ALL", "C"),
            ("HOME", "/root"),
            ("USER", "root"),
            ("LOGNAME", "root"),
            ("TERM", "dumb"),
            // MicroK8s' Python commands buffer whole blocks without a terminal; a killed one would have said nothing.
            ("PYTHONUNBUFFERED", "1"),
            // snapd puts each `microk8s` into a scope of root's user manager when it finds one, and systemd ends that when root's
            // last session ends. With a bus that does not answer it takes the system's manager.
            ("DBUS_SESSION_BUS_ADDRESS", "unix:path=/nonexistent"),
        ]
        .map(|(k, v)| (k.into(), v.into()))
        .to_vec();
        if effect == Effect::Changes {
            env.push((leftover::MARK.into(), leftover::mark(&self.run).into()));
        }
        let proxy = |name: &OsString| {
            let name = name.to_string_lossy().to_ascii_lowercase();
            matches!(name.as_str(), "http_proxy" | "https_proxy" | "no_proxy")
        };
        // What others have set need not be UTF-8.
        env.extend(std::env::vars_os().filter(|(name, _)| proxy(name)));
        env
    }

    fn expression(&self, cmd: &Cmd, input: Option<io::PipeReader>) -> Result<duct::Expression> {
        let (program, args) =
            cmd.argv.split_first().ok_or_else(|| Error::new(ExitCode::Bug, "a command without a program"))?;
        let found = which::which_in(program, Some(PATH), "/")
            .map_err(|e| Error::no_program(program).because(format!("{e}; looked in {PATH}")))?;
        let expression =
            duct::cmd(found, args).unchecked().full_env(self.environment(cmd.effect)).dir("/").before_spawn(|c| {
                c.process_group(0);
                Ok(())
            });
        Ok(match (input, &cmd.stdin) {
            (Some(pipe), _) => expression.stdin_file(pipe),
            (None, Some(bytes)) => expression.stdin_bytes(bytes.clone()),
            (None, None) => expression.stdin_null(),
        })
    }
}

impl Real {
    fn execute(&self, cmd: &Cmd, listen: Listener<'_>) -> Result<Output> {
        let expression = self.expression(cmd, None)?;
        let ended = match cmd.effect {
            Effect::Reads => self.read_out(&expression, cmd.deadline),
            Effect::Changes => self.change(expression, cmd.deadline, listen),
        };
        Self::in_time(cmd, ended)
    }

    /// Runs a command that reads what is read from a source meanwhile. The pipe ends with this process, and the command with the pipe.
    fn execute_fed(&self, cmd: &Cmd, source: &mut (dyn Read + Send), listen: Listener<'_>) -> Result<Output> {
        let cannot = |e: io::Error| Error::failed(format!("cannot run `{}`", cmd.show())).because(e);
        let (reader, mut writer) = io::pipe().map_err(cannot)?;
        let expression = self.expression(cmd, Some(reader))?;
        std::thread::scope(|scope| {
            let feeding = scope.spawn(move || io::copy(source, &mut writer).map(drop));
            let ended = self.change(expression, cmd.deadline, listen);
            // The command has ended, and so has the other end of the pipe.
            match feeding.join().unwrap_or(Ok(())) {
                Err(e) if e.kind() != io::ErrorKind::BrokenPipe => {
                    Err(Error::failed(format!("what `{}` reads cannot be had", cmd.show())).because(e))
                }
                _ => Self::in_time(cmd, ended),
            }
        })
    }

    /// The output of a command that ended in time.
    fn in_time(cmd: &Cmd, ended: io::Result<Option<Output>>) -> Result<Output> {
        ended.map_err(|e| Error::failed(format!("cannot run `{}`", cmd.show())).because(e))?.ok_or_else(|| {
            Error::new(ExitCode::TimedOut, format!("`{}` did not end within {} s", cmd.show(), cmd.deadline.as_secs()))
        })
    }

    /// Runs a command whose lines are told as they come; none when it passed its deadline.
    fn change(
        &self,
        expression: duct::Expression,
        deadline: Duration,
        listen: Listener<'_>,
    ) -> io::Result<Option<Output>> {
        let reader = Arc::new(expression.stderr_to_stdout().reader()?);
        // What it holds of a pipe is the command's alone from now on.
        drop(expression);
        let group = group_of(&reader.pids());
        self.while_running(group, || follow(&reader, deadline, listen, group))
    }

    /// Runs a command for its two outputs; none when it passed its deadline.
    fn read_out(&self, expression: &duct::Expression, deadline: Duration) -> io::Result<Option<Output>> {
        let handle = expression.stdout_capture().stderr_capture().start()?;
        let group = group_of(&handle.pids());
        self.while_running(group, || {
            let Some(output) = handle.wait_timeout(deadline)? else {
                if let Some(group) = group {
                    let _ = killpg(Pid::from_raw(group), Signal::SIGKILL);
                }
                let _ = handle.wait();
                return Ok(None);
            };
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            Ok(Some(Output { code: output.status.code(), stdout: text(&output.stdout), stderr: text(&output.stderr) }))
        })
    }

    /// Waits for a command, whose process group a signal ends meanwhile.
    fn while_running<T>(&self, group: Option<i32>, wait: impl FnOnce() -> T) -> T {
        if let (Some(group), Ok(mut groups)) = (group, self.groups.lock()) {
            groups.push(group);
        }
        let result = wait();
        if let (Some(group), Ok(mut groups)) = (group, self.groups.lock()) {
            groups.retain(|g| *g != group);
        }
        result
    }
}

/// The process group of a command: it leads its own.
fn group_of(pids: &[u32]) -> Option<i32> {
    pids.first().and_then(|pid| i32::try_from(*pid).ok())
}

impl Host for Real {
    fn run(&self, cmd: &Cmd, listen: Listener<'_>) -> Result<Output> {
        if cmd.effect == Effect::Changes {
            // Its end may never come.
            self.log.change(&format!("$ {} ...", cmd.show()));
        }
        let result = self.execute(cmd, listen);
        match &result {
            Ok(output) => self.log.command(cmd, output),
            Err(e) => self.log.failed(cmd, e),
        }
        result
    }

    fn pipe(&self, cmd: &Cmd, source: &mut (dyn Read + Send), listen: Listener<'_>) -> Result<Output> {
        self.log.change(&format!("$ {} ...", cmd.show()));
        let result = self.execute_fed(cmd, source, listen);
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
            Err(e) => Err(Error::failed(format!("cannot read {}", path.display())).because(e)),
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
            Err(e) => Err(Error::failed(format!("cannot look at {}", path.display())).because(e)),
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
        removed.map_err(|e| Error::failed(format!("cannot remove {}", path.display())).because(e))
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
        answer.map_err(|e| Error::transient(format!("{url} does not answer")).because(e))
    }

    fn visit(&self, url: &str, login: Option<(&str, &str)>) -> Result<(u16, String)> {
        let answer = self.runtime.block_on(http::visit(url, login, Duration::from_secs(5)));
        answer.map_err(|e| Error::transient(format!("{url} does not answer")).because(e))
    }

    fn http(&self, request: HttpRequest<'_>) -> Result<HttpAnswer> {
        let url = request.url.clone();
        if !matches!(request.method, "GET" | "HEAD") {
            // What follows the path is the registry's own note of an upload.
            self.log.change(&format!("{} {}", request.method, url.split('?').next().unwrap_or_default()));
        }
        let answer = self.runtime.block_on(http::send(request));
        answer.map_err(|e| Error::transient(format!("{url} does not answer")).because(e))
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
        taken.map_err(|e| Error::failed(format!("the disk below {} cannot be measured", folder.display())).because(e))
    }

    fn neighbours(&self, range: &LbRange) -> Result<BTreeMap<Ipv4Addr, String>> {
        let answers = neighbours::in_use(range, NEIGHBOURS_WITHIN);
        answers.map_err(|e| Error::failed("the LAN cannot be asked for addresses in use").because(e))
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
        kill::kill(processes).map_err(|e| Error::failed("not all processes could be ended").because(e))
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

/// Reads a command's lines until it ends; none when it passed its deadline (its group is ended then).
fn follow(
    reader: &Arc<duct::ReaderHandle>,
    deadline: Duration,
    listen: Listener<'_>,
    group: Option<i32>,
) -> io::Result<Option<Output>> {
    let (lines, heard) = mpsc::channel();
    let source = Arc::clone(reader);
    // The thread ends with the pipe: when the last process that holds it is gone.
    std::thread::spawn(move || {
        let mut buffered = BufReader::new(&*source);
        let mut bytes = Vec::new();
        while buffered.read_until(b'\n', &mut bytes).is_ok_and(|n| n > 0) {
            if lines.send(String::from_utf8_lossy(&bytes).trim_end().to_owned()).is_err() {
                break;
            }
            bytes.clear();
        }
    });
    let end = Instant::now() + deadline;
    let stop = || {
        if let Some(group) = group {
            end_group(group);
        }
        let _ = reader.kill();
    };
    let mut stdout = String::new();
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let flow = match heard.recv_timeout(left.min(SILENCE)) {
            Ok(text) => {
                let flow = listen(Heard::Line(&text));
                stdout.push_str(&text);
                stdout.push('\n');
                flow
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => break,
            Err(mpsc::RecvTimeoutError::Timeout) if left.is_zero() => {
                stop();
                return Ok(None);
            }
            Err(mpsc::RecvTimeoutError::Timeout) => listen(Heard::Silence),
        };
        if flow.is_break() {
            stop();
            return Ok(Some(Output { code: None, stdout, stderr: String::new() }));
        }
    }
    // After the end of its output the command itself ends at once; its code comes with the handle.
    if let Some(group) = group {
        kill::ended(group, ENDS_WITHIN)?;
    }
    let code = reader.try_wait()?.and_then(|output| output.status.code());
    Ok(Some(Output { code, stdout, stderr: String::new() }))
}

/// Asks a process group to end, and kills what is left of it after a while.
fn end_group(group: i32) {
    let group = Pid::from_raw(group);
    let _ = killpg(group, Signal::SIGTERM);
    let asked = Instant::now();
    while asked.elapsed() < GRACE {
        if killpg(group, None).is_err() {
            return;
        }
        poll::again_in_thread();
    }
    let _ = killpg(group, Signal::SIGKILL);
}

#[cfg(test)]
#[expect(clippy::print_stdout, reason = "a child tells its parent how far it is")]
mod tests {
    use std::{ffi::OsStr, os::unix::ffi::OsStrExt, process::Stdio};

    use super::*;

    fn host() -> Real {
        Real::new("test-run", |_| {}).expect("a runtime")
    }

    fn piped(cmd: &[&str], source: &mut (dyn Read + Send)) -> Result<Output> {
        let cmd = Cmd::changes(Duration::from_secs(60), cmd.iter().copied());
        host().pipe(&cmd, source, &mut |_| ControlFlow::Continue(()))
    }

    #[test]
    fn a_command_reads_all_of_a_source_and_may_end_before_that() {
        let bytes: u64 = 3 << 20;
        let output = piped(&["wc", "-c"], &mut io::repeat(7).take(bytes)).expect("it ran");
        assert_eq!((output.code, output.stdout.trim()), (Some(0), &*bytes.to_string()));
        // One that does not read at all, from a source without an end.
        let output = piped(&["sh", "-c", "echo no; exit 3"], &mut io::repeat(7)).expect("it ran");
        assert_eq!((output.code, output.stdout.trim()), (Some(3), "no"));
    }

    #[test]
    fn a_source_that_breaks_off_is_to_blame_and_not_the_command() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::new(io::ErrorKind::InvalidData, "it is another one"))
            }
        }
        let error = piped(&["cat"], &mut b"some".chain(Broken)).expect_err("the source is broken");
        assert!(error.to_string().contains("it is another one"), "{error}");
    }

    #[test]
    fn a_command_past_its_deadline_is_ended_with_its_group() {
        let cmd = Cmd::changes(Duration::from_millis(300), ["sh", "-c", "sleep 60 & echo $!; wait"]);
        let mut first = String::new();
        let error = host()
            .run(&cmd, &mut |heard| {
                if let Heard::Line(line) = heard {
                    first.push_str(line);
                }
                ControlFlow::Continue(())
            })
            .unwrap_err();
        assert_eq!(error.code, ExitCode::TimedOut);
        let child: i32 = first.parse().expect("a process id");
        let state = fs::read_to_string(format!("/proc/{child}/stat")).unwrap_or_default();
        assert!(state.is_empty() || state.contains(") Z "), "the grandchild still runs: {state}");
    }

    #[test]
    fn who_listens_may_end_a_command_that_is_silent() {
        let cmd = Cmd::changes(Duration::from_secs(60), ["sleep", "60"]);
        let output = host().run(&cmd, &mut |_| ControlFlow::Break(())).expect("it ran");
        assert_eq!(output.code, None);
    }

    /// Runs one of these tests in a process of its own, with this environment variable as well, and with `CHILD` set.
    fn child(test: &str, name: &str, value: &OsStr) -> std::process::Child {
        let mut command = std::process::Command::new(std::env::current_exe().expect("this program"));
        command.args(["--exact", &format!("host::real::tests::{test}"), "--nocapture", "--test-threads=1"]);
        command.env(CHILD, "1").env(name, value);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("this program runs")
    }

    const CHILD: &str = "IRIS_TEST_CHILD";

    fn is_child() -> bool {
        std::env::var_os(CHILD).is_some()
    }

    #[test]
    fn an_environment_that_is_not_utf_8_is_passed_on() {
        if is_child() {
            let output =
                host().ask(&Cmd::reads(["sh", "-c", "printf %s \"$HTTPS_PROXY\" | od -An -tx1"])).expect("it ran");
            assert_eq!(output.stdout.trim(), "78 ff 79");
            return;
        }
        let value = OsStr::from_bytes(b"x\xffy");
        let output = child("an_environment_that_is_not_utf_8_is_passed_on", "HTTPS_PROXY", value).wait_with_output();
        let output = output.expect("it ended");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    }

    /// Waits until the child has written this, and goes on reading in the background.
    fn read_until(child: &mut std::process::Child, word: &str) {
        let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines().map_while(Result::ok);
        assert!(lines.by_ref().any(|line| line.contains(word)), "it ended without a word");
        std::thread::spawn(move || lines.for_each(drop));
    }

    fn signal(child: &std::process::Child, signal: Signal) {
        nix::sys::signal::kill(Pid::from_raw(i32::try_from(child.id()).expect("an id")), signal).expect("it runs");
    }

    #[test]
    fn the_first_signal_ends_a_command_that_only_looks_with_what_it_runs() {
        let test = "the_first_signal_ends_a_command_that_only_looks_with_what_it_runs";
        if is_child() {
            let host = Real::looking("test", || {}).expect("a host");
            let pid = format!("{}/pid", std::env::var("FOLDER").expect("a folder"));
            let _ = host.ask(&Cmd::reads(["sh", "-c", &format!("echo $$ >{pid}.new; mv {pid}.new {pid}; sleep 30")]));
            // The command ends a moment before this program does.
            std::thread::sleep(Duration::from_secs(20));
            unreachable!("it was not ended");
        }
        // Below `nohup` a hangup is ignored from the beginning, as it is to be.
        let status = fs::read_to_string("/proc/self/status").expect("our own state");
        let ignored =
            status.lines().find_map(|line| line.strip_prefix("SigIgn:")).expect("the signals that are ignored");
        let hangs_up = u64::from_str_radix(ignored.trim(), 16).expect("a mask") & 1 == 0;
        let kinds = [Signal::SIGINT, Signal::SIGTERM].into_iter().chain(hangs_up.then_some(Signal::SIGHUP));
        for kind in kinds {
            let dir = tempfile::tempdir().expect("a directory");
            let mut child = child(test, "FOLDER", dir.path().as_os_str());
            let pid = dir.path().join("pid");
            while !pid.exists() {
                std::thread::sleep(Duration::from_millis(20));
            }
            let begun = Instant::now();
            signal(&child, kind);
            assert_eq!(child.wait().expect("it ended").code(), Some(130), "{kind}");
            assert!(begun.elapsed() < Duration::from_secs(10), "{kind}: {:?}", begun.elapsed());
            let pid = fs::read_to_string(pid).expect("an id");
            // Killed is not gone: on a busy machine it has still to be given the time to end.
            let state = || fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
            let is_over = || state().is_empty() || state().contains(") Z ");
            while !is_over() && begun.elapsed() < Duration::from_secs(20) {
                std::thread::sleep(Duration::from_millis(20));
            }
            assert!(is_over(), "{kind}: its command still runs: {}", state());
        }
    }

    #[test]
    fn a_hangup_that_was_ignored_from_the_beginning_is_ignored() {
        let test = "a_hangup_that_was_ignored_from_the_beginning_is_ignored";
        if is_child() {
            let host = Real::new("test", |_| {}).expect("a host");
            println!("listens");
            let mut watch = host.watch(&[]);
            let end = Instant::now() + Duration::from_secs(30);
            while !host.stopping() && Instant::now() < end {
                watch.next(Duration::from_secs(1));
            }
            std::process::exit(if host.stopping() { 77 } else { 78 });
        }
        let me = std::env::current_exe().expect("this program");
        let line = format!(
            "trap '' HUP; exec {} --exact host::real::tests::{test} --nocapture --test-threads=1",
            me.display()
        );
        let mut child = std::process::Command::new("sh")
            .args(["-c", &line])
            .env(CHILD, "1")
            .stdout(Stdio::piped())
            .spawn()
            .expect("a shell");
        read_until(&mut child, "listens");
        signal(&child, Signal::SIGHUP);
        std::thread::sleep(Duration::from_millis(300));
        assert!(child.try_wait().expect("asked").is_none(), "an ignored signal was heard");
        // As with everything in the background of a script; there may be a terminal all the same.
        signal(&child, Signal::SIGINT);
        assert_eq!(child.wait().expect("it ended").code(), Some(77));
    }
}
