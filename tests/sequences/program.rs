//! The program's commands on a modelled host, as `src/app.rs` puts them together, with all that a person sees of them.

use std::{
    collections::HashMap,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use iris_mk8s::{
    cli::{Lb, SpecFlags},
    credentials::Credentials,
    data::{self, Agreed, Volume},
    engine::{Engine, Plan, UndoPlan},
    error::{Error, ExitCode, Result},
    event::{Event, Events},
    host::{Host, LOG_DIR},
    journal::{Contents, Journal, Place},
    profile,
    spec::{Mirror, Spec},
    step::{Scope, Stage},
    steps,
    summary::Summary,
};

use crate::{
    model::{
        host::{Hook, Model},
        longhorn,
        store::{ModelStore, Policy, bytes},
        turns::{Turns, in_engine},
        world::{Era, World},
    },
    op::{Reach, Wish},
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
}

fn place() -> Place {
    Place::default()
}

/// The wanted state.
pub fn spec(era: Era, wish: &Wish) -> Spec {
    let flags = SpecFlags {
        lb: Some(Lb::Range(wish.range.text().parse().expect("a range"))),
        channel: Some(era.channel().parse().expect("a channel")),
        // The modelled Longhorn is that of today.
        storage: wish.class.filter(|class| era == Era::Today || *class != "longhorn").map(str::to_owned),
        replicas: Some(u64::from(wish.replicas)),
        namespace: Some(wish.namespace.to_owned()),
        user: Some(wish.user.to_owned()),
        ..Default::default()
    };
    let input = profile::Input { flags, login: Some("ubuntu".to_owned()), ..profile::Input::default() };
    let mut spec = profile::resolve(&input).expect("the default profile").0;
    spec.data_goes = wish.data;
    spec.addons.retain(|addon| wish.registry || addon != "registry");
    let mirror = |url: &str| Mirror { registry: "docker.io".to_owned(), url: url.to_owned(), ca: None, login: None };
    // Up to 1.22 containerd reads no such file.
    let mirrors = wish.mirror.filter(|_| era == Era::Today);
    spec.registries.mirrors = mirrors.into_iter().map(mirror).collect();
    if let Some(own) = &mut spec.longhorn {
        own.manifest = Some(longhorn::FILE.into());
    }
    spec
}

/// A password's file, its hash's file, what was given, and which of the salts.
type Known = (Option<Vec<u8>>, Option<Vec<u8>>, Option<String>, usize);

/// Salts that are told apart.
const SALTS: usize = 4;

/// The password as the program loads it. Hashing takes its time, so each is made once.
fn credentials(world: &mut World, given: Option<&str>) -> Result<Credentials> {
    static KNOWN: OnceLock<Mutex<HashMap<Known, Result<Credentials>>>> = OnceLock::new();
    let file = |path: std::path::PathBuf| world.files.read(path).map(<[u8]>::to_vec);
    let (password, hash) = (file(place().password()), file(place().password_hash()));
    let key = (password, hash, given.map(str::to_owned), world.passwords % SALTS);
    let mut known = KNOWN.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner);
    let found = known.entry(key.clone()).or_insert_with(|| load(&key)).clone()?;
    if key.1.as_deref() != Some(found.hash().as_str().as_bytes()) {
        world.passwords += 1;
    }
    Ok(found)
}

fn load((password, hash, given, _): &Known) -> Result<Credentials> {
    let dir = tempfile::tempdir().expect("a directory");
    let there = Place { dir: dir.path().to_owned() };
    let given_at = dir.path().join("given");
    for (path, bytes) in [
        (there.password(), password.as_deref()),
        (there.password_hash(), hash.as_deref()),
        (given_at.clone(), given.as_deref().map(str::as_bytes)),
    ] {
        if let Some(bytes) = bytes {
            std::fs::write(path, bytes).expect("a file");
        }
    }
    Credentials::load_or_make(&there, given.as_ref().and_then(|_| given_at.to_str()), None)
}

/// What the program remembers.
struct Remembered {
    contents: Contents,
    spec: Spec,
}

fn contents(world: &World) -> Result<Contents> {
    if world.files.has(place().journal()) {
        Contents::parse(&bytes(world), steps::origin)
    } else {
        Ok(Contents::default())
    }
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
    Journal::over(store, place().journal(), steps::origin)
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
    let found = steps::claims_that_go(host, spec).and_then(|claims| data::volumes_of(host, &claims));
    found.or_else(|e| if e.transient { Ok(Vec::new()) } else { Err(e) })
}

