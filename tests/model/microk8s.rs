//! The modelled `microk8s`: enable, disable, start, stop, with what they do not tell. Each stage is a moment at which a run may die
//! while the command goes on, or ends at its next line because nobody hears it.

use std::time::Duration;

use iris_mk8s::kube::{self as kinds, state};
use serde_json::Value;

use super::{
    cluster::{Cluster, key, key_of, services_start, services_stop},
    manifests,
    process::{Go, Process},
    world::{Era, World, ms, s},
};

pub const STOPPED: &str = "/var/snap/microk8s/current/var/lock/stopped.lock";
pub const LAUNCH: &str = "/var/snap/microk8s/common/etc/launcher/install.yaml";
const KUBELET: &str = "/var/snap/microk8s/current/args/kubelet";
const STORAGE: &str = "/var/snap/microk8s/common/default-storage";
const KUBECTL: &str = "kubectl-client-side-apply";

const NOT_RUNNING: &str = "microk8s is not running, try microk8s start";

/// Lets a command go on by one stage.
pub fn go_on(world: &mut World, group: i32) {
    let Some(mut process) = world.processes.remove(&group) else { return };
    let argv = process.argv.clone();
    let go = match argv.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        _ if world.cluster.is_none() => Go::End(127),
        ["microk8s" | "cluster-agent", "enable", what] => enable(world, &mut process, what),
        ["microk8s", "disable", what] => disable(world, &mut process, what),
        ["microk8s", "kubectl", "replace", "--raw", path, "-f", "-"] => finalized(world, path),
        ["microk8s", "kubectl", "delete", "pod", "--namespace", namespace, pod, "--force", ..] => {
            forced(world, namespace, pod)
        }
        ["microk8s", "start"] => start(world, &mut process),
        ["microk8s", "stop"] => stop(world, &mut process),
        other => panic!("the modelled host knows no command {other:?}"),
    };
    if process.unheard && !process.lines.is_empty() {
        return;
    }
    match go {
        Go::After(time) => {
            process.stage += 1;
            process.until = None;
            process.next = world.now + time;
        }
        Go::Again(time) => process.next = world.now + time,
        Go::End(code) => {
            // What became of the addon's script is nobody's concern in 1.20.
            let of_script = world.era == Era::Old && process.stage >= SCRIPT && argv.len() == 3;
            process.code = Some(if of_script { 0 } else { code });
            process.lock = false;
            if process.argv[0] == "cluster-agent" {
                world.files.remove(LAUNCH);
                world.files.write(&format!("{LAUNCH}.applied"), "");
                return;
            }
        }
    }
    world.processes.insert(group, process);
}

/// The stage with which an addon's script begins.
const SCRIPT: usize = 4;

fn name_of(what: &str) -> &str {
    let name = what.split(':').next().unwrap_or_default();
    if name == "storage" { "hostpath-storage" } else { name }
}

/// The addon's name as the command was given it.
fn called(process: &Process) -> &str {
    process.argv[2].split(':').next().unwrap_or_default()
}

/// MicroK8s' word for it: some object of that name exists, a pod that stops as well.
pub fn is_enabled(cluster: &Cluster, addon: &str) -> bool {
    let pod = |prefix: &str| cluster.of(&kinds::POD).any(|p| state::name(p).starts_with(prefix));
    let deployment = |name: &str| cluster.of(&kinds::DEPLOYMENT).any(|d| state::name(d).starts_with(name));
    match addon {
        "storage" if cluster.era == Era::Old => pod("hostpath-provisioner"),
        "hostpath-storage" if cluster.era == Era::Old => false,
        "registry" if cluster.era == Era::Old => pod("registry"),
        "dns" => pod("coredns"),
        "hostpath-storage" | "storage" => deployment("hostpath-provisioner"),
        "registry" => deployment("registry"),
        "metallb" => pod("speaker"),
        _ => false,
    }
}

fn known(addon: &str) -> bool {
    matches!(addon, "dns" | "hostpath-storage" | "registry" | "metallb")
}

