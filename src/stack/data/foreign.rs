//! What somebody else put into MicroK8s besides volumes: workloads, services, configuration, secrets, and files in its folders.
//!
//! An object is nobody's when Kubernetes or MicroK8s makes it in every cluster, ours when our field manager applied it or when an addon
//! that we enabled brought it, and otherwise somebody else's.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    path::Path,
};

use serde::Serialize;
use serde_json::Value;

use super::{Known, custom, volumes::namespace};
use crate::{
    error::Result,
    host::Host,
    kube::{self, Kind, state},
    stack::{
        longhorn::state as longhorn,
        microk8s::state::{ARGS, COMMON},
    },
};

/// Things of somebody else's in one place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Theirs {
    /// `namespace NAME`, or a folder of this host.
    pub place: String,
    /// What is there: kind and name, or the name of a file.
    pub things: Vec<String>,
}

/// How many things are named in one line. Programs get all of them.
const NAMED: usize = 8;

impl fmt::Display for Theirs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named: Vec<&str> = self.things.iter().take(NAMED).map(String::as_str).collect();
        write!(f, "{}: {}", self.place, named.join(", "))?;
        match self.things.len().saturating_sub(NAMED) {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}

/// The kinds that are looked at, workloads first. Claims are volumes, and have a list of their own.
const WORKLOADS: [&Kind; 8] = [
    &kube::DEPLOYMENT,
    &kube::STATEFUL_SET,
    &kube::DAEMON_SET,
    &kube::REPLICA_SET,
    &kube::JOB,
    &kube::CRON_JOB,
    // Before 1.21.
    &kube::CRON_JOB_BETA,
    &kube::POD,
];
const OTHERS: [&Kind; 5] = [&kube::SERVICE, &kube::INGRESS, &kube::NETWORK_POLICY, &kube::CONFIG_MAP, &kube::SECRET];
/// What people tell MetalLB. Its other kinds hold what it tells them. Where it has none of these, the server knows none.
const OF_METALLB: [&Kind; 6] = [
    &kube::IP_ADDRESS_POOL,
    &kube::L2_ADVERTISEMENT,
    &kube::BGP_PEER,
    &kube::BGP_ADVERTISEMENT,
    &kube::BFD_PROFILE,
    &kube::COMMUNITY,
];

/// Names that Kubernetes and MicroK8s give to objects of every cluster: namespace, kind, name.
const IN_EVERY_CLUSTER: &[(&str, &str, &str)] = &[
    ("default", "Service", "kubernetes"),
    ("kube-public", "ConfigMap", "cluster-info"),
    // `disable registry` makes it anew, whoever enabled the registry.
    ("kube-public", "ConfigMap", "local-registry-hosting"),
    ("kube-system", "ConfigMap", "extension-apiserver-authentication"),
    ("kube-system", "ConfigMap", "kube-apiserver-legacy-service-account-token-tracking"),
    ("kube-system", "ConfigMap", "calico-config"),
    ("kube-system", "DaemonSet", "calico-node"),
    ("kube-system", "Deployment", "calico-kube-controllers"),
    // Since 1.27 MicroK8s enables its name service by itself; it holds nothing of anybody's.
    ("kube-system", "Deployment", "coredns"),
    ("kube-system", "ConfigMap", "coredns"),
    ("kube-system", "Service", "kube-dns"),
];

/// Namespaces of every cluster. What an addon of somebody's has in one of its own is named by what is in it.
const OF_KUBERNETES: &[&str] = &["default", "kube-system", "kube-public", "kube-node-lease"];

/// What the addons bring, by their manifests in MicroK8s: addon, namespace, and the beginnings of their objects' names; all objects of the
/// namespace where it is the addon's own and holds many.
const OF_ADDONS: &[(&str, &str, &[&str])] = &[
    ("hostpath-storage", "kube-system", &["hostpath-provisioner"]),
    ("registry", "container-registry", &["registry"]),
    (
        "metallb",
        "metallb-system",
        &[
            "controller",
            "speaker",
            "metallb-",
            "webhook-",
            "memberlist",
            "config",
            "default-addresspool",
            "default-advertise",
        ],
    ),
    ("metrics-server", "kube-system", &["metrics-server"]),
    ("dashboard", "kube-system", &["kubernetes-dashboard", "dashboard-metrics-scraper", "metrics-server"]),
    ("dashboard", "kubernetes-dashboard", &[""]),
    ("cert-manager", "cert-manager", &[""]),
    ("ingress", "ingress", &[""]),
    ("observability", "observability", &[""]),
    ("prometheus", "monitoring", &[""]),
];

