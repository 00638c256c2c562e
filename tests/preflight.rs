//! Every check of the host against recorded facts: seen to fire, with its words, and silent on a good host.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test fails by panicking")]

mod recorded;

use std::collections::BTreeSet;

use iris_mk8s::{
    cli::{self, Command},
    commands::{self, proposal},
    config::{credentials::Credentials, flags::Lb, place::Place},
    engine::step::Probe,
    error::{
        ExitCode,
        finding::{Finding, Severity},
    },
    stack::{self, facts::Facts as Seen},
};
use recorded::{Facts, Recorded, df, free, good, spec};
use serde_json::json;

fn look(facts: Facts, flags: &[&str]) -> Vec<Finding> {
    let (host, spec) = (Recorded::new(facts), spec(flags));
    let all: Vec<&iris_mk8s::stack::check::Check> =
        iris_mk8s::stack::checks::HOST.iter().chain([&iris_mk8s::stack::checks::RANGE]).collect();
    let mut findings = iris_mk8s::stack::check::run(&Seen::read(&host, &spec), &all);
    iris_mk8s::stack::check::heed_skips(&mut findings, &spec.skip_checks);
    findings
}

/// Flags of somebody who wants Longhorn.
const DASHBOARD: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/dashboard.toml");

const ON_LONGHORN: &[&str] = &["--storage", "longhorn"];

/// The same host, as it can carry Longhorn.
fn with_longhorn() -> Facts {
    let mut facts = good();
    facts
        .command("findmnt --noheadings --output PROPAGATION --target /", 0, "shared\n")
        .command("findmnt --noheadings --output PROPAGATION --target /var", 0, "shared\n")
        .command("findmnt --noheadings --output FSTYPE --target /var/lib", 0, "ext4\n")
        .command("findmnt --noheadings --output FSTYPE --target /", 0, "ext4\n")
        .command("modprobe --dry-run --quiet iscsi_tcp", 0, "")
        .command("systemctl is-active multipathd.service", 3, "inactive\n")
        .command("systemctl is-active multipathd.socket", 3, "inactive\n");
    for path in ["/var/lib", "/var", "/"] {
        facts.command(&format!("df -Pk {path}"), 0, &df("/", 60));
    }
    facts
}

#[test]
fn a_good_host_is_fine_and_each_check_says_what_it_measured() {
    let findings = look(good(), &[]);
    let bad: Vec<&Finding> = findings.iter().filter(|f| f.severity != Severity::Fine).collect();
    assert!(bad.is_empty(), "{bad:#?}");
    let told: Vec<&str> = findings.iter().map(|f| f.id).collect();
    // Longhorn's are asked only where it is wanted.
    let host = |longhorn: bool| {
        iris_mk8s::stack::checks::HOST.iter().map(|c| c.id).filter(move |id| longhorn || !id.starts_with("longhorn-"))
    };
    assert_eq!(told, host(false).chain(["lb"]).collect::<Vec<_>>(), "each check once, in the order of the table");

    let findings = look(with_longhorn(), ON_LONGHORN);
    let bad: Vec<&Finding> = findings.iter().filter(|f| f.severity != Severity::Fine).collect();
    assert!(bad.is_empty(), "{bad:#?}");
    assert_eq!(findings.iter().map(|f| f.id).collect::<Vec<_>>(), host(true).chain(["lb"]).collect::<Vec<_>>());
    assert!(findings.iter().all(|f| !f.message.is_empty()));
}

/// One thing that is wrong.
struct Case {
    id: &'static str,
    severity: Severity,
    /// How it was provoked.
    what: &'static str,
    flags: &'static [&'static str],
    spoil: fn(&mut Facts),
    /// Part of the message.
    says: &'static str,
}

const fn refused(
    id: &'static str,
    what: &'static str,
    flags: &'static [&'static str],
    spoil: fn(&mut Facts),
    says: &'static str,
) -> Case {
    Case { id, severity: Severity::Refused, what, flags, spoil, says }
}

const fn warned(
    id: &'static str,
    what: &'static str,
    flags: &'static [&'static str],
    spoil: fn(&mut Facts),
    says: &'static str,
) -> Case {
    Case { id, severity: Severity::Warned, what, flags, spoil, says }
}

fn system(f: &mut Facts, id: &str, version: &str) {
    f.file("/etc/os-release", &format!("PRETTY_NAME=\"{id} {version}\"\nID={id}\nVERSION_ID=\"{version}\"\n"));
}

fn memory(f: &mut Facts, total_mib: u64, swap_used_mib: u64) {
    let (total, free) = (total_mib * 1024, (4096 - swap_used_mib) * 1024);
    f.file("/proc/meminfo", &format!("MemTotal: {total} kB\nSwapTotal: 4194304 kB\nSwapFree: {free} kB\n"));
}

fn cores(f: &mut Facts, n: usize) {
    f.file("/proc/cpuinfo", &"processor\t: 0\n\n".repeat(n));
}

fn listens(f: &mut Facts, line: &str) {
    f.command("ss -Hltnp", 0, &format!("LISTEN 0 4096 {line}\n"));
}

fn installed(f: &mut Facts) {
    f.snapd("/v2/snaps/microk8s", json!({"name": "microk8s", "status": "active", "tracking-channel": "1.36/stable"}));
}

/// One more mount, on top of the others.
fn mounted(f: &mut Facts, point: &str, kind: &str, options: &str) {
    let line = format!("90 29 0:90 / {point} {options} shared:90 - {kind} source rw\n");
    f.files.get_mut("/proc/self/mountinfo").unwrap().push_str(&line);
}

fn stats(f: &mut Facts, lines: &str) {
    f.command("stat --format=%a:%u:%n / /var /var/lib /var/snap", 0, lines);
}

/// A chain of nftables' own, beside that of iptables.
fn nft(f: &mut Facts, hook: &str, rule: &str) {
    let chain = |family: &str, table: &str, name: &str| json!({"chain": {"family": family, "table": table, "name": name, "hook": hook, "policy": "drop"}});
    let listed = json!({"nftables": [{"metainfo": {}}, chain("ip", "filter", &hook.to_uppercase()), chain("inet", "filter", hook)]});
    f.command("nft --json list chains", 0, &listed.to_string()).command(
        &format!("nft list chain inet filter {hook}"),
        0,
        &format!("table inet filter {{\n\tchain {hook} {{\n\t\ttype filter hook {hook} priority filter; policy drop;\n\t\t{rule}\n\t}}\n}}\n"),
    );
}

/// firewalld, with its default zone and the zone of the pods.
fn firewalld(f: &mut Facts, default: &str, of_pods: &str) {
    f.command("systemctl is-active firewalld.service", 0, "active\n")
        .command("firewall-cmd --get-default-zone", 0, default)
        .command("firewall-cmd --get-zone-of-source=10.1.0.0/16", i32::from(of_pods.is_empty()), of_pods);
}

/// Another interface in the same network, by which the default route leaves.
fn second_interface(f: &mut Facts) {
    let links = &mut f.commands.get_mut("ip -j -d addr").unwrap().1;
    let first = links.rfind("{\"ifindex\"").unwrap();
    let second = links[first..].replace("eth0", "eth1").replace(".49\"", ".50\"").replace("00:49", "00:50");
    links.replace_range(links.rfind(']').unwrap().., &format!(",{second}"));
    let routes = &mut f.commands.get_mut("ip -j -d route").unwrap().1;
    *routes = routes.replacen("\"dev\": \"eth0\"", "\"dev\": \"eth1\"", 1);
    route(f, "{\"dst\":\"192.168.11.0/24\",\"dev\":\"eth1\",\"flags\":[]}");
}

