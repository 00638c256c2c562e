//! The modelled commands that answer at once. One that is not known here ends the test with its text.

use iris_mk8s::host::Output;

use super::{host::network_commands, longhorn, microk8s, network, world::World};

fn output(code: i32, stdout: impl Into<String>) -> Output {
    Output { code: Some(code), stdout: stdout.into(), stderr: String::new() }
}

/// A command that only looks.
pub fn read(world: &mut World, words: &[&str]) -> Output {
    if let Some(text) = network_commands(world, words) {
        return output(0, text);
    }
    match words {
        ["getent", "passwd", user] => match world.users.get(*user) {
            Some(home) => output(0, format!("{user}:x:1000:1000::{home}:/bin/bash\n")),
            None => output(2, ""),
        },
        ["getent", "group", group] => match world.groups.get(*group) {
            Some(members) => output(0, format!("{group}:x:1001:{}\n", members.join(","))),
            None => output(2, ""),
        },
        ["systemd-detect-virt", "--container"] => output(1, "none\n"),
        // Facts that the checks of the host ask for: a VM with room, on which nobody else is.
        ["uname", "-m"] => output(0, "x86_64\n"),
        ["sudo", "--version"] => output(0, "Sudo version 1.9.15p5\n"),
        ["dpkg-query", "--show", _, package] => match world.packages.get(*package) {
            Some(state) => output(0, state.clone()),
            None => output(1, ""),
        },
        ["apt-cache", "show", ..] => output(0, "Package: open-iscsi\n"),
        ["apt-get", "--simulate", _, "install", ..] => {
            let missing = APT.iter().filter(|p| !world.packages.contains_key(**p));
            output(0, missing.map(|p| format!("Inst {p} (1.0 Ubuntu:24.04 [amd64])\n")).collect::<String>())
        }
        ["apt-get", "--simulate", "purge", packages @ ..] => {
            output(0, packages.iter().map(|p| format!("Purg {p} [1.0]\n")).collect::<String>())
        }
        ["systemctl", "is-active", unit] => output(if world.units.get(*unit).is_some_and(|u| u.1) { 0 } else { 3 }, ""),
        ["systemctl", "is-enabled", unit] => {
            output(if world.units.get(*unit).is_some_and(|u| u.0) { 0 } else { 1 }, "")
        }
        ["iscsiadm", "-m", "session"] => {
            let lines = world
                .iscsi
                .keys()
                .map(|v| format!("tcp: [1] 10.1.243.5:3260,1 iqn.2019-10.io.longhorn:{v} (non-flash)\n"));
            let lines = lines.collect::<String>() + &world.targets.iter().map(|l| format!("{l}\n")).collect::<String>();
            output(if lines.is_empty() { 21 } else { 0 }, lines)
        }
        ["iscsiadm", "-m", "node"] => output(21, ""),
        ["multipath", "-ll"] => output(0, ""),
        ["findmnt", "--noheadings", "--list", "--output", "SOURCE,TARGET"] => output(
            0,
            longhorn::mounts(world) + &world.mounts.iter().map(|at| format!("/dev/sdb1 {at}\n")).collect::<String>(),
        ),
        ["findmnt", "--noheadings", "--output", "PROPAGATION", "--target", _] => output(0, "shared\n"),
        ["findmnt", "--noheadings", "--output", "FSTYPE", ..] => output(0, "ext4\n"),
        ["modprobe", "--dry-run", "--quiet", _] | ["ss", "-Hltnp"] => output(0, ""),
        ["timedatectl", "show", ..] => output(0, "yes\n"),
        // Nobody has set up a firewall, and what iptables holds is told by the commands of the network.
        ["nft", "--json", "list", "chains"] => output(0, r#"{"nftables": [{"metainfo": {"json_schema_version": 1}}]}"#),
        ["stat", "--format=%a:%u:%n", paths @ ..] => {
            output(0, paths.iter().map(|path| format!("755:0:{path}\n")).collect::<String>())
        }
        ["iptables", "-S", "FORWARD"] => output(0, "-P FORWARD ACCEPT\n"),
        ["du", "--summarize", "--block-size=1", "--", path] => output(0, format!("4096\t{path}\n")),
        ["df", "-Pk", _] => {
            output(0, "Filesystem 1024-blocks Used Available Capacity Mounted on\n/dev/sda1 60000000 1 50000000 1% /\n")
        }
        ["microk8s", "status", "--addon", addon] => {
            if world.files.has(microk8s::STOPPED) {
                return output(0, "microk8s is not running, try microk8s start\n");
            }
            match world.api() {
                Some(cluster) if microk8s::is_enabled(cluster, addon) => output(0, "enabled\n"),
                Some(_) => output(0, "disabled\n"),
                None => output(1, "microk8s is not running. Use microk8s inspect for a deeper inspection.\n"),
            }
        }
        ["systemctl", "list-units", "--state=active", "--plain", "--no-legend", "snap.microk8s.*"] => {
            let active = "snap.microk8s.daemon-containerd.service loaded active running Service for snap application\n";
            output(0, if world.cluster.as_ref().is_some_and(|cluster| cluster.running) { active } else { "" })
        }
        ["systemctl", "list-units", "--all", "--failed", "--plain", "--no-legend", "snap.microk8s.*"] => {
            let failed =
                "snap.microk8s.daemon-kubelite.service not-found failed failed snap.microk8s.daemon-kubelite.service\n";
            output(0, if world.failed_units { failed } else { "" })
        }
        ["systemctl", "list-units", "--all", "--failed", "--plain", "--no-legend", "open-iscsi.*", "iscsid.*"] => {
            output(0, "")
        }
        _ => panic!("the modelled host knows no command {words:?} that reads"),
    }
}

/// What open-iscsi is, and brings.
const APT: [&str; 2] = ["open-iscsi", "libisns0"];

/// The half of an installation that a power cut may leave. True: this was one.
pub fn unpacks(world: &mut World, words: &[&str]) -> bool {
    if !words.contains(&"install") {
        return false;
    }
    for package in APT {
        world.packages.entry(package.to_owned()).or_insert_with(|| "iF".to_owned());
    }
    true
}

fn configure(world: &mut World) {
    for state in world.packages.values_mut().filter(|s| *s == "iF") {
        *state = "ii".to_owned();
    }
    // Its socket is enabled as it comes; its service starts with a knock at it.
    if world.packages.contains_key("open-iscsi") {
        world.units.entry("iscsid.socket".to_owned()).or_insert((true, true));
    }
}

/// A command that changes the host at once.
pub fn change(world: &mut World, words: &[&str], input: &str) -> Output {
    if world.broken.contains(words[0]) {
        return output(1, format!("{}: Operation not permitted\n", words[0]));
    }
    match words {
        ["usermod", "--append", "--groups", group, user] => match world.groups.get_mut(*group) {
            Some(members) if world.users.contains_key(*user) => {
                if !members.iter().any(|m| m == user) {
                    members.push((*user).to_owned());
                }
                output(0, "")
            }
            _ => output(6, ""),
        },
        ["gpasswd", "--delete", user, group] => match world.groups.get_mut(*group) {
            Some(members) if members.iter().any(|m| m == user) => {
                members.retain(|m| m != user);
                output(0, "")
            }
            _ => output(3, ""),
        },
        ["groupdel", group] => output(if world.groups.remove(*group).is_some() { 0 } else { 6 }, ""),
        ["env", _, "apt-get", "--quiet", "--yes", "-o", _, "install", ..] | ["env", _, "dpkg", "--configure", "-a"] => {
            configure(world);
            output(0, "")
        }
        ["env", _, "apt-get", "--quiet", "--yes", "-o", _, "purge", packages @ ..] => {
            for package in packages {
                world.packages.remove(*package);
            }
            world.units.retain(|unit, _| !unit.starts_with("iscsid"));
            output(0, "")
        }
        ["modprobe", "iscsi_tcp"] => {
            world.files.dir("/sys/module/iscsi_tcp");
            output(0, "")
        }
        ["modprobe", "--remove", "iscsi_tcp"] => {
            if world.iscsi.is_empty() {
                world.files.remove("/sys/module/iscsi_tcp");
            } else {
                world.violations.push("the module is taken away while sessions use it".to_owned());
            }
            output(0, "")
        }
        ["systemctl", "enable", "--now", unit] => {
            world.units.insert((*unit).to_owned(), (true, true));
            output(0, "")
        }
        ["systemctl", "reload-or-restart", _] => output(0, ""),
        ["systemctl", "disable", unit] => {
            world.units.entry((*unit).to_owned()).or_default().0 = false;
            output(0, "")
        }
        ["systemctl", "stop", "snap.microk8s.daemon-containerd.service"] => {
            super::cluster::services_stop(world);
            output(0, "")
        }
        ["systemctl", "stop", unit] => {
            world.units.entry((*unit).to_owned()).or_default().1 = false;
            output(0, "")
        }
        ["umount", "--lazy", target] => {
            world.iscsi.retain(|_, uid| !target.contains(uid.as_str()));
            output(0, "")
        }
        ["iscsiadm", "-m", "node", "-T", target, "-p", _, "--logout"] => {
            world.iscsi.retain(|volume, _| !target.ends_with(volume.as_str()));
            output(0, "")
        }
        ["ip", "netns", "delete", name] => {
            let path = format!("/run/netns/{name}");
            let there = world.files.has(&path);
            world.files.remove(path);
            // The kernel takes the links of a namespace away with it.
            if there && *name == network::POD_NAMESPACE.0 {
                world.links.remove(network::POD_LINK);
            }
            output(i32::from(!there), "")
        }
        ["ip", "link", "delete", name] => match world.links.remove(*name) {
            true => output(0, ""),
            false => output(1, format!("Cannot find device \"{name}\"\n")),
        },
        ["systemctl", "reset-failed", "snap.microk8s.daemon-kubelite.service"] => {
            world.failed_units = false;
            output(0, "")
        }
        [program, "--noflush", "--wait", _] if program.ends_with("-nft-restore") => {
            match network::restore(world, usize::from(program.starts_with("ip6")), input) {
                Ok(()) => output(0, ""),
                Err(why) => output(1, format!("{program}: line failed: {why}\n")),
            }
        }
        ["sysctl", "-q", "-w", setting] => {
            let (name, value) = setting.split_once('=').expect("a setting");
            let path = format!("/proc/sys/{}", name.replace('.', "/"));
            if !world.files.has(&path) {
                return output(255, "");
            }
            world.files.write(&path, format!("{value}\n"));
            output(0, "")
        }
        _ => panic!("the modelled host knows no command {words:?} that changes"),
    }
}