fn named(volumes: &[Volume]) -> String {
    volumes.iter().map(|volume| format!("  DATA   {volume}\n")).collect()
}

fn stages(spec: &Spec, credentials: &Credentials, wish: &Wish) -> Result<Vec<Stage>> {
    let all = steps::catalog(spec, credentials);
    match wish.until {
        Some(last) => steps::until(all, last),
        None => Ok(all),
    }
}

/// `plan`, and what `bootstrap --dry-run` shows.
pub fn plan(world: &World, wish: &Wish) -> Shown {
    let shown = look(world, |model, mut world| {
        contents(&world)?;
        let spec = spec(world.era, wish);
        let stages = stages(&spec, &credentials(&mut world, wish.password)?, wish)?;
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
    use iris_mk8s::engine::Verdict;
    let step = |s: &iris_mk8s::engine::StepPlan| ShownStep {
        step: s.step.clone(),
        acts: s.acts.clone(),
        stays: s.verdict == Verdict::Keep,
        with: None,
    };
    Shown { steps: plan.steps.iter().map(step).collect(), text: plan.show(), code: None }
}

/// `status`.
pub fn status(world: &World) -> Shown {
    let shown = look(world, |model, mut world| {
        let Some(known) = remembered(&world)? else { return Ok(Shown::default()) };
        let stages = steps::catalog(&known.spec, &credentials(&mut world, None)?);
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

fn stopped(model: &Model, reach: Reach) -> Result<()> {
    if scope(reach) < Scope::Host && steps::is_stopped(model) {
        return Err(Error::failed(
            "MicroK8s is stopped: what IRIS has in the cluster can be removed only while it runs",
        ));
    }
    Ok(())
}

/// What `teardown` shows before it asks, which `--dry-run` shows as well.
pub fn undo_plan(world: &World, reach: Reach) -> Shown {
    let blind = reach == Reach::Blind;
    let shown = look(world, |model, world| {
        let Some(known) = remembered(&world)? else { return Ok(Shown::default()) };
        let stages = steps::recall(&known.contents.ledger)?;
        stopped(model, reach)?;
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
    let step = |s: &iris_mk8s::engine::Removal| ShownStep {
        step: s.step.clone(),
        acts: s.acts.clone(),
        stays: s.keep.is_some(),
        with: s.with.clone(),
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
        let stages = steps::recall(ledger)?;
        stopped(model, reach)?;
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
        let agreed = sight.agreed(&stake);
        let engine = Engine { agreed: &agreed, ..engine(&**model, &stages, events) };
        engine.teardown(&journal, name, scope(reach)).1?;
        if scope(reach) == Scope::Host && journal.ledger().is_empty() {
            model.remove(LOG_DIR.as_ref(), true)?;
            journal.remove()?;
        }
        Ok(())
    })
}

/// `repair longhorn`, agreed to.
pub fn repair(world: World, hook: Option<Hook>) -> Ran {
    run(world, "repair", hook, None, |model, _, events, asked| {
        let stages = iris_mk8s::longhorn::repair::stages();
        if iris_mk8s::longhorn::repair::diagnose(&**model)?.is_none() {
            return Ok(());
        }
        let lost = data::on_longhorn(&**model)?;
        *asked = named(&lost);
        let journal = journal(model, false)?;
        let agreed = Agreed::to(&lost);
        let engine = Engine { agreed: &agreed, ..engine(&**model, &stages, events) };
        let ended = engine.repair(&mut iris_mk8s::event::Outcome::new(ExitCode::Done));
        if journal.ledger().is_empty() && journal.ledger().spec.is_none() {
            journal.discard()?;
        }
        ended
    })
}

/// `stop`: the database, then the cluster.
pub fn stop(world: World, hook: Option<Hook>) -> Ran {
    switch(world, "stop", hook, |model, known| steps::stop(model, &known.spec, &known.contents.ledger))
}

/// `start`: the cluster, then the database.
pub fn start(world: World, hook: Option<Hook>) -> Ran {
    switch(world, "start", hook, |_, known| steps::start(&known.spec, &known.contents.ledger))
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
