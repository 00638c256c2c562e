//! The commands: what each of them reads, runs and prints. Everything that is decided, is decided elsewhere.

mod bundle;
mod forward;
mod image;
pub mod proposal;
mod question;
mod repair;
mod run;
pub(crate) mod start_stop;

use std::{path::Path, sync::Arc};

use crate::{
    bundle::Bundle,
    cli::{self, Cli, Command, Format, Global},
    config::{
        credentials::Credentials,
        flags::{Lb, SpecFlags, Wish},
        lb_range::LbRange,
        place::Place,
        profile,
        spec::Spec,
        version::Channel,
    },
    doctor::{self, Known},
    engine::{
        self, Engine,
        event::{Event, Events, Outcome},
        journal::{Contents, Journal},
        step::{Scope, Stage},
    },
    error::{Error, ExitCode, Result, defect},
    host::{Host, Real},
    report::{self, results},
    stack::{
        self, checks,
        data::{self, Agreed, Sight},
        iris::{foreign, state as iris, summary::Summary},
    },
};

use question::{Making, Removing, ask, looking};
use run::{Run, in_run};

/// Stages that may run side by side: more than the graph ever offers.
const WORKERS: usize = 8;

/// The stages and the checks that a command line may name.
pub fn offered() -> cli::Offered {
    cli::Offered { stages: stack::STAGES.to_vec(), checks: checks::skippable() }
}

/// Runs a command line to its exit code.
pub fn run(cli: Cli) -> ExitCode {
    let global = cli.global.clone();
    // A panic of a thread that nobody waited for is a defect all the same.
    let ended = defect::caught(|| execute(cli, &global)).and_then(|code| match defect::unnoticed() {
        Some(defect) if code == ExitCode::Done => Err(defect),
        _ => Ok(code),
    });
    match ended {
        Ok(code) => code,
        Err(error) => {
            report::failure(&error, &global);
            error.code
        }
    }
}

fn execute(cli: Cli, global: &Global) -> Result<ExitCode> {
    match cli.command {
        Command::Bootstrap(options) if options.dry_run => {
            let wish =
                Wishes { data: options.data, until: options.until.as_deref(), bundle: options.bundle.as_deref() };
            plan(global, &options.spec, &wish, false)
        }
        Command::Bootstrap(options) => bootstrap(global, &options),
        Command::Plan(options) => {
            let wish = Wishes { data: options.data, until: None, bundle: options.bundle.as_deref() };
            plan(global, &options.spec, &wish, options.check)
        }
        Command::Status => status(global),
        Command::Start => start_stop::start(global),
        Command::Stop => start_stop::stop(global),
        Command::Session { pod } => start_stop::session(pod.as_deref()),
        Command::Forward(options) => forward::forward(global, &options),
        Command::Bundle(what) => bundle::bundle(global, what),
        Command::Image(what) => image::image(global, what),
        Command::Repair(cli::Repair::Longhorn(options)) => repair::longhorn(global, &options),
        Command::Doctor(options) => doctor(global, &options),
        Command::Teardown(options) => teardown(global, &options),
        Command::Profile(what) => profiles(global, what),
        Command::Journal(cli::Journal::Show) => show_journal(global),
        Command::Completions { shell } => print(&cli::completions(shell, &offered())),
        Command::Man { dir: Some(folder), .. } => cli::man_pages(&folder, &offered()).map(|()| ExitCode::Done),
        Command::Man { command, dir: None } => print(&cli::man(command.as_deref(), &offered())?),
    }
}

/// Ends a command line that clap answers itself: with help, the version, or what is wrong in it.
pub fn answer(answer: &clap::Error) -> ExitCode {
    let written = answer.print();
    if answer.use_stderr() {
        return ExitCode::Usage;
    }
    match report::on_stdout(written) {
        Ok(()) => ExitCode::Done,
        Err(error) => {
            report::complain(&error);
            error.code
        }
    }
}

fn print(text: &str) -> Result<ExitCode> {
    results(text)?;
    Ok(ExitCode::Done)
}

/// Writes a value for programs.
fn print_json(value: &impl serde::Serialize) -> Result<ExitCode> {
    let text = serde_json::to_string(value).map_err(|e| Error::new(ExitCode::Bug, "not JSON").because(e))?;
    print(&format!("{text}\n"))
}

fn need_root() -> Result<()> {
    if nix::unistd::geteuid().is_root() {
        return Ok(());
    }
    Err(Error::new(ExitCode::NotRoot, "this needs root").hint("run the same command with sudo"))
}

