//! What a bootstrap would do: every step's probe, and the acts that would follow. Reads only.

use serde::Serialize;
use serde_json::Value;

use super::{Engine, abreast::Looks};
use crate::{
    engine::step::{Act, Probe, Scope, Stage, Step},
    error::{Error, ExitCode, Result},
    host::{Host, microk8s},
};

/// What would happen to a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// It is as wanted.
    Keep,
    /// It is not there, and would be made.
    Create,
    /// It is different, and would be changed.
    Change,
    /// It is on its way, and would be waited for.
    Wait,
    /// Something stands in the way: nothing would be done at all.
    Refuse,
    /// It cannot be looked at before what it needs is there.
    Later,
}

/// One step of a plan.
#[derive(Clone, Debug, Serialize)]
pub struct StepPlan {
    /// Its stage.
    pub stage: &'static str,
    /// Its name.
    pub step: String,
    /// What it is.
    pub title: String,
    /// What would happen.
    pub verdict: Verdict,
    /// What is there, or why.
    pub note: String,
    /// What would be run, written and applied, as a person would type it.
    pub acts: Vec<String>,
    /// What the user can do about a refusal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Whether all that comes before it is as wanted: then what it looks like now is what it will look like.
    #[serde(skip)]
    pub settled: bool,
    /// What the person should know although it is as wanted.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// A plan: every step in order.
#[derive(Clone, Debug, Serialize)]
pub struct Plan {
    /// The steps.
    pub steps: Vec<StepPlan>,
}

impl Plan {
    /// Whether a bootstrap would do nothing.
    pub fn is_empty(&self) -> bool {
        self.steps.iter().all(|s| s.verdict == Verdict::Keep)
    }

    /// The plan of one step.
    pub fn step(&self, id: &str) -> Option<&StepPlan> {
        self.steps.iter().find(|s| s.step == id)
    }

    /// All refusals as one error, or nothing.
    ///
    /// # Errors
    /// When a step refuses.
    pub fn refusals(&self) -> Result<()> {
        let refused: Vec<&StepPlan> = self.steps.iter().filter(|s| s.verdict == Verdict::Refuse).collect();
        let Some(first) = refused.first() else { return Ok(()) };
        let code = match (first.stage, first.step.as_str()) {
            // A range that does not suit the network is wrong input.
            (_, "preflight.range") => ExitCode::Usage,
            ("preflight", _) => ExitCode::Preflight,
            _ => ExitCode::NotOurs,
        };
        // Preflight names each of its findings itself.
        let said =
            |s: &&StepPlan| if s.stage == "preflight" { s.note.clone() } else { format!("{}: {}", s.step, s.note) };
        let cause: Vec<String> = refused.iter().map(said).collect();
        let mut hints: Vec<&str> = refused.iter().filter_map(|s| s.hint.as_deref()).collect();
        hints.dedup();
        Err(Error::new(code, "refused; nothing was changed").because(cause.join("\n")).hint(hints.join("\n")))
    }

    /// The plan for people.
    pub fn show(&self) -> String {
        let mut text = String::new();
        let mut stage = "";
        for step in &self.steps {
            if step.stage != stage {
                stage = step.stage;
                text.push_str(&format!("{stage}\n"));
            }
            let verdict =
                serde_json::to_value(step.verdict).ok().and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default();
            let note = if step.note.is_empty() { String::new() } else { format!(": {}", step.note) };
            text.push_str(&format!("  {verdict:<7} {:<22} {}{note}\n", step.step, step.title));
            for act in &step.acts {
                text.push_str(&format!("            {act}\n"));
            }
            for warning in &step.warnings {
                text.push_str(&format!("            warning: {warning}\n"));
            }
        }
        let count = |verdict| self.steps.iter().filter(|s| s.verdict == verdict).count();
        let to_do = self.steps.len() - count(Verdict::Keep);
        text.push_str(&if to_do == 0 {
            format!("nothing to do: all {} steps are as wanted\n", self.steps.len())
        } else {
            format!(
                "{} to create, {} to change, {} to wait for, {} refused, {} seen later, {} as wanted\n",
                count(Verdict::Create),
                count(Verdict::Change),
                count(Verdict::Wait),
                count(Verdict::Refuse),
                count(Verdict::Later),
                count(Verdict::Keep)
            )
        });
        text
    }
}

/// What comes before a step.
#[derive(Default)]
struct Ahead {
    /// In the same stage: MicroK8s is there, and is made anew.
    is_replaced: bool,
    /// In the same stage or before it: acts that delete something.
    deletions: Vec<Act>,
}

impl Ahead {
    /// Whether something that these acts would make is deleted before.
    fn deletes(&self, made: &[Act]) -> bool {
        let is_same = |object: &Value, act: &Act| {
            let Act::Delete { kind, namespace, name } = act else { return false };
            object["kind"] == kind.kind
                && object["metadata"]["name"] == name.as_str()
                && object["metadata"]["namespace"].as_str() == namespace.as_deref()
        };
        let mut objects = made.iter().filter_map(|act| if let Act::Apply(object) = act { Some(object) } else { None });
        objects.any(|object| self.deletions.iter().any(|act| is_same(object, act)))
    }

