//! Stages side by side, and yet the same each time: their threads run one at a time, and at each act and each wait a dice says who goes on. Time
//! passes only while all of them wait.
//!
//! Which threads there are is known from the graph of the stages, as the engine starts them. A thread tells its stage when it asks a step for its
//! name, and its events tell how it ended.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc::Receiver},
    thread::{self, ThreadId},
    time::Duration,
};

use iris_mk8s::{
    engine::{
        event::{Event, Stamped},
        step::{Act, Lock, Memo, Memory, Probe, Scope, Stage, Step, Undo},
    },
    error::Result,
    host::{Host, Watch},
};
use serde_json::Value;

use super::world::World;

/// Where a stage's thread is.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Place {
    /// The engine starts it now.
    Coming,
    /// It is its turn, or it could have it.
    Ready,
    /// It waits, at the longest until that time, and has looked at that one.
    Waits { limit: Duration, looked: Duration },
}

#[derive(Default)]
struct State {
    dice: u64,
    threads: Vec<(ThreadId, &'static str)>,
    live: BTreeMap<&'static str, Place>,
    /// Not started yet, by their place in the list.
    waiting: BTreeSet<usize>,
    done: BTreeSet<&'static str>,
    failed: bool,
    events: Vec<Stamped>,
    turn: Option<&'static str>,
    /// Nobody new starts any more.
    stopping: bool,
    /// How often it was somebody else's turn than before.
    changes: u32,
}

/// A stage as the engine sees it.
struct Node {
    id: &'static str,
    needs: &'static [&'static str],
    lock: Option<Lock>,
    /// A stage without steps is done at once.
    is_empty: bool,
}

/// Whose turn it is.
pub struct Turns {
    nodes: Vec<Node>,
    state: Mutex<State>,
    bell: Condvar,
    heard: Mutex<Receiver<Stamped>>,
}

impl Turns {
    /// Those of these stages, and the stages whose steps take them.
    pub fn new(stages: Vec<Stage>, seed: u64, heard: Receiver<Stamped>) -> (Arc<Self>, Vec<Stage>) {
        let node = |s: &Stage| Node { id: s.id, needs: s.needs, lock: s.lock, is_empty: s.steps.is_empty() };
        let nodes: Vec<Node> = stages.iter().map(node).collect();
        let state = State { dice: seed, waiting: (0..nodes.len()).collect(), ..State::default() };
        let (state, heard) = (Mutex::new(state), Mutex::new(heard));
        let turns = Arc::new(Self { nodes, state, bell: Condvar::new(), heard });
        turns.start(&mut turns.lock());
        let own = |stage: Stage| {
            let own = |inner| Box::new(OfStage { inner, stage: stage.id, turns: Arc::clone(&turns) }) as Box<dyn Step>;
            Stage { steps: stage.steps.into_iter().map(own).collect(), ..stage }
        };
        let stages = stages.into_iter().map(own).collect();
        (turns, stages)
    }

    /// All that was told.
    pub fn events(&self) -> Vec<Stamped> {
        let mut state = self.lock();
        self.listen(&mut state);
        std::mem::take(&mut state.events)
    }

    fn listen(&self, state: &mut State) {
        state.events.extend(self.heard.lock().unwrap_or_else(PoisonError::into_inner).try_iter());
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How often it was somebody else's turn than before.
    pub fn changes(&self) -> u32 {
        self.lock().changes
    }

    /// The stages that the engine starts now.
    fn start(&self, state: &mut State) {
        while !state.failed && !state.stopping {
            let free = |node: &Node| {
                // It may have come already.
                let locked =
                    |id: &&'static str| *id != node.id && self.nodes.iter().any(|n| n.id == *id && n.lock == node.lock);
                node.needs.iter().all(|need| state.done.contains(need))
                    && (node.lock.is_none() || !state.live.keys().any(locked))
            };
            let Some(at) = state.waiting.iter().copied().find(|at| free(&self.nodes[*at])) else { return };
            state.waiting.remove(&at);
            if self.nodes[at].is_empty {
                state.done.insert(self.nodes[at].id);
                continue;
            }
            // It may have come already.
            state.live.entry(self.nodes[at].id).or_insert(Place::Coming);
        }
    }

    /// The stage of this thread; none for the engine's own.
    fn own(&self, state: &State) -> Option<&'static str> {
        let id = thread::current().id();
        state.threads.iter().rev().find(|(thread, _)| *thread == id).map(|(_, stage)| *stage)
    }

    /// Somebody's turn, when all have come.
    fn choose(&self, state: &mut State) {
        if state.turn.is_some() || state.live.is_empty() || state.live.values().any(|p| *p == Place::Coming) {
            return;
        }
        // Where all wait, they look again.
        if !state.live.values().any(|p| *p == Place::Ready) {
            state.live.values_mut().for_each(|place| *place = Place::Ready);
        }
        let ready: Vec<&'static str> =
            state.live.iter().filter(|(_, place)| **place == Place::Ready).map(|(id, _)| *id).collect();
        state.dice = state.dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let at = usize::try_from(state.dice >> 33).expect("small") % ready.len();
        state.turn = Some(ready[at]);
        state.changes += 1;
        self.bell.notify_all();
    }

