//! Questions that only a person can answer, before anything is shown as running: what a command would delete, and whether it may.

use std::io::{BufRead, IsTerminal};

use serde::Serialize;

use crate::{
    config::spec::Spec,
    engine::{Plan, UndoPlan},
    error::{Error, Result},
    host::Real,
    report,
    stack::{
        data::{self, Agreed, Stake, Volume},
        iris::claims,
    },
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
        let text = format!("this will be taken back:\n{}{}", self.show(), self.stake.warning());
        ask(&format!("{text}Type `yes` to go on: "))
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
    let found = claims::that_go(host, spec).and_then(|claims| data::volumes_of(host, &claims));
    // What cannot be seen is not agreed to either: the run refuses to delete it.
    found.or_else(|e| if e.transient { Ok(Vec::new()) } else { Err(e) })
}

/// What is said of volumes that are named.
const LOST: &str = "All data of these volumes will be lost. ";

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
        ask(&format!("{text}{LOST}Type `yes` to go on: "))
            .map_err(|why| refused(why, text + LOST, "pass --yes, or leave --data out"))?;
    }
    Ok(Agreed::to(&volumes))
}

fn refused(why: NotAgreed, text: String, hint: &str) -> Error {
    let error = Error::usage(format!("{why}: the data would be lost")).hint(hint);
    // A person has just read it.
    if why == NotAgreed::Nobody { error.because(text) } else { error }
}

/// Why a question was not answered with `yes`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotAgreed {
    /// There is no terminal, or nobody at it.
    Nobody,
    /// The person answered something else.
    No,
}

impl std::fmt::Display for NotAgreed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Nobody => "there is no terminal to ask on",
            Self::No => "not confirmed; nothing was changed",
        })
    }
}

/// A host that is only looked at: the first signal ends the command, since nothing was changed.
pub(super) fn looking(command: &str) -> Result<Real> {
    Real::looking(command, || report::prompt("\ninterrupted; nothing was changed\n"))
}

/// Asks a question that only `yes` answers. While it is open, Ctrl-C ends the command at once.
pub(super) fn ask(question: &str) -> Result<(), NotAgreed> {
    // Whoever cannot see the question cannot answer it.
    if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
        return Err(NotAgreed::Nobody);
    }
    let _interruptible = looking("question").map_err(|_| NotAgreed::Nobody)?;
    report::prompt(question);
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer).map_err(|_| NotAgreed::Nobody)?;
    if answer.trim() == "yes" { Ok(()) } else { Err(NotAgreed::No) }
}