fn stage_names(stages: &[Stage]) -> Vec<String> {
    stages.iter().map(|s| s.id.to_owned()).collect()
}

/// The channel that suits the host, where an earlier bootstrap may have wanted one.
fn suitable_channel(before: Option<&Spec>) -> Result<Channel> {
    let (channel, why) = proposal::channel(&looking("proposal")?, before.map(|spec| &spec.channel))?;
    report::prompt(&format!("channel auto: {channel}, {why}\n"));
    Ok(channel)
}

/// The addresses that `--lb auto` finds, once that is agreed to.
fn free_addresses(before: Option<Spec>, channel: &Channel, size: Option<u32>, agreed: bool) -> Result<LbRange> {
    let before = before.map(|spec| spec.lb);
    let host = looking("proposal")?;
    let (range, why) = proposal::find(&host, before.as_ref(), channel, size.unwrap_or(proposal::SIZE))?;
    let found = format!("--lb auto: {range}, {why}");
    if agreed || before.is_some() {
        report::prompt(&format!("{found}\n"));
    } else {
        ask(&format!("{found}\nType `yes` to go on with them: "))
            .map_err(|why| Error::usage(why.to_string()).because(found).hint(format!("pass --yes, or --lb {range}")))?;
    }
    Ok(range)
}

/// The wanted state and the password that goes with it. Addresses that `--lb auto` finds are taken when that is agreed to.
fn wanted(flags: &SpecFlags, agreed: bool, data_goes: bool, bundle: Option<&Bundle>) -> Result<(Spec, Credentials)> {
    let input = profile::Input { data_goes, ..profile::Input::of_process(flags)? };
    let mut settings = profile::Settings::gather(&input)?;
    settings.named()?;
    let known = || Contents::read(&Place::default(), stack::origin).map(|contents| contents.ledger.spec);
    if *settings.channel()? == Wish::Auto {
        let channel = match bundle {
            Some(bundle) => bundle.manifest.channel.clone(),
            None => suitable_channel(known()?.as_ref())?,
        };
        settings.choose(channel, &input)?;
    }
    if *settings.lb()? == Lb::Auto {
        settings.give(free_addresses(known()?, &settings.chosen_channel()?, flags.lb_size, agreed)?);
    }
    let spec = settings.wanted(&input)?;
    if spec.user == "root" && settings.get("user").is_some_and(|user| user.origin == profile::Origin::Login) {
        report::prompt("the user of the cluster is root, who runs this; --user NAME names somebody else\n");
    }
    let known = nix::unistd::User::from_name(&spec.user).ok().flatten().is_some();
    if !known {
        return Err(Error::usage(format!("--user {}: there is no such user on this host", spec.user))
            .hint("name the user who will work with the cluster"));
    }
    passwords_of_endpoints(&spec)?;
    let source = flags.password_file.as_ref().map(|p| p.to_string_lossy().into_owned());
    let credentials = Credentials::load_or_make(&Place::default(), source.as_deref(), spec.published_hash.as_deref())?;
    Ok((spec, credentials))
}

/// That the passwords of endpoints are where the profile says. The announced one is written by a bootstrap.
fn passwords_of_endpoints(spec: &Spec) -> Result<()> {
    for endpoint in &spec.iris.endpoints {
        let path = &endpoint.path;
        if let Some(name) = &endpoint.password_variable
            && std::env::var_os(name).is_none()
        {
            return Err(Error::usage(format!("iris.endpoints, {path}: the variable {name} is not set")).hint(format!(
                "sudo drops variables unless told otherwise: sudo --preserve-env={name} iris-mk8s ..."
            )));
        }
        if let Some(file) = &endpoint.password_file
            && *file != Place::default().password()
            && !file.is_file()
        {
            return Err(Error::usage(format!("iris.endpoints, {path}: there is no file {}", file.display())));
        }
    }
    Ok(())
}

/// An engine for plans: nothing may be deleted.
fn engine_that_looks<'a>(host: &'a dyn Host, stages: &'a [Stage], events: &'a Events) -> Engine<'a> {
    Engine { host, stages, events, workers: 1, agreed: Agreed::nothing() }
}

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

fn bootstrap(global: &Global, options: &cli::Bootstrap) -> Result<ExitCode> {
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
        .map_err(|e| Error::failed(format!("the trace cannot be written to {}", file.display())).because(e))
}

