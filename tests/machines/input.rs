//! Input that is wrong: told what is, with its own exit code, and nothing is changed.

use crate::support::{Era, Machine, in_both_eras};

in_both_eras! { wrong_input_is_told_and_changes_nothing a_second_run_at_the_same_time_is_refused }

/// Arguments of bootstrap and plan, the exit code, and what must be said. In them `A` stands for the machine's address without its last
/// number, `N` for that number, `R` for a good range.
const WRONG: &[(&str, i32, &[&str])] = &[
    ("--lb A.130-A.110", 2, &["runs backwards", "A.110-A.130"]),
    ("--lb A.130-110", 2, &["runs backwards"]),
    ("--lb A.256-A.257", 2, &["256", "over 255"]),
    ("--lb ''", 2, &["the range is empty"]),
    ("", 2, &["--lb"]),
    ("--lb A.0/24", 2, &["A.0/24"]),
    ("--lb A.130/24", 2, &["A.0/24"]),
    ("--lb A.0/8", 2, &["/8"]),
    ("--lb A.80-A.110", 2, &["A.N", "own address"]),
    ("--lb A.1-A.5", 2, &["A.1", "gateway"]),
    ("--lb 10.1.7.10-10.1.7.20", 2, &["10.1.0.0/16"]),
    ("--lb 10.152.183.10-10.152.183.20", 2, &["10.152.183.0/24"]),
    ("--lb 192.168.12.110-130", 2, &["192.168.12.110", "A.0/24"]),
    ("--lb R --profile nonsense", 2, &["nonsense", "current", "article"]),
    ("--lb R --profile /tmp/wrong.toml", 2, &["/tmp/wrong.toml", "replica"]),
    ("--lb R --user nobody-here", 2, &["nobody-here", "no such user"]),
    ("--lb R --storage hostpath", 2, &["hostpath", "microk8s-hostpath"]),
    ("--lb R --image iris", 2, &["tag"]),
    ("--lb R --nonsense", 2, &["--nonsense"]),
];

fn wrong_input_is_told_and_changes_nothing(era: Era) {
    let Some(machine) = Machine::up("input", era) else { return };
    machine.root("printf '[iris]\\nreplica = 3\\n' >/tmp/wrong.toml").ok();
    let address = machine.address();
    let (network, number) = address.rsplit_once('.').expect("an address");
    let fill = |text: &str| {
        let text = text.replace("A.N", &address).replace("A.", &format!("{network}."));
        text.replace("--lb R", &format!("--lb {}", machine.range()))
    };
    assert!((80..=110).contains(&number.parse::<u8>().expect("a number")), "the range of the table holds {address}");

    let before = machine.snapshot("before");
    for (args, code, texts) in WRONG {
        for command in ["bootstrap", "plan"] {
            let texts: Vec<String> = texts.iter().map(|t| fill(t)).collect();
            let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
            machine.product(&format!("{command} {}", fill(args))).exits(*code).says(&texts);
        }
    }
    // Every command that needs root says so; with sudo in front it is the same command.
    for args in [format!("bootstrap --lb {}", machine.range()), "status".to_owned(), "teardown".to_owned()] {
        machine.ubuntu(&format!("iris-mk8s {args}")).exits(11).says(&["root", "sudo"]);
    }
    machine.product("teardown --reset").exits(0).says(&["no bootstrap has run"]);
    machine.product("status").exits(30).says(&["no bootstrap has run"]);
    machine.is_as_at(&before);
}

fn a_second_run_at_the_same_time_is_refused(era: Era) {
    let Some(machine) = Machine::up("second-run", era) else { return };
    let bootstrap = format!("bootstrap --lb {}", machine.range());
    let before = machine.snapshot("before");
    machine.fault("store --rate 1M");
    let mut first = machine.start(&bootstrap);
    first.until("the download", |e| e.is("step-progress", "snap.microk8s") && e.number("done") > 0);
    machine.product(&bootstrap).exits(12).says(&["another run"]);
    machine.product("teardown --reset --yes").exits(12).says(&["another run"]);

    // Ctrl-C: it ends where it can go on, and all can be taken back.
    machine.signal("INT");
    machine.fault("clear");
    first.finish().exits(130);
    machine.product("teardown --reset --yes").exits(0);
    machine.is_restored_to(&before);
}
