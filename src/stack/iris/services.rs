//! The services of IRIS: one that names the pods, and one with an address of the LAN.

use k8s_openapi::{
    api::core::v1::{ClientIPConfig, Service, ServicePort, ServiceSpec, SessionAffinityConfig},
    apimachinery::pkg::{apis::meta::v1::ObjectMeta, util::intstr::IntOrString},
};
use serde_json::{Value, json};

use super::{
    bound::POOL_NOTES,
    meta::{meta, own_labels},
    names::{WEB, external},
    state::without,
    stateful_set::SUPERSERVER,
};
use crate::config::spec::Iris;

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

pub(super) fn headless(iris: &Iris) -> Service {
    let spec = ServiceSpec {
        cluster_ip: Some("None".to_owned()),
        selector: Some(own_labels(iris)),
        ports: Some(vec![port("http", WEB), port("superserver", SUPERSERVER)]),
        ..ServiceSpec::default()
    };
    Service { metadata: meta(iris, &iris.service), spec: Some(spec), ..Service::default() }
}

pub(super) fn load_balancer(iris: &Iris, pool: &str) -> Service {
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

/// The same for a service: its kind, whom it leads to, and the web server's port.
pub(super) fn essential_service(service: &Value) -> Value {
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
