//! Everyday commands: the cluster is stopped and started with the database in it, and a terminal is opened.

use std::{os::unix::process::CommandExt, process};

use super::{in_run, looking, need_bootstrap, need_root, stage_names};
use crate::{
    cli::Global,
    config::place::Place,
    engine::{Engine, journal::Journal, step::Stage},
    error::{Error, ExitCode, Result},
    host,
    stack::{self, data::Agreed, microk8s::state as microk8s},
};

/// `stop`: the database first, then the cluster.
pub(super) fn stop(global: &Global) -> Result<ExitCode> {
    need_root()?;
    let (contents, spec, _) = need_bootstrap()?;
    let stages = stack::stop(&looking("stop")?, &spec, &contents.ledger);
    switch(global, "stop", &stages)
}

/// `start`: the cluster, then the database, until it answers.
pub(super) fn start(global: &Global) -> Result<ExitCode> {
    need_root()?;
    let (contents, spec, _) = need_bootstrap()?;
    switch(global, "start", &stack::start(&spec, &contents.ledger))
}

/// Under the lock: no other run may work beside it.
fn switch(global: &Global, command: &str, stages: &[Stage]) -> Result<ExitCode> {
    let journal = Journal::open(&Place::default(), stack::origin)?;
    in_run(global, command, stage_names(stages), |run, outcome| {
        let engine = Engine { host: &run.host, stages, events: &run.events, workers: 1, agreed: Agreed::nothing() };
        let (done, ended) = engine.switch(&journal, &run.name, command);
        *outcome = done;
        ended
    })
}

/// `session`: becomes the terminal.
pub(super) fn session(pod: Option<&str>) -> Result<ExitCode> {
    need_root()?;
    let (_, spec, _) = need_bootstrap()?;
    let iris = &spec.iris;
    let pod = pod.map_or_else(|| format!("{}-0", iris.name), str::to_owned);
    if microk8s::is_stopped(&looking("session")?) {
        return Err(Error::failed("MicroK8s is stopped").hint("start it: `sudo iris-mk8s start`"));
    }
    let terminal = std::io::IsTerminal::is_terminal(&std::io::stdin());
    let kind = if terminal { "-it" } else { "-i" };
    let error = process::Command::new("/snap/bin/microk8s")
        // A service or a provisioner may have none, and MicroK8s' scripts call programs by their names.
        .env("PATH", host::PATH)
        .args([
            "kubectl",
            "exec",
            kind,
            "--namespace",
            &iris.namespace,
            &pod,
            "-c",
            "iris",
            "--",
            "iris",
            "session",
            "IRIS",
        ])
        .exec();
    Err(Error::failed("microk8s cannot be run").because(error).hint("`iris-mk8s doctor` looks for the cause"))
}
