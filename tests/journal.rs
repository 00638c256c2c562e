//! The journal's bytes: torn anywhere, mixed up, of an older format, on a disk that is full or cannot be written.

use std::{collections::BTreeMap, fs, io::Write as _, path::Path, process::Command};

use iris_mk8s::{
    config::place::Place,
    engine::{
        journal::{Contents, FORMAT, Journal, Ledger, Record, Store},
        step::Memo,
    },
    error::ExitCode,
    stack::{origin, recall},
};
use proptest::prelude::*;
use serde_json::json;

const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/journals");

/// Journals as each format's program wrote them.
fn fixtures() -> Vec<(String, Vec<u8>)> {
    let files = fs::read_dir(FIXTURES).expect("fixtures").map(|e| e.expect("an entry").path());
    let mut all: Vec<(String, Vec<u8>)> = files
        .map(|f| (f.file_name().expect("a name").to_string_lossy().into_owned(), fs::read(f).expect("bytes")))
        .collect();
    all.sort();
    all
}

#[test]
fn journals_of_every_format_load() {
    let all = fixtures();
    for format in 1..=FORMAT {
        let prefix = format!("format-{format}-");
        assert!(all.iter().any(|(name, _)| name.starts_with(&prefix)), "there is no journal of format {format}");
    }
    for (name, bytes) in all {
        let contents = Contents::parse(&bytes, origin).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(contents.torn, 0, "{name}");
        assert!(contents.ledger.spec.is_some(), "{name}: the spec of its bootstrap is known");
        let nothing = name.contains("torn-down");
        assert_eq!(contents.ledger.is_empty(), nothing, "{name}: {:?}", contents.ledger.steps().collect::<Vec<_>>());
        assert_eq!(contents.ledger.memory("snap.microk8s").is_some(), !nothing, "{name}");
    }
}

#[test]
fn cut_at_every_byte_it_gives_the_longest_prefix_of_whole_records() {
    for (name, all) in fixtures() {
        let mut ends = 0;
        for cut in 0..=all.len() {
            ends += usize::from(cut > 0 && all[cut - 1] == b'\n');
            let whole = all[..cut].iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
            if ends == 0 {
                // There is no journal without a whole header: what is there is damaged, not new.
                let error = Contents::parse(&all[..cut], origin).expect_err("no header");
                assert_eq!(error.code, ExitCode::Journal, "{name} cut at {cut}");
                continue;
            }
            let contents = Contents::parse(&all[..cut], origin).unwrap_or_else(|e| panic!("{name} cut at {cut}: {e}"));
            assert_eq!(contents.records.len(), ends, "{name} cut at {cut}");
            assert_eq!((contents.whole, contents.torn), (whole as u64, (cut - whole) as u64), "{name} cut at {cut}");
            let shown = contents.to_string();
            assert_eq!(shown.contains("torn record"), cut != whole, "{name} cut at {cut}: {shown}");
        }
    }
}

#[test]
fn what_a_power_cut_makes_of_the_last_line_is_cut_off() {
    let dir = tempfile::tempdir().expect("a directory");
    let place = Place { dir: dir.path().to_owned() };
    let (_, all) = fixtures().swap_remove(0);
    let last = all[..all.len() - 1].iter().rposition(|b| *b == b'\n').expect("two lines") + 1;
    for (what, tail) in [
        ("nothing but zeros", vec![0; 40]),
        ("zeros, and its end", [vec![0; 20], all[all.len() - 9..].to_vec()].concat()),
        ("its first half", all[last..last + 9].to_vec()),
    ] {
        fs::write(place.journal(), [&all[..last], &tail].concat()).expect("written");
        let journal = Journal::open(&place, origin).unwrap_or_else(|e| panic!("{what}: {e}"));
        assert_eq!(journal.torn, tail.len() as u64, "{what}");
        journal
            .append(&Record::Intent {
                step: "a.b".into(),
                memo: Memo::default(),
                recipe: json!(null),
                microk8s: None,
                anew: false,
            })
            .expect("appended");
        drop(journal);
        let now = Contents::read(&place, origin).expect("readable");
        assert!(now.torn == 0 && now.ledger.is_open("a.b"), "{what}");
    }
}

