//! `repair longhorn`: what a removal in the wrong order left is shown, asked for, and taken away.

use super::{Run, ask, need_root, stage_names};
use crate::{
    cli::{Format, Global, RepairOptions},
    engine::Engine,
    error::{Error, ExitCode, Result},
    event::Outcome,
    journal::{Journal, Place},
    longhorn::repair,
    report::results,
    step::{Memory, Undo},
    steps,
};

const NOTHING: &str = "nothing of Longhorn is there: nothing to repair\n";

pub(super) fn longhorn(global: &Global, options: &RepairOptions) -> Result<ExitCode> {
    need_root()?;
    let stages = repair::stages();
    let run = Run::begin(global, "repair", stage_names(&stages))?;
    let engine = Engine { host: &run.host, stages: &stages, events: &run.events, workers: 1 };
    let mut outcome = Outcome::new(ExitCode::Done);
    let wrong = match repair::diagnose(&run.host) {
        Ok(wrong) => wrong,
        Err(e) => return Ok(run.end(outcome, Err(e), None)),
    };
    let shown = match &wrong {
        Some(wrong) => show(&engine, wrong)?,
        None => NOTHING.to_owned(),
    };
    if wrong.is_none() || options.dry_run {
        let code = run.end(outcome, Ok(()), serde_json::to_value(&shown).ok());
        if global.output == Format::Text {
            results(&shown);
        }
        return Ok(code);
    }
    let asked = if options.yes {
        Ok(())
    } else {
        ask(&format!("{shown}Nothing of Longhorn's data survives. Type `yes` to go on: "))
            .map_err(|why| Error::usage(format!("{why}: the data would be lost")).because(shown).hint("say --yes"))
    };
    let ended = asked.and_then(|()| mend(&engine, &mut outcome));
    Ok(run.end(outcome, ended, None))
}

/// Under the lock: no other run may work beside it. The journal stays as it is; what it holds of Longhorn is found gone.
fn mend(engine: &Engine<'_>, outcome: &mut Outcome) -> Result<()> {
    let journal = Journal::open(&Place::default(), steps::origin)?;
    let ended = engine.repair(outcome);
    outcome.seconds = engine.events.elapsed();
    if journal.ledger().is_empty() && journal.ledger().spec.is_none() {
        journal.discard()?;
    }
    ended
}

/// What is wrong, whose data goes, and what would be done; later acts show only when the first ones have been done.
fn show(engine: &Engine<'_>, wrong: &str) -> Result<String> {
    let mut text = format!("Longhorn: {wrong}\nthis will be done:\n");
    for step in engine.stages.iter().flat_map(|stage| &stage.steps) {
        // What is verified in the end cannot hold yet.
        let Ok(todo) = step.undo(engine.host, &Memory::default()) else { continue };
        match todo {
            Undo::Acts(acts) => {
                text.push_str(&format!("  remove {:<20} {}\n", step.id(), step.title()));
                text.extend(acts.iter().map(|act| format!("            {}\n", act.show())));
            }
            Undo::Pending(why) => text.push_str(&format!("  wait   {:<20} {}: {why}\n", step.id(), step.title())),
            Undo::Done | Undo::Keep(_) | Undo::Theirs(_) => {}
        }
    }
    for claim in repair::data(engine.host)? {
        text.push_str(&format!("  DATA   {claim}\n"));
    }
    Ok(text)
}
