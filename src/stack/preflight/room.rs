//! Whether there is room: on the disks, in memory, on the cores; and whether IRIS' licence fits the machine.

use std::collections::BTreeMap;

use super::machine;
use crate::{
    config::cpf::{Cpf, Memory},
    error::{Result, finding::Finding},
    stack::{
        facts::Facts,
        longhorn::state as longhorn,
        preflight::state::{asked_cpu, bytes, cores},
    },
};

const MIB: u64 = 1024 * 1024;
const GIB: u64 = 1024 * MIB;

/// What is put onto the disk at once. Sizes of MicroK8s 1.34 and IRIS 2026.1: 0.2 GiB to download, 1.2 GiB as compressed layers, 3.5 GiB
/// unpacked; an instance clones its system databases, and keeps a journal.
const SNAP: u64 = GIB;
const IMAGES: u64 = GIB;
const IRIS_IMAGE: u64 = 5 * GIB;
const LONGHORN_IMAGES: u64 = 3 * GIB;
const INSTANCE: u64 = GIB;

/// The registry's claim, unless the addon is told another size.
const REGISTRY: u64 = 20 * GIB;

/// With less kubelet evicts pods, and takes no new ones; with little more it soon will.
const EVICTION: u64 = GIB;
const SCARCE: u64 = 3 * GIB;

/// A file system: free bytes, and what lands on it.
#[derive(Default)]
struct Disk {
    free: u64,
    needs: Vec<(String, u64)>,
    later: Vec<(String, u64)>,
}

pub(crate) fn disk(facts: &Facts<'_>) -> Result<Vec<Finding>> {
    let mut disks: BTreeMap<String, Disk> = BTreeMap::new();
    let iris = &facts.spec.iris;
    let instances = u64::from(iris.replicas);
    let add =
        |disks: &mut BTreeMap<String, Disk>, path: &str, needs: &[(&str, u64)], later: &[(&str, u64)]| -> Result<()> {
            let Some((mount, free)) = free_space(facts, path)? else { return Ok(()) };
            let disk = disks.entry(mount).or_default();
            disk.free = free;
            let owned = |(what, size): &(&str, u64)| ((*what).to_owned(), *size);
            disk.needs.extend(needs.iter().map(owned));
            disk.later.extend(later.iter().map(owned));
            Ok(())
        };
    if facts.installed() {
        add(&mut disks, "/var/snap/microk8s/common", &[], &[])?;
        add(&mut disks, "/var/lib/snapd", &[], &[])?;
        return Ok(disks.iter().map(|(mount, disk)| left(mount, disk.free)).collect());
    }
    let claims = [&iris.mgr_size, &iris.data_size].iter().map(|size| bytes(size)).sum::<u64>() * instances;
    let registry = if facts.spec.addons.iter().any(|a| a == "registry") { REGISTRY } else { 0 };
    add(&mut disks, "/var/lib/snapd", &[("snap", SNAP)], &[])?;
    let of_longhorn = if facts.spec.longhorn.is_some() { LONGHORN_IMAGES } else { 0 };
    let images =
        [("images of the cluster", IMAGES), ("image of IRIS", IRIS_IMAGE), ("images of Longhorn", of_longhorn)];
    add(&mut disks, "/var/snap/microk8s/common/var/lib/containerd", &images, &[])?;
    let data = [("first data of IRIS", INSTANCE * instances)];
    let mut later = vec![("claims of IRIS", claims)];
    let storage = if facts.spec.longhorn.is_some() {
        longhorn::DATA
    } else {
        later.push(("registry", registry));
        "/var/snap/microk8s/common/default-storage"
    };
    add(&mut disks, storage, &data, &later)?;
    Ok(disks.iter().map(|(mount, disk)| wanted(mount, disk)).collect())
}

/// Of a host on which everything is in place.
fn left(mount: &str, free: u64) -> Finding {
    let message = format!("{mount} has {} free", gib(free));
    let hint = "make room: `microk8s ctr image ls` shows images, `du -xh --max-depth=2 /var/snap/microk8s/common` what takes it";
    if free < EVICTION {
        Finding::refused(format!("{message}: below {} kubelet evicts pods and takes no new ones", gib(EVICTION)), hint)
    } else if free < SCARCE {
        Finding::warned(format!("{message}: below {} kubelet evicts pods", gib(EVICTION)), hint)
    } else {
        Finding::fine(message)
    }
}

