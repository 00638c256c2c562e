//! Images pushed into a real registry, the one that the sandbox builds (distribution), over a connection that a test may break.

mod recorded;

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    ops::ControlFlow,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use iris_mk8s::{
    error::{ExitCode, Result},
    host::digest::sha256,
    image::{Name, Push, archive::Archive, registry},
};
use recorded::{Facts, Recorded};
use serde_json::json;

/// The registry's program; none where the sandbox is not built. Then its tests do not run, which is said loudly, and is a failure where `CI` is set.
fn program() -> Option<PathBuf> {
    let home = std::env::var("HOME").unwrap_or_default();
    let cache = std::env::var("IRIS_MK8S_CACHE").unwrap_or_else(|_| format!("{home}/.cache/iris-mk8s"));
    let program = Path::new(&cache).join("sandbox/current/components/bin/registry");
    if program.exists() {
        return Some(program);
    }
    assert!(std::env::var_os("CI").is_none(), "the sandbox is not built: run `scripts/sandbox build`");
    let _ = writeln!(io::stderr(), "SKIPPED: there is no {}: run `scripts/sandbox build`", program.display());
    None
}

/// A registry with a storage of its own.
struct Registry {
    child: Child,
    port: u16,
    folder: tempfile::TempDir,
}

impl Registry {
    /// As MicroK8s' addon starts it, or without the right to delete.
    fn start(deletes: bool) -> Option<Self> {
        Self::start_in(tempfile::tempdir().expect("a folder"), deletes)
    }

    fn start_in(folder: tempfile::TempDir, deletes: bool) -> Option<Self> {
        let program = program()?;
        let port = free_port();
        let config = format!(
            "version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\nstorage:\n  delete: {{enabled: {deletes}}}\n  \
             filesystem: {{rootdirectory: {}}}\nhttp: {{addr: \"127.0.0.1:{port}\"}}\n",
            folder.path().join("storage").display()
        );
        fs::write(folder.path().join("config.yml"), config).expect("written");
        let mut command = Command::new(program);
        command.arg("serve").arg(folder.path().join("config.yml")).env("OTEL_TRACES_EXPORTER", "none");
        let child =
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts");
        let registry = Self { child, port, folder };
        let begun = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(begun.elapsed() < Duration::from_secs(60), "the registry does not listen");
            thread::sleep(Duration::from_millis(50));
        }
        Some(registry)
    }

    fn host(&self) -> Recorded {
        host_at(self.port)
    }

    /// Where its blobs are that it holds whole.
    fn has(&self, digest: &str) -> bool {
        let hex = digest.trim_start_matches("sha256:");
        self.folder.path().join(format!("storage/docker/registry/v2/blobs/sha256/{}/{hex}/data", &hex[..2])).exists()
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port").port()
}

fn host_at(port: u16) -> Recorded {
    Recorded::new(Facts { registry: Some(format!("127.0.0.1:{port}")), ..Facts::default() })
}

/// A connection that stands between, counts what it is asked, and breaks off as often as it is told.
struct Between {
    port: u16,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Between {
    /// Breaks off so many requests that send more than this, when they have.
    fn new(to: u16, breaks: usize, after: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let (told, left) = (Arc::clone(&asked), Arc::new(Mutex::new(breaks)));
        thread::spawn(move || {
            for client in listener.incoming().map_while(io::Result::ok) {
                let (told, left) = (Arc::clone(&told), Arc::clone(&left));
                thread::spawn(move || pass(client, to, &told, &left, after));
            }
        });
        Self { port, asked }
    }

    /// The methods of all requests so far.
    fn methods(&self) -> Vec<String> {
        self.asked
            .lock()
            .expect("no panic")
            .iter()
            .filter_map(|line| line.split(' ').next())
            .map(str::to_owned)
            .collect()
    }

    fn count(&self, method: &str) -> usize {
        self.methods().iter().filter(|m| *m == method).count()
    }
}

fn pass(mut client: TcpStream, to: u16, asked: &Mutex<Vec<String>>, left: &Mutex<usize>, after: usize) {
    let mut server = TcpStream::connect(("127.0.0.1", to)).expect("the registry");
    let (mut back, mut answers) = (client.try_clone().expect("a handle"), server.try_clone().expect("a handle"));
    thread::spawn(move || {
        let _ = io::copy(&mut answers, &mut back);
        let _ = back.shutdown(Shutdown::Both);
    });
    let mut buffer = vec![0; 64 * 1024];
    let mut sent = 0;
    while let Ok(count) = client.read(&mut buffer) {
        if count == 0 {
            break;
        }
        if sent == 0 {
            let head = String::from_utf8_lossy(&buffer[..count]).lines().next().unwrap_or_default().to_owned();
            asked.lock().expect("no panic").push(head);
        }
        sent += count;
        let mut left = left.lock().expect("no panic");
        if sent > after && *left > 0 {
            *left -= 1;
            let _ = client.shutdown(Shutdown::Both);
            let _ = server.shutdown(Shutdown::Both);
            return;
        }
        drop(left);
        if server.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    let _ = server.shutdown(Shutdown::Write);
}

/// Bytes that do not repeat.
fn bytes(seed: u32, count: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2_654_435_761).max(1);
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_le_bytes()[0]
    };
    (0..count).map(|_| next()).collect()
}

