//! The product at work on a modelled host: its commands as the program runs them, and what is left when it dies.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use iris_mk8s::{
    config::{credentials::Credentials, place::Place, profile, spec::Spec},
    engine::{
        Engine, Plan, UndoPlan,
        event::{Event, Events, Outcome},
        journal::{Contents, Journal, Ledger},
        step::{Scope, Stage},
    },
    error::{Error, ExitCode, Result},
    host::Host,
    stack::{
        self,
        data::{self, Agreed, Stake},
    },
};

use super::{
    host::{Model, Moment},
    store::{ModelStore, Policy, bytes, read_as},
    world::{Era, World},
};

/// A range that suits the modelled network.
pub const RANGE: &str = "192.168.11.110-192.168.11.130";

/// The wanted state: the default profile, in the channel of the era, on MicroK8s' own storage or on Longhorn.
pub fn spec(era: Era, longhorn: bool) -> &'static Spec {
    static SPECS: [OnceLock<Spec>; 4] = [const { OnceLock::new() }; 4];
    SPECS[usize::from(era == Era::Old) + 2 * usize::from(longhorn)].get_or_init(|| {
        let channel = Some(era.channel().parse().expect("a channel"));
        let lb = Some(RANGE.parse().expect("a range"));
        let storage = longhorn.then(|| "longhorn".to_owned());
        // A tag that does not move: the built-in profile's one cannot come from a bundle.
        let image = Some("intersystems/iris-community:2026.2".to_owned());
        let flags = iris_mk8s::config::flags::SpecFlags { lb, channel, storage, image, ..Default::default() };
        let login = Some("ubuntu".to_owned());
        let input = profile::Input { flags, login, ..profile::Input::default() };
        let mut spec = profile::resolve(&input).expect("the default profile").0;
        if let Some(longhorn) = &mut spec.longhorn {
            longhorn.manifest = Some(super::longhorn::FILE.into());
        }
        spec
    })
}

/// Passwords, each with two salts. Hashing takes its time, so they are made once.
fn passwords() -> &'static Vec<[Credentials; 2]> {
    static PASSWORDS: OnceLock<Vec<[Credentials; 2]>> = OnceLock::new();
    PASSWORDS.get_or_init(|| {
        let dir = tempfile::tempdir().expect("a directory");
        let place = Place { dir: dir.path().to_owned() };
        let make = |n: usize| {
            let file = dir.path().join("given");
            std::fs::write(&file, format!("password-{n}\n")).expect("a file");
            [0, 1].map(|_| Credentials::load_or_make(&place, file.to_str(), None).expect("a password"))
        };
        (0..3).map(make).collect()
    })
}

/// The password as the program loads it: the one of the files, with its hash if that fits; else a new one.
fn credentials(world: &mut World) -> Credentials {
    let place = Place::default();
    let password = world.files.read(place.password()).unwrap_or_default();
    let hash = world.files.text(place.password_hash());
    let known = passwords().iter().find(|p| p[0].password_file() == password);
    let Some(known) = known else {
        world.passwords += 1;
        return passwords()[(world.passwords - 1) % passwords().len()][0].clone();
    };
    known.iter().find(|c| c.hash().as_str() == hash).unwrap_or(&known[1]).clone()
}

/// How a command ended.
pub struct Ran {
    pub code: ExitCode,
    pub error: Option<Error>,
    pub world: World,
    pub moments: Vec<Moment>,
    /// Its run's name.
    pub run: String,
    pub acts: u64,
    /// What a teardown counted, if it came to that.
    pub outcome: Option<Outcome>,
    /// Steps that a teardown left, and why.
    pub left: Vec<(String, String)>,
}

/// The program, and under which policy it keeps its journal.
#[derive(Clone, Copy)]
pub struct Tool {
    pub policy: Policy,
    /// Whether moments are collected.
    pub collect: bool,
    /// Whether the volumes shall lie on Longhorn.
    pub longhorn: bool,
    /// `--without-looking`.
    pub without_looking: bool,
    /// `--bundle`.
    pub bundle: bool,
}

impl Tool {
    pub fn new(policy: Policy) -> Self {
        Self { policy, collect: false, longhorn: false, without_looking: false, bundle: false }
    }

    pub fn collecting(self) -> Self {
        Self { collect: true, ..self }
    }

