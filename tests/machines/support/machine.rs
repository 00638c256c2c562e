//! A machine for one test: booted afresh, taken down at its end; what tells why a test failed is saved before.

use std::{
    fmt,
    fs::{self, File, TryLockError},
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use super::{era::Era, run::Run};

/// Each machine has a number of its own, which gives it an address and a range that nobody else on the LAN uses. Below 192.168.11.90
/// and .131 lie the machines of people.
const NUMBERS: u8 = 6;
const FIRST_ADDRESS: u8 = 90;
const FIRST_OF_RANGES: u8 = 131;
const RANGE: u8 = 20;

/// No command of a test takes longer than this.
const DEADLINE: Duration = Duration::from_secs(900);

/// A machine with the product in it.
pub(crate) struct Machine {
    name: String,
    era: Era,
    number: u8,
    booted: Instant,
    /// Holds the number.
    _lock: File,
}

/// What a command printed, and how it ended.
#[derive(Debug)]
pub(crate) struct Output {
    command: String,
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Output {
    /// Its standard output, after an exit with 0.
    #[track_caller]
    pub(crate) fn ok(self) -> String {
        self.exits(0).stdout
    }

    /// The same output, after an exit with this code.
    #[track_caller]
    pub(crate) fn exits(self, code: i32) -> Self {
        assert!(self.code == code, "it should exit with {code}: {self}");
        self
    }

    /// The same output, which has all of these texts in it.
    #[track_caller]
    pub(crate) fn says(self, texts: &[&str]) -> Self {
        for text in texts {
            assert!(self.stdout.contains(text) || self.stderr.contains(text), "it should say `{text}`: {self}");
        }
        self
    }
}

impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { command, code, stdout, stderr } = self;
        write!(f, "`{command}` exited with {code}\n--- stdout\n{stdout}--- stderr\n{stderr}---")
    }
}

/// The folder for what tests leave behind.
pub(crate) fn kept(name: &str) -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("the target folder");
    target.join("machines").join(name)
}

/// `scripts/sandbox`, to be run.
pub(crate) fn sandbox(args: &[&str]) -> Command {
    let mut command = Command::new("timeout");
    command.arg("--kill-after=10").arg(DEADLINE.as_secs().to_string());
    command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/sandbox")).args(args).stdin(Stdio::null());
    command
}

/// Runs `scripts/sandbox` to its end.
pub(crate) fn run(args: &[&str]) -> Output {
    let output = sandbox(args).output().expect("scripts/sandbox can be run");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    // 128 + signal, as a shell says it: `timeout` ends itself by the signal that ended the command.
    let code = output.status.code().unwrap_or(137);
    Output { command: args.join(" "), code, stdout: text(&output.stdout), stderr: text(&output.stderr) }
}

/// What the names of a sandbox of its own end in (`SANDBOX_INSTANCE`, see scripts/sandbox).
fn instance() -> String {
    std::env::var("SANDBOX_INSTANCE").map(|i| format!("-{i}")).unwrap_or_default()
}

/// Why no machine can be booted here.
fn cannot(era: Era) -> Option<String> {
    if !nix::unistd::geteuid().is_root() {
        return Some("machines need root".to_owned());
    }
    let cache = std::env::var("IRIS_MK8S_CACHE").unwrap_or_else(|_| {
        let home = std::env::var("HOME").unwrap_or_default();
        format!("{home}/.cache/iris-mk8s")
    });
    let parts = Path::new(&cache).join(format!("sandbox/current{}", instance()));
    let built = parts.join("images").exists() && parts.join(era.store()).exists();
    (!built).then(|| format!("the sandbox is not built: run `scripts/sandbox build --era {}`", era.name()))
}

fn take_number() -> (u8, File) {
    let folder = kept("numbers");
    fs::create_dir_all(&folder).expect("a folder for the numbers");
    let files: Vec<File> =
        (0..NUMBERS).map(|n| File::create(folder.join(n.to_string())).expect("a file for a number")).collect();
    loop {
        for (number, file) in (0..).zip(&files) {
            match file.try_lock() {
                Ok(()) => return (number, file.try_clone().expect("a second handle")),
                Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(e)) => panic!("cannot lock the number {number}: {e}"),
            }
        }
        // Only when more tests run at a time than there are numbers.
        std::thread::sleep(Duration::from_millis(200));
    }
}

