//! A run is killed, or its machine loses its power, at one moment after the other: each time the same command goes on, in the end all is as
//! wanted, and a teardown that dies as often still restores the machine.

use std::{
    io::Write,
    process::Command,
    time::{Duration, Instant},
};

use crate::support::{Era, Event, Machine, in_both_eras, kept};

in_both_eras! { wherever_it_dies after_every_record interrupted_by_a_person }

/// How a run ends.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Death {
    /// `kill -9`.
    Kill,
    /// With the whole machine, which boots again.
    PowerCut,
}
use Death::{Kill, PowerCut};

/// A moment: the first event of that kind of the step, with that text in it.
struct Moment {
    death: Death,
    name: &'static str,
    /// The command; a bootstrap gets its range.
    command: &'static str,
    event: &'static str,
    step: &'static str,
    text: &'static str,
}

const fn at(death: Death, name: &'static str, command: &'static str, when: [&'static str; 3]) -> Moment {
    Moment { death, name, command, event: when[0], step: when[1], text: when[2] }
}

const RESET: &str = "teardown --reset --yes";

/// Those that last: the others lie between two records of the journal, and are the other test's.
const MOMENTS: &[Moment] = &[
    at(Kill, "the host was looked at", "bootstrap", ["stage-done", "preflight", ""]),
    at(Kill, "snap: download", "bootstrap --until snap", ["step-progress", "snap.microk8s", ""]),
    at(PowerCut, "snap: download", "bootstrap --until snap", ["step-progress", "snap.microk8s", ""]),
    at(Kill, "snap: its hooks", "bootstrap --until snap", ["step-waiting", "snap.microk8s", "hook"]),
    at(Kill, "start: no node yet", "bootstrap --until start", ["step-waiting", "cluster.running", ""]),
    at(PowerCut, "enable metallb", "bootstrap --until metallb", ["output", "addon.metallb", ""]),
    at(Kill, "enable metallb", "bootstrap --until metallb", ["output", "addon.metallb", ""]),
    at(PowerCut, "rollout", "bootstrap", ["step-waiting", "ready.pods", ""]),
    at(Kill, "rollout", "bootstrap", ["step-waiting", "ready.pods", ""]),
    at(Kill, "teardown: IRIS shuts down", "teardown", ["step-waiting", "iris.statefulset", ""]),
    at(Kill, "teardown: data", "teardown --data --yes", ["step-acting", "iris.claims", ""]),
    at(Kill, "reset: snap", RESET, ["step-waiting", "snap.microk8s", "services"]),
    at(PowerCut, "reset: snap", RESET, ["step-waiting", "snap.microk8s", ""]),
];

/// A line of the table.
struct Line {
    moment: &'static Moment,
    died: Instant,
    /// From then until the same command was past that step, other deaths included; none = it was past it already.
    resumed: Option<Duration>,
}

/// Whether an event says that the step is as it should be.
fn is_past(event: &Event, step: &str) -> bool {
    ["step-done", "step-kept", "step-undone", "stage-done"].iter().any(|kind| event.is(kind, step))
}

/// The command goes on until the moment, and dies; without one it comes to its end. Notes of every death before when it was past that step.
/// False: the moment did not come, because what the runs before had begun went on without them.
fn goes_on(machine: &Machine, lines: &mut [Line], next: Option<&Moment>, command: &str) -> bool {
    let mut run = machine.start(command);
    let mut died = None;
    while let Some(event) = run.next() {
        for line in lines.iter_mut().filter(|l| l.resumed.is_none() && is_past(&event, l.moment.step)) {
            line.resumed = Some(line.died.elapsed());
        }
        if let Some(moment) = next.filter(|m| event.is(m.event, m.step) && event.says(m.text)) {
            match moment.death {
                // It may come to its end before the signal does.
                Kill => _ = machine.root("pkill -KILL -x iris-mk8s"),
                PowerCut => machine.cut(),
            }
            died = Some(moment.death);
            // Its last line may be torn.
            run.drain();
            break;
        }
    }
    let ended = run.end();
    if died == Some(PowerCut) {
        machine.boot();
    }
    if died.is_none() || ended.code == 0 {
        assert_eq!(ended.code, 0, "{ended:?}\n{}", ended.stderr);
    }
    next.is_none() || ended.code != 0
}

fn wherever_it_dies(era: Era) {
    let Some(machine) = Machine::up("deaths", era) else { return };
    let before = machine.snapshot("before");
    let with_range = |command: &str| match command.strip_prefix("bootstrap") {
        Some(rest) => format!("bootstrap --lb {}{rest}", machine.range()),
        None => command.to_owned(),
    };
    let mut lines: Vec<Line> = Vec::new();
    let mut ends = Vec::new();
    let mut missed = Vec::new();

    machine.fault("store --rate 10M");
    let mut in_teardown = false;
    for moment in MOMENTS {
        if moment.name == "snap: its hooks" {
            machine.fault("clear");
        }
        if moment.command.starts_with("teardown") && !in_teardown {
            in_teardown = true;
            let begun = Instant::now();
            goes_on(&machine, &mut lines, None, &with_range("bootstrap"));
            ends.push(("bootstrap", begun.elapsed()));
            answers(&machine);
        }
        if goes_on(&machine, &mut lines, Some(moment), &with_range(moment.command)) {
            lines.push(Line { moment, died: Instant::now(), resumed: None });
        } else {
            missed.push(moment.name);
        }
    }
    let begun = Instant::now();
    goes_on(&machine, &mut lines, None, RESET);
    ends.push(("teardown", begun.elapsed()));
    let residue = machine.residue(&before);
    tell(&machine, &lines, &ends, &residue);
    assert!(residue.is_empty(), "the machine is not as it was before:\n{residue}");
    // What a run had begun before it died may be over when the next one looks: such a moment cannot be had any more.
    let _ = writeln!(std::io::stderr(), "machines: {}: over before they could be seen: {missed:?}", machine.name());
    assert!(lines.len() > MOMENTS.len() / 2, "too few deaths: {missed:?} were over before they could be seen");
}

/// A library that ends the process that loads it after its n-th record.
fn library(machine: &Machine) -> &'static str {
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/machines/support/die.c");
    let built = kept(machine.name()).join("die.so");
    let compiled = Command::new("cc").args(["-shared", "-fPIC", "-O1", "-o"]).arg(&built).arg(source).status();
    assert!(compiled.expect("a C compiler").success());
    machine.put(built.to_str().expect("UTF-8"), "/usr/local/lib/die.so");
    "/usr/local/lib/die.so"
}

