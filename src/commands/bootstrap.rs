//! `bootstrap`, and `plan`, which shows what it would do.

use std::{path::Path, sync::Arc};

use super::{
    engine_that_looks, looking, need_root, print_json,
    question::{self, Making},
    run::in_run,
    stage_names,
    wanted::wanted,
};
use crate::{
    bundle::Bundle,
    cli::{self, Format, Global},
    config::{credentials::Credentials, flags::SpecFlags, place::Place, spec::Spec},
    engine::{
        Engine,
        event::Events,
        journal::{Contents, Journal},
        step::Stage,
    },
    error::{Error, ExitCode, Result},
    report::{self, results},
    stack::{
        self,
        data::{self, Agreed},
        iris::summary::Summary,
    },
};

/// Stages that may run side by side: more than the graph ever offers.
const WORKERS: usize = 8;

/// Stages that need no image.
const BEFORE_IMAGES: [&str; 4] = ["preflight", "snap", "group", "alias"];

/// The stages of the spec: all of them, or those up to one.
fn stages_of(
    spec: &Spec,
    credentials: &Credentials,
    until: Option<&str>,
    bundle: Option<&Arc<Bundle>>,
) -> Result<Vec<Stage>> {
    let all = stack::catalog_from(spec, credentials, bundle);
    let Some(last) = until else { return Ok(all) };
    // Nothing starts without its images, and nobody else brings them.
    if bundle.is_some() && !BEFORE_IMAGES.contains(&last) {
        return stack::until_both(all, last, stack::PRELOAD);
    }
    stack::until(all, last)
}

/// What a plan is about, besides the wanted state.
pub(super) struct Wishes<'a> {
    pub(super) data: bool,
    pub(super) until: Option<&'a str>,
    pub(super) bundle: Option<&'a Path>,
}

/// The bundle of a command line.
fn opened(bundle: Option<&Path>) -> Result<Option<Arc<Bundle>>> {
    Ok(bundle.map(Bundle::open).transpose()?.map(Arc::new))
}

pub(super) fn bootstrap(global: &Global, options: &cli::Bootstrap) -> Result<ExitCode> {
    need_root()?;
    let bundle = opened(options.bundle.as_deref())?;
    let (spec, credentials) = wanted(&options.spec, options.yes, options.data, bundle.as_deref())?;
    let stages = stages_of(&spec, &credentials, options.until.as_deref(), bundle.as_ref())?;
    let agreed = if options.data { question::may_change_class(&spec, options.yes)? } else { Agreed::default() };
    let mut shown = None;
    let mut told = None;
    let code = in_run(global, "bootstrap", stage_names(&stages), |run, outcome| {
        if options.timings || options.trace.is_some() {
            run.events.keep();
            told = Some(run.events.clone());
        }
        let engine =
            Engine { host: &run.host, stages: &stages, events: &run.events, workers: WORKERS, agreed: &agreed };
        let (done, ended) = engine.bootstrap(|| Journal::open(&Place::default(), stack::origin), &run.name, &spec);
        *outcome = done;
        ended?;
        if stages.iter().any(|s| s.id == "ready") {
            let summary = Summary::read(&run.host, &spec)?;
            outcome.result = serde_json::to_value(&summary).ok();
            shown = Some(summary);
        }
        Ok(())
    })?;
    if let (Some(summary), Format::Text) = (shown, global.output) {
        results(&summary.to_string())?;
    }
    if let Some(told) = told {
        timings(options, &stages, &told)?;
    }
    Ok(code)
}

/// Where the time of a run went, as far as that was asked for.
fn timings(options: &cli::Bootstrap, stages: &[Stage], told: &Events) -> Result<()> {
    let events = told.kept();
    let timings = report::Timings::new(stages, &events);
    if options.timings {
        report::prompt(&timings.chart());
    }
    let Some(file) = &options.trace else { return Ok(()) };
    std::fs::write(file, timings.trace().to_string())
        .map_err(|e| Error::failed(format!("the trace cannot be written to {}", file.display())).caused_by(e))
}

pub(super) fn plan(global: &Global, flags: &SpecFlags, wish: &Wishes<'_>, check: bool) -> Result<ExitCode> {
    need_root()?;
    let bundle = opened(wish.bundle)?;
    let data = wish.data;
    // A bootstrap could not go on with a journal that cannot be read.
    Contents::read(&Place::default(), stack::origin)?;
    let (spec, credentials) = wanted(flags, true, data, bundle.as_deref())?;
    let stages = stages_of(&spec, &credentials, wish.until, bundle.as_ref())?;
    let host = looking("plan")?;
    data::settle(&host, &mut |text| report::prompt(&format!("{text}\n")))?;
    let (events, _) = Events::channel();
    let plan = engine_that_looks(&host, &stages, &events).plan()?;
    let lost = if data { question::of_another_class(&host, &spec)? } else { Vec::new() };
    match global.output {
        Format::Text => results(&(plan.show() + &question::named(&lost)))?,
        Format::Json => _ = print_json(&Making { plan: &plan, data: &lost })?,
    }
    plan.refusals()?;
    Ok(if check && !plan.is_empty() { ExitCode::Differs } else { ExitCode::Done })
}
