//! The addresses that MetalLB may give out and who has them: its pools, whoever made them, and services with addresses. It only reads.
//!
//! Nobody's service loses its address by us: a pool that serves somebody else stays as it is, and ours is put beside it.

use std::net::Ipv4Addr;

use serde_json::Value;

use crate::{
    config::{
        lb_range::LbRange,
        spec::{Iris, Spec},
        version::{Channel, MetallbApi},
    },
    error::{Error, Result},
    host::Host,
    kube::{self, state},
    stack::{iris::names::external, metallb::state as pools},
};

pub(crate) const NAMESPACE: &str = "metallb-system";

/// A pool of ours beside one that serves somebody else. It gives addresses to services alone that name it.
pub(crate) const OWN: &str = "iris-mk8s";

/// The list of pools in MetalLB 0.9's configuration.
pub(crate) const LIST: &str = "address-pools";

/// The pool that MicroK8s makes, by its name in this MetalLB.
pub(crate) fn made_by_microk8s(api: MetallbApi) -> &'static str {
    match api {
        MetallbApi::Crd => "default-addresspool",
        MetallbApi::ConfigMap => "default",
    }
}

/// A pool.
#[derive(Clone)]
pub(crate) struct Pool {
    pub(crate) name: String,
    /// As they are written.
    pub(crate) addresses: Vec<String>,
    /// Somebody answers for its addresses.
    pub(crate) advertised: bool,
}

/// The advertisement of all pools, as MicroK8s calls it.
pub(crate) const OF_ALL: &str = "default-advertise-all-pools";

impl Pool {
    /// Its addresses; none when MetalLB does not take them either.
    pub(crate) fn range(&self) -> Option<LbRange> {
        LbRange::from_metallb(&self.addresses).ok()
    }

    pub(crate) fn holds(&self, address: Ipv4Addr) -> bool {
        self.range().is_some_and(|range| range.contains(address))
    }
}

/// A service with an address.
pub(crate) struct Holder {
    /// `namespace/name`
    pub(crate) service: String,
    pub(crate) address: Ipv4Addr,
    /// Neither ours nor the one of the IRIS that the spec is about.
    foreign: bool,
}

/// All pools, and who has addresses.
pub(crate) struct Pools {
    api: MetallbApi,
    pub(crate) all: Vec<Pool>,
    pub(crate) holders: Vec<Holder>,
    /// Of MetalLB 0.13 and later.
    advertisements: Vec<Value>,
}

impl Pools {
    /// Reads them; none of either where there is no MetalLB. `iris` is the one whose service may be moved, whoever applied it.
    ///
    /// # Errors
    /// The cluster does not answer, or its configuration is none of MetalLB's.
    pub(crate) fn read(host: &dyn Host, api: MetallbApi, iris: Option<&Iris>) -> Result<Self> {
        let advertisements = match api {
            MetallbApi::Crd => host.list(&kube::L2_ADVERTISEMENT, Some(NAMESPACE), "")?,
            MetallbApi::ConfigMap => Vec::new(),
        };
        let all = match api {
            MetallbApi::Crd => objects(host, &advertisements)?,
            MetallbApi::ConfigMap => {
                text(host)?.as_deref().map(parse).transpose()?.as_ref().map(entries).unwrap_or_default()
            }
        };
        let of_iris = |service: &Value| {
            iris.is_some_and(|i| {
                service["metadata"]["namespace"] == i.namespace.as_str() && state::name(service) == external(i)
            })
        };
        let holder = |service: &Value| {
            let address = state::addresses(service).first()?.parse().ok()?;
            let namespace = service["metadata"]["namespace"].as_str().unwrap_or("?");
            let foreign = !kube::is_ours(service) && !of_iris(service);
            Some(Holder { service: format!("{namespace}/{}", state::name(service)), address, foreign })
        };
        let services = host.list(&kube::SERVICE, None, "")?;
        let balanced = services.iter().filter(|s| s["spec"]["type"] == "LoadBalancer");
        Ok(Self { api, all, holders: balanced.filter_map(holder).collect(), advertisements })
    }

    /// Where there is no cluster.
    pub(crate) fn none(api: MetallbApi) -> Self {
        Self { api, all: Vec::new(), holders: Vec::new(), advertisements: Vec::new() }
    }

    /// What makes this pool advertised, by its name and whether it is for all pools; none where something does already. Where nobody else has a pool
    /// it is the same as MicroK8s makes.
    pub(crate) fn advertisement_for(&self, name: &str) -> Option<(String, bool)> {
        if self.advertisements.iter().any(|a| advertises(a, name)) {
            return None;
        }
        let alone = self.all.iter().all(|pool| pool.name == name);
        if alone && name != OWN && !self.advertisements.iter().any(|a| state::name(a) == OF_ALL) {
            return Some((OF_ALL.to_owned(), true));
        }
        Some((if name == OWN { OWN.to_owned() } else { format!("{OWN}-{name}") }, false))
    }

    pub(crate) fn find(&self, name: &str) -> Option<&Pool> {
        self.all.iter().find(|pool| pool.name == name)
    }

    /// The pool that serves us now; none when there is none yet.
    pub(crate) fn present(&self) -> Option<&Pool> {
        self.find(OWN).or_else(|| self.find(made_by_microk8s(self.api)))
    }