/// One more route.
fn route(f: &mut Facts, route: &str) {
    let text = &mut f.commands.get_mut("ip -j -d route").unwrap().1;
    let at = text.rfind(']').unwrap();
    text.insert_str(at, &format!(",{route}"));
}

/// Another word in what `ip` says of the interfaces, of the last one, which leads to the LAN.
fn network(f: &mut Facts, from: &str, to: &str) {
    let text = &mut f.commands.get_mut("ip -j -d addr").unwrap().1;
    let at = text.rfind(from).unwrap_or_else(|| panic!("{from} is not in {text}"));
    text.replace_range(at..at + from.len(), to);
}

const CASES: &[Case] = &[
    refused(
        "cgroup-controllers",
        "a Raspberry Pi as its image comes",
        &[],
        |f| {
            f.file("/sys/fs/cgroup/cgroup.controllers", "cpuset cpu io pids\n")
                .file("/proc/device-tree/model", "Raspberry Pi 4 Model B Rev 1.4\0");
        },
        "the kernel's control groups (v2) are without memory: kubelet does not start",
    ),
    refused(
        "cgroup-controllers",
        "cgroup v1 with memory switched off",
        &["--channel", "1.20"],
        |f| {
            f.files.remove("/sys/fs/cgroup/cgroup.controllers");
            f.file(
                "/proc/cgroups",
                "#subsys_name\thierarchy\tnum_cgroups\tenabled\ncpu\t3\t1\t1\nmemory\t0\t1\t0\npids\t5\t1\t1\n",
            );
        },
        "(v1) are without memory",
    ),
    refused(
        "programs",
        "a minimal image",
        &[],
        |f| {
            f.files.remove("/usr/bin/umount");
            f.files.remove("/usr/sbin/modprobe");
        },
        "this system has no umount, no modprobe",
    ),
    refused("squashfs", "a kernel without it", &[], |f| _ = f.file("/proc/filesystems", "\text4\n"), "has no squashfs"),
    warned("selinux", "SELinux enforcing", &[], |f| _ = f.file("/sys/fs/selinux/enforce", "1"), "SELinux is enforcing"),
    warned(
        "cpu-level",
        "a VM with QEMU's default processor",
        &[],
        |f| _ = f.file("/proc/cpuinfo", "processor\t: 0\nflags\t\t: fpu sse sse2 cx16 lahf_lm\nprocessor\t: 1\n"),
        "the processor lacks popcnt, sse4_1, sse4_2, ssse3 (x86-64-v2)",
    ),
    refused(
        "noexec",
        "a hardened /var",
        &[],
        |f| mounted(f, "/var", "xfs", "rw,nosuid,noexec"),
        "/var is mounted noexec: the plugins of the pod network and MicroK8s' own scripts in /var/snap/microk8s could not be run",
    ),
    warned(
        "noexec",
        "a hardened /tmp, with Longhorn's packages to come",
        ON_LONGHORN,
        |f| mounted(f, "/tmp", "tmpfs", "rw,noexec"),
        "/tmp is mounted noexec",
    ),
    refused(
        "noexec",
        "a hardened /var/lib, with Longhorn",
        ON_LONGHORN,
        |f| mounted(f, "/var/lib", "ext4", "rw,noexec"),
        "/var/lib is mounted noexec: Longhorn's engine in /var/lib/longhorn",
    ),
    warned(
        "file-system",
        "ZFS",
        &[],
        |f| mounted(f, "/var", "zfs", "rw"),
        "lies on zfs (/var): MicroK8s copies every layer",
    ),
    warned("file-system", "btrfs", &[], |f| mounted(f, "/var/snap", "btrfs", "rw"), "which copies on every write"),
    refused(
        "file-system",
        "ecryptfs",
        &[],
        |f| mounted(f, "/var", "ecryptfs", "rw"),
        "lies on ecryptfs (/var): the layers",
    ),
    refused(
        "file-system",
        "NFS",
        &[],
        |f| mounted(f, "/var/snap", "nfs4", "rw"),
        "neither images (overlayfs) nor IRIS's databases",
    ),
    refused(
        "folders",
        "a root directory for everybody",
        &[],
        |f| stats(f, "777:0:/\n"),
        "everybody may write to / (mode 777)",
    ),
    warned(
        "folders",
        "/var/lib for everybody",
        &[],
        |f| stats(f, "755:0:/\n777:0:/var/lib\n"),
        "everybody may write to /var/lib (mode 777), and so replace",
    ),
    warned("folders", "/var of a user", &[], |f| stats(f, "755:0:/\n755:1000:/var\n"), "/var belongs to user 1000"),
    warned(
        "folders",
        "/var/snap moved away",
        &[],
        |f| _ = f.link("/var/snap", "/data/snap"),
        "/var/snap is a link to /data/snap",
    ),
    warned(
        "hidepid",
        "processes hidden",
        &[],
        |f| mounted(f, "/proc", "proc", "rw,hidepid=invisible"),
        "/proc is mounted with hidepid=invisible",
    ),
    warned(
        "disk-latency",
        "a disk that needs long for a small write",
        &[],
        |f| {
            f.writes = vec![std::time::Duration::from_millis(2); 97];
            f.writes.extend([std::time::Duration::from_millis(31); 3]);
        },
        "a small write below /var is on the disk after 2.0 ms in the middle and 31.0 ms in the 99th percentile of 100",
    ),
    warned(
        "disk-latency",
        "a disk so slow that there is time for few writes",
        &[],
        |f| f.writes = vec![std::time::Duration::from_millis(150); 6],
        "a small write below /var is on the disk after 150.0 ms in the middle of 6: above 10.0 ms",
    ),
    warned(
        "huge-pages",
        "memory kept back for a database on the host",
        &[],
        |f| {
            _ = f.file(
                "/proc/meminfo",
                "MemTotal: 16777216 kB\nHugePages_Total:    1024\nHugepagesize:       2048 kB\n",
            );
        },
        "2048 MiB of memory are kept back for huge pages",
    ),
    refused(
        "memory",
        "most of it kept back for huge pages",
        &[],
        |f| {
            _ = f
                .file("/proc/meminfo", "MemTotal: 4194304 kB\nHugePages_Total:    1024\nHugepagesize:       2048 kB\n");
        },
        "the host has 2048 MiB of memory; 3072 MiB are needed",
    ),
    refused(
        "host-name-length",
        "a name as clouds give them",
        &[],
        |f| _ = f.file("/proc/sys/kernel/hostname", "ip-10-20-30-40.ap-northeast-1.compute.internal.example.jp\n"),
        "has 57 characters; MicroK8s 1.36 puts it into a certificate that has room for 52",
    ),
    warned(
        "home",
        "a home elsewhere",
        &[],
        |f| _ = f.command("getent passwd ubuntu", 0, "ubuntu:x:1000:1000::/data/home/ubuntu:/bin/bash\n"),
        "the home of ubuntu is /data/home/ubuntu: commands of snaps",
    ),
    warned(
        "home",
        "a user of the system",
        &[],
        |f| _ = f.command("getent passwd ubuntu", 0, "ubuntu:x:998:998::/var/lib/ci:/usr/sbin/nologin\n"),
        "ubuntu is a user of the system (id 998, home /var/lib/ci)",
    ),
    warned(
        "home",
        "a home on NFS",
        &[],
        |f| mounted(f, "/home", "nfs4", "rw"),
        "the home of ubuntu lies on nfs4 (/home)",
    ),
    refused(
        "ipv4",
        "IPv6 alone",
        &[],
        |f| {
            f.command("ip -j -d addr", 0, "[{\"ifname\":\"eth0\",\"flags\":[\"UP\"],\"link_type\":\"ether\",\"addr_info\":[{\"family\":\"inet6\",\"local\":\"2001:db8::1\",\"prefixlen\":64}]}]")
                .command("ip -j -d route", 0, "[]");
        },
        "this host has no IPv4 address",
    ),
    warned(
        "name-servers",
        "a name server that is gone",
        &[],
        |f| _ = f.silent.insert("192.168.11.1".parse().unwrap()),
        "192.168.11.1 does not answer as a name server: no name will be found",
    ),
    warned(
        "search-domains",
        "a search domain with a wildcard",
        &[],
        |f| {
            f.file("/run/systemd/resolve/resolv.conf", "nameserver 192.168.11.1\nsearch corp.example lab.example\n");
            f.known.insert("iris-mk8s-no-such-host.corp.example".to_owned(), 1);
        },
        "the search domain corp.example has an address for every name",
    ),
    warned(
        "firewall",
        "ufw as `ufw enable` leaves it",
        &[],
        |f| {
            f.file("/etc/ufw/ufw.conf", "ENABLED=yes\n")
                .file("/etc/default/ufw", "DEFAULT_INPUT_POLICY=\"DROP\"\nDEFAULT_FORWARD_POLICY=\"ACCEPT\"\n");
        },
        "ufw drops what comes in by default, and has no rule for the pods (10.1.0.0/16)",
    ),
    refused(
        "firewall",
        "firewalld",
        &[],
        |f| {
            firewalld(f, "public", "");
        },
        "firewalld rejects what pods (10.1.0.0/16) send",
    ),
    warned(
        "firewall",
        "firewalld with a zone of somebody's for the pods",
        &[],
        |f| firewalld(f, "public", "cluster"),
        "firewalld is on, and whether it lets pods (10.1.0.0/16) through cannot be told",
    ),
    warned(
        "firewall",
        "nftables with chains of somebody's own",
        &[],
        |f| nft(f, "forward", "jump of_admin"),
        "(hook forward), and whether its rules let pods (10.1.0.0/16) through cannot be told",
    ),
    refused(
        "firewall",
        "nftables that drops what is forwarded",
        &[],
        |f| nft(f, "forward", "ct state established accept"),
        "nftables drops what it does not know in inet filter forward (hook forward): pods cannot reach the network",
    ),
    refused(
        "firewall",
        "nftables that drops what comes in",
        &[],
        |f| nft(f, "input", "tcp dport 22 accept"),
        "(hook input): pods do not reach the API of the cluster",
    ),
    warned(
        "iptables",
        "rules in both backends",
        &[],
        |f| {
            f.file("/proc/net/ip_tables_names", "filter\n");
            f.command("iptables-legacy -S", 0, "-P INPUT ACCEPT\n-A INPUT -i lo -j ACCEPT\n").command(
                "iptables-nft -S",
                0,
                "-P INPUT ACCEPT\n-A FORWARD -j DOCKER-USER\n-A FORWARD -j X\n",
            );
        },
        "rules in both backends of iptables (1 legacy, 2 nft)",
    ),
    warned(
        "conntrack",
        "a full table",
        &[],
        |f| _ = f.file("/proc/sys/net/netfilter/nf_conntrack_count", "65001\n"),
        "65001 of 65536 connections are tracked",
    ),
    refused(
        "conntrack",
        "a kernel without it",
        &[],
        |f| _ = f.files.remove("/proc/sys/net/netfilter/nf_conntrack_max"),
        "has no nf_conntrack",
    ),
    refused(
        "cluster-routes",
        "a VPN with a route into the network of the pods",
        &[],
        |f| route(f, "{\"dst\":\"10.1.32.0/20\",\"dev\":\"tun0\",\"flags\":[]}"),
        "tun0 has a route to 10.1.32.0/20, which is in the network of the cluster's pods, 10.1.0.0/16",
    ),
    refused(
        "lan-interfaces",
        "an interface that does no ARP",
        &[],
        |f| network(f, "\"flags\": [\"BROADCAST\"", "\"flags\": [\"NOARP\", \"BROADCAST\""),
        "does no ARP (NOARP)",
    ),
    warned(
        "lan-interfaces",
        "an interface in a VRF",
        &[],
        |f| {
            network(
                f,
                "{\"info_kind\": \"veth\"}",
                "{\"info_kind\": \"veth\", \"info_slave_kind\": \"vrf\"}, \"master\": \"vrf-blue\"",
            );
        },
        "is in the VRF vrf-blue",
    ),
    warned(
        "lan-settings",
        "a kernel that answers for nothing",
        &[],
        |f| _ = f.file("/proc/sys/net/ipv4/conf/all/arp_ignore", "8\n"),
        "arp_ignore is 8",
    ),
    warned(
        "lan-settings",
        "a strict rp_filter, and another way out",
        &[],
        |f| {
            second_interface(f);
            f.file("/proc/sys/net/ipv4/conf/eth0/rp_filter", "1\n");
        },
        "rp_filter is strict (1), and the default route does not leave by eth0",
    ),
    warned(
        "lan-settings",
        "an interface that forwards nothing while the others do",
        &[],
        |f| {
            f.file("/proc/sys/net/ipv4/conf/all/forwarding", "1\n")
                .file("/proc/sys/net/ipv4/conf/eth0/forwarding", "0\n");
        },
        "the kernel forwards packets, but none that come in by eth0",
    ),
    warned(
        "lan-settings",
        "arp_filter with two interfaces in one network",
        &[],
        |f| {
            second_interface(f);
            f.file("/proc/sys/net/ipv4/conf/all/arp_filter", "1\n");
        },
        "arp_filter is on, and another interface is in the network of eth0",
    ),
    warned(
        "anti-spoofing",
        "OpenStack",
        &[],
        |f| {
            _ = f
                .file("/sys/class/dmi/id/sys_vendor", "OpenStack Foundation\n")
                .file("/sys/class/dmi/id/product_name", "OpenStack Nova\n");
        },
        "this is a VM of OpenStack, whose network may drop answers",
    ),
    warned(
        "anti-spoofing",
        "Azure, by its asset tag",
        &[],
        |f| {
            f.file("/sys/class/dmi/id/sys_vendor", "Microsoft Corporation\n")
                .file("/sys/class/dmi/id/product_name", "Virtual Machine\n")
                .file("/sys/class/dmi/id/chassis_asset_tag", "7783-7084-3265-9085-8269-3286-77\n");
        },
        "this is a VM of Azure",
    ),
    refused(
        "architecture",
        "a 32-bit machine",
        &[],
        |f| _ = f.command("uname -m", 0, "armv7l\n"),
        "the machine is a armv7l",
    ),
    refused("os", "Ubuntu 16.04", &[], |f| system(f, "ubuntu", "16.04"), "too old for MicroK8s"),
    warned("os", "Fedora", &[], |f| system(f, "fedora", "43"), "fedora 43 is not Ubuntu"),
    warned(
        "os",
        "Ubuntu 24.04 and channel 1.20",
        &["--channel", "1.20"],
        |_| (),
        "newer than MicroK8s 1.20 was made for",
    ),
    warned(
        "os",
        "Ubuntu 20.04 and channel 1.35",
        &["--channel", "1.35"],
        |f| system(f, "ubuntu", "20.04"),
        "older than MicroK8s 1.35 was made for",
    ),
    refused(
        "container",
        "LXC without /dev/kmsg",
        &[],
        |f| {
            f.command("systemd-detect-virt --container", 0, "lxc\n").files.remove("/dev/kmsg");
        },
        "(lxc) without /dev/kmsg",
    ),
    refused(
        "container",
        "a docker container",
        &[],
        |f| _ = f.command("systemd-detect-virt --container", 0, "docker\n"),
        "this is a container (docker)",
    ),
    warned(
        "container",
        "WSL with systemd",
        &[],
        |f| _ = f.command("systemd-detect-virt --container", 0, "wsl\n"),
        "this is WSL: addresses of the range are reached by Windows alone",
    ),
    refused(
        "cgroups",
        "cgroup v2 and channel 1.20",
        &["--channel", "1.20"],
        |_| (),
        "MicroK8s 1.20 cannot run on this host, which has cgroup v2",
    ),
    refused(
        "cgroups",
        "cgroup v1 and channel 1.35",
        &["--channel", "1.35"],
        |f| _ = f.files.remove("/sys/fs/cgroup/cgroup.controllers"),
        "MicroK8s 1.35 cannot run on this host, which has cgroup v1",
    ),
    refused(
        "apparmor",
        "AppArmor 4.1 and channel 1.31",
        &["--channel", "1.31"],
        |f| _ = f.command("apparmor_parser --version", 0, "AppArmor parser version 4.1.0~beta5\n"),
        "AppArmor 4.1.0~beta5 would deny sockets",
    ),
    warned(
        "sudo",
        "sudo-rs and channel 1.34",
        &["--channel", "1.34"],
        |f| _ = f.command("sudo --version", 0, "sudo-rs 0.2.8\n"),
        "sudo-rs 0.2.8 does not pass the environment on",
    ),
    refused(
        "kernel-modules",
        "a kernel without vxlan",
        &[],
        |f| _ = f.command("modprobe --dry-run --quiet vxlan", 1, ""),
        "kernel 6.8.0-88-generic lacks vxlan (the pod network Calico)",
    ),
    warned(
        "inotify",
        "128 instances and channel 1.27",
        &["--channel", "1.27"],
        |_| (),
        "128 inotify instances for a user are few",
    ),
    refused(
        "clock",
        "a clock at 1970",
        &[],
        |f| f.now = 3600,
        "the clock says 1970-01-01T01:00:00Z, which is in the past",
    ),
    warned(
        "clock",
        "a clock that is not synchronised",
        &[],
        |f| _ = f.command("timedatectl show --property=NTPSynchronized --value", 0, "no\n"),
        "is not synchronised",
    ),
    refused("disk", "8 GiB free", &[], |f| free(f, 8), "/ has 8 GiB free; at once comes 9 GiB (snap 1 GiB, "),
    warned(
        "disk",
        "16 GiB free",
        &[],
        |f| free(f, 16),
        "it may grow by 40 GiB (claims of IRIS 20 GiB, registry 20 GiB)",
    ),
    refused(
        "disk",
        "a file system of its own for /var/snap, with 3 GiB free",
        &[],
        |f| {
            f.file("/var/snap/lxd/x", "").command("df -Pk /var/snap", 0, &df("/var/snap", 3));
        },
        "/var/snap has 3 GiB free; at once comes 8 GiB (images of the cluster 1 GiB, image of IRIS 5 GiB, first data of IRIS 2 GiB)",
    ),
    refused(
        "disk",
        "MicroK8s is there, and the disk is full",
        &[],
        |f| {
            installed(f);
            free(f, 0);
        },
        "/ has 0 GiB free: below 1 GiB kubelet evicts pods",
    ),
    refused(
        "memory",
        "2 GiB",
        &[],
        |f| memory(f, 1970, 0),
        "the host has 1970 MiB of memory; 3072 MiB are needed (1536 for Kubernetes, 1536 for 2 of IRIS)",
    ),
    warned("memory", "3.2 GiB", &[], |f| memory(f, 3277, 0), "it will be tight"),
    warned("swap", "2 GiB in use", &[], |f| memory(f, 4000, 2048), "2048 of 4096 MiB of swap are in use"),
    refused(
        "cpu",
        "3 instances on one core",
        &["--replicas", "3"],
        |f| cores(f, 1),
        "the host has 1 core; pods ask for 1100 thousandths",
    ),
    warned("cpu", "one core", &["--replicas", "1"], |f| cores(f, 1), "everything will be slow"),
    refused(
        "iris-cores",
        "32 cores",
        &[],
        |f| cores(f, 32),
        "the host has 32 cores; the licence of intersystems/iris-community:latest-em allows 20",
    ),
    refused(
        "iris-cores",
        "12 cores and an image of 2022",
        &["--image", "intersystemsdc/iris-community:2022.1.0.209.0-zpm"],
        |f| cores(f, 12),
        "allows 8",
    ),
    warned(
        "iris-image",
        "an image of 2025, in November 2026",
        &["--image", "intersystems/iris-community:2025.1"],
        |_| (),
        "has most likely run out",
    ),
    refused(
        "iris-memory",
        "a CPF that leaves the buffers to IRIS, on a large host",
        &["--profile", "tests/data/greedy.toml"],
        |f| _ = f.file("/proc/meminfo", "MemTotal: 16777216 kB\nSwapTotal: 0 kB\nSwapFree: 0 kB\n"),
        "IRIS would take 4951 MiB (globals 4096, which is a quarter of the host's memory, routines 409, heap 256, journal 64, its processes 126), \
         and an instance gets at most 2048 MiB (iris.memory_limit)",
    ),
    warned(
        "iris-memory",
        "a CPF with large buffers for the journal",
        &["--profile", "tests/data/journal.toml"],
        |f| memory(f, 16_384, 0),
        "IRIS would take 1594 MiB (globals 64, routines 80, heap 300, journal 1024, its processes 126), and an instance asks for only \
         768 MiB (iris.memory_request)",
    ),
    refused(
        "memory",
        "the same on a host that has no more than what is asked for",
        &["--profile", "tests/data/journal.toml"],
        |f| memory(f, 4096, 0),
        "4724 MiB are needed (1536 for Kubernetes, 3188 for 2 of IRIS)",
    ),
    warned(
        "cpf-directory",
        "a database outside of the volumes, and somebody who knows better",
        &["--profile", "tests/data/outside.toml", "--skip-check", "cpf-directory"],
        |_| (),
        "line 2 of the CPF: the database in `/usr/irissys/mgr/ORDERS` would be lost with its pod",
    ),
    refused(
        "host-name",
        "a capital letter and an underscore",
        &[],
        |f| _ = f.file("/proc/sys/kernel/hostname", "My_VM\n"),
        "`My_VM` cannot be a node's name",
    ),
    warned(
        "host-name",
        "localhost",
        &[],
        |f| _ = f.file("/proc/sys/kernel/hostname", "localhost\n"),
        "the host is called `localhost`",
    ),
    warned(
        "host-name",
        "a name that is not in /etc/hosts",
        &[],
        |f| _ = f.file("/etc/hosts", "127.0.0.1 localhost\n"),
        "this host cannot resolve its own name `vm1`",
    ),
    refused(
        "host-address",
        "another one than when MicroK8s was set up",
        &[],
        |f| {
            installed(f);
            let node = json!({"metadata": {"name": "vm1"}, "status": {"addresses": [{"type": "InternalIP", "address": "192.168.11.7"}]}});
            f.file("/var/snap/microk8s/current/certs/server.crt", "").objects("nodes", vec![node]);
            f.api.insert("/readyz".to_owned(), "ok".to_owned());
        },
        "the host's address is now 192.168.11.49 (eth0); MicroK8s was set up when it was 192.168.11.7",
    ),
    refused(
        "ports",
        "another kubelet",
        &[],
        |f| {
            listens(f, "*:10250 *:* users:((\"kubelet\",pid=77,fd=20))");
            f.link("/proc/77/exe", "/usr/bin/kubelet").file("/proc/77/cgroup", "0::/system.slice/kubelet.service\n");
        },
        "10250 (kubelet): kubelet, process 77",
    ),
    refused("default-route", "none", &[], |f| _ = f.command("ip -j -d route", 0, "[]"), "there is no default route"),
    warned(
        "dns",
        "no name server",
        &[],
        |f| {
            f.file("/etc/resolv.conf", "# empty\n").files.remove("/run/systemd/resolve/resolv.conf");
        },
        "there is no name server in /etc/resolv.conf",
    ),
    warned(
        "dns",
        "only dnsmasq on the loopback",
        &[],
        |f| {
            f.file("/etc/resolv.conf", "nameserver 127.0.0.1\n").files.remove("/run/systemd/resolve/resolv.conf");
        },
        "on this host's own loopback",
    ),
    warned(
        "forwarding",
        "ufw is on",
        &[],
        |f| {
            _ = f
                .file("/etc/ufw/ufw.conf", "ENABLED=yes\n")
                .file("/etc/default/ufw", "DEFAULT_FORWARD_POLICY=\"DROP\"\n");
        },
        "ufw is on and drops what is forwarded",
    ),
    warned(
        "forwarding",
        "docker",
        &[],
        |f| {
            _ = f
                .command("iptables -S FORWARD", 0, "-P FORWARD DROP\n-A FORWARD -j DOCKER-USER\n")
                .file("/var/run/docker.sock", "");
        },
        "policy for forwarding is DROP (docker sets it)",
    ),
    warned(
        "proxy",
        "only in this shell",
        &[],
        |f| _ = f.file("/proc/self/environ", "https_proxy=http://me:secret@proxy:3128\0"),
        "the proxy proxy:3128 is set for this command, but not in /etc/environment",
    ),
    warned(
        "proxy",
        "NO_PROXY without the cluster",
        &[],
        |f| _ = f.file("/etc/environment", "HTTPS_PROXY=http://proxy:3128\nNO_PROXY=localhost,192.168.0.0/16\n"),
        "NO_PROXY in /etc/environment lacks 10.1.0.0/16, 10.152.183.0/24",
    ),
    refused("kubernetes", "k3s", &[], |f| _ = f.file("/etc/rancher/k3s/k3s.yaml", ""), "k3s is on this host"),
    refused(
        "kubernetes",
        "kubeadm",
        &[],
        |f| _ = f.file("/etc/kubernetes/admin.conf", ""),
        "Kubernetes of kubeadm is on this host",
    ),
    refused(
        "kubernetes",
        "the snap k8s",
        &[],
        |f| _ = f.snapd("/v2/snaps/k8s", json!({"name": "k8s"})),
        "Canonical Kubernetes (the snap k8s)",
    ),
    warned(
        "leftovers",
        "containers in /run/containerd",
        &[],
        |f| {
            _ = f
                .file("/run/containerd/io.containerd.runtime.v2.task/k8s.io/ab/config.json", "")
                .file("/sys/class/net/vxlan.calico/mtu", "1450");
        },
        "left 1 containers in /run/containerd/io.containerd.runtime.v2.task/k8s.io and the network device vxlan.calico",
    ),
    warned(
        "kubectl",
        "/usr/local/bin/kubectl",
        &[],
        |f| _ = f.file("/usr/local/bin/kubectl", ""),
        "another kubectl (/usr/local/bin/kubectl): the short name for MicroK8s' own will be `kubectl2`",
    ),
    refused(
        "snapd",
        "snapd does not answer",
        &[],
        |f| _ = f.snapd("/v2/system-info", json!(null)),
        "snapd does not answer",
    ),
    refused(
        "snapd-version",
        "snapd 2.51",
        &[],
        |f| _ = f.snapd("/v2/system-info", json!({"version": "2.51.1+20.04"})),
        "snapd 2.51.1+20.04 is too old for MicroK8s 1.36",
    ),
    warned(
        "snapd-seeded",
        "the first boot",
        &[],
        |f| _ = f.snapd("/v2/snaps/system/conf?keys=seed.loaded", json!("option-not-found")),
        "has not finished its first start",
    ),
    warned(
        "snapd-busy",
        "an auto-refresh",
        &[],
        |f| {
            _ = f.snapd(
                "/v2/changes?select=in-progress",
                json!([{"id": "7", "kind": "auto-refresh", "summary": "Auto-refresh snaps \"core22\", \"snapd\""}]),
            );
        },
        "snapd is busy: Auto-refresh snaps \"core22\", \"snapd\" (change 7)",
    ),
    refused(
        "store",
        "the store does not answer",
        &[],
        |f| _ = f.snapd("/v2/find?name=microk8s", json!("dial tcp: lookup api.snapcraft.io: connection refused")),
        "the snap store does not answer",
    ),
    warned(
        "store",
        "the store has a bad moment",
        &[],
        |f| {
            _ = f.snapd(
                "/v2/find?name=microk8s",
                json!(
                    "got unexpected HTTP status code 503 via GET to \"https://api.snapcraft.io/v2/snaps/info/microk8s\""
                ),
            );
        },
        "the snap store answers, but not with what was asked for",
    ),
    refused(
        "store",
        "a channel that is not published",
        &["--channel", "1.33"],
        |_| (),
        "does not publish MicroK8s in the channel 1.33/stable",
    ),
    warned(
        "channel",
        "a minor that nobody tried",
        &["--channel", "1.37"],
        |f| {
            let channels = &mut f.snapd.get_mut("/v2/find?name=microk8s").expect("the store")[0]["channels"];
            channels["1.37/stable"] = json!({"version": "v1.37.0", "size": 200_000_000});
        },
        "MicroK8s 1.37 is newer than 1.36, the newest one that this tool knows: it is driven as if it were 1.36",
    ),
    warned(
        "channel",
        "a minor whose life has ended",
        &["--channel", "1.34"],
        |_| (),
        "MicroK8s 1.34 reached its end of life on 2026-10-27",
    ),
    refused(
        "addons",
        "an addon that is gone",
        &["--profile", DASHBOARD],
        |_| (),
        "MicroK8s 1.36 no longer has the addon dashboard",
    ),
    warned(
        "registries",
        "docker.io cannot be reached",
        &[],
        |f| _ = f.unreachable.insert("registry-1.docker.io".to_owned()),
        "images may not be pulled from docker.io: connection refused",
    ),
    warned(
        "registries",
        "the registry of IRIS cannot be reached",
        &["--image", "containers.intersystems.com/intersystems/iris-community:2026.1"],
        |f| _ = f.unreachable.insert("containers.intersystems.com".to_owned()),
        "images may not be pulled from containers.intersystems.com",
    ),
    refused(
        "longhorn-container",
        "a container",
        ON_LONGHORN,
        |f| _ = f.command("systemd-detect-virt --container", 0, "lxc\n"),
        "this is a container (lxc): iSCSI, which Longhorn's volumes are, does not work in one",
    ),
    refused(
        "longhorn-mounts",
        "mounts that nobody else sees",
        ON_LONGHORN,
        |f| _ = f.command("findmnt --noheadings --output PROPAGATION --target /", 0, "private\n"),
        "mounts below / are private",
    ),
    refused(
        "longhorn-folder",
        "btrfs",
        ON_LONGHORN,
        |f| {
            f.command("findmnt --noheadings --output FSTYPE --target /var/lib", 0, "btrfs\n");
            f.command("findmnt --noheadings --output FSTYPE --target /", 0, "btrfs\n");
        },
        "would lie on btrfs: Longhorn needs the extents of ext4 or xfs",
    ),
    refused(
        "longhorn-folder",
        "a link",
        ON_LONGHORN,
        |f| _ = f.link("/var/lib/longhorn", "/data/longhorn"),
        "/var/lib/longhorn is a link (to /data/longhorn)",
    ),
    refused(
        "longhorn-space",
        "a disk of 20 GiB: 70 % of it are promised at most, and four claims ask for 20",
        ON_LONGHORN,
        |f| {
            for path in ["/var/lib", "/var", "/"] {
                f.command(&format!("df -Pk {path}"), 0, &df("/", 20));
            }
        },
        "4 claims ask for 20.0 GiB of /",
    ),
    refused(
        "longhorn-cpu",
        "one core",
        &["--storage", "longhorn", "--replicas", "4"],
        |f| _ = f.file("/proc/cpuinfo", "processor\t: 0\nmodel name\t: x\n"),
        "not all of them would be started",
    ),
    refused(
        "longhorn-iscsi",
        "a kernel without the module, and no package of it",
        ON_LONGHORN,
        |f| _ = f.command("modprobe --dry-run --quiet iscsi_tcp", 1, ""),
        "lacks iscsi_tcp, without which no volume is attached",
    ),
    refused(
        "longhorn-multipath",
        "multipathd that joins a disk",
        ON_LONGHORN,
        |f| {
            f.command("systemctl is-active multipathd.service", 0, "active\n");
            f.command("multipath -ll", 0, "mpatha (3600508b4) dm-0 VENDOR,DISK\n");
        },
        "multipathd joins paths to disks of this host (mpatha",
    ),
    refused(
        "longhorn-download",
        "nobody who has the manifest",
        ON_LONGHORN,
        |f| _ = f.unreachable.insert("raw.githubusercontent.com".to_owned()),
        "Longhorn's manifest cannot be fetched",
    ),
    refused("lb.gateway", "a range with the router in it", &["--lb", "192.168.11.1-20"], |_| (), "the gateway"),
    refused(
        "lb.in-use",
        "a printer in the range",
        &[],
        |f| _ = f.neighbours.insert("192.168.11.120".parse().unwrap(), "00:80:77:31:00:01".to_owned()),
        "192.168.11.120 is in use: 00:80:77:31:00:01 answers for it",
    ),
];

