//! How MetalLB's pool is taken back: our part is removed, the former pool is restored, and what serves somebody else stays.

use std::net::Ipv4Addr;

use serde_json::{Value, json};

use super::{
    pool::{Pool, controllers, deleted, restarted, with_entry},
    state::{self as pools, LIST, OWN, addresses_of, made_by_microk8s},
};
use crate::{
    config::{lb_range::LbRange, version::MetallbApi},
    engine::step::{Act, Memory, Undo},
    error::Result,
    host::Host,
    kube::{self, MANAGER},
};

/// Why a pool stays.
fn serves(losers: &[String]) -> Undo {
    Undo::Keep(format!("services that belong to somebody else would lose their addresses: {}", losers.join(", ")))
}

impl Pool {
    /// Takes back what we made of each pool that may be ours: it gets back what was there before us, or goes.
    pub(crate) fn undo_objects(&self, host: &dyn Host, memory: &Memory) -> Result<Undo> {
        let pools = self.pools(host)?;
        let default = made_by_microk8s(self.api);
        // An earlier version of this program wrote down the addresses of the one pool that it knew.
        let by_name = |value: &Value| if value.is_array() { json!({default: value}) } else { value.clone() };
        let prior = by_name(&memory.prior);
        let wants: Vec<Value> = memory.wants.iter().map(by_name).collect();
        let mut acts = Vec::new();
        for name in [OWN, default] {
            let Some(now) = pools.find(name) else { continue };
            let before = &prior[name];
            let addresses = json!(now.addresses);
            if *before == addresses || wants.iter().all(|want| want[name].is_null()) {
                continue;
            }
            if !memory.open && !wants.iter().any(|want| want[name] == addresses) {
                return Ok(Undo::Theirs(format!(
                    "somebody made it {} since ({MANAGER} made it {})",
                    now.addresses.join(","),
                    self.lb
                )));
            }
            let instead = LbRange::from_metallb(&addresses_of(&json!({"addresses": before}))).ok();
            let losers = pools.losers(name, instead.as_ref());
            if !losers.is_empty() {
                return Ok(serves(&losers));
            }
            acts.push(if before.is_null() {
                deleted(&Self::object(name, &Value::Null)).into_iter().collect()
            } else {
                vec![Act::Apply(Box::new(Self::object(name, before)))]
            });
        }
        // By the pool alone is judged what is there: so it is the last one to go.
        let advertisements = self.advertisements(host)?;
        let acts: Vec<Act> = advertisements.iter().filter_map(deleted).chain(acts.into_iter().flatten()).collect();
        Ok(if acts.is_empty() { Undo::Done } else { Undo::Acts(acts) })
    }

    /// The same where all pools are one text. As we wrote it, it gets back what it was; what others changed in it since stays.
    pub(crate) fn undo_text(&self, host: &dyn Host, memory: &Memory) -> Result<Undo> {
        let now = json!(pools::text(host)?);
        if now.is_null() || now == memory.prior {
            return Ok(Undo::Done);
        }
        let of_us =
            host.get(&kube::CONFIG_MAP, Some(pools::NAMESPACE), "config")?.is_none_or(|object| kube::is_ours(&object));
        if !memory.open && !of_us {
            return Ok(Undo::Theirs("somebody has replaced it with one of their own".to_owned()));
        }
        let read = |text: &Value| text.as_str().map(pools::parse).transpose().map(Option::unwrap_or_default);
        let Ok(config) = read(&now) else {
            // It was written as a whole, so it is not half of ours.
            return Ok(Undo::Theirs("somebody made it something that MetalLB does not take".to_owned()));
        };
        let prior = read(&memory.prior)?;
        let wants = memory.wants.iter().map(read).collect::<Result<Vec<Value>>>()?;
        let entry = |config: &Value, name: &str| {
            config[LIST].as_array().into_iter().flatten().find(|pool| pool["name"] == name).cloned()
        };
        let pools = self.pools(host)?;
        let mut merged = config.clone();
        let mut theirs = false;
        for name in [OWN, made_by_microk8s(self.api)] {
            let (is, was) = (entry(&config, name), entry(&prior, name));
            if is == was || wants.iter().all(|want| entry(want, name).is_none()) {
                continue;
            }
            theirs |= !memory.open && !wants.iter().any(|want| entry(want, name) == is);
            let instead = was.as_ref().and_then(|pool| LbRange::from_metallb(&addresses_of(pool)).ok());
            let losers = pools.losers(name, instead.as_ref());
            if !losers.is_empty() {
                return Ok(serves(&losers));
            }
            merged = with_entry(merged, name, was);
        }
        if theirs {
            let of_ours = pools.present().map_or_else(|| "another configuration".to_owned(), |p| p.addresses.join(","));
            return Ok(Undo::Theirs(format!("somebody made it {of_ours} since ({MANAGER} made it {})", self.lb)));
        }
        let as_written = memory.open || memory.wants.contains(&now);
        let nothing = |config: &Value| {
            config.as_object().is_none_or(|fields| fields.len() <= 1) && pools::entries(config).is_empty()
        };
        Ok(if as_written && !memory.prior.is_null() {
            Undo::Acts(vec![Act::Apply(Box::new(Self::config_map(&memory.prior)))])
        } else if as_written || (memory.prior.is_null() && nothing(&merged)) {
            Undo::Acts(deleted(&Self::config_map(&Value::Null)).into_iter().collect())
        } else if merged == config {
            // What else differs was changed by others.
            Undo::Done
        } else {
            Undo::Acts(vec![Act::Apply(Box::new(Self::config_map(&json!(merged.to_string()))))])
        })
    }

    /// MetalLB 0.9 ignores the restored pool as it ignored ours: a service that we moved would keep its address.
    pub(crate) fn heeds_again(&self, host: &dyn Host, memory: &Memory) -> Result<Undo> {
        if self.api == MetallbApi::Crd {
            return Ok(Undo::Done);
        }
        let mut ours = Vec::new();
        for want in memory.wants.iter().filter_map(Value::as_str) {
            let pools = pools::entries(&pools::parse(want)?);
            ours.extend(pools.into_iter().filter(|p| p.name == OWN || p.name == made_by_microk8s(self.api)));
        }
        let moved = |address: Ipv4Addr| ours.iter().any(|pool| pool.holds(address));
        let Some(service) = self.blocking_service(&self.pools(host)?, moved) else { return Ok(Undo::Done) };
        let controllers = controllers(host)?;
        Ok(if controllers.is_empty() {
            Undo::Done
        } else if self.begins(host, &controllers) {
            Undo::Pending(format!("MetalLB's controller starts; {service}"))
        } else {
            Undo::Acts(restarted(&controllers))
        })
    }
}