impl Machine {
    /// Boots a fresh machine and puts the product into it. None where machines cannot be: then the test does not run, which is said
    /// loudly, and is a failure where `CI` is set.
    pub(crate) fn up(name: &str, era: Era) -> Option<Self> {
        let name = format!("{name}{}", era.suffix());
        if let Some(why) = cannot(era) {
            assert!(std::env::var_os("CI").is_none(), "{why}");
            // Past the test's captured output.
            let _ = writeln!(std::io::stderr(), "SKIPPED: the test `{name}` did NOT run: {why}");
            return None;
        }
        let (number, lock) = take_number();
        run(&["down", &name]).ok();
        let _ = fs::remove_dir_all(kept(&name));
        fs::create_dir_all(kept(&name)).expect("a folder for the machine");
        let machine = Self { name, era, number, booted: Instant::now(), _lock: lock };
        run(&["up", &machine.name, "--era", era.name(), "--ip", &machine.address()]).ok();
        machine.put(env!("CARGO_BIN_EXE_iris-mk8s"), "/usr/local/bin/iris-mk8s");
        // The first sudo leaves a file in the user's home, whatever it runs.
        machine.ubuntu("sudo true").ok();
        Some(machine)
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn era(&self) -> Era {
        self.era
    }

    pub(crate) fn address(&self) -> String {
        format!("192.168.11.{}", FIRST_ADDRESS + self.number)
    }

    /// Its own range for MetalLB, and another one: the last five addresses of the first.
    pub(crate) fn range(&self) -> String {
        format!("{}-{}", self.nth_address(0), FIRST_OF_RANGES + self.number * RANGE + RANGE - 1)
    }

    pub(crate) fn last_five(&self) -> String {
        format!("{}-{}", self.nth_address(RANGE - 5), FIRST_OF_RANGES + self.number * RANGE + RANGE - 1)
    }

    /// The nth address of its range.
    pub(crate) fn nth_address(&self, n: u8) -> String {
        format!("192.168.11.{}", FIRST_OF_RANGES + self.number * RANGE + n)
    }

    /// Runs a line of shell as root.
    pub(crate) fn root(&self, line: &str) -> Output {
        run(&["exec", &self.name, "bash", "-c", line])
    }

    /// Runs a line of shell in a login session of the user with sudo.
    pub(crate) fn ubuntu(&self, line: &str) -> Output {
        run(&["exec", "--user", "ubuntu", &self.name, "bash", "-c", line])
    }

    /// Runs the product as a user does.
    pub(crate) fn product(&self, args: &str) -> Output {
        self.ubuntu(&format!("sudo {}iris-mk8s {args}", self.era.variables()))
    }

    /// Starts the product with its events as JSON, to be followed.
    pub(crate) fn start(&self, args: &str) -> Run {
        self.start_with("", args)
    }

    /// The same with these variables, each with a space after it.
    pub(crate) fn start_with(&self, variables: &str, args: &str) -> Run {
        self.start_line(&format!("sudo {}{variables}iris-mk8s --output json {args}", self.era.variables()))
    }

    /// Starts a line of the user's shell that ends with the product and its events as JSON.
    pub(crate) fn start_line(&self, line: &str) -> Run {
        Run::new(line, sandbox(&["exec", "--user", "ubuntu", &self.name, "bash", "-c", line]))
    }

    /// Installs MicroK8s as a person does, with dns, and waits until nothing is on its way any more.
    pub(crate) fn install_by_hand(&self, channel: &str) {
        let install = format!(
            "snap install microk8s --classic --channel={channel} && microk8s status --wait-ready --timeout 300"
        );
        self.root(&install).ok();
        // Since 1.27 it comes by itself.
        if self.era == Era::Article {
            self.root("microk8s enable dns").ok();
        }
        let dns = |machine: &Self| {
            machine.kubectl("rollout status deployment/coredns -n kube-system --timeout=120s").code == 0
        };
        self.wait_until("dns works", 180, dns);
    }

    /// Sends the product a signal; with KILL it ends as when the kernel needs its memory: it has no say in it.
    pub(crate) fn signal(&self, signal: &str) {
        self.root(&format!("pkill -{signal} -x iris-mk8s")).ok();
    }

    /// Cuts its power, and boots it again.
    pub(crate) fn power_cut(&self) {
        run(&["cut", &self.name]).ok();
        run(&["up", &self.name, "--era", self.era.name(), "--ip", &self.address()]).ok();
    }

    pub(crate) fn kubectl(&self, args: &str) -> Output {
        self.root(&format!("microk8s kubectl {args}"))
    }

    pub(crate) fn put(&self, file: &str, to: &str) {
        run(&["put", &self.name, file, to]).ok();
    }

    /// Copies a file out of it.
    pub(crate) fn fetch(&self, from: &str, file: &Path) {
        let into = File::create(file).expect("a file for what is fetched");
        let status =
            sandbox(&["exec", &self.name, "cat", from]).stdout(into).status().expect("scripts/sandbox can be run");
        assert!(status.success(), "{from} of {} cannot be copied: {status}", self.name);
    }

    /// The process group of a command that the product runs now.
    pub(crate) fn group_of(&self, command: &str) -> String {
        let find =
            format!("ps -eo pgid=,args= | awk '/microk8s.*{command}/ && !/awk/ && !/iris-mk8s/ {{print $1; exit}}'");
        self.wait_until("the command runs", 60, |m| !m.root(&find).stdout.trim().is_empty());
        self.root(&find).stdout.trim().to_owned()
    }

    /// Whether a process of the group runs.
    pub(crate) fn group_lives(&self, group: &str) -> bool {
        self.root(&format!("ps -eo pgid=,stat= | awk '$1 == {group} && $2 !~ /Z/' | grep -q .")).code == 0
    }

    /// Cuts its power.
    pub(crate) fn cut(&self) {
        run(&["cut", &self.name]).ok();
    }

    /// Boots it again after its power was cut.
    pub(crate) fn boot(&self) {
        run(&["up", &self.name, "--era", self.era.name(), "--ip", &self.address()]).ok();
    }

    /// Deletes it before its test is over.
    pub(crate) fn down(&self) {
        run(&["down", &self.name]).ok();
    }

    /// Whether there is a machine of its name, running or not.
    pub(crate) fn exists(&self) -> bool {
        run(&["list"]).ok().lines().any(|line| line.split(' ').next() == Some(&self.name))
    }

    /// What it printed on its console since it was booted.
    pub(crate) fn console(&self) -> String {
        let file = format!("/run/iris-mk8s-sandbox{}/{}/console.log", instance(), self.name);
        String::from_utf8_lossy(&fs::read(&file).unwrap_or_default()).into_owned()
    }

    /// Faults of the LAN's services, for this machine alone.
    pub(crate) fn fault(&self, what: &str) {
        let args: Vec<&str> = ["fault", &self.name].into_iter().chain(what.split(' ')).collect();
        run(&args).ok();
    }

    /// Fetches a page on the client PC, another computer of the LAN; `options` are curl's.
    #[expect(clippy::unused_self, reason = "it is the LAN of this machine")]
    pub(crate) fn client_curl(&self, options: &[&str]) -> Output {
        let args: Vec<&str> = ["client", "curl", "-sS", "--max-time", "20"].iter().chain(options).copied().collect();
        run(&args)
    }

    /// Waits until something holds that no event tells.
    #[track_caller]
    pub(crate) fn wait_until(&self, what: &str, seconds: u64, holds: impl Fn(&Self) -> bool) {
        let start = Instant::now();
        while !holds(self) {
            assert!(start.elapsed().as_secs() < seconds, "{}: after {seconds} s still not: {what}", self.name);
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Saves what tells why a test failed.
    fn save(&self) {
        let folder = kept(&self.name);
        let _ = fs::copy(
            format!("/run/iris-mk8s-sandbox{}/{}/console.log", instance(), self.name),
            folder.join("console.log"),
        );
        for (file, line) in [
            ("journal.log", "journalctl --no-pager --output=short-precise"),
            ("product.log", "tail -n +1 /var/log/iris-mk8s/* /var/lib/iris-mk8s/journal.jsonl"),
            ("snapd.log", "snap changes; for n in $(snap changes | awk '$1 + 0 {print $1}'); do snap change $n; done"),
            (
                "cluster.log",
                "timeout 60 microk8s kubectl get all,pvc,pv,events -A -o wide; timeout 60 microk8s kubectl describe pods -A",
            ),
            ("processes.log", "ps axfww"),
        ] {
            let output = self.root(line);
            let _ = fs::write(folder.join(file), output.stdout + &output.stderr);
        }
        let _ = writeln!(std::io::stderr(), "machines: {} FAILED; its logs are in {}", self.name, folder.display());
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = writeln!(std::io::stderr(), "machines: {:3} s {}", self.booted.elapsed().as_secs(), self.name);
        if std::thread::panicking() {
            self.save();
        }
        if std::env::var_os("IRIS_MK8S_KEEP").is_none_or(|keep| keep.is_empty()) {
            let _ = run(&["down", &self.name]);
        }
    }
}
