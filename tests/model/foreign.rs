//! Who else lives on a modelled host: Docker, k3d in it, LXD, a Kubernetes of its own, a containerd. Each with what tells its things from those of
//! MicroK8s: whose shim a process hangs below, where its control group begins, whose chains its rules are in.
//!
//! What is in here is written down from what these programs are known to make on Ubuntu 24.04. No recording pins it yet.

use super::{
    network,
    world::{Era, World},
};

/// Somebody who lives here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Resident {
    Docker,
    /// A k3s in a container of Docker's, as k3d, kind and minikube make it.
    K3d,
    /// LXD, with a MicroK8s in one of its containers.
    Lxd,
    /// A k3s of the host itself.
    K3s,
    /// A containerd with nerdctl.
    Containerd,
}

impl Resident {
    pub const ALL: [Self; 5] = [Self::Docker, Self::K3d, Self::Lxd, Self::K3s, Self::Containerd];

    /// Files that are there whether or not it runs.
    fn files(self) -> &'static [&'static str] {
        match self {
            Self::Docker => &["/usr/bin/dockerd", "/var/lib/docker/overlay2/1f0c/diff/data"],
            Self::K3d => &["/usr/local/bin/k3d", "/var/lib/docker/volumes/k3d/_data/db"],
            Self::Lxd => &["/var/snap/lxd/common/lxd/storage-pools/default/c1/rootfs/data"],
            Self::K3s => {
                &["/usr/local/bin/k3s", "/etc/rancher/k3s/k3s.yaml", "/var/lib/rancher/k3s/server/db/state.db"]
            }
            Self::Containerd => {
                &["/etc/containerd/config.toml", "/etc/cni/nerdctl.conflist", "/opt/cni/foreign/bridge"]
            }
        }
    }

    /// Links that it makes when it starts.
    fn links(self) -> &'static [&'static str] {
        match self {
            Self::Docker => &["docker0", "veth1111111"],
            Self::K3d => &["br-0123456789ab", "veth1212121"],
            Self::Lxd => &["lxdbr0", "veth2222222"],
            Self::K3s => &["flannel.1", "veth3333333"],
            Self::Containerd => &["nerdctl0", "veth4444444"],
        }
    }

    /// What it makes below /run.
    fn runtime(self) -> &'static [&'static str] {
        match self {
            Self::Docker => {
                &["/run/docker.sock", "/run/containerd/containerd.sock", "/run/containerd/moby/1f0c/init.pid"]
            }
            Self::K3d => &["/run/docker/k3d"],
            Self::Lxd => &["/var/snap/lxd/common/lxd/unix.socket"],
            Self::K3s => &["/run/k3s/containerd/containerd.sock", NAMESPACE],
            Self::Containerd => &["/run/containerd/containerd.sock", "/run/containerd/nerdctl/state.json"],
        }
    }

    /// Its processes: number, parent, program, control group.
    fn processes(self) -> &'static [(u32, u32, &'static str, &'static str)] {
        match self {
            Self::Docker => &[
                (5100, 1, "/usr/bin/containerd-shim-runc-v2", "/system.slice/containerd.service"),
                (5101, 5100, "/usr/bin/sleep", "/system.slice/docker-1f0c.scope"),
            ],
            Self::K3d => &[
                (5200, 1, "/usr/bin/containerd-shim-runc-v2", "/system.slice/containerd.service"),
                (5201, 5200, "/bin/k3s", "/docker/abc"),
                (5202, 5201, "/bin/containerd-shim-runc-v2", "/docker/abc/k3s"),
                (5203, 5202, "/pause", "/docker/abc/kubepods/besteffort/podx/1"),
                (5204, 5202, "/coredns", "/docker/abc/kubepods/besteffort/podx/2"),
            ],
            Self::Lxd => &[
                (5300, 1, "/snap/lxd/current/sbin/lxd", "/lxc.monitor.c1"),
                (5301, 5300, "/sbin/init", "/lxc.payload.c1"),
                (
                    5302,
                    5301,
                    "/snap/microk8s/1/bin/containerd-shim-runc-v2",
                    "/lxc.payload.c1/system.slice/snap.microk8s",
                ),
                (5303, 5302, "/pause", "/lxc.payload.c1/kubepods/besteffort/pody/1"),
            ],
            Self::K3s => &[
                (5400, 1, "/usr/local/bin/k3s", "/system.slice/k3s.service"),
                (5401, 1, "/var/lib/rancher/k3s/data/current/bin/containerd-shim-runc-v2", "/system.slice/k3s.service"),
                (5402, 5401, "/pause", "/kubepods/besteffort/podz/1"),
            ],
            Self::Containerd => &[
                (5500, 1, "/usr/local/bin/containerd-shim-runc-v2", "/system.slice/containerd.service"),
                (5501, 5500, "/usr/bin/sleep", "/system.slice/nerdctl-4444.scope"),
            ],
        }
    }

    /// Its rules: table, chains, lines.
    fn rules(self) -> &'static [(&'static str, &'static [&'static str], &'static [&'static str])] {
        match self {
            Self::Docker => &[
                (
                    "*nat",
                    &["DOCKER"],
                    &["-A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE", "-A DOCKER -i docker0 -j RETURN"],
                ),
                (
                    "*filter",
                    &["DOCKER", "DOCKER-USER"],
                    &["-A FORWARD -j DOCKER-USER", "-A FORWARD -o docker0 -j DOCKER"],
                ),
            ],
            Self::K3d => &[("*nat", &[], &["-A POSTROUTING -s 172.18.0.0/16 ! -o br-0123456789ab -j MASQUERADE"])],
            Self::Lxd => &[(
                "*filter",
                &[],
                &["-A FORWARD -i lxdbr0 -m comment --comment \"generated for LXD network lxdbr0\" -j ACCEPT"],
            )],
            // kube-proxy's chains have the same names everywhere.
            Self::K3s => &[(
                "*nat",
                &["KUBE-SVC-K3SFOREIGN", "FLANNEL-POSTRTG"],
                &[
                    "-A KUBE-SVC-K3SFOREIGN -s 10.42.0.0/16 -j ACCEPT",
                    "-A POSTROUTING -m comment --comment \"flanneld masq\" -j FLANNEL-POSTRTG",
                ],
            )],
            Self::Containerd => &[(
                "*nat",
                &["CNI-44444444444444444444444a"],
                &[
                    "-A POSTROUTING -s 10.4.0.2/32 -j CNI-44444444444444444444444a",
                    "-A CNI-44444444444444444444444a -d 10.4.0.0/24 -j ACCEPT",
                ],
            )],
        }
    }
}

