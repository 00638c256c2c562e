//! Which finding explains which others. The cause comes first; its consequences are marked, since their own advice would not help.

use crate::{
    doctor::checks,
    error::finding::{Finding, Severity},
};

use Explains::{Cluster, Only};

/// What a cause explains.
enum Explains {
    /// Everything that is asked of the cluster, and what differs in it.
    Cluster,
    /// These checks.
    Only(&'static [&'static str]),
}

/// Checks of the cluster that say nothing of IRIS being reached.
const REACHED: &[&str] = &["address", "answer"];

/// Checks of what goes by the pod network.
const BETWEEN_PODS: &[&str] =
    &["pod-network", "pod-routes", "dns-pods", "names", "metallb", "longhorn-driver", "crash", "address", "answer"];

/// Causes, the weightiest first: each explains what a lesser one may be.
const CAUSES: &[(&str, Explains)] = &[
    ("teardown", Cluster),
    ("snap", Cluster),
    ("disk", Cluster),
    ("host-address", Cluster),
    // An API server of which nobody takes the certificate runs, and says nothing.
    ("certificate-start", Cluster),
    ("services", Cluster),
    ("node", Cluster),
    ("pressure", Only(&["pull", "scheduling", "crash", "address", "answer"])),
    (
        "longhorn-removal",
        Only(&["longhorn-driver", "longhorn-disks", "longhorn-volumes", "storage", "claims", "volumes", "scheduling"]),
    ),
    ("iris-stopped", Only(REACHED)),
    ("firewall", Only(BETWEEN_PODS)),
    ("cluster-routes", Only(BETWEEN_PODS)),
    ("pod-routes", Only(REACHED)),
    (
        "pod-network",
        Only(&["dns-pods", "names", "metallb", "metallb-pool", "longhorn-driver", "crash", "address", "answer"]),
    ),
    (
        "pull",
        Only(&["longhorn-driver", "storage", "claims", "pod-network", "dns-pods", "metallb", "address", "answer"]),
    ),
    ("storage", Only(&["claims", "scheduling", "address", "answer"])),
    ("claims", Only(&["scheduling", "address", "answer"])),
    ("volumes", Only(REACHED)),
    ("scheduling", Only(REACHED)),
    ("iris-start", Only(REACHED)),
    ("crash", Only(REACHED)),
    ("metallb", Only(&["metallb-pool", "address", "answer"])),
    ("metallb-pool", Only(REACHED)),
    ("strangers", Only(&["answer"])),
];

/// Findings that a cause of the whole cluster explains besides the checks of the cluster.
const BELOW: &[&str] = &["services", "certificates", "api", "lb.outside"];

/// A step of ours that is not as we made it, by the stage that it is in.
pub(super) struct Drifted {
    pub(super) stage: &'static str,
    pub(super) step: String,
    pub(super) finding: Finding,
}

/// The checks that say the same of a step, in other words and with more to it.
const SAME: &[(&str, &[&str])] = &[
    ("cluster.running", &["node", "pod-network"]),
    ("addon.dns", &["dns-pods"]),
    ("addon.hostpath-storage", &["storage"]),
    ("addon.metallb", &["metallb", "pull"]),
    ("addon.registry", &["pull"]),
    ("metallb.pool", &["metallb-pool", "metallb"]),
    ("iris.claims", &["claims"]),
    ("iris.statefulset", &["iris-stopped"]),
];

/// Whether a step lives in the cluster.
fn is_in_cluster(stage: &str) -> bool {
    !matches!(stage, "snap" | "group" | "alias")
}

/// Marks what follows from something else.
pub(super) fn explain(findings: &mut [Finding], drifted: &mut [Drifted]) {
    let of_cluster = |id: &str| BELOW.contains(&id) || checks::ALL.iter().any(|check| check.id == id);
    for (at, (cause, explains)) in CAUSES.iter().enumerate() {
        // What follows from something itself is marked by that: the first cause explains all.
        let holds = |f: &Finding| f.id == *cause && f.severity == Severity::Refused && f.because.is_none();
        if !findings.iter().any(holds) {
            continue;
        }
        let lesser = |id: &str| !CAUSES[..=at].iter().any(|(other, _)| *other == id);
        for finding in findings.iter_mut().filter(|f| f.severity != Severity::Fine && f.because.is_none()) {
            let explained = match explains {
                Cluster => of_cluster(finding.id),
                Only(ids) => ids.contains(&finding.id),
            };
            if explained && lesser(finding.id) {
                finding.because = Some(cause);
            }
        }
        for step in drifted.iter_mut().filter(|step| step.finding.because.is_none()) {
            // A teardown that is not finished took steps of the host away, too.
            let all = matches!(explains, Cluster) && (is_in_cluster(step.stage) || *cause == "teardown");
            let same = SAME.iter().any(|(of, ids)| *of == step.step && ids.contains(cause))
                || (*cause == "longhorn-removal" && step.stage == "longhorn");
            if all || same {
                step.finding.because = Some(cause);
            }
        }
    }
}
