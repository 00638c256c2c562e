//! MetalLB's pool. MicroK8s makes it last, in a loop without an end, and takes an addon without a pool for enabled ever after; another
//! range it ignores. So the pool is read back, and applied by us when it is not what was asked for. Pools of others stay as they are.

use std::{net::Ipv4Addr, time::Duration};

use serde_json::{Value, json};

use super::{SNAP, iris::MANAGED_BY};
use crate::{
    cluster::{self, MANAGER},
    data::Known,
    error::{Error, Result},
    host::{Host, Watch},
    lb_range::LbRange,
    step::{Act, Memo, Memory, Probe, Scope, Step, Undo},
    version::{Channel, MetallbApi},
};

pub(super) const NAMESPACE: &str = "metallb-system";

/// The definition of the kind of pools.
pub(super) const POOLS: &str = "ipaddresspools.metallb.io";

/// As MicroK8s names them.
const POOL: &str = "default-addresspool";
const ADVERTISEMENT: &str = "default-advertise-all-pools";

/// Our pool in the ConfigMap, as MicroK8s names it, and the list that it is in.
const CONFIGURED: &str = "default";
const LIST: &str = "address-pools";

/// The name that a service gives to our pool. There may be others, and MetalLB would take any of them.
pub(super) fn pool_name(api: MetallbApi) -> &'static str {
    match api {
        MetallbApi::Crd => POOL,
        MetallbApi::ConfigMap => CONFIGURED,
    }
}

/// The addresses that MetalLB may give out now; none without a pool.
///
/// # Errors
/// The cluster does not answer.
pub fn pool(host: &dyn Host, channel: &Channel) -> Result<Option<LbRange>> {
    let found = configured(host, channel.row().metallb)?;
    Ok(found.and_then(|(addresses, _)| LbRange::from_metallb(&addresses).ok()))
}

/// The addresses of our pool, and whether it is advertised; none = no such pool.
///
/// # Errors
/// The cluster does not answer, or its configuration is none of MetalLB's.
pub fn configured(host: &dyn Host, api: MetallbApi) -> Result<Option<(Vec<String>, bool)>> {
    match api {
        MetallbApi::Crd => {
            let Some(pool) = host.get(&cluster::IP_ADDRESS_POOL, Some(NAMESPACE), POOL)? else { return Ok(None) };
            Ok(Some((addresses_of(&pool["spec"]), is_advertised(host)?)))
        }
        MetallbApi::ConfigMap => {
            let config = text(host)?.as_deref().map(parse).transpose()?.unwrap_or_default();
            let pool = pools(&config).find(|p| p["name"] == CONFIGURED);
            Ok(pool.map(|pool| (addresses_of(pool), pool["protocol"] == "layer2")))
        }
    }
}

/// The other pool that has this address, by its name: MetalLB takes no address away that is in a pool.
pub(super) fn other_pool_with(host: &dyn Host, api: MetallbApi, address: Ipv4Addr) -> Result<Option<String>> {
    let all: Vec<(String, Vec<String>)> = match api {
        MetallbApi::Crd => {
            let pools = host.list(&cluster::IP_ADDRESS_POOL, Some(NAMESPACE), "")?;
            pools.iter().map(|p| (cluster::state::name(p).to_owned(), addresses_of(&p["spec"]))).collect()
        }
        MetallbApi::ConfigMap => {
            let config = text(host)?.as_deref().map(parse).transpose()?.unwrap_or_default();
            pools(&config).map(|p| (p["name"].as_str().unwrap_or("?").to_owned(), addresses_of(p))).collect()
        }
    };
    let holds = |addresses: &[String]| LbRange::from_metallb(addresses).is_ok_and(|range| range.contains(address));
    let other = all.into_iter().find(|(name, addresses)| name != pool_name(api) && holds(addresses));
    Ok(other.map(|(name, _)| name))
}

