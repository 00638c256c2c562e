//! What comes with the call: where output goes, the environment, the umask, signals, other commands at the same time, who owns the state
//! directory, and which bytes of a file are the password.

use crate::support::{Era, Machine, in_both_eras};

in_both_eras! { before_a_bootstrap beside_and_after_a_bootstrap }

const STATE: &str = "/var/lib/iris-mk8s";

fn before_a_bootstrap(era: Era) {
    let Some(machine) = Machine::up("door", era) else { return };
    let plan = format!("plan --lb {}", machine.range());
    let before = machine.snapshot("before");
    output_that_cannot_be_written(&machine, &plan);
    the_environment_of_others(&machine, &plan);
    one_signal_ends_what_only_looks(&machine, &plan);
    for command in ["session", "forward", "start", "stop"] {
        machine.product(command).exits(10).says(&["no bootstrap has run on this host"]);
    }
    machine.is_as_at(&before);
    a_state_directory_that_others_could_have_written(&machine, &plan);
    machine.is_as_at(&before);
}

fn output_that_cannot_be_written(machine: &Machine, plan: &str) {
    let commands = [plan, &format!("{plan} --check"), "status", "doctor", "journal show"];
    for command in commands.iter().flat_map(|c| [(*c).to_owned(), format!("{c} --output json")]) {
        let output = machine.product(&format!("{command} >/dev/full")).exits(20);
        assert!(only_that(&output.stderr, "cannot write to standard output"), "{command}: {output}");
        // A reader that leaves is no error of ours; the first line of a plan is the name of a stage.
        let line = format!("sudo {}iris-mk8s {command} | true; echo ${{PIPESTATUS[0]}}", machine.era().variables());
        let output = machine.ubuntu(&line);
        let code = output.stdout.trim().to_owned();
        assert!(
            ["0", "30"].contains(&code.as_str()) && beside_the_channel(&output.stderr).is_empty(),
            "{command}: {output}"
        );
    }
}

/// The lines beside the one that says which channel `auto` is.
fn beside_the_channel(stderr: &str) -> Vec<&str> {
    stderr.lines().filter(|line| !line.starts_with("channel auto: ")).collect()
}

fn only_that(stderr: &str, words: &str) -> bool {
    matches!(beside_the_channel(stderr)[..], [line] if line.contains(words))
}

fn the_environment_of_others(machine: &Machine, plan: &str) {
    let strange = r"$'X=\xff' $'no_proxy=a\xffb' $'L\xffNG=\xfe'";
    let line = format!("sudo env {strange} {}iris-mk8s {plan}", machine.era().variables());
    machine.ubuntu(&line).exits(0).says(&["iris.statefulset"]);
}

/// Starts the product, sends it SIGINT as soon as it has started a command of its own, and prints how it ended.
const INTERRUPTED: &str = "import glob, signal, subprocess, sys, time
run = subprocess.Popen(['iris-mk8s'] + sys.argv[1:], stdout=subprocess.DEVNULL)
while not any(open(task).read() for task in glob.glob(f'/proc/{run.pid}/task/*/children')):
    time.sleep(0.001)
    assert run.poll() is None
run.send_signal(signal.SIGINT)
print(run.wait(10))
";

fn one_signal_ends_what_only_looks(machine: &Machine, plan: &str) {
    machine.root(&format!("cat >/root/interrupted.py <<'END'\n{INTERRUPTED}END")).ok();
    for command in [plan, "doctor"] {
        let line = format!("{}python3 /root/interrupted.py {command}", machine.era().variables());
        assert_eq!(machine.root(&line).ok(), "130\n", "{command}");
    }
    machine.root("rm /root/interrupted.py").ok();
}

fn a_state_directory_that_others_could_have_written(machine: &Machine, plan: &str) {
    let bootstrap = format!("bootstrap --lb {}", machine.range());
    let forged = r#"{"record":"header","format":1,"tool":"x"}"#;
    for (name, make, said) in [
        ("another owner", format!("install -d -o ubuntu {STATE}"), "belongs to the user"),
        ("open to all", format!("install -d -m 777 {STATE}"), "others may write it (mode 0777)"),
        (
            "the journal a link",
            format!("install -d {STATE}; echo '{forged}' >/root/journal; ln -s /root/journal {STATE}/journal.jsonl"),
            "it is a link",
        ),
        ("all of it a link", format!("install -d /root/state; ln -s /root/state {STATE}"), "it is a link"),
    ] {
        machine.root(&make).ok();
        let looks =
            format!("ls -lnAR --time-style=full-iso {STATE} {STATE}/ /root/journal /root/state; ls /var/log/iris-mk8s");
        let before = machine.root(&looks).stdout;
        for command in
            [&bootstrap, plan, "status", "journal show", "teardown --reset --yes", "start", "stop", "session"]
        {
            let output = machine.product(command).exits(40).says(&[said, "cannot be trusted", "sudo "]);
            assert_eq!(output.stdout, "", "{name}: {command}");
        }
        machine.product("doctor").exits(30).says(&[said]);
        assert_eq!(machine.root(&looks).stdout, before, "{name}: something was changed");
        assert!(machine.root("test -e /snap/bin/microk8s").code != 0, "{name}");
        // The first command in the hint that changes something mends it.
        let hint = machine.product("status").stderr;
        let mend = hint.split('`').skip(1).step_by(2).find(|command| !command.starts_with("sudo ls"));
        let mend = mend.unwrap_or_else(|| panic!("{name}: no command in {hint}"));
        machine.ubuntu(mend).ok();
        machine.product("status").says(&["no bootstrap has run on this host"]);
        machine.root(&format!("rm -rf {STATE} /root/iris-mk8s /root/state /root/journal")).ok();
    }
}

