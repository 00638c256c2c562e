//! What is whose: things of others, data, and what is left of ours, as facts of a modelled host.

use std::collections::{BTreeMap, BTreeSet};

use iris_mk8s::{
    config::place::Place,
    kube::{self as kinds, state},
};

use crate::model::{cluster::Cluster, compare::facts, pods::ACCOUNTS, world::World};

pub type Facts = BTreeSet<String>;

/// What a person would miss of the things that others made. What follows from other things by itself, and what more than one has a part in, is
/// not among them.
pub fn is_thing(fact: &str) -> bool {
    // A hold that is too short is made longer for a while, and comes back.
    let derived = [
        "hold ",
        "cluster runs",
        "pod of",
        "process ",
        "failed units",
        "snap microk8s",
        "group ",
        "/proc/sys/",
        "/run ",
    ];
    if derived.iter().any(|prefix| fact.starts_with(prefix))
        || fact.contains("/var/lock")
        || fact.ends_with(" directory")
    {
        return false;
    }
    !fact.contains(" status ") || fact.contains("loadBalancer ingress")
}

/// What lasts until the next boot.
pub fn is_of_this_boot(fact: &str) -> bool {
    ["rule ", "link ", "/proc/", "/run/"].iter().any(|prefix| fact.starts_with(prefix))
}

/// What somebody agreed to lose who removes MicroK8s without a look into it.
pub fn is_in_microk8s(fact: &str) -> bool {
    fact.starts_with("/var/snap/microk8s/") || (fact.starts_with(char::is_uppercase)) || fact.starts_with("volume of")
}

/// What goes with its snap and is worth nothing without it.
pub fn goes_with_the_snap(fact: &str) -> bool {
    fact.starts_with("alias ") || fact.starts_with("/snap/bin/")
}

