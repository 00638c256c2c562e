//! The programs that this one runs. One invariant: every child gets a process group of its own, so that it can be ended as a whole; and one
//! that changes the host carries [`leftover::MARK`] in its environment, so that a later run finds it again.

use std::{
    ffi::OsString,
    io::{self, BufRead, BufReader, Read},
    ops::ControlFlow,
    os::unix::process::CommandExt,
    sync::{Arc, mpsc},
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};

use super::{Cmd, Effect, Heard, Output, kill, leftover, poll, signals::Groups};
use crate::error::{Error, ExitCode, Result};

/// Where commands are looked for. `/snap/bin` is not in the PATH of systemd units, cron and some sudo settings; and a `kubectl`
/// of the user's must not come before MicroK8s' own (its helper scripts of 1.23 and older call a bare `kubectl`).
pub const PATH: &str = "/snap/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The listener of a running command.
pub(super) type Listener<'a> = &'a mut dyn FnMut(Heard<'_>) -> ControlFlow<()>;

/// How often a silent command is checked.
const SILENCE: Duration = Duration::from_secs(1);

/// How long a command may take to end after the end of its output.
const ENDS_WITHIN: Duration = Duration::from_secs(2);

/// How long a process group may take to end when asked.
const GRACE: Duration = Duration::from_secs(10);

/// What a run needs to know of the programs that it runs.
pub(super) struct Programs {
    /// The process groups that a signal ends.
    groups: Groups,
    /// The run's name, which its programs carry.
    run: String,
}

impl Programs {
    pub(super) fn new(run: &str, groups: Groups) -> Self {
        Self { groups, run: run.to_owned() }
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

    /// Runs a command to its end. `listen` hears what it prints, and may break it off.
    pub(super) fn run(&self, cmd: &Cmd, listen: Listener<'_>) -> Result<Output> {
        let expression = self.expression(cmd, None)?;
        let ended = match cmd.effect {
            Effect::Reads => self.read_out(&expression, cmd.deadline),
            Effect::Changes => self.change(expression, cmd.deadline, listen),
        };
        Self::in_time(cmd, ended)
    }

    /// Runs a command that reads what is read from a source meanwhile. The pipe ends with this process, and the command with the pipe.
    pub(super) fn run_fed(&self, cmd: &Cmd, source: &mut (dyn Read + Send), listen: Listener<'_>) -> Result<Output> {
        let cannot = |e: io::Error| Error::failed(format!("cannot run `{}`", cmd.show())).caused_by(e);
        let (reader, mut writer) = io::pipe().map_err(cannot)?;
        let expression = self.expression(cmd, Some(reader))?;
        std::thread::scope(|scope| {
            let feeding = scope.spawn(move || io::copy(source, &mut writer).map(drop));
            let ended = self.change(expression, cmd.deadline, listen);
            // The command has ended, and so has the other end of the pipe.
            match feeding.join().unwrap_or(Ok(())) {
                Err(e) if e.kind() != io::ErrorKind::BrokenPipe => {
                    Err(Error::failed(format!("the input of `{}` cannot be read", cmd.show())).caused_by(e))
                }
                _ => Self::in_time(cmd, ended),
            }
        })
    }

    /// The output of a command that ended in time.
    fn in_time(cmd: &Cmd, ended: io::Result<Option<Output>>) -> Result<Output> {
        ended.map_err(|e| Error::failed(format!("cannot run `{}`", cmd.show())).caused_by(e))?.ok_or_else(|| {
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
pub(super) fn end_group(group: i32) {
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

    use std::fs;

    use super::*;
    use crate::host::{Host, Real};

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
        command.args(["--exact", &format!("host::programs::tests::{test}"), "--nocapture", "--test-threads=1"]);
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
            "trap '' HUP; exec {} --exact host::programs::tests::{test} --nocapture --test-threads=1",
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
