//! A host of recorded facts: it answers what was written down, and cannot be changed. What nobody wrote down is not there.

#![allow(dead_code, reason = "each test uses its part of it")]

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
    ops::ControlFlow,
    path::{Path, PathBuf},
    sync::Mutex,
    time::Duration,
};

use iris_mk8s::{
    config::{lb_range::LbRange, spec::Spec},
    error::{Error, Result},
    host::{
        Changes, Cmd, Effect, FileKind, FileWrite, Heard, Host, HttpAnswer, HttpRequest, Leftover, Output, Process,
        Progress, SnapdChange, Watch, send, snapd_refusal,
    },
    kube::Kind,
};
use serde_json::{Value, json};

/// The facts.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    pub files: BTreeMap<String, String>,
    pub links: BTreeMap<String, String>,
    pub commands: BTreeMap<String, (i32, String)>,
    /// Null: snapd answers with an error.
    pub snapd: BTreeMap<String, Value>,
    pub objects: BTreeMap<String, Vec<Value>>,
    /// Plain GETs on the API server; none at all: it does not answer.
    pub api: BTreeMap<String, String>,
    /// The API server refuses to tell of its objects.
    pub forbidden: bool,
    pub pages: BTreeMap<String, (u16, String)>,
    /// What an instance answers to a login: by password, of an account of IRIS.
    pub logins: BTreeMap<String, u16>,
    /// What commands in pods print, by their words; of others nothing is known.
    pub execs: BTreeMap<String, (i32, String)>,
    /// Addresses that name servers have for a name, and servers that do not answer.
    pub known: BTreeMap<String, usize>,
    pub silent: BTreeSet<Ipv4Addr>,
    /// What small writes took; not measured when there are none.
    pub writes: Vec<Duration>,
    pub unreachable: BTreeSet<String>,
    pub neighbours: BTreeMap<Ipv4Addr, String>,
    /// Who answers in the place of MicroK8s' registry: host and port.
    pub registry: Option<String>,
    pub now: u64,
}

impl Facts {
    pub fn file(&mut self, path: &str, text: &str) -> &mut Self {
        self.files.insert(path.to_owned(), text.to_owned());
        self
    }

    pub fn link(&mut self, path: &str, to: &str) -> &mut Self {
        self.links.insert(path.to_owned(), to.to_owned());
        self
    }

    pub fn command(&mut self, shown: &str, code: i32, stdout: &str) -> &mut Self {
        self.commands.insert(shown.to_owned(), (code, stdout.to_owned()));
        self
    }

    pub fn snapd(&mut self, path: &str, answer: Value) -> &mut Self {
        self.snapd.insert(path.to_owned(), answer);
        self
    }

    pub fn objects(&mut self, plural: &str, items: Vec<Value>) -> &mut Self {
        self.objects.insert(plural.to_owned(), items);
        self
    }
}

/// A wait for the registry, which is not recorded.
struct Soon;

impl Changes for Soon {
    fn next(&mut self, at_most: Duration) {
        std::thread::sleep(at_most.min(Duration::from_millis(10)));
    }
}

/// The host.
#[derive(Debug)]
pub struct Recorded {
    pub facts: Facts,
    /// What was asked of the LAN.
    pub asked: Mutex<Vec<String>>,
}

impl Recorded {
    pub fn new(facts: Facts) -> Self {
        Self { facts, asked: Mutex::default() }
    }
}

/// 2026-11-24.
pub const TODAY: u64 = 1_795_500_000;

