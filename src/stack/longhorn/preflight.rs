//! Whether the host can carry Longhorn: asked only where its volumes are wanted, and before anything is installed.

use std::path::Path;

use crate::{
    config::spec::Longhorn,
    engine,
    error::{Result, finding::Finding},
    stack::{
        facts::Facts,
        longhorn::{
            space::{self, Disk, Misfit},
            state::{self as longhorn, DATA, KUBELET},
            steps::{multipath, packages},
        },
        preflight::state as preflight,
    },
};

const GIB: u64 = 1 << 30;

/// Its images, unpacked: they come before the first volume.
const IMAGES: u64 = 3 * GIB;

/// What to take instead.
const OTHERWISE: &str = "or take MicroK8s' own storage (--storage microk8s-hostpath)";

fn gib(bytes: u64) -> String {
    format!("{}.{} GiB", bytes / GIB, bytes % GIB * 10 / GIB)
}

/// Longhorn as it is wanted; none where it is not, or where somebody's is there already.
fn wanted<'a>(facts: &'a Facts<'_>) -> Option<&'a Longhorn> {
    facts.spec.longhorn.as_ref()
}

pub(crate) fn container(facts: &Facts<'_>) -> Result<Vec<Finding>> {
    Ok(wanted(facts).map_or_else(Vec::new, |_| {
        vec![match &facts.container {
            Some(kind) => Finding::refused(
                format!("this is a container ({kind}): iSCSI, which Longhorn's volumes are, does not work in one"),
                format!("use a VM; {OTHERWISE}"),
            ),
            None => Finding::fine("a machine of its own, or a VM"),
        }]
    }))
}

pub(crate) fn mounts(facts: &Facts<'_>) -> Result<Vec<Finding>> {
    if wanted(facts).is_none() {
        return Ok(Vec::new());
    }
    for path in ["/", KUBELET] {
        let there = facts.nearest(path).display().to_string();
        let output = facts.ask(&["findmnt", "--noheadings", "--output", "PROPAGATION", "--target", &there])?;
        let word = output.map(|o| o.stdout.trim().to_owned()).unwrap_or_default();
        if !word.starts_with("shared") {
            return Ok(vec![Finding::refused(
                format!(
                    "mounts below {there} are {}: what Longhorn mounts there would not be seen by pods",
                    if word.is_empty() { "unknown" } else { &word }
                ),
                format!("`mount --make-rshared {there}`, and the same at every boot; {OTHERWISE}"),
            )]);
        }
    }
    Ok(vec![Finding::fine("mounts are shared")])
}

pub(crate) fn folder(facts: &Facts<'_>) -> Result<Vec<Finding>> {
    if wanted(facts).is_none() {
        return Ok(Vec::new());
    }
    if let Some(to) = facts.host.link(Path::new(DATA)) {
        return Ok(vec![Finding::refused(
            format!(
                "{DATA} is a link (to {}): Longhorn's programs in their containers would not follow it",
                to.display()
            ),
            format!(
                "mount a disk there (`mount --bind {} {DATA}`, and the same in /etc/fstab), or remove the link",
                to.display()
            ),
        )]);
    }
    let there = facts.nearest(DATA).display().to_string();
    let output = facts.ask(&["findmnt", "--noheadings", "--output", "FSTYPE", "--target", &there])?;
    let kind = output.map(|o| o.stdout.trim().to_owned()).unwrap_or_default();
    Ok(vec![if matches!(kind.as_str(), "ext4" | "xfs") {
        Finding::fine(kind)
    } else {
        Finding::refused(
            format!(
                "{DATA} would lie on {}: Longhorn needs the extents of ext4 or xfs",
                if kind.is_empty() { "an unknown file system" } else { &kind }
            ),
            format!("mount a disk with ext4 or xfs at {DATA}; {OTHERWISE}"),
        )
    }])
}

/// Size, free bytes and mount point of the file system of a path.
fn disk(facts: &Facts<'_>, path: &str) -> Result<Option<(Disk, String)>> {
    let there = facts.nearest(path).display().to_string();
    let Some(output) = facts.ask(&["df", "-Pk", &there])? else { return Ok(None) };
    Ok(output.stdout.lines().nth(1).and_then(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let kib = |at: usize| words.get(at)?.parse::<u64>().ok().map(|n| n * 1024);
        Some((Disk { size: kib(1)?, free: kib(3)? }, words.get(5..)?.join(" ")))
    }))
}