/// A network namespace of k3s': its name is like everybody's.
const NAMESPACE: &str = "/run/netns/cni-77777777-k3s";

/// Somebody installs it.
pub fn arrives(world: &mut World, who: Resident) {
    if who == Resident::K3d {
        arrives(world, Resident::Docker);
    }
    if !world.residents.insert(who) {
        return;
    }
    for file in who.files() {
        world.files.write(file, "theirs\n");
    }
    starts(world, who);
}

/// It starts, as after each boot.
pub fn starts(world: &mut World, who: Resident) {
    // The remove hook of MicroK8s 1.34 deletes every namespace of such a name itself (`remove.d/20-cni-netns`): what we do shows only where it does not.
    for file in who.runtime().iter().filter(|file| **file != NAMESPACE || world.era == Era::Old) {
        world.files.write(file, "theirs\n");
    }
    for link in who.links() {
        world.links.insert((*link).to_owned());
    }
    for (table, chains, lines) in who.rules() {
        network::add_rules(&mut world.rules[0], table, chains, lines);
    }
    for (pid, parent, program, group) in who.processes() {
        process(world, *pid, *parent, program, group);
    }
    // Each of them forwards, and whoever finds it on already leaves it so. The two names are one setting.
    for name in ["net/ipv4/ip_forward", "net/ipv4/conf/all/forwarding"] {
        world.files.write(&format!("/proc/sys/{name}"), "1\n");
    }
}

/// Its owner takes it away. Forwarding stays on: nobody knows who else needs it.
pub fn leaves(world: &mut World, who: Resident) {
    if who == Resident::Docker && world.residents.contains(&Resident::K3d) {
        leaves(world, Resident::K3d);
    }
    if !world.residents.remove(&who) {
        return;
    }
    let others: Vec<&str> = world.residents.iter().flat_map(|r| r.runtime().iter().chain(r.files())).copied().collect();
    for file in who.files().iter().chain(who.runtime()).filter(|file| !others.contains(file)) {
        world.files.remove(file);
    }
    if who == Resident::K3s {
        // `k3s-uninstall.sh` takes its folders away, too.
        ["/etc/rancher", "/var/lib/rancher", "/run/k3s"].iter().for_each(|folder| world.files.remove(folder));
    }
    for link in who.links() {
        world.links.remove(*link);
    }
    for (_, chains, lines) in who.rules() {
        let chain = |line: &str| chains.iter().any(|c| line.starts_with(&format!(":{c} ")));
        world.rules[0].retain(|line| !chain(line) && !lines.contains(&line.as_str()));
    }
    for (pid, ..) in who.processes() {
        world.files.remove(format!("/proc/{pid}"));
    }
}

/// A process, as /proc shows it. What is in a container sees neither the host's processes nor its network.
pub fn process(world: &mut World, pid: u32, parent: u32, program: &str, group: &str) {
    let name = program.rsplit('/').next().unwrap_or_default();
    let contained = ["/docker", "/lxc.payload", "/kubepods", ".scope"].iter().any(|part| group.contains(part));
    let address = match program {
        _ if program.starts_with("/snap/microk8s") => "/var/snap/microk8s/common/run/containerd.sock",
        _ if program.starts_with("/var/lib/rancher") => "/run/k3s/containerd/containerd.sock",
        _ => "/run/containerd/containerd.sock",
    };
    let argv = if name.starts_with("containerd-shim") {
        format!("{program}\0-namespace\0k8s.io\0-id\03fa9\0-address\0{address}\0")
    } else {
        format!("{program}\0")
    };
    let dir = format!("/proc/{pid}");
    let files = &mut world.files;
    files.write(&format!("{dir}/cgroup"), format!("0::{group}\n"));
    files.write(&format!("{dir}/comm"), format!("{name}\n"));
    files.write(&format!("{dir}/cmdline"), argv);
    files.write(&format!("{dir}/environ"), "HOME=/\0");
    // The 22nd number is the moment at which it began.
    files.write(&format!("{dir}/stat"), format!("{pid} ({name}) S {parent}{} {} 0\n", " 0".repeat(17), 1000 + pid));
    files.write(&format!("{dir}/status"), format!("Name:\t{name}\nPid:\t{pid}\nPPid:\t{parent}\nUid:\t0\t0\t0\t0\n"));
    files.write(&format!("{dir}/mountinfo"), "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n");
    files.link(&format!("{dir}/exe"), program);
    for space in ["pid", "net"] {
        let number = if contained { 4_026_532_000 + u64::from(pid) } else { 4_026_531_836 };
        files.link(&format!("{dir}/ns/{space}"), &format!("{space}:[{number}]"));
    }
}
