//! `teardown`: takes back what is ours, within the reach that was asked for.

use std::path::Path;

use super::{
    NOTHING_KNOWN, engine_that_looks, looking, need_root, print_json,
    question::Removing,
    remembered,
    run::{Run, in_run},
    stage_names,
};
use crate::{
    cli::{self, Format, Global},
    config::place::Place,
    engine::{
        Engine,
        event::{Event, Events, Outcome},
        journal::Journal,
        step::{Scope, Stage},
    },
    error::{ExitCode, Result},
    report::{self, results},
    stack::{
        self,
        data::{self, Sight},
        iris::foreign,
    },
};

/// There while the snap is installed.
const MICROK8S: &str = "/snap/bin/microk8s";

const NOTHING_OURS: &str =
    "the journal in /var/lib/iris-mk8s has no record of anything that iris-mk8s made on this host\n";

pub(super) fn teardown(global: &Global, options: &cli::Teardown) -> Result<ExitCode> {
    need_root()?;
    let reach = match (options.reset, options.data) {
        (true, _) => Scope::Host,
        (false, true) => Scope::Data,
        (false, false) => Scope::App,
    };
    let remembered = remembered()?;
    let why = if remembered.is_some() { NOTHING_OURS } else { NOTHING_KNOWN };
    // A reset that died in its last moment knows of nothing either, but then MicroK8s is gone.
    let ours = remembered.filter(|(contents, ..)| !contents.ledger.is_empty() || !Path::new(MICROK8S).exists());
    let Some((contents, ..)) = ours else {
        return nothing_to_do(global, options, reach, why);
    };
    // What is taken back, and how, the journal alone says: what is wanted today may be something else.
    let stages = stack::recall(&contents.ledger)?;
    let host = looking("teardown")?;
    // A cluster that does not answer tells nothing of it, and nothing of it is removed all the same.
    if let Some(Ok(Some(message))) = contents.ledger.spec.as_ref().map(|spec| foreign::adopted(&host, &spec.iris)) {
        report::prompt(&format!("note: {message}\n"));
    }
    let tell = |text: &str| report::prompt(&format!("{text}\n"));
    let sight = data::look(&host, &contents.ledger, reach, !options.without_looking, &mut { tell })?;
    let (events, _) = Events::channel();
    let agreed = sight.planned(options.without_looking);
    let plan =
        Engine { agreed: &agreed, ..engine_that_looks(&host, &stages, &events) }.undo_plan(&contents.ledger, reach)?;
    let removing = Removing { plan: &plan, stake: &sight.stake(|step| plan.goes(step)) };
    if options.dry_run {
        let code = in_run(global, "teardown", stage_names(&stages), |_, outcome| {
            outcome.result = serde_json::to_value(&removing).ok();
            sight.refuse_unseen(options.without_looking)
        })?;
        if global.output == Format::Text {
            results(&removing.show())?;
        }
        return Ok(code);
    }
    sight.refuse_unseen(options.without_looking)?;
    if reach >= Scope::Data && !options.yes && !plan.steps.is_empty() {
        removing.confirm()?;
    }
    drop(host);
    in_run(global, "teardown", stage_names(&stages), |run, outcome| {
        let ended = take_back(run, &stages, reach, &sight, &removing, outcome);
        outcome.result = serde_json::to_value(removing.stake).ok();
        ended
    })
}

/// The end of a teardown on a host where nothing is known to be ours.
fn nothing_to_do(global: &Global, options: &cli::Teardown, reach: Scope, why: &str) -> Result<ExitCode> {
    // A run that died before its first record, and a reset that died in its last moment, leave a journal that says nothing.
    if reach == Scope::Host && !options.dry_run && Place::default().dir.exists() {
        Journal::open(&Place::default(), stack::origin)?.discard()?;
    }
    let more = "nothing is known to be ours, so nothing is removed. You can remove it by hand:\n  \
                snap remove --purge microk8s   (MicroK8s with everything in it, the data too)\n";
    match global.output {
        Format::Text => results(&format!("{why}{more}"))?,
        Format::Json => _ = print_json(&serde_json::json!({"steps": []}))?,
    }
    Ok(ExitCode::Done)
}

fn take_back(
    run: &Run,
    stages: &[Stage],
    reach: Scope,
    sight: &Sight,
    removing: &Removing<'_>,
    outcome: &mut Outcome,
) -> Result<()> {
    let journal = Journal::open(&Place::default(), stack::origin)?;
    // Under the lock: while the question was open, the cluster went on.
    let tell = |text: &str| run.events.send(Event::Note { message: text.to_owned() });
    let wait = removing.stake.unseen.is_none();
    let now = data::look(&run.host, &journal.ledger(), reach, wait, &mut { tell })?;
    sight.refuse_new(removing.stake, &now, |step| removing.plan.goes(step))?;
    let agreed = sight.agreed(removing.stake).and_stay(removing.plan.stays());
    let engine = Engine { host: &run.host, stages, events: &run.events, workers: 1, agreed: &agreed };
    let (done, ended) = engine.teardown(&journal, &run.name, reach);
    *outcome = done;
    ended?;
    if reach == Scope::Host && journal.ledger().is_empty() {
        engine.end_reset(journal)?;
    }
    Ok(())
}
