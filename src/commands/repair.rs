//! `repair longhorn`: what a removal in the wrong order left is shown, asked for, and taken away.

use super::{ask, in_run, looking, need_root, stage_names};
use crate::{
    cli::{Format, Global, RepairOptions},
    config::place::Place,
    engine::{
        Engine,
        event::Outcome,
        journal::Journal,
        step::{Memory, Stage, Undo},
    },
    error::{Error, ExitCode, Result},
    host::Host,
    report::results,
    stack::{
        self,
        data::{self, Agreed, Volume},
        longhorn::repair,
    },
};

const NOTHING: &str = "nothing of Longhorn is there: nothing to repair\n";

pub(super) fn longhorn(global: &Global, options: &RepairOptions) -> Result<ExitCode> {
    need_root()?;
    let stages = repair::stages();
    let host = looking("repair")?;
    let wrong = repair::diagnose(&host)?;
    let lost = if wrong.is_some() { data::on_longhorn(&host)? } else { Vec::new() };
    let shown = wrong.as_ref().map_or_else(|| NOTHING.to_owned(), |wrong| show(&host, &stages, wrong, &lost));
    if wrong.is_none() || options.dry_run {
        let code = in_run(global, "repair", stage_names(&stages), |_, outcome| {
            outcome.result = serde_json::to_value(&shown).ok();
            Ok(())
        })?;
        if global.output == Format::Text {
            results(&shown)?;
        }
        return Ok(code);
    }
    if !options.yes {
        ask(&format!("{shown}Nothing of Longhorn's data survives. Type `yes` to go on: "))
            .map_err(|why| Error::usage(format!("{why}: the data would be lost")).because(&shown).hint("pass --yes"))?;
    }
    drop(host);
    let agreed = Agreed::to(&lost);
    in_run(global, "repair", stage_names(&stages), |run, outcome| {
        mend(&Engine { host: &run.host, stages: &stages, events: &run.events, workers: 1, agreed: &agreed }, outcome)
    })
}

/// Under the lock: no other run may work beside it. The journal stays as it is; what it holds of Longhorn is found gone.
fn mend(engine: &Engine<'_>, outcome: &mut Outcome) -> Result<()> {
    let journal = Journal::open(&Place::default(), stack::origin)?;
    let ended = engine.repair(outcome);
    if journal.ledger().is_empty() && journal.ledger().spec.is_none() {
        journal.discard()?;
    }
    ended
}

/// What is wrong, whose data goes, and what would be done; later acts show only when the first ones have been done.
fn show(host: &dyn Host, stages: &[Stage], wrong: &str, lost: &[Volume]) -> String {
    let mut text = format!("Longhorn: {wrong}\nthis will be done:\n");
    for step in stages.iter().flat_map(|stage| &stage.steps) {
        // What is verified in the end cannot hold yet.
        let Ok(todo) = step.undo(host, &Memory::default()) else { continue };
        match todo {
            Undo::Acts(acts) => {
                text.push_str(&format!("  remove {:<20} {}\n", step.id(), step.title()));
                text.extend(acts.iter().map(|act| format!("            {}\n", act.show())));
            }
            Undo::Pending(why) => text.push_str(&format!("  wait   {:<20} {}: {why}\n", step.id(), step.title())),
            Undo::Done | Undo::Keep(_) | Undo::Theirs(_) => {}
        }
    }
    text + &super::question::named(lost)
}
