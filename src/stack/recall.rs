//! The steps of a teardown, made again from the journal alone: from what each intent wrote down, never from what is wanted today. So it is
//! with another namespace, without an addon that the profile named once, and with a later version of this program.

use std::sync::OnceLock;

use serde_json::Value;

use super::{
    catalog,
    iris::{claims, images, names::SET, namespace, password},
    longhorn::steps,
    metallb::addon,
    microk8s::{addons, alias, baseline, group, hold, registries, running, snap},
    object, registry,
};
use crate::{
    config::{credentials::Credentials, flags, profile, spec::Spec},
    engine::{
        journal::{Ledger, Origin},
        step::{Memory, Stage, Step},
    },
    error::{Error, ExitCode, Result},
    stack::data::Known,
};

/// Stages and the names of their steps, or how these begin, in the order of doing: a teardown goes backwards.
const ORDER: &[(&str, &[&str])] = &[
    ("snap", &["snap.before", "snap.microk8s", "snap.hold", "mirror.", "registries.proxy"]),
    ("group", &["group.member"]),
    ("alias", &["alias.kubectl"]),
    ("start", &["cluster.running"]),
    ("images", &["image."]),
    ("enable", &["addon.dns", "addon.hostpath-storage"]),
    (
        "longhorn",
        &[
            "longhorn.package-lists",
            "longhorn.packages",
            "longhorn.iscsid",
            "longhorn.module",
            "longhorn.multipath",
            "longhorn.before",
            "longhorn.manifest",
            "longhorn.namespace",
            "longhorn.definitions",
            "longhorn.rights",
            "longhorn.settings",
            "longhorn.workloads",
            "longhorn.trial",
            "longhorn.trial-end",
        ],
    ),
    ("objects", &["iris.namespace", "iris.password", "iris.claims", "iris.cpf", "iris.service", "iris.service-ext"]),
    ("iris", &["iris.statefulset"]),
    ("registry", &["addon.registry"]),
    ("metallb", &["addon.metallb", "metallb.pool"]),
    ("addons", &["addon."]),
];

/// Where a step stands: its stage, and the place among all; an exact name counts before a beginning.
fn rank(id: &str) -> Option<(&'static str, usize)> {
    let all = || ORDER.iter().flat_map(|(stage, names)| names.iter().map(move |name| (*stage, *name))).enumerate();
    let is = |(_, (_, name)): &(usize, (&str, &str))| *name == id;
    let begins = |(_, (_, name)): &(usize, (&str, &str))| name.ends_with('.') && id.starts_with(name);
    all().find(is).or_else(|| all().find(begins)).map(|(at, (stage, _))| (stage, at))
}

/// What a step of an older journal left to its spec.
pub fn origin(spec: &Spec, id: &str) -> Option<Origin> {
    let stages = catalog(spec, &Credentials::placeholder());
    let step = stages.iter().flat_map(|stage| &stage.steps).find(|step| step.id() == id)?;
    Some(Origin { key: step.key(), recipe: step.recipe() })
}

/// The steps of everything that is ours, in the order of doing.
///
/// # Errors
/// The journal holds a step that this program does not know.
pub fn recall(ledger: &Ledger) -> Result<Vec<Stage>> {
    let known = Known::of(ledger);
    let mut found = Vec::new();
    for (key, memory) in ledger.memories() {
        let id = key.split_once('@').map_or(key, |(id, _)| id);
        let Some((stage, at)) = rank(id) else { return Err(unknown(key)) };
        let step = one(id, memory, &known)?.ok_or_else(|| unknown(key))?;
        found.push((at, stage, step));
    }
    // Stable: of the same name, in the order of their keys.
    found.sort_by_key(|(at, ..)| *at);
    let mut stages: Vec<Stage> = Vec::new();
    for (_, id, step) in found {
        match stages.last_mut() {
            Some(stage) if stage.id == id => stage.steps.push(step),
            _ => stages.push(Stage { id, needs: &[], lock: None, steps: vec![step] }),
        }
    }
    Ok(stages)
}

fn unknown(key: &str) -> Error {
    Error::new(ExitCode::Journal, format!("the journal holds the step `{key}`, which this iris-mk8s does not know"))
        .because("how to take it back only the version knows that made it; nothing was changed")
        .hint("use the version that wrote it (`iris-mk8s journal show` tells which), or a later one")
}

/// One step.
fn one(id: &str, memory: &Memory, known: &Known) -> Result<Option<Box<dyn Step>>> {
    let recipe = &memory.recipe;
    let spec = spec_of(recipe)?;
    let object = |id| object::recalled(id, recipe, &spec);
    let step: Box<dyn Step> = match id {
        "snap.before" => Box::new(baseline::Before::new(&spec)),
        "snap.microk8s" => Box::new(snap::Snap::new(&spec, known)),
        "snap.hold" => Box::new(hold::Hold::new(&spec)),
        "group.member" => Box::new(group::Member::new(&spec)),
        "alias.kubectl" => Box::new(alias::Alias::new(&spec)),
        "cluster.running" => Box::new(running::Running::new(&spec)),
        "image.push" => Box::new(registry::Pushed::recalled(recipe)?),
        "image.bundle" => Box::new(images::OfBundle::recalled(recipe, &spec)),
        "image.iris" => Box::new(images::Image::new(&spec)),
        "iris.namespace" => Box::new(namespace::Namespace::new(&spec)),
        "iris.password" => Box::new(password::Password::new(&spec, &Credentials::placeholder())),
        "iris.claims" => Box::new(claims::Claims::recalled(&spec)),
        "iris.cpf" => object("iris.cpf")?,
        "iris.service" => object("iris.service")?,
        "iris.service-ext" => object("iris.service-ext")?,
        SET => object(SET)?,
        _ => {
            let of = |steps: Vec<Box<dyn Step>>| steps.into_iter().find(|step| step.id() == id);
            return Ok(match id.split_once('.').map_or(id, |(area, _)| area) {
                "longhorn" => of(steps::all(&spec, None)),
                "mirror" | "registries" => of(registries::all(&spec)),
                "metallb" => of(addon::all(&spec, known)),
                "addon" => of(addon::all(&spec, known))
                    .or_else(|| id.strip_prefix("addon.").map(|n| addons::one(&spec, n, known))),
                _ => None,
            });
        }
    };
    // IRIS on Longhorn goes before Longhorn does.
    let of_iris = id.starts_with("iris.");
    Ok(if of_iris { steps::before_it(&spec, vec![step]).into_iter().next() } else { Some(step) })
}

