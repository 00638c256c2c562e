//! Mounts and folders: mounts without execution, file systems with drawbacks, and folders with unusual permissions.

use crate::{
    error::{Result, finding::Finding},
    stack::{
        facts::Facts,
        longhorn::state as longhorn,
        mounts::{Mount, of},
    },
};

/// Where programs are run from, and which.
const RUN_FROM: &[(&str, &str)] = &[("/var/snap/microk8s", "the plugins of the pod network and MicroK8s' own scripts")];
const RUN_FROM_ON_LONGHORN: &[(&str, &str)] = &[(longhorn::DATA, "Longhorn's engine")];

/// apt unpacks scripts of packages there that ask questions; most packages have none, and most of the others get on without.
const TMP: &str = "/tmp";

pub(crate) fn noexec(facts: &Facts<'_>) -> Result<Vec<Finding>> {
    let mounts = facts.mounts()?;
    let barred = |path: &str| of(mounts, path).filter(|mount| mount.has("noexec"));
    let remount = |mount: &Mount| {
        format!("`mount -o remount,exec {}`, and take noexec out of its line in /etc/fstab", mount.point)
    };
    let on_longhorn = facts.spec.longhorn.is_some();
    let wanted = if on_longhorn { RUN_FROM_ON_LONGHORN } else { &[] };
    let refused = RUN_FROM.iter().chain(wanted).filter_map(|(path, what)| {
        let mount = barred(path)?;
        let message =
            format!("{} is mounted noexec: {what} in {path} could not be run (`permission denied`)", mount.point);
        Some(Finding::refused(message, remount(mount)))
    });
    let warned = barred(TMP).filter(|_| on_longhorn && !facts.installed()).map(|mount| {
        let message = format!(
            "{} is mounted noexec: scripts in {TMP} of the packages that Longhorn needs may not be run",
            mount.point
        );
        Finding::warned(message, format!("if apt fails: {}", remount(mount)))
    });
    let findings: Vec<Finding> = refused.chain(warned).collect();
    Ok(if findings.is_empty() { vec![Finding::fine("programs can be run where MicroK8s has them")] } else { findings })
}

/// Where MicroK8s keeps images, volumes and its datastore.
const STORAGE: &str = "/var/snap/microk8s/common";

/// The file system below [`STORAGE`]. containerd needs one that overlayfs can write to; on ZFS, MicroK8s tells it to copy instead
/// (`snapshotter` in its actions/common/utils.sh).
pub(crate) fn file_system(facts: &Facts<'_>) -> Result<Vec<Finding>> {
    let Some(mount) = of(facts.mounts()?, STORAGE) else { return Ok(vec![Finding::fine("no mounts are told of")]) };
    let (kind, point) = (mount.kind.as_str(), mount.point.as_str());
    let below = format!("{STORAGE} lies on {kind} ({point})");
    let other = "give /var/snap a disk of its own with ext4 or XFS";
    Ok(vec![match kind {
        "ecryptfs" | "overlay" | "aufs" | "vfat" | "exfat" | "ntfs" | "ntfs3" => Finding::refused(
            format!("{below}: the layers of images cannot be put on top of each other there (overlayfs)"),
            other,
        ),
        kind if kind.starts_with("nfs") || kind.starts_with("fuse") || kind == "cifs" || kind == "9p" => {
            Finding::refused(
                format!("{below}: neither images (overlayfs) nor IRIS's databases may lie on such a file system"),
                other,
            )
        }
        "zfs" => Finding::warned(
            format!(
                "{below}: MicroK8s copies every layer of an image there, which takes several times the room and time"
            ),
            other,
        ),
        "btrfs" => Finding::warned(
            format!("{below}, which copies on every write: databases and the datastore become slow and fragmented"),
            format!("before anything is in it: `mkdir -p {STORAGE}; chattr +C {STORAGE}`; or {other}"),
        ),
        "tmpfs" | "ramfs" => {
            Finding::warned(format!("{below}: everything in it, databases too, is gone after the next boot"), other)
        }
        _ => Finding::fine(below),
    }])
}