    fn run(self, world: World, command: &str, work: impl FnOnce(&Arc<Model>, &str, Credentials) -> Result<()>) -> Ran {
        // The time is part of a run's name, and so names differ.
        let run = format!("{}-{command}", world.now.as_millis());
        let mut world = world;
        let acts = world.acts;
        let credentials = credentials(&mut world);
        let model = Arc::new(Model::new(world, &run, self.collect));
        let ended = work(&model, &run, credentials);
        let moments = model.take_moments();
        let world = model.world().clone();
        let code = ended.as_ref().err().map_or(ExitCode::Done, |e| e.code);
        Ran { code, error: ended.err(), acts: world.acts - acts, world, moments, run, outcome: None, left: Vec::new() }
    }

    /// `bootstrap`.
    pub fn bootstrap(self, world: World) -> Ran {
        let spec = spec(world.era, self.longhorn);
        self.bootstrap_of(world, spec)
    }

    /// `bootstrap` of another spec than the usual one.
    pub fn bootstrap_of(self, world: World, spec: &Spec) -> Ran {
        self.bootstrap_agreed(world, spec, Agreed::nothing())
    }

    /// The same, with the data that the person agreed to lose.
    pub fn bootstrap_agreed(self, world: World, spec: &Spec, agreed: &Agreed) -> Ran {
        self.run(world, "bootstrap", |model, run, credentials| {
            let bundle = self.bundle.then(|| super::bundle::of(model.world().era));
            let stages = stack::catalog_from(spec, &credentials, bundle.as_ref());
            let open = || {
                Journal::over(
                    Box::new(ModelStore::open(model, self.policy, true)),
                    Place::default().journal(),
                    stack::origin,
                )
            };
            let events = Events::channel().0;
            Engine { agreed, ..engine(&**model, &stages, &events) }.bootstrap(open, run, spec).1
        })
    }

    /// `stop`: the database, then the cluster.
    pub fn stop(self, world: World) -> Ran {
        self.switch(world, "stop", |model, spec, ledger| stack::stop(model, spec, ledger))
    }

    /// `start`: the cluster, then the database.
    pub fn start(self, world: World) -> Ran {
        self.switch(world, "start", |_, spec, ledger| stack::start(spec, ledger))
    }

    fn switch(self, world: World, command: &str, stages: fn(&Model, &Spec, &Ledger) -> Vec<Stage>) -> Ran {
        self.run(world, command, |model, run, _| {
            let contents = self.contents(&model.world())?;
            let Some(spec) = &contents.ledger.spec else {
                return Err(Error::new(ExitCode::Preflight, "no bootstrap has run on this host"));
            };
            let stages = stages(model, spec, &contents.ledger);
            let store = Box::new(ModelStore::open(model, self.policy, false));
            let journal = Journal::over(store, Place::default().journal(), stack::origin)?;
            engine(&**model, &stages, &Events::channel().0).switch(&journal, run, command).1
        })
    }

    /// `plan`: on a host that may only be looked at. True: there is nothing to do.
    pub fn plan(self, world: World) -> Result<bool> {
        let spec = spec(world.era, self.longhorn);
        self.plan_of(world, spec).map(|plan| plan.is_empty())
    }

    /// `plan` with other wishes.
    pub fn plan_of(self, world: World, spec: &Spec) -> Result<Plan> {
        let mut world = world;
        let stages = stack::catalog(spec, &credentials(&mut world));
        let mut model = Model::new(world, "plan", false);
        model.read_only = true;
        engine(&model, &stages, &Events::channel().0).plan()
    }

    /// `teardown`, of that reach.
    pub fn teardown(self, world: World, reach: Scope) -> Ran {
        self.teardown_agreed(world, reach, |_| {})
    }

