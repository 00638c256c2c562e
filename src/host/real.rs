//! The host we run on. One invariant: every child gets a process group of its own and carries [`MARK`] in its environment, so
//! that it can be ended as a whole, and be found again by a later run.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, BufRead, BufReader, Write},
    net::Ipv4Addr,
    ops::ControlFlow,
    os::unix::{
        fs::{MetadataExt, OpenOptionsExt, chown},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    sync::{Arc, Mutex, mpsc},
    time::{Duration, Instant, SystemTime},
};

use nix::{
    sys::signal::{Signal, killpg},
    unistd::{Pid, User},
};
use serde_json::Value;
use tokio::{
    runtime::Runtime,
    signal::unix::{SignalKind, signal},
    sync::watch,
};

use super::{
    Changes, Cmd, Effect, FileKind, FileWrite, Heard, Host, Leftover, Log, Output, Process, Watch, download, http,
    kill, remove, snapd, watch::Bell,
};
use crate::{
    cluster::{Client, Kind},
    error::{Error, ExitCode, Result},
    lb_range::LbRange,
    step::{Download, Progress, SnapdChange},
};

/// Environment variable that every child carries.
const MARK: &str = "IRIS_MK8S_RUN";

/// Where commands are looked for. `/snap/bin` is not in the PATH of systemd units, cron and some sudo settings; and a `kubectl`
/// of the user's must not come before MicroK8s' own (its helper scripts of 1.23 and older call a bare `kubectl`).
pub const PATH: &str = "/snap/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Who listens to a running command.
type Listener<'a> = &'a mut dyn FnMut(Heard<'_>) -> ControlFlow<()>;

/// How often a silent command is looked after.
const SILENCE: Duration = Duration::from_secs(1);

/// The kernel asks three times, a second apart; who is silent then has not got the address.
const NEIGHBOURS_WITHIN: Duration = Duration::from_secs(3);

/// How long a process group may take to end when asked.
const GRACE: Duration = Duration::from_secs(10);

/// The host.
pub struct Real {
    runtime: Runtime,
    client: Arc<Client>,
    start: Instant,
    level: watch::Receiver<u8>,
    groups: Arc<Mutex<Vec<i32>>>,
    run: String,
    log: Log,
}

impl Real {
    /// The host, with our signal handlers in place: the first SIGINT, SIGTERM or SIGHUP asks us to stop after the running act, the
    /// second one also ends its process group, the third one ends us. `told` hears of the first two.
    ///
    /// # Errors
    /// The runtime cannot be started.
    pub fn new(run: &str, told: impl Fn(&str) + Send + Sync + 'static) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.map_err(|e| Error::new(ExitCode::Bug, "cannot start the runtime").because(e))?;
        let groups = Arc::new(Mutex::new(Vec::new()));
        let (sender, level) = watch::channel(0_u8);
        {
            let _inside = runtime.enter();
            let cannot = |e| Error::new(ExitCode::Bug, "cannot listen for signals").because(e);
            let mut interrupt = signal(SignalKind::interrupt()).map_err(cannot)?;
            let mut terminate = signal(SignalKind::terminate()).map_err(cannot)?;
            let mut hangup = signal(SignalKind::hangup()).map_err(cannot)?;
            let groups = Arc::clone(&groups);
            runtime.spawn(async move {
                loop {
                    tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {}, _ = hangup.recv() => {} }
                    sender.send_modify(|level| *level += 1);
                    let now = *sender.borrow();
                    match now {
                        1 => told("stopping after what runs now; once more ends that too"),
                        2 => told("ending what runs now; once more ends at once"),
                        _ => {}
                    }
                    if now >= 2 {
                        for group in groups.lock().map(|g| g.clone()).unwrap_or_default() {
                            let _ =
                                killpg(Pid::from_raw(group), if now == 2 { Signal::SIGTERM } else { Signal::SIGKILL });
                        }
                    }
                    if now >= 3 {
                        std::process::exit(i32::from(ExitCode::Interrupted as u8));
                    }
                }
            });
        }
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

    fn environment(&self) -> Vec<(String, String)> {
        let mut env: Vec<(String, String)> = [
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
            (MARK, &self.run),
        ]
        .map(|(k, v)| (k.to_owned(), v.to_owned()))
        .to_vec();
        let proxy =
            |name: &str| matches!(name.to_ascii_lowercase().as_str(), "http_proxy" | "https_proxy" | "no_proxy");
        env.extend(std::env::vars().filter(|(name, _)| proxy(name)));
        env
    }

    fn expression(&self, cmd: &Cmd) -> Result<duct::Expression> {
        let (program, args) =
            cmd.argv.split_first().ok_or_else(|| Error::new(ExitCode::Bug, "a command without a program"))?;
        let found = which::which_in(program, Some(PATH), "/").map_err(|e| {
            Error::failed(format!("there is no program `{program}` on this host"))
                .because(format!("{e}; looked in {PATH}"))
        })?;
        let expression = duct::cmd(found, args).unchecked().full_env(self.environment()).dir("/").before_spawn(|c| {
            c.process_group(0);
            Ok(())
        });
        Ok(match &cmd.stdin {
            Some(bytes) => expression.stdin_bytes(bytes.clone()),
            None => expression.stdin_null(),
        })
    }
}

impl Real {
    fn execute(&self, cmd: &Cmd, listen: Listener<'_>) -> Result<Output> {
        let expression = self.expression(cmd)?;
        let ended = match cmd.effect {
            Effect::Reads => read(&expression, cmd.deadline),
            Effect::Changes => self.change(&expression, cmd.deadline, listen),
        };
        ended.map_err(|e| Error::failed(format!("cannot run `{}`", cmd.show())).because(e))?.ok_or_else(|| {
            Error::new(ExitCode::TimedOut, format!("`{}` did not end within {} s", cmd.show(), cmd.deadline.as_secs()))
        })
    }

    /// Runs a command whose lines are told as they come; none when it passed its deadline.
    fn change(
        &self,
        expression: &duct::Expression,
        deadline: Duration,
        listen: Listener<'_>,
    ) -> io::Result<Option<Output>> {
        let reader = Arc::new(expression.stderr_to_stdout().reader()?);
        let group = group_of(&reader.pids());
        if let (Some(group), Ok(mut groups)) = (group, self.groups.lock()) {
            groups.push(group);
        }
        let result = follow(&reader, deadline, listen, group);
        if let (Some(group), Ok(mut groups)) = (group, self.groups.lock()) {
            groups.retain(|g| *g != group);
        }
        result
    }
}

/// Runs a command for its two outputs; none when it passed its deadline.
fn read(expression: &duct::Expression, deadline: Duration) -> io::Result<Option<Output>> {
    let handle = expression.stdout_capture().stderr_capture().start()?;
    let Some(output) = handle.wait_timeout(deadline)? else {
        if let Some(group) = group_of(&handle.pids()) {
            let _ = killpg(Pid::from_raw(group), Signal::SIGKILL);
        }
        let _ = handle.wait();
        return Ok(None);
    };
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok(Some(Output { code: output.status.code(), stdout: text(&output.stdout), stderr: text(&output.stderr) }))
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
            Err(e) => self.log.change(&format!("$ {}\n{e}", cmd.show())),
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
        let cannot =
            |e: &dyn std::fmt::Display| Error::failed(format!("cannot write {}", file.path.display())).because(e);
        let owner = match &file.owner {
            Some(name) => {
                let user = User::from_name(name).map_err(|e| cannot(&e))?;
                Some(user.ok_or_else(|| cannot(&format!("there is no user `{name}`")))?)
            }
            None => None,
        };
        let mut beside = file.path.as_os_str().to_owned();
        beside.push(".new");
        let beside = PathBuf::from(beside);
        let written = (|| {
            if let Some(dir) = file.path.parent() {
                fs::create_dir_all(dir)?;
            }
            let _ = fs::remove_file(&beside);
            let mut out = fs::OpenOptions::new().write(true).create_new(true).mode(file.mode).open(&beside)?;
            out.write_all(&file.bytes)?;
            if let Some(user) = &owner {
                chown(&beside, Some(user.uid.as_raw()), Some(user.gid.as_raw()))?;
            }
            if let Some(before) = fs::metadata(&file.path).ok().filter(|_| file.keeps) {
                chown(&beside, Some(before.uid()), Some(before.gid()))?;
                fs::set_permissions(&beside, before.permissions())?;
            }
            out.sync_all()?;
            fs::rename(&beside, &file.path)
        })();
        written.map_err(|e| {
            let _ = fs::remove_file(&beside);
            cannot(&e)
        })
    }

    fn remove(&self, path: &Path, all: bool) -> Result<()> {
        self.log.change(&format!("remove {}", path.display()));
        remove::remove(path, all).map_err(|e| Error::failed(format!("cannot remove {}", path.display())).because(e))
    }

    fn snapd_get(&self, path: &str) -> Result<Option<Value>> {
        self.runtime.block_on(snapd::get(path))
    }

    fn snapd_change(&self, change: &SnapdChange, seen: &mut dyn FnMut(&str, Option<Progress>)) -> Result<()> {
        self.log.change(&format!("snapd: {} {} (`{}`)", change.method, change.path, change.shown));
        let result = self.runtime.block_on(snapd::change(change, seen, || self.stopping()));
        self.log.change(
            &result.as_ref().map_or_else(ToString::to_string, |()| format!("snapd: done (`{}`)", change.shown)),
        );
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
            self.log.change(&format!("apply {}{end}", crate::cluster::describe(object)));
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
        self.runtime.block_on(self.client.exec(namespace, pod, container, argv, stdin))
    }

    fn http_get(&self, url: &str) -> Result<(u16, String)> {
        let answer = self.runtime.block_on(http::get(url, Duration::from_secs(5)));
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

    fn neighbours(&self, range: &LbRange) -> Result<BTreeMap<Ipv4Addr, String>> {
        let answers = crate::arp::in_use(range, NEIGHBOURS_WITHIN);
        answers.map_err(|e| Error::failed("the LAN cannot be asked for addresses in use").because(e))
    }

    fn watch(&self, what: &[Watch]) -> Box<dyn Changes> {
        Box::new(Bell::new(self.runtime.handle(), &self.client, self.level.clone(), what))
    }

    fn leftovers(&self) -> Vec<Leftover> {
        let mine = format!("{MARK}={}", self.run);
        let mut found: Vec<Leftover> = Vec::new();
        for pid in self.names(Path::new("/proc")).iter().filter_map(|n| n.parse::<i32>().ok()) {
            let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            let mark = environment
                .split(|b| *b == 0)
                .find(|e| e.starts_with(MARK.as_bytes()) && e.get(MARK.len()) == Some(&b'='));
            let Some(mark) = mark else { continue };
            let Ok(group) = nix::unistd::getpgid(Some(Pid::from_raw(pid))) else { continue };
            if mark == mine.as_bytes() || found.iter().any(|l| l.group == group.as_raw()) {
                continue;
            }
            // The group's first process is the command that we started; it may be gone, its children not.
            let line = fs::read(format!("/proc/{group}/cmdline")).or_else(|_| fs::read(format!("/proc/{pid}/cmdline")));
            let words = line
                .unwrap_or_default()
                .split(|b| *b == 0)
                .map(|w| String::from_utf8_lossy(w).into_owned())
                .collect::<Vec<_>>();
            found.push(Leftover { group: group.as_raw(), command: words.join(" ").trim().to_owned() });
        }
        found
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
    let mut code = None;
    for _ in 0..200 {
        if let Some(output) = reader.try_wait()? {
            code = output.status.code();
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
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
        std::thread::sleep(Duration::from_millis(50));
    }
    let _ = killpg(group, Signal::SIGKILL);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host() -> Real {
        Real::new("test-run", |_| {}).expect("a runtime")
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

    #[test]
    fn children_of_another_run_are_found_and_ended() {
        let other = Real::new("earlier-run", |_| {}).expect("a runtime");
        let cmd = Cmd::changes(Duration::from_secs(60), ["sh", "-c", "echo up; sleep 60"]);
        let (up, is_up) = mpsc::channel();
        let waiting = std::thread::spawn(move || {
            other.run(&cmd, &mut |heard| {
                if heard != Heard::Silence {
                    up.send(()).expect("a listener");
                }
                ControlFlow::Continue(())
            })
        });
        is_up.recv().expect("its first line");
        let left = host().leftovers();
        let found = left.iter().find(|l| l.command.contains("echo up")).expect("the child is found");
        host().end(found);
        let output = waiting.join().expect("no panic").expect("it ran");
        assert_eq!(output.code, None, "it was ended by a signal");
    }

    #[test]
    fn a_file_is_written_whole_with_its_mode() {
        use std::os::unix::fs::PermissionsExt;

        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("a/b");
        let file = FileWrite {
            path: path.clone(),
            bytes: b"x".to_vec(),
            mode: 0o600,
            owner: None,
            secret: true,
            keeps: false,
        };
        host().write(&file).expect("written");
        assert_eq!(fs::read(&path).expect("read"), b"x");
        assert_eq!(path.metadata().expect("stat").mode() & 0o777, 0o600);
        assert_eq!(host().names(&dir.path().join("a")), ["b"], "nothing is left beside it");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o664)).expect("chmod");
        host().write(&FileWrite { keeps: true, ..file.clone() }).expect("written");
        assert_eq!(path.metadata().expect("stat").mode() & 0o777, 0o664, "what is there keeps its mode");
        host().write(&file).expect("written");
        assert_eq!(path.metadata().expect("stat").mode() & 0o777, 0o600);
    }
}