pub(crate) fn room(facts: &Facts<'_>) -> Result<Vec<Finding>> {
    let Some(wanted) = wanted(facts) else { return Ok(Vec::new()) };
    let Some((mut disk, mount)) = disk(facts, DATA)? else { return Ok(Vec::new()) };
    let iris = &facts.spec.iris;
    let each = preflight::bytes(&iris.mgr_size) + preflight::bytes(&iris.data_size);
    let claims = each * u64::from(iris.replicas);
    let images = self::disk(facts, "/var/snap/microk8s/common/var/lib/containerd")?;
    let there = facts.exists(&format!("{DATA}/longhorn-disk.cfg"));
    if !there && images.is_some_and(|(_, of_images)| of_images == mount) {
        disk.free = disk.free.saturating_sub(IMAGES);
    }
    let version = wanted.version;
    let asked =
        format!("{} claims ask for {} of {mount}, which has {}", 2 * iris.replicas, gib(claims), gib(disk.size));
    let smaller = "smaller claims (storage.mgr_size, storage.data_size in a profile), fewer instances (--replicas 1)";
    Ok(vec![match space::fits(version, disk, claims) {
        Ok(()) => Finding::fine(format!("{asked} and {} free", gib(disk.free))),
        // Volumes that are there have their room already.
        Err(Misfit::Free { .. }) if there => Finding::fine(asked),
        Err(Misfit::Promised { at_most, size }) => Finding::refused(
            format!(
                "{asked}: Longhorn {version} gives out at most {} of it, so some would never get a volume",
                gib(at_most)
            ),
            format!("give it {} or more; or {smaller}", gib(size + GIB / 10)),
        ),
        Err(Misfit::Free { at_least }) => Finding::refused(
            format!(
                "{asked}: {} of it would be free after Longhorn's images, and Longhorn takes volumes only while more than {} are (a quarter)",
                gib(disk.free),
                gib(at_least)
            ),
            format!("make room, or mount a disk at {DATA}; or {smaller} do not help here"),
        ),
    }])
}

pub(crate) fn cpu(facts: &Facts<'_>) -> Result<Vec<Finding>> {
    let Some(wanted) = wanted(facts) else { return Ok(Vec::new()) };
    let cores = preflight::cores(facts)?;
    if cores == 0 {
        return Ok(Vec::new());
    }
    let own = cores * 1000 * wanted.version.cpu_share() / 100;
    let asked = preflight::asked_cpu(facts) + own;
    let message = format!("{cores} cores; pods ask for {asked} thousandths of one, {own} of them Longhorn's");
    Ok(vec![if cores * 1000 < asked {
        Finding::refused(
            format!("{message}: not all of them would be started"),
            format!("give the VM 2 cores or more; {OTHERWISE}"),
        )
    } else {
        Finding::fine(message)
    }])
}

pub(crate) fn iscsi(facts: &Facts<'_>) -> Result<Vec<Finding>> {
    if wanted(facts).is_none() {
        return Ok(Vec::new());
    }
    if packages::module_there(facts.host)? {
        return Ok(vec![Finding::fine("the kernel has iscsi_tcp")]);
    }
    let release = facts.text("/proc/sys/kernel/osrelease")?.trim().to_owned();
    let package = format!("linux-modules-extra-{release}");
    let known = packages::is_known(facts.host, &package).unwrap_or(false);
    Ok(vec![if known {
        Finding::warned(
            format!("kernel {release} lacks iscsi_tcp, without which no volume is attached"),
            format!("{package} has it, and is installed"),
        )
    } else {
        Finding::refused(
            format!(
                "kernel {release} lacks iscsi_tcp, without which no volume is attached, and apt knows no {package}"
            ),
            format!(
                "run `apt update` and the same command again, or boot the kernel whose modules are installed; {OTHERWISE}"
            ),
        )
    }])
}

pub(crate) fn multipath(facts: &Facts<'_>) -> Result<Vec<Finding>> {
    if wanted(facts).is_none() {
        return Ok(Vec::new());
    }
    Ok(vec![match multipath::in_use(facts.host)? {
        Some((why, hint)) => Finding::refused(why, hint),
        None => Finding::fine("multipathd is not in the way"),
    }])
}

/// Where the manifest is published.
const PUBLISHED_AT: &str = "raw.githubusercontent.com";

pub(crate) fn download(facts: &Facts<'_>) -> Result<Vec<Finding>> {
    let Some(wanted) = wanted(facts) else { return Ok(Vec::new()) };
    if let Some(file) = &wanted.manifest {
        return Ok(vec![Finding::fine(format!("its manifest is in {}", file.display()))]);
    }
    if facts.host.exists(&longhorn::cached(wanted.version)) {
        return Ok(vec![Finding::fine("its manifest is here")]);
    }
    Ok(vec![match facts.host.reach(PUBLISHED_AT, 443) {
        Ok(()) => Finding::fine(format!("{PUBLISHED_AT} answers")),
        Err(e) if std::env::var_os("https_proxy").is_some() || std::env::var_os("HTTPS_PROXY").is_some() => {
            Finding::warned(format!("{PUBLISHED_AT} cannot be reached without the proxy: {}", e.what), "")
        }
        Err(e) => Finding::refused(
            format!("Longhorn's manifest cannot be fetched: {}", engine::one_line(&e)),
            format!("fetch {} elsewhere, and give it with --longhorn-manifest FILE", wanted.version.url()),
        ),
    }])
}