/// How the names of Longhorn's own objects begin, and those of what it makes at work.
const OF_LONGHORN: &[&str] =
    &["longhorn-", "csi-", "engine-image-", "instance-manager-", "share-manager-", "backing-image-", "discover-proc-"];

/// Where MicroK8s keeps its own things in the folder that snapd gives it.
const FOLDERS: &[&str] = &["addons", "default-storage", "etc", "hooks", "plugins", "pods", "run", "sideload", "var"];

/// Folders in it that people put things into, and what MicroK8s has there itself.
const SHARED: &[(&str, &[&str])] = &[("addons", &["core", "community"]), ("plugins", &[]), ("sideload", &[])];

/// MicroK8s' settings as they come with it.
const CAME_WITH: &str = "/snap/microk8s/current/default-args";

/// Where snapd keeps what a user has of MicroK8s, relative to the user's home.
const OF_USERS: &str = "snap/microk8s";

/// Whether snapd removes a folder in there together with the snap and its data: those of the revisions, and the common one.
fn is_purged(name: &str) -> bool {
    let revision = name.strip_prefix('x').unwrap_or(name);
    name == "common" || (!revision.is_empty() && revision.bytes().all(|b| b.is_ascii_digit()))
}

/// Where homes are that snapd looks into: root's, and those in one folder.
const HOME_OF_ROOT: &str = "/root";
const HOMES: &str = "/home";

/// Whether a path lies in what snapd removes from a user's home together with the snap and its data.
pub fn goes_with_the_snap(path: &Path) -> bool {
    let of_user = || {
        let mut parts = path.strip_prefix(HOMES).ok()?.components();
        parts.next().map(|_| parts.as_path())
    };
    let in_home = path.strip_prefix(HOME_OF_ROOT).ok().or_else(of_user);
    let in_snap = in_home.and_then(|path| path.strip_prefix(OF_USERS).ok());
    in_snap.and_then(|path| path.iter().next()).is_some_and(|name| is_purged(&name.to_string_lossy()))
}

/// What MicroK8s makes there by itself.
const GENERATED: &[&str] =
    &["certs.d", "cni-network", "containerd.toml", "cluster-agent", "kubelite", "flannel-network-mgr-config"];

/// Registries that MicroK8s brings itself.
const REGISTRIES: &[&str] = &["docker.io", "localhost:32000"];

/// Everything that is somebody else's, by its place.
///
/// # Errors
/// The cluster cannot be asked.
pub(super) fn read(host: &dyn Host, known: &Known) -> Result<Vec<Theirs>> {
    let mut places: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (kind, object) in objects(host, known, &[&WORKLOADS[..], &OTHERS, &OF_METALLB].concat())? {
        let things = places.entry(format!("namespace {}", namespace(&object))).or_default();
        let thing = format!("{} {}", kind.kind, state::name(&object));
        // One object in two versions of the API.
        if !things.contains(&thing) {
            things.push(thing);
        }
    }
    for (place, thing) in custom::read(host, known)? {
        places.entry(place).or_default().push(thing);
    }
    for namespace in host.list(&kube::NAMESPACE, None, "")? {
        if is_somebodys_namespace(host, &namespace, known)? {
            places.entry(format!("namespace {}", state::name(&namespace))).or_insert_with(|| vec!["empty".to_owned()]);
        }
    }
    let mut all: Vec<Theirs> = places.into_iter().map(|(place, things)| Theirs { place, things }).collect();
    let files = files(host);
    if !files.is_empty() {
        all.push(Theirs { place: format!("folder {COMMON}"), things: files });
    }
    Ok(all)
}

