//! The catalogue: everything the product does, as one table. Read this first.
//!
//! | stage | needs | lock | steps |
//! |---|---|---|---|
//! | preflight | | | snapd has finished its own tasks; the host is fit; the range suits the network |
//! | snap | preflight | snapd | what was there before is written down; the snap `microk8s`; no refresh in the middle; mirrors and proxy for images |
//! | group | snap | | the user may use MicroK8s |
//! | alias | snap | snapd | `kubectl`, or `kubectl2` when there is another one |
//! | start | snap | | services run, the API answers, node and network are ready |
//! | images | snap, or registry | | the image of IRIS is pulled, while the cluster starts; one of the built-in registry when that answers |
//! | enable | start | addons | dns and storage are there, by what they should bring |
//! | basics | enable | | dns and storage work |
//! | longhorn | basics | | when the volumes shall lie on it: what it needs of the host, its objects, every rung until it stores |
//! | objects | enable, longhorn | | place, storage class, memory, namespace, password, claims, CPF, services |
//! | iris | objects, images | | the StatefulSet: what runs goes on until the image of what comes is there |
//! | pods | basics, iris | | pods ready, volumes writable, names resolved |
//! | registry | enable | addons | the registry is there: its command is short, and MetalLB's waits for pods |
//! | metallb | enable | addons | the addon; the pool *equals* the range asked for |
//! | addons | registry | addons | the registry works; what else the spec names |
//! | ready | pods, metallb | | address in the range, metrics through it, licence, the CPF's databases and namespaces, a terminal answers, the password is taken |
//!
//! With a bundle there is one more, `preload`, which needs `snap`: the images that kubelet would pull are imported, while the cluster starts.
//! `enable` needs it then.

use std::sync::Arc;

use crate::{
    bundle::Bundle,
    config::{credentials::Credentials, spec::Spec},
    engine::step::{Lock, Stage, Step},
    error::{Error, Result},
    stack::data::Known,
};

mod addon;
pub mod check;
pub mod checks;
pub mod data;
pub mod facts;
mod image;
pub mod iris;
pub mod lan;
mod left;
pub mod longhorn;
pub mod metallb;
pub mod microk8s;
mod mounts;
mod object;
pub mod observed;
pub mod preflight;
mod recall;
pub(crate) mod registry;
mod settled;
mod switch;

pub use recall::{origin, recall};
pub use switch::{start, stop};

/// The names of all stages, in the order of the table.
pub const STAGES: [&str; 16] = [
    "preflight",
    "snap",
    "group",
    "alias",
    "start",
    "images",
    "enable",
    "basics",
    "longhorn",
    "objects",
    "iris",
    "pods",
    "registry",
    "metallb",
    "addons",
    "ready",
];

/// The stage in which the images of a bundle are imported. There is none without a bundle.
pub const PRELOAD: &str = "preload";

/// All stages, each after those it needs.
pub fn catalog(spec: &Spec, credentials: &Credentials) -> Vec<Stage> {
    catalog_from(spec, credentials, None)
}

/// The same, where what would be fetched comes from a bundle.
pub fn catalog_from(spec: &Spec, credentials: &Credentials, bundle: Option<&Arc<Bundle>>) -> Vec<Stage> {
    let stage = |id, needs, lock, steps: Vec<Box<dyn Step>>| Stage { id, needs, lock, steps };
    let known = Known::wanted(spec);
    let before_addons: &[&str] = if bundle.is_some() { &["start", PRELOAD] } else { &["start"] };
    let others = microk8s::addons::others(spec);
    // A look needs no lock.
    let others_lock = if others.is_empty() { None } else { Some(Lock::Addons) };
    let others = microk8s::addons::registry_works(spec).into_iter().chain(others).collect();
    let mut stages = vec![
        stage(
            "preflight",
            &[],
            None,
            preflight::step::all(spec, checks::ALL, bundle).map(|check| Box::new(check) as Box<dyn Step>).into(),
        ),
        stage(
            "snap",
            &["preflight"],
            Some(Lock::Snapd),
            [
                vec![
                    Box::new(microk8s::baseline::Before::new(spec)) as Box<dyn Step>,
                    Box::new(microk8s::snap::Snap::new(spec, &known).from(bundle)),
                    Box::new(microk8s::hold::Hold::new(spec)),
                ],
                // Before any image is asked for again.
                microk8s::registries::all(spec),
            ]
            .into_iter()
            .flatten()
            .collect(),
        ),
        stage("group", &["snap"], None, vec![Box::new(microk8s::group::Member::new(spec))]),
        stage("alias", &["snap"], Some(Lock::Snapd), vec![Box::new(microk8s::alias::Alias::new(spec))]),
        stage("start", &["snap"], None, vec![Box::new(microk8s::running::Running::new(spec))]),
        stage("images", iris::images::needs(spec), None, iris::images::all(spec, bundle)),
        stage("enable", before_addons, Some(Lock::Addons), microk8s::addons::basics(spec)),
        stage("basics", &["enable"], None, microk8s::addons::basics_work(spec)),
        stage("longhorn", &["basics"], None, longhorn::steps::all(spec, bundle)),
        stage(
            "objects",
            &["enable", "longhorn"],
            None,
            longhorn::steps::before_it(spec, iris::objects::objects(spec, credentials)),
        ),
        // The image of IRIS is what takes longest: until it is there, nothing that works is touched.
        stage("iris", &["objects", "images"], None, longhorn::steps::before_it(spec, vec![iris::objects::set(spec)])),
        // A stage of its own before `ready`: problems of the pods are reported while the addons are still being enabled.
        stage("pods", &["basics", "iris"], None, iris::ready::of_pods(spec)),
        // Of those that want the same lock the first one has it first.
        stage("registry", &["enable"], Some(Lock::Addons), microk8s::addons::registry(spec)),
        stage("metallb", &["enable"], Some(Lock::Addons), metallb::addon::all(spec, &known)),
        stage("addons", &["registry"], others_lock, others),
        stage("ready", &["pods", "metallb"], None, iris::ready::all(spec)),
    ];
    if let Some(bundle) = bundle {
        // kubelet would ask registries for them.
        stages.push(stage(PRELOAD, &["snap"], None, vec![Box::new(iris::images::OfBundle::new(spec, bundle))]));
        move_behind(&mut stages, PRELOAD, "start");
    }
    if iris::images::needs(spec) == ["registry"] {
        // Each stage comes after those it needs, and `iris` needs the image.
        move_behind(&mut stages, "registry", "enable");
        move_behind(&mut stages, "images", "registry");
    }
    stages
}