#[test]
fn a_person_reads_what_was_there_and_what_is_ours() {
    let record = |text: &str| format!("{text}\n").into_bytes();
    let all = [
        record(r#"{"record":"header","format":1,"tool":"t"}"#),
        record(r#"{"record":"run","run":"r","command":"bootstrap","at":1}"#),
        record(r#"{"record":"intent","step":"a.new","prior":null,"want":1}"#),
        record(r#"{"record":"done","step":"a.new"}"#),
        record(r#"{"record":"intent","step":"a.old","prior":"mine","want":1}"#),
        record(r#"{"record":"undo-intent","step":"a.new"}"#),
        record(r#"{"record":"undone","step":"a.new"}"#),
    ]
    .concat();
    let shown = Contents::parse(&all, origin).expect("a journal").to_string();
    let lines: Vec<&str> = shown.lines().collect();
    assert_eq!(
        lines,
        [
            "written by t, format 1",
            "",
            "1970-01-01T00:00:01Z bootstrap (r)",
            "  makes    a.new (nothing was there)",
            "  done     a.new",
            "  changes  a.old (there was: \"mine\")",
            "  undoes   a.new",
            "  undone   a.new",
            "",
            "ours now: a.old",
        ]
    );
}

/// The journal of the first release: what its intents left to the spec is found by it, under the keys of today.
#[test]
fn a_journal_of_format_1_holds_all_that_an_undo_needs() {
    for (name, bytes) in fixtures().into_iter().filter(|(name, _)| name.starts_with("format-1-")) {
        let contents = Contents::parse(&bytes, origin).expect("a journal");
        assert_eq!(contents.format, 1);
        let stages = recall(&contents.ledger).unwrap_or_else(|e| panic!("{name}: {e}"));
        let keys: Vec<String> = stages.iter().flat_map(|stage| &stage.steps).map(|step| step.key()).collect();
        let mut known: Vec<&str> = contents.ledger.steps().collect();
        known.sort_unstable();
        let mut sorted = keys.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, known, "{name}");
        if !known.is_empty() {
            assert!(keys.contains(&"iris.statefulset@default/data".to_owned()), "{name}: {keys:?}");
            assert!(
                contents
                    .ledger
                    .memories()
                    .all(|(key, memory)| key.starts_with("snap.hold") || !memory.recipe.is_null())
            );
        }
    }
}

/// An older program would misread what is written from now on: so it is told by the header, once something is written.
#[test]
fn an_older_format_is_brought_up_to_date_by_whoever_writes() {
    for (name, bytes) in fixtures().into_iter().filter(|(name, _)| name.starts_with("format-1-")) {
        let dir = tempfile::tempdir().expect("a directory");
        let place = Place { dir: dir.path().to_owned() };
        fs::write(place.journal(), &bytes).expect("written");
        let before = Contents::read(&place, origin).expect("readable");
        assert_eq!(fs::read(place.journal()).expect("bytes"), bytes, "{name}: who only reads changes nothing");
        drop(Journal::open(&place, origin).expect("opened"));
        let after = Contents::read(&place, origin).expect("readable");
        assert_eq!((after.format, &after.records, &after.ledger), (FORMAT, &before.records, &before.ledger), "{name}");
        let text = fs::read_to_string(place.journal()).expect("text");
        assert!(text.lines().all(|line| line.contains(&format!("\"v\":{FORMAT}"))), "{name}: {text}");
    }
}

#[test]
fn what_a_newer_program_wrote_is_refused_by_name_and_nothing_is_cut() {
    let (_, old) = fixtures().swap_remove(0);
    let text = String::from_utf8(old.clone()).expect("text");
    let newer = format!("{}", FORMAT + 1);
    for (what, bytes, said) in [
        ("a header", text.replacen("\"format\":1", &format!("\"format\":{newer}"), 1), format!("format {newer}")),
        ("a last record", format!("{text}{{\"record\":\"adopted\",\"step\":\"a.b\"}}\n"), "`adopted`".to_owned()),
        ("a version", format!("{text}{{\"record\":\"done\",\"step\":\"a.b\",\"v\":{newer}}}\n"), "`done`".to_owned()),
    ] {
        let dir = tempfile::tempdir().expect("a directory");
        let place = Place { dir: dir.path().to_owned() };
        fs::write(place.journal(), &bytes).expect("written");
        let error = Journal::open(&place, origin).map(|_| ()).expect_err(what);
        assert_eq!(error.code, ExitCode::Journal, "{what}");
        assert!(error.what.contains("newer iris-mk8s") && error.what.contains(&said), "{what}: {error}");
        assert!(!error.to_string().contains("move it away"), "{what}: {error}");
        assert_eq!(fs::read_to_string(place.journal()).expect("text"), bytes, "{what}");
    }
}

/// Each would have been taken for a host that nobody has touched.
#[test]
fn a_journal_that_is_empty_or_zeroed_is_damaged() {
    for (what, bytes) in [
        ("empty", vec![]),
        ("zeroed", vec![0; 4096]),
        ("cut", b"{\"record\":\"hea".to_vec()),
        ("blank", b"\n".to_vec()),
    ] {
        let dir = tempfile::tempdir().expect("a directory");
        let place = Place { dir: dir.path().to_owned() };
        fs::write(place.journal(), &bytes).expect("written");
        for error in [
            Journal::open(&place, origin).map(|_| ()).expect_err(what),
            Contents::read(&place, origin).expect_err(what),
        ] {
            assert!(error.code == ExitCode::Journal && error.what.contains("damaged at line 1"), "{what}: {error}");
        }
        assert_eq!(fs::read(place.journal()).expect("bytes"), bytes, "{what}");
    }
}

#[test]
fn reading_says_which_file_and_no_file_is_an_empty_journal() {
    let dir = tempfile::tempdir().expect("a directory");
    let place = Place { dir: dir.path().to_owned() };
    assert_eq!(Contents::read(&place, origin).expect("nothing"), Contents::default());
    let path = place.journal().display().to_string();
    fs::write(place.journal(), "no record\n{}\n").expect("written");
    for damaged in [Contents::read(&place, origin).unwrap_err(), Journal::open(&place, origin).map(|_| ()).unwrap_err()]
    {
        assert!(damaged.code == ExitCode::Journal && damaged.what.contains(&path), "{damaged}");
    }
    fs::remove_file(place.journal()).expect("removed");
    fs::create_dir(place.journal()).expect("a directory in its place");
    let unread = Contents::read(&place, origin).unwrap_err();
    assert!(unread.code == ExitCode::Journal && unread.what.contains(&path), "{unread}");
}

/// A password belongs to data that may still be there; after a reset nothing of ours is.
#[test]
fn a_journal_that_says_nothing_goes_alone_and_the_end_of_a_reset_takes_all() {
    let dir = tempfile::tempdir().expect("a directory");
    let place = Place { dir: dir.path().join("ours") };
    Journal::open(&place, origin).expect("opened").discard().expect("removed");
    assert!(!place.dir.exists(), "an empty directory stays");

    let journal = Journal::open(&place, origin).expect("opened");
    fs::write(place.password(), "secret").expect("written");
    journal.discard().expect("removed");
    assert!(place.password().exists() && !place.journal().exists() && !place.lock().exists());

    Journal::open(&place, origin).expect("opened").remove().expect("removed");
    assert!(!place.dir.exists(), "something stays");

    let journal = Journal::open(&place, origin).expect("opened");
    fs::create_dir(place.dir.join("of-somebody-else")).expect("made");
    fs::write(place.dir.join("notes.txt"), "of somebody else").expect("made");
    fs::write(place.before(), "{}").expect("made");
    journal.remove().expect("removed");
    assert!(place.dir.join("of-somebody-else").exists() && place.dir.join("notes.txt").exists());
    assert!(!place.before().exists() && !place.journal().exists() && !place.lock().exists());

    let journal = Journal::open(&place, origin).expect("opened");
    fs::create_dir(place.password()).expect("made");
    assert_eq!(journal.remove().unwrap_err().code, ExitCode::Residue);
    assert!(place.journal().exists(), "it goes last, so that a removal that was broken off goes on");
}

/// One that is not empty is somebody's; one that stays for any other reason is a trace of ours.
#[test]
fn a_directory_that_does_not_go_is_told() {
    let dir = tempfile::tempdir().expect("a directory");
    let place = Place { dir: dir.path().join("elsewhere") };
    let journal = Journal::open(&place, origin).expect("opened");
    // Somebody moves it while we work.
    let moved = dir.path().join("moved");
    fs::rename(&place.dir, &moved).expect("moved");
    std::os::unix::fs::symlink(&moved, &place.dir).expect("linked");
    let error = journal.discard().unwrap_err();
    assert_eq!(error.code, ExitCode::Residue);
    assert!(error.cause.as_deref().is_some_and(|c| c.contains("Not a directory")), "{error}");
}

/// A disk whose driver has a defect: it panics with the second record after the header.
#[derive(Default)]
struct Panics(usize);

impl Store for Panics {
    fn read(&mut self) -> std::io::Result<Option<Vec<u8>>> {
        Ok(None)
    }
    fn replace(&mut self, _: &[u8]) -> std::io::Result<()> {
        Ok(())
    }
    fn append(&mut self, _: &[u8]) -> std::io::Result<()> {
        self.0 += 1;
        assert!(self.0 < 2, "a defect");
        Ok(())
    }
    fn cut(&mut self, _: u64) -> std::io::Result<()> {
        Ok(())
    }
    fn clear(&mut self) -> std::io::Result<()> {
        Ok(())
    }
    fn remove(&mut self) -> std::io::Result<()> {
        panic!("a journal with something in it goes")
    }
}

#[test]
fn a_panic_while_a_record_is_written_does_not_make_the_journal_empty() {
    let journal = Journal::over(Box::new(Panics::default()), "journal".into(), origin).expect("opened");
    let intent = |step: &str| Record::Intent {
        step: step.into(),
        memo: Memo::default(),
        recipe: json!(null),
        microk8s: None,
        anew: false,
    };
    journal.append(&intent("a.b")).expect("appended");
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| journal.append(&intent("c.d"))));
    assert!(panicked.is_err());
    assert!(journal.ledger().memory("a.b").is_some(), "what is ours was forgotten");
    // What cannot be written down must not be done.
    assert_eq!(journal.append(&intent("c.d")).unwrap_err().code, ExitCode::Journal);
}

/// The order of records, said in another way: what may come next for one step.
fn may_follow(state: Option<char>, record: char) -> Result<Option<char>, ()> {
    match (state, record) {
        (_, 'i') => Ok(Some('i')),
        (Some('i'), 'd') => Ok(Some('d')),
        (Some(_), 'u') => Ok(Some('u')),
        (Some('u'), 'x') => Ok(None),
        (Some('u'), 'k') => Ok(Some('k')),
        _ => Err(()),
    }
}

proptest! {
    #[test]
    fn whatever_the_bytes_are_it_is_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200), at in 0_usize..4000, flip in any::<u8>()) {
        let (_, mut all) = fixtures().swap_remove(0);
        let at = at % all.len();
        all[at] ^= flip;
        for bytes in [all.clone(), bytes.clone(), [all[..at].to_vec(), bytes].concat()] {
            match Contents::parse(&bytes, origin) {
                Ok(contents) => prop_assert_eq!(contents.whole + contents.torn, bytes.len() as u64),
                Err(e) => prop_assert!(e.code == ExitCode::Journal && e.hint.is_some(), "{}", e),
            }
        }
    }

    #[test]
    fn impossible_orders_are_refused_and_possible_ones_are_not(order in proptest::collection::vec((0_usize..3, 0_usize..5), 0..12)) {
        let mut ledger = Ledger::default();
        ledger.apply(&Record::Header { format: FORMAT, tool: String::new() }).expect("a header");
        let mut states: BTreeMap<usize, char> = BTreeMap::new();
        let mut opened: BTreeMap<usize, bool> = BTreeMap::new();
        for (step, kind) in order {
            let (name, letter) = (format!("step.{step}"), ['i', 'd', 'u', 'x', 'k'][kind]);
            let record = match letter {
                'i' => Record::Intent {
                    step: name.clone(),
                    memo: Memo { prior: json!(states.len()), want: json!(1) },
                    recipe: json!(null), microk8s: None,
 anew: false,
 },
                'd' => Record::Done { step: name.clone(), microk8s: None },
                'u' => Record::UndoIntent { step: name.clone() },
                'k' => Record::Kept { step: name.clone(), why: "in use".to_owned() },
                _ => Record::Undone { step: name.clone() },
            };
            let was_open = opened.get(&step).copied().unwrap_or_default();
            // Kept, it stands where it stood before the undo.
            let next = may_follow(states.get(&step).copied(), letter)
                .map(|next| if next == Some('k') { Some(if was_open { 'i' } else { 'd' }) } else { next });
            if matches!(letter, 'i' | 'd') && next.is_ok() {
                opened.insert(step, letter == 'i');
            }
            prop_assert_eq!(ledger.apply(&record).is_ok(), next.is_ok(), "{:?} after {:?}", record, states.get(&step));
            match next {
                Ok(Some(state)) => _ = states.insert(step, state),
                Ok(None) => _ = states.remove(&step),
                Err(()) => {}
            }
            prop_assert_eq!(ledger.memory(&name).is_some(), states.contains_key(&step));
            prop_assert_eq!(ledger.is_open(&name), states.get(&step) == Some(&'i'));
        }
    }
}

/// Runs shell as root in a mount namespace of its own; none where that cannot be.
fn alone(script: &str) -> Option<std::process::Output> {
    if !nix::unistd::geteuid().is_root() {
        assert!(std::env::var_os("CI").is_none(), "disks that are full need root");
        let _ = writeln!(std::io::stderr(), "SKIPPED: disks that are full need root");
        return None;
    }
    Some(Command::new("unshare").args(["--mount", "sh", "-ec", script]).output().expect("unshare can be run"))
}

const STATE: &str = "mkdir -p /var/lib/iris-mk8s; mount -t tmpfs -o size=16k,mode=755 tmpfs /var/lib/iris-mk8s";

/// The real program, in a namespace whose `/var/lib/iris-mk8s` was prepared by the script; its exit code and what it said.
fn program(prepare: &str, args: &str) -> Option<(i32, String)> {
    let binary = env!("CARGO_BIN_EXE_iris-mk8s");
    let output = alone(&format!("{STATE}; {prepare}; exec {binary} {args}"))?;
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    Some((output.status.code().expect("no signal"), text.into_owned()))
}

const BOOTSTRAP: &str = "bootstrap --lb 192.168.11.110-130 --channel 1.34 --user root";

#[test]
fn a_full_disk_and_one_that_cannot_be_written_are_told_before_anything_is_done() {
    let full = "head -c 65536 /dev/zero >/var/lib/iris-mk8s/filler 2>/dev/null || true";
    let read_only = "mount -o remount,ro /var/lib/iris-mk8s";
    for (prepare, cause) in [(full, "No space left on device"), (read_only, "Read-only file system")] {
        for command in [BOOTSTRAP, &format!("--output json {BOOTSTRAP}")] {
            let Some((code, text)) = program(prepare, command) else { return };
            assert_eq!(code, 40, "{text}");
            for said in [cause, "cannot write /var/lib/iris-mk8s"] {
                assert!(text.contains(said), "it should say `{said}`: {text}");
            }
            assert!(!text.contains("step-acting") && !text.contains("stage-started"), "something was begun: {text}");
        }
    }
}

#[test]
fn a_journal_can_be_looked_at_where_it_cannot_be_written() {
    let copy = format!("cp {FIXTURES}/format-1-bootstrapped.jsonl /var/lib/iris-mk8s/journal.jsonl");
    let Some((code, text)) = program(&format!("{copy}; mount -o remount,ro /var/lib/iris-mk8s"), "journal show") else {
        return;
    };
    assert_eq!(code, 0, "{text}");
    for said in [
        "format 1",
        "bootstrap (",
        "makes    snap.microk8s (nothing was there)",
        "done     iris.statefulset",
        "ours now: ",
    ] {
        assert!(text.contains(said), "it should say `{said}`: {text}");
    }
    let torn = format!("{copy}; printf '{{\"record\":\"int' >>/var/lib/iris-mk8s/journal.jsonl");
    let (code, text) = program(&torn, "journal show").expect("root");
    assert!(code == 0 && text.contains("the last 14 bytes are a torn record"), "{text}");
    let damaged = format!("{copy}; sed -i '3s/record/rocerd/' /var/lib/iris-mk8s/journal.jsonl");
    for command in ["journal show", "status", "teardown --reset --yes", BOOTSTRAP] {
        let (code, text) = program(&damaged, command).expect("root");
        assert!(code == 40 && text.contains("damaged at line 3") && text.contains("move it away"), "{command}: {text}");
    }
}

/// Runs in a process of its own, whose journal lies on a disk of four pages, two of them taken.
#[test]
#[ignore = "it is run by the test below, on a disk of its own"]
fn on_a_disk_that_fills_up() {
    let place = Place { dir: std::env::var_os("JOURNAL_DIR").expect("a directory").into() };
    let journal = Journal::open(&place, origin).expect("there is room for the beginning");
    let intent = |n: usize| Record::Intent {
        step: format!("step.{n}"),
        memo: Memo { prior: json!("x".repeat(300)), want: json!(n) },
        recipe: json!(null),
        microk8s: None,
        anew: false,
    };
    let mut written = 0;
    let error = loop {
        match journal.append(&intent(written)) {
            Ok(()) => written += 1,
            Err(e) => break e,
        }
    };
    assert!(written > 3, "only {written} records fit");
    assert_eq!(error.code, ExitCode::Journal);
    let text = error.to_string();
    for said in ["No space left on device", "make room on the disk", "was not begun"] {
        assert!(text.contains(said), "it should say `{said}`: {text}");
    }
    assert_eq!(journal.ledger().steps().count(), written, "what was not written is not known");
    let now = Contents::read(&place, origin).expect("readable");
    assert_eq!((now.torn, now.ledger.steps().count()), (0, written), "half a record is cut off again");
    fs::remove_file(place.dir.join("filler")).expect("room is made");
    journal.append(&intent(written)).expect("there is room again");
    assert_eq!(Contents::read(&place, origin).expect("readable").ledger.steps().count(), written + 1);
}

#[test]
fn a_disk_that_fills_up_takes_no_record_by_half() {
    let dir = tempfile::tempdir().expect("a directory");
    let place = dir.path().display();
    let test = std::env::current_exe().expect("a path");
    let script = format!(
        "mount -t tmpfs -o size=16k,mode=755 tmpfs {place}; head -c 8192 /dev/zero >{place}/filler; \
         JOURNAL_DIR={place} exec {} --exact --ignored on_a_disk_that_fills_up",
        test.display()
    );
    let Some(output) = alone(&script) else { return };
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("1 passed"), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(!Path::new(&dir.path().join("journal.jsonl")).exists(), "the mount is seen outside");
}
