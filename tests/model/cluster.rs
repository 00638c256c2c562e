//! The modelled cluster: its objects, as the API server keeps them, and whether it answers at all.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use iris_mk8s::{
    error::{Error, Result},
    kube::{self as kinds, Kind},
};
use serde_json::{Value, json};

use super::{
    manifests, merge,
    world::{Era, World, s},
};

/// Plural of its kind, namespace, name.
pub type Key = (&'static str, String, String);

pub fn key(kind: &Kind, namespace: &str, name: &str) -> Key {
    (plural(kind), namespace.to_owned(), name.to_owned())
}

/// A kind's name here: Longhorn has a `nodes` of its own.
pub fn plural(kind: &Kind) -> &'static str {
    match (kind.group, kind.plural) {
        ("longhorn.io", "nodes") => "nodes.longhorn.io",
        ("longhorn.io", "volumeattachments") => "volumeattachments.longhorn.io",
        (_, plural) => plural,
    }
}

pub fn key_of(object: &Value) -> (&'static Kind, Key) {
    // Kinds of somebody's own are in no table.
    let kind = kinds::kind_of(object).unwrap_or_else(|| {
        let api = object["apiVersion"].as_str().unwrap_or_else(|| panic!("the modelled cluster knows no {object}"));
        let (group, version) = api.split_once('/').unwrap_or(("", api));
        let kind = object["kind"].as_str().unwrap_or_default();
        kinds::kind_named(group, version, kind, &format!("{}s", kind.to_lowercase()))
    });
    let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default();
    (kind, key(kind, text("namespace"), text("name")))
}

/// Where a pod is.
#[derive(Clone, Debug, PartialEq)]
pub enum Life {
    /// No node for it yet, and why.
    Unscheduled(String),
    /// Its volumes are being made, its image pulled, its program begins: ready at that time.
    Starting(Duration),
    Ready,
    /// Gone at that time.
    Going(Duration),
}

/// What holds an object that was deleted in the foreground until the collector lets go of it.
pub const FOREGROUND: &str = "foregroundDeletion";

/// A moment, as the server writes it.
pub fn stamp(now: Duration) -> String {
    let seconds = i64::try_from(super::world::EPOCH + now.as_secs()).expect("a time");
    jiff::Timestamp::from_second(seconds).expect("a time").to_string()
}

/// Somebody asked for its end; the first time counts.
fn mark(object: &mut Value, now: Duration) {
    if !object["metadata"]["deletionTimestamp"].is_string() {
        object["metadata"]["deletionTimestamp"] = json!(stamp(now));
    }
}

/// What is in MicroK8s.
#[derive(Clone)]
pub struct Cluster {
    pub era: Era,
    objects: Arc<BTreeMap<Key, Arc<Value>>>,
    /// What our server-side apply asked for last, by object.
    applied: BTreeMap<Key, Arc<Value>>,
    pub pods: BTreeMap<(String, String), Life>,
    /// How often something changed, by kind.
    pub touched: BTreeMap<&'static str, u64>,
    /// The services run.
    pub running: bool,
    /// When the API answers, while they do.
    pub api_at: Duration,
    /// What Kubernetes makes on the host is made.
    pub on_host: bool,
    /// The webhook that judges pools is registered.
    pub webhook: bool,
    /// When a webhook behind a ready pod answers.
    pub webhook_at: Option<Duration>,
    pub images: BTreeSet<String>,
    /// Images that no registry has.
    pub no_images: BTreeSet<String>,
    /// What is in the built-in registry: digests by name and tag.
    pub tags: BTreeMap<String, String>,
    /// Controllers look again at that time.
    pub due: Option<Duration>,
    /// Deletions that end at a time: namespaces and volumes.
    pub ends: BTreeMap<Key, Duration>,
    /// The cluster agent works on the launch configuration.
    pub launching: bool,
    /// The pools that MetalLB 0.9 goes by, and the pod of the controller that took them.
    pub heeded: Option<(String, Vec<super::metallb::Pool>)>,
    serial: u64,
}

