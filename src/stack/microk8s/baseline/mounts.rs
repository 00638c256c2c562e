//! What kubelet and containerd had mounted and nobody unmounted: it would keep the snap's folders from going.

use std::path::PathBuf;

use super::run;
use crate::{
    engine::step::Act,
    error::Result,
    host::{Host, mount_points},
    stack::{left::Left, microk8s::state as microk8s},
};

/// The snap's folders.
const SNAP: &[&str] = &["/var/snap/microk8s", "/snap/microk8s"];

/// What to unmount, and what stays.
pub(super) fn left(host: &dyn Host) -> Result<(Vec<Act>, Vec<Left>)> {
    Ok(judge(mount_points(host)?))
}

fn judge(mut points: Vec<PathBuf>) -> (Vec<Act>, Vec<Left>) {
    points.retain(|point| SNAP.iter().any(|dir| point.starts_with(dir)));
    // What lies on another one goes first.
    points.sort();
    points.dedup();
    let (mut acts, mut left) = (Vec::new(), Vec::new());
    for point in points.into_iter().rev() {
        if microk8s::mounts_at(&point) {
            acts.push(run(&["umount", "--lazy", &point.to_string_lossy()], "not mounted"));
        } else {
            let why =
                "neither kubelet nor containerd mounts anything there: `umount` it, and run the same command again";
            left.push(Left::ours(format!("what is mounted at {}", point.display()), why));
        }
    }
    (acts, left)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_mounts_of_kubelet_and_containerd_are_ended() {
        let points = [
            "/",
            "/var/snap",
            "/var/snap/microk8s/common/var/lib/kubelet/pods/6e0f/volumes/token",
            "/var/snap/microk8s/common/var/lib/kubelet",
            "/var/snap/microk8s/common/default-storage",
            "/var/lib/kubelet/pods/of-somebody",
            "/snap/microk8s/7731",
        ];
        let (acts, left) = judge(points.map(PathBuf::from).to_vec());
        let shown: Vec<String> = acts.iter().map(Act::show).collect();
        assert_eq!(
            shown,
            [
                "umount --lazy /var/snap/microk8s/common/var/lib/kubelet/pods/6e0f/volumes/token",
                "umount --lazy /var/snap/microk8s/common/var/lib/kubelet"
            ]
        );
        let left: Vec<&str> = left.iter().map(|l| l.what.as_str()).collect();
        assert_eq!(
            left,
            ["what is mounted at /var/snap/microk8s/common/default-storage", "what is mounted at /snap/microk8s/7731"]
        );
    }
}
