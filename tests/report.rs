//! What people and programs get to read, from one recorded list of events.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    io::{self, Write},
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use indicatif::{InMemoryTerm, ProgressDrawTarget};
use iris_mk8s::{
    engine::event::{Change, ErrorRecord, Event, Outcome, Stamped},
    error::{Error, ExitCode},
    report::{Json, Lines, Reporter, Terminal, Verbosity},
};

/// A place to write to that can be looked at.
#[derive(Clone, Default)]
struct Page(Arc<Mutex<Vec<u8>>>);

impl Page {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Page {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn started() -> Event {
    Event::RunStarted {
        format: 1,
        tool: "iris-mk8s 0.1.0".into(),
        command: "bootstrap".into(),
        run: "20261124-0500-bootstrap-7".into(),
        stages: ["preflight", "snap", "addons"].map(str::to_owned).to_vec(),
    }
}

fn acting(step: &str, title: &str, act: &str) -> Event {
    Event::StepActing { step: step.into(), title: title.into(), act: act.into() }
}

fn waiting(step: &str, title: &str, why: &str) -> Event {
    Event::StepWaiting { step: step.into(), title: title.into(), why: why.into() }
}

fn download(done: u64) -> Event {
    Event::StepProgress {
        step: "snap.microk8s".into(),
        done,
        total: 200 << 20,
        unit: "bytes".into(),
        what: "Download snap \"microk8s\"".into(),
    }
}

fn failed(hint: &str) -> ErrorRecord {
    let error = Error::failed("`microk8s enable dns` exited with 1")
        .because("first line\nsecond line")
        .hint(hint)
        .in_step("addon.dns");
    ErrorRecord::from(&error)
}

/// A run that fails in its last stage.
fn recorded() -> Vec<(u64, Event)> {
    let snap = "MicroK8s 1.34/stable";
    vec![
        (0, started()),
        (1, Event::StageStarted { stage: "preflight".into() }),
        (
            90,
            Event::StepKept {
                step: "preflight.host".into(),
                title: "the host is fit".into(),
                note: "Ubuntu 24.04".into(),
                seconds: 0.0,
            },
        ),
        (91, Event::StageDone { stage: "preflight".into(), seconds: 0.09 }),
        (100, Event::StageStarted { stage: "snap".into() }),
        (120, acting("snap.microk8s", snap, "snap install microk8s --classic --channel=1.34/stable")),
        (200, waiting("snap.microk8s", snap, "snapd: another change")),
        (1_000, download(20 << 20)),
        (2_000, download(50 << 20)),
        (12_000, download((120 << 20) + 1)),
        (
            12_345,
            Event::StepDone {
                step: "snap.microk8s".into(),
                title: snap.into(),
                change: Change::Created,
                note: "revision 1".into(),
                seconds: 12.2,
            },
        ),
        (12_400, Event::StageDone { stage: "snap".into(), seconds: 12.3 }),
        (12_500, Event::Warning { message: "time runs backwards".into() }),
        (12_600, acting("addon.dns", "addon dns", "microk8s enable dns")),
        (
            12_700,
            Event::Output { step: "addon.dns".into(), line: "\u{1b}[31mInfer\u{1b}[0m repository\tcore\r".into() },
        ),
        (13_000, Event::StepFailed { step: "addon.dns".into(), error: failed("look at the pod") }),
        (
            13_100,
            Event::RunFinished {
                outcome: Outcome {
                    created: 1,
                    kept: 1,
                    seconds: 13.1,
                    errors: vec![failed("look at the pod\nthe whole output: run.log")],
                    ..Outcome::new(ExitCode::CommandFailed)
                },
            },
        ),
    ]
}

fn show(reporter: &mut dyn Reporter, events: Vec<(u64, Event)>) {
    for (seq, (ms, event)) in (0..).zip(events) {
        reporter.event(&Stamped { seq, ms, event });
    }
}

fn lines(verbosity: Verbosity, events: Vec<(u64, Event)>) -> String {
    let page = Page::default();
    show(&mut Lines::new(page.clone(), verbosity), events);
    page.text()
}

#[test]
fn a_log_has_plain_lines() {
    let expected = "\
[   0.0 s] iris-mk8s 0.1.0 bootstrap: preflight, snap, addons
[   0.0 s] kept     preflight.host         the host is fit: Ubuntu 24.04
[   0.1 s] runs     snap.microk8s          snap install microk8s --classic --channel=1.34/stable
[   0.2 s] waits    snap.microk8s          MicroK8s 1.34/stable: snapd: another change
[  12.0 s] waits    snap.microk8s          MicroK8s 1.34/stable: Download snap \"microk8s\" 60 % (120.0 of 200.0 MiB)
[  12.3 s] created  snap.microk8s          MicroK8s 1.34/stable: revision 1 (12.2 s)
[  12.5 s] warning  time runs backwards
[  12.6 s] runs     addon.dns              microk8s enable dns
[  13.0 s] failed   addon.dns              `microk8s enable dns` exited with 1
             cause: first line
                    second line
             hint:  look at the pod
[  13.1 s] the whole output: run.log
[  13.1 s] ended after 13.1 s with exit code 20: 1 created, 1 kept; run the same command again: it resumes
";
    assert_eq!(lines(Verbosity::Normal, recorded()), expected);
}

#[test]
fn quiet_tells_trouble_only_and_verbose_the_output_too() {
    let quiet = lines(Verbosity::Quiet, recorded());
    let first_words: Vec<&str> = quiet.lines().filter_map(|l| l.strip_prefix('[')?.split_whitespace().nth(2)).collect();
    assert_eq!(first_words, ["warning", "failed", "the", "ended"], "{quiet}");
    let verbose = lines(Verbosity::Verbose, recorded());
    assert!(verbose.contains("[  12.7 s]          addon.dns              | Infer repository core\n"), "{verbose}");
    // A good end is no trouble.
    let good = vec![(5, Event::RunFinished { outcome: Outcome::new(ExitCode::Done) })];
    assert_eq!(lines(Verbosity::Quiet, good.clone()), "");
    assert_eq!(lines(Verbosity::Normal, good), "[   0.0 s] done in 0.0 s: nothing was done\n");
}

#[test]
fn an_error_of_no_step_is_told_in_full_at_the_end() {
    let error = Error::new(ExitCode::Locked, "another run is at work").because("process 7").hint("wait for it");
    let outcome = Outcome { errors: vec![ErrorRecord::from(&error)], ..Outcome::new(ExitCode::Locked) };
    let expected = "\
[   0.0 s] error: another run is at work
             cause: process 7
             hint:  wait for it
[   0.0 s] ended after 0.0 s with exit code 12: nothing was done
";
    assert_eq!(lines(Verbosity::Normal, vec![(0, Event::RunFinished { outcome })]), expected);
}

#[test]
fn reasons_are_told_when_they_change_at_most_every_ten_seconds() {
    let page = Page::default();
    let mut log = Lines::new(page.clone(), Verbosity::Normal);
    for second in 0..25_u64 {
        let why = if second < 20 { format!("reason {second}") } else { "reason 19".to_owned() };
        log.event(&Stamped { seq: second, ms: second * 1000, event: waiting("iris.pods", "pods", &why) });
    }
    log.tick(25_000);
    let told: Vec<String> = page.text().lines().map(str::to_owned).collect();
    assert_eq!(
        told,
        [
            "[   0.0 s] waits    iris.pods              pods: reason 0",
            "[  10.0 s] waits    iris.pods              pods: reason 10",
            "[  20.0 s] waits    iris.pods              pods: reason 19",
        ]
    );
}

#[test]
fn something_is_said_at_least_every_thirty_seconds_while_something_runs() {
    let page = Page::default();
    let mut log = Lines::new(page.clone(), Verbosity::Normal);
    show(&mut log, vec![(0, waiting("iris.pods", "pods", "pod data-0: Pulling"))]);
    for ms in (0..=65_000).step_by(500) {
        log.tick(ms);
    }
    show(&mut log, vec![(65_100, Event::StepUndone { step: "iris.pods".into(), title: "pods".into(), seconds: 65.1 })]);
    // Nothing runs any more, so there is nothing to say.
    (66_000..200_000).step_by(500).for_each(|ms| log.tick(ms));
    let told: Vec<String> = page.text().lines().map(str::to_owned).collect();
    assert_eq!(
        told,
        [
            "[   0.0 s] waits    iris.pods              pods: pod data-0: Pulling",
            "[  30.0 s] still    iris.pods              pods: pod data-0: Pulling, for 30 s",
            "[  60.0 s] still    iris.pods              pods: pod data-0: Pulling, for 60 s",
            "[  65.1 s] undone   iris.pods              pods (65.1 s)",
        ]
    );
}

#[test]
fn a_program_gets_each_event_as_one_line_of_json() {
    let page = Page::default();
    show(&mut Json::new(page.clone()), recorded());
    let text = page.text();
    let records: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(records.len(), recorded().len());
    assert_eq!(
        text.lines().next().unwrap(),
        concat!(
            r#"{"seq":0,"ms":0,"event":"run-started","format":1,"tool":"iris-mk8s 0.1.0","command":"bootstrap","#,
            r#""run":"20261124-0500-bootstrap-7","stages":["preflight","snap","addons"]}"#
        )
    );
    let last = &records[records.len() - 1];
    assert_eq!(last["event"], "run-finished");
    assert_eq!(
        (&last["outcome"]["exit"], &last["outcome"]["created"], &last["outcome"]["kept"]),
        (&20.into(), &1.into(), &1.into())
    );
    assert_eq!(records[10]["change"], "created");
}

#[test]
fn a_reader_that_is_gone_stops_nothing() {
    struct Gone;
    impl Write for Gone {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
    }
    show(&mut Lines::new(Gone, Verbosity::Verbose), recorded());
    show(&mut Json::new(Gone), recorded());
}

#[test]
fn nothing_follows_a_record_that_could_not_be_written() {
    /// A disk that is full for one write.
    struct Full {
        page: Page,
        writes: usize,
    }
    impl Write for Full {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.writes += 1;
            if self.writes == 3 { Err(io::ErrorKind::StorageFull.into()) } else { self.page.write(bytes) }
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let page = Page::default();
    let mut json = Json::new(Full { page: page.clone(), writes: 0 });
    show(&mut json, recorded());
    assert_eq!(page.text().lines().count(), 2, "{}", page.text());
    assert_eq!(json.written().map_err(|e| e.kind()), Err(io::ErrorKind::StorageFull));
    assert!(Json::new(Page::default()).written().is_ok());
}

#[test]
fn stop_and_start_end_with_what_is_so_now() {
    let ended = |command: &str, exit: ExitCode, verbosity| {
        let mut begin = started();
        if let Event::RunStarted { command: name, .. } = &mut begin {
            command.clone_into(name);
        }
        let outcome = Outcome { seconds: 5.04, ..Outcome::new(exit) };
        lines(verbosity, vec![(0, begin), (5_040, Event::RunFinished { outcome })])
    };
    for (command, exit, last) in [
        ("stop", ExitCode::Done, "IRIS and MicroK8s are stopped (5.0 s); to start them again: `sudo iris-mk8s start`"),
        ("start", ExitCode::Done, "MicroK8s and IRIS are running (5.0 s); to stop them: `sudo iris-mk8s stop`"),
        ("stop", ExitCode::TimedOut, "ended after 5.0 s with exit code 21; run the same command again: it resumes"),
        ("teardown", ExitCode::Done, "done in 5.0 s: nothing was done"),
    ] {
        let told = ended(command, exit, Verbosity::Normal);
        assert_eq!(told.lines().last(), Some(format!("[   5.0 s] {last}").as_str()), "{told}");
    }
    assert_eq!(ended("stop", ExitCode::Done, Verbosity::Quiet), "");
}

/// What the screen shows, once it shows what is wanted; spinners turn, so they are taken out.
fn screen(term: &InMemoryTerm, wanted: &str) -> String {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let shown: String = term.contents().chars().map(|c| if "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏".contains(c) { '*' } else { c }).collect();
        let shown: String = shown.lines().map(|line| format!("{}\n", line.trim_end())).collect();
        if shown == wanted || Instant::now() > deadline {
            return shown;
        }
        thread::sleep(Duration::from_millis(20));
    }
}

fn on_screen(columns: u16) -> (InMemoryTerm, Terminal) {
    let term = InMemoryTerm::new(30, columns);
    let view = Terminal::new(ProgressDrawTarget::term_like(Box::new(term.clone())), false, Verbosity::Normal);
    (term, view)
}

#[test]
fn a_terminal_shows_what_is_at_work_in_place() {
    let (term, mut view) = on_screen(100);
    let mut events = recorded();
    let mut rest = events.split_off(9);
    show(&mut view, events);
    let working = "\
· kept     preflight.host         the host is fit: Ubuntu 24.04
* snap.microk8s            0s  Download snap \"microk8s\" 25 % (50.0 of 200.0 MiB)
* bootstrap, 1 of 3 stages done                                                                   0s
";
    assert_eq!(screen(&term, working), working);
    let last = rest.split_off(5);
    show(&mut view, rest);
    let done = "\
· kept     preflight.host         the host is fit: Ubuntu 24.04
✓ created  snap.microk8s          MicroK8s 1.34/stable: revision 1 (12.2 s)
! warning  time runs backwards
* addon.dns                0s  addon dns: microk8s enable dns
* bootstrap, 2 of 3 stages done                                                                   0s
";
    assert_eq!(screen(&term, done), done);
    show(&mut view, last);
    let ended = "\
· kept     preflight.host         the host is fit: Ubuntu 24.04
✓ created  snap.microk8s          MicroK8s 1.34/stable: revision 1 (12.2 s)
! warning  time runs backwards
✗ failed   addon.dns              `microk8s enable dns` exited with 1
    cause: first line
           second line
    hint:  look at the pod
✗ the whole output: run.log
✗ ended after 13.1 s with exit code 20: 1 created, 1 kept; run the same command again: it resumes
";
    // The last line is blank but for the cursor, so its newline is not part of the screen's text.
    assert_eq!(screen(&term, ended), ended);
}

#[test]
fn a_live_line_never_wraps() {
    let (term, mut view) = on_screen(60);
    let why = "pod data-0: ImagePullBackOff: ".to_owned() + &"very long ".repeat(20);
    show(&mut view, vec![(0, started()), (1, waiting("iris.pods", "pods", &why))]);
    let working = "\
* iris.pods                0s  pods: pod data-0: ImagePullBa
* bootstrap                                               0s
";
    assert_eq!(screen(&term, working), working);
    drop(view);
    assert_eq!(screen(&term, ""), "", "nothing of the live view stays behind");
}
