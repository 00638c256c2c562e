//! Hosts that are not clean: what a bootstrap may find.

use iris_mk8s::{host::SnapdChange, kube as kinds};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{
    cluster::key,
    longhorn, manifests, snapd,
    store::Policy,
    tool::{RANGE, Tool},
    world::{Era, World, s},
};

/// MicroK8s as somebody left it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Before {
    Absent,
    /// Somebody's installation is under way.
    Coming,
    Running,
    Stopped,
    Disabled,
    OtherChannel,
}

/// MetalLB's pools as somebody made them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pools {
    /// The addon is not there.
    NoAddon,
    /// The addon of a killed `enable`: enabled, and without a pool.
    Poisoned,
    Same,
    OtherRange,
    /// A pool under another name, elsewhere.
    Beside,
}

/// IRIS as somebody applied it by hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Article {
    Absent,
    /// It does what the spec asks for.
    Serves,
    /// It has one instance only.
    Differs,
}

/// Who has the name `kubectl`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Name {
    Free,
    File,
    Snap,
    /// Somebody made the alias already.
    OfMicrok8s,
}

/// A host before the first run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Initial {
    pub era: Era,
    pub microk8s: Before,
    pub storage: bool,
    pub registry: bool,
    pub pools: Pools,
    pub article: Article,
    pub kubectl: Name,
    /// The user is in the group already.
    pub member: bool,
    /// snapd can hold a single snap.
    pub new_snapd: bool,
    pub hold: Option<&'static str>,
    /// Folders and a `~/.kube/config` of an earlier Kubernetes.
    pub old_kubernetes: bool,
    /// So many downloads fail before one succeeds.
    pub failing: u32,
    /// The disk is full after so many files and records; before the next command somebody makes room.
    pub room: Option<u32>,
    /// Seconds by which the clock jumps in the middle.
    pub jump: i64,
    /// The volumes shall lie on Longhorn.
    pub longhorn: bool,
    /// There is no network, and everything comes from a bundle.
    pub bundle: bool,
}

impl Initial {
    /// A fresh VM.
    pub fn fresh(era: Era) -> Self {
        Self {
            era,
            microk8s: Before::Absent,
            storage: false,
            registry: false,
            pools: Pools::NoAddon,
            article: Article::Absent,
            kubectl: Name::Free,
            member: false,
            new_snapd: false,
            hold: None,
            old_kubernetes: false,
            failing: 0,
            room: None,
            jump: 0,
            longhorn: false,
            bundle: false,
        }
    }

    /// Any host of these, of an era.
    pub fn any(era: Era) -> impl Strategy<Value = Self> {
        let microk8s = prop_oneof![
            4 => Just(Before::Absent),
            1 => Just(Before::Coming),
            4 => Just(Before::Running),
            1 => Just(Before::Stopped),
            1 => Just(Before::Disabled),
            1 => Just(Before::OtherChannel),
        ];
        let pools = prop_oneof![
            Just(Pools::NoAddon),
            Just(Pools::Poisoned),
            Just(Pools::Same),
            Just(Pools::OtherRange),
            Just(Pools::Beside)
        ];
        let article = prop_oneof![3 => Just(Article::Absent), 2 => Just(Article::Serves), 1 => Just(Article::Differs)];
        let kubectl = prop_oneof![2 => Just(Name::Free), 1 => Just(Name::File), 1 => Just(Name::Snap), 1 => Just(Name::OfMicrok8s)];
        let hold = prop_oneof![Just(None), Just(Some("2027-01-16T00:00:00Z")), Just(Some("forever"))];
        let room = prop_oneof![5 => Just(None), 2 => (0_u32..24).prop_map(Some)];
        let jump = prop_oneof![3 => Just(0), 1 => Just(-24 * 3600), 1 => Just(24 * 3600)];
        let flags = (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>(), 0_u32..2);
        (microk8s, pools, article, kubectl, hold, (flags, room, jump)).prop_map(
            move |(microk8s, pools, article, kubectl, hold, (flags, room, jump))| {
                let (storage, registry, member, new_snapd, old_kubernetes, failing) = flags;
                Self {
                    era,
                    microk8s,
                    storage,
                    registry,
                    pools,
                    article,
                    kubectl,
                    member,
                    new_snapd,
                    hold,
                    old_kubernetes,
                    failing,
                    room,
                    jump,
                    longhorn: false,
                    bundle: false,
                }
            },
        )
    }

