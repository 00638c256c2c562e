//! What a world is, as lines that can be compared: all that a person would miss or find too much. What is different each time (names
//! made by chance, times, counters) is left out.

use std::collections::BTreeSet;

use iris_mk8s::{
    config::place::Place,
    host::LOG_DIR,
    kube::{self as kinds, state},
};
use serde_json::{Value, json};

use super::{
    cluster::{Cluster, key_of},
    files::Node,
    network,
    pods::ACCOUNTS,
    world::{BOOT_ID, World},
};

/// The state of a host, one fact a line.
pub fn facts(world: &World) -> BTreeSet<String> {
    let mut facts = BTreeSet::new();
    let mut add = |fact: String| _ = facts.insert(fact);
    let place = Place::default();
    let journal = place.journal();
    let folder = "/var/snap/microk8s/common/default-storage";
    for (path, node) in world.files.iter() {
        if path.starts_with(LOG_DIR) || journal.to_str() == Some(path) {
            continue;
        }
        // Whoever asks iptables for anything makes its lock.
        if path == "/run/xtables.lock" || path == BOOT_ID {
            continue;
        }
        // The addon makes the one folder and does not remove it, `ip netns` the other one; empty they are of no consequence.
        if (path == folder || path == "/run/netns") && world.files.names(path).is_empty() {
            continue;
        }
        let shown = match node {
            Node::Dir => "directory".to_owned(),
            Node::Link(to) => format!("-> {to}"),
            // Each installation makes its own.
            Node::File(_, mode, owner) if is_secret(path, &place) || path.ends_with("/certs/ca.crt") => {
                format!("{owner} {mode:o} secret")
            }
            Node::File(bytes, mode, owner) => {
                let text = String::from_utf8_lossy(bytes);
                // The boot at which it was written is another one each time.
                let lines: Vec<&str> = text.split('\n').filter(|line| !line.starts_with("  \"boot\": ")).collect();
                format!("{owner} {mode:o} {:?}", lines.join("\n"))
            }
        };
        add(format!("{} {shown}", without_volume(path)));
    }
    for (group, members) in &world.groups {
        add(format!("group {group}: {members:?}"));
    }
    for (at, rules) in world.rules.iter().enumerate() {
        network::meaning(rules).into_iter().for_each(|rule| add(format!("rule {at} {rule}")));
    }
    for (package, state) in &world.packages {
        add(format!("package {package} {state}"));
    }
    for (unit, state) in &world.units {
        add(format!("unit {unit} {state:?}"));
    }
    world.iscsi.keys().for_each(|_| add("an iSCSI session".to_owned()));
    world.links.iter().for_each(|link| add(format!("link {link}")));
    for (name, snap) in &world.snapd.snaps {
        add(format!("snap {name} {snap:?}"));
    }
    for (alias, of) in &world.snapd.aliases {
        add(format!("alias {alias} {of:?}"));
    }
    add(format!("hold {:?}", world.snapd.hold));
    add(format!("failed units {}", world.failed_units));
    for process in world.processes.values() {
        add(format!("process {}", process.shown()));
    }
    if let Some(cluster) = &world.cluster {
        // MetalLB without its webhook works the same; only a wrong pool would not be refused.
        add(format!("cluster runs: {}", cluster.running));
        cluster.all().flat_map(|(_, object)| object_facts(object)).for_each(add);
    }
    facts
}

/// A hold lasts some days from the run that made it, and MetalLB's pool is advertised by MicroK8s, or by us where a run of MicroK8s died
/// between the two: under another name, and as well.
pub fn without_hold(facts: BTreeSet<String>) -> BTreeSet<String> {
    let same = |fact: String| match fact.split_once(' ') {
        Some(("hold", held)) if held.starts_with("Some") => "hold".to_owned(),
        Some(("L2Advertisement", _)) => "L2Advertisement".to_owned(),
        _ => fact,
    };
    facts.into_iter().map(same).collect()
}

fn is_secret(path: &str, place: &Place) -> bool {
    place.password().to_str() == Some(path) || place.password_hash().to_str() == Some(path) || path.ends_with(ACCOUNTS)
}

