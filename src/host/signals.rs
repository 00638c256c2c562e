//! What SIGINT, SIGTERM and SIGHUP do: they end a command that only looks, and they ask one that changes the host to stop where it can be
//! resumed. A SIGHUP that we were started to ignore (`nohup`) stays ignored. SIGINT is heard in any case: a shell without job control starts each
//! command in the background with SIGINT ignored, even a terminal at which a person sits.

use std::{
    fs, io,
    sync::{
        Arc, LazyLock, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use tokio::{
    runtime::Runtime,
    signal::unix::{SignalKind, signal},
    sync::watch,
};

use crate::error::ExitCode;

/// Process groups of the commands that run now.
pub(super) type Groups = Arc<Mutex<Vec<i32>>>;

/// Hears what a signal does.
type Told = Box<dyn Fn(&str) + Send + Sync>;

/// What a signal does.
pub(super) enum Manner {
    /// It ends us, with the commands that run.
    Ends(fn()),
    /// The first one asks us to stop after the running act, the second one also ends that, the third one ends us.
    Stops(Told),
}

/// Whether SIGHUP was ignored when we were started. From our first handler on the kernel no longer knows.
static HANGUP_IS_IGNORED: LazyLock<bool> = LazyLock::new(|| {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    mask & (1 << (Signal::SIGHUP as i32 - 1)) != 0
});

/// Listens for signals. The receiver counts them.
///
/// # Errors
/// The kernel refuses a handler.
pub(super) fn listen(runtime: &Runtime, groups: Groups, manner: Manner) -> io::Result<watch::Receiver<u8>> {
    let _inside = runtime.enter();
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = if *HANGUP_IS_IGNORED { None } else { Some(signal(SignalKind::hangup())?) };
    let (sender, level) = watch::channel(0_u8);
    runtime.spawn(async move {
        loop {
            let hung_up = async {
                match &mut hangup {
                    Some(signal) => signal.recv().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {}, _ = hung_up => {} }
            sender.send_modify(|level| *level = level.saturating_add(1));
            let level = *sender.borrow();
            heard(level, &groups, &manner);
        }
    });
    Ok(level)
}

fn heard(level: u8, groups: &Groups, manner: &Manner) {
    match (manner, level) {
        (Manner::Stops(told), 1) => told("stopping after the current action; press Ctrl-C again to end that too"),
        (Manner::Stops(told), 2) => {
            told("ending the current action; press Ctrl-C again to leave at once");
            end_all(groups, Signal::SIGTERM);
        }
        (Manner::Stops(_), _) => end(groups, || {}),
        (Manner::Ends(told), _) => end(groups, *told),
    }
}

/// Ends us, once: there may be several hosts that listen.
fn end(groups: &Groups, told: fn()) {
    static ENDS: AtomicBool = AtomicBool::new(false);
    end_all(groups, Signal::SIGKILL);
    if !ENDS.swap(true, Ordering::SeqCst) {
        told();
        std::process::exit(i32::from(ExitCode::Interrupted as u8));
    }
}

fn end_all(groups: &Groups, signal: Signal) {
    for group in groups.lock().map(|groups| groups.clone()).unwrap_or_default() {
        let _ = killpg(Pid::from_raw(group), signal);
    }
}
