//! What somebody mounted inside of what a teardown deletes: whoever deletes the folder empties what is behind it.

use std::path::{Path, PathBuf};

use super::FOLDERS;
use crate::{
    error::{Error, ExitCode, Result},
    host::{Host, mount_points},
    stack::microk8s::state as microk8s,
};

/// The snap's folder. A disk of somebody's for all of one of its parts holds only what MicroK8s puts there.
const SNAP: &str = "/var/snap/microk8s";

/// The places inside of what goes at which somebody mounted something. `all`: MicroK8s goes, and not only volumes.
fn inside(points: Vec<PathBuf>, all: bool) -> Vec<PathBuf> {
    let folder = Path::new(if all { SNAP } else { FOLDERS });
    let is_part = |point: &Path| point == Path::new(FOLDERS) || point.parent() == Some(Path::new(SNAP));
    let is_inside = |point: &PathBuf| {
        point.starts_with(folder) && point != folder && !is_part(point) && !microk8s::mounts_at(point)
    };
    points.into_iter().filter(is_inside).collect()
}

/// Refuses to delete a folder in which something is mounted.
///
/// # Errors
/// Something is, or the mounts cannot be read.
pub(super) fn refuse(host: &dyn Host, all: bool) -> Result<()> {
    let points = inside(mount_points(host)?, all);
    if points.is_empty() {
        return Ok(());
    }
    let shown = |words: &str| points.iter().map(|p| format!("{words}{}", p.display())).collect::<Vec<_>>();
    let what = "refused: what somebody mounted in MicroK8s' folders would be emptied with them; nothing was changed";
    Err(Error::new(ExitCode::NotOurs, what)
        .because(shown("something is mounted at ").join("\n"))
        .hint(format!("{}, then the same command again", shown("`sudo umount ").join("`, ") + "`")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_somebody_mounted_inside_is_in_the_way() {
        let points = [
            "/",
            "/var/snap/microk8s",
            "/var/snap/microk8s/common",
            "/var/snap/microk8s/common/default-storage",
            "/var/snap/microk8s/common/default-storage/default-dbv-data-data-0-pvc-1/mnt",
            "/var/snap/microk8s/common/var/lib/kubelet/pods/6e0f/volumes/token",
            "/var/snap/microk8s/common/run/containerd/io.containerd.runtime.v2.task/k8s.io/3fa9/rootfs",
            "/var/snap/microk8s/1/args/disk",
            "/var/snap/microk8s-other/mnt",
            "/srv/other",
        ];
        let named = |all| {
            let found = inside(points.map(PathBuf::from).to_vec(), all);
            found.iter().map(|p| p.display().to_string()).collect::<Vec<_>>()
        };
        assert_eq!(named(false), [points[4]]);
        assert_eq!(named(true), [points[4], points[7]]);
    }
}
