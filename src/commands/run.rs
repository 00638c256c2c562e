//! A run: what happens between its first event and its last one. Nobody can begin a run without ending it: the work is given to [`in_run`], which
//! tells the outcome whether the work ends well, with an error, or in a panic.

use std::thread::JoinHandle;

use crate::{
    cli::Global,
    engine::event::{ErrorRecord, Event, Events, FORMAT, Outcome},
    error::{Error, ExitCode, Result, defect},
    host::{Real, run_name},
    report,
};

/// A run: its name, its host, and where to tell what happens.
pub(super) struct Run {
    pub(super) name: String,
    pub(super) host: Real,
    pub(super) events: Events,
}

/// Runs `work` as a run of that command. What it has done, and what came of it, it writes into the outcome.
///
/// # Errors
/// The run could not begin. An error of the work is told by the run, and is in its exit code.
pub(super) fn in_run(
    global: &Global,
    command: &str,
    stages: Vec<String>,
    work: impl FnOnce(&Run, &mut Outcome) -> Result<()>,
) -> Result<ExitCode> {
    let name = run_name(command);
    let (events, receiver) = Events::channel();
    let notices = events.clone();
    let host = Real::new(&name, move |notice| notices.send(Event::Warning { message: notice.to_owned() }))?;
    let run = Run { name, host, events };
    let reporter = report::spawn(receiver, report::Kind::choose(global));
    let tool = format!("iris-mk8s {}", env!("CARGO_PKG_VERSION"));
    let (command, name) = (command.to_owned(), run.name.clone());
    run.events.send(Event::RunStarted { format: FORMAT, tool, command, run: name, stages });
    let mut outcome = Outcome::new(ExitCode::Done);
    let ended = defect::caught(|| work(&run, &mut outcome));
    let ended = ended.and_then(|()| defect::unnoticed().map_or(Ok(()), Err));
    Ok(run.end(outcome, ended, reporter))
}

impl Run {
    /// Tells the outcome, and waits until it is shown.
    fn end(self, mut outcome: Outcome, ended: Result<()>, reporter: JoinHandle<Result<()>>) -> ExitCode {
        let code = match ended {
            Ok(()) => ExitCode::Done,
            Err(error) => {
                let error = self.with_log(error);
                outcome.errors.push(ErrorRecord::from(&error));
                error.code
            }
        };
        outcome.exit = code as u8;
        outcome.seconds = self.events.elapsed();
        self.events.send(Event::RunFinished { outcome });
        let shown = reporter.join().unwrap_or_else(|panic| Err(defect::error(&*panic)));
        match shown {
            Ok(()) => code,
            // The last event is out, as far as it could be: nothing may follow it there.
            Err(error) => {
                report::complain(&error);
                if code == ExitCode::Done { error.code } else { code }
            }
        }
    }

    /// Says where everything is that was run. A defect is worth a log even if nothing was changed.
    fn with_log(&self, mut error: Error) -> Error {
        if error.code == ExitCode::Bug {
            self.host.log().change(&error.to_string());
        }
        if let Some(log) = self.host.log().file() {
            let see = format!("everything that was run, with its output: {}", log.display());
            error.hint = Some(error.hint.map_or(see.clone(), |hint| format!("{hint}\n{see}")));
        }
        error
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use serde_json::Value;

    use super::*;
    use crate::cli::Format;

    /// How work may end.
    const ENDS: &[(&str, u8)] = &[("well", 0), ("with an error", 20), ("in a panic", 1), ("beside a panic", 1)];

    fn work(how: &str, outcome: &mut Outcome) -> Result<()> {
        outcome.result = Some(Value::from("the result"));
        match how {
            "well" => Ok(()),
            "with an error" => Err(Error::failed("it failed")),
            "in a panic" => panic!("it panicked"),
            _ => {
                let _ = std::thread::spawn(|| panic!("nobody waits for this thread")).join();
                Ok(())
            }
        }
    }

    /// In a process of its own: its events go to its standard output.
    #[test]
    fn however_a_run_ends_its_last_event_is_the_outcome() {
        if let Ok(how) = std::env::var("IRIS_TEST_CHILD") {
            defect::watch();
            let global = Global { output: Format::Json, quiet: false, verbose: false };
            let code = in_run(&global, "bootstrap", Vec::new(), |_, outcome| work(&how, outcome)).expect("it began");
            std::process::exit(i32::from(code as u8));
        }
        for (how, code) in ENDS {
            let output = Command::new(std::env::current_exe().expect("this program"))
                .args([
                    "--exact",
                    "commands::run::tests::however_a_run_ends_its_last_event_is_the_outcome",
                    "--nocapture",
                ])
                .env("IRIS_TEST_CHILD", how)
                .env_remove("RUST_BACKTRACE")
                .output()
                .expect("this program runs");
            assert_eq!(output.status.code(), Some(i32::from(*code)), "{how}: {output:?}");
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            let records: Vec<Value> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
            let (first, last) = (records.first().expect("a first event"), records.last().expect("a last event"));
            assert_eq!(
                (&first["event"], &last["event"]),
                (&"run-started".into(), &"run-finished".into()),
                "{how}: {text}"
            );
            assert_eq!(
                (&last["outcome"]["exit"], &last["outcome"]["result"]),
                (&(*code).into(), &"the result".into()),
                "{how}"
            );
            if *code == 1 {
                let error = &last["outcome"]["errors"][0];
                let has = |field: &str, part: &str| error[field].as_str().is_some_and(|text| text.contains(part));
                assert!(
                    has("what", "a defect") && has("cause", "src/commands/run.rs") && has("hint", ".log"),
                    "{how}: {error}"
                );
                assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{how}: the panic is told twice");
            }
        }
    }
}
