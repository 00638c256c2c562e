//! What a release holds, and what `scripts/install` does with a good one and with a bad one. Nothing here touches this computer: files are
//! installed below a folder, and the web server listens on the loopback. What apt does with the package is tried in machines.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    collections::BTreeSet,
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::OnceLock,
};

use clap::CommandFactory;
use iris_mk8s::cli::Cli;
use tempfile::TempDir;

const REPO: &str = env!("CARGO_MANIFEST_DIR");
const VERSION: &str = env!("CARGO_PKG_VERSION");

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[track_caller]
fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

/// Packs a small program that is not ours, with our pages: what is packed beside the program is what matters here.
fn pack(out: &Path) {
    run(Command::new(format!("{REPO}/packaging/pack"))
        .args(["--docs-by", env!("CARGO_BIN_EXE_iris-mk8s"), "/bin/true"])
        .arg(out));
}

fn tarball() -> String {
    format!("iris-mk8s-{VERSION}-x86_64-linux-gnu.tar.gz")
}

fn package() -> String {
    format!("iris-mk8s_{VERSION}_amd64.deb")
}

/// A release, as `scripts/release` lays it out; made once.
fn release() -> &'static Path {
    static RELEASE: OnceLock<PathBuf> = OnceLock::new();
    RELEASE.get_or_init(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("packaging");
        let _ = fs::remove_dir_all(&folder);
        pack(&folder.join("new"));
        run(Command::new(format!("{REPO}/packaging/publish"))
            .args([&folder.join("new"), &folder.join("releases")])
            .arg(VERSION));
        folder.join("releases")
    })
}

/// The files of a listing of `tar`, without what stands before them.
fn files(listing: &str, before: &str) -> BTreeSet<String> {
    listing
        .lines()
        .filter(|line| !line.ends_with('/'))
        .filter_map(|line| line.strip_prefix(before))
        .map(str::to_owned)
        .collect()
}

fn manual_pages(command: &clap::Command, name: &str) -> Vec<String> {
    let below = command.get_subcommands().filter(|c| c.get_name() != "help");
    let below = below.flat_map(|c| manual_pages(c, &format!("{name}-{}", c.get_name())));
    [format!("share/man/man1/{name}.1.gz")].into_iter().chain(below).collect()
}

#[test]
fn both_packages_hold_all_that_there_is() {
    let out = release().join(VERSION);
    let common: Vec<String> = [
        "bin/iris-mk8s",
        "lib/systemd/system/iris-mk8s-bootstrap.service",
        "share/bash-completion/completions/iris-mk8s",
        "share/fish/vendor_completions.d/iris-mk8s.fish",
        "share/doc/iris-mk8s/THIRD-PARTY-LICENCES.gz",
    ]
    .map(str::to_owned)
    .into_iter()
    .chain(manual_pages(&Cli::command(), "iris-mk8s"))
    .collect();
    let with = |own: &[&str]| -> BTreeSet<String> {
        common.iter().cloned().chain(own.iter().map(|f| (*f).to_owned())).collect()
    };

    let listed = run(Command::new("tar").arg("tzf").arg(out.join(tarball())));
    let expected = with(&[
        "share/zsh/site-functions/_iris-mk8s",
        "share/doc/iris-mk8s/CHANGELOG.md",
        "share/doc/iris-mk8s/LICENSE-APACHE",
        "share/doc/iris-mk8s/LICENSE-MIT",
        "share/doc/iris-mk8s/README.md",
        "share/doc/iris-mk8s/README.ja.md",
        "share/doc/iris-mk8s/files",
    ]);
    assert_eq!(files(&listed, &format!("iris-mk8s-{VERSION}-x86_64-linux-gnu/")), expected);

    let package = out.join(package());
    let script = format!("dpkg-deb --fsys-tarfile {} | tar t", package.display());
    let expected = with(&[
        "share/zsh/vendor-completions/_iris-mk8s",
        "share/doc/iris-mk8s/changelog.gz",
        "share/doc/iris-mk8s/copyright",
        "share/lintian/overrides/iris-mk8s",
    ]);
    assert_eq!(files(&run(Command::new("sh").args(["-c", &script])), "./usr/"), expected);
    let depends = run(Command::new("dpkg-deb").arg("--field").arg(&package).arg("Depends"));
    assert!(depends.starts_with("libc6 (>= 2.") && depends.trim().ends_with("), snapd"), "{depends}");
}

#[test]
fn the_same_program_gives_the_same_bytes() {
    let (one, other) = (release().join(VERSION), tempfile::tempdir().unwrap());
    let script = format!(
        "umask 077; cd /; TMPDIR={} LC_ALL=C TZ=Asia/Tokyo exec {REPO}/packaging/pack --docs-by {} /bin/true {}",
        other.path().display(),
        env!("CARGO_BIN_EXE_iris-mk8s"),
        other.path().display()
    );
    run(Command::new("sh").args(["-c", &script]));
    for file in [tarball(), package()] {
        assert!(fs::read(one.join(&file)).unwrap() == fs::read(other.path().join(&file)).unwrap(), "{file} differs");
    }
}

#[test]
fn the_completions_are_scripts_of_their_shells() {
    for shell in ["bash", "zsh", "fish"] {
        if which::which(shell).is_err() {
            continue;
        }
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join(shell);
        fs::write(&file, run(Command::new(env!("CARGO_BIN_EXE_iris-mk8s")).args(["completions", shell]))).unwrap();
        run(Command::new(shell).arg("-n").arg(&file));
    }
}

