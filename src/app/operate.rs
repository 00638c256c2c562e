//! Everyday commands: the cluster is stopped and started with the database in it, and a terminal is opened. The journal stays as it is: what
//! is ours does not change by them.

use std::{os::unix::process::CommandExt, process, time::Duration};

use super::{NOTHING_KNOWN, Run, need_root, remembered, stage_names};
use crate::{
    cli::Global,
    cluster,
    engine::Engine,
    error::{Error, ExitCode, Result},
    event::{Event, Outcome},
    host::{Cmd, Host, Real, Watch},
    journal::{Contents, Journal, Place},
    spec::{Iris, Spec},
    step::Stage,
    steps,
};

fn nothing_known() -> Error {
    Error::failed(NOTHING_KNOWN.trim())
        .hint("`iris-mk8s bootstrap` comes first; `microk8s start` and `stop` work without it")
}

/// What a command of these knows, with the lock that keeps every other run away.
struct Here {
    contents: Contents,
    spec: Spec,
    stages: Vec<Stage>,
    run: Run,
    _lock: Journal,
}

impl Here {
    fn new(global: &Global, command: &str, stages: &[&str]) -> Result<Self> {
        need_root()?;
        let (contents, spec, mut all) = remembered()?.ok_or_else(nothing_known)?;
        all.retain(|stage| stages.contains(&stage.id));
        let lock = Journal::open(&Place::default())?;
        let run = Run::begin(global, command, stage_names(&all))?;
        Ok(Self { contents, spec, stages: all, run, _lock: lock })
    }

    /// Sets the number of instances, if the StatefulSet is ours; somebody else's is left to them.
    fn scale(&self, replicas: u32) -> Result<bool> {
        let ours = self.contents.ledger.memory(steps::SET).is_some();
        if ours {
            self.run.host.apply(&steps::stateful_set_of(&Iris { replicas, ..self.spec.iris.clone() }), false)?;
        }
        Ok(ours)
    }

    fn microk8s(&self, verb: &str) -> Result<()> {
        self.note(format!("runs `microk8s {verb}`"));
        let output = self.run.host.ask(&Cmd::changes(steps::SWITCH_WITHIN, ["microk8s", verb]))?;
        if output.ok() {
            return Ok(());
        }
        Err(Error::failed(format!("`microk8s {verb}` {}", output.ended())).because(output.tail()))
    }

    fn note(&self, message: String) {
        self.run.events.send(Event::Note { message });
    }

    fn end(self, ended: Result<()>) -> ExitCode {
        self.run.end(Outcome::new(ExitCode::Done), ended, None)
    }
}

/// `stop`: the database first, so that it need not recover, then the cluster.
pub(super) fn stop(global: &Global) -> Result<ExitCode> {
    let here = Here::new(global, "stop", &[])?;
    let ended = stop_all(&here);
    Ok(here.end(ended))
}

fn stop_all(here: &Here) -> Result<()> {
    if steps::is_stopped(&here.run.host) {
        here.note("MicroK8s is stopped already".to_owned());
        return Ok(());
    }
    if here.scale(0)? {
        gone(here)?;
    }
    here.microk8s("stop")
}

/// Waits until no instance runs any more.
fn gone(here: &Here) -> Result<()> {
    let (host, iris) = (&here.run.host, &here.spec.iris);
    let mut changes = host.watch(&[Watch::Objects(&cluster::POD, Some(iris.namespace.clone()))]);
    let begun = host.now();
    let most: Duration = here.spec.timeouts.remove.into();
    loop {
        let left = host.list(&cluster::POD, Some(&iris.namespace), &format!("app={}", iris.service))?;
        if left.is_empty() {
            here.note("IRIS is stopped; its data stays".to_owned());
            return Ok(());
        }
        if host.stopping() {
            return Err(Error::new(ExitCode::Interrupted, "interrupted").hint("the same command goes on from here"));
        }
        if host.now().saturating_sub(begun) > most {
            return Err(Error::new(ExitCode::TimedOut, format!("{} instances of IRIS still stop", left.len()))
                .hint("`iris-mk8s doctor` looks for the cause; `microk8s stop` stops them with the cluster"));
        }
        changes.next(Duration::from_secs(5));
    }
}

/// `start`: the cluster, then the database, until it answers.
pub(super) fn start(global: &Global) -> Result<ExitCode> {
    let here = Here::new(global, "start", &["start", "pods", "ready"])?;
    let ended = start_all(&here);
    Ok(here.end(ended))
}

fn start_all(here: &Here) -> Result<()> {
    if steps::stopped(&here.run.host)?.is_some() {
        here.microk8s("start")?;
    }
    let (cluster, ready) = here.stages.split_at(1);
    let await_all = |stages| Engine { host: &here.run.host, stages, events: &here.run.events, workers: 1 }.await_all();
    await_all(cluster)?;
    here.scale(here.spec.iris.replicas)?;
    await_all(ready)
}

/// `session`: becomes the terminal.
pub(super) fn session(pod: Option<&str>) -> Result<ExitCode> {
    need_root()?;
    let (_, spec, _) = remembered()?.ok_or_else(nothing_known)?;
    let iris = &spec.iris;
    let pod = pod.map_or_else(|| format!("{}-0", iris.name), str::to_owned);
    if steps::is_stopped(&Real::new("session", |_| {})?) {
        return Err(Error::failed("MicroK8s is stopped").hint("`iris-mk8s start`"));
    }
    let terminal = std::io::IsTerminal::is_terminal(&std::io::stdin());
    let kind = if terminal { "-it" } else { "-i" };
    let error = process::Command::new("/snap/bin/microk8s")
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
