//! The built-in registry: that it answers, an image that is pushed into it, and one that is removed.

use std::time::Duration;

use crate::{
    engine::{
        check::Check,
        step::{Probe, Stage, Step},
    },
    error::{Result, one_line},
    host::{Host, Watch},
    image::{Name, Push, registry},
    kube::{self, state as object},
};

mod pin;
mod pushed;
mod removed;
mod state;

pub use self::state::{need, users_of};
pub(crate) use pin::{Pin, digest_of, hopeless};
pub(crate) use pushed::Pushed;

use self::state::DEPLOYMENT;

/// Nobody tells when a page begins to answer.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// That the registry answers at its port.
pub(crate) fn answers(deadline: Duration) -> Box<dyn Step> {
    Box::new(Check {
        id: "registry.answers",
        title: "the built-in registry answers".to_owned(),
        question: Box::new(whether_it_answers),
        deadline,
        watches: vec![Watch::Pause(LOOK_AGAIN)],
    })
}

/// Whether the registry answers; as long as it does not, what is known of why.
///
/// # Errors
/// The cluster does not answer (transient).
fn whether_it_answers(host: &dyn Host) -> Result<Probe> {
    let why = match registry::ask(host, "GET", "/v2/", Vec::new()) {
        Ok(answer) if answer.status == 200 => return Ok(Probe::satisfied("")),
        Ok(answer) => format!("it answers with status {}", answer.status),
        Err(e) => one_line(&e),
    };
    let Some(deployment) = host.get(&kube::DEPLOYMENT, Some(DEPLOYMENT.0), DEPLOYMENT.1)? else {
        return Ok(Probe::pending("the built-in registry is not enabled"));
    };
    let pods = host.list(&kube::POD, Some(DEPLOYMENT.0), &object::selector(&deployment))?;
    let trouble = pods.iter().find_map(object::pod_trouble);
    Ok(Probe::pending(trouble.map_or(why, |trouble| format!("its pod: {trouble}"))))
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
