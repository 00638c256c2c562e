//! The door: the password that is announced opens it, and the one that every image comes with does not. Both are tried, as a program
//! would, since the hash may have been given and not taken.

use serde_json::Value;

use super::{image, instances, pause};
use crate::{
    config::{
        credentials::PUBLISHED,
        place::Place,
        spec::{Iris, Spec},
    },
    engine::{
        check::Check,
        step::{Probe, Step},
    },
    error::Result,
    host::Host,
    kube::{self, state},
    stack::iris::{
        names::claim_names,
        state::{Door, OPEN_HINT, account, announced, knock},
    },
};

/// The rung.
pub(super) fn rung(spec: &Spec) -> Box<dyn Step> {
    let iris = spec.iris.clone();
    Box::new(Check {
        id: "ready.door",
        title: "the new password works and the well-known one does not".to_owned(),
        question: Box::new(move |host| judge(host, &iris)),
        deadline: spec.timeouts.iris.into(),
        watches: pause(),
    })
}

fn judge(host: &dyn Host, iris: &Iris) -> Result<Probe> {
    let set = host.get(&kube::STATEFUL_SET, Some(&iris.namespace), &iris.name)?;
    if set.is_some_and(|set| !kube::is_ours(&set)) {
        return Ok(Probe::satisfied(format!("not asked: the StatefulSet {} brings a password of its own", iris.name)));
    }
    let Some(user) = account(iris) else {
        return Ok(Probe::satisfied("not asked: the CPF lets none of the announced accounts log in at once"));
    };
    let announced = announced(host)?;
    let mut warnings = Vec::new();
    for pod in instances(host, iris)? {
        let name = state::name(&pod);
        let Some(address) = pod["status"]["podIP"].as_str() else {
            return Ok(Probe::pending(format!("pod {name} has no address")));
        };
        match knock(host, address, user, announced.as_deref())? {
            Door::Shut => {}
            Door::Open => {
                return Ok(Probe::Hopeless {
                    why: format!("pod {name}: {user} can log in with the password `{PUBLISHED}`, which everybody knows"),
                    hint: OPEN_HINT.to_owned(),
                });
            }
            Door::Other if is_new(host, iris, name)? => {
                return Ok(Probe::Hopeless {
                    why: format!("pod {name}: {user} cannot log in with the password in {}", Place::default().password().display()),
                    hint: format!(
                        "`microk8s kubectl -n {} logs {name}` shows what IRIS says of the CPF; begin with new volumes: `iris-mk8s teardown --data`",
                        iris.namespace
                    ),
                });
            }
            Door::Other => warnings.push(format!(
                "pod {name}: {user} cannot log in with the password in {}: it was changed since, or these volumes had another one before",
                Place::default().password().display()
            )),
            Door::Unclear(503) => return Ok(Probe::pending(format!("pod {name}: IRIS has no licence unit free for a login"))),
            Door::Unclear(status) => {
                warnings.push(format!("pod {name}: the password cannot be tested: /api/atelier/ answers with status {status}"));
            }
        }
    }
    Ok(Probe::Satisfied { note: format!("as {user}"), warnings })
}

/// Whether the volume with the pod's accounts was made in this run: then no one can have changed the password.
fn is_new(host: &dyn Host, iris: &Iris, pod: &str) -> Result<bool> {
    let own = claim_names(iris)
        .into_iter()
        .find(|(name, _)| name.ends_with(&format!("-{pod}")))
        .map(|(name, _)| name)
        .unwrap_or_default();
    let claim = host.get(&kube::PERSISTENT_VOLUME_CLAIM, Some(&iris.namespace), &own)?;
    let made = claim.as_ref().map_or(&Value::Null, |claim| &claim["metadata"]["creationTimestamp"]);
    Ok(image::is_since(made, image::begun(host)))
}