    /// The host.
    pub fn world(&self) -> World {
        let mut world = World::new(self.era);
        world.snapd.version = if self.new_snapd { "2.68+ubuntu24.04" } else { "2.57.6" };
        world.snapd.hold = self.hold.map(str::to_owned);
        if self.longhorn {
            world.files.write_as(longhorn::FILE, longhorn::MANIFEST, 0o644, "ubuntu");
        }
        if self.old_kubernetes {
            old_kubernetes(&mut world);
        }
        match self.kubectl {
            Name::File => world.files.write_as("/usr/local/bin/kubectl", "#!/bin/sh\n", 0o755, "root"),
            Name::Snap => {
                let snap =
                    snapd::Snap { channel: "latest/stable".to_owned(), active: true, hold: None, services: false };
                world.snapd.snaps.insert("kubectl".to_owned(), snap);
                world.files.link("/snap/bin/kubectl", "/usr/bin/snap");
            }
            Name::Free | Name::OfMicrok8s => {}
        }
        if self.microk8s != Before::Absent {
            self.microk8s(&mut world);
        }
        world.snapd.failing = self.failing;
        world.files.room = self.room;
        world.jump = self.jump;
        world.offline = self.bundle;
        world.acts = 0;
        world
    }

    fn microk8s(&self, world: &mut World) {
        let channel = match (self.microk8s, self.era) {
            (Before::OtherChannel, Era::Today) => "1.33/stable",
            (Before::OtherChannel, Era::Old) => "1.19/stable",
            (_, era) => era.channel(),
        };
        ask(world, "POST", "/v2/snaps/microk8s", json!({"action": "install", "channel": channel, "classic": true}));
        if self.microk8s == Before::Coming {
            world.advance(s(15));
            return;
        }
        world.settle();
        // Whoever set it up did so as root, and that leaves two folders.
        world.files.dir("/root/snap/microk8s");
        world.files.dir("/root/.kube/cache");
        if self.storage {
            let name = if self.era == Era::Today { "hostpath-storage" } else { "storage" };
            person(world, &["microk8s", "enable", name]);
        }
        if self.registry {
            person(world, &["microk8s", "enable", "registry"]);
        }
        self.metallb(world);
        if self.article != Article::Absent && self.storage {
            article(world, self.article);
        }
        if self.member {
            world.groups.entry("microk8s".to_owned()).or_default().push("ubuntu".to_owned());
        }
        if self.kubectl == Name::OfMicrok8s {
            ask(
                world,
                "POST",
                "/v2/aliases",
                json!({"action": "alias", "snap": "microk8s", "app": "kubectl", "alias": "kubectl"}),
            );
        }
        world.settle();
        match self.microk8s {
            Before::Stopped => person(world, &["microk8s", "stop"]),
            Before::Disabled => ask(world, "POST", "/v2/snaps/microk8s", json!({"action": "disable"})),
            _ => {}
        }
        world.settle();
    }

    fn metallb(&self, world: &mut World) {
        if self.pools == Pools::NoAddon {
            return;
        }
        let range = if self.pools == Pools::Same { RANGE } else { THEIR_RANGE };
        person(world, &["microk8s", "enable", &format!("metallb:{range}")]);
        if self.era == Era::Old {
            return self.old_metallb(world);
        }
        let cluster = world.cluster.as_mut().expect("MicroK8s");
        let pool = |name| key(&kinds::IP_ADDRESS_POOL, "metallb-system", name);
        match self.pools {
            Pools::Poisoned | Pools::Beside => {
                cluster.drop_object(&pool("default-addresspool"));
                cluster.drop_object(&key(&kinds::L2_ADVERTISEMENT, "metallb-system", "default-advertise-all-pools"));
            }
            Pools::NoAddon | Pools::Same | Pools::OtherRange => {}
        }
        if self.pools == Pools::Beside {
            let now = world.now;
            for object in [manifests::pool("mine", &[THEIR_RANGE]), manifests::advertisement("mine")] {
                world
                    .api()
                    .expect("it runs")
                    .apply(&object, "kubectl-client-side-apply", false, now)
                    .expect("it is applied");
            }
        }
    }
}