/// A path without the name of the volume in it, which is made by chance.
fn without_volume(path: &str) -> String {
    match path.find("-pvc-") {
        Some(at) => format!("{}{}", &path[..at], path[at + 5..].find('/').map_or("", |end| &path[at + 5 + end..])),
        None => path.to_owned(),
    }
}

fn object_facts(object: &Value) -> Vec<String> {
    let (kind, (_, namespace, name)) = key_of(object);
    if *kind == kinds::POD {
        let owner = &object["metadata"]["ownerReferences"][0]["name"];
        let ready = state::is(object, "Ready");
        let image = &object["spec"]["containers"][0]["image"];
        return vec![format!("pod of {namespace}/{owner} ready {ready} going {} {image}", state::going(object))];
    }
    if *kind == kinds::PERSISTENT_VOLUME {
        let claim = &object["spec"]["claimRef"];
        return vec![format!("volume of {} {} {}", claim["namespace"], claim["name"], object["status"]["phase"])];
    }
    if kind.group == "longhorn.io" && kind.plural == "volumes" {
        return vec!["a volume of Longhorn's".to_owned()];
    }
    let mut object = object.clone();
    let mut forget = |part: &str, fields: &[&str]| {
        for field in object[part].as_object_mut().iter_mut() {
            field.retain(|name, _| !fields.contains(&name.as_str()));
        }
    };
    forget("metadata", &["uid", "creationTimestamp", "generation", "resourceVersion", "name", "namespace"]);
    forget("spec", &["volumeName", "clusterIP"]);
    forget("status", &["observedGeneration"]);
    if let Some(fields) = object["metadata"]["managedFields"].as_array_mut() {
        fields.sort_by_key(Value::to_string);
    }
    if *kind == kinds::CONFIG_MAP && namespace == "metallb-system" {
        let text = object["data"]["config"].as_str().unwrap_or_default();
        object["data"]["config"] = serde_saphyr::from_str(text).unwrap_or_default();
        object["metadata"]["managedFields"] = Value::Null;
    }
    if kind.group == "metallb.io" {
        // Who wrote the pool last says nothing: it is compared by what it holds.
        object["metadata"]["managedFields"] = Value::Null;
    }
    let of_addon = ["kube-dns", "registry", "registry-claim", "microk8s-hostpath"].contains(&name.as_str())
        && ["", "kube-system", "container-registry"].contains(&namespace.as_str());
    if of_addon {
        // MicroK8s' addon applied it, or we put it back: it is the same.
        object["metadata"]["managedFields"] = Value::Null;
    }
    if *kind == kinds::L2_ADVERTISEMENT {
        // The label of one that we made: MicroK8s' own one does the same.
        object["metadata"]["labels"] = Value::Null;
    }
    if *kind == kinds::SECRET {
        object["data"] = json!("secret");
    }
    let mut facts = vec![format!("{} {namespace}/{name}", kind.kind)];
    leaves(&format!("{} {namespace}/{name}", kind.kind), &object, &mut facts);
    facts
}

fn leaves(path: &str, value: &Value, facts: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            fields.iter().for_each(|(name, value)| leaves(&format!("{path} {name}"), value, facts))
        }
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(at, value)| leaves(&format!("{path} {at}"), value, facts))
        }
        Value::Null => {}
        leaf => facts.push(format!("{path} = {leaf}")),
    }
}

/// What only one of the two has.
pub fn difference(one: &BTreeSet<String>, other: &BTreeSet<String>) -> Vec<String> {
    let only = |a: &BTreeSet<String>, b: &BTreeSet<String>, sign: char| {
        a.difference(b).map(|fact| format!("{sign} {fact}")).collect::<Vec<_>>()
    };
    [only(one, other, '-'), only(other, one, '+')].concat()
}

/// Volumes of ours whose accounts have another password than the one that we hand out.
pub fn lost_passwords(world: &World) -> Vec<String> {
    let hash = world.files.text(Place::default().password_hash());
    if hash.is_empty() {
        return Vec::new();
    }
    let accounts = world.files.iter().filter(|(path, _)| path.ends_with(ACCOUNTS));
    accounts
        .filter(|(path, _)| world.files.text(path) != hash)
        .map(|(path, _)| format!("{path}: another password"))
        .collect()
}