/// A VM with Ubuntu 24.04 as its image comes, on a LAN with a router: nothing is to be said of it.
pub fn good() -> Facts {
    let mut facts = Facts { now: TODAY, ..Facts::default() };
    let networks = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/networks/plain");
    let read = |name: &str| std::fs::read_to_string(format!("{networks}/{name}")).expect("a recorded network");
    facts
        .file("/proc/sys/kernel/hostname", "vm1\n")
        .file("/proc/sys/kernel/osrelease", "6.8.0-88-generic\n")
        .file("/proc/meminfo", "MemTotal:        3998000 kB\nMemFree: 3000000 kB\nSwapTotal:       2097148 kB\nSwapFree:        2097148 kB\n")
        .file("/proc/cpuinfo", "processor\t: 0\nmodel name\t: x\nprocessor\t: 1\nmodel name\t: x\n")
        .file("/proc/sys/fs/inotify/max_user_instances", "128\n")
        .file("/proc/self/environ", "PATH=/usr/bin\0LANG=C.UTF-8\0")
        .file("/sys/fs/cgroup/cgroup.controllers", "cpuset cpu io memory hugetlb pids rdma misc\n")
        .file("/sys/module/apparmor/parameters/enabled", "Y\n")
        .file("/sys/module/overlay/refcnt", "0\n")
        .file("/dev/kmsg", "")
        .file("/proc/self/mountinfo", MOUNTS)
        .file("/proc/filesystems", "nodev\tsysfs\n\text4\n\tsquashfs\n")
        .file("/usr/bin/mount", "")
        .file("/usr/bin/umount", "")
        .file("/usr/sbin/modprobe", "")
        .file("/proc/sys/net/netfilter/nf_conntrack_max", "65536\n")
        .file("/proc/sys/net/netfilter/nf_conntrack_count", "71\n")
        .file("/var/lib/snapd/state.json", "{}")
        .file("/etc/os-release", "PRETTY_NAME=\"Ubuntu 24.04.3 LTS\"\nNAME=\"Ubuntu\"\nVERSION_ID=\"24.04\"\nID=ubuntu\nID_LIKE=debian\n")
        .file("/etc/hosts", "127.0.0.1 localhost\n127.0.1.1 vm1\n")
        .file("/etc/resolv.conf", "nameserver 127.0.0.53\noptions edns0 trust-ad\n")
        .file("/run/systemd/resolve/resolv.conf", "nameserver 192.168.11.1\n")
        .file("/etc/environment", "PATH=\"/usr/local/sbin:/usr/bin\"\n")
        .file("/etc/ufw/ufw.conf", "ENABLED=no\nLOGLEVEL=low\n")
        .command("uname -m", 0, "x86_64\n")
        .command("getent passwd ubuntu", 0, "ubuntu:x:1000:1000:Ubuntu:/home/ubuntu:/bin/bash\n")
        .command("systemd-detect-virt --container", 1, "none\n")
        .command("stat --format=%a:%u:%n / /var /var/lib /var/snap", 0, "755:0:/\n755:0:/var\n755:0:/var/lib\n")
        .command("systemctl is-active firewalld.service", 4, "inactive\n")
        .command("apparmor_parser --version", 0, "AppArmor parser version 4.0.1~really4.0.1\nCopyright (C) 1999-2008 Novell Inc.\n")
        .command("sudo --version", 0, "Sudo version 1.9.15p5\nSudoers policy plugin version 1.9.15p5\n")
        .command("modprobe --dry-run --quiet br_netfilter", 0, "")
        .command("modprobe --dry-run --quiet vxlan", 0, "")
        .command("timedatectl show --property=NTPSynchronized --value", 0, "yes\n")
        .command("ip -j -d addr", 0, &read("addr.json"))
        .command("ip -j -d route", 0, &read("route.json"))
        .command("iptables -S FORWARD", 0, "-P FORWARD ACCEPT\n")
        .command(
            "ss -Hltnp",
            0,
            "LISTEN 0 4096 127.0.0.53%lo:53 0.0.0.0:* users:((\"systemd-resolve\",pid=612,fd=15))\n\
             LISTEN 0 4096 0.0.0.0:22 0.0.0.0:* users:((\"sshd\",pid=1017,fd=3),(\"systemd\",pid=1,fd=90))\n",
        )
        .snapd("/v2/system-info", json!({"version": "2.72", "series": "16"}))
        .snapd("/v2/snaps/system/conf?keys=seed.loaded", json!({"seed.loaded": true}))
        .snapd("/v2/changes?select=in-progress", json!([]))
        .snapd(
            "/v2/find?name=microk8s",
            json!([{"name": "microk8s", "channels": {
                "1.20/stable": {"version": "v1.20.13", "size": 218_000_000},
                "1.34/stable": {"version": "v1.34.4", "size": 178_000_000},
                "1.34/edge": {"version": "v1.34.5", "size": 178_000_000},
                "1.36/stable": {"version": "v1.36.2", "size": 178_000_000},
                "latest/stable": {"version": "v1.36.2", "size": 178_000_000}}}]),
        );
    free(&mut facts, 40);
    facts
}

/// What its image mounts.
pub const MOUNTS: &str = "21 29 0:20 / /proc rw,nosuid,nodev,noexec,relatime shared:12 - proc proc rw\n\
                          29 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw,discard,errors=remount-ro\n\
                          41 29 8:15 / /boot/efi rw,relatime shared:31 - vfat /dev/sda15 rw,fmask=0077\n";

/// Gives its one file system so many free GiB.
pub fn free(facts: &mut Facts, gib: u64) {
    for path in ["/var/lib/snapd", "/var", "/"] {
        facts.command(&format!("df -Pk {path}"), 0, &df("/", gib));
    }
}

/// What `df -Pk` prints of a file system with so many GiB free.
pub fn df(mount: &str, free_gib: u64) -> String {
    let free = free_gib * 1024 * 1024;
    format!(
        "Filesystem 1024-blocks Used Available Capacity Mounted on\n/dev/sda1 {} 8000000 {free} 20% {mount}\n",
        free + 8_000_000
    )
}

