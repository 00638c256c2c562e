//! The modelled snapd: what it answers over its socket, and its changes, which go on whether the one who asked for them lives or not.

use std::{collections::BTreeMap, time::Duration};

use iris_mk8s::{
    error::{Error, Result},
    host::{SnapdChange, snapd_refusal},
};
use serde_json::{Value, json};

use super::{
    cluster::{self, Cluster},
    microk8s::STOPPED,
    network,
    world::{Era, World, ms, s},
};

/// A snap that is installed.
#[derive(Clone, Debug, PartialEq)]
pub struct Snap {
    pub channel: String,
    pub active: bool,
    /// `snap refresh --hold` of this one.
    pub hold: Option<String>,
    /// Its services start at boot.
    pub services: bool,
}

/// What a change does.
#[derive(Clone, Debug, PartialEq)]
pub enum What {
    Install(String),
    Refresh(String),
    Remove,
    Enable,
    Disable,
}

/// A change in progress.
#[derive(Clone, Debug)]
pub struct Change {
    pub id: u32,
    pub what: What,
    pub stage: usize,
    pub next: Duration,
    /// Somebody aborted it: what was done is undone.
    pub aborted: bool,
}

#[derive(Clone)]
pub struct Snapd {
    pub version: &'static str,
    pub snaps: BTreeMap<String, Snap>,
    /// Aliases: their snap and program.
    pub aliases: BTreeMap<String, (String, String)>,
    /// The setting `refresh.hold`.
    pub hold: Option<String>,
    pub change: Option<Change>,
    /// Installations and removals that are over: number, kind, moment.
    pub done: Vec<(u32, &'static str, Duration)>,
    /// How changes ended.
    pub ended: BTreeMap<u32, std::result::Result<(), String>>,
    /// So many downloads fail before one succeeds.
    pub failing: u32,
    next_id: u32,
    /// How many snaps were installed.
    installed: u32,
}

impl Default for Snapd {
    fn default() -> Self {
        Self {
            version: "2.57.6",
            snaps: BTreeMap::new(),
            aliases: BTreeMap::new(),
            hold: None,
            change: None,
            done: Vec::new(),
            ended: BTreeMap::new(),
            failing: 0,
            next_id: 1,
            installed: 0,
        }
    }
}

const MICROK8S: &str = "microk8s";

/// Where a snap's data is, while it is available; and where it is really.
const CURRENT: &str = "/var/snap/microk8s/current";
const REVISION: &str = "/var/snap/microk8s/1";

/// Programs of the snap that we call.
const PROGRAMS: &[&str] = &["microk8s", "microk8s.kubectl"];

const SERVICES: &[(&str, bool)] = &[
    ("daemon-apiserver-kicker", true),
    ("daemon-apiserver-proxy", false),
    ("daemon-cluster-agent", true),
    ("daemon-containerd", true),
    ("daemon-etcd", false),
    ("daemon-flanneld", false),
    ("daemon-k8s-dqlite", true),
    ("daemon-kubelite", true),
];

/// Those of 1.20: each part of Kubernetes is a service of its own.
const OLD_SERVICES: &[(&str, bool)] = &[
    ("daemon-apiserver", true),
    ("daemon-apiserver-kicker", true),
    ("daemon-cluster-agent", true),
    ("daemon-containerd", true),
    ("daemon-control-plane-kicker", true),
    ("daemon-controller-manager", true),
    ("daemon-etcd", false),
    ("daemon-flanneld", false),
    ("daemon-kubelet", true),
    ("daemon-proxy", true),
    ("daemon-scheduler", true),
];

/// The tasks of a change, each with its time.
fn tasks(what: &What) -> Vec<(&'static str, Duration)> {
    let get = [
        ("Ensure prerequisites for \"microk8s\" are available", ms(500)),
        ("Download snap \"microk8s\" (1) from channel", s(10)),
    ];
    let download = get
        .into_iter()
        .chain([("Download snap \"microk8s\" (1) from channel", s(10)), ("Mount snap \"microk8s\" (1)", s(2))]);
    match what {
        What::Install(_) => download
            .chain([
                ("Make snap \"microk8s\" (1) available to the system", ms(300)),
                ("Run install hook of \"microk8s\" snap if present", s(2)),
                ("Start snap \"microk8s\" (1) services", s(1)),
                ("Run configure hook of \"microk8s\" snap if present", s(1)),
            ])
            .collect(),
        What::Refresh(_) => download
            .chain([("Stop snap \"microk8s\" services", s(3)), ("Start snap \"microk8s\" (2) services", s(1))])
            .collect(),
        What::Remove => vec![
            ("Stop snap \"microk8s\" services", s(3)),
            ("Run remove hook of \"microk8s\" snap if present", s(10)),
            ("Remove aliases for snap \"microk8s\"", ms(300)),
            ("Make snap \"microk8s\" unavailable to the system", ms(300)),
            ("Remove data for snap \"microk8s\" (1)", s(2)),
            ("Remove snap \"microk8s\" (1) from the system", s(1)),
        ],
        What::Enable => vec![
            ("Make snap \"microk8s\" (1) available to the system", s(1)),
            ("Start snap \"microk8s\" (1) services", s(1)),
        ],
        What::Disable => {
            vec![("Stop snap \"microk8s\" services", s(3)), ("Make snap \"microk8s\" unavailable to the system", s(1))]
        }
    }
}

/// What the stage of that index brings.
fn stage_done(world: &mut World, what: &What, stage: usize) -> std::result::Result<(), String> {
    match (what, stage) {
        (What::Install(_) | What::Refresh(_), 2) if world.snapd.failing > 0 => {
            world.snapd.failing -= 1;
            return Err("cannot perform the following tasks:\n- Download snap \"microk8s\" (unexpected EOF)".to_owned());
        }
        (What::Install(_) | What::Refresh(_), 2) if world.files.room == Some(0) => {
            return Err("cannot perform the following tasks:\n- Download snap \"microk8s\" (no space left on device)"
                .to_owned());
        }
        (What::Install(channel), 4) => {
            let snap = Snap { channel: channel.clone(), active: true, hold: None, services: true };
            world.snapd.snaps.insert(MICROK8S.to_owned(), snap);
            link(world);
        }
        (What::Install(_), 5) => install_hook(world),
        (What::Install(_), 6) | (What::Refresh(_), 5) => cluster::services_start(world),
        (What::Install(_), 7) => _ = world.groups.entry(MICROK8S.to_owned()).or_default(),
        (What::Refresh(channel), 4) => {
            cluster::services_stop(world);
            if let Some(snap) = world.snapd.snaps.get_mut(MICROK8S) {
                snap.channel.clone_from(channel);
            }
        }
        (What::Remove, 0) => {
            cluster::services_stop(world);
            world.failed_units = true;
        }
        (What::Disable, 0) => cluster::services_stop(world),
        // No hook of a disabled snap is run: what it would have unmounted is in the way of its data.
        (What::Remove, 1) if !world.snapd.snaps.get(MICROK8S).is_some_and(|snap| snap.active) => {
            world.files.remove(REVISION);
            world.files.remove("/var/snap/microk8s/common/default-storage");
            return Err("cannot perform the following tasks:\n- Remove data for snap \"microk8s\" (1) (device or resource busy)".to_owned());
        }
        (What::Remove, 1) => network::remove_hook(world),
        (What::Remove, 2) => {
            world.snapd.aliases.retain(|_, (snap, _)| snap != MICROK8S);
            unlink_aliases(world);
        }
        (What::Remove, 3) | (What::Disable, 1) => {
            for program in PROGRAMS {
                world.files.remove(format!("/snap/bin/{program}"));
            }
            unlink_aliases(world);
            world.files.rename(CURRENT, REVISION);
            world.files.remove("/snap/microk8s/current");
            if let Some(snap) = world.snapd.snaps.get_mut(MICROK8S) {
                snap.active = false;
            }
        }
        (What::Remove, 4) => {
            world.files.remove("/var/snap/microk8s");
            // With `--purge`, snapd removes what users have of it, too.
            let homes = world.users.values().cloned().chain(["/root".to_owned()]);
            for home in homes.collect::<Vec<_>>() {
                for folder in ["common", "1"] {
                    world.files.remove(format!("{home}/snap/microk8s/{folder}"));
                }
            }
            world.cluster = None;
        }
        (What::Remove, 5) => {
            world.files.remove("/snap/microk8s");
            world.snapd.snaps.remove(MICROK8S);
        }
        (What::Enable, 0) => {
            if let Some(snap) = world.snapd.snaps.get_mut(MICROK8S) {
                snap.active = true;
            }
            world.files.rename(REVISION, CURRENT);
            world.files.link("/snap/microk8s/current", "1");
            link(world);
        }
        (What::Enable, 1) => services_as_set(world),
        _ => {}
    }
    Ok(())
}

fn services_as_set(world: &mut World) {
    let set = world.snapd.snaps.get(MICROK8S).is_some_and(|snap| snap.active && snap.services);
    if set {
        cluster::services_start(world);
    }
}

/// Programs and aliases in `/snap/bin`.
fn link(world: &mut World) {
    for program in PROGRAMS {
        world.files.link(&format!("/snap/bin/{program}"), "/usr/bin/snap");
    }
    let aliases: Vec<(String, String)> = world
        .snapd
        .aliases
        .iter()
        .filter(|(_, (snap, _))| snap == MICROK8S)
        .map(|(a, (_, app))| (a.clone(), app.clone()))
        .collect();
    for (alias, app) in aliases {
        world.files.link(&format!("/snap/bin/{alias}"), &format!("{MICROK8S}.{app}"));
    }
}

fn unlink_aliases(world: &mut World) {
    for name in world.files.names("/snap/bin") {
        let path = format!("/snap/bin/{name}");
        if matches!(world.files.get(&path), Some(super::files::Node::Link(to)) if to.starts_with("microk8s.")) {
            world.files.remove(path);
        }
    }
}

fn install_hook(world: &mut World) {
    let files = &mut world.files;
    files.write("/var/snap/microk8s/current/credentials/client.config", "server: https://127.0.0.1:16443\n");
    // It makes its authority anew with each installation.
    world.snapd.installed += 1;
    let authority = format!("the authority of installation {}\n", world.snapd.installed);
    files.write("/var/snap/microk8s/current/certs/ca.crt", authority);
    files.write("/var/snap/microk8s/current/args/kubelet", "--kubeconfig=kubelet.config\n");
    files.dir("/var/snap/microk8s/current/var/lock");
    files.link("/snap/microk8s/current", "1");
    files.write("/snap/microk8s/current/default-args/kubelet", "--kubeconfig=kubelet.config\n");
    files.dir("/var/snap/microk8s/common");
    world.cluster = Some(Cluster::new(world.era));
    if world.era == Era::Old {
        return;
    }
    files.write("/var/snap/microk8s/common/etc/launcher/install.yaml", "addons: [{name: dns}]\n");
    for (registry, server) in
        [("docker.io", "https://registry-1.docker.io"), ("localhost:32000", "http://localhost:32000")]
    {
        files.write(
            &format!("/var/snap/microk8s/current/args/certs.d/{registry}/hosts.toml"),
            format!(
                "server = \"https://{registry}\"\n\n[host.\"{server}\"]\n  capabilities = [\"pull\", \"resolve\"]\n"
            ),
        );
    }
    for (path, to) in [
        ("/var/lib/kubelet", "/var/snap/microk8s/common/var/lib/kubelet"),
        ("/var/lib/calico", "/var/snap/microk8s/current/var/lib/calico"),
        ("/etc/cni/net.d", "/var/snap/microk8s/current/args/cni-network"),
        ("/opt/cni/bin", "/var/snap/microk8s/current/opt/cni/bin"),
    ] {
        if !files.has(path) {
            files.link(path, to);
        }
    }
    files.write("/etc/sysctl.d/10-microk8s.conf", "fs.inotify.max_user_instances=1024\n");
}

/// Lets the change in progress go on by one stage.
pub fn go_on(world: &mut World) {
    let Some(mut change) = world.snapd.change.take() else { return };
    if change.aborted {
        undo_install(world);
        world.snapd.ended.insert(change.id, Err("aborted".to_owned()));
        return;
    }
    let result = stage_done(world, &change.what, change.stage);
    change.stage += 1;
    let tasks = tasks(&change.what);
    match (result, tasks.get(change.stage)) {
        (Err(why), _) => _ = world.snapd.ended.insert(change.id, Err(why)),
        (Ok(()), None) => {
            if matches!(change.what, What::Install(_) | What::Remove) {
                world.snapd.done.push((change.id, kind_of(&change.what), world.now));
            }
            world.snapd.ended.insert(change.id, Ok(()));
        }
        (Ok(()), Some((_, time))) => {
            change.next = world.now + *time;
            world.snapd.change = Some(change);
        }
    }
}

/// What an aborted installation leaves is what its hooks made outside the snap: undoing it runs no remove hook.
fn undo_install(world: &mut World) {
    cluster::services_stop(world);
    for program in PROGRAMS {
        world.files.remove(format!("/snap/bin/{program}"));
    }
    world.files.remove("/var/snap/microk8s");
    world.files.remove("/snap/microk8s");
    world.snapd.snaps.remove(MICROK8S);
    world.cluster = None;
}

/// After a boot: snapd takes up its change where it was; the services that are set to start do.
pub fn boot(world: &mut World) {
    cluster::services_stop(world);
    if let Some(change) = &mut world.snapd.change {
        change.next = world.now + s(1);
    }
    let installing = matches!(world.snapd.change.as_ref().map(|c| &c.what), Some(What::Install(_)));
    if !installing && !world.files.has(STOPPED) && world.cluster.is_some() {
        services_as_set(world);
    }
}

/// snapd makes one change of a snap at a time.
fn free(world: &World) -> Result<()> {
    world.snapd.change.as_ref().map_or(Ok(()), |change| {
        let message = format!(
            "snap \"microk8s\" has \"{}\" change in progress (snap-change-conflict, HTTP 409)",
            kind_of(&change.what)
        );
        Err(Error::transient("snapd refused").because(message))
    })
}

/// Begins a change of the snap.
fn begin(world: &mut World, what: What) -> Result<Option<u32>> {
    free(world)?;
    let first = tasks(&what).first().map_or(Duration::ZERO, |(_, time)| *time);
    world.snapd.next_id += 1;
    let id = world.snapd.next_id;
    world.snapd.change = Some(Change { id, what, stage: 0, next: world.now + first, aborted: false });
    Ok(Some(id))
}

/// Notes that somebody wants something of the network where there is none.
pub fn fetches(world: &mut World, what: &str) {
    if world.offline {
        world.violations.push(format!("{what} is fetched, and there is no network"));
    }
}

/// A snap that comes with its assertions: it follows no channel.
pub fn sideload(world: &mut World, name: &str) -> Result<Option<u32>> {
    assert!(name.starts_with("microk8s_"), "the modelled snapd takes no {name}");
    if world.snapd.snaps.contains_key(MICROK8S) {
        return Err(Error::failed("snapd refused").because("snap \"microk8s\" is already installed"));
    }
    begin(world, What::Install(String::new()))
}

/// A POST or PUT.
pub fn ask(world: &mut World, change: &SnapdChange) -> Result<Option<u32>> {
    let body = &change.body;
    let text = |key: &str| body[key].as_str().unwrap_or_default().to_owned();
    let refused = |message: String| Error::failed("snapd refused").because(message);
    match (change.method, change.path.as_str(), text("action").as_str()) {
        ("POST", "/v2/snaps/microk8s", action) => {
            let installed = world.snapd.snaps.contains_key(MICROK8S);
            match action {
                "install" if installed => {
                    Err(refused("snap \"microk8s\" is already installed (snap-already-installed, HTTP 400)".to_owned()))
                }
                "install" => {
                    fetches(world, "the snap");
                    begin(world, What::Install(text("channel")))
                }
                "switch" => {
                    free(world)?;
                    let channel = text("channel");
                    if let Some(snap) = world.snapd.snaps.get_mut(MICROK8S) {
                        snap.channel = channel;
                    }
                    Ok(None)
                }
                _ if !installed => {
                    Err(refused("snap \"microk8s\" is not installed (snap-not-installed, HTTP 400)".to_owned()))
                }
                "refresh" => begin(world, What::Refresh(text("channel"))),
                "remove" if body["purge"] == true => begin(world, What::Remove),
                "enable" => begin(world, What::Enable),
                "disable" => begin(world, What::Disable),
                "hold" | "unhold" => {
                    free(world)?;
                    let snap = world.snapd.snaps.get_mut(MICROK8S).expect("installed");
                    snap.hold = (action == "hold").then(|| "2318-01-01T00:00:00Z".to_owned());
                    Ok(None)
                }
                other => panic!("the modelled snapd knows no action {other} of a snap: {body}"),
            }
        }
        ("POST", "/v2/aliases", "alias") => {
            free(world)?;
            let name = text("alias");
            if let Some((snap, _)) = world.snapd.aliases.get(&name).filter(|(snap, _)| snap != MICROK8S) {
                return Err(refused(format!(
                    "cannot enable alias \"{name}\" for \"microk8s\", already enabled for \"{snap}\""
                )));
            }
            if world.snapd.snaps.contains_key(&name) {
                return Err(refused(format!(
                    "cannot enable alias \"{name}\" for \"microk8s\", it conflicts with the command namespace of installed snap \"{name}\""
                )));
            }
            world.snapd.aliases.insert(name.clone(), (MICROK8S.to_owned(), text("app")));
            world.files.link(&format!("/snap/bin/{name}"), &format!("{MICROK8S}.{}", text("app")));
            Ok(None)
        }
        ("POST", "/v2/aliases", "unalias") => {
            free(world)?;
            let name = text("alias");
            if world.snapd.aliases.remove(&name).is_none() {
                return Err(refused(format!("cannot find manual alias \"{name}\" in any snap")));
            }
            world.files.remove(format!("/snap/bin/{name}"));
            Ok(None)
        }
        ("PUT", "/v2/snaps/system/conf", _) => {
            world.snapd.hold = body["refresh.hold"].as_str().map(str::to_owned);
            Ok(None)
        }
        ("POST", path, "abort") if path.starts_with("/v2/changes/") => {
            let now = world.now;
            match &mut world.snapd.change {
                Some(change) if path.ends_with(&format!("/{}", change.id)) => {
                    assert!(matches!(change.what, What::Install(_)), "the modelled snapd undoes installations only");
                    (change.aborted, change.next) = (true, now + s(2));
                    Ok(None)
                }
                _ => Err(refused(format!("cannot abort change {path} with nothing pending"))),
            }
        }
        _ => panic!("the modelled snapd knows no {} {} {body}", change.method, change.path),
    }
}

/// A GET; none = 404.
pub fn get(world: &World, path: &str) -> Result<Option<Value>> {
    let snapd = &world.snapd;
    Ok(match path {
        "/v2/system-info" => Some(json!({"version": snapd.version, "on-classic": true})),
        "/v2/snaps/microk8s" => snapd.snaps.get(MICROK8S).map(|snap| {
            let status = if snap.active { "active" } else { "installed" };
            let mut answer = json!({
                "name": MICROK8S, "status": status, "version": world.era.kubernetes(), "revision": "1",
                "tracking-channel": snap.channel, "confinement": "classic",
                "install-date": format!("installation {}", snapd.installed)});
            if let Some(until) = &snap.hold {
                answer["hold"] = json!(until);
            }
            answer
        }),
        "/v2/changes?select=in-progress&for=microk8s" => Some(Value::from_iter(snapd.change.iter().map(|c| {
            let all = tasks(&c.what);
            let (doing, _) = all[c.stage];
            let status = if c.aborted { "Undoing" } else { "Doing" };
            json!({"id": c.id.to_string(), "kind": kind_of(&c.what), "summary": doing, "status": status, "ready": false,
                "tasks": [{"summary": doing, "status": status, "progress": {"label": "", "done": 1, "total": 1}}]})
        }))),
        "/v2/changes?select=in-progress" => Some(json!([])),
        // It forgets them after a day, and at a boot nothing.
        "/v2/changes?select=ready&for=microk8s" => Some(Value::from_iter(
            snapd.done.iter().map(|(id, kind, at)| json!({"id": id.to_string(), "kind": kind, "status": "Done", "ready-time": cluster::stamp(*at)})),
        )),
        "/v2/snaps/k8s" | "/v2/snaps/snapd" => None,
        "/v2/snaps/core" | "/v2/snaps/core22" => Some(json!({"revision": "x1"})),
        "/v2/snaps/system/conf?keys=seed.loaded" => Some(json!({"seed.loaded": true})),
        "/v2/find?name=microk8s" => {
            assert!(!world.offline, "the store is asked, and there is no network");
            Some(json!([{"name": MICROK8S, "channels": {world.era.channel(): {"version": world.era.kubernetes()}}}]))
        }
        "/v2/aliases" => {
            let mut all = json!({});
            for (name, (snap, app)) in &snapd.aliases {
                all[snap][name] = json!({"command": format!("{snap}.{app}"), "status": "manual", "manual": app});
            }
            Some(all)
        }
        "/v2/apps?names=microk8s&select=service" => snapd.snaps.get(MICROK8S).map(|snap| {
            let running = world.cluster.as_ref().is_some_and(|c| c.running);
            let services = if world.era == Era::Today { SERVICES } else { OLD_SERVICES };
            Value::from_iter(services.iter().map(|(name, runs)| {
                let mut service = json!({"snap": MICROK8S, "name": name, "daemon-scope": "system"});
                if snap.services && snap.active {
                    service["enabled"] = json!(true);
                }
                if running && *runs {
                    service["active"] = json!(true);
                }
                service
            }))
        }),
        "/v2/snaps/system/conf?keys=refresh.hold" => match &snapd.hold {
            Some(until) => Some(json!({"refresh.hold": until})),
            None => {
                let message = "snap \"core\" has no \"refresh.hold\" configuration option";
                return Err(snapd_refusal("option-not-found", message, 400));
            }
        },
        "/v2/snaps/system/conf?keys=homedirs" => {
            let message = "snap \"core\" has no \"homedirs\" configuration option";
            return Err(snapd_refusal("option-not-found", message, 400));
        }
        _ => panic!("the modelled snapd knows no GET {path}"),
    })
}

fn kind_of(what: &What) -> &'static str {
    match what {
        What::Install(_) => "install-snap",
        What::Refresh(_) => "refresh-snap",
        What::Remove => "remove-snap",
        What::Enable => "enable-snap",
        What::Disable => "disable-snap",
    }
}

/// How far the change is, for those who follow it.
pub fn doing(world: &World) -> Option<&'static str> {
    world.snapd.change.as_ref().map(|c| tasks(&c.what)[c.stage].0)
}
