//! MetalLB's pool. MicroK8s makes it last, in a loop without an end, and takes an addon without a pool for enabled ever after; another
//! range it ignores. So the pool is read back, and applied by us when it is not what was asked for. Pools of others stay as they are, and so
//! does the one that MicroK8s made as long as it serves somebody else: then ours stands beside it (see [`super::state`]).

use std::{
    net::Ipv4Addr,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use serde_json::{Value, json};

use super::state::{self as pools, LIST, NAMESPACE, OWN, Pools, made_by_microk8s};
use crate::{
    config::{
        lb_range::LbRange,
        spec::Iris,
        version::{Channel, MetallbApi},
    },
    engine::step::{Act, Memo, Memory, Probe, SNAP, Scope, Step, Undo},
    error::Result,
    host::{Host, Watch},
    kube::{self, MANAGER, state},
    stack::{
        iris::names::{self as iris, MANAGED_BY},
        microk8s::state as microk8s,
    },
};

/// The definition of the kind of pools.
pub(crate) const POOLS: &str = "ipaddresspools.metallb.io";

/// A controller that starts reads its pools within this time.
const READS_WITHIN: Duration = Duration::from_secs(5);

/// What a probe found in the objects; null = nothing.
fn found_now(found: &Probe) -> Value {
    if let Probe::Differs { now, .. } = found { now.clone() } else { Value::Null }
}

/// The step.
pub(crate) struct Pool {
    pub(crate) channel: Channel,
    pub(crate) lb: LbRange,
    pub(crate) deadline: Duration,
    pub(crate) api: MetallbApi,
    /// The one whose service gets an address.
    pub(crate) iris: Iris,
    /// The controller that runs and does not heed its pools, and since when it is seen to.
    pub(crate) deaf: Mutex<Option<(String, Duration)>>,
}

impl Pool {
    pub(crate) fn pools(&self, host: &dyn Host) -> Result<Pools> {
        Pools::read(host, self.api, Some(&self.iris))
    }

    /// The pool of this name with these addresses.
    pub(crate) fn object(name: &str, addresses: &Value) -> Value {
        let mut spec = json!({"addresses": addresses});
        if name == OWN {
            spec["autoAssign"] = json!(false);
        }
        json!({"apiVersion": "metallb.io/v1beta1", "kind": "IPAddressPool", "metadata": {"name": name, "namespace": NAMESPACE},
            "spec": spec})
    }

    pub(crate) fn config_map(config: &Value) -> Value {
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "config", "namespace": NAMESPACE},
            "data": {"config": config}})
    }

    /// What is there of the pools that may be ours, by their names; MetalLB 0.9's configuration as its text; null = nothing.
    fn now(&self, host: &dyn Host) -> Result<Value> {
        if self.api == MetallbApi::ConfigMap {
            return Ok(json!(pools::text(host)?));
        }
        let pools = self.pools(host)?;
        let mut now = json!({});
        for pool in [OWN, made_by_microk8s(self.api)].iter().filter_map(|name| pools.find(name)) {
            now[&pool.name] = json!(pool.addresses);
        }
        Ok(if now.as_object().is_some_and(serde_json::Map::is_empty) { Value::Null } else { now })
    }

    /// The addresses that were asked for, as MetalLB takes them.
    fn addresses(&self) -> Value {
        json!(self.lb.to_string().split(',').collect::<Vec<_>>())
    }

    /// Their pool as an entry of MetalLB 0.9's configuration.
    fn entry(&self, name: &str) -> Value {
        let mut entry = json!({"name": name, "protocol": "layer2", "addresses": self.addresses()});
        if name == OWN {
            entry["auto-assign"] = json!(false);
        }
        entry
    }

    /// What the pool of this name shall be in place of what was found, in the form of [`Pool::now`].
    fn wanted(&self, found: &Value, name: &str) -> Result<Value> {
        if self.api == MetallbApi::Crd {
            return Ok(json!({name: self.addresses()}));
        }
        let config = found.as_str().map(pools::parse).transpose()?.unwrap_or_default();
        // JSON is YAML: MetalLB reads it as it is.
        Ok(json!(with_entry(config, name, Some(self.entry(name))).to_string()))
    }

    fn acts(&self, pools: &Pools, name: &str, wanted: &Value) -> Vec<Act> {
        let apply = |object| Act::Apply(Box::new(object));
        if self.api == MetallbApi::ConfigMap {
            return vec![apply(Self::config_map(wanted))];
        }
        // By the pool alone is judged what is there: so it is the last one to come, and the last one to go. The label is what tells the
        // advertisement from somebody's. Each pool has one of its own: what was advertised once may serve somebody.
        let advertisement = |(called, of_all): (String, bool)| {
            let meta = json!({"name": called, "namespace": NAMESPACE, "labels": {MANAGED_BY: MANAGER}});
            let mut object = json!({"apiVersion": "metallb.io/v1beta1", "kind": "L2Advertisement", "metadata": meta});
            if !of_all {
                object["spec"] = json!({"ipAddressPools": [name]});
            }
            object
        };
        let first = pools.advertisement_for(name).map(advertisement);
        first.into_iter().chain([Self::object(name, &wanted[name])]).map(apply).collect()
    }

    /// Our advertisements: an earlier version of this program called them as MicroK8s does.
    pub(crate) fn advertisements(&self, host: &dyn Host) -> Result<Vec<Value>> {
        if self.api != MetallbApi::Crd {
            return Ok(Vec::new());
        }
        let all = host.list(&kube::L2_ADVERTISEMENT, Some(NAMESPACE), "")?;
        Ok(all.into_iter().filter(|a| kube::is_ours(a) && a["metadata"]["labels"][MANAGED_BY] == MANAGER).collect())
    }

    /// Why these addresses cannot be ours; none when they can.
    fn refusal(&self, pools: &Pools, name: &str) -> Option<Probe> {
        let services = |losers: Vec<String>| {
            if losers.is_empty() { String::new() } else { format!(", and serves somebody: {}", losers.join(", ")) }
        };
        if let Some((other, common)) = pools.overlapping(name, &self.lb) {
            let whole = other.range().map(|range| range.to_string()).unwrap_or_default();
            let uses = if other.name == made_by_microk8s(self.api) {
                format!("; or all of that pool's, and it is used as it is: --lb {whole}")
            } else {
                format!("; or take that pool away: `microk8s kubectl -n {NAMESPACE} get {}`", self.kind())
            };
            return Some(Probe::Refused {
                why: format!(
                    "MetalLB's pool `{}` ({whole}) holds {common} of {} too{}",
                    other.name,
                    self.lb,
                    services(pools.losers(&other.name, None))
                ),
                hint: format!("take addresses that no other pool has: --lb{uses}"),
            });
        }
        let losers = pools.losers(name, Some(&self.lb));
        (!losers.is_empty()).then(|| Probe::Refused {
            why: format!(
                "with {} in MetalLB's pool `{name}` services that belong to somebody else would lose their addresses: {}",
                self.lb,
                losers.join(", ")
            ),
            hint: "take a range with these addresses in it, or give these services another pool before".to_owned(),
        })
    }

    fn kind(&self) -> &'static str {
        if self.api == MetallbApi::Crd { "ipaddresspools" } else { "configmap config" }
    }

    /// A service because of which MetalLB 0.9 heeds its pools not yet: it takes no configuration in which a service would lose its address
    /// (its log: `new config not compatible with assigned IPs`), until its controller starts anew. Later ones give out another address.
    pub(crate) fn blocking_service(&self, pools: &Pools, concerns: impl Fn(Ipv4Addr) -> bool) -> Option<String> {
        if self.api == MetallbApi::Crd || pools.all.is_empty() {
            return None;
        }
        let lost = pools.holders.iter().find(|h| concerns(h.address) && !pools.all.iter().any(|p| p.holds(h.address)));
        lost.map(|holder| format!("service {} still has {}", holder.service, holder.address))
    }

    /// Whether a controller starts, or may have started so short a time ago that it has not read its pools yet.
    pub(crate) fn begins(&self, host: &dyn Host, controllers: &[Value]) -> bool {
        if controllers.iter().any(|pod| state::going(pod) || !state::is(pod, "Ready")) {
            return true;
        }
        let names: Vec<&str> = controllers.iter().map(state::name).collect();
        let (names, now) = (names.join(","), host.now());
        let mut deaf = self.deaf.lock().unwrap_or_else(PoisonError::into_inner);
        match &*deaf {
            Some((known, since)) if *known == names => now < *since + READS_WITHIN,
            _ => {
                *deaf = Some((names, now));
                true
            }
        }
    }

    /// Whether these are the addresses that were asked for.
    fn is_range(&self, addresses: &[String]) -> bool {
        LbRange::from_metallb(addresses).is_ok_and(|now| now == self.lb)
    }
}

