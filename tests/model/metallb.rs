//! The modelled MetalLB: which address a service gets, and which pools its webhook refuses.

use std::collections::BTreeSet;

use iris_mk8s::{
    config::lb_range::LbRange,
    kube::{self as kinds, state},
};
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

/// A pool: its name, its addresses, and whether it serves whoever names no pool.
#[derive(Clone, Debug, PartialEq)]
pub struct Pool {
    pub name: String,
    pub range: LbRange,
    pub auto: bool,
}

fn objects(cluster: &Cluster) -> Vec<Pool> {
    let pool = |p: &Value| {
        let auto = p["spec"]["autoAssign"] != false;
        Some(Pool { name: state::name(p).to_owned(), range: range_of(p)?, auto })
    };
    cluster.of(&kinds::IP_ADDRESS_POOL).filter_map(pool).collect()
}

/// The pools of MetalLB 0.9's ConfigMap.
fn configured(cluster: &Cluster) -> Vec<Pool> {
    let map = cluster.find(&kinds::CONFIG_MAP, "metallb-system", "config");
    let text = map.and_then(|m| m["data"]["config"].as_str()).unwrap_or_default();
    let config: Value = serde_saphyr::from_str(text).unwrap_or_default();
    let pool = |p: &Value| {
        let (range, auto) = (range_of(&json!({"spec": p}))?, p["auto-assign"] != false);
        Some(Pool { name: p["name"].as_str()?.to_owned(), range, auto })
    };
    config["address-pools"].as_array().into_iter().flatten().filter_map(pool).collect()
}

/// MetalLB 0.9 takes no configuration in which a service would lose its address, until its controller starts anew; without one it does nothing.
fn heeded(cluster: &mut Cluster) -> Option<Vec<Pool>> {
    let is_controller =
        |p: &&Value| p["metadata"]["labels"]["component"] == "controller" && state::is(p, "Ready") && !state::going(p);
    let controller = cluster.of(&kinds::POD).find(is_controller).map(|p| state::name(p).to_owned())?;
    let there = cluster.find(&kinds::CONFIG_MAP, "metallb-system", "config").is_some();
    let new = configured(cluster);
    let lost = |old: &[Pool]| {
        let holds = |pools: &[Pool], ip: &str| pools.iter().any(|p| ip.parse().is_ok_and(|ip| p.range.contains(ip)));
        cluster.of(&kinds::SERVICE).flat_map(state::addresses).any(|ip| holds(old, &ip) && !holds(&new, &ip))
    };
    let pools = match &cluster.heeded {
        Some((pod, old)) if *pod == controller && (!there || lost(old)) => old.clone(),
        _ if there => new,
        _ => return None,
    };
    cluster.heeded = Some((controller, pools.clone()));
    Some(pools)
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
    let pools = match cluster.era {
        Era::Today => objects(cluster),
        Era::Old => match heeded(cluster) {
            Some(pools) => pools,
            None => return,
        },
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
        let mine = |keeps: bool| {
            let fits = move |p: &&Pool| if named.is_null() { keeps || p.auto } else { *named == p.name.as_str() };
            pools.iter().filter(fits).map(|p| &p.range)
        };
        let has = state::addresses(&service).first().cloned();
        if has.is_some_and(|ip| mine(true).any(|p| ip.parse().is_ok_and(|ip| p.contains(ip)))) {
            continue;
        }
        let free = mine(false).flat_map(LbRange::addresses).map(|ip| ip.to_string()).find(|ip| !used.contains(ip));
        let ingress: Vec<Value> = free.iter().map(|ip| json!({"ip": ip})).collect();
        used.extend(free);
        let (_, key) = key_of(&service);
        cluster.change(&key, |s| {
            s["status"]["loadBalancer"] = if ingress.is_empty() { json!({}) } else { json!({"ingress": ingress}) }
        });
    }
}
