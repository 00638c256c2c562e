//! What happens between two commands, and the commands themselves, as values that can be drawn, cut down, and pasted: what is printed of them is
//! Rust.

use std::fmt;

use crate::model::{foreign::Resident, tool::Death, world::Era};
pub use crate::{
    things::{Guest, OurFile, Ours, Part, Place, Rule},
    wish::{Range, Wish},
};

/// A host, and what happens on it.
#[derive(Clone, PartialEq)]
pub struct Sequence {
    pub era: Era,
    pub start: Start,
    pub ops: Vec<Op>,
}

/// The host before the first command.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Start {
    Fresh,
    /// Its snapd can hold a single snap.
    NewSnapd,
    /// What an earlier Kubernetes left, with a group that has a member, and forwarding that somebody needs.
    AfterKubernetes,
    /// Somebody's MicroK8s, without addons.
    Theirs,
    /// With storage, and with MetalLB's pool of `Range::Theirs`.
    TheirsWithPool,
    /// The same, stopped.
    TheirsStopped,
    /// The first release was there, and did what is recorded under that name.
    Released(&'static str),
}

/// How a command of ours ends.
#[derive(Clone, PartialEq)]
pub enum End {
    Whole,
    /// At the moment of that number; the next command comes so many seconds later.
    Dies(Death, u16, u16),
    /// A person interrupts it once there.
    CtrlC(u16),
    /// And at once a second time, which ends what runs.
    CtrlCTwice(u16),
    /// Something happens meanwhile.
    Meanwhile(u16, Box<Op>),
}

impl fmt::Debug for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole => write!(f, "Whole"),
            Self::Dies(death, at, gap) => write!(f, "Dies({death:?}, {at}, {gap})"),
            Self::CtrlC(at) => write!(f, "CtrlC({at})"),
            Self::CtrlCTwice(at) => write!(f, "CtrlCTwice({at})"),
            Self::Meanwhile(at, op) => write!(f, "Meanwhile({at}, Box::new({op:?}))"),
        }
    }
}

/// How far a teardown goes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Reach {
    App,
    Data,
    Reset,
    /// `--reset --without-looking`.
    Blind,
}

impl Reach {
    pub const ALL: [Self; 4] = [Self::App, Self::Data, Self::Reset, Self::Blind];
}

/// One thing that happens.
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    // Commands of ours.
    Bootstrap(Wish, End),
    Plan(Wish),
    Status,
    Stop(End),
    Start(End),
    /// With `--yes`, or with the question answered; what was shown before is the list that was agreed to.
    Teardown(Reach, End),
    DryRun(Reach),
    /// `repair longhorn`.
    Repair(End),

    // Others on the host.
    Arrives(Resident),
    Leaves(Resident),
    /// A file of somebody's, in a folder that MicroK8s or we use.
    Puts(Place),
    /// A rule of somebody's on the bridge of the pods, or one of their own chain.
    AddsRule(Rule),
    AddsLink(&'static str),
    Mounts(&'static str),
    SetsSetting(&'static str, &'static str),
    HoldsAll(&'static str),
    HoldsSnap,
    UnholdsAll,
    Aliases(&'static str),
    Unaliases(&'static str),
    /// A program of that name.
    InstallsKubectl,
    JoinsGroup(&'static str),

    // A person and MicroK8s.
    Microk8sStop,
    Microk8sStart,
    /// Its services die, and nothing says why.
    ApiDies,
    DisablesSnap,
    EnablesSnap,
    RemovesSnap,
    /// Removes it, and installs one of their own.
    Reinstalls,
    /// Restarts the host.
    Reboots,
    Waits(u16),

    // A person in the cluster.
    Makes(Guest),
    /// Changes one of our objects.
    Edits(Ours),
    /// Puts one of their own in its place.
    Replaces(Ours),
    Deletes(Part),
    Pushes,
    /// Changes or removes one of our files.
    Spoils(OurFile),
}

impl fmt::Display for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "on(Era::{:?}, {:?}, &[", self.era, self.start)?;
        for op in &self.ops {
            writeln!(f, "    {op:?},")?;
        }
        write!(f, "])")
    }
}