/// The configuration with this entry in the place of the one of that name, or without it; the other pools stay as they are.
pub(crate) fn with_entry(mut config: Value, name: &str, entry: Option<Value>) -> Value {
    if !config.is_object() {
        config = json!({});
    }
    let all = config[LIST].as_array().cloned().unwrap_or_default();
    let others = all.into_iter().filter(|pool| pool["name"] != name);
    config[LIST] = others.chain(entry).collect();
    config
}

pub(crate) fn controllers(host: &dyn Host) -> Result<Vec<Value>> {
    host.list(&kube::POD, Some(NAMESPACE), "component=controller")
}

pub(crate) fn deleted(object: &Value) -> Option<Act> {
    let namespace = Some(NAMESPACE.to_owned());
    kube::kind_of(object).map(|kind| Act::Delete { kind, namespace, name: state::name(object).to_owned() })
}

pub(crate) fn restarted(pods: &[Value]) -> Vec<Act> {
    let delete = |pod: &Value| Act::Delete {
        kind: &kube::POD,
        namespace: Some(NAMESPACE.to_owned()),
        name: state::name(pod).to_owned(),
    };
    pods.iter().map(delete).collect()
}

impl Step for Pool {
    fn id(&self) -> &'static str {
        "metallb.pool"
    }

    fn recipe(&self) -> Value {
        json!({"channel": self.channel, "lb": self.lb, "iris": iris::recipe(&self.iris),
            "timeouts": {"addon": self.deadline.as_secs()}})
    }

    fn title(&self) -> String {
        format!("address pool {}", self.lb)
    }

    fn probe(&self, host: &dyn Host) -> Result<Probe> {
        let pools = self.pools(host)?;
        let name = pools.ours(&self.lb);
        if let Some(refused) = self.refusal(&pools, name) {
            return Ok(refused);
        }
        let now = self.now(host)?;
        let Some(pool) = pools.find(name) else {
            return Ok(match now {
                Value::Null => Probe::Absent,
                now => Probe::differs(now, "MetalLB's configuration has no pool of ours"),
            });
        };
        let is_range = self.is_range(&pool.addresses);
        if let Some(service) = self.blocking_service(&pools, |_| is_range && pool.advertised) {
            return Ok(if self.begins(host, &controllers(host)?) {
                Probe::pending(format!("MetalLB's controller starts; {service}"))
            } else {
                Probe::differs(now, format!("MetalLB does not heed its new pool: {service}"))
            });
        }
        Ok(match (is_range, pool.advertised) {
            (true, true) => Probe::satisfied(format!("{} addresses", self.lb.len())),
            (true, false) => Probe::differs(now, "the pool is not advertised"),
            (false, _) => Probe::differs(now, format!("the pool holds {}", pool.addresses.join(","))),
        })
    }

    fn apply(&self, host: &dyn Host, found: &Probe) -> Result<Vec<Act>> {
        // Without a cluster, which a plan may be asked for, nothing was found either.
        let pools = self.pools(host).or_else(|e| if e.transient { Ok(Pools::none(self.api)) } else { Err(e) })?;
        let name = pools.ours(&self.lb);
        let as_wanted = |pool: &pools::Pool| pool.advertised && self.is_range(&pool.addresses);
        if pools.find(name).is_some_and(as_wanted) && self.blocking_service(&pools, |_| true).is_some() {
            return Ok(restarted(&controllers(host)?));
        }
        Ok(self.acts(&pools, name, &self.wanted(&found_now(found), name)?))
    }

    fn memo(&self, host: &dyn Host, found: &Probe) -> Result<Memo> {
        let name = self.pools(host)?.ours(&self.lb);
        let prior = found_now(found);
        Ok(Memo { want: self.wanted(&prior, name)?, prior })
    }

    fn undo(&self, host: &dyn Host, memory: &Memory) -> Result<Undo> {
        let undone =
            if self.api == MetallbApi::Crd { self.undo_objects(host, memory)? } else { self.undo_text(host, memory)? };
        match undone {
            Undo::Done => self.heeds_again(host, memory),
            other => Ok(other),
        }
    }

    /// MetalLB 0.9 may not heed its new pools until its controller starts anew.
    fn follows(&self, host: &dyn Host, _: &Probe) -> Result<Vec<Act>> {
        if self.api == MetallbApi::Crd || host.snapd_get(microk8s::SNAP)?.is_none() {
            return Ok(Vec::new());
        }
        match controllers(host) {
            // Its name is not known before the cluster answers.
            Err(e) if e.transient => Ok(restarted(&[json!({"metadata": {"name": "controller-..."}})])),
            found => Ok(restarted(&found?)),
        }
    }

    fn foresees(&self, host: &dyn Host, _: &Memory) -> Result<Vec<String>> {
        Ok(self.follows(host, &Probe::Absent)?.iter().map(Act::show).collect())
    }

    fn deadline(&self) -> Duration {
        self.deadline
    }

    fn watches(&self) -> Vec<Watch> {
        // The webhook that judges the pool cannot be watched; its pod can.
        vec![Watch::Objects(&kube::POD, Some(NAMESPACE.to_owned())), Watch::Pause(Duration::from_millis(500))]
    }

    fn scope(&self) -> Scope {
        Scope::Host
    }

    fn inside(&self) -> Option<&'static str> {
        Some(SNAP)
    }
}
