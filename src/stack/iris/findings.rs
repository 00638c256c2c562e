//! IRIS: whether it starts, what its CPF brought, its licence, and whether it answers where it should.

use crate::{
    config::credentials::PUBLISHED,
    error::finding::Finding,
    kube::{self, state},
    stack::{
        iris::{
            log::{self, Kind},
            names::WEB,
            state::{self as iris, Door, Instance},
        },
        observed::Cluster,
    },
};

/// Instances that nobody wants: `iris-mk8s stop` scales to nought before it stops the cluster, and only its own start sets the number again.
pub(crate) fn stopped(cluster: &Cluster<'_>) -> Vec<Finding> {
    let iris = &cluster.facts.spec.iris;
    let set = cluster.workload(kube::STATEFUL_SET.kind, &iris.namespace, &iris.name);
    let is_stopped = set.is_some_and(|set| set["spec"]["replicas"] == 0) && iris.replicas > 0;
    let message =
        || format!("IRIS is stopped: StatefulSet {} is scaled to 0, and should have {}", iris.name, iris.replicas);
    is_stopped.then(|| Finding::refused(message(), cluster.facts.start_iris())).into_iter().collect()
}

/// Instances that say why they do not start: one finding for each reason.
pub(crate) fn start(cluster: &Cluster<'_>) -> Vec<Finding> {
    let mut findings: Vec<Finding> = Vec::new();
    for sign in log::SIGNS {
        let said = |i: &&Instance| !state::is(&i.pod, "Ready") && i.sign().is_some_and(|s| s.line == sign.line);
        let found: Vec<&Instance> = cluster.instances.iter().filter(said).collect();
        let Some(first) = found.first() else { continue };
        let names: Vec<&str> = found.iter().map(|i| state::name(&i.pod)).collect();
        let image = first.pod["spec"]["containers"][0]["image"].as_str().unwrap_or("?");
        let of = if sign.kind == Kind::Licence { format!(" (image {image})") } else { String::new() };
        findings.push(Finding::refused(
            format!("{}: {}{of}; its log says: {}", names.join(", "), sign.means, sign.line),
            sign.hint,
        ));
    }
    findings
}

pub(crate) fn actions(cluster: &Cluster<'_>) -> Vec<Finding> {
    let finding = |instance: &Instance| {
        let failed = log::failed_actions(&instance.log);
        let first = failed.first()?;
        let more = if failed.len() > 1 { format!(", and {} more", failed.len() - 1) } else { String::new() };
        let message = format!("{}: the CPF was not carried out whole: {first}{more}", state::name(&instance.pod));
        Some(Finding::refused(message, log::ACTIONS_HINT))
    };
    cluster.instances.iter().filter_map(finding).collect()
}

pub(crate) fn licence(cluster: &Cluster<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for instance in &cluster.instances {
        let name = state::name(&instance.pod);
        let page = instance.page.as_deref().unwrap_or_default();
        let free = log::metric(page, "iris_license_available");
        let hint = "end sessions that are not needed, or wait: the portal and REST hold a unit for up to 10 minutes after the last click";
        if free.is_some_and(|free| free < 1.0) {
            findings.push(Finding::refused(
                format!("{name}: all units of its licence are in use: who comes now is turned away"),
                hint,
            ));
        } else if let Some(times) = log::turned_away(&instance.log).filter(|_| state::is(&instance.pod, "Ready")) {
            findings.push(Finding::warned(
                format!("{name}: {times} times somebody was turned away since its start, because all units of its licence were in use"),
                hint,
            ));
        }
        if let Some(ends) = log::ends_soon(page) {
            findings.push(Finding::warned(format!("{name}: {ends}"), "take a newer image before: --image"));
        }
    }
    findings
}

/// Who can log in: with the announced password, and with the one that everybody knows.
pub(crate) fn door(cluster: &Cluster<'_>) -> Vec<Finding> {
    let of = |door: Door| {
        let found = cluster.instances.iter().filter(move |i| i.door.as_ref() == Some(&door));
        found.map(|i| state::name(&i.pod)).collect::<Vec<_>>().join(", ")
    };
    let user = iris::account(&cluster.facts.spec.iris).unwrap_or_default();
    let (open, other) = (of(Door::Open), of(Door::Other));
    let mut findings = Vec::new();
    if !open.is_empty() {
        findings.push(Finding::refused(
            format!(
                "{open}: everybody can log in: {user} takes the password `{PUBLISHED}`, which every image comes with"
            ),
            iris::OPEN_HINT,
        ));
    }
    if !other.is_empty() {
        findings.push(Finding::warned(
            format!("{other}: {user} cannot log in with the password that bootstrap announced: it was changed since, or the volumes had another one before"),
            "log in with the password that was set; in a terminal none is needed: `sudo iris-mk8s session`",
        ));
    }
    findings
}

/// The last question: does a browser get an answer?
pub(crate) fn answers(cluster: &Cluster<'_>) -> Vec<Finding> {
    let iris = &cluster.facts.spec.iris;
    let ready = cluster.instances.iter().filter(|i| state::is(&i.pod, "Ready")).count();
    let name = format!("{}-ext", iris.service);
    let service = cluster
        .services
        .iter()
        .find(|s| s["metadata"]["namespace"] == iris.namespace.as_str() && state::name(s) == name);
    let Some(address) = service.and_then(|s| state::addresses(s).into_iter().next()).filter(|_| ready > 0) else {
        return Vec::new();
    };
    let url = format!("http://{address}:{WEB}/api/monitor/metrics");
    let hint = format!(
        "`microk8s kubectl -n {} get endpointslices -l app={}`; {} sets the packet filter anew",
        iris.namespace,
        iris.service,
        cluster.facts.restart()
    );
    match cluster.facts.host.http_get(&url) {
        Ok((200, _)) => Vec::new(),
        Ok((status, _)) => vec![Finding::refused(
            format!("{url} answers with status {status}, though {ready} instances are ready"),
            hint,
        )],
        Err(e) => vec![Finding::refused(
            format!(
                "there is no answer at {url}, although {ready} instances are ready: {}",
                e.cause.unwrap_or_default()
            ),
            hint,
        )],
    }
}