/// What `docker save` writes of an image with these layers; in place of the last one, where that is given, others are in the file.
fn saved(folder: &Path, name: &str, layers: &[Vec<u8>], instead: Option<&[u8]>) -> PathBuf {
    let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    let ids: Vec<String> = layers.iter().map(|layer| format!("sha256:{}", sha256(layer))).collect();
    let config =
        json!({"architecture": architecture, "os": "linux", "rootfs": {"type": "layers", "diff_ids": ids}}).to_string();
    let names: Vec<String> = (0..layers.len()).map(|n| format!("{n}/layer.tar")).collect();
    let list = json!([{"Config": "config.json", "RepoTags": [name], "Layers": names}]).to_string();
    let file = folder.join(format!("{}.tar", sha256(name)));
    let mut tar = tar::Builder::new(File::create(&file).expect("a file"));
    let mut add = |name: &str, bytes: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, name, bytes).expect("an entry");
    };
    for (at, (name, layer)) in names.iter().zip(layers).enumerate() {
        let is_last = at + 1 == layers.len();
        add(name, instead.filter(|_| is_last).unwrap_or(layer));
    }
    add("config.json", config.as_bytes());
    add("manifest.json", list.as_bytes());
    file
}

fn image(file: &Path, name: &str) -> Push {
    let (_, content) = Archive::open(file).and_then(|archive| archive.image(None)).expect("an image");
    Push { name: Name::given(name).expect("a name"), content }
}

/// Pushes, and tells how far it was each time.
fn push(host: &Recorded, push: &Push) -> (Result<()>, Vec<u64>) {
    let mut told = Vec::new();
    let result = registry::push(host, push, &mut |_, progress| {
        told.extend(progress.map(|progress| progress.done));
        ControlFlow::Continue(())
    });
    (result, told)
}

const MIB: usize = 1 << 20;

#[test]
fn an_image_is_pushed_listed_and_removed() {
    let Some(server) = Registry::start(true) else { return };
    let dir = tempfile::tempdir().expect("a folder");
    let between = Between::new(server.port, 0, 0);
    let host = host_at(between.port);
    let first = image(&saved(dir.path(), "simple:1", &[bytes(1, 20 * MIB), bytes(2, 5)], None), "simple:1");
    let (result, told) = push(&host, &first);
    result.expect("pushed");
    assert_eq!(told.last(), Some(&first.content.size()), "all of it was told of");
    assert!(told.is_sorted() && told.contains(&(16 * MIB as u64)), "each piece is told of: {told:?}");
    assert!(first.content.blobs.iter().all(|blob| server.has(&blob.digest)));
    let stored = registry::stored(&host, &first.name).expect("asked").expect("there");
    assert_eq!((stored.digest.as_str(), stored.size), (first.content.digest.as_str(), Some(first.content.size())));

    // What is there is not sent again: not for another tag, and not for another image with the same layer.
    let sent = between.count("PATCH");
    assert_eq!(sent, 4, "20 MiB, 5 bytes, the configuration: {:?}", between.methods());
    let again = Push { name: Name::given("simple:latest").expect("a name"), ..first.clone() };
    push(&host, &again).0.expect("pushed");
    assert_eq!(between.count("PATCH"), sent);
    let next = image(&saved(dir.path(), "simple:2", &[bytes(1, 20 * MIB), bytes(3, 7)], None), "simple:2");
    push(&host, &next).0.expect("pushed");
    assert_eq!(between.count("PATCH"), sent + 2);

    let other = Push { name: Name::given("team/app:1").expect("a name"), ..first.clone() };
    push(&host, &other).0.expect("pushed");
    let listed: Vec<String> =
        registry::list(&host).expect("listed").iter().map(|i| format!("{} {}", i.image, i.stored)).collect();
    let line = |name: &str, push: &Push| format!("localhost:32000/{name} {}", push.content.digest);
    let all = [("simple:1", &first), ("simple:2", &next), ("simple:latest", &first), ("team/app:1", &first)];
    assert_eq!(listed, all.map(|(name, push)| line(name, push)));

    assert_eq!(registry::others_of(&host, &first.name, &first.content.digest).expect("asked"), ["latest"]);
    registry::remove(&host, "simple", &first.content.digest).expect("removed");
    let left: Vec<String> = registry::list(&host).expect("listed").into_iter().map(|i| i.name.short()).collect();
    assert_eq!(left, ["simple:2", "team/app:1"], "with it go the tags of the same digest, in that repository");
    registry::remove(&host, "simple", &first.content.digest).expect("what is gone is no error");
}