/// What comes before every enable and disable; then how far the script itself is.
fn before(world: &mut World, process: &mut Process, addon: &str) -> Result<usize, Go> {
    let now = world.now;
    match process.stage {
        0 if world.files.has(STOPPED) => {
            process.say(NOT_RUNNING);
            Err(Go::End(1))
        }
        0 if !known(addon) && world.era == Era::Today => {
            process.say(format!("Addon {addon} was not found in any repository"));
            Err(Go::End(1))
        }
        0 => Err(Go::After(ms(300))),
        // A lock that another one holds is waited for without a word.
        1 if world.era == Era::Old => Err(Go::After(Duration::ZERO)),
        1 if world.processes.values().any(|p| p.lock) => Err(Go::Again(ms(500))),
        1 => {
            process.lock = true;
            Err(Go::After(Duration::ZERO))
        }
        // Whether it becomes ready is of no consequence.
        2 => {
            let until = *process.until.get_or_insert(now + s(30));
            let ready = world.api().is_some_and(|c| node_ready(c));
            Err(if ready || now >= until { Go::After(ms(300)) } else { Go::Again(s(1)) })
        }
        3 => match world.api().map(|c| is_enabled(c, called(process))) {
            None => {
                process.say("subprocess.CalledProcessError: kubectl get all returned non-zero exit status 1");
                Err(Go::End(1))
            }
            Some(_) if !known(addon) => {
                process.say(format!("Nothing to do for `{addon}`."));
                Err(Go::End(1))
            }
            Some(enabled) => {
                let enable = process.argv[1] == "enable";
                if enabled == enable {
                    process.say(format!("Addon core/{addon} is already {}d", process.argv[1]));
                    Err(Go::End(0))
                } else {
                    Err(Go::After(ms(100)))
                }
            }
        },
        stage => Ok(stage - SCRIPT),
    }
}

pub fn node_ready(cluster: &Cluster) -> bool {
    cluster.of(&kinds::NODE).any(|n| state::is(n, "Ready"))
}

/// `kubectl apply` of one object of a manifest.
fn apply(world: &mut World, process: &mut Process, object: &Value) -> Go {
    let now = world.now;
    let Some(cluster) = world.api() else {
        process.say("The connection to the server 127.0.0.1:16443 was refused");
        return Go::End(1);
    };
    match cluster.apply(object, KUBECTL, false, now) {
        Ok(_) => {
            process.say(format!("{} created", state::name(object)));
            Go::After(ms(60))
        }
        Err(e) => {
            process.say(e.cause.unwrap_or_default());
            Go::End(1)
        }
    }
}

fn enable(world: &mut World, process: &mut Process, what: &str) -> Go {
    let addon = name_of(what);
    let stage = match before(world, process, addon) {
        Ok(stage) => stage,
        Err(go) => return go,
    };
    let era = world.era;
    let mut objects = match addon {
        "dns" => manifests::dns(era),
        "hostpath-storage" => manifests::storage(era),
        "registry" => manifests::storage(era).into_iter().chain(manifests::registry(era)).collect(),
        _ if era == Era::Old => manifests::old_metallb(&addresses(what)),
        _ => manifests::metallb(),
    };
    match (addon, stage) {
        (_, 0) => {
            process.say(format!("Enabling {addon}"));
            match addon {
                "hostpath-storage" | "registry" => world.files.dir(STORAGE),
                "metallb" => {
                    if let Some(cluster) = world.api() {
                        if era == Era::Today {
                            cluster.put(manifests::crd());
                        } else if cluster.find(&kinds::NAMESPACE, "", "metallb-system").is_some() {
                            process.say("MetalLB already enabled.");
                            return Go::End(0);
                        }
                    }
                }
                _ => {}
            }
            Go::After(ms(200))
        }
        (_, n) if n <= objects.len() => apply(world, process, &objects.swap_remove(n - 1)),
        ("dns", n) => match n - objects.len() {
            1 => Go::After(s(5)),
            _ => {
                let args = world.files.text(KUBELET);
                if !args.contains("--cluster-dns") {
                    world.files.write(KUBELET, format!("{args}--cluster-dns=10.152.183.10\n"));
                    process.say("Restarting kubelet");
                    kubelet_restarts(world);
                }
                process.say("DNS is enabled");
                Go::End(0)
            }
        },
        ("metallb", n) if era == Era::Today => metallb_pool(world, process, what, n - objects.len()),
        _ => Go::End(0),
    }
}

/// Kubelet is started anew; today it is one program with the API server.
fn kubelet_restarts(world: &mut World) {
    let now = world.now;
    if let Some(cluster) = world.cluster.as_mut().filter(|c| c.era == Era::Today) {
        cluster.restart(now);
    }
}

fn addresses(what: &str) -> Vec<&str> {
    what.split_once(':').map(|(_, ranges)| ranges.split(',').collect()).unwrap_or_default()
}

/// The end of `enable metallb`: two loops without an end.
fn metallb_pool(world: &mut World, process: &mut Process, what: &str, stage: usize) -> Go {
    let addresses = addresses(what);
    let now = world.now;
    let object = match stage {
        1 => {
            if let Some(cluster) = world.api() {
                cluster.webhook = true;
                cluster.look_at(now);
            }
            return Go::After(ms(100));
        }
        2 => {
            let controller = world.api().and_then(|c| c.find(&kinds::DEPLOYMENT, "metallb-system", "controller"));
            return if controller.is_some_and(state::rolled_out) { Go::After(ms(300)) } else { Go::Again(s(1)) };
        }
        3 => manifests::pool("default-addresspool", &addresses),
        4 => manifests::advertisement("default-advertise-all-pools"),
        _ => {
            process.say("MetalLB is enabled");
            return Go::End(0);
        }
    };
    match apply(world, process, &object) {
        Go::End(_) => {
            process.say("Failed to create default address pool, will retry");
            Go::Again(s(1))
        }
        go => go,
    }
}

