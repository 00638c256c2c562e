//! MetalLB: the addon, and the pool. MicroK8s makes the pool last, in a loop without an end, and takes an addon without a pool for
//! enabled ever after; another range it ignores. So the pool is read back, and applied by us when it is not what was asked for.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    SNAP,
    addons::{judge, take_away},
};
use crate::{
    cluster::{self, Kind, MANAGER},
    error::{Error, Result},
    host::{Cmd, Host, Watch},
    lb_range::LbRange,
    spec::Spec,
    step::{Act, Memo, Memory, Probe, Scope, Step, Undo},
    version::{Channel, MetallbApi},
};

const NAMESPACE: &str = "metallb-system";

/// As MicroK8s names them.
const POOL: &str = "default-addresspool";
const ADVERTISEMENT: &str = "default-advertise-all-pools";

/// The definition of the kind of pools.
const POOLS: &str = "ipaddresspools.metallb.io";

/// The name that a service gives to our pool. There may be others, and MetalLB would take any of them.
pub(super) fn pool_name(api: MetallbApi) -> &'static str {
    match api {
        MetallbApi::Crd => POOL,
        MetallbApi::ConfigMap => CONFIGURED,
    }
}

/// Our pool in the ConfigMap, as MicroK8s names it.
const CONFIGURED: &str = "default";

/// The steps.
pub(super) fn all(spec: &Spec) -> Vec<Box<dyn Step>> {
    let (lb, deadline, row) = (spec.lb.clone(), spec.timeouts.addon.into(), spec.channel.row());
    vec![
        Box::new(Addon { lb: lb.clone(), deadline, images: row.metallb_images }),
        Box::new(Pool { lb, deadline, api: row.metallb }),
    ]
}

/// The addon.
struct Addon {
    lb: LbRange,
    deadline: Duration,
    /// Where the images are, when those of the addon are gone.
    images: Option<(&'static str, &'static str)>,
}

/// The addon's workloads, each with one container of the same name.
const CONTROLLER: (&Kind, &str) = (&cluster::DEPLOYMENT, "controller");
const SPEAKER: (&Kind, &str) = (&cluster::DAEMON_SET, "speaker");

impl Addon {
    /// The workloads with images that exist.
    fn replaced(&self) -> Vec<Value> {
        let Some((prefix, tag)) = self.images else { return Vec::new() };
        let workload = |(kind, name): (&Kind, &str)| {
            json!({"apiVersion": "apps/v1", "kind": kind.kind, "metadata": {"name": name, "namespace": NAMESPACE},
                "spec": {"template": {"spec": {"containers": [{"name": name, "image": format!("{prefix}/{name}:{tag}")}]}}}})
        };
        vec![workload(CONTROLLER), workload(SPEAKER)]
    }