/// What a plan is about, besides the wanted state.
struct Wishes<'a> {
    data: bool,
    until: Option<&'a str>,
    bundle: Option<&'a Path>,
}

/// The bundle of a command line.
fn opened(bundle: Option<&Path>) -> Result<Option<Arc<Bundle>>> {
    Ok(bundle.map(Bundle::open).transpose()?.map(Arc::new))
}

fn plan(global: &Global, flags: &SpecFlags, wish: &Wishes<'_>, check: bool) -> Result<ExitCode> {
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

/// What the journal knows, and the stages of its newest spec.
fn remembered() -> Result<Option<(Contents, Spec, Vec<Stage>)>> {
    let contents = Contents::read(&Place::default(), stack::origin)?;
    let Some(mut spec) = contents.ledger.spec.clone() else { return Ok(None) };
    // A wish for one run only.
    spec.data_goes = false;
    let credentials = Credentials::load_or_make(&Place::default(), None, spec.published_hash.as_deref())?;
    let stages = stack::catalog(&spec, &credentials);
    Ok(Some((contents, spec, stages)))
}

/// The same, for a command that makes no sense without a bootstrap.
fn need_bootstrap() -> Result<(Contents, Spec, Vec<Stage>)> {
    remembered()?.ok_or_else(|| {
        Error::new(ExitCode::Preflight, "no bootstrap has run on this host")
            .because("there is no journal in /var/lib/iris-mk8s")
            .hint("run `sudo iris-mk8s bootstrap` first; a MicroK8s without it is started and stopped by `microk8s` itself")
    })
}

/// There while the snap is installed.
const MICROK8S: &str = "/snap/bin/microk8s";

const NOTHING_OURS: &str = "the journal in /var/lib/iris-mk8s knows of nothing on this host that iris-mk8s made\n";

const NOTHING_KNOWN: &str = "no bootstrap has run on this host: there is no journal in /var/lib/iris-mk8s\n";

fn status(global: &Global) -> Result<ExitCode> {
    need_root()?;
    let Some((_, spec, stages)) = remembered()? else {
        match global.output {
            Format::Text => results(NOTHING_KNOWN)?,
            Format::Json => _ = print_json(&serde_json::json!({"steps": [], "summary": null}))?,
        }
        return Ok(ExitCode::Differs);
    };
    let host = looking("status")?;
    let (events, _) = Events::channel();
    let plan = engine_that_looks(&host, &stages, &events).plan()?;
    let summary = Summary::read(&host, &spec);
    match global.output {
        Format::Text => {
            results(&plan.show())?;
            match &summary {
                Ok(summary) => results(&format!("\n{summary}"))?,
                Err(e) => results(&format!("\nthe cluster cannot be asked: {}\n", engine::one_line(e)))?,
            }
        }
        Format::Json => _ = print_json(&serde_json::json!({"steps": plan.steps, "summary": summary.ok()}))?,
    }
    Ok(if plan.is_empty() { ExitCode::Done } else { ExitCode::Differs })
}

/// What this host cannot see by itself: it reaches its own addresses, whoever else does.
fn from_lan() -> Result<ExitCode> {
    let nothing = || Error::failed(NOTHING_KNOWN.trim()).hint("`iris-mk8s bootstrap` comes first");
    let (_, spec, _) = remembered()?.ok_or_else(nothing)?;
    let host = looking("doctor")?;
    let address = iris::address(&host, &spec.iris)?.ok_or_else(|| {
        Error::failed("the service of IRIS has no address yet").hint("`iris-mk8s doctor` looks for the cause")
    })?;
    report::prompt(
        "run this on another host of the LAN: it prints 200 when that one reaches IRIS. Anything else, after 10 s, means that the network \
         between them does not let the address through.\n",
    );
    print(&format!(
        "curl -sS -o /dev/null -w '%{{http_code}}\\n' --max-time 10 http://{address}:{}/api/monitor/metrics\n",
        stack::iris::names::WEB
    ))
}

fn doctor(global: &Global, options: &cli::Doctor) -> Result<ExitCode> {
    need_root()?;
    if options.from_lan {
        return from_lan();
    }
    let host = looking("doctor")?;
    // A journal that cannot be read is one more thing to tell.
    let (remembered, unreadable) = match remembered() {
        Ok(remembered) => (remembered, None),
        Err(e) => (None, Some(e)),
    };
    let spec = match &remembered {
        Some((_, spec, _)) => spec.clone(),
        None => supposed(&host)?,
    };
    let known = remembered.as_ref().map(|(contents, _, stages)| Known {
        ledger: &contents.ledger,
        records: &contents.records,
        stages,
    });
    let mut report = doctor::examine(&host, &spec, known);
    if let Some(e) = unreadable {
        report = report.with_error("journal", &e);
    }
    if let Some(file) = &options.bundle {
        let (events, _) = Events::channel();
        let plan = known.map(|known| engine_that_looks(&host, known.stages, &events).plan());
        let plan = plan.and_then(Result::ok);
        let bundle = doctor::Bundle::gather(&host, Some(&spec), &report, plan.as_ref());
        bundle.write(file, host.unix_time())?;
        report::prompt(&format!(
            "{}: {} files, without secrets as far as they are known\n",
            file.display(),
            bundle.files().count()
        ));
    }
    match global.output {
        Format::Text => results(&report.show(global.verbose))?,
        Format::Json => _ = print_json(&report)?,
    }
    Ok(if report.problems > 0 { ExitCode::Differs } else { ExitCode::Done })
}

/// What a bootstrap without options would want of this host, with addresses that nobody has.
fn supposed(host: &Real) -> Result<Spec> {
    let mut input = profile::Input::of_process(&SpecFlags::default())?;
    if profile::Settings::gather(&input)?.get("lb").is_none() {
        input.flags.lb = Some(Lb::Auto);
    }
    let mut settings = profile::Settings::gather(&input)?;
    settings.named()?;
    if *settings.channel()? == Wish::Auto {
        settings.choose(suitable_channel(None)?, &input)?;
    }
    if *settings.lb()? == Lb::Auto {
        let found = proposal::find(host, None, &settings.chosen_channel()?, proposal::SIZE);
        // Without a network the range is the least of the troubles, and has a check of its own.
        settings.give(found.map_or_else(|_| std::net::Ipv4Addr::UNSPECIFIED.into(), |(range, _)| range));
    }
    settings.wanted(&input)
}

fn teardown(global: &Global, options: &cli::Teardown) -> Result<ExitCode> {
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
        // A run that died before its first record, and a reset that died in its last moment, leave a journal that says nothing.
        if reach == Scope::Host && !options.dry_run && Place::default().dir.exists() {
            Journal::open(&Place::default(), stack::origin)?.discard()?;
        }
        let more = "nothing is known to be ours, so nothing is taken back. What is there can be removed by hand:\n  \
                    snap remove --purge microk8s   (MicroK8s with everything in it, the data too)\n";
        match global.output {
            Format::Text => results(&format!("{why}{more}"))?,
            Format::Json => _ = print_json(&serde_json::json!({"steps": []}))?,
        }
        return Ok(ExitCode::Done);
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

fn profiles(global: &Global, what: cli::Profile) -> Result<ExitCode> {
    match what {
        cli::Profile::List => match global.output {
            Format::Text => {
                print(&profile::list().map(|(name, what)| format!("{name:<10} {what}\n")).collect::<String>())
            }
            Format::Json => {
                let profiles = profile::list().map(|(name, what)| serde_json::json!({"name": name, "about": what}));
                print_json(&profiles.collect::<Vec<_>>())
            }
        },
        cli::Profile::Show(flags) => {
            let settings = profile::Settings::gather(&profile::Input::of_process(&flags)?)?;
            match global.output {
                Format::Text => print(&settings.to_string()),
                Format::Json => print_json(&settings),
            }
        }
        cli::Profile::Check { file } if file.extension().is_some_and(|end| end.eq_ignore_ascii_case("cpf")) => {
            let report = profile::check_cpf(&file)?;
            match global.output {
                Format::Text => print(&report.to_string()),
                Format::Json => print_json(&report),
            }
        }
        cli::Profile::Check { file } => {
            profile::check_file(&file)?;
            match global.output {
                Format::Text => print(&format!("{} is a good profile\n", file.display())),
                Format::Json => print_json(&serde_json::json!({"file": file.display().to_string(), "good": true})),
            }
        }
    }
}

fn show_journal(global: &Global) -> Result<ExitCode> {
    need_root()?;
    let contents = Contents::read(&Place::default(), stack::origin)?;
    if global.output == Format::Json {
        return print_json(&contents.records);
    }
    if contents.records.is_empty() {
        return print(NOTHING_KNOWN);
    }
    print(&contents.to_string())
}