    /// `teardown`; while its question was open, something happened.
    pub fn teardown_agreed(self, world: World, reach: Scope, meanwhile: impl FnOnce(&mut World)) -> Ran {
        let (mut counted, mut left) = (None, Vec::new());
        let ran = self.run(world, "teardown", |model, run, _| {
            let contents = self.contents(&model.world())?;
            let open = || {
                let store = Box::new(ModelStore::open(model, self.policy, false));
                Journal::over(store, Place::default().journal(), stack::origin)
            };
            if contents.ledger.spec.is_none() {
                let left = model.exists(&Place::default().dir);
                return if reach == Scope::Host && left { open()?.discard() } else { Ok(()) };
            }
            let stages = stack::recall(&contents.ledger)?;
            let (events, heard) = Events::channel();
            let sight = data::look(&**model, &contents.ledger, reach, !self.without_looking, &mut |_| {})?;
            let agreed = sight.planned(self.without_looking);
            let plan = Engine { agreed: &agreed, ..engine(&**model, &stages, &events) };
            let plan = plan.undo_plan(&contents.ledger, reach)?;
            let stake = sight.stake(|step| plan.goes(step));
            sight.refuse_unseen(self.without_looking)?;
            meanwhile(&mut model.world());
            let journal = open()?;
            let now = data::look(&**model, &journal.ledger(), reach, stake.unseen.is_none(), &mut |_| {})?;
            sight.refuse_new(&stake, &now, |step| plan.goes(step))?;
            let agreed = sight.agreed(&stake).and_stay(plan.stays());
            let engine = Engine { agreed: &agreed, ..engine(&**model, &stages, &events) };
            let (outcome, result) = engine.teardown(&journal, run, reach);
            counted = Some(outcome);
            let is_over = reach == Scope::Host && journal.ledger().is_empty();
            let result = result.and_then(|()| if is_over { engine.end_reset(journal) } else { Ok(()) });
            drop(events);
            left.extend(heard.iter().filter_map(|stamped| match stamped.event {
                Event::StepLeft { step, why, .. } => Some((step, why)),
                _ => None,
            }));
            result
        });
        Ran { outcome: counted, left, ..ran }
    }

    /// What a `teardown` of that reach names in its question.
    pub fn stake(self, world: World, reach: Scope) -> Result<Stake> {
        let plan = self.undo_plan(world.clone(), reach)?;
        let contents = self.contents(&world)?;
        let mut model = Model::new(world, "plan", false);
        model.read_only = true;
        Ok(data::look(&model, &contents.ledger, reach, true, &mut |_| {})?.stake(|step| plan.goes(step)))
    }

    /// `repair longhorn --yes`.
    pub fn repair(self, world: World) -> Ran {
        self.run(world, "repair", |model, _, _| {
            let stages = iris_mk8s::stack::longhorn::repair::stages();
            let mut outcome = Outcome::new(ExitCode::Done);
            let agreed = Agreed::to(&data::on_longhorn(&**model)?);
            let events = Events::channel().0;
            Engine { agreed: &agreed, ..engine(&**model, &stages, &events) }.repair(&mut outcome)
        })
    }

    /// What a `teardown` of that reach would do, on a host that may only be looked at.
    pub fn undo_plan(self, world: World, reach: Scope) -> Result<UndoPlan> {
        let contents = self.contents(&world)?;
        let stages = stack::recall(&contents.ledger)?;
        let mut model = Model::new(world, "plan", false);
        model.read_only = true;
        engine(&model, &stages, &Events::channel().0).undo_plan(&contents.ledger, reach)
    }

    /// What the journal of a host says; nothing where there is none.
    fn contents(self, world: &World) -> Result<Contents> {
        if !world.files.has(Place::default().journal()) {
            return Ok(Contents::default());
        }
        Contents::parse(&read_as(self.policy, bytes(world)), stack::origin)
    }
}

fn engine<'a>(host: &'a dyn Host, stages: &'a [Stage], events: &'a Events) -> Engine<'a> {
    Engine { host, stages, events, workers: 1, agreed: Agreed::nothing() }
}

/// How a run dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Death {
    /// By SIGKILL; its child goes on, unheard, until its next line.
    Killed,
    /// By SIGKILL; its child does not mind that nobody hears it.
    ChildGoesOn,
    /// With the whole machine.
    PowerCut,
}

/// The world after a run died, and after some more time.
pub fn after(death: Death, world: &World, gap: Duration) -> World {
    let mut world = world.clone();
    match death {
        // What MicroK8s runs by itself never had us to hear it.
        Death::Killed => world.processes.values_mut().filter(|p| p.run.is_some()).for_each(|p| p.unheard = true),
        Death::ChildGoesOn => {}
        Death::PowerCut => world.power_cut(),
    }
    world.advance(gap);
    // Whoever comes back makes room first.
    world.files.room = None;
    world.processes.retain(|_, p| p.code.is_none());
    // The name of a run holds the time: no two of them begin at the same moment.
    world.now += Duration::from_millis(1);
    world
}