    /// Whether a workload is there and names an image that is gone.
    fn outdated(&self, host: &dyn Host) -> Result<bool> {
        for want in self.replaced() {
            let kind = if want["kind"] == CONTROLLER.0.kind { CONTROLLER.0 } else { SPEAKER.0 };
            let now = host.get(kind, Some(NAMESPACE), cluster::state::name(&want))?;
            if now.is_some_and(|now| !cluster::state::differences(&want["spec"], &now["spec"]).is_empty()) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn enable(&self) -> Act {
        Act::Run(Cmd::changes(
            self.deadline,
            ["microk8s".to_owned(), "enable".to_owned(), format!("metallb:{}", self.lb)],
        ))
    }

    fn disable(&self) -> Act {
        Act::Run(Cmd::changes(self.deadline, ["microk8s", "disable", "metallb"]))
    }

    fn replace(&self) -> Vec<Act> {
        self.replaced().into_iter().map(|w| Act::Apply(Box::new(w))).collect()
    }
}

impl Step for Addon {
    fn id(&self) -> &'static str {
        "addon.metallb"
    }

    fn title(&self) -> String {
        "addon metallb".to_owned()
    }

    fn probe(&self, host: &dyn Host) -> Result<Probe> {
        if self.outdated(host)? {
            return Ok(Probe::differs(json!({"images": "gone"}), "its images are gone from their registry since 2023"));
        }
        judge(host, &[CONTROLLER, SPEAKER].map(|(kind, name)| (kind, Some(NAMESPACE), name)))
    }

    fn apply(&self, _: &dyn Host, found: &Probe) -> Result<Vec<Act>> {
        let (enable, disable) = (self.enable(), self.disable());
        Ok(match found {
            Probe::Differs { now, .. } if now["images"] == "gone" => self.replace(),
            Probe::Differs { .. } => [disable, enable].into_iter().chain(self.replace()).collect(),
            _ => std::iter::once(enable).chain(self.replace()).collect(),
        })
    }

    fn memo(&self, _: &dyn Host, found: &Probe) -> Result<Memo> {
        let prior = if let Probe::Differs { now, .. } = found { now.clone() } else { Value::Null };
        Ok(Memo { prior, want: json!({"enabled": true}) })
    }

    fn undo(&self, host: &dyn Host, memory: &Memory) -> Result<Undo> {
        if !memory.prior.is_null() {
            return Ok(Undo::Keep("it was there before, half; it was repaired and stays".to_owned()));
        }
        // The kinds come first and go first, so either may be there alone.
        let namespace = host.get(&cluster::NAMESPACE, None, NAMESPACE)?;
        let kind = host.get(&cluster::CUSTOM_RESOURCE_DEFINITION, None, POOLS)?;
        let left: Vec<Value> = namespace.into_iter().chain(kind).collect();
        if let Some(going) = left.iter().find(|o| cluster::state::going(o)) {
            return Ok(Undo::Pending(format!("{} is being deleted", cluster::describe(going))));
        }
        if left.is_empty() {
            return Ok(Undo::Done);
        }
        Ok(Undo::Acts(take_away(host, "metallb", self.enable(), self.disable())?))
    }

    fn deadline(&self) -> Duration {
        self.deadline
    }

    fn watches(&self) -> Vec<Watch> {
        let kinds = [&cluster::DEPLOYMENT, &cluster::DAEMON_SET, &cluster::POD];
        kinds.map(|kind| Watch::Objects(kind, Some(NAMESPACE.to_owned()))).to_vec()
    }

    fn scope(&self) -> Scope {
        Scope::Host
    }

    fn inside(&self) -> Option<&'static str> {
        Some(SNAP)
    }
}

/// The pool and its advertisement.
struct Pool {
    lb: LbRange,
    deadline: Duration,
    api: MetallbApi,
}

/// The addresses that MetalLB may give out now; none without a pool.
///
/// # Errors
/// The cluster does not answer.
pub fn pool(host: &dyn Host, channel: &Channel) -> Result<Option<LbRange>> {
    let found = configured(host, channel.row().metallb)?;
    Ok(found.and_then(|(addresses, _)| LbRange::from_metallb(&addresses).ok()))
}

/// The addresses of the pool, and whether it is advertised; none = no pool.
///
/// # Errors
/// The cluster does not answer, or its configuration is none of MetalLB's.
pub fn configured(host: &dyn Host, api: MetallbApi) -> Result<Option<(Vec<String>, bool)>> {
    match api {
        MetallbApi::Crd => {
            let Some(pool) = host.get(&cluster::IP_ADDRESS_POOL, Some(NAMESPACE), POOL)? else { return Ok(None) };
            let addresses = pool["spec"]["addresses"].as_array().into_iter().flatten();
            let advertisements = host.list(&cluster::L2_ADVERTISEMENT, Some(NAMESPACE), "")?;
            let advertised = advertisements.iter().any(|a| {
                let names = a["spec"]["ipAddressPools"].as_array();
                names.is_none_or(|names| names.is_empty() || names.iter().any(|n| n == POOL))
            });
            Ok(Some((addresses.filter_map(|a| a.as_str().map(str::to_owned)).collect(), advertised)))
        }
        MetallbApi::ConfigMap => {
            let map = host.get(&cluster::CONFIG_MAP, Some(NAMESPACE), "config")?;
            let Some(text) = map.as_ref().and_then(|m| m["data"]["config"].as_str()) else { return Ok(None) };
            let config: Config = serde_saphyr::from_str(text)
                .map_err(|e| Error::failed(format!("ConfigMap {NAMESPACE}/config is not MetalLB's")).because(e))?;
            let pools = config.address_pools;
            let addresses = pools.iter().flat_map(|p| p.addresses.clone()).collect();
            Ok((!pools.is_empty()).then_some((addresses, pools.iter().all(|p| p.protocol == "layer2"))))
        }
    }
}

