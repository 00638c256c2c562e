//! The checks of a cluster, in the order of importance: an earlier finding can be the cause of a later one.

use crate::{
    error::finding::Finding,
    stack::{
        iris::{self, pods, reach},
        longhorn, metallb,
        microk8s::{node, storage},
        observed::Cluster,
    },
};

/// A check of what was read.
#[derive(Debug)]
pub struct Check {
    /// Its name.
    pub id: &'static str,
    judge: Judge,
}

/// A judgement; as it should be when it finds nothing.
type Judge = fn(&Cluster<'_>) -> Vec<Finding>;

const fn check(id: &'static str, judge: Judge) -> Check {
    Check { id, judge }
}

/// The checks.
pub const ALL: &[Check] = &[
    check("node", node::ready),
    check("pressure", node::pressure),
    check("pull", pods::pulls),
    check("longhorn-removal", longhorn::findings::removal),
    check("longhorn-host", longhorn::findings::on_host),
    check("longhorn-driver", longhorn::findings::driver),
    check("longhorn-disks", longhorn::findings::disks),
    check("longhorn-volumes", longhorn::findings::volumes),
    check("storage", storage::provisioner),
    check("claims", storage::claims),
    check("volumes", pods::volumes),
    check("scheduling", pods::scheduling),
    check("iris-stopped", iris::findings::stopped),
    check("iris-start", iris::findings::start),
    check("crash", pods::crashes),
    check("iris-cpf", iris::findings::actions),
    check("iris-licence", iris::findings::licence),
    check("iris-door", iris::findings::door),
    check("pod-network", pods::network),
    check("pod-routes", reach::routes),
    check("dns-pods", pods::dns),
    check("names", reach::names),
    check("metallb", metallb::findings::runs),
    check("metallb-pool", metallb::findings::pool),
    check("address", metallb::findings::address),
    check("strangers", reach::strangers),
    check("answer", iris::findings::answers),
];

/// All findings, in the order of the table.
pub fn judge(cluster: &Cluster<'_>) -> Vec<Finding> {
    let of = |check: &Check| {
        let mut findings = (check.judge)(cluster);
        if findings.is_empty() {
            findings.push(Finding::fine("as it should be"));
        }
        for finding in &mut findings {
            finding.id = check.id;
        }
        findings
    };
    // Some of them wait for an answer.
    std::thread::scope(|scope| {
        let looks: Vec<_> = ALL.iter().map(|check| scope.spawn(move || of(check))).collect();
        let joined = looks.into_iter().map(|look| look.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        joined.flatten().collect()
    })
}