#[test]
fn a_broken_push_goes_on() {
    let Some(server) = Registry::start(true) else { return };
    let dir = tempfile::tempdir().expect("a folder");
    let push_of = image(&saved(dir.path(), "simple:1", &[bytes(4, 40 * MIB)], None), "simple:1");
    // Once in the middle of a piece, three times in a row, and at its very end.
    for (breaks, after) in [(1, 9 * MIB), (3, MIB), (2, 16 * MIB - 10)] {
        let between = Between::new(server.port, breaks, after);
        let (result, _) = push(&host_at(between.port), &push_of);
        result.unwrap_or_else(|e| panic!("broken {breaks} times after {after} bytes: {e}"));
        let stored = registry::stored(&server.host(), &push_of.name).expect("asked").expect("there");
        assert_eq!(stored.digest, push_of.content.digest);
        registry::remove(&server.host(), "simple", &stored.digest).expect("removed");
        let layer = &push_of.content.blobs[0].digest;
        let hex = layer.trim_start_matches("sha256:");
        // The next round pushes it anew.
        fs::remove_dir_all(server.folder.path().join("storage")).unwrap_or_else(|e| panic!("{hex}: {e}"));
    }
}

/// What breaks before the registry has anything of it is tried only so often.
#[test]
fn a_push_that_breaks_again_and_again_ends() {
    let Some(server) = Registry::start(true) else { return };
    let dir = tempfile::tempdir().expect("a folder");
    let push_of = image(&saved(dir.path(), "simple:1", &[bytes(5, 2 * MIB)], None), "simple:1");
    let between = Between::new(server.port, usize::MAX, 2000);
    let (result, _) = push(&host_at(between.port), &push_of);
    let error = result.expect_err("it cannot be pushed");
    assert!(error.transient, "the engine may try again: {error}");
    assert!(registry::stored(&server.host(), &push_of.name).expect("asked").is_none());
}

#[test]
fn a_damaged_layer_is_never_taken() {
    let Some(server) = Registry::start(true) else { return };
    let dir = tempfile::tempdir().expect("a folder");
    let layers = [bytes(6, 3 * MIB), bytes(7, 18 * MIB)];
    let mut flipped = layers[1].clone();
    flipped[17 * MIB] ^= 1;
    let push_of = image(&saved(dir.path(), "simple:1", &layers, Some(&flipped)), "simple:1");
    let error = push(&server.host(), &push_of).0.expect_err("damaged");
    assert_eq!(error.code, ExitCode::Usage, "{error}");
    assert!(
        error.what.contains("is damaged: the layer sha256:") && error.what.contains("is in truth sha256:"),
        "{error}"
    );
    assert!(registry::stored(&server.host(), &push_of.name).expect("asked").is_none(), "no tag leads to it");
    assert!(!server.has(&push_of.content.blobs[1].digest));
}

#[test]
fn a_registry_without_deletion_says_so() {
    let Some(server) = Registry::start(false) else { return };
    let dir = tempfile::tempdir().expect("a folder");
    let push_of = image(&saved(dir.path(), "simple:1", &[bytes(8, 10)], None), "simple:1");
    push(&server.host(), &push_of).0.expect("pushed");
    let error = registry::remove(&server.host(), "simple", &push_of.content.digest).expect_err("not allowed");
    assert!(
        error.what.contains("does not allow") && error.cause.as_deref().is_some_and(|c| c.contains("UNSUPPORTED")),
        "{error}"
    );
    assert!(error.hint.as_deref().is_some_and(|hint| hint.contains("REGISTRY_STORAGE_DELETE_ENABLED=yes")), "{error}");
    assert!(registry::stored(&server.host(), &push_of.name).expect("asked").is_some());
}

/// A small file system, for as long as this value lives.
struct Small(PathBuf);

impl Small {
    fn at(folder: &Path) -> Option<Self> {
        fs::create_dir_all(folder).expect("a folder");
        let mount = Command::new("mount").args(["-t", "tmpfs", "-o", "size=24m", "tmpfs"]).arg(folder).output();
        if mount.is_ok_and(|output| output.status.success()) {
            return Some(Self(folder.to_owned()));
        }
        let _ = writeln!(io::stderr(), "SKIPPED: a full disk needs root, who may mount a small one");
        None
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).output();
    }
}

#[test]
fn a_full_registry_says_so_in_its_own_words() {
    let folder = tempfile::tempdir().expect("a folder");
    let Some(_small) = Small::at(&folder.path().join("storage")) else { return };
    let Some(server) = Registry::start_in(folder, true) else { return };
    let dir = tempfile::tempdir().expect("a folder");
    let push_of = image(&saved(dir.path(), "simple:1", &[bytes(9, 40 * MIB)], None), "simple:1");
    let error = push(&server.host(), &push_of).0.expect_err("there is no room");
    assert_eq!(error.code, ExitCode::Unverified, "{error}");
    assert!(error.what.ends_with("its disk is full") && error.cause.is_some(), "{error}");
}

#[test]
fn nobody_who_answers_is_waited_for() {
    let name = Name::given("simple:1").expect("a name");
    let host = host_at(free_port());
    let error = registry::stored(&host, &name).expect_err("nobody is there");
    assert!(error.transient && error.what == "the registry does not answer", "{error}");
}