/// Workloads that are somebody else's.
pub(super) fn workloads(host: &dyn Host, known: &Known) -> Result<Vec<(&'static Kind, Value)>> {
    objects(host, known, &WORKLOADS)
}

/// Objects of these kinds that are somebody else's.
fn objects(host: &dyn Host, known: &Known, kinds: &[&'static Kind]) -> Result<Vec<(&'static Kind, Value)>> {
    let mut found = Vec::new();
    for kind in kinds {
        let all = host.list(kind, None, "")?;
        found.extend(all.into_iter().filter(|o| is_somebodys(kind, o, known)).map(|object| (*kind, object)));
    }
    if found.iter().any(|(_, object)| is_longhorns(object)) && longhorn_is_ours(host, known)? {
        found.retain(|(_, object)| !is_longhorns(object));
    }
    Ok(found)
}

/// Services of the type LoadBalancer that are somebody else's.
pub(super) fn load_balancers(host: &dyn Host, known: &Known) -> Result<Vec<(&'static Kind, Value)>> {
    let services = objects(host, known, &[&kube::SERVICE])?;
    Ok(services.into_iter().filter(|(_, service)| service["spec"]["type"] == "LoadBalancer").collect())
}

/// Somebody made this namespace, whether anything is in it or not.
fn is_somebodys_namespace(host: &dyn Host, namespace: &Value, known: &Known) -> Result<bool> {
    let name = state::name(namespace);
    let of_an_addon = OF_ADDONS.iter().any(|(addon, ns, _)| *ns == name && known.addons.contains(*addon));
    let nobodys = state::going(namespace)
        || kube::is_ours(namespace)
        || known.namespaces.contains(name)
        || OF_KUBERNETES.contains(&name)
        || of_an_addon;
    Ok(!(nobodys || name == longhorn::NAMESPACE && longhorn_is_ours(host, known)?))
}

/// What somebody else told MetalLB: they go with the addon.
pub(super) fn pools(host: &dyn Host, known: &Known) -> Result<Vec<(&'static Kind, Value)>> {
    objects(host, known, &OF_METALLB)
}

fn is_somebodys(kind: &Kind, object: &Value, known: &Known) -> bool {
    let (namespace, name) = (namespace(object), state::name(object));
    let in_every_cluster =
        || IN_EVERY_CLUSTER.iter().any(|(ns, k, n)| *ns == namespace && *k == kind.kind && *n == name);
    let of_an_addon = || {
        OF_ADDONS.iter().any(|(addon, ns, names)| {
            *ns == namespace && known.addons.contains(*addon) && names.iter().any(|begin| name.starts_with(begin))
        })
    };
    !state::going(object)
        && !kube::is_ours(object)
        && !is_owned(object)
        && !is_of_kubernetes(kind, object)
        && !in_every_cluster()
        && !of_an_addon()
}

/// Whether another object owns it that is looked at itself.
fn is_owned(object: &Value) -> bool {
    let kinds: BTreeSet<&str> = WORKLOADS.iter().map(|kind| kind.kind).collect();
    let owners = object["metadata"]["ownerReferences"].as_array();
    owners.into_iter().flatten().any(|owner| owner["kind"].as_str().is_some_and(|kind| kinds.contains(kind)))
}

/// Whether Kubernetes itself makes it, in any namespace.
fn is_of_kubernetes(kind: &Kind, object: &Value) -> bool {
    match kind.kind {
        "ConfigMap" => state::name(object) == "kube-root-ca.crt",
        "Secret" => {
            object["type"] == "kubernetes.io/service-account-token" || object["type"] == "bootstrap.kubernetes.io/token"
        }
        // The provisioner of MicroK8s' storage makes and removes the folder of a volume with a pod of its own.
        "Pod" => namespace(object) == "kube-system" && object["spec"]["restartPolicy"] == "Never",
        _ => false,
    }
}

fn is_longhorns(object: &Value) -> bool {
    let name = state::name(object);
    namespace(object) == longhorn::NAMESPACE && OF_LONGHORN.iter().any(|begin| name.starts_with(begin))
}

/// Whether what is left of Longhorn is ours: nobody else has one, and ours may be half gone.
fn longhorn_is_ours(host: &dyn Host, known: &Known) -> Result<bool> {
    Ok(longhorn::Installed::find(host)?
        .map_or(known.longhorn, |found| found.is_ours() || (known.longhorn && !found.is_of_others())))
}

/// Files and folders of somebody else's in the folder that snapd gives MicroK8s, relative to it.
fn files(host: &dyn Host) -> Vec<String> {
    let common = Path::new(COMMON);
    let mut found = host.names(common);
    found.retain(|name| !FOLDERS.contains(&name.as_str()));
    for (folder, own) in SHARED {
        let names = host.names(&common.join(folder)).into_iter();
        found.extend(names.filter(|n| !own.contains(&n.as_str())).map(|name| format!("{folder}/{name}")));
    }
    found.sort();
    found
}

/// Files of somebody's that are settings of MicroK8s, or lie where snapd keeps what users have of it. They are no reason to keep it; they are
/// named, because they go with it.
pub fn settings(host: &dyn Host, known: &Known) -> Vec<String> {
    let mut found = arguments(host, known);
    let homes = host.names(Path::new(HOMES)).into_iter().map(|name| Path::new(HOMES).join(name));
    for home in std::iter::once(Path::new(HOME_OF_ROOT).to_owned()).chain(homes) {
        let of_snap = home.join(OF_USERS);
        let folders = host.names(&of_snap).into_iter().filter(|name| is_purged(name));
        for folder in folders.map(|name| of_snap.join(name)) {
            found.extend(host.names(&folder).iter().map(|name| folder.join(name).display().to_string()));
        }
    }
    found
}

/// Files among MicroK8s' own settings that are neither as it came with nor ours.
fn arguments(host: &dyn Host, known: &Known) -> Vec<String> {
    let own = host.names(Path::new(CAME_WITH));
    // One that came without settings is none that we know.
    if own.is_empty() {
        return Vec::new();
    }
    let is_own = |name: &String| own.contains(name) || GENERATED.contains(&name.as_str()) || name.starts_with('.');
    let mut found = host.names(Path::new(ARGS));
    found.retain(|name| !is_own(name));
    let registries = Path::new(ARGS).join("certs.d");
    let came_with = host.names(&Path::new(CAME_WITH).join("certs.d"));
    for registry in host.names(&registries) {
        let files = host.names(&registries.join(&registry));
        let is_ours = known.registries.contains(&registry)
            || REGISTRIES.contains(&registry.as_str())
            || came_with.contains(&registry);
        let theirs = files.into_iter().filter(|file| !is_ours || file != "hosts.toml");
        found.extend(theirs.map(|file| format!("certs.d/{registry}/{file}")));
    }
    found.iter().map(|name| format!("{ARGS}/{name}")).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn known(addons: &[&str]) -> Known {
        Known { addons: addons.iter().map(|a| (*a).to_owned()).collect(), ..Known::default() }
    }

    fn object(namespace: &str, name: &str) -> Value {
        json!({"metadata": {"namespace": namespace, "name": name}})
    }

    #[test]
    fn what_every_cluster_has_is_nobodys() {
        let nobody = Known::default();
        let token = json!({"metadata": {"namespace": "team", "name": "default-token-x"}, "type": "kubernetes.io/service-account-token"});
        let helper = json!({"metadata": {"namespace": "kube-system", "name": "hostpath-provisioner-vm-x"}, "spec": {"restartPolicy": "Never"}});
        for (kind, object) in [
            (&kube::CONFIG_MAP, object("team", "kube-root-ca.crt")),
            (&kube::SERVICE, object("default", "kubernetes")),
            (&kube::DAEMON_SET, object("kube-system", "calico-node")),
            (&kube::DEPLOYMENT, object("kube-system", "coredns")),
            (&kube::CONFIG_MAP, object("kube-public", "local-registry-hosting")),
            (&kube::SECRET, token),
            (&kube::POD, helper),
        ] {
            assert!(!is_somebodys(kind, &object, &nobody), "{} {object}", kind.kind);
        }
    }

    #[test]
    fn the_same_name_elsewhere_is_somebodys() {
        let all = known(&["registry", "metallb", "hostpath-storage"]);
        for (kind, object) in [
            (&kube::SERVICE, object("team", "kubernetes")),
            (&kube::DEPLOYMENT, object("team", "coredns")),
            (&kube::DEPLOYMENT, object("team", "registry")),
            (&kube::CONFIG_MAP, object("kube-system", "settings")),
            (&kube::SECRET, object("metallb-system", "bgp-password")),
            (&kube::POD, object("kube-system", "mine")),
        ] {
            assert!(is_somebodys(kind, &object, &all), "{} {object}", kind.kind);
        }
    }

    #[test]
    fn what_an_addon_brings_is_whose_the_addon_is() {
        for (addon, kind, object) in [
            ("registry", &kube::DEPLOYMENT, object("container-registry", "registry")),
            ("metallb", &kube::DAEMON_SET, object("metallb-system", "speaker")),
            ("metallb", &kube::SECRET, object("metallb-system", "metallb-webhook-cert")),
            ("metallb", &kube::CONFIG_MAP, object("metallb-system", "config")),
            ("hostpath-storage", &kube::DEPLOYMENT, object("kube-system", "hostpath-provisioner")),
            ("ingress", &kube::DAEMON_SET, object("ingress", "nginx-ingress-microk8s-controller")),
        ] {
            assert!(!is_somebodys(kind, &object, &known(&[addon])), "{addon}: {object}");
            assert!(is_somebodys(kind, &object, &known(&[])), "nobody of us enabled {addon}: {object}");
        }
    }

    #[test]
    fn what_we_applied_and_what_belongs_to_a_workload_is_not_theirs() {
        let nobody = Known::default();
        let mut ours = object("default", "data");
        ours["metadata"]["managedFields"] = json!([{"manager": "iris-mk8s", "operation": "Apply"}]);
        assert!(!is_somebodys(&kube::STATEFUL_SET, &ours, &nobody));
        let mut pod = object("team", "web-1");
        assert!(is_somebodys(&kube::POD, &pod, &nobody), "a pod that nobody owns");
        pod["metadata"]["ownerReferences"] = json!([{"kind": "ReplicaSet", "name": "web"}]);
        assert!(!is_somebodys(&kube::POD, &pod, &nobody));
        pod["metadata"]["ownerReferences"] = json!([{"kind": "Widget", "name": "web"}]);
        assert!(is_somebodys(&kube::POD, &pod, &nobody), "its owner is of a kind that is not looked at");
        let mut going = object("team", "web");
        going["metadata"]["deletionTimestamp"] = json!("2027-01-15T08:00:00Z");
        assert!(!is_somebodys(&kube::DEPLOYMENT, &going, &nobody));
    }

    #[test]
    fn snapd_purges_its_folders_in_the_homes_that_it_knows_and_nothing_else() {
        let goes = |path: &str| goes_with_the_snap(Path::new(path));
        for path in [
            "/root/snap/microk8s/common/.microk8s.yaml",
            "/home/anna/snap/microk8s/x1/f",
            "/home/anna/snap/microk8s/7731",
        ] {
            assert!(goes(path), "{path}");
        }
        for path in [
            "/var/snap/microk8s/common/theirs.tar",
            "/snap/microk8s/7731/f",
            "/srv/users/anna/snap/microk8s/common/f",
            "/home/anna/snap/microk8s/notes",
            "/home/anna/backup/snap/microk8s/common/f",
            "/home/snap/microk8s/common/f",
        ] {
            assert!(!goes(path), "{path}");
        }
    }

    #[test]
    fn many_things_are_counted() {
        let theirs =
            |n: usize| Theirs { place: "namespace team".into(), things: (0..n).map(|n| format!("Pod p{n}")).collect() };
        assert_eq!(theirs(2).to_string(), "namespace team: Pod p0, Pod p1");
        assert!(theirs(10).to_string().ends_with("Pod p7 and 2 more"));
    }
}