/// Puts a stage directly behind another one.
fn move_behind(stages: &mut Vec<Stage>, id: &str, other: &str) {
    if let Some(at) = stages.iter().position(|stage| stage.id == id) {
        let moved = stages.remove(at);
        let behind = stages.iter().position(|stage| stage.id == other).map_or(stages.len(), |at| at + 1);
        stages.insert(behind, moved);
    }
}

/// The stages up to the named one: itself and all that it needs.
///
/// # Errors
/// There is no such stage.
pub fn until(stages: Vec<Stage>, last: &str) -> Result<Vec<Stage>> {
    until_both(stages, last, last)
}

/// The stages up to two of them.
///
/// # Errors
/// There is no such stage.
pub fn until_both(mut stages: Vec<Stage>, last: &str, other: &str) -> Result<Vec<Stage>> {
    if !stages.iter().any(|s| s.id == last) {
        let names: Vec<&str> = stages.iter().map(|s| s.id).collect();
        return Err(Error::usage(format!("--until {last}: there is no such stage"))
            .hint(format!("one of {}", names.join(", "))));
    }
    let mut wanted = vec![last, other];
    // Each stage comes after those it needs: one walk backwards finds them all.
    for stage in stages.iter().rev() {
        if wanted.contains(&stage.id) {
            wanted.extend(stage.needs);
        }
    }
    stages.retain(|s| wanted.contains(&s.id));
    Ok(stages)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::spec::example;

    fn ids(stages: &[Stage]) -> Vec<&str> {
        stages.iter().map(|s| s.id).collect()
    }

    #[test]
    fn every_stage_comes_after_those_it_needs_and_every_step_has_a_name_of_its_own() {
        let mut own = example();
        own.iris.image = "localhost:32000/simple:latest".to_owned();
        let stages = catalog(&example(), &Credentials::placeholder());
        for stages in [&stages, &catalog(&own, &Credentials::placeholder())] {
            for (at, stage) in stages.iter().enumerate() {
                assert!(stage.needs.iter().all(|need| ids(&stages[..at]).contains(need)), "{}", stage.id);
            }
        }
        let mut steps: Vec<String> = stages.iter().flat_map(|s| &s.steps).map(|s| s.id().to_owned()).collect();
        let count = steps.len();
        steps.sort();
        steps.dedup();
        assert_eq!(steps.len(), count);
    }

    #[test]
    fn until_takes_what_a_stage_needs_and_no_more() {
        let all = || catalog(&example(), &Credentials::placeholder());
        assert_eq!(ids(&until(all(), "start").expect("a stage")), ["preflight", "snap", "start"]);
        assert_eq!(
            ids(&until(all(), "iris").expect("a stage")),
            ["preflight", "snap", "start", "images", "enable", "basics", "longhorn", "objects", "iris"]
        );
        assert!(until(all(), "Start").is_err());
    }

    #[test]
    fn an_image_of_the_built_in_registry_waits_for_that() {
        let mut own = example();
        own.iris.image = "localhost:32000/simple:latest".to_owned();
        let stages = until(catalog(&own, &Credentials::placeholder()), "images").expect("a stage");
        assert_eq!(ids(&stages), ["preflight", "snap", "start", "enable", "registry", "images"]);
        let steps: Vec<&str> = stages[5].steps.iter().map(|step| step.id()).collect();
        assert_eq!(steps, ["registry.answers", "image.iris"]);
    }
}
