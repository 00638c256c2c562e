//! Everyday commands: the cluster is stopped and started with the database in it, and a terminal is opened. What they switch is written into
//! the journal first: a stop of our own must pass neither for what was there before nor for a change by somebody else.

use std::{os::unix::process::CommandExt, process, time::Duration};

use serde_json::Value;

use super::{NOTHING_KNOWN, Run, need_root, remembered, stage_names};
use crate::{
    cli::Global,
    cluster::{self, state},
    engine::Engine,
    error::{Error, ExitCode, Result},
    event::{Event, Outcome},
    host::{Cmd, Host, Real, Watch},
    journal::{Journal, Place, Record},
    spec::{Iris, Spec},
    step::{Memo, Stage},
    steps,
};

fn nothing_known() -> Error {
    Error::new(ExitCode::Preflight, NOTHING_KNOWN.trim())
        .hint("run `sudo iris-mk8s bootstrap` first; a MicroK8s without it is started by `microk8s start`")
}

/// What a command of these knows, with the lock that keeps every other run away.
struct Here {
    spec: Spec,
    stages: Vec<Stage>,
    run: Run,
    journal: Journal,
}

impl Here {
    fn new(global: &Global, command: &str, stages: &[&str]) -> Result<Self> {
        need_root()?;
        let (_, spec, mut all) = remembered()?.ok_or_else(nothing_known)?;
        all.retain(|stage| stages.contains(&stage.id));
        let journal = Journal::open(&Place::default(), steps::origin)?;
        let run = Run::begin(global, command, stage_names(&all))?;
        let (name, at, command) = (run.name.clone(), run.host.unix_time(), command.to_owned());
        journal.append(&Record::Run { run: name, command, at, spec: None })?;
        Ok(Self { spec, stages: all, run, journal })
    }

    /// Does what a step of the journal is about, between the records that tell of it.
    fn recorded(&self, key: &str, prior: Value, want: Value, act: impl FnOnce() -> Result<()>) -> Result<()> {
        let step = || key.to_owned();
        let recipe = self.journal.ledger().memory(key).map(|memory| memory.recipe.clone()).unwrap_or_default();
        self.journal.append(&Record::Intent { step: step(), memo: Memo { prior, want }, recipe })?;
        act()?;
        self.journal.append(&Record::Done { step: step() })
    }

    /// Sets the number of instances, if the StatefulSet is ours; somebody else's is left to them.
    fn scale(&self, replicas: u32) -> Result<bool> {
        let key = steps::set_key(&self.spec.iris);
        if self.journal.ledger().memory(&key).is_none() {
            return Ok(false);
        }
        let wanted = steps::stateful_set_of(&Iris { replicas, ..self.spec.iris.clone() });
        self.recorded(&key, Value::Null, steps::applied(&wanted), || self.run.host.apply(&wanted, false).map(|_| ()))?;
        Ok(true)
    }

    /// Starts or stops the cluster. What ran before ran before us, whoever stopped it since: a person who starts it means it to run.
    fn microk8s(&self, verb: &str) -> Result<()> {
        self.note(format!("runs `microk8s {verb}`"));
        self.recorded(steps::RUNNING, steps::switched(false), steps::switched(verb == "stop"), || {
            let output = self.run.host.ask(&Cmd::changes(steps::SWITCH_WITHIN, ["microk8s", verb]))?;
            if output.ok() {
                return Ok(());
            }
            Err(Error::failed(format!("`microk8s {verb}` {}", output.ended())).because(output.tail()))
        })
    }

    /// IRIS of somebody else's that runs: it would be killed with the cluster, in the middle of what it writes.
    fn refuse_foreign(&self) -> Result<()> {
        let (host, iris) = (&self.run.host, &self.spec.iris);
        let Some(set) = host.get(&cluster::STATEFUL_SET, Some(&iris.namespace), &iris.name)? else { return Ok(()) };
        let pods = host.list(&cluster::POD, Some(&iris.namespace), &state::selector(&set))?;
        if pods.is_empty() {
            return Ok(());
        }
        let Iris { namespace, name, .. } = iris;
        Err(Error::new(
            ExitCode::NotOurs,
            format!("StatefulSet {namespace}/{name} was applied by somebody else, and runs"),
        )
        .because("stopped with the cluster, its databases would not be shut down")
        .hint(format!(
            "shut it down first: `microk8s kubectl scale statefulset/{name} --namespace {namespace} --replicas=0`, \
                 then the same command again"
        )))
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
    } else {
        here.refuse_foreign()?;
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
                .hint("`sudo iris-mk8s doctor` looks for the cause; the same command goes on"));
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
        return Err(Error::failed("MicroK8s is stopped").hint("start it: `sudo iris-mk8s start`"));
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
