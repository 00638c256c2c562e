//! Whether this MicroK8s runs on this system: machine, release, container, control groups, AppArmor, sudo, kernel, clock.

use crate::{
    config::version::{Channel, Minor},
    error::{Result, finding::Finding},
    stack::facts::Facts,
};

/// Machines that both MicroK8s and the images of IRIS are made for.
const MACHINES: &[&str] = &["x86_64", "aarch64"];

pub(crate) fn architecture(facts: &Facts<'_>) -> Result<Vec<Finding>> {
    let machine = facts.ask(&["uname", "-m"])?.map(|o| o.stdout.trim().to_owned()).unwrap_or_default();
    Ok(vec![if MACHINES.contains(&machine.as_str()) {
        Finding::fine(machine)
    } else {
        Finding::refused(
            format!("the machine is a {machine}; images of IRIS are made for {}", MACHINES.join(" and ")),
            "use such a machine",
        )
    }])
}

/// What a release of Ubuntu brings decides which channels were made for it. The values themselves are measured by the checks below;
/// this table says which release to take instead. From, up to the next line: oldest and newest channel.
const UBUNTU: &[(u32, Minor, Minor)] = &[
    (1804, Minor(1, 20), Minor(1, 34)),       // cgroup v1
    (2110, Minor(1, 22), Minor(1, u32::MAX)), // cgroup v2
    (2504, Minor(1, 32), Minor(1, u32::MAX)), // AppArmor 4.1
    (2510, Minor(1, 35), Minor(1, u32::MAX)), // sudo-rs
];

pub(crate) fn release(facts: &Facts<'_>) -> Result<Vec<Finding>> {
    let text = facts.text("/etc/os-release")?;
    let value = |key: &str| {
        let found = text.lines().find_map(|l| l.strip_prefix(key)?.strip_prefix('='));
        found.map(|v| v.trim().trim_matches('"').to_owned()).unwrap_or_default()
    };
    let (id, version, name) = (value("ID"), value("VERSION_ID"), value("PRETTY_NAME"));
    let number = version
        .split_once('.')
        .and_then(|(year, month)| Some(year.parse::<u32>().ok()? * 100 + month.parse::<u32>().ok()?));
    let minor = facts.spec.channel.minor;
    Ok(vec![match (id.as_str(), number) {
        ("ubuntu", Some(number)) if number < UBUNTU[0].0 => {
            Finding::refused(format!("{name} is too old for MicroK8s"), "use Ubuntu 22.04 or 24.04")
        }
        ("ubuntu", Some(number)) => {
            let row = UBUNTU.iter().rev().find(|(from, ..)| *from <= number).unwrap_or(&UBUNTU[0]);
            let (oldest, newest) = (row.1, row.2);
            if minor < oldest {
                Finding::warned(
                    format!("{name} is newer than MicroK8s {minor} was made for"),
                    format!("take --channel {oldest} or newer"),
                )
            } else if minor > newest {
                Finding::warned(
                    format!("{name} is older than MicroK8s {minor} was made for"),
                    format!("take --channel {newest}, or a newer Ubuntu"),
                )
            } else {
                Finding::fine(name)
            }
        }
        // Its snapd, systemd and kernel are those of an Ubuntu of the same age.
        ("debian", _) if version.parse::<u32>().is_ok_and(|n| n >= 11) => Finding::fine(name),
        _ => Finding::warned(
            format!(
                "{} is not Ubuntu, on which MicroK8s is made and tested",
                if name.is_empty() { "this system" } else { &name }
            ),
            "it may work; if it does not, use Ubuntu 22.04 or 24.04",
        ),
    }])
}

pub(crate) fn container(facts: &Facts<'_>) -> Result<Vec<Finding>> {
    Ok(vec![match facts.container.as_deref() {
        None => Finding::fine("a machine of its own, or a VM"),
        Some(kind @ ("lxc" | "lxc-libvirt")) if !facts.exists("/dev/kmsg") => Finding::refused(
            format!("this is a container ({kind}) without /dev/kmsg, which kubelet needs"),
            "use a VM, or give the container MicroK8s' LXD profile",
        ),
        Some("wsl") => Finding::warned(
            "this is WSL: addresses of the range are reached by Windows alone, unless its network is bridged",
            "for other hosts of the LAN use a VM; snapd needs systemd (`[boot] systemd=true` in /etc/wsl.conf)",
        ),
        Some(kind @ ("docker" | "podman" | "container-other")) => Finding::refused(
            format!("this is a container ({kind}), in which neither snapd nor kubelet has what it needs"),
            "use a VM",
        ),
        Some(kind) => Finding::fine(format!("a container ({kind})")),
    }])
}

pub(crate) fn control_groups(facts: &Facts<'_>) -> Result<Vec<Finding>> {
    let v2 = facts.exists("/sys/fs/cgroup/cgroup.controllers");
    let version = if v2 { "v2" } else { "v1" };
    let minor = facts.spec.channel.minor;
    if facts.spec.channel.row().runs_with(v2) {
        return Ok(vec![Finding::fine(format!("cgroup {version}"))]);
    }
    let channel = Channel::for_host(v2).0;
    let other = if v2 {
        "boot with systemd.unified_cgroup_hierarchy=0, where systemd still allows it"
    } else {
        "use a newer Ubuntu"
    };
    let message = format!("MicroK8s {minor} cannot run on this host, which has cgroup {version}");
    Ok(vec![Finding::refused(message, format!("take a channel that can (--channel {}), or {other}", channel.minor))])
}