    fn until_turn<'a>(&self, mut state: MutexGuard<'a, State>, own: &'static str) -> MutexGuard<'a, State> {
        while state.turn != Some(own) {
            state = self.bell.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state
    }

    /// Others may go first.
    pub fn pass(&self) {
        let mut state = self.lock();
        let Some(own) = self.own(&state) else { return };
        state.turn = None;
        state.live.insert(own, Place::Ready);
        self.choose(&mut state);
        drop(self.until_turn(state, own));
    }

    /// Waits until that holds, or until that time. Time passes when nobody can do anything else. False: it is the engine's own thread, which
    /// waits by itself.
    pub fn wait(&self, world: &Mutex<World>, limit: Duration, mut holds: impl FnMut(&World) -> bool) -> bool {
        let mut state = self.lock();
        let Some(own) = self.own(&state) else { return false };
        loop {
            let now = {
                let world = world.lock().unwrap_or_else(PoisonError::into_inner);
                if holds(&world) || world.now >= limit {
                    return true;
                }
                world.now
            };
            state.turn = None;
            state.live.insert(own, Place::Waits { limit, looked: now });
            let all_looked = state.live.values().all(|p| matches!(p, Place::Waits { looked, .. } if *looked == now));
            if all_looked {
                let mut world = world.lock().unwrap_or_else(PoisonError::into_inner);
                let first = state
                    .live
                    .values()
                    .filter_map(|p| if let Place::Waits { limit, .. } = p { Some(*limit) } else { None });
                let _ = world.step(first.min().unwrap_or(limit));
                for place in state.live.values_mut() {
                    *place = Place::Ready;
                }
            }
            self.choose(&mut state);
            state = self.until_turn(state, own);
        }
    }

    /// The run is to end: the engine starts nobody any more.
    pub fn stop(&self) {
        self.lock().stopping = true;
    }

    fn comes(self: &Arc<Self>, stage: &'static str) {
        let mut state = self.lock();
        let is_engine = thread::current().name() == Some(ENGINE);
        if is_engine || self.own(&state).is_some() {
            return;
        }
        state.threads.push((thread::current().id(), stage));
        state.live.insert(stage, Place::Ready);
        OWN.with(|own| *own.borrow_mut() = Some(Ends { stage, turns: Arc::clone(self) }));
        self.choose(&mut state);
        drop(self.until_turn(state, stage));
    }

    fn ends(&self, stage: &'static str) {
        let mut state = self.lock();
        state.threads.retain(|(_, of)| *of != stage);
        state.live.remove(stage);
        self.listen(&mut state);
        let done = |event: &Stamped| matches!(&event.event, Event::StageDone { stage: of, .. } if of == stage);
        if state.events.iter().any(done) {
            state.done.insert(stage);
        } else {
            state.failed = true;
        }
        if state.turn == Some(stage) {
            state.turn = None;
        }
        self.start(&mut state);
        self.choose(&mut state);
    }
}

/// Tells of the end of a stage's thread.
struct Ends {
    stage: &'static str,
    turns: Arc<Turns>,
}

impl Drop for Ends {
    fn drop(&mut self) {
        self.turns.ends(self.stage);
    }
}

thread_local! {
    static OWN: RefCell<Option<Ends>> = const { RefCell::new(None) };
}

/// A step that tells its thread's stage.
struct OfStage {
    inner: Box<dyn Step>,
    stage: &'static str,
    turns: Arc<Turns>,
}

impl Step for OfStage {
    /// The first thing that is asked of a step.
    fn id(&self) -> &str {
        self.turns.comes(self.stage);
        self.inner.id()
    }

    fn key(&self) -> String {
        self.inner.key()
    }

    fn title(&self) -> String {
        self.inner.title()
    }

    fn recipe(&self) -> Value {
        self.inner.recipe()
    }

    fn probe(&self, host: &dyn Host) -> Result<Probe> {
        self.inner.probe(host)
    }

    fn apply(&self, host: &dyn Host, found: &Probe) -> Result<Vec<Act>> {
        self.inner.apply(host, found)
    }

    fn memo(&self, host: &dyn Host, found: &Probe) -> Result<Memo> {
        self.inner.memo(host, found)
    }

    fn undo(&self, host: &dyn Host, memory: &Memory) -> Result<Undo> {
        self.inner.undo(host, memory)
    }

    fn deadline(&self) -> Duration {
        self.inner.deadline()
    }

    fn watches(&self) -> Vec<Watch> {
        self.inner.watches()
    }

    fn scope(&self) -> Scope {
        self.inner.scope()
    }

    fn inside(&self) -> Option<&'static str> {
        self.inner.inside()
    }

    fn opens(&self) -> bool {
        self.inner.opens()
    }

    fn used_by(&self) -> Option<String> {
        self.inner.used_by()
    }

    fn follows(&self, host: &dyn Host, found: &Probe) -> Result<Vec<Act>> {
        self.inner.follows(host, found)
    }

    fn is_needed_by(&self, key: &str) -> bool {
        self.inner.is_needed_by(key)
    }

    fn clears(&self) -> Option<&'static str> {
        self.inner.clears()
    }
}

/// The name of the thread in which the engine itself runs.
pub const ENGINE: &str = "engine";

/// Runs the engine in a thread of that name.
pub fn in_engine<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| {
        let engine = thread::Builder::new().name(ENGINE.to_owned()).spawn_scoped(scope, work).expect("a thread");
        engine.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}