impl Cluster {
    /// What an installation brings.
    pub fn new(era: Era) -> Self {
        let mut cluster = Self {
            era,
            objects: Arc::default(),
            applied: BTreeMap::new(),
            pods: BTreeMap::new(),
            touched: BTreeMap::new(),
            running: false,
            api_at: Duration::ZERO,
            on_host: false,
            webhook: false,
            webhook_at: None,
            images: BTreeSet::new(),
            no_images: manifests::GONE.map(str::to_owned).into(),
            tags: BTreeMap::new(),
            due: None,
            ends: BTreeMap::new(),
            launching: false,
            heeded: None,
            serial: 0,
        };
        for name in ["default", "kube-node-lease", "kube-public", "kube-system"] {
            cluster.put(manifests::namespace(name));
        }
        cluster.put(manifests::kubernetes_service());
        cluster
    }
}

/// The services of the snap start: containers that ran before start anew.
pub fn services_start(world: &mut World) {
    let now = world.now;
    let Some(cluster) = &mut world.cluster else { return };
    world.failed_units = false;
    if cluster.running {
        return;
    }
    cluster.running = true;
    cluster.api_at = now + s(6);
    cluster.on_host = false;
    cluster.launching = false;
    for life in cluster.pods.values_mut() {
        if *life == Life::Ready {
            *life = Life::Starting(now + s(12));
        }
    }
    cluster.due = Some(cluster.api_at);
}

pub fn services_stop(world: &mut World) {
    let Some(cluster) = &mut world.cluster else { return };
    cluster.running = false;
    cluster.due = None;
    world.processes.retain(|_, p| p.argv[0] != "cluster-agent");
}

impl Cluster {
    pub fn answers(&self, now: Duration) -> bool {
        self.running && now >= self.api_at
    }

    /// The API server is started anew.
    pub fn restart(&mut self, now: Duration) {
        self.api_at = now + s(6);
        self.look_at(self.api_at);
    }

    /// When the next thing happens here.
    pub fn next(&self) -> Option<Duration> {
        self.due.filter(|_| self.running)
    }

    /// Controllers look at that time, or before.
    pub fn look_at(&mut self, at: Duration) {
        self.due = Some(self.due.map_or(at, |due| due.min(at)));
    }

    pub fn get(&self, key: &Key) -> Option<&Value> {
        self.objects.get(key).map(|o| &**o)
    }

    pub fn find(&self, kind: &Kind, namespace: &str, name: &str) -> Option<&Value> {
        self.get(&key(kind, namespace, name))
    }

    /// Objects of a kind, to be kept while the cluster is changed.
    pub fn shared(&self, kind: &Kind) -> Vec<Arc<Value>> {
        let plural = kind.plural;
        let all = self.objects.range(key(kind, "", "")..).take_while(|((p, ..), _)| *p == plural);
        all.map(|(_, object)| Arc::clone(object)).collect()
    }

    /// One object, to be kept while the cluster is changed.
    pub fn share(&self, key: &Key) -> Option<Arc<Value>> {
        self.objects.get(key).cloned()
    }

    /// Objects of a kind, in the order of their names.
    pub fn of(&self, kind: &Kind) -> impl Iterator<Item = &Value> {
        let plural = plural(kind);
        self.objects.range(key(kind, "", "")..).take_while(move |((p, ..), _)| *p == plural).map(|(_, o)| &**o)
    }

    /// Everything of a namespace.
    pub fn inside(&self, namespace: &str) -> Vec<Key> {
        self.objects.keys().filter(|(_, ns, _)| ns == namespace).cloned().collect()
    }

    pub fn all(&self) -> impl Iterator<Item = (&Key, &Value)> {
        self.objects.iter().map(|(key, object)| (key, &**object))
    }

