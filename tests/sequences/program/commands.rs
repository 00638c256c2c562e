//! The commands, one after the other.

use std::sync::Arc;

use iris_mk8s::{
    config::{credentials::Credentials, spec::Spec},
    engine::{
        Engine, Plan, Removal, StepPlan, UndoPlan, Verdict,
        event::{Events, Outcome},
        step::{Scope, Stage},
    },
    error::{Error, ExitCode, Result},
    host::Host,
    stack::{
        self,
        data::{self, Agreed, Volume},
        iris::summary::Summary,
        longhorn::repair,
    },
};

use super::{
    Ran, Remembered, Shown, ShownStep, contents, engine, journal, look, place, remembered, run,
    wanted::{credentials, spec},
};
use crate::{
    model::{
        host::{Hook, Model},
        turns::Turns,
        world::World,
    },
    op::{Reach, Wish},
};

/// `bootstrap`.
pub fn bootstrap(mut world: World, wish: &Wish, hook: Option<Hook>) -> Ran {
    let spec = spec(world.era, wish);
    let credentials = credentials(&mut world, wish.password);
    let stages = credentials.and_then(|credentials| stages(&spec, &credentials, wish));
    let mut stages = match stages {
        Ok(stages) => stages,
        Err(error) => return run(world, "bootstrap", hook, None, |_, _, _, _| Err(error)),
    };
    let mut abreast = None;
    if let Some(seed) = wish.abreast {
        let (events, heard) = Events::channel();
        let (turns, taking) = Turns::new(stages, seed.into(), heard);
        (abreast, stages) = (Some((events, turns)), taking);
    }
    run(world, "bootstrap", hook, abreast, |model, name, events, asked| {
        let lost = of_another_class(&**model, &spec)?;
        *asked = named(&lost);
        let agreed = Agreed::to(&lost);
        let workers = if wish.abreast.is_some() { 8 } else { 1 };
        let engine = Engine { workers, agreed: &agreed, ..engine(&**model, &stages, events) };
        engine.bootstrap(|| journal(model, true), name, &spec).1
    })
}

/// The volumes that a bootstrap with `--data` deletes.
fn of_another_class(host: &dyn Host, spec: &Spec) -> Result<Vec<Volume>> {
    if !spec.data_goes {
        return Ok(Vec::new());
    }
    let found = stack::iris::claims::that_go(host, spec).and_then(|claims| data::volumes_of(host, &claims));
    found.or_else(|e| if e.transient { Ok(Vec::new()) } else { Err(e) })
}

fn named(volumes: &[Volume]) -> String {
    volumes.iter().map(|volume| format!("  DATA   {volume}\n")).collect()
}

fn stages(spec: &Spec, credentials: &Credentials, wish: &Wish) -> Result<Vec<Stage>> {
    let all = stack::catalog(spec, credentials);
    match wish.until {
        Some(last) => stack::until(all, last),
        None => Ok(all),
    }
}

/// `plan`, and what `bootstrap --dry-run` shows.
pub fn plan(world: &World, wish: &Wish) -> Shown {
    let shown = look(world, |model, mut world| {
        contents(&world)?;
        let spec = spec(world.era, wish);
        let stages = stages(&spec, &credentials(&mut world, wish.password)?, wish)?;
        data::settle(model, &mut |_| {})?;
        let plan = engine(model, &stages, &Events::channel().0).plan()?;
        let refused = plan.refusals().err();
        let mut shown = of_plan(&plan);
        shown.text.push_str(&named(&of_another_class(model, &spec)?));
        Ok((shown, refused))
    });
    match shown {
        Ok((shown, None)) => shown,
        Ok((shown, Some(error))) => Shown { text: format!("{}{error}", shown.text), code: Some(error.code), ..shown },
        Err(error) => Shown { text: error.to_string(), code: Some(error.code), ..Shown::default() },
    }
}

fn of_plan(plan: &Plan) -> Shown {
    let step = |s: &StepPlan| ShownStep {
        step: s.step.clone(),
        acts: s.acts.clone(),
        stays: s.verdict == Verdict::Keep,
        with: None,
        later: matches!(s.verdict, Verdict::Later | Verdict::Wait),
    };
    Shown { steps: plan.steps.iter().map(step).collect(), text: plan.show(), code: None }
}

/// `status`.
pub fn status(world: &World) -> Shown {
    let shown = look(world, |model, mut world| {
        let Some(known) = remembered(&world)? else { return Ok(Shown::default()) };
        let stages = stack::catalog(&known.spec, &credentials(&mut world, None)?);
        let plan = engine(model, &stages, &Events::channel().0).plan()?;
        let _ = Summary::read(model, &known.spec);
        Ok(of_plan(&plan))
    });
    shown.unwrap_or_else(|error| Shown { text: error.to_string(), code: Some(error.code), ..Shown::default() })
}

fn scope(reach: Reach) -> Scope {
    match reach {
        Reach::App => Scope::App,
        Reach::Data => Scope::Data,
        Reach::Reset | Reach::Blind => Scope::Host,
    }
}