impl Pool {
    fn objects(&self, addresses: &[String]) -> Vec<Value> {
        let meta = |name: &str| json!({"name": name, "namespace": NAMESPACE});
        match self.api {
            MetallbApi::Crd => vec![
                json!({"apiVersion": "metallb.io/v1beta1", "kind": "IPAddressPool", "metadata": meta(POOL),
                    "spec": {"addresses": addresses}}),
                json!({"apiVersion": "metallb.io/v1beta1", "kind": "L2Advertisement", "metadata": meta(ADVERTISEMENT)}),
            ],
            // JSON is YAML: MetalLB reads it as it is.
            MetallbApi::ConfigMap => {
                let pool = json!({"name": CONFIGURED, "protocol": "layer2", "addresses": addresses});
                let config = json!({"address-pools": [pool]}).to_string();
                vec![
                    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta("config"), "data": {"config": config}}),
                ]
            }
        }
    }

    fn wanted(&self) -> Vec<String> {
        self.lb.to_string().split(',').map(str::to_owned).collect()
    }
}

/// MetalLB 0.9's configuration.
#[derive(Deserialize)]
struct Config {
    #[serde(rename = "address-pools", default)]
    address_pools: Vec<ConfigPool>,
}

#[derive(Deserialize)]
struct ConfigPool {
    #[serde(default)]
    protocol: String,
    #[serde(default)]
    addresses: Vec<String>,
}

impl Step for Pool {
    fn id(&self) -> &'static str {
        "metallb.pool"
    }

    fn title(&self) -> String {
        format!("addresses {}", self.lb)
    }

    fn probe(&self, host: &dyn Host) -> Result<Probe> {
        let Some((addresses, advertised)) = configured(host, self.api)? else { return Ok(Probe::Absent) };
        let same = LbRange::from_metallb(&addresses).is_ok_and(|now| now == self.lb);
        Ok(match (same, advertised) {
            (true, true) => Probe::satisfied(format!("{} addresses", self.lb.len())),
            (true, false) => Probe::differs(json!(addresses), "the pool is not advertised"),
            (false, _) => Probe::differs(json!(addresses), format!("the pool holds {}", addresses.join(","))),
        })
    }

    fn apply(&self, _: &dyn Host, _: &Probe) -> Result<Vec<Act>> {
        Ok(self.objects(&self.wanted()).into_iter().map(|o| Act::Apply(Box::new(o))).collect())
    }

    fn memo(&self, _: &dyn Host, found: &Probe) -> Result<Memo> {
        let prior = if let Probe::Differs { now, .. } = found { now.clone() } else { Value::Null };
        Ok(Memo { prior, want: json!(self.wanted()) })
    }

    fn undo(&self, host: &dyn Host, memory: &Memory) -> Result<Undo> {
        let Some((addresses, _)) = configured(host, self.api)? else { return Ok(Undo::Done) };
        let now = json!(addresses);
        if now == memory.prior {
            return Ok(Undo::Done);
        }
        if !memory.open && !memory.wants.contains(&now) {
            return Ok(Undo::Keep(format!(
                "somebody made it {} since ({MANAGER} made it {})",
                addresses.join(","),
                self.lb
            )));
        }
        if let Ok(before) = serde_json::from_value::<Vec<String>>(memory.prior.clone()) {
            return Ok(Undo::Acts(self.objects(&before).into_iter().map(|o| Act::Apply(Box::new(o))).collect()));
        }
        let delete = |object: &Value| {
            cluster::kind_of(object).map(|kind| Act::Delete {
                kind,
                namespace: Some(NAMESPACE.to_owned()),
                name: cluster::state::name(object).to_owned(),
            })
        };
        Ok(Undo::Acts(self.objects(&[]).iter().rev().filter_map(delete).collect()))
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
