//! Longhorn is ready when it can store data: running pods prove little. Each level has a check of its own that says why it waits, and what
//! cannot heal ends the wait at once.

use serde_json::Value;

use super::Common;
use crate::{
    config::spec,
    engine::{
        check::{Check, Question},
        step::{Probe, Step},
    },
    error::Result,
    host::{Host, Watch},
    kube::{self, Kind, longhorn::unmet, state},
    stack::{
        image,
        longhorn::state::{self as longhorn, DRIVER, Installed, MANAGER, NAMESPACE},
    },
};

/// What the deployer makes, beside itself.
const SIDECARS: [&str; 5] =
    ["longhorn-driver-deployer", "csi-attacher", "csi-provisioner", "csi-resizer", "csi-snapshotter"];

/// What a program says in its log when it will never work: where it is heard, what it means, and what to do.
struct LogPattern {
    words: &'static str,
    means: &'static str,
    hint: &'static str,
}

const SIGNS: &[LogPattern] = &[
    LogPattern {
        words: "failed to get kubelet root dir",
        means: "the driver does not find kubelet's directory",
        hint: "set KUBELET_ROOT_DIR=/var/snap/microk8s/common/var/lib/kubelet on the Deployment longhorn-driver-deployer",
    },
    LogPattern {
        words: "iscsiadm/open-iscsi",
        means: "the host has no iSCSI",
        hint: "run `apt install open-iscsi`, then the same command again",
    },
    LogPattern {
        words: "failed to upgrade since upgrading from",
        means: "an older Longhorn was here, and its data cannot be taken over by this version",
        hint: "name a version nearer to it with --longhorn-version",
    },
];

/// The rungs, in order.
pub(super) fn all(common: &Common) -> Vec<Box<dyn Step>> {
    let pods = || Watch::Objects(&kube::POD, Some(NAMESPACE.to_owned()));
    let of = |kind: &'static Kind| Watch::Objects(kind, Some(NAMESPACE.to_owned()));
    // Longhorn's own objects are watched by looking: their kinds do not exist when the wait begins.
    let look = || Watch::Pause(std::time::Duration::from_millis(700));
    let check = |id, title: &str, watches, question: Question| -> Box<dyn Step> {
        Box::new(Check { id, title: title.to_owned(), question, deadline: common.deadline, watches })
    };
    let of_hooks = common.clone();
    vec![
        check("longhorn.manager", "Longhorn's manager", vec![pods(), of(&kube::DAEMON_SET)], Box::new(manager)),
        check(
            "longhorn.engine-image",
            "its engine image",
            vec![pods(), of(&kube::DAEMON_SET), look()],
            Box::new(engine_image),
        ),
        check("longhorn.instance-manager", "its instance manager", vec![pods(), look()], Box::new(instance_manager)),
        check("longhorn.csi", "its CSI services", vec![pods(), of(&kube::DEPLOYMENT)], Box::new(csi)),
        check(
            "longhorn.driver",
            "kubelet knows its driver",
            vec![pods(), of(&kube::DAEMON_SET), Watch::Objects(&kube::CSI_NODE, None), look()],
            Box::new(driver),
        ),
        check("longhorn.node", "its node and disk take volumes", vec![look()], Box::new(node)),
        check("longhorn.class", "its StorageClass", vec![Watch::Objects(&kube::STORAGE_CLASS, None)], Box::new(class)),
        check(
            "longhorn.webhooks",
            "its webhooks answer",
            vec![look()],
            Box::new(move |host| webhooks(host, &of_hooks)),
        ),
        check("longhorn.ui", "its web page", vec![pods(), of(&kube::DEPLOYMENT)], Box::new(|host| page(host))),
    ]
}

/// Why a workload's pods are not there, or why they never will be.
fn trouble(host: &dyn Host, workload: &Value) -> Result<Probe> {
    let name = state::name(workload);
    let pods = host.list(&kube::POD, Some(NAMESPACE), &state::selector(workload))?;
    if let Some(missing) = pods.iter().find_map(|pod| image::missing(host, pod)) {
        return Ok(Probe::Hopeless {
            why: format!("{name}: the registry does not have its image ({missing})"),
            hint: "see whether the registry or its mirror is the right one; run the same command again when the image is there".to_owned(),
        });
    }
    for pod in &pods {
        if let Some(LogPattern { means, hint, words }) = last_words(host, pod) {
            return Ok(Probe::Hopeless {
                why: format!("pod {}: {means} (its log says: {words})", state::name(pod)),
                hint: (*hint).to_owned(),
            });
        }
    }
    let why =
        pods.iter().find_map(|pod| image::trouble(host, pod)).unwrap_or_else(|| "its pods are not made yet".to_owned());
    Ok(Probe::pending(format!("{name}: {why}")))
}