fn wanted(mount: &str, disk: &Disk) -> Finding {
    let total = |list: &[(String, u64)]| list.iter().map(|(_, size)| size).sum::<u64>();
    let list = |list: &[(String, u64)]| {
        list.iter()
            .filter(|(_, size)| *size > 0)
            .map(|(what, size)| format!("{what} {}", gib(*size)))
            .collect::<Vec<_>>()
            .join(", ")
    };
    let (now, later) = (total(&disk.needs), total(&disk.later));
    let message = format!("{mount} has {} free; at once comes {} ({})", gib(disk.free), gib(now), list(&disk.needs));
    let grows = format!("may grow by {} ({})", gib(later), list(&disk.later));
    let hint = "give the VM a larger disk, or make room (`journalctl --vacuum-size=200M`, `apt clean`, old snaps)";
    if disk.free < now {
        Finding::refused(message, hint)
    } else if later > 0 && disk.free < now + total(&disk.later[..1]) {
        Finding::warned(
            format!("{message}; it {grows}"),
            "let the claims be smaller (storage.data_size in a profile), or give the VM a larger disk",
        )
    } else if later > 0 {
        Finding::fine(format!("{message}; it {grows}"))
    } else {
        Finding::fine(message)
    }
}

/// Mount point and free bytes of where the path is, or will be.
fn free_space(facts: &Facts<'_>, path: &str) -> Result<Option<(String, u64)>> {
    let there = facts.nearest(path).display().to_string();
    let Some(output) = facts.ask(&["df", "-Pk", &there])? else { return Ok(None) };
    // Filesystem 1024-blocks Used Available Capacity Mounted-on: a mount point may have blanks in it.
    let found = output.stdout.lines().nth(1).and_then(|line| {
        let mut words = line.split_whitespace();
        let free = words.nth(3)?.parse::<u64>().ok()?;
        Some((words.skip(1).collect::<Vec<_>>().join(" "), free * 1024))
    });
    Ok(found)
}

/// Rounded down: nobody is told of room that is not there.
fn gib(bytes: u64) -> String {
    let tenths = bytes / (GIB / 10);
    if tenths.is_multiple_of(10) {
        format!("{} GiB", tenths / 10)
    } else {
        format!("{}.{} GiB", tenths / 10, tenths % 10)
    }
}

/// Kubernetes, its addons and the system.
const SYSTEM_MIB: u64 = 1536;

/// With less beyond what is asked for, databases and cluster wait for the disk.
const SPARE_MIB: u64 = 512;

pub(crate) fn memory_value(facts: &Facts<'_>, name: &str) -> Result<Option<u64>> {
    let info = facts.text("/proc/meminfo")?;
    let kib = info
        .lines()
        .find_map(|l| l.strip_prefix(name)?.strip_prefix(':')?.split_whitespace().next()?.parse::<u64>().ok());
    Ok(kib.map(|kib| kib / 1024))
}

pub(crate) fn memory(facts: &Facts<'_>) -> Result<Vec<Finding>> {
    let Some(have) = machine::usable_mib(facts)? else {
        return Ok(vec![Finding::warned("/proc/meminfo does not say how much memory there is", "")]);
    };
    let iris = &facts.spec.iris;
    // What is asked for is kept free for it; what is taken beyond that is missing all the same.
    let each = (bytes(&iris.memory_request) / MIB).max(of_iris(facts)?.total());
    let asked = each.saturating_mul(u64::from(iris.replicas));
    let need = asked.saturating_add(SYSTEM_MIB);
    let message = format!(
        "the host has {have} MiB of memory; {need} MiB are needed ({SYSTEM_MIB} for Kubernetes, {asked} for {} of IRIS)",
        iris.replicas
    );
    Ok(vec![if have < need {
        Finding::refused(message, "give the VM 4 GiB or more, or take fewer instances (--replicas 1)")
    } else if have < need + SPARE_MIB {
        Finding::warned(format!("{message}: it will be tight"), "give the VM 4 GiB or more")
    } else {
        Finding::fine(message)
    }])
}

/// What an instance takes on this host.
fn of_iris(facts: &Facts<'_>) -> Result<Memory> {
    Ok(Cpf::read(&facts.spec.iris.cpf).memory(memory_value(facts, "MemTotal")?))
}

