//! The commands: what each of them reads, runs and prints. Everything that is decided, is decided elsewhere.

mod bootstrap;
mod bundle;
mod doctor;
mod forward;
mod image;
mod profiles;
pub mod proposal;
mod question;
mod repair;
mod run;
pub(crate) mod start_stop;
mod teardown;
mod wanted;

use crate::{
    cli::{self, Cli, Command, Format, Global},
    config::{credentials::Credentials, place::Place, spec::Spec},
    engine::{self, Engine, event::Events, journal::Contents, step::Stage},
    error::{Error, ExitCode, Result, defect},
    host::Host,
    report::{self, results},
    stack::{self, checks, data::Agreed, iris::summary::Summary},
};

use bootstrap::Wishes;
use question::{ask, looking};
use run::in_run;

/// The stages and the checks that a command line may name.
pub fn offered() -> cli::Offered {
    cli::Offered { stages: stack::STAGES.to_vec(), checks: checks::skippable() }
}

/// Runs a command line to its exit code.
pub fn run(cli: Cli) -> ExitCode {
    let global = cli.global.clone();
    // A panic of a thread that nobody waited for is a defect all the same.
    let ended = defect::caught(|| execute(cli, &global)).and_then(|code| match defect::unnoticed() {
        Some(defect) if code == ExitCode::Done => Err(defect),
        _ => Ok(code),
    });
    match ended {
        Ok(code) => code,
        Err(error) => {
            report::failure(&error, &global);
            error.code
        }
    }
}

fn execute(cli: Cli, global: &Global) -> Result<ExitCode> {
    match cli.command {
        Command::Bootstrap(options) if options.dry_run => {
            let wish =
                Wishes { data: options.data, until: options.until.as_deref(), bundle: options.bundle.as_deref() };
            bootstrap::plan(global, &options.spec, &wish, false)
        }
        Command::Bootstrap(options) => bootstrap::bootstrap(global, &options),
        Command::Plan(options) => {
            let wish = Wishes { data: options.data, until: None, bundle: options.bundle.as_deref() };
            bootstrap::plan(global, &options.spec, &wish, options.check)
        }
        Command::Status => status(global),
        Command::Start => start_stop::start(global),
        Command::Stop => start_stop::stop(global),
        Command::Session { pod } => start_stop::session(pod.as_deref()),
        Command::Forward(options) => forward::forward(global, &options),
        Command::Bundle(what) => bundle::bundle(global, what),
        Command::Image(what) => image::image(global, what),
        Command::Repair(cli::Repair::Longhorn(options)) => repair::longhorn(global, &options),
        Command::Doctor(options) => doctor::doctor(global, &options),
        Command::Teardown(options) => teardown::teardown(global, &options),
        Command::Profile(what) => profiles::profiles(global, what),
        Command::Journal(cli::Journal::Show) => show_journal(global),
        Command::Completions { shell } => print(&cli::completions(shell, &offered())),
        Command::Man { dir: Some(folder), .. } => cli::man_pages(&folder, &offered()).map(|()| ExitCode::Done),
        Command::Man { command, dir: None } => print(&cli::man(command.as_deref(), &offered())?),
    }
}

/// Ends a command line that clap answers itself: with help, the version, or what is wrong in it.
pub fn answer(answer: &clap::Error) -> ExitCode {
    let written = answer.print();
    if answer.use_stderr() {
        return ExitCode::Usage;
    }
    match report::on_stdout(written) {
        Ok(()) => ExitCode::Done,
        Err(error) => {
            report::complain(&error);
            error.code
        }
    }
}

fn print(text: &str) -> Result<ExitCode> {
    results(text)?;
    Ok(ExitCode::Done)
}

/// Writes a value for programs.
fn print_json(value: &impl serde::Serialize) -> Result<ExitCode> {
    let text = serde_json::to_string(value).map_err(|e| Error::new(ExitCode::Bug, "not JSON").caused_by(e))?;
    print(&format!("{text}\n"))
}

fn need_root() -> Result<()> {
    if nix::unistd::geteuid().is_root() {
        return Ok(());
    }
    Err(Error::new(ExitCode::NotRoot, "this needs root").hint("run the same command with sudo"))
}

fn stage_names(stages: &[Stage]) -> Vec<String> {
    stages.iter().map(|s| s.id.to_owned()).collect()
}

/// An engine for plans: nothing may be deleted.
fn engine_that_looks<'a>(host: &'a dyn Host, stages: &'a [Stage], events: &'a Events) -> Engine<'a> {
    Engine { host, stages, events, workers: 1, agreed: Agreed::nothing() }
}

/// What the journal knows, and the stages of its newest spec.
fn remembered() -> Result<Option<(Contents, Spec, Vec<Stage>)>> {
    let contents = Contents::read(&Place::default(), stack::origin)?;
    let Some(mut spec) = contents.ledger.spec.clone() else { return Ok(None) };
    // A wish for one run only.
    spec.data_goes = false;
    let credentials = Credentials::load_or_make(&Place::default(), None, spec.published_hash.as_deref())?;
    let stages = stack::catalog(&spec, &credentials);
    Ok(Some((contents, spec, stages)))
}

/// The same, for a command that makes no sense without a bootstrap.
fn need_bootstrap() -> Result<(Contents, Spec, Vec<Stage>)> {
    remembered()?.ok_or_else(|| {
        Error::new(ExitCode::Preflight, "no bootstrap has run on this host")
            .because("there is no journal in /var/lib/iris-mk8s")
            .hint("run `sudo iris-mk8s bootstrap` first; without a bootstrap, start and stop MicroK8s with `microk8s` itself")
    })
}

const NOTHING_KNOWN: &str = "no bootstrap has run on this host: there is no journal in /var/lib/iris-mk8s\n";

fn status(global: &Global) -> Result<ExitCode> {
    need_root()?;
    let Some((_, spec, stages)) = remembered()? else {
        match global.output {
            Format::Text => results(NOTHING_KNOWN)?,
            Format::Json => _ = print_json(&serde_json::json!({"steps": [], "summary": null}))?,
        }
        return Ok(ExitCode::Differs);
    };
    let host = looking("status")?;
    let (events, _) = Events::channel();
    let plan = engine_that_looks(&host, &stages, &events).plan()?;
    let summary = Summary::read(&host, &spec);
    match global.output {
        Format::Text => {
            results(&plan.show())?;
            match &summary {
                Ok(summary) => results(&format!("\n{summary}"))?,
                Err(e) => results(&format!("\nthe Kubernetes API does not answer: {}\n", engine::one_line(e)))?,
            }
        }
        Format::Json => _ = print_json(&serde_json::json!({"steps": plan.steps, "summary": summary.ok()}))?,
    }
    Ok(if plan.is_empty() { ExitCode::Done } else { ExitCode::Differs })
}

fn show_journal(global: &Global) -> Result<ExitCode> {
    need_root()?;
    let contents = Contents::read(&Place::default(), stack::origin)?;
    if global.output == Format::Json {
        return print_json(&contents.records);
    }
    if contents.records.is_empty() {
        return print(NOTHING_KNOWN);
    }
    print(&contents.to_string())
}
