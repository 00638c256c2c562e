//! The command line: help, usage errors and their exit code, what the documents promise. Nothing here touches the host.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::process::{Command, Output, Stdio};

use clap::CommandFactory;
use iris_mk8s::{cli::Cli, config::profile::KEYS, stack::STAGES};

fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_iris-mk8s"));
    // What the person who runs the tests has set must not decide.
    let ours =
        std::env::vars_os().map(|(name, _)| name).filter(|name| name.to_string_lossy().starts_with("IRIS_MK8S_"));
    ours.for_each(|name| _ = command.env_remove(name));
    command.args(args).stdin(Stdio::null());
    command
}

fn run(args: &[&str]) -> Output {
    command(args).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// The program or command, and all below it.
fn all_commands(command: &clap::Command) -> Vec<clap::Command> {
    let below = command.get_subcommands().filter(|c| c.get_name() != "help").flat_map(all_commands);
    [command.clone()].into_iter().chain(below).collect()
}

#[test]
fn every_command_and_option_explains_itself() {
    Cli::command().debug_assert();
    let mut cli = Cli::command();
    cli.build();
    for command in all_commands(&cli) {
        assert!(command.get_about().is_some(), "{} has no help", command.get_name());
        for argument in command.get_arguments() {
            assert!(argument.get_help().is_some(), "{} {} has no help", command.get_name(), argument.get_id());
        }
    }
}

#[test]
fn wrong_usage_ends_with_2_and_names_the_part() {
    let table: &[(&[&str], &str)] = &[
        (&[], "Usage: iris-mk8s"),
        (&["bootstap"], "a similar subcommand exists: 'bootstrap'"),
        (&["plan", "--replica", "2"], "a similar argument exists: '--replicas'"),
        (&["plan", "--lb"], "--lb <RANGE>"),
        (&["plan", "--lb", ""], "the range is empty"),
        (&["plan", "--lb", "192.168.11.130-110"], "`192.168.11.130-110` runs backwards"),
        (&["plan", "--lb", "192.168.11.300-310"], "300 in `192.168.11.300"),
        (&["bootstrap", "--lb", "999.999.999.999-1.1.1.1"], "999 in `999.999.999.999"),
        (&["plan", "--channel", "latest/stable"], "`latest` moves to the next minor version automatically"),
        (&["plan", "--profile", ""], "--profile <NAME|FILE>"),
        (&["plan", "--replicas", "two"], "'two' for '--replicas <N>'"),
        (&["plan", "--output", "yaml"], "[possible values: text, json]"),
        (&["plan", "-q", "-v"], "'--quiet' cannot be used with '--verbose'"),
        (&["profile", "show", "--replicas", "0"], "--replicas: 0 is not between 1 and 16"),
        (&["profile", "show", "--profile", "articel"], "did you mean `article`?"),
        (&["profile", "check", "/nonexistent/p.toml"], "the profile /nonexistent/p.toml cannot be read"),
        (&["man", "nope"], "no command `nope`"),
        (&["completions", "cmd"], "invalid value 'cmd'"),
    ];
    for (args, part) in table {
        let output = run(args);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {said}");
        assert!(said.contains(part), "{args:?} says\n{said}");
        assert_eq!(text(&output.stdout), "", "{args:?}: an error is no result");
    }
}

#[test]
fn an_error_for_programs_is_one_record() {
    let output = run(&["profile", "show", "--replicas", "0", "--output", "json"]);
    let record: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(
        (&record["error"]["code"], &record["error"]["what"]),
        (&2.into(), &"--replicas: 0 is not between 1 and 16".into())
    );
}

#[test]
fn the_environment_is_heard() {
    let show = |name: &str, value: &str| command(&["profile", "show"]).env(name, value).output().unwrap();
    let output = show("IRIS_MK8S_IRIS_REPLICAS", "5");
    let line = text(&output.stdout).lines().find(|line| line.starts_with("iris.replicas")).map(str::to_owned).unwrap();
    assert_eq!(line.split_whitespace().collect::<Vec<_>>(), ["iris.replicas", "5", "IRIS_MK8S_IRIS_REPLICAS"]);
    let output = show("IRIS_MK8S_REPLICAS", "5");
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("did you mean IRIS_MK8S_IRIS_REPLICAS?"), "{}", text(&output.stderr));
}

