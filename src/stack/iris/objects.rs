//! IRIS as objects of the cluster: claims, CPF, services, StatefulSet, typed from the spec.

use std::{collections::BTreeMap, time::Duration};

use k8s_openapi::{
    ByteString,
    api::{
        apps::v1::{StatefulSet, StatefulSetSpec},
        core::v1::{
            ClientIPConfig, Container, ContainerPort, EnvVar, ExecAction, HTTPGetAction, PersistentVolumeClaim,
            PersistentVolumeClaimSpec, PodSecurityContext, PodSpec, PodTemplateSpec, Probe as PodProbe,
            ResourceRequirements, Secret, SecretVolumeSource, SecurityContext, Service, ServicePort, ServiceSpec,
            SessionAffinityConfig, Volume, VolumeMount, VolumeResourceRequirements,
        },
    },
    apimachinery::pkg::{
        api::resource::Quantity,
        apis::meta::v1::{LabelSelector, ObjectMeta},
        util::intstr::IntOrString,
    },
};
use serde::Serialize;
use serde_json::{Value, json};

use super::{
    bound::{Bound, POOL_NOTES},
    claims::Claims,
    cpf::merged,
    foreign::{self, UnlessForeign},
    memory,
    namespace::Namespace,
    password::Password,
    state::{Labelled, OWN, without},
};
use crate::{
    config::{
        cpf::essence,
        credentials::Credentials,
        spec::{Iris, Spec},
    },
    engine::{
        check::Check,
        step::{Probe, SOON, Step},
    },
    host::{Host, Watch, digest},
    kube::{self, MANAGER},
    stack::{
        iris::names::{DATA, DURABLE, MANAGED_BY, MGR, MOUNTS, SET, WEB, claim_names, external, set_key},
        metallb::state as metallb_pools,
        object::Object,
        registry::Pin,
    },
};

/// The superserver.
const SUPERSERVER: i32 = 1972;

const CPF: (&str, &str) = ("iris-cpf", "/irissys/cpf/");
const MERGE: &str = "merge.cpf";

/// User of IRIS' processes.
const USER: i64 = 51773;

