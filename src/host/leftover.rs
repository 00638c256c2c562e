//! Commands of ours that outlived their run. Two facts together are the evidence, and nothing else is: the command carries our mark, which only
//! commands that change the host get; and the run that the mark names is gone.

use std::{fs, sync::LazyLock};

use nix::unistd::{Pid, getpgid};

use super::{Leftover, began};

/// Environment variable that every command of ours carries that changes the host, and with it all that it starts.
pub(super) const MARK: &str = "IRIS_MK8S_RUN";

/// Its value: the run, and the process that it is. A process id alone is given out again; together with the time of its start it is not.
pub(super) fn mark(run: &str) -> String {
    static SELF: LazyLock<String> = LazyLock::new(|| {
        let id = std::process::id();
        format!("{id}@{}", started(id).unwrap_or_default())
    });
    format!("{run} {}", *SELF)
}

/// Whether the run of a mark is gone; none when the mark does not have this form, so that nobody can say whose it is.
fn is_dead(mark: &str) -> Option<bool> {
    let (id, start) = mark.rsplit_once(' ')?.1.split_once('@')?;
    Some(started(id.parse().ok()?) != Some(start.parse().ok()?))
}

/// When a process began; none when there is no such process, or only its remains.
fn started(id: u32) -> Option<u64> {
    began(&fs::read_to_string(format!("/proc/{id}/stat")).ok()?)
}

/// The process groups that a dead run left behind.
pub(super) fn find() -> Vec<Leftover> {
    let mut found: Vec<Leftover> = Vec::new();
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    for pid in processes.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok()) {
        if mark_of(pid).and_then(|mark| is_dead(&mark)) != Some(true) {
            continue;
        }
        let Ok(group) = getpgid(Some(Pid::from_raw(pid))) else { continue };
        let group = group.as_raw();
        if found.iter().all(|other| other.group != group) {
            found.push(Leftover { group, command: command(group, pid) });
        }
    }
    found
}

fn mark_of(pid: i32) -> Option<String> {
    let environment = fs::read(format!("/proc/{pid}/environ")).ok()?;
    let value =
        environment.split(|b| *b == 0).find_map(|entry| entry.strip_prefix(MARK.as_bytes())?.strip_prefix(b"="))?;
    Some(String::from_utf8_lossy(value).into_owned())
}

/// The group's first process is the command that we started; it may be gone, its children not.
fn command(group: i32, pid: i32) -> String {
    let line = fs::read(format!("/proc/{group}/cmdline")).or_else(|_| fs::read(format!("/proc/{pid}/cmdline")));
    let line = line.unwrap_or_default();
    let words: Vec<_> = line.split(|b| *b == 0).map(String::from_utf8_lossy).collect();
    words.join(" ").trim().to_owned()
}

#[cfg(test)]
mod tests {
    use std::{
        io::{BufRead, BufReader},
        os::unix::process::CommandExt,
        process::{Child, Command, Stdio},
    };

    use super::*;
    use crate::host::{Cmd, Heard, Host, Real};

    /// A command that runs until it is ended, with this mark.
    struct Marked(Child);

    impl Marked {
        fn new(mark: &str) -> Self {
            let mut command = Command::new("sh");
            command.args(["-c", "echo up; sleep 60"]).env(MARK, mark).process_group(0).stdout(Stdio::piped());
            let mut child = command.spawn().expect("a shell");
            let mut line = String::new();
            BufReader::new(child.stdout.take().expect("a pipe")).read_line(&mut line).expect("its first line");
            Self(child)
        }

        fn is_found(&self) -> bool {
            let group = i32::try_from(self.0.id()).expect("an id");
            find().iter().any(|left| left.group == group && left.command.contains("echo up"))
        }
    }

    impl Drop for Marked {
        fn drop(&mut self) {
            let group = Pid::from_raw(i32::try_from(self.0.id()).expect("an id"));
            let _ = nix::sys::signal::killpg(group, nix::sys::signal::Signal::SIGKILL);
            let _ = self.0.wait();
        }
    }

    #[test]
    fn only_what_a_dead_run_left_is_found() {
        let gone = Command::new("true").spawn().and_then(|mut child| {
            let id = child.id();
            child.wait().map(|_| id)
        });
        let gone = gone.expect("a process");
        let me = std::process::id();
        let start = started(me).expect("I run");
        for (mark, left) in [
            (format!("20261130-120000-bootstrap-{gone} {gone}@5"), true),
            (mark("20261130-120000-bootstrap"), false),
            (format!("another-run-of-mine {me}@{start}"), false),
            // Its process id was given out again.
            (format!("20261130-120000-bootstrap-{me} {me}@{}", start - 1), true),
            // Not of this form: nobody can say whose it is.
            ("status".to_owned(), false),
            (String::new(), false),
            (format!("run {gone}"), false),
        ] {
            let command = Marked::new(&mark);
            assert_eq!(command.is_found(), left, "{mark}");
        }
    }

    #[test]
    fn only_commands_that_change_the_host_carry_the_mark() {
        let host = Real::new("a-run", |_| {}).expect("a host");
        let argv = ["sh", "-c", &format!("echo \"${MARK}\"")];
        let read = host.ask(&Cmd::reads(argv)).expect("it ran");
        assert_eq!(read.stdout, "\n");
        let mut lines = Vec::new();
        let changes = Cmd::changes(std::time::Duration::from_secs(60), argv);
        let ended = host.run(&changes, &mut |heard| {
            if let Heard::Line(line) = heard {
                lines.push(line.to_owned());
            }
            std::ops::ControlFlow::Continue(())
        });
        assert!(ended.expect("it ran").ok());
        assert_eq!(lines, [mark("a-run")]);
    }

    #[test]
    fn what_is_left_can_be_ended() {
        let mut command = Marked::new("20261130-120000-bootstrap-1 1@1");
        let left = find();
        let group = i32::try_from(command.0.id()).expect("an id");
        let left = left.into_iter().find(|left| left.group == group).expect("it is found");
        std::thread::spawn(move || Real::new("a-run", |_| {}).expect("a host").end(&left));
        let ended = command.0.wait().expect("it ended");
        assert_eq!(ended.code(), None, "a signal ended it");
        assert!(!command.is_found());
    }
}