#[test]
fn each_library_comes_with_its_licence() {
    let told = run(Command::new(format!("{REPO}/packaging/documents.py")).arg("licences"));
    let (named, texts) = told.split_once("\n-----").unwrap();
    for library in ["kube ", "ring ", "rustls ", "tokio "] {
        assert!(named.lines().any(|line| line.starts_with(library)), "{library}is not named");
    }
    // Some crates, kube among them, name their licence and do not have its text.
    for library in ["ring ", "rustls ", "tokio "] {
        assert!(texts.contains(library), "{library}has no text");
    }
    assert!(texts.contains("Apache License"));
    assert!(!told.contains("proptest "), "the program has no libraries in it that only tests use");
}

/// `tests/provisioning/web.py`, until it goes out of scope.
struct Web(Child, String);

impl Web {
    fn new(folder: &Path) -> Self {
        let mut server = Command::new("python3")
            .args(["-B", &format!("{REPO}/tests/provisioning/web.py")])
            .arg(folder)
            .args(["127.0.0.1", "0"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut port = String::new();
        BufReader::new(server.stdout.as_mut().unwrap()).read_line(&mut port).unwrap();
        Self(server, format!("http://127.0.0.1:{}", port.trim()))
    }
}

impl Drop for Web {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What an installation prints and leaves.
struct Installation {
    prefix: TempDir,
    output: Output,
}

/// Runs `scripts/install` as `curl | sh` does: from a pipe, in an environment that has nothing in it but these variables.
fn install(script: &str, variables: &[(&str, &str)]) -> Installation {
    let prefix = tempfile::tempdir().unwrap();
    let source = prefix.path().join("install");
    fs::write(&source, script).unwrap();
    let output = Command::new("sh")
        .args(["-s", "--", "--prefix"])
        .arg(prefix.path().join("here"))
        .stdin(fs::File::open(&source).unwrap())
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .envs(variables.iter().copied())
        .output()
        .unwrap();
    Installation { prefix, output }
}

impl Installation {
    fn installed(&self) -> Vec<PathBuf> {
        let found = run(Command::new("find").arg(self.prefix.path()).args(["-path", "*/here*", "-type", "f"]));
        found.lines().map(PathBuf::from).collect()
    }

    #[track_caller]
    fn fails(&self, words: &[&str]) {
        let said = text(&self.output.stderr);
        assert_eq!(self.output.status.code(), Some(1), "{said}");
        for word in words.iter().chain(&["install: nothing was installed"]) {
            assert!(said.contains(word), "it should say `{word}`:\n{said}");
        }
        assert_eq!(self.installed(), Vec::<PathBuf>::new());
    }

    #[track_caller]
    fn works(&self, words: &[&str]) {
        let said = text(&self.output.stdout) + &text(&self.output.stderr);
        assert!(self.output.status.success(), "{said}");
        for word in words {
            assert!(said.contains(word), "it should say `{word}`:\n{said}");
        }
        assert!(self.installed().iter().any(|file| file.ends_with("here/bin/iris-mk8s")), "{said}");
    }
}

fn script() -> String {
    fs::read_to_string(format!("{REPO}/scripts/install")).unwrap()
}

#[test]
fn a_release_is_installed_from_a_folder_and_from_the_web() {
    let release = release();
    let web = Web::new(release);
    for place in [release.display().to_string(), format!("{}/good/", web.1)] {
        let installation = install(&script(), &[("IRIS_MK8S_RELEASES", &place)]);
        installation.works(&["is installed as", "no public key is known here"]);
        // What it says of removal removes it.
        run(Command::new("sh")
            .args(["-c", "xargs rm <share/doc/iris-mk8s/files"])
            .current_dir(installation.prefix.path().join("here")));
        assert_eq!(installation.installed(), Vec::<PathBuf>::new());
    }
}

#[test]
fn nothing_of_a_bad_release_is_installed() {
    let release = release();
    let web = Web::new(release);
    let cases: &[(&str, &str, &[&str])] = &[
        ("/wrong", "", &["is not the file that was released: its digest is not in SHA256SUMS"]),
        ("/cut", "", &["could not download", &tarball(), "curl: (18)"]),
        ("/gone", "", &["could not download", &tarball(), "404"]),
        ("/good", "9.9.9", &["is there a release 9.9.9?", "404"]),
        ("/good/nowhere", "", &["/nowhere/latest: is this the place of the releases"]),
    ];
    for (trouble, version, words) in cases {
        let releases = format!("{}{trouble}", web.1);
        install(&script(), &[("IRIS_MK8S_RELEASES", &releases), ("IRIS_MK8S_VERSION", version)]).fails(words);
    }
    install(&script(), &[("IRIS_MK8S_RELEASES", "http://127.0.0.1:1")])
        .fails(&["curl: (7)", "does this host reach it?"]);
    install(&script(), &[("IRIS_MK8S_RELEASES", "/nonexistent")]).fails(&["could not download /nonexistent/latest"]);
    install(&script(), &[]).fails(&["set IRIS_MK8S_RELEASES"]);
}

/// A script that was cut off on its way does nothing, wherever it was cut.
#[test]
fn a_part_of_the_script_does_nothing() {
    let release = release();
    let place = release.display().to_string();
    let script = script();
    let ends: Vec<usize> = script.match_indices('\n').map(|(at, _)| at).collect();
    for end in ends.iter().rev().skip(1).step_by(12) {
        let installation = install(&script[..*end], &[("IRIS_MK8S_RELEASES", &place)]);
        assert_eq!(installation.installed(), Vec::<PathBuf>::new(), "cut at {end}");
    }
}
