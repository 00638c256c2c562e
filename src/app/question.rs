//! Questions that only a person can answer, before anything is shown as running: what a command would delete, and whether it may.

use std::{
    io::{BufRead, IsTerminal},
    process,
};

use serde::Serialize;
use tokio::signal::unix::{SignalKind, signal};

use crate::{
    data::{self, Agreed, Stake, Volume},
    engine::{Plan, UndoPlan},
    error::{Error, ExitCode, Result},
    host::Real,
    report,
    spec::Spec,
    steps,
};

/// The plan of a teardown and what it takes along, for programs.
#[derive(Serialize)]
pub(super) struct Removing<'a> {
    #[serde(flatten)]
    pub(super) plan: &'a UndoPlan,
    #[serde(flatten)]
    pub(super) stake: &'a Stake,
}

impl Removing<'_> {
    /// The same for people.
    pub(super) fn show(&self) -> String {
        self.plan.show() + &self.stake.show()
    }

    /// Shows what goes, and asks.
    pub(super) fn confirm(&self) -> Result<()> {
        let text = format!("this will be taken back:\n{}", self.show());
        ask(&format!("{text}{}Type `yes` to go on: ", self.stake.warning()))
            .map_err(|why| refused(why, text, "pass --yes, or leave --data and --reset out"))
    }
}

/// The plan of a bootstrap and the volumes that it deletes, for programs.
#[derive(Serialize)]
pub(super) struct Making<'a> {
    #[serde(flatten)]
    pub(super) plan: &'a Plan,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub(super) data: &'a [Volume],
}

/// The volumes that a bootstrap with `--data` deletes because they are of another class than the wanted one; none while there is no cluster.
pub(super) fn of_another_class(host: &Real, spec: &Spec) -> Result<Vec<Volume>> {
    let found = steps::claims_that_go(host, spec).and_then(|claims| data::volumes_of(host, &claims));
    // What cannot be seen is not agreed to either: the run refuses to delete it.
    found.or_else(|e| if e.transient { Ok(Vec::new()) } else { Err(e) })
}

/// Names these volumes, one in each line.
pub(super) fn named(volumes: &[Volume]) -> String {
    volumes.iter().map(|volume| format!("  DATA   {volume}\n")).collect()
}

/// Asks whether a bootstrap may delete the volumes that are of another class than the wanted one.
pub(super) fn may_change_class(spec: &Spec, yes: bool) -> Result<Agreed> {
    let volumes = of_another_class(&looking("bootstrap")?, spec)?;
    if volumes.is_empty() {
        return Ok(Agreed::default());
    }
    let text = format!("these volumes are of another StorageClass and will be deleted:\n{}", named(&volumes));
    if yes {
        report::prompt(&text);
    } else {
        ask(&format!("{text}All data of these volumes will be lost. Type `yes` to go on: "))
            .map_err(|why| refused(why, text, "pass --yes, or leave --data out"))?;
    }
    Ok(Agreed::to(&volumes))
}

fn refused(why: &str, text: String, hint: &str) -> Error {
    Error::usage(format!("{why}: the data would be lost")).because(text).hint(hint)
}

/// A host that is only looked at: Ctrl-C ends the command at once, since nothing was changed.
pub(super) fn looking(command: &str) -> Result<Real> {
    Real::new(command, |_| interrupted())
}

fn interrupted() {
    report::prompt("\ninterrupted; nothing was changed\n");
    process::exit(i32::from(ExitCode::Interrupted as u8));
}

/// Asks a question that only `yes` answers. While it is open, Ctrl-C ends the command at once.
pub(super) fn ask(question: &str) -> Result<(), &'static str> {
    // Whoever cannot see the question cannot answer it.
    if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
        return Err("nobody can be asked here");
    }
    let listening = end_when_interrupted().map_err(|_| "nobody can be asked here")?;
    report::prompt(question);
    let mut answer = String::new();
    let read = std::io::stdin().lock().read_line(&mut answer);
    listening.shutdown_background();
    read.map_err(|_| "no answer")?;
    if answer.trim() == "yes" { Ok(()) } else { Err("not confirmed") }
}

/// Ends the command at the first signal, whoever else listens for it: a host that is only looked at may still be there.
fn end_when_interrupted() -> std::io::Result<tokio::runtime::Runtime> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let inside = runtime.enter();
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    runtime.spawn(async move {
        tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {}, _ = hangup.recv() => {} }
        interrupted();
    });
    drop(inside);
    Ok(runtime)
}