/// The wanted state with these flags.
pub fn spec(flags: &[&str]) -> Spec {
    use clap::Parser;
    use iris_mk8s::config::flags::ChannelArg;

    let words = ["iris-mk8s", "plan", "--user", "ubuntu"].into_iter().chain(flags.iter().copied());
    let words: Vec<&str> =
        if flags.contains(&"--lb") { words.collect() } else { words.chain(["--lb", "192.168.11.110-130"]).collect() };
    let cli = iris_mk8s::cli::Cli::try_parse_from(words).expect("good flags");
    let iris_mk8s::cli::Command::Plan(plan) = cli.command else { unreachable!("plan is plan") };
    let input = iris_mk8s::config::profile::Input { flags: plan.spec, ..Default::default() };
    // The recorded host has cgroup v2.
    let mut settings = iris_mk8s::config::profile::Settings::gather(&input).expect("settings");
    if *settings.channel().expect("a channel") == ChannelArg::Auto {
        settings.choose(iris_mk8s::config::version::Channel::for_host(true).0, &input).expect("a channel of today");
    }
    settings.wanted(&input).expect("a spec")
}

fn changed(what: &str) -> ! {
    panic!("recorded facts cannot be changed: {what}")
}

impl Host for Recorded {
    fn run(&self, cmd: &Cmd, _: &mut dyn FnMut(Heard<'_>) -> ControlFlow<()>) -> Result<Output> {
        assert_eq!(cmd.effect, Effect::Reads, "{}", cmd.show());
        match self.facts.commands.get(&cmd.show()) {
            Some((code, stdout)) => Ok(Output { code: Some(*code), stdout: stdout.clone(), stderr: String::new() }),
            None => Err(Error::no_program(&cmd.show())),
        }
    }

    fn read(&self, path: &Path) -> Result<Option<Vec<u8>>> {
        Ok(self.facts.files.get(path.to_str().expect("UTF-8")).map(|text| text.clone().into_bytes()))
    }

    fn exists(&self, path: &Path) -> bool {
        let path = path.to_str().expect("UTF-8");
        let below = format!("{}/", path.trim_end_matches('/'));
        let known = |p: &String| p == path || p.starts_with(&below);
        self.facts.files.keys().any(known) || self.facts.links.keys().any(known)
    }

    fn link(&self, path: &Path) -> Option<PathBuf> {
        self.facts.links.get(path.to_str().expect("UTF-8")).map(PathBuf::from)
    }

    fn names(&self, dir: &Path) -> Vec<String> {
        let below = format!("{}/", dir.display());
        let all = self.facts.files.keys().chain(self.facts.links.keys());
        let names: BTreeSet<String> =
            all.filter_map(|p| p.strip_prefix(&below)?.split('/').next().map(str::to_owned)).collect();
        names.into_iter().collect()
    }

    fn write(&self, file: &FileWrite) -> Result<()> {
        changed(&file.path.display().to_string())
    }

    fn remove(&self, path: &Path, _: bool) -> Result<()> {
        changed(&path.display().to_string())
    }

    fn kind(&self, path: &Path) -> Result<Option<FileKind>> {
        let is_dir = !self.names(path).is_empty();
        let kind = if self.link(path).is_some() {
            FileKind::Link
        } else if is_dir {
            FileKind::Directory
        } else {
            FileKind::File
        };
        Ok(self.exists(path).then_some(kind))
    }

    fn kill(&self, _: &[Process]) -> Result<()> {
        changed("kill")
    }

    fn snapd_get(&self, path: &str) -> Result<Option<Value>> {
        match self.facts.snapd.get(path) {
            Some(Value::Null) => Err(Error::transient("snapd does not answer").because("connection refused")),
            Some(Value::String(refusal)) => Err(snapd_refusal("", refusal, 400)),
            other => Ok(other.cloned()),
        }
    }

    fn snapd_change(
        &self,
        change: &SnapdChange,
        _: &mut dyn FnMut(&str, Option<Progress>) -> ControlFlow<()>,
    ) -> Result<()> {
        changed(&change.shown)
    }

    fn has_image(&self, _: &str) -> Result<bool> {
        if self.facts.api.is_empty() {
            return Err(Error::transient("containerd does not answer yet").because("connection refused"));
        }
        Ok(true)
    }

    fn pull(&self, name: &str, _: &mut dyn FnMut(&str, Option<Progress>) -> ControlFlow<()>) -> Result<()> {
        changed(name)
    }

    fn get(&self, kind: &'static Kind, namespace: Option<&str>, name: &str) -> Result<Option<Value>> {
        Ok(self.list(kind, namespace, "")?.into_iter().find(|o| o["metadata"]["name"] == name))
    }

    fn list(&self, kind: &'static Kind, namespace: Option<&str>, labels: &str) -> Result<Vec<Value>> {
        if self.facts.api.is_empty() {
            return Err(Error::transient("the API server does not answer").because("connection refused"));
        }
        if self.facts.forbidden {
            return Err(
                Error::failed("the API server refused").because(format!("list {}: forbidden (403)", kind.plural))
            );
        }
        let fits = |object: &&Value| {
            let meta = &object["metadata"];
            let mut wanted = labels.split(',').filter_map(|l| l.split_once('='));
            namespace.is_none_or(|ns| meta["namespace"] == ns)
                && wanted.all(|(name, value)| meta["labels"][name] == value)
        };
        // Longhorn has nodes, too.
        let name =
            if kind.group == "longhorn.io" { format!("{}.longhorn.io", kind.plural) } else { kind.plural.to_owned() };
        Ok(self.facts.objects.get(&name).into_iter().flatten().filter(fits).cloned().collect())
    }

    fn apply(&self, object: &Value, _: bool) -> Result<Value> {
        changed(&object.to_string())
    }

    fn patch(&self, kind: &'static Kind, _: Option<&str>, name: &str, _: &Value) -> Result<()> {
        changed(&format!("{}/{name}", kind.plural))
    }

    fn download(&self, file: &iris_mk8s::host::Download) -> Result<()> {
        changed(&file.url)
    }

    fn delete(&self, kind: &'static Kind, _: Option<&str>, name: &str) -> Result<()> {
        changed(&format!("{}/{name}", kind.plural))
    }

    fn api_text(&self, path: &str) -> Result<String> {
        let away = || Error::transient("the API server does not answer").because("connection refused");
        self.facts.api.get(path).cloned().ok_or_else(away)
    }

    fn exec(&self, _: &str, pod: &str, _: &str, argv: &[&str], _: &str) -> Result<Output> {
        let (code, stdout) = self
            .facts
            .execs
            .get(&argv.join(" "))
            .unwrap_or_else(|| panic!("nothing was recorded of {argv:?} in pod {pod}"));
        Ok(Output { code: Some(*code), stdout: stdout.clone(), stderr: String::new() })
    }

    fn http_get(&self, url: &str) -> Result<(u16, String)> {
        self.facts.pages.get(url).cloned().ok_or_else(|| Error::transient(format!("{url} does not answer")))
    }

    fn http(&self, mut request: HttpRequest<'_>) -> Result<HttpAnswer> {
        let away = || Error::transient(format!("{} does not answer", request.url));
        let registry = self.facts.registry.as_ref().ok_or_else(away)?;
        request.url = request.url.replace("127.0.0.1:32000", registry);
        let url = request.url.clone();
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
        runtime.block_on(send(request)).map_err(|e| Error::transient(format!("{url} does not answer")).because(e))
    }

    fn login(&self, url: &str, _: &str, password: &str) -> Result<u16> {
        assert!(url.ends_with(":52773/api/atelier/"), "{url}");
        Ok(self.facts.logins.get(password).copied().unwrap_or(401))
    }

    fn ask_name(&self, server: Ipv4Addr, name: &str) -> Result<usize> {
        if self.facts.silent.contains(&server) {
            return Err(Error::transient(format!("{server} does not answer")));
        }
        Ok(self.facts.known.get(name).copied().unwrap_or(0))
    }

    fn sync_latency(&self, folder: &Path, _: u32, _: Duration) -> Result<Vec<Duration>> {
        assert!(folder.starts_with("/"), "{}", folder.display());
        Ok(self.facts.writes.clone())
    }

    fn reach(&self, name: &str, port: u16) -> Result<()> {
        if self.facts.unreachable.contains(name) {
            return Err(Error::transient(format!("{name}:{port} cannot be reached")).because("connection refused"));
        }
        Ok(())
    }

    fn neighbours(&self, range: &LbRange) -> Result<BTreeMap<Ipv4Addr, String>> {
        self.asked.lock().expect("no panic").push(range.to_string());
        let held = self.facts.neighbours.iter().filter(|(address, _)| range.contains(**address));
        Ok(held.map(|(address, mac)| (*address, mac.clone())).collect())
    }

    fn watch(&self, _: &[Watch]) -> Box<dyn Changes> {
        if self.facts.registry.is_some() {
            return Box::new(Soon);
        }
        changed("nothing is waited for")
    }

    fn leftovers(&self) -> Vec<Leftover> {
        Vec::new()
    }

    fn end(&self, group: &Leftover) {
        changed(&group.command)
    }

    fn now(&self) -> Duration {
        Duration::ZERO
    }

    fn unix_time(&self) -> u64 {
        self.facts.now
    }

    fn stopping(&self) -> bool {
        false
    }
}
