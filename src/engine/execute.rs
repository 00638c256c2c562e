//! Executes acts: the one place where something is done to a host.

use std::ops::ControlFlow;

use super::{Engine, Wait};
use crate::{
    bundle,
    engine::{
        event::Event,
        step::{Act, Probe, Step},
    },
    error::{Error, ExitCode, Result},
    host::{Cmd, Heard, Progress},
    image::registry,
    secrets,
};

impl Engine<'_> {
    /// Checks that these acts delete only data whose loss was agreed to.
    pub(super) fn allow(&self, acts: &[Act]) -> Result<()> {
        acts.iter().try_for_each(|act| self.agreed.check(self.host, act))
    }

    /// Executes acts in order.
    pub(super) fn act(&self, step: &dyn Step, acts: &[Act]) -> Result<()> {
        for act in acts {
            self.events.send(Event::StepActing { step: step.id().to_owned(), title: step.title(), act: act.show() });
            self.execute(step, act)?;
        }
        Ok(())
    }

    fn execute(&self, step: &dyn Step, act: &Act) -> Result<()> {
        match act {
            Act::Run(cmd) => self.run(step, cmd),
            Act::Snapd(change) => self.host.snapd_change(change, &mut self.follower(step)),
            Act::Pull { image } => self.host.pull(image, &mut self.follower(step)),
            Act::Import(import) => bundle::import(self.host, import, &mut self.follower(step)),
            Act::Sideload(sideload) => bundle::sideload(self.host, sideload, &mut self.follower(step)),
            Act::Push(push) => registry::push(self.host, push, &mut self.follower(step)),
            Act::Unpush { repository, digest } => registry::remove(self.host, repository, digest),
            Act::Write(file) => self.host.write(file),
            Act::Kill { processes, .. } => self.host.kill(processes),
            Act::Remove { path, all } => self.host.remove(path, *all),
            Act::Download(file) => self.host.download(file),
            Act::Patch { kind, namespace, name, patch } => self.host.patch(kind, namespace.as_deref(), name, patch),
            Act::Apply(object) => self.host.apply(object, false).map(|_| ()),
            Act::Delete { kind, namespace, name } => self.host.delete(kind, namespace.as_deref(), name),
        }
    }

    /// Runs a command. What it waits for in silence, the step's own probe can tell.
    fn run(&self, step: &dyn Step, cmd: &Cmd) -> Result<()> {
        let id = step.id();
        let mut wait = Wait::default();
        let mut end = None;
        let output = self.host.run(cmd, &mut |heard| {
            match heard {
                Heard::Line(line) => {
                    self.events.send(Event::Output { step: id.to_owned(), line: secrets::hide(line) });
                }
                Heard::Silence => match self.look(step) {
                    Ok(Probe::Pending { why, .. }) => wait.tell(self.events, step, &why),
                    Ok(Probe::Hopeless { why, hint }) => end = Some((why, hint)),
                    _ => {}
                },
            }
            if end.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        if let Some((why, hint)) = end {
            let what = format!("{}: {why}", step.title());
            let cause = format!("`{}` would never have ended; it was stopped", cmd.show());
            return Err(Error::new(ExitCode::Unverified, what).because(cause).hint(hint));
        }
        let is_gone = |words: &str| output.stdout.contains(words) || output.stderr.contains(words);
        if output.ok() || cmd.gone.is_some_and(is_gone) {
            return Ok(());
        }
        Err(Error::failed(format!("`{}` {}", cmd.show(), output.ended())).because(output.tail()))
    }

    /// Tells how far others are with an act, and breaks off at the step's deadline.
    fn follower<'s>(&'s self, step: &'s dyn Step) -> impl FnMut(&str, Option<Progress>) -> ControlFlow<()> + 's {
        let mut wait = Wait::default();
        let begun = self.host.now();
        move |what, progress| {
            match progress {
                Some(progress) => self.tell_progress(step, what, &progress),
                None => wait.tell(self.events, step, what),
            }
            let late = self.host.now().saturating_sub(begun) >= step.deadline();
            if late { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        }
    }

    pub(super) fn tell_progress(&self, step: &dyn Step, what: &str, progress: &Progress) {
        let Progress { done, total, unit } = *progress;
        let (step, unit, what) = (step.id().to_owned(), unit.to_owned(), what.to_owned());
        self.events.send(Event::StepProgress { step, done, total, unit, what });
    }
}
