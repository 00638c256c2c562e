//! The program's commands on a modelled host, as `src/commands/mod.rs` puts them together, with all that a person sees of them.

mod commands;
mod wanted;

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Duration,
};

pub use commands::{bootstrap, plan, repair, start, status, stop, teardown, undo_plan};
use iris_mk8s::{
    config::{place::Place, spec::Spec},
    engine::{
        Engine,
        event::{Event, Events},
        journal::{Contents, Journal, Ledger},
        step::Stage,
    },
    error::{ExitCode, Result},
    host::Host,
    stack::{self, data::Agreed},
};

use crate::model::{
    host::{Hook, Model},
    store::{ModelStore, Policy, bytes},
    turns::{Turns, in_engine},
    world::World,
};

/// What a person sees, and what came of it.
pub struct Ran {
    pub code: ExitCode,
    pub world: World,
    /// It died, and so it has no exit code.
    pub died: bool,
    /// Steps with what they did.
    pub acts: Vec<(String, String)>,
    /// What stays, fails, or is warned of, in the words that were printed.
    pub said: String,
    /// What was shown with the question.
    pub asked: String,
    /// Changes of the host, in all.
    pub changes: u64,
    /// Why the program itself broke.
    pub panic: Option<String>,
}

/// What a command would do, as it was shown before.
#[derive(Clone, Debug, Default)]
pub struct Shown {
    /// Steps with the acts that were shown of them.
    pub steps: Vec<ShownStep>,
    /// Everything that was printed.
    pub text: String,
    /// It was refused, or failed.
    pub code: Option<ExitCode>,
}

#[derive(Clone, Debug)]
pub struct ShownStep {
    pub step: String,
    pub acts: Vec<String>,
    /// It is said that nothing happens to it.
    pub stays: bool,
    /// It goes with another step.
    pub with: Option<String>,
    /// It cannot be looked at yet, and the command waits until it can.
    pub later: bool,
}

fn place() -> Place {
    Place::default()
}

/// What the program remembers.
struct Remembered {
    contents: Contents,
    spec: Spec,
}

fn contents(world: &World) -> Result<Contents> {
    if world.files.has(place().journal()) {
        Contents::parse(&bytes(world), stack::origin)
    } else {
        Ok(Contents::default())
    }
}

/// What the journal says; nothing when it cannot be read.
pub fn ledger(world: &World) -> Ledger {
    contents(world).map(|contents| contents.ledger).unwrap_or_default()
}

fn remembered(world: &World) -> Result<Option<Remembered>> {
    let contents = contents(world)?;
    let spec = contents.ledger.spec.clone();
    Ok(spec.map(|spec| Remembered { contents, spec: Spec { data_goes: false, ..spec } }))
}

fn engine<'a>(host: &'a dyn Host, stages: &'a [Stage], events: &'a Events) -> Engine<'a> {
    Engine { host, stages, events, workers: 1, agreed: Agreed::nothing() }
}

fn journal(model: &Arc<Model>, is_bootstrap: bool) -> Result<Journal> {
    let store = Box::new(ModelStore::open(model, Policy::Proposed, is_bootstrap));
    Journal::over(store, place().journal(), stack::origin)
}

/// Runs a command that may change the host.
fn run(
    mut world: World,
    command: &str,
    hook: Option<Hook>,
    abreast: Option<(Events, Arc<Turns>)>,
    work: impl FnOnce(&Arc<Model>, &str, &Events, &mut String) -> Result<()> + Send,
) -> Ran {
    // The name of a run holds the time: no two of them begin at the same moment.
    world.now += Duration::from_millis(1);
    let name = format!("{}-{command}", world.now.as_millis());
    let before = world.acts;
    let mut model = Model::new(world, &name, false);
    if let Some(hook) = hook {
        model = model.watched(hook);
    }
    if let Some((_, turns)) = &abreast {
        model = model.taking_turns(turns);
    }
    let model = Arc::new(model);
    let mut asked = String::new();
    let (ended, heard): (_, Vec<_>) = match abreast {
        None => {
            let (events, heard) = Events::channel();
            let ended = catch_unwind(AssertUnwindSafe(|| work(&model, &name, &events, &mut asked)));
            drop(events);
            (ended, heard.into_iter().collect())
        }
        Some((events, turns)) => {
            let ended = catch_unwind(AssertUnwindSafe(|| in_engine(|| work(&model, &name, &events, &mut asked))));
            (ended, turns.events())
        }
    };
    let (mut said, mut acts) = (String::new(), Vec::new());
    for stamped in heard {
        match stamped.event {
            Event::StepActing { step, act, .. } => acts.push((step, act)),
            Event::StepLeft { step, title, why } => said.push_str(&format!("left {step} {title}: {why}\n")),
            Event::StepFailed { step, error } => said.push_str(&format!("failed {step}: {error:?}\n")),
            Event::Warning { message } | Event::Note { message } => said.push_str(&format!("{message}\n")),
            _ => {}
        }
    }
    let (world, died) = model.remains();
    let changes = world.acts - before;
    let (code, panic) = match &ended {
        Ok(Ok(())) => (ExitCode::Done, None),
        Ok(Err(error)) => (error.code, None),
        Err(panic) => (ExitCode::Bug, Some(words(&**panic))),
    };
    if let Ok(Err(error)) = &ended {
        said.push_str(&error.to_string());
    }
    Ran { code, died, world, acts, said, asked, changes, panic }
}

fn words(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "a panic without words".to_owned())
}

/// Looks at a host that may only be looked at.
fn look<T>(world: &World, work: impl FnOnce(&Model, World) -> Result<T>) -> Result<T> {
    let mut model = Model::new(world.clone(), "look", false);
    model.read_only = true;
    work(&model, world.clone())
}
