//! What a teardown would do, looked up without an act.

use serde::Serialize;

use super::{Engine, one_line, ours::memory_of};
use crate::{
    engine::{
        journal::Ledger,
        step::{Act, Memory, SNAP, Scope, Step, Undo, is_named},
    },
    error::{ExitCode, Result},
};

/// What would happen to a step.
#[derive(Clone, Debug, Serialize)]
pub struct Removal {
    /// The step.
    pub step: String,
    /// Its key in the journal, which also says what it is about where there are several.
    pub key: String,
    /// What it is.
    pub title: String,
    /// What would be run and deleted.
    pub acts: Vec<String>,
    /// Why it stays, if it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep: Option<String>,
    /// Whether it stays because it is somebody else's by now.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub theirs: bool,
    /// Whether it was made in a MicroK8s that is gone, and another one is there now.
    #[serde(skip)]
    pub of_another: bool,
    /// The step that takes it along.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub with: Option<String>,
    /// Why it cannot be looked at yet. The teardown waits until it can, and then takes away what is ours.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub later: Option<String>,
}

/// What a teardown would do, in order.
#[derive(Clone, Debug, Serialize)]
pub struct UndoPlan {
    /// The steps.
    pub steps: Vec<Removal>,
}

impl UndoPlan {
    /// Whether a step goes, by itself or with another one: by its key, by its name, or by a part of its key that ends in a slash.
    pub fn goes(&self, name: &str) -> bool {
        let is = |key: &str| is_named(key, name) || (name.ends_with('/') && key.starts_with(name));
        self.steps.iter().any(|step| is(&step.key) && step.keep.is_none())
    }

    /// The keys of the steps that stay, and why.
    pub fn stays(&self) -> impl Iterator<Item = (&str, &str)> {
        self.steps.iter().filter_map(|step| Some((step.key.as_str(), step.keep.as_deref()?)))
    }

    /// The plan for people.
    pub fn show(&self) -> String {
        let mut text = String::new();
        for step in &self.steps {
            let what = match (&step.keep, &step.with, &step.later) {
                (Some(why), ..) => {
                    let why = why.replace('\n', "\n            ");
                    format!("keep   {:<22} {}: {why}", step.step, step.title)
                }
                (None, None, Some(why)) => {
                    format!(
                        "wait   {:<22} {}: checked and removed once the cluster answers ({why})",
                        step.step, step.title
                    )
                }
                (None, Some(with), _) => format!("remove {:<22} {}, together with {with}", step.step, step.title),
                (None, None, None) => format!("remove {:<22} {}", step.step, step.title),
            };
            text.push_str(&format!("  {what}\n"));
            for act in &step.acts {
                text.push_str(&format!("            {act}\n"));
            }
        }
        if self.steps.is_empty() {
            text.push_str("nothing that iris-mk8s made is there\n");
        }
        text
    }
}

impl Engine<'_> {
    /// What a teardown would do. Reads only.
    ///
    /// # Errors
    /// A step cannot be looked at.
    pub fn undo_plan(&self, ledger: &Ledger, reach: Scope) -> Result<UndoPlan> {
        let ours = self.ours(ledger, reach);
        let mut steps: Vec<Removal> = Vec::new();
        for step in &ours {
            let removal = self.removal_of(ledger, &ours, &steps, *step)?;
            steps.push(removal);
        }
        Ok(UndoPlan { steps })
    }

    /// What would happen to one step, after those that come before it.
    fn removal_of(&self, ledger: &Ledger, ours: &[&dyn Step], earlier: &[Removal], step: &dyn Step) -> Result<Removal> {
        let mut removal = Removal {
            step: step.id().to_owned(),
            key: step.key(),
            title: step.title(),
            acts: Vec::new(),
            keep: None,
            theirs: false,
            of_another: false,
            with: None,
            later: None,
        };
        let Some(mut memory) = memory_of(ledger, step) else { return Ok(removal) };
        if let Some(why) = self.why_needed(ledger, earlier, step)? {
            removal.keep = Some(why);
            return Ok(removal);
        }
        if let Some(carrier) = self.carrier(ours, ledger, step)? {
            removal.with = Some(carrier.id().to_owned());
            return Ok(removal);
        }
        let cleared = |s: &Removal| step.clears().is_some_and(|id| is_named(&s.key, id));
        if let Some(of) = step.clears()
            && earlier.iter().any(|s| cleared(s) && s.keep.is_none())
        {
            removal.with = Some(format!("{of}: the traces that it leaves"));
            removal.acts = step.foresees(self.host, &memory).map_err(|e| e.in_step(step.id()))?;
            return Ok(removal);
        }
        // Before this one's turn comes, what is somebody else's is forgotten.
        memory.clears_ours &= !earlier.iter().any(|s| s.theirs && cleared(s));
        match self.todo(step, &memory) {
            Ok(Undo::Acts(acts)) => {
                removal.acts = acts.iter().map(Act::show).collect();
                self.add_later_acts(step, &memory, &mut removal)?;
            }
            Ok(Undo::Keep(why)) => removal.keep = Some(why),
            Ok(Undo::Theirs(why)) => {
                (removal.keep, removal.theirs) = (Some(why), true);
                removal.of_another = self.is_in_another(step, &memory)?;
            }
            Ok(Undo::Pending(_)) => self.add_later_acts(step, &memory, &mut removal)?,
            Ok(Undo::Done) => {}
            Err(e) if e.transient && self.agreed.is_unseen() && ours.iter().any(|s| s.id() == SNAP) => {
                removal.with = Some(SNAP.to_owned());
            }
            Err(e) if e.transient => removal.later = Some(one_line(&e)),
            // The teardown tries it, tells why it fails, and goes on with the others.
            Err(e) if e.code == ExitCode::CommandFailed => {
                removal.keep = Some(format!("it could not be taken back: {}", one_line(&e)));
            }
            Err(e) => return Err(e.in_step(step.id())),
        }
        Ok(removal)
    }

    /// Why a step stays because of another one that stays, if it does.
    fn why_needed(&self, ledger: &Ledger, earlier: &[Removal], step: &dyn Step) -> Result<Option<String>> {
        // What is in a MicroK8s that is somebody else's needs nothing of ours any more.
        let stays = |s: &&Removal| s.keep.is_some() && !s.of_another;
        let needs = |s: &&Removal| if s.theirs { step.is_needed_by(&s.key) } else { step.is_needed_while_ours(&s.key) };
        match earlier.iter().filter(stays).find(needs) {
            Some(user) => self.why_used(ledger, step, (&user.key, &user.step)),
            None => Ok(None),
        }
    }

    /// Adds the acts that follow the first ones.
    fn add_later_acts(&self, step: &dyn Step, memory: &Memory, removal: &mut Removal) -> Result<()> {
        let later = step.foresees(self.host, memory).map_err(|e| e.in_step(step.id()))?;
        let new: Vec<String> = later.into_iter().filter(|act| !removal.acts.contains(act)).collect();
        removal.acts.extend(new);
        Ok(())
    }
}