impl Initial {
    /// MetalLB 0.9: its pools are one text.
    fn old_metallb(&self, world: &mut World) {
        let now = world.now;
        let cluster = world.api().expect("it runs");
        // Whoever has MetalLB in 1.20 has given it images that exist.
        for name in ["controller", "speaker"] {
            let kind = if name == "controller" { &kinds::DEPLOYMENT } else { &kinds::DAEMON_SET };
            cluster.change(&key(kind, "metallb-system", name), |o| {
                o["spec"]["template"]["spec"]["containers"][0]["image"] =
                    json!(format!("quay.io/metallb/{name}:v0.9.3"));
                o["metadata"]["generation"] = json!(2);
            });
        }
        cluster.look_at(now);
        match self.pools {
            Pools::Poisoned => cluster.drop_object(&key(&kinds::CONFIG_MAP, "metallb-system", "config")),
            Pools::Beside => {
                let config = manifests::config(&[("mine", &[THEIR_RANGE])]);
                cluster.apply(&config, "kubectl-client-side-apply", false, now).expect("it is applied");
            }
            Pools::NoAddon | Pools::Same | Pools::OtherRange => {}
        }
    }
}

fn old_kubernetes(world: &mut World) {
    world.files.write_as("/home/ubuntu/.kube/config", "clusters: [old]\n", 0o600, "ubuntu");
    world.files.write_as("/root/.kube/config", "clusters: [old]\n", 0o600, "root");
    world.files.write("/var/lib/cni/networks/old/10.42.0.2", "");
    world.files.dir("/opt/cni/bin");
    world.groups.insert("microk8s".to_owned(), vec!["somebody".to_owned()]);
    world.at_boot.push(("net/ipv4/ip_forward", "1"));
    world.boot_settings();
}

/// The addresses of somebody's MetalLB.
pub const THEIR_RANGE: &str = "192.168.11.200-192.168.11.210";

/// A person runs a command, and waits for its end.
pub fn person(world: &mut World, argv: &[&str]) {
    let argv: Vec<String> = argv.iter().map(|a| (*a).to_owned()).collect();
    let group = world.start(&argv, None);
    while world.processes.get(&group).is_some_and(|p| p.code.is_none()) && world.step(std::time::Duration::MAX) {}
    world.processes.remove(&group);
    world.settle();
}

/// A person asks snapd, and does not wait.
pub fn ask(world: &mut World, method: &'static str, path: &str, body: Value) {
    let change = SnapdChange { method, path: path.to_owned(), body, shown: String::new() };
    snapd::ask(world, &change).expect("snapd takes it");
}

/// The objects of the article, by `kubectl apply`: the same as ours, but with a CPF in a ConfigMap and without our marks.
fn article(world: &mut World, how: Article) {
    let ours = Tool::new(Policy::Proposed).bootstrap(Initial::fresh(world.era).world());
    assert!(ours.error.is_none(), "{:?}", ours.error);
    let ours = ours.world;
    let ours = ours.cluster.as_ref().expect("a cluster");
    let now = world.now;
    let cluster = world.api().expect("it runs");
    for (kind, name) in [(&kinds::SERVICE, "iris"), (&kinds::SERVICE, "iris-ext"), (&kinds::STATEFUL_SET, "data")] {
        let mut object = ours.find(kind, "default", name).expect("ours").clone();
        let spec = object["spec"].take();
        let mut object = json!({"apiVersion": object["apiVersion"], "kind": object["kind"],
            "metadata": {"name": name, "namespace": "default", "labels": {"app": "iris"}}, "spec": spec});
        if *kind == kinds::STATEFUL_SET {
            object["spec"]["template"]["spec"]["volumes"] =
                json!([{"name": "iris-cpf", "configMap": {"name": "iris-cpf"}}]);
            if how == Article::Differs {
                object["spec"]["replicas"] = json!(1);
            }
        }
        cluster.apply(&object, "kubectl-client-side-apply", false, now).expect("it is applied");
    }
    world.settle();
}