/// Whether an advertisement, whoever made it, is one of our pool.
fn is_advertised(host: &dyn Host) -> Result<bool> {
    let advertisements = host.list(&cluster::L2_ADVERTISEMENT, Some(NAMESPACE), "")?;
    Ok(advertisements.iter().any(|a| {
        let names = a["spec"]["ipAddressPools"].as_array();
        names.is_none_or(|names| names.is_empty() || names.iter().any(|n| n == POOL))
    }))
}

fn addresses_of(pool: &Value) -> Vec<String> {
    pool["addresses"].as_array().into_iter().flatten().filter_map(|a| a.as_str().map(str::to_owned)).collect()
}

/// MetalLB 0.9's configuration as it is written; none = no such ConfigMap.
fn text(host: &dyn Host) -> Result<Option<String>> {
    let map = host.get(&cluster::CONFIG_MAP, Some(NAMESPACE), "config")?;
    Ok(map.map(|m| m["data"]["config"].as_str().unwrap_or_default().to_owned()))
}

fn parse(text: &str) -> Result<Value> {
    serde_saphyr::from_str(text)
        .map_err(|e| Error::failed(format!("ConfigMap {NAMESPACE}/config is not MetalLB's")).because(e))
}

fn pools(config: &Value) -> impl Iterator<Item = &Value> {
    config[LIST].as_array().into_iter().flatten()
}

fn deleted(objects: &[Value]) -> Vec<Act> {
    let delete = |object: &Value| {
        cluster::kind_of(object).map(|kind| Act::Delete {
            kind,
            namespace: Some(NAMESPACE.to_owned()),
            name: cluster::state::name(object).to_owned(),
        })
    };
    objects.iter().filter_map(delete).collect()
}

/// What a probe found in the objects; null = nothing.
fn found_now(found: &Probe) -> Value {
    if let Probe::Differs { now, .. } = found { now.clone() } else { Value::Null }
}

/// The step.
pub(super) struct Pool {
    pub(super) channel: Channel,
    pub(super) lb: LbRange,
    pub(super) deadline: Duration,
    pub(super) api: MetallbApi,
    pub(super) known: Known,
}

