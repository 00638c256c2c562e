//! Everything that outlives a process of ours: the file system, snapd, the packet filter, running commands, the cluster, and the time.
//! A world is a value: a copy of it is what a crash leaves.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::{
    cluster::Cluster,
    files::Files,
    foreign::{self, Resident},
    microk8s,
    process::Process,
    snapd::Snapd,
};

/// The moment at which every modelled host begins, in seconds since 1970.
pub const EPOCH: u64 = 1_800_000_000;

/// Milliseconds.
pub const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// Seconds.
pub const fn s(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// Which MicroK8s the host gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Era {
    /// 1.34.
    Today,
    /// 1.20, of the article.
    Old,
}

impl Era {
    pub fn channel(self) -> &'static str {
        match self {
            Self::Today => "1.34/stable",
            Self::Old => "1.20/stable",
        }
    }

    pub fn kubernetes(self) -> &'static str {
        match self {
            Self::Today => "v1.34.4",
            Self::Old => "v1.20.13",
        }
    }
}

/// A modelled Ubuntu.
#[derive(Clone)]
pub struct World {
    pub era: Era,
    /// Since its beginning.
    pub now: Duration,
    pub files: Files,
    /// Kernel settings that a boot makes, besides the kernel's own.
    pub at_boot: Vec<(&'static str, &'static str)>,
    /// Users with their home directories.
    pub users: BTreeMap<String, String>,
    pub groups: BTreeMap<String, Vec<String>>,
    pub snapd: Snapd,
    /// `iptables-save` and `ip6tables-save`.
    pub rules: [Vec<String>; 2],
    pub links: BTreeSet<String>,
    /// systemd remembers a unit of the snap that failed.
    pub failed_units: bool,
    /// Addresses of the machine's card, as `ip addr` shows them.
    pub address: String,
    /// Running commands, by their process group.
    pub processes: BTreeMap<i32, Process>,
    /// What is in MicroK8s; none while the snap is not installed.
    pub cluster: Option<Cluster>,
    /// What went wrong that no end state shows: two changes at a time, an act without a journal.
    pub violations: Vec<String>,
    /// Acts so far.
    pub acts: u64,
    /// Seconds by which the wall clock is off, and those by which it is going to jump.
    pub clock: i64,
    pub jump: i64,
    /// Packages, and what dpkg says of each.
    pub packages: BTreeMap<String, String>,
    /// Units of systemd's that are enabled, and those that run.
    pub units: BTreeMap<String, (bool, bool)>,
    /// iSCSI sessions of Longhorn's: its volume, and the pod that mounts it.
    pub iscsi: BTreeMap<String, String>,
    /// Those of somebody else, as `iscsiadm` shows them.
    pub targets: BTreeSet<&'static str>,
    /// Passwords that were made up so far.
    pub passwords: usize,
    /// Who else lives here.
    pub residents: BTreeSet<Resident>,
    /// Programs that fail whenever they are to change something.
    pub broken: BTreeSet<&'static str>,
    /// It has no network: nothing can be fetched.
    pub offline: bool,
    /// Where somebody mounted something of theirs.
    pub mounts: BTreeSet<String>,
    next_group: i32,
}

/// How often the host was booted.
pub const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

impl World {
    /// A fresh Ubuntu VM.
    pub fn new(era: Era) -> Self {
        let mut world = Self {
            era,
            now: Duration::ZERO,
            files: Files::default(),
            at_boot: Vec::new(),
            users: [("root", "/root"), ("ubuntu", "/home/ubuntu")].map(|(u, h)| (u.to_owned(), h.to_owned())).into(),
            groups: BTreeMap::from([("sudo".to_owned(), vec!["ubuntu".to_owned()])]),
            snapd: Snapd::default(),
            rules: [super::network::plain_rules(), super::network::plain_rules()],
            links: ["lo", "host0"].map(str::to_owned).into(),
            failed_units: false,
            address: "192.168.11.49/24".to_owned(),
            processes: BTreeMap::new(),
            cluster: None,
            violations: Vec::new(),
            acts: 0,
            clock: 0,
            jump: 0,
            packages: BTreeMap::new(),
            units: BTreeMap::new(),
            iscsi: BTreeMap::new(),
            targets: BTreeSet::new(),
            passwords: 0,
            residents: BTreeSet::new(),
            broken: BTreeSet::new(),
            offline: false,
            mounts: BTreeSet::new(),
            next_group: 1000,
        };
        world.files.write("/proc/meminfo", "MemTotal:        8148132 kB\nMemFree:         6000000 kB\n");
        world.files.write("/proc/sys/kernel/hostname", "ubuntu\n");
        world.files.write("/proc/cpuinfo", "processor\t: 0\nprocessor\t: 1\n");
        foreign::process(&mut world, 1, 0, "/sbin/init", "/init");
        world.files.write("/etc/os-release", "ID=ubuntu\nVERSION_ID=\"24.04\"\n");
        world.files.write("/etc/hosts", "127.0.1.1 ubuntu\n");
        world.files.write("/etc/resolv.conf", "nameserver 192.168.11.1\n");
        // Only with cgroup v2; 1.20 runs on v1 alone.
        if era == Era::Today {
            world.files.write("/sys/fs/cgroup/cgroup.controllers", "cpuset cpu io memory pids\n");
        }
        for program in ["/usr/bin/mount", "/usr/bin/umount", "/usr/sbin/modprobe"] {
            world.files.write(program, "");
        }
        world.files.write("/proc/filesystems", "nodev\tsysfs\n\text4\n\tsquashfs\n");
        for home in ["/root", "/home/ubuntu"] {
            world.files.write(&format!("{home}/.bashrc"), "# .bashrc\n");
        }
        for dir in [
            "/var/log",
            "/var/lib",
            "/usr/local/bin",
            "/snap/bin",
            "/var/snap",
            "/run",
            "/etc/apparmor.d",
            "/etc/modules-load.d",
            "/sys/module",
            "/var/cache",
            "/etc/sysctl.d",
            "/opt",
            "/usr/libexec",
        ] {
            world.files.dir(dir);
        }
        world.boot_settings();
        world
    }

