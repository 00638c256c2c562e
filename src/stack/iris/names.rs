//! What IRIS' objects, ports and accounts are called.

use serde_json::{Value, json};

use crate::{config::spec::Iris, kube::state};

/// The web server of IRIS: portal, REST and metrics.
pub const WEB: i32 = 52773;

/// Where the claims are mounted, and with what name. Durable %SYS wants a directory below the mount point.
pub(crate) const MGR: (&str, &str) = ("dbv-mgr", "/iris-mgr");

pub(crate) const DATA: (&str, &str) = ("dbv-data", "/vol-data");

/// IRIS' own files.
pub(crate) const DURABLE: &str = "/iris-mgr/IRIS_conf.d";

/// Where the claims are mounted.
pub(crate) const MOUNTS: [&str; 2] = [MGR.1, DATA.1];

/// Both claims of each pod, as StatefulSets name them.
pub fn claim_names(iris: &Iris) -> Vec<(String, &'static str)> {
    let of = |n: u32| [MGR.0, DATA.0].map(|claim| (format!("{claim}-{}-{n}", iris.name), claim));
    (0..iris.replicas).flat_map(of).collect()
}

/// Whether a claim is of this StatefulSet, however many replicas it has had.
pub(crate) fn is_claim_of(claim: &Value, iris: &Iris) -> bool {
    let number = |begin: &str| {
        let rest = state::name(claim).strip_prefix(begin)?.strip_prefix(&format!("-{}-", iris.name))?;
        rest.parse::<u32>().ok()
    };
    claim["metadata"]["namespace"] == iris.namespace.as_str()
        && [MGR.0, DATA.0].into_iter().any(|begin| number(begin).is_some())
}

/// Name of the LoadBalancer service.
pub(crate) fn external(iris: &Iris) -> String {
    format!("{}-ext", iris.service)
}

/// The step of the StatefulSet.
pub const SET: &str = "iris.statefulset";

/// The key of the StatefulSet's step in the journal.
pub fn set_key(iris: &Iris) -> String {
    format!("{SET}@{}/{}", iris.namespace, iris.name)
}

/// The label that tells whose an object is.
pub(crate) const MANAGED_BY: &str = "app.kubernetes.io/managed-by";

/// Accounts of IRIS that are told of: all of them get the password.
pub const USERS: [&str; 2] = ["SuperUser", "_SYSTEM"];

/// The names of IRIS in Kubernetes, as recipes hold them.
pub(crate) fn recipe(iris: &Iris) -> Value {
    json!({"namespace": iris.namespace, "name": iris.name, "service": iris.service})
}

/// The IRIS that a recipe names: the newest spec may name another one.
pub(crate) fn recalled(recipe: &Value, iris: &Iris) -> Iris {
    let name = |field: &str, newest: &str| recipe[field].as_str().unwrap_or(newest).to_owned();
    Iris {
        namespace: name("namespace", &iris.namespace),
        name: name("name", &iris.name),
        service: name("service", &iris.service),
        ..iris.clone()
    }
}

/// The step's name.
pub(crate) const PASSWORD: &str = "iris.password";
