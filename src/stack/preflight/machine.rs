//! What the kernel and the machine bring: controllers of control groups, squashfs, huge pages, SELinux, the processor's level, and the
//! few programs that everything else stands on.

use super::room::memory_value;
use crate::{
    error::{Result, finding::Finding},
    stack::facts::Facts,
};

/// Without these kubelet does not start (Kubernetes, "About cgroup v2"; kubelet's container manager).
const CONTROLLERS: [&str; 3] = ["cpu", "memory", "pids"];

pub(crate) fn controllers(facts: &Facts<'_>) -> Result<Vec<Finding>> {
    let v2 = facts.text("/sys/fs/cgroup/cgroup.controllers")?;
    let (version, there): (&str, Vec<String>) = if facts.exists("/sys/fs/cgroup/cgroup.controllers") {
        ("v2", v2.split_whitespace().map(str::to_owned).collect())
    } else {
        // `NAME HIERARCHY CGROUPS ENABLED`
        let v1 = facts.text("/proc/cgroups")?;
        let on = |line: &str| line.split_whitespace().nth(3) == Some("1");
        ("v1", v1.lines().filter(|l| on(l)).filter_map(|l| l.split_whitespace().next()).map(str::to_owned).collect())
    };
    let missing: Vec<&str> = CONTROLLERS.into_iter().filter(|name| !there.iter().any(|c| c == name)).collect();
    // A kernel that tells nothing is asked by kubelet itself.
    if there.is_empty() || missing.is_empty() {
        return Ok(vec![Finding::fine(format!("cgroup {version} with {}", there.join(" ")))]);
    }
    let model = facts.text("/proc/device-tree/model")?;
    let hint = if model.contains("Raspberry Pi") {
        "append `cgroup_enable=memory cgroup_memory=1` to the one line of /boot/firmware/cmdline.txt, and reboot"
    } else {
        "take `cgroup_disable=` out of the kernel's command line (`cat /proc/cmdline`), or boot a kernel that has them, and reboot"
    };
    Ok(vec![Finding::refused(
        format!("the kernel's control groups ({version}) are without {}: kubelet does not start", missing.join(", ")),
        hint,
    )])
}

/// Snaps are images of this file system.
pub(crate) fn squashfs(facts: &Facts<'_>) -> Result<Vec<Finding>> {
    let known = facts.text("/proc/filesystems")?.lines().any(|l| l.split_whitespace().last() == Some("squashfs"));
    let there = known
        || facts.container.is_some()
        || facts.exists("/usr/bin/squashfuse")
        || facts.ask(&["modprobe", "--dry-run", "--quiet", "squashfs"])?.is_some_and(|o| o.ok());
    let release = facts.text("/proc/sys/kernel/osrelease")?.trim().to_owned();
    Ok(vec![if there {
        Finding::fine("snaps can be mounted")
    } else {
        Finding::refused(
            format!("kernel {release} has no squashfs, which every snap is: none can be mounted"),
            format!(
                "`apt install linux-modules-extra-{release}`, take `blacklist squashfs` out of /etc/modprobe.d, or `apt install squashfuse`"
            ),
        )
    }])
}

/// Memory that is kept back for huge pages. A program in a pod that finds them and may not have them is ended by a bus error.
pub(crate) fn huge_pages(facts: &Facts<'_>) -> Result<Vec<Finding>> {
    let reserved = reserved_mib(facts)?;
    Ok(vec![if reserved == 0 {
        Finding::fine("no memory is kept back for huge pages")
    } else {
        Finding::warned(
            format!(
                "{reserved} MiB of memory are kept back for huge pages: neither Kubernetes nor IRIS can have them, and a container that tries \
                 ends with exit code 135 (bus error)"
            ),
            "`sysctl -w vm.nr_hugepages=0`, and take it out of /etc/sysctl.d, unless another program on this host needs them",
        )
    }])
}