/// Every run dies after its second to fifth record, until there is nothing left to write: an intent is the last word of many runs, and so is a
/// `done`.
fn after_every_record(era: Era) {
    let Some(machine) = Machine::up("records", era) else { return };
    let library = library(&machine);
    let before = machine.snapshot("before");
    let variables = format!("SUDO_USER=ubuntu {}LD_PRELOAD={library}", era.variables());
    for command in [format!("bootstrap --lb {}", machine.range()), RESET.to_owned()] {
        let begun = Instant::now();
        let mut last_words = Vec::new();
        loop {
            // The first record is that of the run itself, and what was only intended is intended again.
            let at = 2 + last_words.len() % 4;
            let run = machine.root(&format!("{variables} DIE_AT={at} iris-mk8s {command}"));
            if run.code == 0 {
                break;
            }
            assert_eq!(run.code, 137, "after {} deaths: {run}", last_words.len());
            let record =
                machine.root("tail -n 1 /var/lib/iris-mk8s/journal.jsonl | jq -r '.record + \" \" + .step'").ok();
            last_words.push(record.trim().to_owned());
            assert!(last_words.len() < 200, "it never comes to its end: {last_words:?}");
        }
        let (deaths, seconds) = (last_words.len(), begun.elapsed().as_secs());
        let _ =
            writeln!(std::io::stderr(), "machines: {}: {deaths} deaths in {seconds} s: {last_words:?}", machine.name());
        assert!(deaths >= 10, "too few records were written");
        if command != RESET {
            answers(&machine);
        }
    }
    machine.is_restored_to(&before);
}

/// IRIS answers, nothing is left to do, and nothing was done twice.
fn answers(machine: &Machine) {
    let page = format!("http://{}:52773/api/monitor/metrics", machine.nth_address(0));
    machine.client_curl(&[&page]).exits(0).says(&["iris_cpu_usage"]);
    machine.product(&format!("plan --check --lb {}", machine.range())).exits(0);
    let installs = machine.root("snap changes | grep -c 'Install \"microk8s\"'").ok();
    assert_eq!(installs, "1\n", "snapd's change goes on without us: it is not made a second time");
    machine.product("journal show").exits(0).says(&["ours now: ", "snap.microk8s"]);
}

fn tell(machine: &Machine, lines: &[Line], seconds: &[(&str, Duration)], residue: &str) {
    let mut table = format!("{:<9} {:<28} {:<8} seconds until past it\n", "death", "moment", "resumed");
    for Line { moment, resumed, .. } in lines {
        let resumed = format!("yes      {:6.1}", resumed.unwrap_or_default().as_secs_f64());
        table.push_str(&format!("{:<9} {:<28} {resumed}\n", format!("{:?}", moment.death), moment.name));
    }
    for (what, time) in seconds {
        table.push_str(&format!("the last {what} took {:.1} s to its end\n", time.as_secs_f64()));
    }
    table.push_str(&format!("machine restored: {}\n", if residue.is_empty() { "yes" } else { "NO" }));
    let _ = std::fs::write(kept(machine.name()).join("deaths.txt"), &table);
    let _ = write!(std::io::stderr(), "machines: {}\n{table}", machine.name());
}