#[test]
fn profiles_are_listed_and_the_built_in_ones_are_good_files() {
    let listed = text(&run(&["profile", "list"]).stdout);
    let names: Vec<&str> = listed.lines().filter_map(|line| line.split_whitespace().next()).collect();
    assert_eq!(names, ["current", "article", "simple"]);
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/profiles/current.toml");
    let output = run(&["profile", "check", file]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
}

#[test]
fn completions_and_manual_pages_are_made_for_all() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = text(&run(&["completions", shell]).stdout);
        assert!(script.contains("bootstrap") && script.contains("password-file"), "{shell}:\n{script}");
    }
    assert!(text(&run(&["man"]).stdout).contains("bootstrap"));
    let mut cli = Cli::command();
    cli.build();
    for command in cli.get_subcommands() {
        let name = command.get_name();
        let page = text(&run(&["man", name]).stdout);
        assert!(page.contains(&format!(".TH iris-mk8s-{name} 1")), "{name}:\n{page}");
    }
}

/// Commands that need neither root nor a host, in both formats.
const WITHOUT_ROOT: &[&[&str]] = &[
    &["--help"],
    &["--version"],
    &["plan", "--help"],
    &["completions", "bash"],
    &["man"],
    &["man", "plan"],
    &["profile", "list"],
    &["profile", "list", "--output", "json"],
    &["profile", "show"],
    &["profile", "show", "--output", "json"],
    &["profile", "check", CURRENT],
    &["profile", "check", CURRENT, "--output", "json"],
];
const CURRENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/profiles/current.toml");

#[test]
fn a_result_that_cannot_be_written_is_an_error_on_one_line() {
    for args in WITHOUT_ROOT {
        let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
        let output = command(args).stdout(full).stderr(Stdio::piped()).output().unwrap();
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(20), "{args:?}: {said}");
        assert!(
            said.lines().count() == 1 && said.contains("cannot write to standard output: No space left"),
            "{args:?}: {said}"
        );
    }
    // An error that was meant for a program, on the only way that is left; its code is that of the error.
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let args = ["profile", "show", "--replicas", "0", "--output", "json"];
    let output = command(&args).stdout(full).stderr(Stdio::piped()).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("--replicas: 0 is not between 1 and 16"), "{}", text(&output.stderr));
}

#[test]
fn a_reader_that_has_read_enough_is_no_error() {
    for args in WITHOUT_ROOT {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = command(args).stdout(writer).stderr(Stdio::piped()).output().unwrap();
        assert_eq!((output.status.code(), text(&output.stderr).as_str()), (Some(0), ""), "{args:?}");
    }
}

#[test]
fn an_environment_that_is_not_utf_8_is_no_matter_unless_it_is_ours() {
    use std::{ffi::OsStr, os::unix::ffi::OsStrExt};
    let wrong = OsStr::from_bytes(b"a\xffb");
    for args in WITHOUT_ROOT {
        let mut command = command(args);
        for name in [
            "HTTP_PROXY",
            "https_proxy",
            "no_proxy",
            "LANG",
            "LC_ALL",
            "TERM",
            "TZ",
            "HOME",
            "NO_COLOR",
            "SUDO_UID",
            "X",
        ] {
            command.env(name, wrong);
        }
        command.env(OsStr::from_bytes(b"N\xff"), wrong);
        let output = command.output().unwrap();
        assert_eq!((output.status.code(), text(&output.stderr).as_str()), (Some(0), ""), "{args:?}");
    }
    let output = command(&["profile", "show"]).env("IRIS_MK8S_LB", wrong).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("IRIS_MK8S_LB: the value is not UTF-8"), "{}", text(&output.stderr));
    let mut command = command(&["plan"]);
    let output = command.arg(wrong).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn programs_read_profiles_too() {
    let json = |args: &[&str]| -> serde_json::Value { serde_json::from_slice(&run(args).stdout).unwrap() };
    let list = json(&["profile", "list", "--output", "json"]);
    let names: Vec<&str> = list.as_array().unwrap().iter().filter_map(|p| p["name"].as_str()).collect();
    assert_eq!(names, ["current", "article", "simple"]);
    assert!(list[0]["about"].as_str().is_some_and(|about| !about.is_empty()), "{list}");
    let checked = json(&["profile", "check", CURRENT, "--output", "json"]);
    assert_eq!((&checked["file"], &checked["good"]), (&CURRENT.into(), &true.into()));
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("p.toml");
    std::fs::write(&file, "[iris]\nreplica = 3\n").unwrap();
    let args = ["profile", "check", file.to_str().unwrap(), "--output", "json"];
    assert_eq!((run(&args).status.code(), &json(&args)["error"]["code"]), (Some(2), &2.into()));
}