/// Group of IRIS' processes: irisowner from 2021.2 on, irisuser before. A tag that does not begin with a year is of today.
fn group_of(image: &str) -> i64 {
    let tag = image.rsplit('/').next().and_then(|last| last.split_once(':')).map_or("", |(_, tag)| tag);
    let mut numbers = tag.split(['.', '-', '@']).map(|n| n.parse::<u32>().unwrap_or(u32::MAX));
    let release = (numbers.next().unwrap_or(u32::MAX), numbers.next().unwrap_or(0));
    if release < (2021, 2) { 52773 } else { 51773 }
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

/// IRIS itself gives its shutdown 300 s; an idle instance is down in a few.
const GRACE: i64 = 120;

/// The first start clones the system database; a recovery after a power cut takes longer. 5 minutes at one look every 2 s.
const START_LOOKS: i32 = 150;

/// The StatefulSet.
pub(crate) fn set(spec: &Spec) -> Box<dyn Step> {
    let set = stateful_set_of(&spec.iris);
    let made = set_object(&spec.iris, essential(&set), spec.timeouts.remove.into());
    Box::new(Object { pin: Pin::newest(&spec.iris.image), ..made })
}

/// What the StatefulSet needs.
pub(crate) fn objects(spec: &Spec, credentials: &Credentials) -> Vec<Box<dyn Step>> {
    let iris = &spec.iris;
    let removal: Duration = spec.timeouts.remove.into();
    let mut steps: Vec<Box<dyn Step>> = vec![Box::new(elsewhere(iris))];
    if let Some(class) = &iris.storage_class {
        steps.push(Box::new(storage_class(class.clone())));
    }
    if iris.namespace != "default" {
        steps.push(Box::new(Namespace::new(spec)));
    }
    let cpf = object(&secret(iris, credentials));
    // All of it counts: another one would bring another password.
    let all_of_cpf = json!({"data": cpf["data"]});
    let service = |id, service: &Service| {
        let made = Object::new(id, &kube::SERVICE, object(service), essential_service(&object(service)));
        Object { labelled: Some(Labelled::new(iris)), ..made }
    };
    let of_the_set = |object: Object| Object { used_by: Some(set_key(iris)), ..object };
    let own = |inner: Box<dyn Step>| Box::new(UnlessForeign { inner, iris: iris.clone() });
    steps.push(own(Box::new(memory::check(iris))));
    steps.push(own(Box::new(Password::new(spec, credentials))));
    steps.push(Box::new(Claims {
        iris: iris.clone(),
        wanted: claims(iris),
        deadline: removal,
        data_goes: spec.data_goes,
    }));
    steps.push(own(Box::new(of_the_set(Object::new("iris.cpf", &kube::SECRET, cpf, all_of_cpf)))));
    steps.push(Box::new(of_the_set(service("iris.service", &headless(iris)))));
    let bound_to = |pool| {
        let external = service("iris.service-ext", &load_balancer(iris, pool));
        Object { serves: Some(foreign::address_may_follow(spec)), ..external }
    };
    let api = spec.channel.row().metallb;
    steps.push(Box::new(Bound {
        lb: spec.lb.clone(),
        iris: iris.clone(),
        api,
        to_microk8s: bound_to(metallb_pools::made_by_microk8s(api)),
        to_own: bound_to(metallb_pools::OWN),
    }));
    steps
}

/// IRIS of an earlier bootstrap in another place: with other names it would be left behind, and nobody would know of it.
fn elsewhere(iris: &Iris) -> Check {
    let (place, named) =
        (iris.namespace.clone(), [iris.name.clone(), iris.service.clone(), external(iris), cpf_name(iris)]);
    let question = move |host: &dyn Host| {
        for kind in [&kube::STATEFUL_SET, &kube::SERVICE, &kube::SECRET] {
            let ours = host.list(kind, None, &format!("{MANAGED_BY}={MANAGER}"))?;
            let known = |o: &Value| {
                o["metadata"]["namespace"] == *place && named.iter().any(|name| name == kube::state::name(o))
            };
            if let Some(other) = ours.iter().find(|o| !known(o) && !kube::state::going(o)) {
                return Ok(Probe::Refused {
                    why: format!("{} {} of an earlier bootstrap is there", kind.kind, place_of(other)),
                    hint: "take it back first: `iris-mk8s teardown` (its claims with the data stay where they are)"
                        .to_owned(),
                });
            }
        }
        Ok(Probe::satisfied(""))
    };
    Check {
        id: "iris.place",
        title: format!("IRIS runs in namespace {} only", iris.namespace),
        question: Box::new(question),
        deadline: SOON,
        watches: vec![Watch::Objects(&kube::STATEFUL_SET, None)],
    }
}

fn place_of(object: &Value) -> String {
    format!("{}/{}", object["metadata"]["namespace"].as_str().unwrap_or("?"), kube::state::name(object))
}

/// A class that the user named must be there: a claim of a class that is not would wait for ever.
fn storage_class(class: String) -> Check {
    let title = format!("StorageClass {class}");
    Check {
        id: "iris.storage-class",
        title,
        question: Box::new(move |host| {
            Ok(if host.get(&kube::STORAGE_CLASS, None, &class)?.is_some() {
                Probe::satisfied("")
            } else {
                let there = host.list(&kube::STORAGE_CLASS, None, "")?;
                let names: Vec<&str> = there.iter().map(kube::state::name).collect();
                Probe::Refused {
                    why: format!("there is no StorageClass `{class}`"),
                    hint: format!("the cluster has: {}; name one of them with --storage", names.join(", ")),
                }
            })
        }),
        deadline: SOON,
        watches: vec![Watch::Objects(&kube::STORAGE_CLASS, None)],
    }
}

fn labels(iris: &Iris) -> BTreeMap<String, String> {
    BTreeMap::from([("app".to_owned(), iris.service.clone())])
}

/// Labels of the instances, by which services find them.
fn own_labels(iris: &Iris) -> BTreeMap<String, String> {
    let mut labels = labels(iris);
    labels.insert(OWN.to_owned(), iris.name.clone());
    labels
}

fn meta(iris: &Iris, name: &str) -> ObjectMeta {
    let mut labels = labels(iris);
    labels.insert(MANAGED_BY.to_owned(), MANAGER.to_owned());
    ObjectMeta {
        name: Some(name.to_owned()),
        namespace: Some(iris.namespace.clone()),
        labels: Some(labels),
        ..ObjectMeta::default()
    }
}

/// A typed object as the value that is applied.
fn object<T: Serialize + k8s_openapi::Resource>(typed: &T) -> Value {
    serde_json::to_value(typed).unwrap_or_default()
}

fn claims(iris: &Iris) -> Vec<Value> {
    let claim = |(name, claim): (String, &'static str)| {
        let typed = PersistentVolumeClaim {
            metadata: meta(iris, &name),
            spec: Some(claim_spec(iris, claim)),
            ..Default::default()
        };
        object(&typed)
    };
    claim_names(iris).into_iter().map(claim).collect()
}

fn claim_spec(iris: &Iris, claim: &str) -> PersistentVolumeClaimSpec {
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

fn cpf_name(iris: &Iris) -> String {
    format!("{}-merge-cpf", iris.service)
}

fn secret(iris: &Iris, credentials: &Credentials) -> Secret {
    let text = merged(iris, credentials.hash().as_str());
    let data = BTreeMap::from([(MERGE.to_owned(), ByteString(text.into_bytes()))]);
    Secret { metadata: meta(iris, &cpf_name(iris)), data: Some(data), ..Secret::default() }
}

fn port(name: &str, number: i32) -> ServicePort {
    let protocol = Some("TCP".to_owned());
    ServicePort {
        name: Some(name.to_owned()),
        port: number,
        target_port: Some(IntOrString::Int(number)),
        protocol,
        ..Default::default()
    }
}

fn headless(iris: &Iris) -> Service {
    let spec = ServiceSpec {
        cluster_ip: Some("None".to_owned()),
        selector: Some(own_labels(iris)),
        ports: Some(vec![port("http", WEB), port("superserver", SUPERSERVER)]),
        ..ServiceSpec::default()
    };
    Service { metadata: meta(iris, &iris.service), spec: Some(spec), ..Service::default() }
}

fn load_balancer(iris: &Iris, pool: &str) -> Service {
    // A login at the portal lives in one instance: without affinity the next click may reach the other one. An application that is to be
    // balanced keeps nothing between two requests.
    let balanced = iris.endpoints.iter().any(|endpoint| endpoint.balanced);
    let spec = ServiceSpec {
        type_: Some("LoadBalancer".to_owned()),
        selector: Some(own_labels(iris)),
        ports: Some(vec![port("http", WEB)]),
        session_affinity: Some(if balanced { "None" } else { "ClientIP" }.to_owned()),
        session_affinity_config: (!balanced)
            .then_some(SessionAffinityConfig { client_ip: Some(ClientIPConfig { timeout_seconds: Some(10_800) }) }),
        ..ServiceSpec::default()
    };
    let annotations = POOL_NOTES.map(|name| (name.to_owned(), pool.to_owned())).into();
    let metadata = ObjectMeta { annotations: Some(annotations), ..meta(iris, &external(iris)) };
    Service { metadata, spec: Some(spec), ..Service::default() }
}

/// A tag that moves has to be asked for each time: what a node keeps of it may be an image whose licence has run out.
fn pull_policy(image: &str) -> &'static str {
    let tag = image.rsplit('/').next().and_then(|last| last.split_once(':')).map_or("latest", |(_, tag)| tag);
    if !image.contains('@') && (tag.starts_with("latest") || tag == "preview") { "Always" } else { "IfNotPresent" }
}

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
    // Neither look costs a licence unit. `qlist` names the instance's state in its fourth field; its ninth one is of no use
    // here, since it warns for half an hour after a power cut although IRIS works.
    let running = "iris qlist IRIS | cut -d^ -f4 | grep -q ^running".to_owned();
    let startup = PodProbe {
        exec: Some(ExecAction { command: Some(vec!["/bin/sh".to_owned(), "-c".to_owned(), running]) }),
        period_seconds: Some(2),
        timeout_seconds: Some(5),
        failure_threshold: Some(START_LOOKS),
        ..PodProbe::default()
    };
    let readiness = PodProbe {
        http_get: Some(HTTPGetAction {
            path: Some("/api/monitor/metrics".to_owned()),
            port: IntOrString::Int(WEB),
            ..HTTPGetAction::default()
        }),
        period_seconds: Some(5),
        timeout_seconds: Some(5),
        failure_threshold: Some(3),
        ..PodProbe::default()
    };
    let container = Container {
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
        startup_probe: Some(startup),
        readiness_probe: Some(readiness),
        volume_mounts: Some(vec![mount(CPF), mount(MGR), mount(DATA)]),
        ..Container::default()
    };
    let template = |name: &str| PersistentVolumeClaim {
        metadata: ObjectMeta { name: Some(name.to_owned()), labels: Some(labels(iris)), ..ObjectMeta::default() },
        spec: Some(claim_spec(iris, name)),
        ..PersistentVolumeClaim::default()
    };
    // Memory settings of the CPF take effect only at a start: a CPF that says something else makes new pods.
    let digest: String = digest::sha256(essence(&iris.cpf))[..16].to_owned();
    let pod = PodSpec {
        security_context: Some(PodSecurityContext {
            fs_group: Some(group_of(&iris.image)),
            ..PodSecurityContext::default()
        }),
        termination_grace_period_seconds: Some(GRACE),
        init_containers: Some(vec![owner(iris)]),
        containers: vec![container],
        volumes: Some(vec![Volume {
            name: CPF.0.to_owned(),
            secret: Some(SecretVolumeSource { secret_name: Some(cpf_name(iris)), ..SecretVolumeSource::default() }),
            ..Volume::default()
        }]),
        ..PodSpec::default()
    };
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
                spec: Some(pod),
            },
            volume_claim_templates: Some(vec![template(MGR.0), template(DATA.0)]),
            ..StatefulSetSpec::default()
        }),
        status: None,
    }
}

/// What somebody else's StatefulSet must have to be the database that the spec asks for. Probes, resources and where its CPF comes
/// from are theirs to choose; whether the CPF's databases are there is asked in the end.
fn essential(set: &Value) -> Value {
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

/// The same for a service: its kind, whom it leads to, and the web server's port.
fn essential_service(service: &Value) -> Value {
    // Theirs knows nothing of our label.
    let spec = &without(service)["spec"];
    let mut essential = json!({"spec": {"selector": spec["selector"]}});
    for field in ["type", "clusterIP"] {
        if spec[field].is_string() {
            essential["spec"][field] = spec[field].clone();
        }
    }
    essential
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