/// What the pods of a workload said that means that it will never work: what it means, and what to do.
pub(crate) fn sign_of(host: &dyn Host, kind: &str, name: &str) -> Option<(&'static str, &'static str)> {
    let kind = if kind == "DaemonSet" { &kube::DAEMON_SET } else { &kube::DEPLOYMENT };
    let workload = host.get(kind, Some(NAMESPACE), name).ok().flatten()?;
    let pods = host.list(&kube::POD, Some(NAMESPACE), &state::selector(&workload)).ok()?;
    pods.iter().find_map(|pod| last_words(host, pod)).map(|sign| (sign.means, sign.hint))
}

/// What a container that ended said.
fn last_words(host: &dyn Host, pod: &Value) -> Option<&'static LogPattern> {
    let containers = pod["status"]["containerStatuses"].as_array()?;
    for container in containers {
        let ended = container["state"]["terminated"].is_object() || container["lastState"]["terminated"].is_object();
        if !ended || container["ready"] == true {
            continue;
        }
        let name = container["name"].as_str().unwrap_or_default();
        for previous in ["", "&previous=true"] {
            let path = format!(
                "/api/v1/namespaces/{NAMESPACE}/pods/{}/log?container={name}&tailLines=50{previous}",
                state::name(pod)
            );
            // There may be no log (yet): the next look will have it.
            let log = host.api_text(&path).unwrap_or_default();
            if let Some(sign) = SIGNS.iter().find(|sign| log.contains(sign.words)) {
                return Some(sign);
            }
        }
    }
    None
}

/// A Deployment or DaemonSet of Longhorn's; satisfied when it is rolled out.
fn workload(host: &dyn Host, kind: &'static Kind, name: &str) -> Result<Probe> {
    let Some(found) = host.get(kind, Some(NAMESPACE), name)? else {
        return Ok(Probe::pending(format!("there is no {} {name} yet", kind.kind)));
    };
    if state::rolled_out(&found) { Ok(Probe::satisfied("runs")) } else { trouble(host, &found) }
}

fn manager(host: &dyn Host) -> Result<Probe> {
    workload(host, &kube::DAEMON_SET, MANAGER)
}

fn engine_image(host: &dyn Host) -> Result<Probe> {
    let images = longhorn::list(host, "engineimages")?;
    if images.is_empty() {
        return Ok(Probe::pending("the manager has not made it yet"));
    }
    if let Some(image) = images.iter().find(|i| i["status"]["state"] == "deployed") {
        return Ok(Probe::satisfied(image["spec"]["image"].as_str().unwrap_or_default()));
    }
    let sets = host.list(&kube::DAEMON_SET, Some(NAMESPACE), "")?;
    match sets.iter().find(|s| state::name(s).starts_with("engine-image-") && !state::rolled_out(s)) {
        Some(set) => trouble(host, set),
        None => {
            Ok(Probe::pending(format!("it is {}", images[0]["status"]["state"].as_str().unwrap_or("not deployed yet"))))
        }
    }
}

fn instance_manager(host: &dyn Host) -> Result<Probe> {
    let managers = longhorn::list(host, "instancemanagers")?;
    let waits = managers.iter().find(|m| m["status"]["currentState"] != "running");
    Ok(match (managers.len(), waits) {
        (0, _) => Probe::pending("the manager has not made it yet"),
        (n, None) => Probe::satisfied(format!("{n} running")),
        (_, Some(m)) => {
            let name = state::name(m);
            if let Some(pod) = host.get(&kube::POD, Some(NAMESPACE), name)?
                && let Some(missing) = image::missing(host, &pod)
            {
                return Ok(Probe::Hopeless {
                    why: format!("{name}: the registry does not have its image ({missing})"),
                    hint: "see whether the registry or its mirror is the right one".to_owned(),
                });
            }
            Probe::pending(format!("{name} is {}", m["status"]["currentState"].as_str().unwrap_or("not there yet")))
        }
    })
}

fn csi(host: &dyn Host) -> Result<Probe> {
    for name in SIDECARS {
        let found = workload(host, &kube::DEPLOYMENT, name)?;
        if !matches!(found, Probe::Satisfied { .. }) {
            return Ok(found);
        }
    }
    Ok(Probe::satisfied(format!("{} of them run", SIDECARS.len())))
}

