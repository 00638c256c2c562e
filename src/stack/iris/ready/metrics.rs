//! What the metrics of IRIS tell: that it answers through the address, how long its licence lasts, which databases are there.

use serde_json::Value;

use super::{inside, instances, log_of};
use crate::{
    config::spec::Iris,
    engine::step::Probe,
    error::Result,
    host::Host,
    kube::state,
    stack::iris::{log, names::WEB, state::address},
};

pub(super) fn through_the_address(host: &dyn Host, iris: &Iris) -> Result<Probe> {
    let Some(ip) = address(host, iris)? else { return Ok(Probe::pending("no address yet")) };
    let url = format!("http://{ip}:{WEB}/api/monitor/metrics");
    let (status, text) = host.http_get(&url)?;
    if status != 200 || !text.contains("\niris_") {
        return Ok(Probe::pending(format!("{url} answers with status {status}")));
    }
    // This host reaches every address that it holds itself: of others on the LAN this says nothing.
    Ok(Probe::satisfied(format!("{url}, asked on this host")))
}

/// A pod's own metrics; none when it has no address or they do not answer as they should, with the reason.
fn page(host: &dyn Host, pod: &Value) -> Result<Result<String, Probe>> {
    let name = state::name(pod);
    let Some(ip) = pod["status"]["podIP"].as_str() else {
        return Ok(Err(Probe::pending(format!("pod {name} has no address"))));
    };
    let (status, text) = host.http_get(&format!("http://{ip}:{WEB}/api/monitor/metrics"))?;
    if status != 200 {
        return Ok(Err(Probe::pending(format!("pod {name}: metrics answer with status {status}"))));
    }
    Ok(Ok(text))
}

/// Days and units that are left. They are warned of and not waited for: time brings no days, and users give units back.
pub(super) fn licence(host: &dyn Host, iris: &Iris) -> Result<Probe> {
    let mut days = f64::INFINITY;
    let mut units = Vec::new();
    let mut warnings = Vec::new();
    for pod in instances(host, iris)? {
        let text = match page(host, &pod)? {
            Ok(text) => text,
            Err(not_yet) => return Ok(not_yet),
        };
        let (name, metric) = (state::name(&pod), |name| log::metric(&text, name));
        let Some(left) = metric("iris_license_days_remaining") else {
            return Ok(Probe::pending(format!("pod {name}: its licence is not in the metrics yet")));
        };
        if let Some(ends) = log::ends_soon(&text).filter(|_| left < days) {
            warnings = vec![format!("{ends}: take a newer one before (--image)")];
        }
        days = days.min(left);
        units.extend(metric("iris_license_available").map(|free| format!("{free} units free in {name}")));
    }
    let units = if units.is_empty() { String::new() } else { format!(", {}", units.join(", ")) };
    Ok(Probe::Satisfied { note: format!("{days} days left{units}"), warnings })
}

/// Each pod's own metrics name its databases; a sensor takes them once in a while, so they come later than the page. Namespaces are
/// not in them: these are asked of IRIS' own configuration.
pub(super) fn databases(host: &dyn Host, iris: &Iris) -> Result<Probe> {
    let mut warnings = Vec::new();
    for pod in instances(host, iris)? {
        let text = match page(host, &pod)? {
            Ok(text) => text,
            Err(not_yet) => return Ok(not_yet),
        };
        let name = state::name(&pod);
        // IRIS keeps the names of databases in capitals, however the CPF writes them.
        let there: Vec<&str> =
            text.lines().filter_map(|l| l.strip_prefix("iris_db_size_mb{id=\"")?.split('"').next()).collect();
        let missing = iris.databases.iter().find(|d| !there.iter().any(|name| name.eq_ignore_ascii_case(d)));
        let missing = match missing {
            Some(database) => Some(format!("database {database}")),
            None => inside::missing_namespace(host, iris, name)?.map(|n| format!("namespace {n}")),
        };
        let log = log_of(host, iris, name, false).unwrap_or_default();
        let failed = log::failed_actions(&log);
        match (missing, failed.first()) {
            (Some(missing), Some(failed)) => {
                return Ok(Probe::Hopeless {
                    why: format!("pod {name}: an action of the CPF failed, and there is no {missing}: {failed}"),
                    hint: log::ACTIONS_HINT.to_owned(),
                });
            }
            (Some(missing), None) => return Ok(Probe::pending(format!("pod {name}: {missing} is not there yet"))),
            (None, Some(failed)) => {
                warnings.push(format!("pod {name}: an action of the CPF failed: {failed}; {}", log::ACTIONS_HINT));
            }
            (None, None) => {}
        }
    }
    let there: Vec<&str> = iris.databases.iter().chain(&iris.namespaces).map(String::as_str).collect();
    Ok(Probe::Satisfied { note: there.join(", "), warnings })
}
