//! Ending processes. A number may be somebody else's by the time of the signal: the kernel's handle of a process is taken first, and only
//! then it is asked whether the process is still the one that was meant.

use std::{
    fs, io,
    os::fd::OwnedFd,
    path::Path,
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal},
};

use super::Process;

/// How long the kernel may take to end those that were killed.
const GRACE: Duration = Duration::from_secs(10);

/// When a process began, in clock ticks since the boot; none when there is no such process, or it has ended.
pub fn began(stat: &str) -> Option<u64> {
    // The name in parentheses may hold anything; after it come the state and numbers.
    let mut words = stat.rsplit_once(')')?.1.split_whitespace();
    let state = words.next()?;
    (state != "Z" && state != "X").then(|| words.nth(18)?.parse().ok())?
}

/// Kills them, and waits for their end. One that is gone is no error, and one whose number is another's by now is left alone.
pub(super) fn kill(processes: &[Process]) -> io::Result<()> {
    let mut ending = Vec::new();
    for process in processes {
        if let Some(handle) = handle(process)? {
            match pidfd_send_signal(&handle, Signal::KILL) {
                Ok(()) => ending.push((process, handle)),
                Err(Errno::SRCH) => {}
                Err(e) => return Err(e.into()),
            }
        }
    }
    let until = Instant::now() + GRACE;
    for (process, handle) in &ending {
        if !wait(handle, until.saturating_duration_since(Instant::now()))? {
            let what = format!("process {} ({}) does not end: the kernel is busy with it", process.pid, process.name);
            return Err(io::Error::other(what));
        }
    }
    Ok(())
}

/// Waits until a child of ours has ended, not longer than that.
pub(super) fn ended(pid: i32, within: Duration) -> io::Result<()> {
    // One that was waited for already is gone.
    let Some(handle) = opened(pid)? else { return Ok(()) };
    wait(&handle, within).map(drop)
}

/// Waits for an end; whether it came.
fn wait(handle: &OwnedFd, within: Duration) -> io::Result<bool> {
    let within = Timespec { tv_sec: within.as_secs().try_into().unwrap_or(0), tv_nsec: within.subsec_nanos().into() };
    Ok(poll(&mut [PollFd::new(handle, PollFlags::IN)], Some(&within))? > 0)
}

/// The kernel's handle of the process with that number; none when there is none.
fn opened(pid: i32) -> io::Result<Option<OwnedFd>> {
    let Some(pid) = Pid::from_raw(pid) else { return Ok(None) };
    match pidfd_open(pid, PidfdFlags::empty()) {
        Err(Errno::SRCH | Errno::INVAL) => Ok(None),
        other => Ok(Some(other?)),
    }
}

/// The kernel's handle of this very process; none when it is gone.
fn handle(process: &Process) -> io::Result<Option<OwnedFd>> {
    let Some(handle) = opened(process.pid)? else { return Ok(None) };
    let stat = fs::read_to_string(Path::new("/proc").join(process.pid.to_string()).join("stat"));
    let same = stat.is_ok_and(|stat| began(&stat) == Some(process.began));
    Ok(same.then_some(handle))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn only_the_process_that_was_meant_is_ended() {
        let mut child = Command::new("sleep").arg("60").spawn().expect("a process");
        let pid = i32::try_from(child.id()).expect("a number");
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("it runs");
        let began = began(&stat).expect("it began");
        // The number is somebody else's by now: the one that was meant began at another moment.
        kill(&[Process { pid, began: began - 1, name: "sleep".into() }]).expect("no error");
        assert!(child.try_wait().expect("asked").is_none(), "another process was ended");
        kill(&[Process { pid, began, name: "sleep".into() }]).expect("ended");
        child.wait().expect("it ended");
        kill(&[Process { pid, began, name: "sleep".into() }]).expect("what is gone is no error");
    }

    #[test]
    fn a_name_with_parentheses_does_not_confuse() {
        let stat = "41 (a) S 1) S 1 41 41 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 777 1 1 1";
        assert_eq!(began(stat), Some(777));
        assert_eq!(
            began(&stat.replace(") S 1 41", ") Z 1 41")),
            None,
            "a process that has ended only waits for its parent"
        );
        assert_eq!(began(""), None);
    }
}
