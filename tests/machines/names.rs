//! Other names than the article's: namespace, pods, service, database. Nothing takes `default`, `data` or `iris` for granted.

use crate::support::{Era, Machine, in_both_eras};

in_both_eras! { other_names_work_throughout }

const PROFILE: &str = "[iris]\nnamespace = \"clinic\"\nname = \"ward\"\nservice = \"records\"\nreplicas = 2\ntime_zone = \"CET-1CEST\"\n\
                       cpf = '''\n[Startup]\nSystemMode=DEVELOPMENT\n[config]\nglobals=0,0,48,0,0,0\nroutines=32\ngmheap=65536\n\
                       [Actions]\nCreateDatabase:Name=PATIENTS,Directory=/vol-data/patients\n\
                       CreateNamespace:Name=CLINIC,Globals=PATIENTS,Routines=PATIENTS\n'''\n";

fn other_names_work_throughout(era: Era) {
    let Some(machine) = Machine::up("names", era) else { return };
    machine.root(&format!("cat >/root/clinic.toml <<'END'\n{PROFILE}END")).ok();
    // A file in the place of the profile of the era.
    let channel = era.of("", " --channel 1.20");
    let wanted = format!("--lb {} --profile /root/clinic.toml{channel}", machine.range());
    let before = machine.snapshot("before");

    let summary = machine.product(&format!("bootstrap {wanted}")).ok();
    for text in ["ward-0: ready", "ward-1: ready", "dbv-data-ward-1"] {
        assert!(summary.contains(text), "the summary should say `{text}`: {summary}");
    }
    machine.ubuntu(&format!("{} </dev/null", terminal(&summary))).ok();
    let names = "get statefulset,service,secret,pvc -n clinic -o name";
    let there = machine.kubectl(names).ok();
    for name in ["statefulset.apps/ward", "service/records", "service/records-ext", "secret/records-merge-cpf"] {
        assert!(there.lines().any(|line| line == name), "{name} is not among\n{there}");
    }
    assert_eq!(machine.kubectl("get statefulset,pvc -n default -o name").ok(), "", "something is in `default`");
    machine
        .client_curl(&[&format!("http://{}:52773/api/monitor/metrics", machine.nth_address(0))])
        .ok()
        .lines()
        .find(|l| l.starts_with("iris_db_size_mb{id=\"PATIENTS\""))
        .expect("the database is in the metrics");
    machine.kubectl("exec -n clinic ward-0 -- sh -c 'date +%Z >/vol-data/zone'").ok();

    machine.product("status").exits(0).says(&["ready.database", "PATIENTS, CLINIC"]);
    machine.product(&format!("plan --check {wanted}")).exits(0);
    machine.product("doctor").exits(0);

    // IRIS elsewhere is told of, not left behind.
    machine.product(&format!("bootstrap {wanted} --namespace other")).exits(23).says(&["clinic", "teardown"]);

    machine.product("teardown").exits(0);
    assert_eq!(machine.kubectl("get statefulset,service,secret,pod -n clinic -l app=records -o name").ok(), "");
    machine.product(&format!("bootstrap {wanted}")).ok();
    assert_eq!(
        machine.kubectl("exec -n clinic ward-0 -- cat /vol-data/zone").ok().trim(),
        "CET",
        "the data is there again"
    );
    machine.product("teardown --reset --yes").exits(0);
    machine.is_restored_to(&before);
}

/// The command of the summary that opens a terminal.
fn terminal(summary: &str) -> String {
    let line = summary.lines().find_map(|l| l.strip_prefix("terminal ")).expect("a line `terminal`");
    line.trim().replace(" -it ", " -i ")
}