/// An instance that takes more than its limit is ended by the kernel, again and again; one that takes more than it asks for is placed
/// where that much may not be.
pub(crate) fn iris_memory(facts: &Facts<'_>) -> Result<Vec<Finding>> {
    let iris = &facts.spec.iris;
    let memory = of_iris(facts)?;
    let message = format!("IRIS would take {memory}");
    let settings = "set `globals` (of 8 KB buffers, in MB: globals=0,0,256,0,0,0), `gmheap` (KB) and `jrnbufs` (MB) in the CPF's section [config]";
    let (limit, request) = (bytes(&iris.memory_limit) / MIB, bytes(&iris.memory_request) / MIB);
    Ok(vec![if memory.total() > limit {
        Finding::refused(
            format!("{message}, and an instance gets at most {limit} MiB (iris.memory_limit)"),
            format!("{settings}, or raise iris.memory_limit"),
        )
    } else if memory.total() > request {
        Finding::warned(
            format!("{message}, and an instance asks for only {request} MiB (iris.memory_request)"),
            format!("raise iris.memory_request to {}Mi, or {settings}", memory.total()),
        )
    } else {
        Finding::fine(message)
    }])
}

/// What may lie in swap without a sign of distress.
const IDLE_SWAP_MIB: u64 = 512;

pub(crate) fn swap(facts: &Facts<'_>) -> Result<Vec<Finding>> {
    let (total, free) = (memory_value(facts, "SwapTotal")?.unwrap_or(0), memory_value(facts, "SwapFree")?.unwrap_or(0));
    let used = total.saturating_sub(free);
    Ok(vec![if total == 0 {
        Finding::fine("there is no swap")
    } else if used > IDLE_SWAP_MIB {
        Finding::warned(
            format!("{used} of {total} MiB of swap are in use: memory is short already"),
            "give the VM more memory, or end what takes it: the cluster's datastore and the database suffer most",
        )
    } else {
        Finding::fine(format!("{used} of {total} MiB of swap are in use; MicroK8s allows swap"))
    }])
}

pub(crate) fn cpu(facts: &Facts<'_>) -> Result<Vec<Finding>> {
    let cores = cores(facts)?;
    if cores == 0 {
        return Ok(vec![Finding::fine("/proc/cpuinfo does not count the cores")]);
    }
    let asked = asked_cpu(facts);
    let message = format!(
        "the host has {cores} core{}; pods ask for {asked} thousandths of one",
        if cores == 1 { "" } else { "s" }
    );
    Ok(vec![if cores * 1000 < asked {
        Finding::refused(
            format!("{message}: not all of them would be started"),
            "give the VM 2 cores or more, or take fewer instances (--replicas 1)",
        )
    } else if cores < 2 {
        Finding::warned(format!("{message}: everything will be slow"), "give the VM 2 cores or more")
    } else {
        Finding::fine(message)
    }])
}

/// Cores that the licence of the Community Edition allows: of today, and of images up to 2022.
const LICENSED_CORES: u64 = 20;
const LICENSED_CORES_ONCE: u64 = 8;

pub(crate) fn iris_cores(facts: &Facts<'_>) -> Result<Vec<Finding>> {
    let (cores, image) = (cores(facts)?, &facts.spec.iris.image);
    let old = year(image).is_some_and(|year| year <= 2022);
    let allowed = if old { LICENSED_CORES_ONCE } else { LICENSED_CORES };
    let message = format!("the host has {cores} cores; the licence of {image} allows {allowed}");
    Ok(vec![if cores > allowed {
        Finding::refused(format!("{message}: IRIS would not start"), format!("give the VM at most {allowed} cores"))
    } else {
        Finding::fine(message)
    }])
}

/// The year of a release in an image's tag: `2025.1`, `2022.1.0.209.0-zpm`; none for a tag that moves.
fn year(image: &str) -> Option<u32> {
    let tag = image.rsplit('/').next()?.split_once(':')?.1;
    let year = tag.split(['.', '-', '@']).next()?.parse().ok()?;
    (2018..2100).contains(&year).then_some(year)
}

/// A release comes out in spring at the earliest, and its licence ends about a year later.
pub(crate) fn iris_image(facts: &Facts<'_>) -> Result<Vec<Finding>> {
    let image = &facts.spec.iris.image;
    let now = i64::try_from(facts.host.unix_time()).ok().and_then(|s| jiff::Timestamp::from_second(s).ok());
    let today = now.map_or((0, 0), |t| {
        let date = t.to_zoned(jiff::tz::TimeZone::UTC).date();
        (u32::try_from(date.year()).unwrap_or(0), date.month())
    });
    let over = year(image).filter(|year| today >= (year + 1, 10));
    Ok(vec![match over {
        Some(year) => Finding::warned(
            format!("the licence inside {image} has most likely run out: it is one of {year}, and lasts about a year"),
            "if IRIS does not start: --image intersystems/iris-community:latest-em",
        ),
        None => Finding::fine(image.clone()),
    }])
}