#[test]
fn every_check_fires() {
    println!("| id | | how it was provoked | message | hint |\n|---|---|---|---|---|");
    let mut wrong = Vec::new();
    for case in CASES {
        let mut facts = if case.flags.starts_with(ON_LONGHORN) { with_longhorn() } else { good() };
        (case.spoil)(&mut facts);
        let findings = look(facts, case.flags);
        let of_check: Vec<&Finding> = findings.iter().filter(|f| f.id == case.id).collect();
        let right = |f: &&&Finding| f.severity == case.severity && f.message.contains(case.says) && !f.hint.is_empty();
        let Some(found) = of_check.iter().find(right) else {
            wrong.push(format!("{}, {}: {of_check:#?}", case.id, case.what));
            continue;
        };
        let Finding { id, severity, message, hint, .. } = found;
        println!("| {id} | {severity:?} | {} | {message} | {hint} |", case.what);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let fired: BTreeSet<&str> = CASES.iter().map(|c| c.id).collect();
    let silent: Vec<&str> =
        iris_mk8s::stack::checks::HOST.iter().map(|c| c.id).filter(|id| !fired.contains(id)).collect();
    assert!(silent.is_empty(), "never seen to fire: {silent:?}");
}

/// What looks bad and is not.
#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn what_is_no_trouble_is_not_told() {
    type Quiet = (&'static str, &'static str, fn(&mut Facts));
    let cases: &[Quiet] = &[
        ("ports", "MicroK8s itself, by its program", |f| {
            listens(f, "*:16443 *:* users:((\"kubelite\",pid=88,fd=20))");
            f.link("/proc/88/exe", "/snap/microk8s/8001/kubelite");
        }),
        ("ports", "MicroK8s itself, by its control group", |f| {
            listens(f, "127.0.0.1:19001 *:* users:((\"python3\",pid=89,fd=20))");
            f.link("/proc/89/exe", "/usr/bin/python3")
                .file("/proc/89/cgroup", "0::/system.slice/snap.microk8s.daemon-k8s-dqlite.service\n");
        }),
        ("ports", "another port with the same digits", |f| listens(f, "*:1643 *:* users:((\"x\",pid=90,fd=20))")),
        ("forwarding", "DROP, but Calico accepts its own", |f| {
            f.command(
                "iptables -S FORWARD",
                0,
                "-P FORWARD DROP\n-A FORWARD -m comment --comment \"cali:x\" -j cali-FORWARD\n",
            );
        }),
        ("forwarding", "no iptables at all", |f| _ = f.commands.remove("iptables -S FORWARD")),
        ("proxy", "NO_PROXY covers the cluster by wider networks", |f| {
            f.file(
                "/etc/environment",
                "HTTPS_PROXY=\"http://proxy:3128\"\nno_proxy=127.0.0.0/8,10.0.0.0/8,192.168.0.0/16,.svc\n",
            );
        }),
        ("apparmor", "no AppArmor", |f| _ = f.files.remove("/sys/module/apparmor/parameters/enabled")),
        ("sudo", "no sudo", |f| _ = f.commands.remove("sudo --version")),
        ("kernel-modules", "a container has its host's kernel", |f| {
            f.command("systemd-detect-virt --container", 0, "systemd-nspawn\n").command(
                "modprobe --dry-run --quiet vxlan",
                1,
                "",
            );
        }),
        ("host-name", "systemd knows the host's own name", |f| {
            f.file("/etc/hosts", "").file("/etc/nsswitch.conf", "hosts: files mymachines dns myhostname\n");
        }),
        ("host-address", "the one that MicroK8s was set up with", |f| {
            installed(f);
            let node = json!({"metadata": {"name": "vm1"}, "status": {"addresses": [{"type": "InternalIP", "address": "192.168.11.49"}]}});
            f.file("/var/snap/microk8s/current/certs/server.crt", "").objects("nodes", vec![node]);
            f.api.insert("/readyz".to_owned(), "ok".to_owned());
        }),
        ("os", "Debian 12", |f| system(f, "debian", "12")),
        ("leftovers", "containers of docker", |f| {
            _ = f.file("/run/containerd/io.containerd.runtime.v2.task/moby/ab/config.json", "");
        }),
        ("disk", "MicroK8s and its images are there", |f| {
            installed(f);
            free(f, 5);
        }),
        ("cgroup-controllers", "cgroup v1 with all of them", |f| {
            f.files.remove("/sys/fs/cgroup/cgroup.controllers");
            f.file(
                "/proc/cgroups",
                "#subsys_name\thierarchy\tnum_cgroups\tenabled\ncpu\t3\t1\t1\nmemory\t4\t1\t1\npids\t5\t1\t1\n",
            );
        }),
        ("programs", "an old layout with /bin and /sbin", |f| {
            f.files.retain(|path, _| !path.starts_with("/usr/"));
            f.file("/bin/mount", "").file("/bin/umount", "").file("/sbin/modprobe", "");
        }),
        ("squashfs", "a module that is not loaded yet", |f| {
            f.file("/proc/filesystems", "\text4\n").command("modprobe --dry-run --quiet squashfs", 0, "");
        }),
        ("squashfs", "a container that mounts snaps by FUSE", |f| {
            f.file("/proc/filesystems", "\text4\n").file("/usr/bin/squashfuse", "");
        }),
        ("selinux", "SELinux permissive", |f| _ = f.file("/sys/fs/selinux/enforce", "0")),
        ("cpu-level", "a processor of today", |f| {
            f.file(
                "/proc/cpuinfo",
                "processor\t: 0\nflags\t\t: cx16 lahf_lm popcnt sse4_1 sse4_2 ssse3 avx2\nprocessor\t: 1\n",
            );
        }),
        ("cpu-level", "ARM", |f| _ = f.file("/proc/cpuinfo", "processor\t: 0\nFeatures\t: fp asimd\nprocessor\t: 1\n")),
        ("noexec", "noexec where nothing of MicroK8s is run", |f| {
            for point in ["/tmp", "/home", "/var/lib", "/var/log"] {
                mounted(f, point, "ext4", "rw,noexec");
            }
        }),
        ("noexec", "a disk of its own below a hardened /var", |f| {
            mounted(f, "/var", "ext4", "rw,noexec");
            mounted(f, "/var/snap", "ext4", "rw");
        }),
        ("file-system", "XFS", |f| mounted(f, "/var/snap", "xfs", "rw")),
        ("folders", "a sticky folder for everybody", |f| stats(f, "755:0:/\n1777:0:/var\n")),
        ("hidepid", "hidepid=0", |f| mounted(f, "/proc", "proc", "rw,hidepid=0")),
        ("disk-latency", "one slow write of many", |f| {
            f.writes = vec![std::time::Duration::from_millis(2); 99];
            f.writes.push(std::time::Duration::from_millis(400));
        }),
        ("disk-latency", "a hiccup among few writes", |f| {
            f.writes = [2, 700, 3].map(std::time::Duration::from_millis).to_vec();
        }),
        ("huge-pages", "none", |f| {
            f.file("/proc/meminfo", "MemTotal: 16777216 kB\nHugePages_Total:       0\nHugepagesize:       2048 kB\n");
        }),
        ("host-name-length", "exactly 52 characters", |f| {
            f.file("/proc/sys/kernel/hostname", &format!("{}\n", "a".repeat(52)));
        }),
        ("home", "a home elsewhere that snapd knows of", |f| {
            f.command("getent passwd ubuntu", 0, "ubuntu:x:1000:1000::/data/home/ubuntu:/bin/bash\n")
                .snapd("/v2/snaps/system/conf?keys=homedirs", json!({"homedirs": "/srv,/data/home/"}));
        }),
        ("home", "root", |f| _ = f.command("getent passwd ubuntu", 0, "root:x:0:0:root:/root:/bin/bash\n")),
        ("name-servers", "one that knows no name of the world", |f| {
            f.known.insert("registry-1.docker.io".to_owned(), 0);
        }),
        ("search-domains", "an ordinary search domain", |f| {
            f.file("/run/systemd/resolve/resolv.conf", "nameserver 192.168.11.1\nsearch corp.example\n");
        }),
        ("firewall", "ufw with a rule for pods", |f| {
            f.file("/etc/ufw/ufw.conf", "ENABLED=yes\n")
                .file("/etc/default/ufw", "DEFAULT_INPUT_POLICY=\"DROP\"\nDEFAULT_FORWARD_POLICY=\"ACCEPT\"\n")
                .file("/etc/ufw/user.rules", "-A ufw-user-input -s 10.1.0.0/16 -j ACCEPT\n");
        }),
        ("firewall", "firewalld that trusts pods", |f| firewalld(f, "public", "trusted")),
        ("firewall", "firewalld that trusts everybody", |f| firewalld(f, "trusted", "")),
        ("firewall", "nftables with a rule for pods", |f| nft(f, "forward", "ip saddr 10.0.0.0/8 accept")),
        ("iptables", "nft alone, with tables of the old one that are empty", |f| {
            f.file("/proc/net/ip_tables_names", "filter\n");
            f.command("iptables-legacy -S", 0, "-P INPUT ACCEPT\n").command("iptables-nft -S", 0, "-A FORWARD -j X\n");
        }),
        ("iptables", "no tables of the old one: it is not asked", |f| {
            f.command("iptables-legacy -S", 0, "-A INPUT -j X\n").command("iptables-nft -S", 0, "-A FORWARD -j X\n");
        }),
        ("conntrack", "a module that is not loaded yet", |f| {
            f.files.remove("/proc/sys/net/netfilter/nf_conntrack_max");
            f.command("modprobe --dry-run --quiet nf_conntrack", 0, "");
        }),
        ("cluster-routes", "a VPN with a wider network", |f| {
            route(f, "{\"dst\":\"10.0.0.0/8\",\"dev\":\"tun0\",\"flags\":[]}");
        }),
        ("lan-settings", "a strict rp_filter where there is one way out", |f| {
            f.file("/proc/sys/net/ipv4/conf/all/rp_filter", "1\n")
                .file("/proc/sys/net/ipv4/conf/all/arp_filter", "1\n");
        }),
        ("lan-settings", "a host that forwards nothing yet", |f| {
            f.file("/proc/sys/net/ipv4/conf/all/forwarding", "0\n")
                .file("/proc/sys/net/ipv4/conf/eth0/forwarding", "0\n");
        }),
        ("lan-settings", "arp_ignore as load balancers set it", |f| {
            f.file("/proc/sys/net/ipv4/conf/all/arp_ignore", "1\n");
        }),
        ("lan-interfaces", "an interface without ARP, elsewhere", |f| {
            let links = &mut f.commands.get_mut("ip -j -d addr").unwrap().1;
            links.insert_str(links.rfind(']').unwrap(), ",{\"ifindex\":9,\"ifname\":\"wg0\",\"flags\":[\"POINTOPOINT\",\"NOARP\",\"UP\"],\"link_type\":\"none\",\"addr_info\":[{\"family\":\"inet\",\"local\":\"10.9.0.2\",\"prefixlen\":24,\"scope\":\"global\"}]}");
        }),
        ("anti-spoofing", "QEMU", |f| _ = f.file("/sys/class/dmi/id/sys_vendor", "QEMU\n")),
        ("anti-spoofing", "a server of Huawei's", |f| {
            f.file("/sys/class/dmi/id/sys_vendor", "Huawei\n").file("/sys/class/dmi/id/product_name", "2288H V5\n");
        }),
        ("snapd-seeded", "it is", |_| ()),
        ("snapd-busy", "an installation of something else", |f| {
            f.snapd("/v2/changes?select=in-progress", json!([{"id": "3", "kind": "install-snap", "summary": "x"}]));
        }),
        ("store", "no store is needed for what is there", |f| {
            installed(f);
            f.snapd("/v2/find?name=microk8s", json!(null));
        }),
    ];
    let mut wrong = Vec::new();
    for (id, what, change) in cases {
        let mut facts = good();
        change(&mut facts);
        let told = look(facts, &[]).into_iter().filter(|f| f.id == *id && f.severity != Severity::Fine);
        wrong.extend(told.map(|finding| format!("{id}, {what}: {finding:#?}")));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn preflight(facts: Facts, flags: &[&str]) -> Vec<Probe> {
    let (host, spec) = (Recorded::new(facts), spec(flags));
    let dir = tempfile::tempdir().unwrap();
    let credentials = Credentials::load_or_make(&Place { dir: dir.path().to_owned() }, None, None).unwrap();
    let stage = stack::catalog(&spec, &credentials).swap_remove(0);
    assert_eq!(stage.id, "preflight");
    stage.steps.iter().map(|step| step.probe(&host).unwrap()).collect()
}

#[test]
fn all_that_is_wrong_is_told_at_once_each_with_its_name_and_hint() {
    let mut facts = good();
    memory(&mut facts, 1024, 0);
    facts.file("/proc/sys/kernel/hostname", "Big\n").file("/usr/bin/kubectl", "");
    let probes = preflight(facts, &["--lb", "192.168.11.1-20"]);
    let [_, Probe::Refused { why, hint }, Probe::Refused { why: range, .. }] = &probes[..] else {
        panic!("{probes:?}")
    };
    let lines: Vec<&str> = why.lines().map(|l| l.split(": ").next().unwrap()).collect();
    assert_eq!(lines, ["memory", "host-name", "warning"], "{why}");
    assert!(hint.starts_with("memory: give the VM 4 GiB or more"), "{hint}");
    assert!(hint.ends_with("whoever knows better: `--skip-check memory` makes a warning of it"), "{hint}");
    assert!(range.contains("lb.gateway: 192.168.11.1 is the gateway"), "{range}");
}

#[test]
fn what_is_skipped_is_still_told() {
    let mut facts = good();
    memory(&mut facts, 1024, 0);
    facts.neighbours.insert("192.168.11.120".parse().unwrap(), "00:80:77:31:00:01".to_owned());
    let probes = preflight(facts, &["--skip-check", "memory", "--skip-check", "lb.in-use"]);
    let [_, Probe::Satisfied { warnings, .. }, Probe::Satisfied { warnings: of_range, .. }] = &probes[..] else {
        panic!("{probes:?}")
    };
    assert!(warnings.len() == 1 && warnings[0].starts_with("memory: the host has 1024 MiB"), "{warnings:?}");
    assert!(warnings[0].contains("ignored: --skip-check"), "{warnings:?}");
    assert!(of_range.len() == 1 && of_range[0].starts_with("lb.in-use: "), "{of_range:?}");
}

#[test]
fn what_is_vital_cannot_be_skipped() {
    let known = iris_mk8s::stack::checks::skippable();
    for vital in ["snapd", "cgroups", "host-name", "architecture", "snapd-version", "lb.gateway", "lb.node"] {
        assert!(!known.contains(&vital), "{vital}");
    }
    assert!(known.contains(&"memory") && known.contains(&"lb.in-use"));
    let vital: Vec<&str> = iris_mk8s::stack::checks::HOST.iter().filter(|c| c.vital).map(|c| c.id).collect();
    assert_eq!(vital, ["architecture", "cgroups", "host-name", "snapd", "snapd-version"]);
}

#[test]
fn the_lan_is_asked_only_about_addresses_that_metallb_has_not_got() {
    let asked = |pool: Option<&str>| {
        let mut facts = good();
        installed(&mut facts);
        if let Some(addresses) = pool {
            facts.api.insert("/readyz".to_owned(), "ok".to_owned());
            let pool = json!({"metadata": {"name": "default-addresspool", "namespace": "metallb-system"}, "spec": {"addresses": [addresses]}});
            facts.objects("ipaddresspools", vec![pool]);
        }
        let host = Recorded::new(facts);
        let spec = spec(&[]);
        iris_mk8s::stack::check::run(&Seen::read(&host, &spec), &[&iris_mk8s::stack::checks::RANGE]);
        host.asked.into_inner().unwrap()
    };
    assert_eq!(asked(None), ["192.168.11.110-192.168.11.130"], "a cluster that does not answer");
    assert_eq!(asked(Some("192.168.11.110-192.168.11.130")), Vec::<String>::new(), "the pool is as wanted");
    assert_eq!(asked(Some("192.168.11.100-192.168.11.120")), ["192.168.11.121-192.168.11.130"], "the new part");
}

#[test]
fn auto_takes_what_is_free_at_the_top_and_keeps_what_it_took() {
    let channel = spec(&[]).channel;
    let found = |facts: Facts, before: Option<&str>| {
        let before = before.map(|range| range.parse().unwrap());
        let (range, why) = proposal::find(&Recorded::new(facts), before.as_ref(), &channel, 20).unwrap();
        (range.to_string(), why)
    };
    let mut busy = good();
    for host in ["192.168.11.240", "192.168.11.254", "192.168.11.60"] {
        busy.neighbours.insert(host.parse().unwrap(), "00:80:77:31:00:01".to_owned());
    }
    let (range, why) = found(busy.clone(), None);
    assert_eq!(range, "192.168.11.220-192.168.11.239");
    assert!(why.contains("192.168.11.240 (in use)"), "{why}");
    assert_eq!(found(busy.clone(), Some("192.168.11.110-115")).0, "192.168.11.110-192.168.11.115");
    busy.api.insert("/readyz".to_owned(), "ok".to_owned());
    let pool = json!({"metadata": {"name": "default-addresspool", "namespace": "metallb-system"},
        "spec": {"addresses": ["192.168.11.30-192.168.11.35"]}});
    busy.objects("ipaddresspools", vec![pool]);
    assert_eq!(found(busy, None).0, "192.168.11.30-192.168.11.35");
    let mut alone = good();
    alone.command("ip -j -d addr", 0, "[]");
    let error = proposal::find(&Recorded::new(alone), None, &channel, 20).unwrap_err();
    assert_eq!(error.code, ExitCode::Preflight, "{error}");
}

#[test]
fn the_command_line_knows_auto_and_what_may_be_skipped() {
    let parse = |flags: &[&str]| {
        let words = ["iris-mk8s", "bootstrap"].iter().chain(flags);
        cli::parse(words.map(Into::into), &commands::offered()).map(|cli| match cli.command {
            Command::Bootstrap(options) => options.spec,
            other => panic!("{other:?}"),
        })
    };
    assert_eq!(parse(&["--lb", "auto", "--lb-size", "8"]).unwrap().lb, Some(Lb::Auto));
    assert!(parse(&["--lb", "automatic"]).is_err());
    assert!(parse(&["--lb", "auto", "--lb-size", "0"]).is_err());
    assert_eq!(parse(&["--skip-check", "memory"]).unwrap().skip_check, ["memory"]);
    let refusal = parse(&["--skip-check", "snapd"]).unwrap_err().to_string();
    assert!(refusal.contains("possible values:") && refusal.contains("memory"), "{refusal}");
}

/// A cluster that is there already: nothing that speaks with it would get further.
#[test]
fn certificates_that_are_over_or_not_yet_valid_are_told_before_anything_is_changed() {
    const FOLDER: &str = "/var/snap/microk8s/current/certs";
    let with = |what: &str, date: &str| {
        let mut facts = good();
        installed(&mut facts);
        facts.file(&format!("{FOLDER}/server.crt"), "");
        for (option, usual) in [
            ("-enddate", "notAfter=Nov  1 07:07:01 2027 GMT\n"),
            ("-startdate", "notBefore=Nov  1 07:07:01 2026 GMT\n"),
        ] {
            let said = if option == what { date } else { usual };
            facts.command(&format!("openssl x509 -noout {option} -in {FOLDER}/server.crt"), 0, said);
        }
        preflight(facts, &[]).swap_remove(1)
    };
    assert!(
        matches!(with("", ""), Probe::Satisfied { warnings, .. } if !warnings.iter().any(|w| w.contains("certificate")))
    );
    let Probe::Satisfied { warnings, .. } = with("-enddate", "notAfter=Dec  4 07:07:01 2026 GMT\n") else {
        panic!("soon")
    };
    let soon = "certificates: the certificate of the API server (server.crt) ends on 2026-12-04, in 10 days (`sudo microk8s refresh-certs --cert server.crt`";
    assert!(warnings.iter().any(|w| w.starts_with(soon)), "{warnings:?}");
    let Probe::Refused { why, .. } = with("-enddate", "notAfter=Nov  4 07:07:01 2026 GMT\n") else { panic!("over") };
    assert!(why.contains("(server.crt) ended on 2026-11-04"), "{why}");
    let Probe::Refused { why, .. } = with("-startdate", "notBefore=Jan  1 00:00:00 2027 GMT\n") else {
        panic!("not yet")
    };
    assert!(why.contains("certificate-start: the certificate of the API server is valid from 2027-01-01"), "{why}");
}