/// Looks all the time, and writes down how each look ended.
const LOOKERS: &str = "touch /root/looking; \
    for command in status doctor; do \
        systemd-run --quiet --unit=look-$command bash -c \
            \"while test -e /root/looking; do iris-mk8s $command >/root/last-$command 2>&1; echo \\$? >>/root/ends-$command; sleep 3; done\"; \
    done";

fn beside_and_after_a_bootstrap(era: Era) {
    let Some(machine) = Machine::up("door-beside", era) else { return };
    let before = machine.snapshot("before");
    let bootstrap = format!("bootstrap --lb {}", machine.range());
    machine.root(LOOKERS).ok();
    machine.wait_until("both have looked once", 120, |m| {
        m.root("test -s /root/ends-status -a -s /root/ends-doctor").code == 0
    });

    // The blanks are part of the password, the umask is the caller's.
    machine.ubuntu(r"umask 077; printf 'Plum 7 \t\r\n' >/tmp/given").ok();
    let line =
        format!("umask 027; sudo {}iris-mk8s --output json {bootstrap} --password-file /tmp/given", era.variables());
    let run = machine.start_line(&line).finish();
    run.exits(0);
    let waited = run.events.iter().find(|e| e.text("message").contains("a command of an earlier run"));
    assert!(waited.is_none(), "a look beside it was taken for a command of a dead run: {waited:?}");
    machine
        .root("rm /root/looking; while systemctl --quiet is-active look-status look-doctor; do sleep 0.2; done")
        .ok();
    for command in ["status", "doctor"] {
        let ends = machine.root(&format!("cat /root/ends-{command}")).ok();
        let good = ends.lines().all(|code| code == "0" || code == "30");
        assert!(good && ends.lines().count() >= 3, "{command} beside a bootstrap ended with {ends:?}");
    }
    machine.root("rm -f /root/ends-* /root/last-*").ok();

    machine.root("umask 022; test $(stat -c %a /var/lib/iris-mk8s) = 755 && test $(stat -c %a /var/lib/iris-mk8s/password) = 600").ok();
    assert_eq!(machine.ubuntu("cat /var/lib/iris-mk8s/password").ok(), "Plum 7 \t\n");
    let portal = format!("http://{}:52773/api/atelier/", machine.nth_address(0));
    let status =
        |account: &str| machine.client_curl(&["-u", account, "-o", "/dev/null", "-w", "%{http_code}", &portal]);
    assert_eq!(status("SuperUser:Plum 7 \t").ok(), "200");
    assert_eq!(status("SuperUser:Plum 7").ok(), "401");
    // The next run knows it, told again or not.
    machine.product(&format!("{bootstrap} --password-file /tmp/given")).exits(0);
    machine.product(&format!("plan --check --lb {}", machine.range())).exits(0).says(&["nothing to do"]);

    // A run whose events cannot be written does its work all the same.
    let output = machine.product(&format!("{bootstrap} --output json >/dev/full")).exits(20);
    assert!(only_that(&output.stderr, "cannot write to standard output"), "{output}");

    if era == Era::Current {
        let refused = machine
            .product(&format!("{bootstrap} --channel 1.33"))
            .exits(23)
            .says(&["use what is there: --channel 1.34/stable"]);
        assert!(!refused.stderr.contains("purge"), "an advice that loses the data: {refused}");
    }
    machine.product("stop").exits(0).says(&["IRIS and MicroK8s are stopped", "sudo iris-mk8s start"]);
    machine.product("start").exits(0).says(&["MicroK8s and IRIS are running"]);

    // A question ends with the first Ctrl-C, and nothing was done.
    let journal = machine.root("cat /var/lib/iris-mk8s/journal.jsonl").ok();
    let seen = machine.at_a_terminal("teardown --data", "Type `yes` to go on", "\\003");
    assert_eq!(seen.code, 130, "{}", seen.end);
    assert_eq!(machine.root("cat /var/lib/iris-mk8s/journal.jsonl").ok(), journal, "something was changed");

    machine.product("teardown").exits(0);
    let secrets = machine.kubectl("get secrets --namespace default -o name").ok();
    assert!(!secrets.contains("cpf"), "the Secret stays: {secrets}");
    // Root needs no group, and is told of none.
    let summary = machine.root(&format!("{}iris-mk8s {bootstrap}", era.variables())).exits(0);
    assert!(!summary.stdout.contains("login"), "{summary}");
    machine.product("teardown --reset --yes").exits(0);
    machine.root("rm -f /tmp/given").ok();
    machine.is_restored_to(&before);
}
