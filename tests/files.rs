//! What a power cut must not take: the content of a file is on the disk before its name is, and its name before we go on.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{path::Path, process::Command};

use iris_mk8s::host::{FileWrite, Host, Real};

/// Runs in a process of its own, with a library before the C library that writes down what is synced, moved and removed.
#[test]
#[ignore = "it is run by the test below"]
fn writes_and_removes() {
    let path = Path::new(&std::env::var_os("FOLDER").unwrap()).join("new/file");
    let host = Real::new("test", |_| {}).unwrap();
    let bytes = b"x".to_vec();
    host.write(&FileWrite { path: path.clone(), bytes, mode: 0o600, owner: None, secret: false, keeps: false })
        .unwrap();
    host.remove(&path, false).unwrap();
    host.remove(path.parent().unwrap(), true).unwrap();
}

#[test]
fn a_files_name_is_as_durable_as_its_content() {
    let dir = tempfile::tempdir().unwrap();
    let library = dir.path().join("syncs.so");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/syncs.c");
    // The linker of a Rust program is a C compiler.
    let built = Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(source).status().unwrap();
    assert!(built.success());
    let folder = dir.path().join("folder");
    std::fs::create_dir(&folder).unwrap();
    let log = dir.path().join("log");
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "writes_and_removes"])
        .env("LD_PRELOAD", &library)
        .env("SYNCS", &log)
        .env("FOLDER", &folder)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    let folder = folder.display();
    let done: Vec<String> = std::fs::read_to_string(log)
        .unwrap()
        .lines()
        .filter(|line| line.contains(&folder.to_string()))
        .map(|line| line.replace(&folder.to_string(), "F"))
        .collect();
    let expected =
        ["sync F", "sync F/new/file.new", "move F/new/file", "sync F/new", "remove F/new/file", "sync F/new", "sync F"];
    assert_eq!(done, expected);
}