/// The part of a spec that a recipe holds, made whole: what it does not name, an undo does not read.
fn spec_of(recipe: &Value) -> Result<Spec> {
    static REST: OnceLock<Result<Value>> = OnceLock::new();
    let rest = REST.get_or_init(|| {
        let (lb, channel) = ("192.168.11.110-130".parse().ok(), "1.34".parse().ok());
        let flags = flags::SpecFlags { lb, channel, user: Some("root".to_owned()), ..Default::default() };
        let (spec, _) = profile::resolve(&profile::Input { flags, ..Default::default() })?;
        serde_json::to_value(spec).map_err(|e| Error::new(ExitCode::Bug, "not JSON").caused_by(e))
    });
    let mut spec = rest.clone()?;
    spec["longhorn"] = Value::Null;
    overlay(&mut spec, recipe);
    serde_json::from_value(spec).map_err(|e| {
        Error::new(ExitCode::Journal, "the journal holds what this iris-mk8s cannot read").caused_by(e).hint(
            "use the version that wrote it (`iris-mk8s journal show` tells which), or a later one; nothing was changed",
        )
    })
}

fn overlay(below: &mut Value, above: &Value) {
    match (below, above) {
        (Value::Object(below), Value::Object(above)) => {
            for (field, value) in above {
                overlay(below.entry(field.clone()).or_insert(Value::Null), value);
            }
        }
        (_, Value::Null) => {}
        (below, above) => below.clone_from(above),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::engine::step::Scope;

    fn everything() -> Spec {
        let mut spec = crate::config::spec::example();
        spec.longhorn =
            Some(crate::config::spec::Longhorn { version: "v1.11.3".parse().expect("a version"), manifest: None });
        spec.iris.storage_class = Some("longhorn".to_owned());
        spec.iris.namespace = "team".to_owned();
        spec.iris.name = "db".to_owned();
        spec.addons.push("rook-ceph".to_owned());
        spec.registries.proxy = Some("http://proxy.lan:3128".to_owned());
        let mirror = |registry: &str| crate::config::spec::Mirror {
            registry: registry.into(),
            url: "http://lan".into(),
            ca: None,
            login: None,
        };
        spec.registries.mirrors = vec![mirror("docker.io"), mirror("quay.io")];
        spec.channel = "1.33/stable".parse().expect("a channel");
        spec
    }

    fn remembered(stages: &[Stage]) -> Ledger {
        use crate::engine::journal::Record;
        let mut ledger = Ledger::default();
        let header = Record::Header { format: crate::engine::journal::FORMAT, tool: String::new() };
        ledger.apply(&header).expect("a header");
        for step in stages.iter().flat_map(|s| &s.steps).filter(|s| s.scope() != Scope::Nothing) {
            let intent = Record::Intent {
                step: step.key(),
                memo: crate::engine::step::Memo::default(),
                recipe: step.recipe(),
                microk8s: None,
                anew: false,
            };
            ledger.apply(&intent).expect("an intent");
        }
        ledger
    }

    /// Whatever is made can be taken back without the spec, in the same order, as the same thing.
    #[test]
    fn every_step_is_made_again_from_its_recipe() {
        let stages = catalog(&everything(), &Credentials::placeholder());
        let again = recall(&remembered(&stages)).expect("all of them");
        let shown = |stages: &[Stage]| -> Vec<String> {
            let all = stages.iter().flat_map(|stage| &stage.steps).filter(|step| step.scope() != Scope::Nothing);
            all.map(|s| {
                let relations = (s.inside(), s.used_by(), s.clears());
                format!("{} {:?} {relations:?} {:?}", s.key(), s.scope(), s.deadline())
            })
            .collect()
        };
        assert_eq!(shown(&again), shown(&stages));
        let recipes = |stages: &[Stage]| -> Vec<Value> {
            let all = stages.iter().flat_map(|stage| &stage.steps).filter(|step| step.scope() != Scope::Nothing);
            all.map(|step| step.recipe()).collect()
        };
        assert_eq!(recipes(&again), recipes(&stages));
    }

    #[test]
    fn what_this_program_does_not_know_is_refused_by_name() {
        use crate::engine::journal::Record;
        let mut ledger = remembered(&[]);
        let step = || "ingress.controller@default".to_owned();
        let intent = Record::Intent {
            step: step(),
            memo: crate::engine::step::Memo::default(),
            recipe: json!({"x": 1}),
            microk8s: None,
            anew: false,
        };
        ledger.apply(&intent).expect("an intent");
        let error = recall(&ledger).err().expect("refused");
        assert_eq!(error.code, ExitCode::Journal);
        assert!(error.what.contains("ingress.controller@default"), "{error}");
    }
}
