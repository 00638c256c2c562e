//! IRIS as objects of the cluster: claims, CPF, services, StatefulSet, in the order in which they are applied.

use std::{collections::BTreeMap, time::Duration};

use k8s_openapi::{
    ByteString,
    api::core::v1::{PersistentVolumeClaim, Secret, Service},
};
use serde_json::{Value, json};

use super::{
    bound::PoolBoundService,
    claims::Claims,
    cpf::merged,
    foreign::{self, UnlessForeign},
    guards, memory,
    meta::{meta, object},
    namespace::Namespace,
    password::Password,
    services::{essential_service, headless, load_balancer},
    state::Labelled,
    stateful_set::{MERGE, claim_spec, cpf_name, essential},
};
use crate::{
    config::{
        credentials::Credentials,
        spec::{Iris, Spec},
    },
    engine::step::Step,
    kube,
    stack::{
        iris::names::{claim_names, set_key},
        metallb::state as metallb_pools,
        object::Object,
        registry::Pin,
    },
};

pub(crate) use super::stateful_set::{set_object, stateful_set_of};

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
    let mut steps: Vec<Box<dyn Step>> = vec![Box::new(guards::elsewhere(iris))];
    if let Some(class) = &iris.storage_class {
        steps.push(Box::new(guards::storage_class(class.clone())));
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
    steps.push(Box::new(PoolBoundService {
        lb: spec.lb.clone(),
        iris: iris.clone(),
        api,
        to_microk8s: bound_to(metallb_pools::made_by_microk8s(api)),
        to_own: bound_to(metallb_pools::OWN),
    }));
    steps
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

fn secret(iris: &Iris, credentials: &Credentials) -> Secret {
    let text = merged(iris, credentials.hash().as_str());
    let data = BTreeMap::from([(MERGE.to_owned(), ByteString(text.into_bytes()))]);
    Secret { metadata: meta(iris, &cpf_name(iris)), data: Some(data), ..Secret::default() }
}