    /// The name of the pool that shall hold these addresses: the one that MicroK8s makes, unless a change of it would take addresses away from
    /// services of somebody else.
    pub(crate) fn ours(&self, wanted: &LbRange) -> &'static str {
        let default = made_by_microk8s(self.api);
        if self.find(OWN).is_some() || !self.losers(default, Some(wanted)).is_empty() { OWN } else { default }
    }

    /// Services of somebody else that would lose their address if this pool held those instead: `team/web has 192.168.11.200`.
    pub(crate) fn losers(&self, name: &str, instead: Option<&LbRange>) -> Vec<String> {
        let Some(pool) = self.find(name) else { return Vec::new() };
        let others = || self.all.iter().filter(|other| other.name != name);
        let loses = |holder: &&Holder| {
            holder.foreign
                && pool.holds(holder.address)
                && !instead.is_some_and(|range| range.contains(holder.address))
                && !others().any(|other| other.holds(holder.address))
        };
        self.holders.iter().filter(loses).map(|h| format!("{} has {}", h.service, h.address)).collect()
    }

    /// A pool of another name that holds addresses of these, and what it has in common with them.
    pub(crate) fn overlapping(&self, name: &str, wanted: &LbRange) -> Option<(&Pool, LbRange)> {
        let others = self.all.iter().filter(|pool| pool.name != name);
        others.into_iter().find_map(|pool| Some((pool, pool.range()?.intersection(wanted)?)))
    }
}

/// Addresses that other pools than ours give out, within these: nobody else may take them.
///
/// # Errors
/// As [`Pools::read`].
pub fn taken(host: &dyn Host, api: MetallbApi, within: &LbRange) -> Result<Vec<Ipv4Addr>> {
    let pools = Pools::read(host, api, None)?;
    let ours = pools.present().map(|pool| pool.name.as_str());
    let others = pools.all.iter().filter(|pool| Some(pool.name.as_str()) != ours);
    let common = others.filter_map(|pool| pool.range()?.intersection(within));
    Ok(common.flat_map(|range| range.addresses().collect::<Vec<_>>()).collect())
}

/// How many services want an address of the pool that serves us: those that another pool serves do not.
///
/// # Errors
/// As [`Pools::read`].
pub fn wanting(host: &dyn Host, spec: Option<&Spec>, api: MetallbApi) -> Result<u64> {
    let pools = Pools::read(host, api, spec.map(|s| &s.iris))?;
    let ours = spec.map_or_else(|| pools.present().map_or(OWN, |pool| pool.name.as_str()), |s| pools.ours(&s.lb));
    let elsewhere = |holder: &Holder| pools.all.iter().any(|pool| pool.name != ours && pool.holds(holder.address));
    let served = pools.holders.iter().filter(|holder| elsewhere(holder)).count();
    let services = host.list(&kube::SERVICE, None, "")?;
    let balanced = services.iter().filter(|s| s["spec"]["type"] == "LoadBalancer").count();
    Ok(balanced.saturating_sub(served) as u64)
}

/// The pools of MetalLB 0.13 and later.
fn objects(host: &dyn Host, advertisements: &[Value]) -> Result<Vec<Pool>> {
    let pools = host.list(&kube::IP_ADDRESS_POOL, Some(NAMESPACE), "")?;
    let pool = |object: &Value| {
        let name = state::name(object).to_owned();
        let advertised = advertisements.iter().any(|a| advertises(a, &name));
        Pool { addresses: addresses_of(&object["spec"]), advertised, name }
    };
    Ok(pools.iter().map(pool).collect())
}

/// Whether an advertisement, whoever made it, is one of this pool. One that chooses pools by their labels is not counted on.
fn advertises(advertisement: &Value, pool: &str) -> bool {
    let list = |field: &str| advertisement["spec"][field].as_array().filter(|list| !list.is_empty());
    match (list("ipAddressPools"), list("ipAddressPoolSelectors")) {
        (Some(names), _) => names.iter().any(|n| n == pool),
        (None, selectors) => selectors.is_none(),
    }
}

/// The pools of MetalLB 0.9's configuration.
pub(crate) fn entries(config: &Value) -> Vec<Pool> {
    let pool = |entry: &Value| Pool {
        name: entry["name"].as_str().unwrap_or("?").to_owned(),
        addresses: addresses_of(entry),
        advertised: entry["protocol"] == "layer2",
    };
    config[LIST].as_array().into_iter().flatten().map(pool).collect()
}

pub(crate) fn addresses_of(pool: &Value) -> Vec<String> {
    pool["addresses"].as_array().into_iter().flatten().filter_map(|a| a.as_str().map(str::to_owned)).collect()
}

/// MetalLB 0.9's configuration as it is written; none = no such ConfigMap.
pub(crate) fn text(host: &dyn Host) -> Result<Option<String>> {
    let map = host.get(&kube::CONFIG_MAP, Some(NAMESPACE), "config")?;
    Ok(map.map(|m| m["data"]["config"].as_str().unwrap_or_default().to_owned()))
}

pub(crate) fn parse(text: &str) -> Result<Value> {
    serde_saphyr::from_str(text)
        .map_err(|e| Error::failed(format!("ConfigMap {NAMESPACE}/config is not MetalLB's")).caused_by(e))
}

/// The addresses that MetalLB may give to us now; none without a pool.
///
/// # Errors
/// The cluster does not answer.
pub fn pool(host: &dyn Host, channel: &Channel) -> Result<Option<LbRange>> {
    Ok(Pools::read(host, channel.row().metallb, None)?.present().and_then(pools::Pool::range))
}

/// The pool that serves this spec; none = no such pool.
///
/// # Errors
/// The cluster does not answer, or its configuration is none of MetalLB's.
pub(crate) fn configured(host: &dyn Host, spec: &Spec) -> Result<Option<Pool>> {
    let pools = Pools::read(host, spec.channel.row().metallb, Some(&spec.iris))?;
    Ok(pools.find(pools.ours(&spec.lb)).cloned())
}
