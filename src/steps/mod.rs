//! The catalogue: everything the product does, as one table. Read this first.
//!
//! | stage | needs | lock | steps |
//! |---|---|---|---|
//! | preflight | | | the host is fit; the range suits the network |
//! | snap | preflight | snapd | what was there before is written down; the snap `microk8s`; no refresh in the middle |
//! | group | snap | | the user may use MicroK8s |
//! | alias | snap | snapd | `kubectl`, or `kubectl2` when there is another one |
//! | start | snap | | services run, the API answers, node and network are ready |
//! | basics | start | addons | dns and storage, by what they should bring |
//! | iris | basics | | storage class, password, claims, CPF, services, StatefulSet |
//! | metallb | basics | addons | the addon; the pool *equals* the range asked for |
//! | addons | basics | addons | registry, and what else the spec names |
//! | ready | iris, metallb | | pods ready, address in the range, metrics answer through it, the databases are there |

use std::time::Duration;

use crate::{
    credentials::Credentials,
    spec::Spec,
    step::{Lock, Stage, Step},
};

mod addons;
mod alias;
mod before;
mod check;
mod claims;
mod cluster;
mod foreign;
mod group;
mod iris;
mod metallb;
mod object;
mod password;
mod preflight;
mod ready;
mod snap;

pub use iris::{WEB, claim_names};
pub use ready::address;

/// The step that takes everything in the cluster along when it is undone.
const SNAP: &str = "snap.microk8s";

/// A fact that can be read and made at once.
const SOON: Duration = Duration::from_secs(60);

/// All stages, each after those it needs.
pub fn catalog(spec: &Spec, credentials: &Credentials) -> Vec<Stage> {
    let stage = |id, needs, lock, steps: Vec<Box<dyn Step>>| Stage { id, needs, lock, steps };
    vec![
        stage("preflight", &[], None, vec![Box::new(preflight::host(spec)), Box::new(preflight::range(spec))]),
        stage(
            "snap",
            &["preflight"],
            Some(Lock::Snapd),
            vec![Box::new(before::Before::new(spec)), Box::new(snap::Snap::new(spec)), Box::new(snap::Hold::new(spec))],
        ),
        stage("group", &["snap"], None, vec![Box::new(group::Member::new(spec))]),
        stage("alias", &["snap"], Some(Lock::Snapd), vec![Box::new(alias::Alias::new(spec))]),
        stage("start", &["snap"], None, vec![Box::new(cluster::Running::new(spec))]),
        stage("basics", &["start"], Some(Lock::Addons), addons::basics(spec)),
        // The image of IRIS is what takes longest: its pull runs beside the other addons.
        stage("iris", &["basics"], None, iris::all(spec, credentials)),
        stage("metallb", &["basics"], Some(Lock::Addons), metallb::all(spec)),
        stage("addons", &["basics"], Some(Lock::Addons), addons::others(spec)),
        stage("ready", &["iris", "metallb"], None, ready::all(spec)),
    ]
}