/// The numbers in `src/error/mod.rs`, which are the truth.
fn exit_codes() -> Vec<String> {
    let source = include_str!("../src/error/mod.rs");
    let codes =
        source.lines().filter_map(|line| line.trim().strip_suffix(',')?.split_once(" = ")?.1.parse::<u8>().ok());
    let codes: Vec<String> = codes.map(|code| code.to_string()).collect();
    assert!(codes.len() >= 13, "{codes:?}");
    codes
}

#[test]
fn every_exit_code_is_documented_and_no_other() {
    let help = text(&run(&["--help"]).stdout).split_whitespace().collect::<Vec<_>>().join(" ");
    for code in exit_codes() {
        assert!(help.contains(&format!(" {code} ")), "--help lacks {code}");
    }
    for (name, readme) in
        [("README.md", include_str!("../README.md")), ("README.ja.md", include_str!("../README.ja.md"))]
    {
        let first_cell = |line: &str| line.strip_prefix("| ")?.split(" |").next().map(str::to_owned);
        let listed: Vec<String> =
            readme.lines().filter_map(first_cell).filter(|cell| cell.parse::<u8>().is_ok()).collect();
        assert_eq!(listed, exit_codes(), "{name}");
    }
}

#[test]
fn the_documents_name_all_keys_commands_and_stages_that_there_are() {
    let mut cli = Cli::command();
    cli.build();
    for (name, readme) in
        [("README.md", include_str!("../README.md")), ("README.ja.md", include_str!("../README.ja.md"))]
    {
        for command in cli.get_subcommands().map(clap::Command::get_name).filter(|command| *command != "help") {
            assert!(
                readme.contains(&format!("| `{command}")) || readme.contains(&format!("`{command} ")),
                "{name} lacks {command}"
            );
        }
        for key in KEYS.iter().filter(|key| key.name != "iris.password_hash") {
            let last = key.name.rsplit('.').next().unwrap();
            assert!(readme.contains(&format!("{last}`")), "{name} lacks {}", key.name);
        }
        let stages: Vec<&str> = readme
            .lines()
            .filter_map(|line| line.strip_prefix("| ")?.split(" |").next())
            .filter(|cell| STAGES.contains(cell))
            .collect();
        assert_eq!(stages, STAGES, "the stages in {name}");
    }
}

/// The help and the manual page take them from the table; its head has them once more, with what they do.
#[test]
fn the_help_the_manual_page_and_the_head_of_the_table_name_the_stages() {
    let list = STAGES.join(", ");
    let flat = |text: String| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let help = flat(text(&run(&["bootstrap", "--help"]).stdout));
    assert!(help.contains(&format!("Stop after this stage (and all that it needs): {list}")), "{help}");
    let page = flat(text(&run(&["man", "bootstrap"]).stdout));
    assert!(page.contains(&list), "{page}");
    let head: Vec<&str> = include_str!("../src/stack/mod.rs")
        .lines()
        .filter_map(|line| line.strip_prefix("//! | ")?.split(" |").next())
        .skip(1)
        .collect();
    assert_eq!(head, STAGES);
}

/// The one is the translation of the other: same headings, same tables, same commands.
#[test]
fn both_readmes_have_the_same_structure() {
    let shape = |readme: &str| -> Vec<String> {
        let kept = |line: &str| match line.get(..2)? {
            "##" => Some("##".to_owned()),
            "| " | "|-" => Some(format!("| with {} cells", line.matches('|').count())),
            "- " => Some("-".to_owned()),
            "``" | "{\"" => Some(line.to_owned()),
            _ => None,
        };
        readme.lines().filter_map(kept).collect()
    };
    assert_eq!(shape(include_str!("../README.md")), shape(include_str!("../README.ja.md")));
}