/// A kind, which objects of it stand on something, and on what.
type Stands<'a> = (&'static kinds::Kind, &'a dyn Fn(&serde_json::Value) -> bool, &'a [&'a str]);

/// What things of others in the cluster stand on where it is there: each thing, with what it needs.
pub fn needs(world: &World) -> BTreeSet<(String, String)> {
    let Some(cluster) = &world.cluster else { return BTreeSet::new() };
    let class = |o: &serde_json::Value| o["spec"]["storageClassName"] == "microk8s-hostpath";
    let stand: [Stands<'_>; 3] = [
        (
            &kinds::PERSISTENT_VOLUME_CLAIM,
            &class,
            &["Deployment kube-system/hostpath-provisioner", "StorageClass /microk8s-hostpath"],
        ),
        (
            &kinds::SERVICE,
            &|service| !state::addresses(service).is_empty(),
            &["Deployment metallb-system/controller", "DaemonSet metallb-system/speaker"],
        ),
        (&kinds::DEPLOYMENT, &|_| true, &["Deployment kube-system/coredns"]),
    ];
    let mut found = BTreeSet::new();
    for (kind, is_on_it, needed) in stand {
        let of_others = cluster.of(kind).filter(|object| {
            let namespace = object["metadata"]["namespace"].as_str().unwrap_or_default();
            matches!(namespace, "other" | "team" | "front") && is_on_it(object)
        });
        for object in of_others {
            found.extend(needed.iter().map(|name| (kinds::describe(object), (*name).to_owned())));
        }
    }
    found
}

/// Volumes with data, by their folders: namespace and claim of each. One whose claim is going, or gone, is lost already.
pub fn data(world: &World) -> BTreeMap<String, String> {
    let Some(cluster) = &world.cluster else { return BTreeMap::new() };
    let mut found = BTreeMap::new();
    for volume in cluster.of(&kinds::PERSISTENT_VOLUME) {
        let of = &volume["spec"]["claimRef"];
        let text = |field: &str| of[field].as_str().unwrap_or_default();
        let (namespace, name) = (text("namespace"), text("name"));
        let claim = cluster.find(&kinds::PERSISTENT_VOLUME_CLAIM, namespace, name);
        let lives = claim.is_some_and(|c| !state::going(c) && c["spec"]["volumeName"] == volume["metadata"]["name"]);
        let folder = crate::model::volumes::path_of(volume);
        // What Longhorn is tried out with is nobody's data.
        let is_trial = name == "iris-mk8s-trial";
        if lives && !is_trial && !world.files.names(folder).is_empty() {
            found.insert(folder.to_owned(), format!("{namespace}/{name}"));
        }
    }
    found
}

/// Volumes of IRIS whose password nobody knows any more.
pub fn locked(world: &World) -> Facts {
    let hash = world.files.text(Place::default().password_hash());
    let password = world.files.has(Place::default().password());
    let lives = data(world);
    let accounts = world.files.iter().filter(|(path, _)| path.ends_with(ACCOUNTS));
    let lost = accounts.filter_map(|(path, _)| {
        let folder = path.strip_suffix(&format!("/{ACCOUNTS}"))?;
        let own = world.files.text(path);
        let lost = lives.contains_key(folder) && own != "SYS" && (own != hash || !password);
        lost.then(|| format!("nobody knows the password of {}", lives[folder]))
    });
    lost.collect()
}

/// Objects in the cluster that we applied, by kind, namespace and name.
pub fn our_objects(cluster: &Cluster) -> Vec<(&'static str, String)> {
    let kinds = [&kinds::STATEFUL_SET, &kinds::SERVICE, &kinds::SECRET, &kinds::PERSISTENT_VOLUME_CLAIM];
    let mut found = Vec::new();
    for kind in kinds {
        for object in cluster.of(kind).filter(|o| kinds::is_ours(o) && o["metadata"]["labels"].is_object()) {
            found.push((kind.kind, kinds::describe(object)));
        }
    }
    found
}

/// Things of somebody's in the cluster: with our addons they come further than without.
fn is_of_guest(fact: &str) -> bool {
    [
        "beside",
        " other/",
        "\"other\"",
        "-storage/other-",
        " team/",
        " front/",
        " /other",
        " /team",
        " /front",
        " /spare",
        ".theirs.example",
        "pod of default/null",
    ]
    .iter()
    .any(|word| fact.contains(word))
}

/// What is left on a host that would not be there if we had never been: a folder of somebody's thing is theirs, too.
pub fn left(world: &World, twin: &World, theirs: &Facts) -> (Vec<String>, Vec<String>) {
    let (now, before) = (facts(world), facts(twin));
    let path = |fact: &str| fact.split(' ').next().unwrap_or_default().to_owned();
    let is_parent = |fact: &String| {
        let below = format!("{}/", path(fact));
        fact.ends_with(" directory") && theirs.iter().any(|thing| thing.starts_with(&below))
    };
    // A folder is named by what is in it.
    let is_empty = |all: &Facts, fact: &String| {
        let below = format!("{}/", path(fact));
        !fact.ends_with(" directory") || !all.iter().any(|other| other.starts_with(&below))
    };
    // A MicroK8s of somebody's that does not run there, and ran here, tells of its last moments.
    let off = twin.cluster.as_ref().is_some_and(|cluster| !cluster.running);
    let old = |fact: &String| {
        off && (is_of_this_boot(fact)
            || fact.starts_with("pod of")
            || fact.contains(" status ")
            || fact.starts_with("failed units"))
    };
    let trivial = |fact: &String| fact.starts_with("/run/") && fact.ends_with(" directory");
    let ours = |fact: &&String| !is_of_guest(fact) && is_empty(&now, fact) && !old(fact) && !trivial(fact);
    let more = now.difference(&before).filter(|fact| !theirs.contains(*fact) && !is_parent(fact));
    let more = more.filter(ours).cloned().collect();
    // A folder that would be there with nothing in it is nobody's.
    let bare = |fact: &&String| !fact.ends_with(" directory") || !is_empty(&before, fact);
    let less = before.difference(&now).filter(ours).filter(bare).cloned().collect();
    (more, less)
}