impl Pool {
    /// The object with these addresses, or with that configuration.
    fn object(&self, content: &Value) -> Value {
        let meta = |name: &str| json!({"name": name, "namespace": NAMESPACE});
        match self.api {
            MetallbApi::Crd => {
                json!({"apiVersion": "metallb.io/v1beta1", "kind": "IPAddressPool", "metadata": meta(POOL),
                "spec": {"addresses": content}})
            }
            MetallbApi::ConfigMap => {
                json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta("config"), "data": {"config": content}})
            }
        }
    }

    fn acts(&self, host: &dyn Host, content: &Value) -> Vec<Act> {
        let mut objects = vec![self.object(content)];
        // By the pool alone is judged what is there: so it is the last one to come, and the last one to go. Without a cluster, which a plan
        // may be asked for, nothing is advertised.
        if self.api == MetallbApi::Crd && !is_advertised(host).unwrap_or_default() {
            // The label is what tells it from somebody's: an object without a field of ours does not say who applied it.
            let meta = json!({"name": ADVERTISEMENT, "namespace": NAMESPACE, "labels": {MANAGED_BY: MANAGER}});
            objects.insert(0, json!({"apiVersion": "metallb.io/v1beta1", "kind": "L2Advertisement", "metadata": meta}));
        }
        objects.into_iter().map(|o| Act::Apply(Box::new(o))).collect()
    }

    /// Our advertisement, if there is one.
    fn advertisement(&self, host: &dyn Host) -> Result<Option<Value>> {
        if self.api != MetallbApi::Crd {
            return Ok(None);
        }
        Ok(host.get(&cluster::L2_ADVERTISEMENT, Some(NAMESPACE), ADVERTISEMENT)?.filter(cluster::is_ours))
    }

    /// What the objects hold now; null = nothing.
    fn now(&self, host: &dyn Host) -> Result<Value> {
        Ok(match self.api {
            MetallbApi::Crd => json!(configured(host, self.api)?.map(|(addresses, _)| addresses)),
            MetallbApi::ConfigMap => json!(text(host)?),
        })
    }

    /// What they should hold in place of what was found: other pools of a configuration stay as they are.
    fn wanted(&self, found: &Probe) -> Result<Value> {
        let addresses: Vec<String> = self.lb.to_string().split(',').map(str::to_owned).collect();
        if self.api == MetallbApi::Crd {
            return Ok(json!(addresses));
        }
        let mut config = found_now(found).as_str().map(parse).transpose()?.unwrap_or_default();
        let ours = json!({"name": CONFIGURED, "protocol": "layer2", "addresses": addresses});
        let others = pools(&config).filter(|p| p["name"] != CONFIGURED).cloned();
        let all: Vec<Value> = others.chain([ours]).collect();
        if !config.is_object() {
            config = json!({});
        }
        config[LIST] = json!(all);
        // JSON is YAML: MetalLB reads it as it is.
        Ok(json!(config.to_string()))
    }

    /// Another pool of the ConfigMap that holds addresses of ours: MetalLB 0.9 would take none of its pools then, and tell nobody. Later
    /// ones refuse such a pool themselves.
    fn overlapping(&self, host: &dyn Host) -> Result<Option<String>> {
        if self.api == MetallbApi::Crd {
            return Ok(None);
        }
        let config = text(host)?.as_deref().map(parse).transpose()?.unwrap_or_default();
        let overlaps = |pool: &&Value| {
            let range = LbRange::from_metallb(&addresses_of(pool));
            pool["name"] != CONFIGURED && range.is_ok_and(|range| range.intersection(&self.lb).is_some())
        };
        Ok(pools(&config).find(overlaps).map(|p| p["name"].as_str().unwrap_or("?").to_owned()))
    }

    /// The service because of which MetalLB 0.9 heeds the pool not yet: it takes no configuration in which a service would lose its address
    /// (its log: `new config not compatible with assigned IPs`), until its controller starts anew. Later ones give out another address.
    fn unheeded(&self, host: &dyn Host) -> Result<Option<String>> {
        if self.api == MetallbApi::Crd {
            return Ok(None);
        }
        let as_wanted = |(addresses, advertised): (Vec<String>, bool)| advertised && self.is_range(&addresses);
        if !configured(host, self.api)?.is_some_and(as_wanted) {
            return Ok(None);
        }
        let config = text(host)?.as_deref().map(parse).transpose()?.unwrap_or_default();
        let all: Vec<LbRange> = pools(&config).filter_map(|p| LbRange::from_metallb(&addresses_of(p)).ok()).collect();
        let lost = |service: &Value| {
            let address = service["status"]["loadBalancer"]["ingress"][0]["ip"].as_str()?.parse().ok()?;
            (!all.iter().any(|range| range.contains(address)))
                .then(|| format!("service {} still has {address}", cluster::state::name(service)))
        };
        Ok(host.list(&cluster::SERVICE, None, "")?.iter().find_map(lost))
    }

    /// Whether these are the addresses that were asked for.
    fn is_range(&self, addresses: &[String]) -> bool {
        LbRange::from_metallb(addresses).is_ok_and(|now| now == self.lb)
    }

    fn controllers(host: &dyn Host) -> Result<Vec<Value>> {
        host.list(&cluster::POD, Some(NAMESPACE), "component=controller")
    }
}

