//! Which of our addons something of somebody else's stands on. Such an addon stays where MicroK8s stays: without it, theirs would break.

use serde_json::Value;

use super::{
    FOLDERS, Known, Whose, foreign,
    volumes::{namespace, volumes},
};
use crate::{
    error::Result,
    host::Host,
    kube::{self, Kind, state},
};

/// The port of this host at which MicroK8s' registry answers.
const REGISTRY_PORT: &str = ":32000/";

/// What each addon is known to work by: what is older than this got along without the addon.
fn begun(host: &dyn Host, addon: &str) -> Result<Option<Value>> {
    let (namespace, name) = match addon {
        "dns" => ("kube-system", "coredns"),
        "hostpath-storage" => ("kube-system", "hostpath-provisioner"),
        "registry" => ("container-registry", "registry"),
        "metallb" => ("metallb-system", "controller"),
        _ => return Ok(None),
    };
    host.get(&kube::DEPLOYMENT, Some(namespace), name)
}

/// Whether an object came with `addon` already there. Times are whole seconds: of the same one, nobody can tell which came first.
fn came_with(addon: &Value, object: &Value) -> bool {
    let time = |object: &Value| object["metadata"]["creationTimestamp"].as_str().map(str::to_owned);
    match (time(addon), time(object)) {
        (Some(addon), Some(object)) => object >= addon,
        _ => true,
    }
}

/// What of somebody else's stands on an addon of ours, by today's name of the addon; none when nothing does.
///
/// # Errors
/// The cluster cannot be asked.
pub fn needed(host: &dyn Host, addon: &str, known: &Known) -> Result<Option<String>> {
    let begun = begun(host, addon)?;
    // What would tell is gone from half of MetalLB; the addresses that it gave are still in use.
    if begun.is_none() && addon != "metallb" {
        return Ok(None);
    }
    let named =
        |(kind, object): &(&Kind, Value)| format!("{} {}/{}", kind.kind, namespace(object), state::name(object));
    let newer = |(_, object): &(&'static Kind, Value)| begun.as_ref().is_some_and(|begun| came_with(begun, object));
    Ok(match addon {
        "dns" => foreign::workloads(host, known)?.iter().find(|o| newer(o)).map(named),
        "metallb" => {
            let all = [foreign::load_balancers(host, known)?, foreign::pools(host, known)?].concat();
            all.iter().find(|o| newer(o) || has_an_address(&o.1)).map(named)
        }
        "registry" => foreign::workloads(host, known)?.iter().find(|(_, object)| is_pushed(object)).map(named),
        "hostpath-storage" => {
            // The registry's own volume lies on it, too.
            let registry = if known.addons.contains("registry") { needed(host, "registry", known)? } else { None };
            let lies_there = |paths: &[String]| paths.iter().any(|path| path.starts_with(FOLDERS));
            let theirs = volumes(host, known)?.into_iter().filter(|v| v.whose == Whose::Others && v.claim.is_some());
            let on_it = theirs.filter(|v| v.class == "microk8s-hostpath" || lies_there(&v.paths));
            on_it.map(|v| format!("claim {v}")).next().or(registry)
        }
        _ => None,
    })
}

/// Whether a service has an address by now. One that waited for it is older than what gave it.
fn has_an_address(service: &Value) -> bool {
    service["status"]["loadBalancer"]["ingress"].as_array().is_some_and(|all| !all.is_empty())
}

/// Whether a workload runs an image of this host's registry.
fn is_pushed(workload: &Value) -> bool {
    let spec = &workload["spec"];
    let pods = [spec, &spec["template"]["spec"], &spec["jobTemplate"]["spec"]["template"]["spec"]];
    let containers =
        pods.iter().flat_map(|pod| [&pod["containers"], &pod["initContainers"]]).filter_map(Value::as_array);
    containers.flatten().any(|c| c["image"].as_str().is_some_and(|image| image.contains(REGISTRY_PORT)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_older_than_the_addon_got_along_without_it() {
        let at = |time: &str| json!({"metadata": {"creationTimestamp": time}});
        let addon = at("2027-01-15T08:00:10Z");
        assert!(!came_with(&addon, &at("2027-01-15T08:00:09Z")));
        assert!(came_with(&addon, &at("2027-01-15T08:00:10Z")));
        assert!(came_with(&addon, &json!({"metadata": {}})), "what cannot be said counts as needed");
    }

    #[test]
    fn a_service_that_waited_for_its_address_stands_on_what_gave_it() {
        assert!(has_an_address(&json!({"status": {"loadBalancer": {"ingress": [{"ip": "192.168.11.110"}]}}})));
        for without in [json!({}), json!({"ingress": []})] {
            assert!(!has_an_address(&json!({"status": {"loadBalancer": without}})));
        }
    }

    #[test]
    fn images_of_the_registry_are_known_wherever_a_workload_names_them() {
        let container = |image: &str| json!([{"name": "a", "image": image}]);
        let pushed = "localhost:32000/mine:1";
        assert!(is_pushed(&json!({"spec": {"containers": container(pushed)}})));
        assert!(is_pushed(
            &json!({"spec": {"template": {"spec": {"initContainers": container("192.168.11.49:32000/mine")}}}})
        ));
        assert!(is_pushed(
            &json!({"spec": {"jobTemplate": {"spec": {"template": {"spec": {"containers": container(pushed)}}}}}})
        ));
        assert!(!is_pushed(&json!({"spec": {"template": {"spec": {"containers": container("nginx:1")}}}})));
    }
}
