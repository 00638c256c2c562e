//! The modelled MetalLB: which address a service gets, and which pools its webhook refuses.

use std::collections::BTreeSet;

use iris_mk8s::{cluster as kinds, cluster::state, lb_range::LbRange};
use serde_json::{Value, json};

use super::{
    cluster::{Cluster, key_of},
    world::Era,
};

fn range_of(pool: &Value) -> Option<LbRange> {
    let addresses = pool["spec"]["addresses"].as_array()?;
    let addresses: Vec<String> = addresses.iter().filter_map(|a| a.as_str().map(str::to_owned)).collect();
    LbRange::from_metallb(&addresses).ok()
}

/// The pools of MetalLB 0.9's ConfigMap.
fn configured(cluster: &Cluster) -> Vec<(String, LbRange)> {
    let map = cluster.find(&kinds::CONFIG_MAP, "metallb-system", "config");
    let text = map.and_then(|m| m["data"]["config"].as_str()).unwrap_or_default();
    let config: Value = serde_saphyr::from_str(text).unwrap_or_default();
    let pools = config["address-pools"].as_array().cloned().unwrap_or_default();
    pools.iter().filter_map(|p| Some((p["name"].as_str()?.to_owned(), range_of(&json!({"spec": p}))?))).collect()
}

/// Another pool that holds addresses of this one.
pub fn overlapping(cluster: &Cluster, object: &Value) -> Option<String> {
    let range = range_of(object).filter(|_| object["kind"] == "IPAddressPool")?;
    let mut others = cluster.of(&kinds::IP_ADDRESS_POOL).filter(|p| state::name(p) != state::name(object));
    others.find(|p| range_of(p).is_some_and(|r| r.intersection(&range).is_some())).map(|p| state::name(p).to_owned())
}

fn is_ready(cluster: &Cluster, kind: &kinds::Kind, name: &str) -> bool {
    cluster.find(kind, "metallb-system", name).is_some_and(state::rolled_out)
}

/// Whether somebody answers for addresses on the LAN.
pub fn answers(cluster: &Cluster) -> bool {
    let advertised = match cluster.era {
        Era::Today => cluster.of(&kinds::L2_ADVERTISEMENT).next().is_some(),
        Era::Old => !configured(cluster).is_empty(),
    };
    advertised && is_ready(cluster, &kinds::DAEMON_SET, "speaker")
}

/// The controller gives each LoadBalancer service an address of a pool, and takes back one that is in no pool any more.
pub fn assign(cluster: &mut Cluster) {
    if !is_ready(cluster, &kinds::DEPLOYMENT, "controller") {
        return;
    }
    let pools: Vec<(String, LbRange)> = match cluster.era {
        Era::Today => cluster
            .of(&kinds::IP_ADDRESS_POOL)
            .filter_map(|p| Some((state::name(p).to_owned(), range_of(p)?)))
            .collect(),
        Era::Old => configured(cluster),
    };
    let services: Vec<Value> =
        cluster.of(&kinds::SERVICE).filter(|s| s["spec"]["type"] == "LoadBalancer").cloned().collect();
    let mut used: BTreeSet<String> = services.iter().flat_map(state::addresses).collect();
    for service in services {
        let annotation = match cluster.era {
            Era::Today => "metallb.io/address-pool",
            Era::Old => "metallb.universe.tf/address-pool",
        };
        let named = &service["metadata"]["annotations"][annotation];
        let mine = || pools.iter().filter(|(name, _)| named.is_null() || named == name).map(|(_, range)| range);
        let has = state::addresses(&service).first().cloned();
        if has.is_some_and(|ip| mine().any(|p| ip.parse().is_ok_and(|ip| p.contains(ip)))) {
            continue;
        }
        let free = mine().flat_map(LbRange::addresses).map(|ip| ip.to_string()).find(|ip| !used.contains(ip));
        let ingress: Vec<Value> = free.iter().map(|ip| json!({"ip": ip})).collect();
        used.extend(free);
        let (_, key) = key_of(&service);
        cluster.change(&key, |s| {
            s["status"]["loadBalancer"] = if ingress.is_empty() { json!({}) } else { json!({"ingress": ingress}) }
        });
    }
}
