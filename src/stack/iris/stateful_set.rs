//! The StatefulSet of IRIS, typed from the spec.

use std::{collections::BTreeMap, time::Duration};

use k8s_openapi::{
    api::{
        apps::v1::{StatefulSet, StatefulSetSpec},
        core::v1::{
            Container, ContainerPort, EnvVar, ExecAction, HTTPGetAction, PersistentVolumeClaim,
            PersistentVolumeClaimSpec, PodSecurityContext, PodSpec, PodTemplateSpec, Probe as PodProbe,
            ResourceRequirements, SecretVolumeSource, SecurityContext, Volume, VolumeMount, VolumeResourceRequirements,
        },
    },
    apimachinery::pkg::{
        api::resource::Quantity,
        apis::meta::v1::{LabelSelector, ObjectMeta},
        util::intstr::IntOrString,
    },
};
use serde_json::{Value, json};

use super::{
    meta::{labels, meta, object, own_labels},
    state::Labelled,
};
use crate::{
    config::{cpf::essence, image_name::is_asked_for_at_each_start, spec::Iris},
    host::digest,
    kube::{self, MANAGER},
    stack::{
        iris::names::{DATA, DURABLE, MGR, MOUNTS, SET, WEB},
        object::Object,
    },
};

/// The superserver.
pub(super) const SUPERSERVER: i32 = 1972;

const CPF: (&str, &str) = ("iris-cpf", "/irissys/cpf/");

pub(super) const MERGE: &str = "merge.cpf";

/// User of IRIS' processes.
const USER: i64 = 51773;

/// IRIS itself gives its shutdown 300 s; an idle instance is down in a few.
const GRACE: i64 = 120;

/// The first start clones the system database; a recovery after a power cut takes longer. 5 minutes at one look every 2 s.
const START_LOOKS: i32 = 150;

/// The step of the StatefulSet, with what somebody else's must have to serve as well.
pub(crate) fn set_object(iris: &Iris, essential: Value, deadline: Duration) -> Object {
    let made = Object::new(SET, &kube::STATEFUL_SET, stateful_set_of(iris), essential);
    Object { deadline, labelled: Some(Labelled::new(iris)), ..made }
}

/// The StatefulSet as it is applied.
pub fn stateful_set_of(iris: &Iris) -> Value {
    object(&stateful_set(iris))
}

fn stateful_set(iris: &Iris) -> StatefulSet {
    let template = |name: &str| PersistentVolumeClaim {
        metadata: ObjectMeta { name: Some(name.to_owned()), labels: Some(labels(iris)), ..ObjectMeta::default() },
        spec: Some(claim_spec(iris, name)),
        ..PersistentVolumeClaim::default()
    };
    // Memory settings of the CPF take effect only at a start: a CPF that says something else makes new pods.
    let digest: String = digest::sha256(essence(&iris.cpf))[..16].to_owned();
    StatefulSet {
        metadata: meta(iris, &iris.name),
        spec: Some(StatefulSetSpec {
            replicas: i32::try_from(iris.replicas).ok(),
            service_name: Some(iris.service.clone()),
            // The instances know nothing of each other: none has to wait for another one.
            pod_management_policy: Some("Parallel".to_owned()),
            selector: LabelSelector { match_labels: Some(labels(iris)), match_expressions: None },
            template: PodTemplateSpec {
                metadata: Some(ObjectMeta {
                    labels: Some(own_labels(iris)),
                    annotations: Some(BTreeMap::from([(format!("{MANAGER}/cpf"), digest)])),
                    ..ObjectMeta::default()
                }),
                spec: Some(pod(iris)),
            },
            volume_claim_templates: Some(vec![template(MGR.0), template(DATA.0)]),
            ..StatefulSetSpec::default()
        }),
        status: None,
    }
}

/// What a pod is made of.
fn pod(iris: &Iris) -> PodSpec {
    PodSpec {
        security_context: Some(PodSecurityContext {
            fs_group: Some(group_of(&iris.image)),
            ..PodSecurityContext::default()
        }),
        termination_grace_period_seconds: Some(GRACE),
        init_containers: Some(vec![owner(iris)]),
        containers: vec![container(iris)],
        volumes: Some(vec![Volume {
            name: CPF.0.to_owned(),
            secret: Some(SecretVolumeSource { secret_name: Some(cpf_name(iris)), ..SecretVolumeSource::default() }),
            ..Volume::default()
        }]),
        ..PodSpec::default()
    }
}

