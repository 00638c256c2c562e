//! Longhorn's own removal: a job of the installed version, which ends its objects in the order that they need. Its namespace and its
//! confirmation came with 1.4.

use k8s_openapi::{
    api::{
        batch::v1::{Job, JobSpec},
        core::v1::{Container, EnvVar, PodSpec, PodTemplateSpec, SecurityContext, ServiceAccount},
        rbac::v1::{ClusterRole, ClusterRoleBinding, PolicyRule, RoleRef, Subject},
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use serde::Serialize;
use serde_json::{Value, json};

use super::state::NAMESPACE;
use crate::{
    config::version::LonghornVersion,
    kube::{self, Kind, longhorn as kinds},
};

/// The job.
pub const JOB: &str = "longhorn-uninstall";

/// It ends itself after this time.
pub const WITHIN_SECONDS: i64 = 900;

/// The setting that confirms it.
pub const CONFIRMATION: &str = "deleting-confirmation-flag";

const ACCOUNT: &str = "longhorn-uninstall-service-account";
const ROLE: &str = "longhorn-uninstall-role";
const BINDING: &str = "longhorn-uninstall-bind";

/// Where the job runs.
pub fn namespace(version: LonghornVersion) -> &'static str {
    if version.wants_confirmation() { NAMESPACE } else { "default" }
}

/// What goes when it is done: kind, namespace, name. The job first, so that its pod needs no rights any more.
pub fn leftovers(version: LonghornVersion) -> [(&'static Kind, Option<&'static str>, &'static str); 4] {
    let namespace = Some(namespace(version));
    [
        (&kube::JOB, namespace, JOB),
        (&kube::CLUSTER_ROLE_BINDING, None, BINDING),
        (&kube::CLUSTER_ROLE, None, ROLE),
        (&kube::SERVICE_ACCOUNT, namespace, ACCOUNT),
    ]
}

/// The setting as it must be, where the manager did not live to make it.
pub fn confirmation(version: LonghornVersion) -> Value {
    json!({"apiVersion": format!("{}/{}", kinds::GROUP, version.api()), "kind": "Setting",
        "metadata": {"name": CONFIRMATION, "namespace": NAMESPACE}, "value": "true"})
}

/// The job with all it needs, in order. `image` is that of the installed manager, wherever it was pulled from.
pub fn objects(version: LonghornVersion, image: &str) -> Vec<Value> {
    let namespace = namespace(version).to_owned();
    let in_namespace = |name: &str| ObjectMeta {
        name: Some(name.to_owned()),
        namespace: Some(namespace.clone()),
        ..ObjectMeta::default()
    };
    let of_cluster = |name: &str| ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() };
    let account = ServiceAccount { metadata: in_namespace(ACCOUNT), ..ServiceAccount::default() };
    let role = ClusterRole { metadata: of_cluster(ROLE), rules: Some(rules()), aggregation_rule: None };
    let binding = ClusterRoleBinding {
        metadata: of_cluster(BINDING),
        role_ref: RoleRef {
            api_group: "rbac.authorization.k8s.io".to_owned(),
            kind: "ClusterRole".to_owned(),
            name: ROLE.to_owned(),
        },
        subjects: Some(vec![Subject {
            kind: "ServiceAccount".to_owned(),
            name: ACCOUNT.to_owned(),
            namespace: Some(namespace.clone()),
            api_group: None,
        }]),
    };
    vec![value(&account), value(&role), value(&binding), value(&job(version, image, in_namespace(JOB)))]
}

fn job(version: LonghornVersion, image: &str, metadata: ObjectMeta) -> Job {
    let modern = version.wants_confirmation();
    let words = |words: &[&str]| Some(words.iter().map(|w| (*w).to_owned()).collect());
    let container = Container {
        name: JOB.to_owned(),
        image: Some(image.to_owned()),
        image_pull_policy: Some("IfNotPresent".to_owned()),
        // By force: we have seen that no volume is in use, and a node that is down must not hold it up.
        command: words(&["longhorn-manager", "uninstall", "--force"]),
        env: Some(vec![EnvVar {
            name: "LONGHORN_NAMESPACE".to_owned(),
            value: Some(NAMESPACE.to_owned()),
            ..EnvVar::default()
        }]),
        security_context: (!modern).then(|| SecurityContext { privileged: Some(true), ..SecurityContext::default() }),
        ..Container::default()
    };
    let pod = PodSpec {
        containers: vec![container],
        restart_policy: Some(if modern { "Never" } else { "OnFailure" }.to_owned()),
        service_account_name: Some(ACCOUNT.to_owned()),
        ..PodSpec::default()
    };
    Job {
        metadata,
        spec: Some(JobSpec {
            active_deadline_seconds: Some(WITHIN_SECONDS),
            backoff_limit: Some(1),
            template: PodTemplateSpec { spec: Some(pod), metadata: None },
            ..JobSpec::default()
        }),
        status: None,
    }
}

/// What the job does: it ends objects of the cluster's and of Longhorn's own kinds.
fn rules() -> Vec<PolicyRule> {
    const ALL: &[&str] = &["*"];
    let rule = |group: &str, resources: &[&str], verbs: &[&str]| {
        let owned = |words: &[&str]| words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>();
        PolicyRule {
            api_groups: Some(vec![group.to_owned()]),
            resources: Some(owned(resources)),
            verbs: owned(verbs),
            ..PolicyRule::default()
        }
    };
    vec![
        rule("apiextensions.k8s.io", &["customresourcedefinitions"], ALL),
        rule(
            "",
            &[
                "pods",
                "persistentvolumes",
                "persistentvolumeclaims",
                "nodes",
                "configmaps",
                "secrets",
                "services",
                "endpoints",
            ],
            ALL,
        ),
        rule("apps", &["daemonsets", "statefulsets", "deployments"], ALL),
        rule("batch", &["jobs", "cronjobs"], ALL),
        rule("policy", &["poddisruptionbudgets"], ALL),
        rule("scheduling.k8s.io", &["priorityclasses"], &["watch", "list"]),
        rule("storage.k8s.io", &["csidrivers", "storageclasses", "volumeattachments"], ALL),
        rule(kinds::GROUP, ALL, ALL),
        rule("coordination.k8s.io", &["leases"], ALL),
        rule(
            "admissionregistration.k8s.io",
            &["mutatingwebhookconfigurations", "validatingwebhookconfigurations"],
            &["get", "delete"],
        ),
    ]
}

fn value<T: Serialize>(typed: &T) -> Value {
    serde_json::to_value(typed).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_job_is_that_of_the_installed_version() {
        for (version, namespace, restart, privileged) in [
            ("v1.2.3", "default", "OnFailure", true),
            ("v1.3.3", "default", "OnFailure", true),
            ("v1.11.3", NAMESPACE, "Never", false),
        ] {
            let version = version.parse().expect("a version");
            let objects = objects(version, "longhornio/longhorn-manager:x");
            let job = objects.last().expect("a job");
            assert_eq!(job["metadata"]["namespace"], namespace);
            assert_eq!(job["spec"]["backoffLimit"], 1);
            let pod = &job["spec"]["template"]["spec"];
            assert_eq!(pod["restartPolicy"], restart);
            assert_eq!(pod["containers"][0]["image"], "longhornio/longhorn-manager:x");
            assert_eq!(pod["containers"][0]["securityContext"]["privileged"] == true, privileged);
            assert!(objects.iter().all(|o| kube::kind_of(o).is_some()), "every kind is known");
        }
    }
}
