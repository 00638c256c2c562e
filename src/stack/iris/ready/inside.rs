//! What is seen only from inside of a pod, with what every image of IRIS has: a shell, `getent`, `cat` and `iris` itself. Nothing is
//! written there.

use super::instances;
use crate::{
    config::{cpf::Cpf, spec::Iris},
    engine::step::Probe,
    error::Result,
    host::{Host, Output},
    kube::{self, state},
    stack::iris::{
        log,
        names::{DURABLE, MOUNTS, claim_names},
    },
};

fn run(host: &dyn Host, iris: &Iris, pod: &str, argv: &[&str], stdin: &str) -> Result<Output> {
    host.exec(&iris.namespace, pod, "iris", argv, stdin)
}

/// The claims are bound, and IRIS' user may write where they are mounted.
pub(super) fn volumes(host: &dyn Host, iris: &Iris) -> Result<Probe> {
    let names = claim_names(iris);
    let claims = host.list(&kube::PERSISTENT_VOLUME_CLAIM, Some(&iris.namespace), "")?;
    for (name, _) in &names {
        let Some(claim) = claims.iter().find(|c| state::name(c) == name) else {
            return Ok(Probe::pending(format!("there is no claim {name}")));
        };
        if claim["status"]["phase"] != "Bound" {
            return Ok(Probe::pending(format!(
                "claim {name} is {}",
                claim["status"]["phase"].as_str().unwrap_or("new")
            )));
        }
    }
    let script = format!("for d in {}; do test -w $d || echo $d; done", MOUNTS.join(" "));
    for pod in instances(host, iris)? {
        let name = state::name(&pod);
        let output = run(host, iris, name, &["/bin/sh", "-c", &script], "")?;
        let closed = output.stdout.trim();
        if !output.ok() || !closed.is_empty() {
            return Ok(Probe::Hopeless {
                why: format!("pod {name}: its user cannot write to {}", closed.replace('\n', ", ")),
                hint: log::OWNER.to_owned(),
            });
        }
    }
    Ok(Probe::satisfied(format!("{} claims are bound", names.len())))
}

/// The name service knows each pod, and says so in the first one.
pub(super) fn names(host: &dyn Host, iris: &Iris) -> Result<Probe> {
    let pods = instances(host, iris)?;
    let Some(first) = pods.first() else { return Ok(Probe::pending("there are no pods")) };
    let names: Vec<String> = pods.iter().map(|p| format!("{}.{}", state::name(p), iris.service)).collect();
    let mut argv = vec!["getent", "ahostsv4"];
    for (pod, name) in pods.iter().zip(&names) {
        argv.truncate(2);
        argv.push(name);
        let output = run(host, iris, state::name(first), &argv, "")?;
        let found = output.stdout.split_whitespace().next().unwrap_or("nobody");
        let wanted = pod["status"]["podIP"].as_str().unwrap_or("?");
        if found != wanted {
            return Ok(Probe::pending(format!("in pod {}, {name} is {found}, not {wanted}", state::name(first))));
        }
    }
    Ok(Probe::satisfied(names.join(", ")))
}

/// The first of the CPF's namespaces that IRIS' own configuration does not have.
pub(super) fn missing_namespace(host: &dyn Host, iris: &Iris, pod: &str) -> Result<Option<String>> {
    if iris.namespaces.is_empty() {
        return Ok(None);
    }
    let output = run(host, iris, pod, &["cat", &format!("{DURABLE}/iris.cpf")], "")?;
    let there = Cpf::read(&output.stdout).namespaces();
    Ok(iris.namespaces.iter().find(|wanted| !there.iter().any(|n| n.eq_ignore_ascii_case(wanted))).cloned())
}

/// A session exits with 0 whatever happened in it: only an answer that is in none of these lines tells that they were run.
const QUESTION: &str = "write \"answer:\",40+2,!\n\
                        set rs=##class(%SQL.Statement).%ExecDirect(,\"select 1 as one\") write \"sql:\",rs.%SQLCODE,!\n\
                        halt\n";
const ANSWERS: [&str; 2] = ["answer:42", "sql:0"];

/// IRIS answers where a person would ask it. It costs a licence unit for a moment.
pub(super) fn terminal(host: &dyn Host, iris: &Iris) -> Result<Probe> {
    for pod in instances(host, iris)? {
        let name = state::name(&pod);
        let output = run(host, iris, name, &["iris", "session", "IRIS", "-U", "%SYS"], QUESTION)?;
        let said = format!("{}{}", output.stdout, output.stderr);
        if said.contains("LICENSE LIMIT EXCEEDED") {
            return Ok(Probe::Hopeless {
                why: format!(
                    "pod {name}: IRIS answers, but all of its licence units are in use: it turns everybody away"
                ),
                hint: format!(
                    "close sessions (portals, terminals, programs); those that nobody closed end after 10 minutes. \
                     `kubectl exec -it {name} -- iris terminal IRIS -B` gets in without a unit"
                ),
            });
        }
        if !ANSWERS.iter().all(|answer| said.lines().any(|line| line.trim_end().ends_with(answer))) {
            let last = said.lines().map(str::trim).rfind(|l| !l.is_empty()).unwrap_or("nothing").to_owned();
            return Ok(Probe::pending(format!("pod {name}: a session says: {last}")));
        }
    }
    Ok(Probe::satisfied("sessions and SQL"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_question_does_not_hold_its_answer() {
        assert!(ANSWERS.iter().all(|answer| !QUESTION.contains(answer)));
    }
}