    /// Writes an object as a controller does.
    pub fn put(&mut self, object: Value) {
        let (_, key) = key_of(&object);
        *self.touched.entry(key.0).or_default() += 1;
        Arc::make_mut(&mut self.objects).insert(key, Arc::new(object));
    }

    /// Changes an object in place, if that makes a difference.
    pub fn change(&mut self, key: &Key, change: impl FnOnce(&mut Value)) {
        let Some(now) = self.objects.get(key) else { return };
        let mut new = (**now).clone();
        change(&mut new);
        if new != **now {
            self.put(new);
        }
    }

    pub fn drop_object(&mut self, key: &Key) {
        if Arc::make_mut(&mut self.objects).remove(key).is_some() {
            *self.touched.entry(key.0).or_default() += 1;
            self.applied.remove(key);
            self.ends.remove(key);
            self.pods.remove(&(key.1.clone(), key.2.clone()));
        }
    }

    pub fn number(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    /// Whether the API server knows the kind.
    pub fn knows(&self, kind: &Kind) -> bool {
        let defined = |name: &str| self.find(&kinds::CUSTOM_RESOURCE_DEFINITION, "", name).is_some();
        match kind.group {
            "metallb.io" => defined(manifests::POOLS),
            "longhorn.io" => defined(&format!("{}.longhorn.io", kind.plural)),
            _ => true,
        }
    }

    /// An apply: ours (server-side, as the manager it names) or somebody's `kubectl apply`.
    pub fn apply(&mut self, object: &Value, manager: &str, dry_run: bool, now: Duration) -> Result<Value> {
        let refused = |code: u16, message: String| {
            let passing = code >= 500;
            Err(Error {
                transient: passing,
                ..Error::failed("the API server refused").because(format!("{message} ({code})"))
            })
        };
        let (kind, key) = key_of(object);
        if !self.knows(kind) {
            return refused(404, "404 page not found".to_owned());
        }
        if !key.1.is_empty() {
            match self.find(&kinds::NAMESPACE, "", &key.1) {
                None => return refused(404, format!("namespaces \"{}\" not found", key.1)),
                Some(ns) if ns["metadata"]["deletionTimestamp"].is_string() && self.get(&key).is_none() => {
                    return refused(
                        403,
                        format!(
                            "forbidden: unable to create new content in namespace {} because it is being terminated",
                            key.1
                        ),
                    );
                }
                Some(_) => {}
            }
        }
        if kind.group == "metallb.io" && self.webhook {
            if self.webhook_at.is_none_or(|at| now < at) {
                return refused(
                    500,
                    "failed calling webhook \"ipaddresspoolvalidationwebhook.metallb.io\": connect: connection refused"
                        .to_owned(),
                );
            }
            if let Some(other) = super::metallb::overlapping(self, object) {
                return refused(
                    403,
                    format!("admission webhook denied the request: CIDR overlaps with already defined CIDR of {other}"),
                );
            }
        }
        let was = self.get(&key).cloned();
        let mut new = was.clone().unwrap_or_else(|| json!({"metadata": {"uid": format!("uid-{}", self.serial + 1)}}));
        if let Some(before) = self.applied.get(&key).filter(|_| manager == kinds::MANAGER) {
            merge::prune(&mut new, before, object);
        }
        merge::merge(&mut new, object);
        merge::defaults(&mut new, was.is_none(), self.serial, now);
        if let Some(was) = &was
            && let Some(field) = merge::immutable(was, &new)
        {
            return refused(
                422,
                format!("{} \"{}\" is invalid: {field}: Forbidden: may not be changed", kind.kind, key.2),
            );
        }
        let needs_selector = matches!(key.0, "deployments" | "daemonsets" | "statefulsets");
        if needs_selector && new["spec"]["selector"].is_null() {
            return refused(422, format!("{} \"{}\" is invalid: spec.selector: Required value", kind.kind, key.2));
        }
        if merge::has_fields(object) {
            merge::managed(&mut new, manager);
        }
        let changed = was.as_ref().is_none_or(|was| was["spec"] != new["spec"]);
        if changed {
            new["metadata"]["generation"] = json!(new["metadata"]["generation"].as_u64().unwrap_or(0) + 1);
        }
        if dry_run {
            return Ok(new);
        }
        self.serial += 1;
        if manager == kinds::MANAGER {
            self.applied.insert(key, Arc::new(object.clone()));
        }
        if was.as_ref() != Some(&new) {
            self.put(new.clone());
        }
        self.look_at(now + super::world::ms(100));
        Ok(new)
    }

    /// Whether an object's namespace is gone: the server shows it all the same, and changes nothing of it.
    pub fn is_orphan(&self, key: &Key) -> bool {
        !key.1.is_empty() && self.find(&kinds::NAMESPACE, "", &key.1).is_none()
    }

    /// The server's list of the kinds of a group, or of all groups, as far as there are objects of them.
    pub fn discovery(&self, path: &str) -> Option<Value> {
        let all: Vec<(&'static Kind, bool)> =
            self.objects.values().map(|o| (key_of(o).0, o["metadata"]["namespace"].is_string())).collect();
        if path == "/apis" {
            let groups: BTreeSet<(&str, &str)> =
                all.iter().map(|(k, _)| (k.group, k.version)).filter(|g| !g.0.is_empty()).collect();
            let group = |(name, version): (&str, &str)| json!({"name": name, "versions": [{"version": version}], "preferredVersion": {"version": version}});
            return Some(json!({"groups": groups.into_iter().map(group).collect::<Vec<_>>()}));
        }
        let (group, version) = path
            .strip_prefix("/apis/")
            .and_then(|p| p.split_once('/'))
            .or_else(|| Some(("", path.strip_prefix("/api/")?)))?;
        let kinds: BTreeSet<(&str, &str, bool)> = all
            .iter()
            .filter(|(k, _)| k.group == group && k.version == version)
            .map(|(k, namespaced)| (k.plural, k.kind, *namespaced))
            .collect();
        let resource = |(plural, kind, namespaced): (&str, &str, bool)| json!({"name": plural, "kind": kind, "namespaced": namespaced, "verbs": ["delete", "get", "list", "patch"]});
        Some(json!({"resources": kinds.into_iter().map(resource).collect::<Vec<_>>()}))
    }

    /// A delete, in the foreground: what it owns goes first.
    pub fn delete(&mut self, key: &Key, now: Duration) {
        let Some(object) = self.get(key) else { return };
        if self.is_orphan(key) {
            // The collector may not let go of it: for that it would have to change it.
            let stamp = stamp(now);
            self.change(key, |o| {
                if !o["metadata"]["deletionTimestamp"].is_string() {
                    o["metadata"]["deletionTimestamp"] = json!(stamp);
                    o["metadata"]["finalizers"] = json!([FOREGROUND]);
                }
            });
            return;
        }
        let grace = if object["spec"]["containers"][0]["name"] == "iris" { s(4) } else { s(1) };
        let of_longhorn = key.0 == "customresourcedefinitions" && object["spec"]["group"] == "longhorn.io";
        let waits = of_longhorn
            || object["metadata"]["finalizers"].as_array().is_some_and(|f| !f.is_empty())
            || matches!(
                key.0,
                "deployments" | "daemonsets" | "statefulsets" | "namespaces" | "persistentvolumeclaims" | "jobs"
            );
        self.look_at(now + super::world::ms(50));
        if key.0 == "pods" {
            self.change(key, |o| mark(o, now));
            self.pods.insert((key.1.clone(), key.2.clone()), Life::Going(now + grace));
        } else if waits {
            self.change(key, |o| mark(o, now));
        } else {
            self.drop_object(key);
        }
    }
}
