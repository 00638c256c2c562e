//! An addon of MicroK8s, judged by the objects that it should bring.

use serde_json::json;

use crate::{
    engine::step::{Act, Probe},
    error::Result,
    host::{Cmd, Host},
    kube::{self, Kind, state},
    stack::image,
};

/// MicroK8s' own word. It only means that some object exists.
pub(crate) fn status(host: &dyn Host, addon: &str) -> Result<bool> {
    let output = host.ask(&Cmd::reads(["microk8s", "status", "--addon", addon]))?;
    Ok(output.stdout.lines().any(|l| l.trim() == "enabled"))
}

/// The acts that take an addon away, all of it. What MicroK8s takes for disabled it does not disable, whatever an interrupted
/// command left of it: so it is made whole first.
pub(crate) fn take_away(host: &dyn Host, addon: &str, enable: Act, disable: Act) -> Result<Vec<Act>> {
    Ok(if status(host, addon)? { vec![disable] } else { vec![enable, disable] })
}

/// A pod of a workload that is gone: as long as it is there, MicroK8s takes the addon for enabled, and `enable` does nothing.
pub(crate) fn outlives(host: &dyn Host, namespace: Option<&str>, workload: &str) -> Result<Option<String>> {
    let begin = format!("{workload}-");
    let pods = host.list(&kube::POD, namespace, "")?;
    let pod = pods.iter().find(|pod| state::name(pod).starts_with(&begin));
    Ok(pod.map(|pod| format!("pod {} of before ends", state::name(pod))))
}

/// Looks at objects that must be there; a workload among them must be rolled out.
pub(crate) fn judge(host: &dyn Host, brings: &[Brings]) -> Result<Probe> {
    look(host, brings, true)
}

/// Checks that objects exist, and where `works` is asked for, that they are ready.
pub(crate) fn look(host: &dyn Host, brings: &[Brings], works: bool) -> Result<Probe> {
    let mut missing = Vec::new();
    let mut found = 0;
    let mut waiting = None;
    for (kind, namespace, name) in brings {
        let Some(object) = host.get(kind, *namespace, name)? else {
            missing.push(format!("{} {name}", kind.kind));
            continue;
        };
        if state::going(&object) {
            return Ok(Probe::pending(format!("{} {name} is being deleted", kind.kind)));
        }
        found += 1;
        if !works {
            continue;
        }
        if is_workload(&(kind, *namespace, name)) && !state::rolled_out(&object) {
            let pods = host.list(&kube::POD, *namespace, &state::selector(&object))?;
            if let Some(missing) =
                pods.iter().filter(|p| state::of_template(p, &object)).find_map(|p| image::missing(host, p))
            {
                return Ok(Probe::Hopeless {
                    why: format!("{} {name}: the registry does not have its image ({missing})", kind.kind),
                    hint: "see whether the registry or its mirror is the right one; run the same command again when the image is there"
                        .to_owned(),
                });
            }
            let why = pods
                .iter()
                .find_map(|pod| image::trouble(host, pod))
                .unwrap_or_else(|| "its pods are not made yet".to_owned());
            waiting.get_or_insert_with(|| format!("{} {name}: {why}", kind.kind));
        } else if **kind == kube::PERSISTENT_VOLUME_CLAIM && object["status"]["phase"] != "Bound" {
            waiting.get_or_insert_with(|| format!("claim {name} is not bound yet"));
        }
    }
    Ok(match (found, missing.as_slice(), waiting) {
        (0, _, _) => Probe::Absent,
        (_, [], None) => Probe::satisfied(if works { "works" } else { "" }),
        (_, [], Some(why)) => Probe::pending(why),
        (_, missing, _) => {
            Probe::differs(json!({"missing": missing}), format!("partially installed: {} missing", missing.join(", ")))
        }
    })
}

/// An object that an addon brings.
pub(crate) type Brings = (&'static Kind, Option<&'static str>, &'static str);

/// Whether it is a workload, whose pods come and go.
pub(crate) fn is_workload((kind, ..): &Brings) -> bool {
    **kind == kube::DEPLOYMENT || **kind == kube::DAEMON_SET
}
