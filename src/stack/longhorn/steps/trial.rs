//! A test volume: a claim, and an unprivileged pod that writes to it and reads back, on a mount that really is Longhorn's.
//! Only this finds a driver whose pods do not write to their volume, a missing module, or multipathd in the way. It is done once: a note in
//! the cluster records it, and the claim is removed again.

use std::{collections::BTreeMap, time::Duration};

use k8s_openapi::{
    api::core::v1::{
        ConfigMap, Container, ExecAction, PersistentVolumeClaim, PersistentVolumeClaimSpec,
        PersistentVolumeClaimVolumeSource, Pod, PodSecurityContext, PodSpec, Probe as PodProbe, Volume, VolumeMount,
        VolumeResourceRequirements,
    },
    apimachinery::pkg::{api::resource::Quantity, apis::meta::v1::ObjectMeta},
};
use serde_json::{Value, json};

use super::{Common, removal};
use crate::{
    config::spec::LONGHORN_CLASS,
    engine::step::{Act, Memo, Memory, Probe, Scope, Step, Undo},
    error::Result,
    host::{Cmd, Host, Watch},
    kube::{
        self,
        longhorn::{Unmet, unmet},
        state,
    },
    stack::longhorn::state::{self as longhorn, Installed, NAMESPACE, TRIAL},
};

/// A group and a user who own nothing yet: the root of the volume must be made theirs.
const GROUP: i64 = 51773;

/// Reasons of events that say why a pod has no volume.
const REASONS: &[&str] = &["FailedAttachVolume", "FailedMount", "FailedScheduling", "ProvisioningFailed"];

/// What iscsiadm prints when no volume can ever be attached, and what to do.
const NEVER: &[(&str, &str)] = &[
    (
        "driver tcp not loaded",
        "`modprobe iscsi_tcp` (on some kernels it is in the package linux-modules-extra-...), then the same command again",
    ),
    (
        "can not connect to iSCSI daemon",
        "`systemctl restart iscsid.socket iscsid`, and see `journalctl -u iscsid`; then the same command again",
    ),
];

/// The two steps: the trial, and its end.
pub(super) fn all(common: &Common) -> Vec<Box<dyn Step>> {
    vec![
        Box::new(TestVolume { common: common.clone() }),
        Box::new(super::trial_end::TestVolumeRemoved { common: common.clone() }),
    ]
}

fn meta() -> ObjectMeta {
    ObjectMeta { name: Some(TRIAL.to_owned()), namespace: Some(NAMESPACE.to_owned()), ..ObjectMeta::default() }
}

fn value(typed: &impl serde::Serialize) -> Value {
    serde_json::to_value(typed).unwrap_or_default()
}

fn claim() -> Value {
    value(&PersistentVolumeClaim {
        metadata: meta(),
        spec: Some(PersistentVolumeClaimSpec {
            access_modes: Some(vec!["ReadWriteOnce".to_owned()]),
            storage_class_name: Some(LONGHORN_CLASS.to_owned()),
            resources: Some(VolumeResourceRequirements {
                requests: Some(BTreeMap::from([("storage".to_owned(), Quantity("128Mi".to_owned()))])),
                limits: None,
            }),
            ..PersistentVolumeClaimSpec::default()
        }),
        status: None,
    })
}

/// The image is the manager's own: the node has it.
fn pod(image: &str) -> Value {
    let words = |words: &[&str]| Some(words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>());
    let script =
        "echo kept > /data/trial && sync && test \"$(cat /data/trial)\" = kept && touch /tmp/read && exec sleep 3600";
    let container = Container {
        name: "trial".to_owned(),
        image: Some(image.to_owned()),
        image_pull_policy: Some("IfNotPresent".to_owned()),
        command: words(&["sh", "-c", script]),
        readiness_probe: Some(PodProbe {
            exec: Some(ExecAction { command: words(&["test", "-e", "/tmp/read"]) }),
            period_seconds: Some(1),
            ..PodProbe::default()
        }),
        volume_mounts: Some(vec![VolumeMount {
            name: "data".to_owned(),
            mount_path: "/data".to_owned(),
            ..VolumeMount::default()
        }]),
        ..Container::default()
    };
    value(&Pod {
        metadata: meta(),
        spec: Some(PodSpec {
            containers: vec![container],
            restart_policy: Some("Never".to_owned()),
            termination_grace_period_seconds: Some(1),
            security_context: Some(PodSecurityContext {
                run_as_user: Some(GROUP),
                run_as_group: Some(GROUP),
                fs_group: Some(GROUP),
                ..PodSecurityContext::default()
            }),
            volumes: Some(vec![Volume {
                name: "data".to_owned(),
                persistent_volume_claim: Some(PersistentVolumeClaimVolumeSource {
                    claim_name: TRIAL.to_owned(),
                    read_only: None,
                }),
                ..Volume::default()
            }]),
            ..PodSpec::default()
        }),
        status: None,
    })
}