/// The container of IRIS.
fn container(iris: &Iris) -> Container {
    let env =
        |name: &str, value: &str| EnvVar { name: name.to_owned(), value: Some(value.to_owned()), value_from: None };
    let mut environment =
        vec![env("ISC_CPF_MERGE_FILE", &format!("{}{MERGE}", CPF.1)), env("ISC_DATA_DIRECTORY", DURABLE)];
    environment.extend(iris.time_zone.as_ref().map(|zone| env("TZ", zone)));
    let container_port = |name: &str, number| ContainerPort {
        container_port: number,
        name: Some(name.to_owned()),
        protocol: Some("TCP".to_owned()),
        ..ContainerPort::default()
    };
    let quantity = |cpu: Option<&str>, memory: &str| {
        let cpu = cpu.map(|c| ("cpu".to_owned(), Quantity(c.to_owned())));
        cpu.into_iter().chain([("memory".to_owned(), Quantity(memory.to_owned()))]).collect::<BTreeMap<_, _>>()
    };
    Container {
        name: "iris".to_owned(),
        image: Some(iris.image.clone()),
        image_pull_policy: Some(pull_policy(&iris.image).to_owned()),
        env: Some(environment),
        ports: Some(vec![container_port("superserver", SUPERSERVER), container_port("http", WEB)]),
        resources: Some(ResourceRequirements {
            requests: Some(quantity(Some(&iris.cpu_request), &iris.memory_request)),
            limits: Some(quantity(None, &iris.memory_limit)),
            claims: None,
        }),
        startup_probe: Some(startup()),
        readiness_probe: Some(readiness()),
        volume_mounts: Some(vec![mount(CPF), mount(MGR), mount(DATA)]),
        ..Container::default()
    }
}

/// Whether IRIS has started. It costs no licence unit.
fn startup() -> PodProbe {
    // `qlist` names the instance's state in its fourth field; its ninth one is of no use
    // here, since it warns for half an hour after a power cut although IRIS works.
    let running = "iris qlist IRIS | cut -d^ -f4 | grep -q ^running".to_owned();
    PodProbe {
        exec: Some(ExecAction { command: Some(vec!["/bin/sh".to_owned(), "-c".to_owned(), running]) }),
        period_seconds: Some(2),
        timeout_seconds: Some(5),
        failure_threshold: Some(START_LOOKS),
        ..PodProbe::default()
    }
}

/// Whether IRIS answers. It costs no licence unit.
fn readiness() -> PodProbe {
    PodProbe {
        http_get: Some(HTTPGetAction {
            path: Some("/api/monitor/metrics".to_owned()),
            port: IntOrString::Int(WEB),
            ..HTTPGetAction::default()
        }),
        period_seconds: Some(5),
        timeout_seconds: Some(5),
        failure_threshold: Some(3),
        ..PodProbe::default()
    }
}

/// Gives the volumes to IRIS' user, before it starts. Some kinds come as root's, and fsGroup does not reach those that are directories
/// of the host. Where even root may not, IRIS itself says what is wrong.
fn owner(iris: &Iris) -> Container {
    let give = format!("chown {USER}:{} {} || true", group_of(&iris.image), MOUNTS.join(" "));
    Container {
        name: "volumes".to_owned(),
        image: Some(iris.image.clone()),
        image_pull_policy: Some(pull_policy(&iris.image).to_owned()),
        command: Some(vec!["/bin/sh".to_owned(), "-c".to_owned(), give]),
        security_context: Some(SecurityContext { run_as_user: Some(0), ..SecurityContext::default() }),
        volume_mounts: Some(vec![mount(MGR), mount(DATA)]),
        ..Container::default()
    }
}

fn mount((name, path): (&str, &str)) -> VolumeMount {
    VolumeMount { name: name.to_owned(), mount_path: path.to_owned(), ..VolumeMount::default() }
}