/// `kubectl delete` of an object; with the time until it is gone, where the script waits for that.
fn delete(world: &mut World, object: &Value, wait: bool) -> Go {
    let now = world.now;
    let Some(cluster) = world.api() else { return Go::End(1) };
    let (_, key) = key_of(object);
    let Some(there) = cluster.get(&key) else { return Go::After(ms(60)) };
    if !state::going(there) {
        cluster.delete(&key, now);
    }
    if wait && cluster.get(&key).is_some() { Go::Again(ms(500)) } else { Go::After(ms(60)) }
}

fn disable(world: &mut World, process: &mut Process, what: &str) -> Go {
    let addon = name_of(what);
    let stage = match before(world, process, addon) {
        Ok(stage) => stage,
        Err(go) => return go,
    };
    if stage == 0 {
        process.say(format!("Disabling {addon}"));
        return Go::After(ms(200));
    }
    let era = world.era;
    match (addon, stage) {
        ("dns", 1) => delete(world, &manifests::dns(era)[0], true),
        ("dns", 2) => delete(world, &manifests::dns(era)[1], false),
        ("dns", 3) => Go::After(s(15)),
        ("dns", 4) => {
            let kept = world
                .files
                .text(KUBELET)
                .lines()
                .filter(|l| !l.starts_with("--cluster-dns"))
                .map(|l| format!("{l}\n"))
                .collect::<String>();
            world.files.write(KUBELET, kept);
            kubelet_restarts(world);
            Go::After(s(15))
        }
        ("hostpath-storage", 1) => delete(world, &manifests::storage(era)[0], true),
        ("hostpath-storage", 2) => delete(world, &manifests::storage(era)[1], false),
        ("hostpath-storage", 3) => Go::After(s(5)),
        // It asks whether the data may go, and hears nothing.
        ("hostpath-storage", _) => Go::End(1),
        ("registry", 1) => delete(world, &manifests::namespace("container-registry"), true),
        ("metallb", 1 | 2) if era == Era::Today => {
            let Some(cluster) = world.api() else { return Go::End(1) };
            cluster.webhook = false;
            if process.stage == 6 {
                cluster.drop_object(&key_of(&manifests::crd()).1);
                let pools: Vec<Value> =
                    cluster.of(&kinds::IP_ADDRESS_POOL).chain(cluster.of(&kinds::L2_ADVERTISEMENT)).cloned().collect();
                pools.iter().for_each(|p| cluster.drop_object(&key_of(p).1));
            }
            Go::After(ms(300))
        }
        ("metallb", 1..=3) => delete(world, &manifests::namespace("metallb-system"), true),
        _ => {
            process.say(format!("{addon} is disabled"));
            Go::End(0)
        }
    }
}

/// A namespace is let go, whatever is in it.
fn finalized(world: &mut World, path: &str) -> Go {
    let name = path.strip_prefix("/api/v1/namespaces/").and_then(|p| p.strip_suffix("/finalize")).expect("a namespace");
    if let Some(cluster) = world.api() {
        cluster.drop_object(&key(&kinds::NAMESPACE, "", name));
    }
    Go::End(0)
}

fn forced(world: &mut World, namespace: &str, pod: &str) -> Go {
    if let Some(cluster) = world.api() {
        cluster.drop_object(&key(&kinds::POD, namespace, pod));
    }
    Go::End(0)
}

fn set_services(world: &mut World, at_boot: bool) {
    if let Some(snap) = world.snapd.snaps.get_mut("microk8s") {
        snap.services = at_boot;
    }
}

fn start(world: &mut World, process: &mut Process) -> Go {
    let now = world.now;
    match process.stage {
        0 => Go::After(ms(300)),
        1 => {
            set_services(world, true);
            services_start(world);
            Go::After(s(2))
        }
        2 => {
            world.files.remove(STOPPED);
            Go::After(ms(100))
        }
        _ => {
            let until = *process.until.get_or_insert(now + s(60));
            let ready = world.api().is_some_and(|c| node_ready(c));
            if ready || now >= until { Go::End(0) } else { Go::Again(s(1)) }
        }
    }
}

fn stop(world: &mut World, process: &mut Process) -> Go {
    match process.stage {
        0 => Go::After(ms(300)),
        1 => {
            services_stop(world);
            Go::After(s(3))
        }
        2 => {
            set_services(world, false);
            process.say("Stopped.");
            Go::After(s(1))
        }
        _ => {
            world.files.write(STOPPED, "");
            process.say("Stopped.");
            Go::End(0)
        }
    }
}