/// The note that it was tried out.
pub(super) fn note(common: &Common) -> Value {
    let data = BTreeMap::from([("version".to_owned(), common.version().to_string())]);
    value(&ConfigMap { metadata: meta(), data: Some(data), ..ConfigMap::default() })
}

/// Whether the note is there, for this version.
pub(super) fn is_proven(host: &dyn Host, common: &Common) -> Result<bool> {
    let found = host.get(&kube::CONFIG_MAP, Some(NAMESPACE), TRIAL)?;
    Ok(found.is_some_and(|map| map["data"]["version"] == common.version().to_string()))
}

pub(super) const THEIRS: &str = "not tested: it belongs to somebody else";

/// A volume works.
struct TestVolume {
    common: Common,
}

/// What Longhorn says of a volume for whose replica no disk has room (its constant `ErrorReplicaScheduleInsufficientStorage`).
const NO_ROOM: &str = "insufficient storage";

impl TestVolume {
    /// What a pod that is not ready waits for.
    fn waits(host: &dyn Host, pod: &Value) -> Result<Probe> {
        if pod["status"]["phase"] == "Failed" {
            let log = host
                .api_text(&format!("/api/v1/namespaces/{NAMESPACE}/pods/{TRIAL}/log?tailLines=5"))
                .unwrap_or_default();
            return Ok(Probe::Hopeless {
                why: format!("a pod could not write to a volume of Longhorn's: {}", log.trim()),
                hint: "`iris-mk8s doctor` looks for the cause".to_owned(),
            });
        }
        for volume in longhorn::list(host, "volumes")? {
            let claim = &volume["status"]["kubernetesStatus"];
            if claim["pvcName"] == TRIAL
                && let Some(Unmet::Told(why)) = unmet(&volume["status"], "Scheduled")
                && why.contains(NO_ROOM)
            {
                return Ok(Probe::Hopeless {
                    why: format!("Longhorn has no room for a volume: {why}"),
                    hint: format!("make room on the file system of {}: a quarter of it must stay free", longhorn::DATA),
                });
            }
        }
        let events = host.list(&kube::EVENT, Some(NAMESPACE), "")?;
        let told = events.iter().rfind(|e| {
            e["involvedObject"]["name"] == TRIAL && e["reason"].as_str().is_some_and(|r| REASONS.contains(&r))
        });
        let told = told.and_then(|e| e["message"].as_str());
        if let Some((words, hint)) = NEVER.iter().find(|(words, _)| told.is_some_and(|t| t.contains(words))) {
            return Ok(Probe::Hopeless {
                why: format!("a volume of Longhorn's cannot be attached to this host ({words})"),
                hint: (*hint).to_owned(),
            });
        }
        let trouble = state::pod_trouble(pod).unwrap_or_else(|| "not ready yet".to_owned());
        Ok(Probe::pending(told.map_or(trouble.clone(), |told| format!("{trouble}: {told}"))))
    }

    /// Where its files really are: on the device of the volume, or on the host's own disk.
    fn judge(host: &dyn Host, pod: &Value) -> Result<Probe> {
        let (uid, mounts) = (pod["metadata"]["uid"].as_str().unwrap_or("?"), mounts(host)?);
        let mount = mounts.lines().find(|l| l.contains(uid) && l.contains("kubernetes.io~csi"));
        let source = mount.and_then(|l| l.split_whitespace().next()).unwrap_or("nothing of its own");
        Ok(if source.starts_with("/dev/longhorn/") {
            Probe::satisfied(format!("written and read on {source}"))
        } else {
            Probe::Hopeless {
                why: format!(
                    "the pod's data is not on the Longhorn volume: on the host its mount is {source}, not /dev/longhorn/..."
                ),
                hint: format!(
                    "Longhorn's driver works in another directory than kubelet: it must be {}; `iris-mk8s doctor` looks for the cause",
                    longhorn::KUBELET
                ),
            }
        })
    }
}

