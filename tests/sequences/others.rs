//! What others do on the host: programs that arrive, and a person with root. Each of them does what can be done there at that moment, and
//! nothing where it cannot be done.

use iris_mk8s::{config::place::Place as State, host::SnapdChange};
use serde_json::{Value, json};

use crate::{
    inside,
    model::{
        cluster, foreign,
        microk8s::STOPPED,
        network, snapd,
        world::{World, s},
    },
    op::{Op, OurFile},
};

/// What others know of the host on which they act.
#[derive(Clone, Debug)]
pub struct Sight {
    /// The namespace in which IRIS is.
    pub namespace: String,
}

/// Lets somebody else do something. False: it is a command of ours, or it could not be done.
pub fn does(world: &mut World, op: &Op, sight: &Sight) -> bool {
    match op {
        Op::Arrives(who) => foreign::arrives(world, *who),
        Op::Leaves(who) => foreign::leaves(world, *who),
        Op::Puts(place) => return puts(world, place.path()),
        Op::AddsRule(rule) => {
            let (table, chains, line) = rule.parts();
            network::add_rules(&mut world.rules[0], table, chains, &[line]);
        }
        Op::AddsLink(name) => return world.links.insert((*name).to_owned()),
        Op::Mounts(at) => {
            world.mounts.insert((*at).to_owned());
            world.files.write(&format!("{at}/data"), "theirs\n");
        }
        Op::SetsSetting(name, value) => {
            let path = format!("/proc/sys/{name}");
            if world.files.text(&path).trim() == *value {
                return false;
            }
            world.files.write(&path, format!("{value}\n"));
        }
        Op::HoldsAll(until) => world.snapd.hold = Some((*until).to_owned()),
        Op::UnholdsAll => world.snapd.hold = None,
        Op::HoldsSnap => return snap(world, &json!({"action": "hold"})),
        Op::Aliases(name) => {
            let body = json!({"action": "alias", "snap": "microk8s", "app": "kubectl", "alias": name});
            let has = world.snapd.aliases.contains_key(*name);
            return !has && has_microk8s(world) && asks(world, "/v2/aliases", &body);
        }
        Op::Unaliases(name) => {
            return asks(world, "/v2/aliases", &json!({"action": "unalias", "snap": "microk8s", "alias": name}));
        }
        Op::InstallsKubectl => world.files.write_as("/usr/local/bin/kubectl", "#!/bin/sh\n", 0o755, "root"),
        Op::JoinsGroup(user) => match world.groups.get_mut("microk8s") {
            Some(members) if !members.iter().any(|m| m == user) => members.push((*user).to_owned()),
            _ => return false,
        },
        Op::Reboots => world.power_cut(),
        Op::Waits(seconds) => world.advance(s(u64::from(*seconds))),
        Op::Spoils(file) => return spoils(world, *file),
        _ => return microk8s(world, op) || inside::does(world, op, sight),
    }
    true
}

/// What a person does to MicroK8s as a whole.
fn microk8s(world: &mut World, op: &Op) -> bool {
    match op {
        Op::Microk8sStop => person(world, "stop"),
        Op::Microk8sStart => person(world, "start"),
        Op::ApiDies if world.cluster.as_ref().is_some_and(|c| c.running) => {
            cluster::services_stop(world);
            true
        }
        Op::DisablesSnap => snap(world, &json!({"action": "disable"})),
        // Nobody enables what is enabled.
        Op::EnablesSnap if world.snapd.snaps.get("microk8s").is_none_or(|snap| snap.active) => false,
        Op::EnablesSnap => snap(world, &json!({"action": "enable"})),
        Op::RemovesSnap => snap(world, &json!({"action": "remove", "purge": true})),
        Op::Reinstalls if has_microk8s(world) => {
            snap(world, &json!({"action": "remove", "purge": true}));
            let channel = world.era.channel();
            snap(world, &json!({"action": "install", "channel": channel, "classic": true}))
        }
        _ => false,
    }
}

fn has_microk8s(world: &World) -> bool {
    world.files.has("/snap/bin/microk8s")
}

fn person(world: &mut World, verb: &str) -> bool {
    // What is so already leaves no trace, and nobody can know of it.
    let runs = world.cluster.as_ref().is_some_and(|c| c.running) && !(verb == "start" && world.files.has(STOPPED));
    let there = has_microk8s(world) && runs == (verb == "stop");
    if there {
        crate::model::initial::person(world, &["microk8s", verb]);
    }
    there
}

/// A person asks snapd, which may refuse.
fn asks(world: &mut World, path: &str, body: &Value) -> bool {
    let change = SnapdChange { method: "POST", path: path.to_owned(), body: body.clone(), shown: String::new() };
    snapd::ask(world, &change).is_ok()
}

fn snap(world: &mut World, body: &Value) -> bool {
    let taken = asks(world, "/v2/snaps/microk8s", body);
    if taken {
        world.settle();
    }
    taken
}

/// A folder that only comes with MicroK8s, or with us, is not made by hand.
fn puts(world: &mut World, path: &str) -> bool {
    for folder in
        ["/var/snap/microk8s/current", "/var/snap/microk8s/common", "/var/lib/iris-mk8s", "/var/log/iris-mk8s"]
    {
        if path.starts_with(&format!("{folder}/")) && !world.files.has(folder) {
            return false;
        }
    }
    world.files.write(path, "theirs\n");
    true
}

/// What happens to files of ours.
fn spoils(world: &mut World, file: OurFile) -> bool {
    let place = State::default();
    let journal = place.journal();
    let before = place.dir.join("before.json");
    let mirror = "/var/snap/microk8s/current/args/certs.d/docker.io/hosts.toml";
    let path = match file {
        OurFile::PasswordRemoved | OurFile::PasswordEdited => place.password(),
        OurFile::HashRemoved => place.password_hash(),
        OurFile::MirrorEdited => mirror.into(),
        OurFile::BeforeRemoved | OurFile::BeforeEmptied => before,
        OurFile::LogsRemoved => iris_mk8s::host::LOG_DIR.into(),
        _ => journal,
    };
    if !world.files.has(&path) {
        return false;
    }
    let text = world.files.text(&path);
    let shown = path.to_str().expect("UTF-8");
    let write = |world: &mut World, text: String| world.files.write_as(shown, text, 0o600, "root");
    match file {
        OurFile::PasswordRemoved | OurFile::HashRemoved | OurFile::BeforeRemoved | OurFile::LogsRemoved => {
            world.files.remove(&path);
        }
        OurFile::PasswordEdited => write(world, format!("{}  \n", text.trim_end())),
        OurFile::MirrorEdited => world.files.write(shown, format!("{text}# mine\n")),
        OurFile::BeforeEmptied | OurFile::JournalEmptied => write(world, String::new()),
        OurFile::JournalZeroed => write(world, "\0".repeat(text.len())),
        OurFile::JournalOfTomorrow => {
            // A program of tomorrow cuts a torn line off before it goes on.
            let text = text.rfind('\n').map_or("", |end| &text[..=end]);
            write(world, format!("{text}{{\"record\":\"moved\",\"step\":\"iris.claims\"}}\n"))
        }
    }
    true
}