    /// Whether what a step wants is another thing after these deletions.
    fn changes(&self, host: &dyn Host, step: &dyn Step) -> Result<bool> {
        for act in &self.deletions {
            if step.changes_with(host, act)? {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

impl Engine<'_> {
    /// Looks at every step that can be looked at.
    ///
    /// # Errors
    /// A probe fails for good.
    pub fn plan(&self) -> Result<Plan> {
        let mut steps: Vec<StepPlan> = Vec::new();
        let mut looks = if self.host.takes_questions_abreast() { self.look_abreast() } else { Looks::default() };
        let mut ahead = Ahead::default();
        for stage in self.stages {
            let before = self.needed(stage);
            let keeps = |id: &str| steps.iter().all(|s: &StepPlan| s.step != id || s.verdict == Verdict::Keep);
            let reachable = before.iter().flat_map(|s| &s.steps).all(|step| !step.opens() || keeps(step.id()));
            ahead.is_replaced = false;
            for step in &stage.steps {
                self.check_stop()?;
                let of_before = |s: &&StepPlan| s.stage == stage.id || before.iter().any(|b| b.id == s.stage);
                let settled = steps.iter().filter(of_before).all(|s| s.verdict == Verdict::Keep);
                // A check says nothing of value before the steps ahead of it have done their work.
                let too_early = stage.id != "preflight" && step.scope() == Scope::Nothing && !settled;
                let found = if reachable && !too_early {
                    let found = looks.remove(step.id()).unwrap_or_else(|| self.look(&**step));
                    Some(found.map_err(|e| e.in_step(step.id()))?)
                } else {
                    None
                };
                let plan = self.plan_step(&**step, found, &mut ahead)?;
                steps.push(StepPlan { stage: stage.id, settled, ..plan });
            }
        }
        Ok(Plan { steps })
    }

    /// What would be done for a step where this was found; none: it cannot be looked at yet.
    fn plan_step(&self, step: &dyn Step, found: Option<Probe>, ahead: &mut Ahead) -> Result<StepPlan> {
        let all_acts = |probe: &Probe| -> Result<Vec<Act>> {
            let mut acts = step.apply(self.host, probe)?;
            let follow = if acts.is_empty() { Vec::new() } else { step.follows(self.host, probe)? };
            let new: Vec<Act> = follow.into_iter().filter(|act| !acts.contains(act)).collect();
            acts.extend(new);
            Ok(acts)
        };
        let mut warnings = Vec::new();
        let (verdict, note, acts, hint) = match found {
            None => (Verdict::Later, String::new(), all_acts(&Probe::Absent)?, None),
            // With a MicroK8s that is on its way out goes what is as wanted in it.
            Some(Probe::Satisfied { .. }) if ahead.is_replaced => {
                (Verdict::Later, String::new(), all_acts(&Probe::Absent)?, None)
            }
            Some(Probe::Satisfied { .. })
                if !ahead.deletions.is_empty() && ahead.deletes(&step.apply(self.host, &Probe::Absent)?) =>
            {
                let why = "it is deleted first and made again".to_owned();
                (Verdict::Change, why, all_acts(&Probe::Absent)?, None)
            }
            Some(Probe::Satisfied { .. }) if ahead.changes(self.host, step)? => {
                let why = "what it was made for is deleted first and made again".to_owned();
                (Verdict::Change, why, all_acts(&Probe::Absent)?, None)
            }
            Some(Probe::Satisfied { note, warnings: found }) => {
                warnings = found;
                (Verdict::Keep, note, Vec::new(), None)
            }
            Some(Probe::Absent) => (Verdict::Create, String::new(), all_acts(&Probe::Absent)?, None),
            Some(Probe::Differs { now, why }) => {
                let acts = all_acts(&Probe::Differs { now, why: why.clone() })?;
                (if acts.is_empty() { Verdict::Wait } else { Verdict::Change }, why, acts, None)
            }
            Some(Probe::Pending { why, progress }) => {
                let pending = Probe::Pending { why: why.clone(), progress };
                (Verdict::Wait, why, step.follows(self.host, &pending)?, None)
            }
            Some(Probe::Hopeless { why, .. }) => (Verdict::Wait, why, Vec::new(), None),
            Some(Probe::Refused { why, hint }) => (Verdict::Refuse, why, Vec::new(), Some(hint)),
        };
        ahead.is_replaced |= step.opens() && verdict != Verdict::Keep && self.host.snapd_get(microk8s::SNAP)?.is_some();
        let shown = acts.iter().map(Act::show).collect();
        ahead.deletions.extend(acts.into_iter().filter(|act| matches!(act, Act::Delete { .. })));
        let (id, title) = (step.id().to_owned(), step.title());
        Ok(StepPlan { stage: "", step: id, title, verdict, note, acts: shown, hint, settled: false, warnings })
    }

    /// All stages that a stage needs, and those that these need.
    pub(super) fn needed(&self, stage: &Stage) -> Vec<&Stage> {
        let mut names: Vec<&str> = stage.needs.to_vec();
        let mut found = Vec::new();
        // Each stage comes after those it needs: one walk backwards finds them all.
        for other in self.stages.iter().rev().filter(|s| s.id != stage.id) {
            if names.contains(&other.id) {
                names.extend(other.needs);
                found.push(other);
            }
        }
        found
    }
}