fn driver(host: &dyn Host) -> Result<Probe> {
    let plugin = workload(host, &kube::DAEMON_SET, "longhorn-csi-plugin")?;
    if !matches!(plugin, Probe::Satisfied { .. }) {
        return Ok(plugin);
    }
    if host.get(&kube::CSI_DRIVER, None, DRIVER)?.is_none() {
        return Ok(Probe::pending(format!("there is no CSIDriver {DRIVER} yet")));
    }
    let nodes = host.list(&kube::CSI_NODE, None, "")?;
    let knows =
        |node: &Value| node["spec"]["drivers"].as_array().is_some_and(|d| d.iter().any(|d| d["name"] == DRIVER));
    Ok(match nodes.iter().find(|n| !knows(n)) {
        None if !nodes.is_empty() => Probe::satisfied(DRIVER),
        _ => Probe::pending("kubelet has not heard of it: it registers with a socket in kubelet's directory"),
    })
}

fn node(host: &dyn Host) -> Result<Probe> {
    let nodes = longhorn::list(host, "nodes")?;
    let Some(node) = nodes.first() else { return Ok(Probe::pending("the manager has not made it yet")) };
    for condition in ["Ready", "Schedulable"] {
        if let Some(why) = unmet(&node["status"], condition) {
            return Ok(Probe::pending(format!("node {}: {why}", state::name(node))));
        }
    }
    let disks = node["status"]["diskStatus"].as_object();
    let mut why = "it has no disk yet".to_owned();
    for (name, disk) in disks.into_iter().flatten() {
        match ["Ready", "Schedulable"].iter().find_map(|c| unmet(disk, c)) {
            None => return Ok(Probe::satisfied(format!("disk {name}"))),
            Some(unmet) => why = format!("disk {name}: {unmet}"),
        }
    }
    Ok(Probe::pending(format!("node {}: {why}", state::name(node))))
}

fn class(host: &dyn Host) -> Result<Probe> {
    let name = spec::LONGHORN_CLASS;
    let Some(class) = host.get(&kube::STORAGE_CLASS, None, name)? else {
        return Ok(Probe::pending("the manager has not made it yet"));
    };
    let provisioner = class["provisioner"].as_str().unwrap_or("?");
    if provisioner != DRIVER {
        return Ok(Probe::Refused {
            why: format!("the StorageClass {name} is not Longhorn's: its provisioner is {provisioner}"),
            hint: "rename or delete that class; the manager makes its own".to_owned(),
        });
    }
    let replicas = class["parameters"]["numberOfReplicas"].as_str().unwrap_or("?");
    let default = class["metadata"]["annotations"]["storageclass.kubernetes.io/is-default-class"] == "true";
    if super::foreign(host)?.is_some() {
        let warning = format!("the class {name} makes {replicas} replicas: on one node its volumes stay degraded");
        let warnings = if replicas == "1" { Vec::new() } else { vec![warning] };
        return Ok(Probe::Satisfied { note: format!("{replicas} replicas"), warnings });
    }
    // The manager makes the class anew when its ConfigMap says so.
    Ok(if replicas != "1" {
        Probe::pending(format!("it still asks for {replicas} replicas"))
    } else if default {
        Probe::pending("it is still a default class")
    } else {
        Probe::satisfied("1 replica, not the default class")
    })
}

fn webhooks(host: &dyn Host, common: &Common) -> Result<Probe> {
    let version = Installed::find(host)?.and_then(|found| found.version()).unwrap_or_else(|| common.version());
    if !version.has_webhooks() {
        return Ok(Probe::satisfied(format!("{version} has none")));
    }
    for (kind, name) in longhorn::WEBHOOKS {
        if host.get(kind, None, name)?.is_none() {
            return Ok(Probe::pending(format!("{name} is not registered yet")));
        }
    }
    let service = "longhorn-admission-webhook";
    let endpoints = host.get(&kube::ENDPOINTS, Some(NAMESPACE), service)?.unwrap_or_default();
    let answers = endpoints["subsets"].as_array().is_some_and(|s| s.iter().any(|s| s["addresses"].is_array()));
    Ok(if answers {
        Probe::satisfied("registered")
    } else {
        Probe::pending(format!("service {service} has no endpoints yet"))
    })
}

fn page(host: &dyn Host) -> Result<Probe> {
    workload(host, &kube::DEPLOYMENT, "longhorn-ui")
}