/// What `teardown` shows before it asks, which `--dry-run` shows as well.
pub fn undo_plan(world: &World, reach: Reach) -> Shown {
    let blind = reach == Reach::Blind;
    let shown = look(world, |model, world| {
        let Some(known) = remembered(&world)? else { return Ok(Shown::default()) };
        let stages = stack::recall(&known.contents.ledger)?;
        let sight = data::look(model, &known.contents.ledger, scope(reach), !blind, &mut |_| {})?;
        let (events, agreed) = (Events::channel().0, sight.planned(blind));
        let engine = Engine { agreed: &agreed, ..engine(model, &stages, &events) };
        let plan = engine.undo_plan(&known.contents.ledger, scope(reach))?;
        let stake = sight.stake(|step| plan.goes(step));
        let mut shown = of_undo(&plan);
        shown.text.push_str(&stake.show());
        shown.code = sight.refuse_unseen(blind).err().map(|error| error.code);
        Ok(shown)
    });
    shown.unwrap_or_else(|error| Shown { text: error.to_string(), code: Some(error.code), ..Shown::default() })
}

fn of_undo(plan: &UndoPlan) -> Shown {
    let step = |s: &Removal| ShownStep {
        step: s.step.clone(),
        acts: s.acts.clone(),
        stays: s.keep.is_some(),
        with: s.with.clone(),
        later: s.later.is_some(),
    };
    Shown { steps: plan.steps.iter().map(step).collect(), text: plan.show(), code: None }
}

/// `teardown`, agreed to.
pub fn teardown(world: World, reach: Reach, hook: Option<Hook>) -> Ran {
    let known = remembered(&world);
    let blind = reach == Reach::Blind;
    run(world, "teardown", hook, None, |model, name, events, asked| {
        let gone = !model.exists("/snap/bin/microk8s".as_ref());
        let known = known?.filter(|known| !known.contents.ledger.is_empty() || gone);
        let Some(known) = known else {
            let left = model.exists(&place().dir);
            return if scope(reach) == Scope::Host && left { journal(model, false)?.discard() } else { Ok(()) };
        };
        let ledger = &known.contents.ledger;
        let stages = stack::recall(ledger)?;
        let sight = data::look(&**model, ledger, scope(reach), !blind, &mut |_| {})?;
        let agreed = sight.planned(blind);
        let plan = Engine { agreed: &agreed, ..engine(&**model, &stages, events) }.undo_plan(ledger, scope(reach))?;
        let stake = sight.stake(|step| plan.goes(step));
        *asked = plan.show() + &stake.show();
        sight.refuse_unseen(blind)?;
        // The question is answered, and the lock is taken.
        let journal = journal(model, false)?;
        let now = data::look(&**model, &journal.ledger(), scope(reach), stake.unseen.is_none(), &mut |_| {})?;
        sight.refuse_new(&stake, &now, |step| plan.goes(step))?;
        let agreed = sight.agreed(&stake).and_stay(plan.stays());
        let engine = Engine { agreed: &agreed, ..engine(&**model, &stages, events) };
        engine.teardown(&journal, name, scope(reach)).1?;
        if scope(reach) == Scope::Host && journal.ledger().is_empty() {
            engine.end_reset(journal)?;
        }
        Ok(())
    })
}

/// `repair longhorn`, agreed to.
pub fn repair(world: World, hook: Option<Hook>) -> Ran {
    run(world, "repair", hook, None, |model, _, events, asked| {
        let stages = repair::stages();
        if repair::diagnose(&**model)?.is_none() {
            return Ok(());
        }
        let lost = data::on_longhorn(&**model)?;
        *asked = named(&lost);
        let journal = journal(model, false)?;
        let agreed = Agreed::to(&lost);
        let engine = Engine { agreed: &agreed, ..engine(&**model, &stages, events) };
        let ended = engine.repair(&mut Outcome::new(ExitCode::Done));
        if journal.ledger().is_empty() && journal.ledger().spec.is_none() {
            journal.discard()?;
        }
        ended
    })
}

/// `stop`: the database, then the cluster.
pub fn stop(world: World, hook: Option<Hook>) -> Ran {
    switch(world, "stop", hook, |model, known| stack::stop(model, &known.spec, &known.contents.ledger))
}

/// `start`: the cluster, then the database.
pub fn start(world: World, hook: Option<Hook>) -> Ran {
    switch(world, "start", hook, |_, known| stack::start(&known.spec, &known.contents.ledger))
}

fn switch(world: World, command: &str, hook: Option<Hook>, stages: fn(&Model, &Remembered) -> Vec<Stage>) -> Ran {
    let known = remembered(&world);
    run(world, command, hook, None, |model, name, events, _| {
        let known = known?.ok_or_else(|| Error::new(ExitCode::Preflight, "no bootstrap has run on this host"))?;
        let stages = stages(model, &known);
        let journal = journal(model, false)?;
        engine(&**model, &stages, events).switch(&journal, name, command).1
    })
}