/// Once: the act is finished first. Twice: its process group is ended. Three times: at once, whatever the act does.
fn interrupted_by_a_person(era: Era) {
    let Some(machine) = Machine::up("signals", era) else { return };
    let before = machine.snapshot("before");
    let bootstrap = format!("bootstrap --lb {}", machine.range());
    machine.product(&format!("{bootstrap} --until basics")).exits(0);

    let mut run = machine.start(&format!("{bootstrap} --until metallb"));
    run.until("the act", |e| e.is("step-acting", "addon.metallb"));
    let group = machine.group_of("enable.*metallb");
    machine.root(&format!("kill -STOP -- -{group}")).ok();
    machine.signal("TERM");
    run.until("its word", |e| e.text("message").contains("stopping after the current action"));
    machine.root(&format!("sleep 3; kill -CONT -- -{group}")).ok();
    let ended = run.finish();
    ended.exits(130);
    assert!(!machine.group_lives(&group), "the act is not finished");
    let words: Vec<&str> = ended.all("output", "addon.metallb").iter().map(|e| e.text("line")).collect();
    assert!(words.iter().any(|w| w.contains("MetalLB is enabled")), "the act was not finished: {words:?}");
    let resumed = machine.start(&format!("{bootstrap} --until metallb")).finish();
    resumed.exits(0);
    let again: Vec<&str> = resumed.all("step-acting", "addon.metallb").iter().map(|e| e.text("act")).collect();
    assert!(!again.iter().any(|a| a.contains("enable")), "what was finished is done again: {again:?}");

    let mut run = machine.start(&format!("{bootstrap} --until addons"));
    run.until("the act", |e| e.is("step-acting", "addon.registry"));
    let group = machine.group_of("enable.*registry");
    machine.root(&format!("kill -STOP -- -{group}")).ok();
    machine.signal("INT");
    run.until("its word", |e| e.text("message").contains("stopping after the current action"));
    machine.signal("INT");
    run.until("its word", |e| e.text("message").contains("ending the current action"));
    // A stopped process takes the signal when it goes on.
    machine.root(&format!("kill -CONT -- -{group}")).ok();
    run.finish().exits(130);
    assert!(!machine.group_lives(&group), "the act's process group lives on");

    let mut run = machine.start(&format!("{bootstrap} --until addons"));
    run.until("the act", |e| e.is("step-acting", "addon.registry"));
    let group = machine.group_of("enable.*registry");
    machine.root(&format!("kill -STOP -- -{group}")).ok();
    for word in ["stopping after the current action", "ending the current action"] {
        machine.signal("INT");
        run.until("its word", |e| e.text("message").contains(word));
    }
    let third = Instant::now();
    machine.signal("INT");
    while run.next().is_some() {}
    assert_eq!(run.end().code, 130);
    assert!(third.elapsed() < Duration::from_secs(10), "the third time is at once, not after {:?}", third.elapsed());
    machine.wait_until("the act's process group is gone", 60, |m| !m.group_lives(&group));

    control_c(&machine, &bootstrap);
    machine.product(&bootstrap).exits(0);
    asks_at_a_terminal(&machine);
    machine.product(RESET).exits(0);
    machine.is_restored_to(&before);
}

fn control_c(machine: &Machine, bootstrap: &str) {
    machine.fault("registry --delay 3");
    machine.root("microk8s kubectl scale statefulset/data --replicas=0 || true").ok();
    let seen = machine.at_a_terminal(bootstrap, "IRIS runs", "\\003");
    assert_eq!(seen.code, 130, "Ctrl-C ends it: {}", seen.end);
    assert!(seen.end.contains("run the same command again: it resumes"), "{}", seen.end);
    machine.fault("clear");
}

/// The question is the last thing on the screen, below all that it is about, and nothing draws over it. Whoever presses Ctrl-C there, or says
/// no, has changed nothing.
fn asks_at_a_terminal(machine: &Machine) {
    let converged = machine.root("cat /var/lib/iris-mk8s/journal.jsonl").ok();
    let asked = |command: &str, keys: &str| {
        let seen = machine.at_a_terminal(command, "Type `yes` to go on", keys);
        let last = seen.asked.trim_end().lines().last().unwrap_or_default().to_owned();
        assert!(last.ends_with("Type `yes` to go on:"), "the question is not to be seen:\n{}", seen.asked);
        for text in ["DATA   default/dbv-mgr-data-1 (5Gi", "All data of these volumes will be lost."] {
            assert!(seen.asked.contains(text), "it should show `{text}`:\n{}", seen.asked);
        }
        seen
    };
    for (command, keys, code) in [
        ("teardown --reset", "\\003", 130),
        ("teardown --data", "\\003", 130),
        ("teardown --reset", "no\\n", 2),
        ("teardown --data", "\\n", 2),
    ] {
        let seen = asked(command, keys);
        assert_eq!(seen.code, code, "{command}: {}", seen.end);
        assert!(seen.milliseconds < 2000, "{command} ended only after {} ms", seen.milliseconds);
        let word = if code == 130 { "nothing was changed" } else { "not confirmed" };
        assert!(seen.end.contains(word), "it should say `{word}`:\n{}", seen.end);
        assert_eq!(machine.root("cat /var/lib/iris-mk8s/journal.jsonl").ok(), converged, "nothing was changed");
    }
    let seen = asked("teardown --data", "yes\\n");
    assert_eq!(seen.code, 0, "{}", seen.end);
    assert_eq!(machine.kubectl("get pvc -n default -o name").ok(), "", "the data went");
}