    /// When the next thing happens by itself.
    pub fn next(&self) -> Option<Duration> {
        let processes = self.processes.values().filter(|p| p.code.is_none()).map(|p| p.next);
        let change = self.snapd.change.as_ref().map(|c| c.next);
        let cluster = self.cluster.as_ref().and_then(Cluster::next);
        processes.chain(change).chain(cluster).min().map(|at| at.max(self.now))
    }

    /// Lets one thing happen, if it is due by `limit`. False: nothing was, and the time is `limit` now.
    pub fn step(&mut self, limit: Duration) -> bool {
        let Some(at) = self.next().filter(|at| *at <= limit) else {
            self.now = self.now.max(limit);
            return false;
        };
        self.now = at;
        if self.snapd.change.as_ref().is_some_and(|c| c.next <= at) {
            super::snapd::go_on(self);
        } else if let Some(group) = self.processes.values().find(|p| p.code.is_none() && p.next <= at).map(|p| p.group)
        {
            microk8s::go_on(self, group);
        } else {
            super::controllers::tick(self);
        }
        true
    }

    /// Lets the time go on.
    pub fn advance(&mut self, by: Duration) {
        let limit = self.now + by;
        while self.step(limit) {}
    }

    /// A new process group.
    pub fn start(&mut self, argv: &[String], run: Option<String>) -> i32 {
        self.next_group += 1;
        let group = self.next_group;
        self.processes.insert(group, Process::new(group, argv, run, self.now));
        group
    }

    /// The cluster, when the snap is installed and its API answers.
    pub fn api(&mut self) -> Option<&mut Cluster> {
        let now = self.now;
        self.cluster.as_mut().filter(|c| c.answers(now))
    }

    /// Time goes on until nothing is on its way.
    pub fn settle(&mut self) {
        self.advance(s(600));
        self.processes.retain(|_, p| p.code.is_none());
    }

    /// Every process ends at once, and the machine boots again. What is on the disk stays.
    pub fn power_cut(&mut self) {
        self.processes.clear();
        self.iscsi.clear();
        self.files.remove("/sys/module/iscsi_tcp");
        if self.files.text("/etc/modules-load.d/iris-mk8s-longhorn.conf").contains("iscsi_tcp") {
            self.files.dir("/sys/module/iscsi_tcp");
        }
        for (enabled, active) in self.units.values_mut() {
            *active = *enabled;
        }
        self.failed_units = false;
        self.now += s(15);
        super::network::end_pods(self);
        // What a person made by hand lasts until then.
        self.links.retain(|link| matches!(link.as_str(), "lo" | "host0"));
        let gone: Vec<String> = self.files.names("/run").into_iter().collect();
        for name in gone {
            self.files.remove(format!("/run/{name}"));
        }
        self.rules = [super::network::plain_rules(), super::network::plain_rules()];
        self.boot_settings();
        for pid in self.files.names("/proc").into_iter().filter(|name| name.bytes().all(|b| b.is_ascii_digit())) {
            self.files.remove(format!("/proc/{pid}"));
        }
        foreign::process(self, 1, 0, "/sbin/init", "/init");
        for resident in self.residents.clone() {
            foreign::starts(self, resident);
        }
        super::snapd::boot(self);
    }

    /// Kernel settings as a boot makes them.
    pub fn boot_settings(&mut self) {
        let boots: u32 = self.files.text(BOOT_ID).trim().parse().unwrap_or(0);
        self.files.write(BOOT_ID, format!("{}\n", boots + 1));
        super::network::plain_settings(&mut self.files);
        for (name, value) in &self.at_boot {
            self.files.write(&format!("/proc/sys/{name}"), format!("{value}\n"));
        }
    }
}