/// Whoever does not see the processes of others cannot be told about them either.
pub(crate) fn hidepid(facts: &Facts<'_>) -> Result<Vec<Finding>> {
    let hides = |option: &String| {
        matches!(
            option.as_str(),
            "hidepid=1" | "hidepid=2" | "hidepid=invisible" | "hidepid=noaccess" | "hidepid=4" | "hidepid=ptraceable"
        )
    };
    let mount = facts.mounts()?.iter().rfind(|mount| mount.point == "/proc");
    Ok(vec![match mount.and_then(|mount| mount.options.iter().find(|o| hides(o))) {
        Some(option) => Finding::warned(
            format!(
                "/proc is mounted with {option}: polkit cannot see who asks, and users without root are refused by snapd"
            ),
            "use sudo for commands of snaps, or `mount -o remount,hidepid=0 /proc` (and in /etc/fstab)",
        ),
        None => Finding::fine("processes are visible"),
    }])
}

/// Folders that snapd and MicroK8s trust.
const TRUSTED: [&str; 4] = ["/", "/var", "/var/lib", "/var/snap"];

/// Root's programs refuse folders that others may change, and rules of AppArmor name real paths.
pub(crate) fn folders(facts: &Facts<'_>) -> Result<Vec<Finding>> {
    let mut findings: Vec<Finding> = TRUSTED
        .iter()
        .filter_map(|path| Some((path, facts.host.link(path.as_ref())?)))
        .map(|(path, to)| {
            Finding::warned(
                format!("{path} is a link to {}: rules of AppArmor and volumes of pods go by real paths", to.display()),
                format!(
                    "mount the other place there instead: `mount --bind {} {path}` (and in /etc/fstab)",
                    to.display()
                ),
            )
        })
        .collect();
    let words = [&["stat", "--format=%a:%u:%n"][..], &TRUSTED].concat();
    let shown = facts.ask(&words)?.map(|o| o.stdout).unwrap_or_default();
    for line in shown.lines() {
        let mut fields = line.splitn(3, ':');
        let (Some(mode), Some(owner), Some(path)) = (fields.next(), fields.next(), fields.next()) else { continue };
        let open = u32::from_str_radix(mode, 8).is_ok_and(|mode| mode & 0o1002 == 0o002);
        if open && path == "/" {
            findings.push(Finding::refused(
                format!("everybody may write to {path} (mode {mode}): snapd does not run programs on such a host, and nothing on it is safe"),
                format!("`chmod 755 {path}`"),
            ));
        } else if open {
            findings.push(Finding::warned(
                format!("everybody may write to {path} (mode {mode}), and so replace what MicroK8s runs"),
                format!("`chmod 755 {path}`"),
            ));
        } else if owner != "0" {
            findings.push(Finding::warned(
                format!("{path} belongs to user {owner}, not to root: who owns it can replace what MicroK8s runs"),
                format!("`chown root:root {path}`"),
            ));
        }
    }
    if findings.is_empty() {
        findings.push(Finding::fine("/, /var, /var/lib and /var/snap are root's own"));
    }
    Ok(findings)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stack::mounts::parse;

    #[test]
    fn the_mount_of_a_path_is_the_nearest_and_the_last() {
        let text = "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw,errors=remount-ro\n\
                    30 22 0:25 / /var rw,noexec - xfs /dev/sdb1 rw\n31 22 0:26 / /var/my\\040data rw - nfs4 a:/b rw,vers=4.2\n\
                    32 22 0:27 / /var rw - btrfs /dev/sdc1 rw\n";
        let mounts = parse(text);
        let kind = |path| of(&mounts, path).map(|m| m.kind.as_str());
        assert_eq!(kind("/var/snap"), Some("btrfs"));
        assert_eq!(kind("/var/my data/x"), Some("nfs4"));
        assert_eq!((kind("/various"), kind("/")), (Some("ext4"), Some("ext4")));
        assert!(mounts[1].has("noexec") && mounts[0].has("errors=remount-ro"));
    }
}
