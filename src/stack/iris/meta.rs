//! Names and labels that all objects of IRIS carry.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Serialize;
use serde_json::Value;

use super::{names::MANAGED_BY, state::OWN};
use crate::{config::spec::Iris, kube::MANAGER};

pub(super) fn labels(iris: &Iris) -> BTreeMap<String, String> {
    BTreeMap::from([("app".to_owned(), iris.service.clone())])
}

/// Labels of the instances, by which services find them.
pub(super) fn own_labels(iris: &Iris) -> BTreeMap<String, String> {
    let mut labels = labels(iris);
    labels.insert(OWN.to_owned(), iris.name.clone());
    labels
}

pub(super) fn meta(iris: &Iris, name: &str) -> ObjectMeta {
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
pub(super) fn object<T: Serialize + k8s_openapi::Resource>(typed: &T) -> Value {
    serde_json::to_value(typed).unwrap_or_default()
}
