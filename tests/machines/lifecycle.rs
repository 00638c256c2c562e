//! From a bare machine to an IRIS that answers, and back.

use crate::support::{Era, Machine, in_both_eras};

in_both_eras! { from_bare_to_answering_and_back }

/// The value of a line of the summary, such as `portal`.
fn fact<'a>(summary: &'a str, name: &str) -> &'a str {
    let value = summary.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(' '));
    value.unwrap_or_else(|| panic!("the summary has no line `{name}`:\n{summary}")).trim()
}

/// What the summary tells the user is true, seen from the machine and from another computer.
fn the_summary_is_true(machine: &Machine, summary: &str) {
    let metrics = machine.client_curl(&[fact(summary, "metrics")]).ok();
    assert!(metrics.contains("\niris_cpu_usage"), "no metrics: {metrics}");
    assert!(
        fact(summary, "metrics").contains(&format!("//{}:52773/", machine.nth_address(0))),
        "not in the range: {summary}"
    );

    let portal = fact(summary, "portal");
    assert!(machine.client_curl(&[portal]).ok().contains("IRISPassword"), "no login page");

    let file = fact(summary, "password").strip_prefix("sudo cat ").expect("a command");
    assert_eq!(machine.root(&format!("stat -c '%a %U' {file}")).ok(), "600 ubuntu\n");
    let password = machine.ubuntu(&format!("cat {file}")).ok();
    for user in fact(summary, "users").split(", ") {
        let api = portal.replace("/csp/sys/UtilHome.csp", "/api/atelier/");
        let status = |password: &str| {
            let account = format!("{user}:{password}");
            machine.client_curl(&["-u", &account, "-o", "/dev/null", "-w", "%{http_code}", &api]).ok()
        };
        assert_eq!(status(password.trim()), "200", "{user} cannot log in");
        // The article's password is the default one; passwords know small letters from capital ones.
        assert_eq!(status(machine.era().of("SYS", "sys")), "401", "{user} has another password too");
    }

    let paths: Vec<&str> =
        summary.lines().filter_map(|l| l.split_whitespace().find(|w| w.starts_with("/var/snap/"))).collect();
    assert_eq!(paths.len(), 4, "a path for each of four volumes: {summary}");
    for path in paths {
        machine.root(&format!("test -d {path}")).ok();
    }
    machine.ubuntu(&format!("{} </dev/null", fact(summary, "terminal").replace(" -it ", " -i "))).ok();
}

fn from_bare_to_answering_and_back(era: Era) {
    let Some(machine) = Machine::up("lifecycle", era) else { return };
    let range = machine.range();
    let before = machine.snapshot("before");

    let long_range = format!("{}-192.168.11.{}", machine.nth_address(0), range.split('-').nth(1).expect("an end"));
    machine.product(&format!("plan --lb {range}")).exits(0).says(&[
        &format!("snap install microk8s --classic --channel={}/stable", era.track()),
        "usermod --append --groups microk8s ubuntu",
        "snap alias microk8s.kubectl kubectl",
        "microk8s enable dns",
        &format!("microk8s enable {}", era.storage_addon()),
        "microk8s enable registry",
        &format!("microk8s enable metallb:{long_range}"),
        "kubectl apply --server-side --field-manager=iris-mk8s -f - # StatefulSet default/data",
    ]);
    machine.is_as_at(&before);

    let done = machine.product(&format!("bootstrap --lb {range}")).exits(0);
    let warned = done.stderr.contains("the password of IRIS' accounts is the one that everybody knows");
    assert_eq!(warned, era == Era::Article, "{done}");
    let summary = done.stdout;
    the_summary_is_true(&machine, &summary);
    machine.product("status").exits(0).says(&[fact(&summary, "metrics")]);

    machine.product(&format!("plan --check --lb {range}")).exits(0).says(&["nothing to do"]);
    let converged = machine.snapshot("converged");
    let again = machine.start(&format!("bootstrap --lb {range}")).finish();
    let outcome = again.exits(0);
    assert_eq!((&outcome["created"], &outcome["changed"]), (&0.into(), &0.into()), "{outcome}");
    assert!(outcome["seconds"].as_f64().is_some_and(|s| s < 10.0), "a run that has nothing to do took long: {outcome}");
    machine.is_as_at(&converged);

    machine.product("teardown --reset --yes").ok();
    machine.is_restored_to(&before);

    // The comparison would have seen it.
    machine.root("touch /etc/left; groupadd left; iptables -A FORWARD -d 10.1.2.3 -j ACCEPT").ok();
    let residue = machine.residue(&before);
    for left in ["+ file /etc/left", "+ group left", "FORWARD -d 10.1.2.3/32 -j ACCEPT"] {
        assert!(residue.contains(left), "`{left}` is not seen in:\n{residue}");
    }
}
