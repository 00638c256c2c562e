//! Unattended commands: no terminal, no environment, nothing to read from.

use super::{REPO, answers, bare};
use crate::support::{Era, in_both_eras};

in_both_eras! { an_empty_environment_gives_the_same_result }

/// As a provisioner may call it: no variable at all, no session, no standard input, its output into a file.
fn alone(variables: &str, args: &str) -> String {
    format!(
        "cd / && exec setsid --wait env -i {variables} /usr/bin/iris-mk8s {args} <&- >/run/alone.out 2>/run/alone.err"
    )
}

fn an_empty_environment_gives_the_same_result(era: Era) {
    let Some((machine, web)) = bare("alone", era) else { return };
    machine.root(&format!("env -i PATH=/usr/bin:/bin sh -c '{}'", web.line("good"))).ok();
    let run = |args: &str| {
        let output = machine.root(&alone(era.variables(), args));
        let (out, err) = (machine.root("cat /run/alone.out").ok(), machine.root("cat /run/alone.err").ok());
        (output.code, out, err)
    };
    let range = machine.range();
    // Root runs it for nobody, and says so.
    let (code, _, said) = run(&format!("plan --lb {range}"));
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("pass --user NAME for another user"), "{said}");
    assert_eq!(run("bootstrap --lb auto").0, 2, "nobody agreed to the addresses");
    let bootstrap = format!("bootstrap --user ubuntu --lb {range}");
    let (code, records, said) = run(&format!("{bootstrap} --output json"));
    assert_eq!(code, 0, "{records}{said}");
    let last = records.lines().last().expect("a record");
    assert!(last.contains("\"exit\":0") && last.contains(&machine.nth_address(0)), "{last}");
    answers(&machine);
    let (code, portal, said) = run("status");
    assert_eq!((code, said.as_str()), (0, ""));
    assert!(portal.contains(&machine.nth_address(0)), "{portal}");
    assert_eq!(run(&format!("plan --check --user ubuntu --lb {range}")).0, 0);
    assert_eq!(run("doctor").0, 0);

    // A terminal of IRIS, whose standard input ends at once.
    let session = machine.root(&format!("env -i {}/usr/bin/iris-mk8s session </dev/null", era.variables()));
    assert_eq!(session.code, 0, "{session}");
    assert!(session.stdout.contains("USER>"), "{session}");

    // The example of a provisioner: it ends with the program's own code.
    machine.put(&format!("{REPO}/examples/provision.sh"), "/run/provision.sh");
    let script = format!("env -i PATH=/usr/bin:/bin IRIS_MK8S_USER=ubuntu {}/run/provision.sh", era.variables());
    machine.root(&format!("{script} {range}")).exits(0).says(&["run-finished"]);
    machine.root(&format!("{script} 10.0.0.1-300")).exits(2).says(&["a person has to change something: 2"]);

    assert_eq!(run("stop").0, 0);
    assert_eq!(run("start").0, 0);
    answers(&machine);
    assert_eq!(run("teardown --reset").0, 2, "nobody agreed to lose the data");
    assert_eq!(run("teardown --reset --yes").0, 0);
}