fn mounts(host: &dyn Host) -> Result<String> {
    Ok(host.ask(&Cmd::reads(["findmnt", "--noheadings", "--list", "--output", "SOURCE,TARGET"]))?.stdout)
}

impl Step for TestVolume {
    fn id(&self) -> &'static str {
        "longhorn.trial"
    }

    fn recipe(&self) -> Value {
        self.common.recipe()
    }

    fn title(&self) -> String {
        "a test volume on Longhorn works".to_owned()
    }

    fn probe(&self, host: &dyn Host) -> Result<Probe> {
        if Installed::find(host)?.is_some_and(|found| !found.is_ours()) {
            return Ok(Probe::satisfied(THEIRS));
        }
        if is_proven(host, &self.common)? {
            return Ok(Probe::satisfied("was written and read"));
        }
        let claim = host.get(&kube::PERSISTENT_VOLUME_CLAIM, Some(NAMESPACE), TRIAL)?;
        let pod = host.get(&kube::POD, Some(NAMESPACE), TRIAL)?;
        if [&claim, &pod].into_iter().flatten().any(state::going) {
            return Ok(Probe::pending("the trial of before is being deleted"));
        }
        match (claim, pod) {
            (None, None) => Ok(Probe::Absent),
            (Some(_), Some(pod)) if state::is(&pod, "Ready") => Self::judge(host, &pod),
            (Some(_), Some(pod)) => Self::waits(host, &pod),
            (claim, _) => {
                let missing = if claim.is_some() { "its pod" } else { "its claim" };
                Ok(Probe::differs(json!({"missing": missing}), format!("{missing} is missing")))
            }
        }
    }

    fn apply(&self, host: &dyn Host, _: &Probe) -> Result<Vec<Act>> {
        let manifest = self.common.manifest(host)?;
        let image = manifest.as_ref().and_then(|m| m.image()).map(str::to_owned);
        let image = image.unwrap_or_else(|| format!("longhornio/longhorn-manager:{}", self.common.version()));
        Ok([claim(), pod(&image)].into_iter().map(|o| Act::Apply(Box::new(o))).collect())
    }

    fn memo(&self, _: &dyn Host, _: &Probe) -> Result<Memo> {
        Ok(Memo { prior: Value::Null, want: json!({"claim": TRIAL}) })
    }

    fn undo(&self, host: &dyn Host, _: &Memory) -> Result<Undo> {
        if !super::has_cluster(host)? {
            return Ok(Undo::Done);
        }
        removal::reachable(host, end(host)?)
    }

    fn deadline(&self) -> Duration {
        self.common.deadline
    }

    fn watches(&self) -> Vec<Watch> {
        vec![
            Watch::Objects(&kube::POD, Some(NAMESPACE.to_owned())),
            Watch::Objects(&kube::PERSISTENT_VOLUME_CLAIM, Some(NAMESPACE.to_owned())),
        ]
    }

    fn scope(&self) -> Scope {
        Scope::Host
    }
}

pub(super) fn deleted(kind: &'static kube::Kind) -> Act {
    Act::Delete { kind, namespace: Some(NAMESPACE.to_owned()), name: TRIAL.to_owned() }
}

/// What ends the trial: its pod and its claim are deleted. Its volume is then deleted by the provisioner.
pub(super) fn end(host: &dyn Host) -> Result<Undo> {
    let (mut acts, mut goes) = (Vec::new(), None);
    for kind in [&kube::POD, &kube::PERSISTENT_VOLUME_CLAIM] {
        if let Some(found) = host.get(kind, Some(NAMESPACE), TRIAL)? {
            if state::going(&found) {
                goes.get_or_insert_with(|| format!("{} of the trial is being deleted", kind.kind));
            } else {
                acts.push(deleted(kind));
            }
        }
    }
    let volumes = longhorn::volumes(host)?;
    let of_trial =
        |v: &&Value| v["spec"]["claimRef"]["name"] == TRIAL && v["spec"]["claimRef"]["namespace"] == NAMESPACE;
    if let Some(volume) = volumes.iter().find(of_trial) {
        goes.get_or_insert_with(|| format!("volume {} of the trial is being deleted", state::name(volume)));
    }
    Ok(if acts.is_empty() { goes.map_or(Undo::Done, Undo::Pending) } else { Undo::Acts(acts) })
}