/// Of it, in MiB.
pub(crate) fn reserved_mib(facts: &Facts<'_>) -> Result<u64> {
    let info = facts.text("/proc/meminfo")?;
    let pages = info.lines().find_map(|l| l.strip_prefix("HugePages_Total:")?.trim().parse::<u64>().ok()).unwrap_or(0);
    // Below a MiB it is rounded to nothing.
    let size_kib = info
        .lines()
        .find_map(|l| l.strip_prefix("Hugepagesize:")?.split_whitespace().next()?.parse::<u64>().ok())
        .unwrap_or(2048);
    Ok(pages.saturating_mul(size_kib) / 1024)
}

/// Memory that can be used at all, in MiB.
pub(crate) fn usable_mib(facts: &Facts<'_>) -> Result<Option<u64>> {
    let reserved = reserved_mib(facts)?;
    Ok(memory_value(facts, "MemTotal")?.map(|total| total.saturating_sub(reserved)))
}

pub(crate) fn selinux(facts: &Facts<'_>) -> Result<Vec<Finding>> {
    let enforcing = facts.text("/sys/fs/selinux/enforce")?.trim() == "1";
    Ok(vec![if enforcing {
        Finding::warned(
            "SELinux is enforcing; MicroK8s has rules for AppArmor only, and what it starts may be denied",
            "`setenforce 0`, and SELINUX=permissive in /etc/selinux/config; `ausearch -m avc -ts recent` shows what was denied",
        )
    } else {
        Finding::fine("SELinux does not enforce anything")
    }])
}

/// What x86-64-v2 adds (the psABI of x86-64, "Microarchitecture Levels"), as /proc/cpuinfo calls it.
const LEVEL_2: [&str; 6] = ["cx16", "lahf_lm", "popcnt", "sse4_1", "sse4_2", "ssse3"];

pub(crate) fn cpu_level(facts: &Facts<'_>) -> Result<Vec<Finding>> {
    let info = facts.text("/proc/cpuinfo")?;
    let flags: Vec<&str> = info
        .lines()
        .find_map(|l| l.strip_prefix("flags")?.split_once(':').map(|(_, flags)| flags.split_whitespace().collect()))
        .unwrap_or_default();
    let missing: Vec<&str> = LEVEL_2.into_iter().filter(|flag| !flags.contains(flag)).collect();
    Ok(vec![if flags.is_empty() || missing.is_empty() {
        Finding::fine("the processor has what images of today are built for")
    } else {
        Finding::warned(
            format!(
                "the processor lacks {} (x86-64-v2): programs in images of today may end with `CPU ISA level is lower than required`",
                missing.join(", ")
            ),
            "give the VM the host's processor (`host`, `host-passthrough`) or the model x86-64-v2",
        )
    }])
}

/// Programs that kubelet, containerd and snapd run, and the package that has them.
const PROGRAMS: [(&str, &str); 3] = [("mount", "mount"), ("umount", "mount"), ("modprobe", "kmod")];

#[expect(clippy::unnecessary_wraps, reason = "every check has this shape")]
pub(crate) fn programs(facts: &Facts<'_>) -> Result<Vec<Finding>> {
    let there = |name: &str| {
        ["/usr/sbin", "/usr/bin", "/sbin", "/bin"].iter().any(|dir| facts.exists(&format!("{dir}/{name}")))
    };
    let missing: Vec<&(&str, &str)> = PROGRAMS.iter().filter(|(name, _)| !there(name)).collect();
    Ok(vec![if missing.is_empty() {
        Finding::fine("mount, umount and modprobe are there")
    } else {
        let mut packages: Vec<&str> = missing.iter().map(|(_, package)| *package).collect();
        packages.dedup();
        let names: Vec<&str> = missing.iter().map(|(name, _)| *name).collect();
        Finding::refused(
            format!("this system has no {}, which snapd, kubelet and containerd run", names.join(", no ")),
            format!("`apt install {}`", packages.join(" ")),
        )
    }])
}