pub(crate) fn apparmor(facts: &Facts<'_>) -> Result<Vec<Finding>> {
    if facts.text("/sys/module/apparmor/parameters/enabled")?.trim() != "Y" {
        return Ok(vec![Finding::fine("the kernel does not use AppArmor")]);
    }
    let Some(output) = facts.ask(&["apparmor_parser", "--version"])? else {
        return Ok(vec![Finding::fine("no AppArmor is installed")]);
    };
    // `AppArmor parser version 4.1.0~beta5`
    let version = output.stdout.split_whitespace().skip_while(|w| *w != "version").nth(1).unwrap_or("?").to_owned();
    let channel = &facts.spec.channel;
    Ok(vec![if numbers(&version) < (4, 1) || channel.row().apparmor_4_1 {
        Finding::fine(format!("AppArmor {version}"))
    } else {
        Finding::refused(
            format!("AppArmor {version} would deny sockets to the containers of MicroK8s {}", channel.minor),
            "take --channel auto, which is newer",
        )
    }])
}

pub(crate) fn sudo(facts: &Facts<'_>) -> Result<Vec<Finding>> {
    let Some(output) = facts.ask(&["sudo", "--version"])? else { return Ok(vec![Finding::fine("there is no sudo")]) };
    let version = output.stdout.lines().next().unwrap_or("").to_owned();
    let channel = &facts.spec.channel;
    Ok(vec![if version.contains("sudo-rs") && !channel.row().sudo_rs {
        Finding::warned(
            format!("{version} does not pass the environment on, which commands of MicroK8s {} rely on", channel.minor),
            "make the other sudo the default (`update-alternatives --set sudo /usr/bin/sudo.ws`), or take --channel 1.35 or newer",
        )
    } else {
        Finding::fine(version)
    }])
}

/// Modules, what they are for, and the package with it.
const MODULES: &[(&str, &str)] =
    &[("overlay", "layers of images"), ("br_netfilter", "services"), ("vxlan", "the pod network Calico")];

pub(crate) fn kernel_modules(facts: &Facts<'_>) -> Result<Vec<Finding>> {
    if let Some(kind) = &facts.container {
        return Ok(vec![Finding::fine(format!("the kernel is that of the container's host ({kind})"))]);
    }
    let mut missing = Vec::new();
    for (module, purpose) in MODULES {
        // Loaded or built in; else what would be loaded, without loading it.
        let there = facts.exists(&format!("/sys/module/{module}"))
            || facts.ask(&["modprobe", "--dry-run", "--quiet", module])?.is_some_and(|o| o.ok());
        if !there {
            missing.push(format!("{module} ({purpose})"));
        }
    }
    let release = facts.text("/proc/sys/kernel/osrelease")?.trim().to_owned();
    Ok(vec![if missing.is_empty() {
        Finding::fine(format!("kernel {release} has {}", MODULES.iter().map(|m| m.0).collect::<Vec<_>>().join(", ")))
    } else {
        Finding::refused(
            format!("kernel {release} lacks {}", missing.join(", ")),
            format!("`apt install linux-modules-extra-{release}`, or boot the kernel whose modules are installed"),
        )
    }])
}

/// kubelet, containerd and every pod with a configuration watch files.
const INOTIFY_INSTANCES: u64 = 512;

pub(crate) fn inotify(facts: &Facts<'_>) -> Result<Vec<Finding>> {
    let Some(instances) = facts.number("/proc/sys/fs/inotify/max_user_instances")? else {
        return Ok(vec![Finding::warned(
            "the kernel has no inotify",
            "boot a kernel that has it: Kubernetes watches files",
        )]);
    };
    let channel = &facts.spec.channel;
    Ok(vec![if instances >= INOTIFY_INSTANCES {
        Finding::fine(format!("{instances} inotify instances for a user"))
    } else if channel.row().raises_inotify {
        Finding::fine(format!("{instances} inotify instances for a user; MicroK8s raises it"))
    } else {
        Finding::warned(
            format!(
                "{instances} inotify instances for a user are few, and MicroK8s {} does not raise it: `too many open files`",
                channel.minor
            ),
            "`printf 'fs.inotify.max_user_instances=1024\\nfs.inotify.max_user_watches=1048576\\n' > /etc/sysctl.d/60-inotify.conf; sysctl --system`",
        )
    }])
}

/// This program was not there before.
const FIRST_DAY: u64 = 1_767_225_600; // 2026-01-01

pub(crate) fn clock(facts: &Facts<'_>) -> Result<Vec<Finding>> {
    let now = facts.host.unix_time();
    let shown = i64::try_from(now)
        .ok()
        .and_then(|s| jiff::Timestamp::from_second(s).ok())
        .map(|t| t.to_string())
        .unwrap_or_default();
    if now < FIRST_DAY {
        return Ok(vec![Finding::refused(
            format!("the clock says {shown}, which is in the past: certificates made now would not be valid"),
            "`timedatectl set-ntp true`, or set it by hand: `timedatectl set-time '2026-01-31 12:00'`",
        )]);
    }
    // A container has the clock of its host.
    let asked = if facts.container.is_some() {
        None
    } else {
        facts.ask(&["timedatectl", "show", "--property=NTPSynchronized", "--value"])?
    };
    Ok(vec![if asked.is_some_and(|o| o.stdout.trim() == "no") {
        Finding::warned(
            format!("the clock says {shown} and is not synchronised: certificates and licences depend on it"),
            "`timedatectl set-ntp true`",
        )
    } else {
        Finding::fine(shown)
    }])
}

/// The first two numbers of a version.
pub(crate) fn numbers(version: &str) -> (u32, u32) {
    let mut parts = version.split(['.', '+', '~', '-']).map(|n| n.parse().unwrap_or(0));
    (parts.next().unwrap_or(0), parts.next().unwrap_or(0))
}