impl Step for Pool {
    fn id(&self) -> &'static str {
        "metallb.pool"
    }

    fn recipe(&self) -> Value {
        json!({"channel": self.channel, "lb": self.lb, "timeouts": {"addon": self.deadline.as_secs()}})
    }

    fn title(&self) -> String {
        format!("addresses {}", self.lb)
    }

    fn probe(&self, host: &dyn Host) -> Result<Probe> {
        if let Some(other) = self.overlapping(host)? {
            return Ok(Probe::Refused {
                why: format!("MetalLB's pool `{other}` holds addresses of {} too", self.lb),
                hint: format!("take another range, or change ConfigMap {NAMESPACE}/config"),
            });
        }
        let Some((addresses, advertised)) = configured(host, self.api)? else {
            return Ok(match self.now(host)? {
                Value::Null => Probe::Absent,
                now => Probe::differs(now, "MetalLB's configuration has no pool of ours"),
            });
        };
        let now = self.now(host)?;
        if let Some(service) = self.unheeded(host)? {
            let begins = |pod: &Value| cluster::state::going(pod) || !cluster::state::is(pod, "Ready");
            return Ok(if Self::controllers(host)?.iter().any(begins) {
                Probe::pending(format!("MetalLB's controller starts; {service}"))
            } else {
                Probe::differs(now, format!("MetalLB does not heed its new pool: {service}"))
            });
        }
        Ok(match (self.is_range(&addresses), advertised) {
            (true, true) => Probe::satisfied(format!("{} addresses", self.lb.len())),
            (true, false) => Probe::differs(now, "the pool is not advertised"),
            (false, _) => Probe::differs(now, format!("the pool holds {}", addresses.join(","))),
        })
    }

    fn apply(&self, host: &dyn Host, found: &Probe) -> Result<Vec<Act>> {
        // Without a cluster, which a plan may be asked for, nothing was found either.
        if matches!(found, Probe::Differs { .. }) && self.unheeded(host)?.is_some() {
            let delete = |pod: &Value| Act::Delete {
                kind: &cluster::POD,
                namespace: Some(NAMESPACE.to_owned()),
                name: cluster::state::name(pod).to_owned(),
            };
            return Ok(Self::controllers(host)?.iter().map(delete).collect());
        }
        Ok(self.acts(host, &self.wanted(found)?))
    }

    fn memo(&self, _: &dyn Host, found: &Probe) -> Result<Memo> {
        Ok(Memo { prior: found_now(found), want: self.wanted(found)? })
    }

    fn undo(&self, host: &dyn Host, memory: &Memory) -> Result<Undo> {
        let now = self.now(host)?;
        let advertisement = self.advertisement(host)?;
        if now.is_null() && memory.prior.is_null() {
            // A run that died between the two left the first one.
            return Ok(advertisement.map_or(Undo::Done, |left| Undo::Acts(deleted(&[left]))));
        }
        if now.is_null() || now == memory.prior {
            return Ok(Undo::Done);
        }
        if !memory.open && !memory.wants.contains(&now) {
            let addresses = configured(host, self.api)?.map(|(addresses, _)| addresses.join(","));
            return Ok(Undo::Keep(format!(
                "somebody made it {} since ({MANAGER} made it {})",
                addresses.as_deref().unwrap_or("another configuration"),
                self.lb
            )));
        }
        if !memory.prior.is_null() {
            return Ok(Undo::Acts(self.acts(host, &memory.prior)));
        }
        if let Some(stays) = super::metallb::stays(host, &self.known)? {
            return Ok(stays);
        }
        let objects: Vec<Value> = advertisement.into_iter().chain([self.object(&Value::Null)]).collect();
        Ok(Undo::Acts(deleted(&objects)))
    }

    fn deadline(&self) -> Duration {
        self.deadline
    }

    fn watches(&self) -> Vec<Watch> {
        // The webhook that judges the pool cannot be watched; its pod can.
        vec![Watch::Objects(&cluster::POD, Some(NAMESPACE.to_owned())), Watch::Pause(Duration::from_millis(500))]
    }

    fn scope(&self) -> Scope {
        Scope::Host
    }

    fn inside(&self) -> Option<&'static str> {
        Some(SNAP)
    }
}