/// Group of IRIS' processes: irisowner from 2021.2 on, irisuser before. A tag that does not begin with a year is of today.
fn group_of(image: &str) -> i64 {
    let tag = image.rsplit('/').next().and_then(|last| last.split_once(':')).map_or("", |(_, tag)| tag);
    let mut numbers = tag.split(['.', '-', '@']).map(|n| n.parse::<u32>().unwrap_or(u32::MAX));
    let release = (numbers.next().unwrap_or(u32::MAX), numbers.next().unwrap_or(0));
    if release < (2021, 2) { 52773 } else { 51773 }
}

fn pull_policy(image: &str) -> &'static str {
    if is_asked_for_at_each_start(image) { "Always" } else { "IfNotPresent" }
}

pub(super) fn claim_spec(iris: &Iris, claim: &str) -> PersistentVolumeClaimSpec {
    let size = if claim == MGR.0 { &iris.mgr_size } else { &iris.data_size };
    PersistentVolumeClaimSpec {
        access_modes: Some(vec!["ReadWriteOnce".to_owned()]),
        storage_class_name: iris.storage_class.clone(),
        resources: Some(VolumeResourceRequirements {
            requests: Some(BTreeMap::from([("storage".to_owned(), Quantity(size.clone()))])),
            limits: None,
        }),
        ..PersistentVolumeClaimSpec::default()
    }
}

pub(super) fn cpf_name(iris: &Iris) -> String {
    format!("{}-merge-cpf", iris.service)
}

/// What somebody else's StatefulSet must have to be the database that the spec asks for. Probes, resources and where its CPF comes
/// from are theirs to choose; whether the CPF's databases are there is asked in the end.
pub(super) fn essential(set: &Value) -> Value {
    let spec = &set["spec"];
    let container = &spec["template"]["spec"]["containers"][0];
    let environment: Vec<&Value> =
        container["env"].as_array().into_iter().flatten().filter(|e| e["name"] == "ISC_DATA_DIRECTORY").collect();
    let mounts: Vec<&Value> =
        container["volumeMounts"].as_array().into_iter().flatten().filter(|m| m["name"] != CPF.0).collect();
    let templates: Vec<Value> = spec["volumeClaimTemplates"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|template| json!({"metadata": {"name": template["metadata"]["name"]}, "spec": template["spec"]}))
        .collect();
    json!({"spec": {
        "replicas": spec["replicas"],
        "serviceName": spec["serviceName"],
        "selector": spec["selector"],
        "template": {"spec": {"containers": [{"name": "iris", "image": container["image"], "env": environment, "volumeMounts": mounts}]}},
        "volumeClaimTemplates": templates,
    }})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_group_is_that_of_the_release() {
        for (image, group) in [
            ("intersystems/iris-community:2021.1.0.215.3", 52773),
            ("intersystems/iris-community:2020.4.0.524.0", 52773),
            ("intersystems/iris-community:2021.2.0.649.0", 51773),
            ("intersystemsdc/iris-community:2022.1.0.209.0-zpm", 51773),
            ("localhost:32000/simple", 51773),
            ("intersystems/iris-community:latest-em", 51773),
        ] {
            assert_eq!(group_of(image), group, "{image}");
        }
    }

    /// A command in the place of the image's own would be the first process, and nobody would end IRIS in order.
    #[test]
    fn the_image_starts_iris_itself() {
        let set = object(&stateful_set(&crate::config::spec::example().iris));
        let pod = &set["spec"]["template"]["spec"];
        assert!(pod["containers"][0]["command"].is_null(), "{pod}");
        assert!(
            pod["initContainers"][0]["command"][2]
                .as_str()
                .is_some_and(|c| c.contains("51773:51773 /iris-mgr /vol-data"))
        );
    }

    #[test]
    fn tags_that_move_are_pulled_always() {
        for (image, policy) in [
            ("intersystems/iris-community:latest-em", "Always"),
            ("intersystems/iris-community", "Always"),
            ("localhost:32000/simple", "Always"),
            ("localhost:32000/simple:1.0", "IfNotPresent"),
            ("intersystems/iris-community:2026.1", "IfNotPresent"),
            ("intersystems/iris-community:latest-em@sha256:00", "IfNotPresent"),
        ] {
            assert_eq!(pull_policy(image), policy, "{image}");
        }
    }
}
