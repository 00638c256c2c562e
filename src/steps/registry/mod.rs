//! The built-in registry: that it answers, an image that is pushed into it, and one that is removed.

use std::time::Duration;

use super::check::Check;
use crate::{
    host::Watch,
    image::registry,
    step::{Stage, Step},
};

mod pin;
mod pushed;
mod removed;

pub(super) use pin::{Pin, digest_of, hopeless};
pub(super) use pushed::Pushed;

use crate::image::{Name, Push};

/// Nobody tells when a page begins to answer.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// That the registry answers at its port.
pub(super) fn answers(deadline: Duration) -> Box<dyn Step> {
    Box::new(Check {
        id: "registry.answers",
        title: "the built-in registry answers".to_owned(),
        question: Box::new(registry::answers),
        deadline,
        watches: vec![Watch::Pause(LOOK_AGAIN)],
    })
}

/// How long a registry may need that has just been started.
const STARTS_WITHIN: Duration = Duration::from_secs(600);

/// The stage of `image push`.
pub fn push(push: Push) -> Vec<Stage> {
    one("push", vec![answers(STARTS_WITHIN), Box::new(Pushed::new(push))])
}

/// The stage of `image remove`: what is taken back.
pub fn remove(name: &Name, digest: &str) -> Vec<Stage> {
    one("remove", vec![Box::new(removed::Removed::new(name, digest))])
}

fn one(id: &'static str, steps: Vec<Box<dyn Step>>) -> Vec<Stage> {
    vec![Stage { id, needs: &[], lock: None, steps }]
}
