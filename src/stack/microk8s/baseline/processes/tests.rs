use super::*;

/// A process of the host's, by what it was started with and where it is.
fn process(pid: i32, parent: i32, argv: &str, group: &str) -> Seen {
    Seen {
        pid,
        parent,
        began: 100,
        argv: argv.split(' ').map(str::to_owned).collect(),
        groups: vec!["/user.slice".to_owned(), group.to_owned()],
        is_roots: true,
        on_host: true,
        ..Seen::default()
    }
}

fn in_pod(pid: i32, parent: i32, argv: &str, group: &str, root: &str) -> Seen {
    Seen { root: root.to_owned(), on_host: false, ..process(pid, parent, argv, group) }
}

fn shim(pid: i32, program: &str, address: &str) -> Seen {
    let argv = format!("{program}/containerd-shim-runc-v2 -namespace k8s.io -id 3fa9 -address {address}");
    Seen {
        program: Some(format!("{program}/containerd-shim-runc-v2").into()),
        ..process(pid, 1, &argv, "/system.slice/x.service")
    }
}

const POD: &str = "/kubepods/besteffort/pod6e0f1a52-0001-4000-8000-000000000000/3fa9";
const OF_MICROK8S: &str = "611 500 0:60 / / rw,relatime - overlay overlay rw,lowerdir=/var/snap/microk8s/common/var/lib/containerd/io.containerd.snapshotter.v1.overlayfs/snapshots/1/fs";
const OF_DOCKER: &str = "611 500 0:60 / / rw,relatime - overlay overlay rw,lowerdir=/var/lib/docker/overlay2/l/AB";

fn whose(all: &[Seen]) -> Vec<(i32, bool, bool)> {
    let judged = judge(all);
    judged.iter().map(|(p, w)| (p.pid, matches!(w, Whose::MicroK8s(_)), *w == Whose::Unknown)).collect()
}

/// Evidence of each kind, alone.
#[test]
fn a_pod_of_microk8s_is_known_by_its_shim_or_its_files() {
    // Up to 1.24 the shim lives on; its program lay in the snap, which was detached or deleted.
    for ours in [
        shim(10, "/snap/microk8s/7731/bin", "/anything"),
        shim(10, "/bin", SOCKET),
        Seen { program: None, ..shim(10, "/snap/microk8s/2210/bin", SOCKET) },
    ] {
        let all = [ours, in_pod(11, 10, "/pause", POD, ""), in_pod(12, 11, "sh", "/elsewhere", "")];
        assert_eq!(whose(&all), [(10, true, false), (11, true, false), (12, true, false)]);
    }
    // In 1.20 the shim ends with containerd, and the pod has no parent.
    assert_eq!(whose(&[in_pod(11, 1, "/pause", POD, OF_MICROK8S)]), [(11, true, false)]);
    let slices = "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod6e0f1a52.slice/cri-containerd-1.scope";
    assert_eq!(whose(&[in_pod(11, 1, "/pause", slices, OF_MICROK8S)]), [(11, true, false)]);
    // A program of the host's that a pod started, in the pod's control group.
    let host = process(13, 1, "iscsiadm -m discovery", POD);
    assert_eq!(
        whose(&[in_pod(11, 1, "/pause", POD, OF_MICROK8S), host.clone()]),
        [(11, true, false), (13, true, false)]
    );
    assert_eq!(whose(&[host]), [(13, false, true)], "alone it proves nothing");
    // What MicroK8s' own services left.
    assert_eq!(
        whose(&[process(14, 1, "kubelite", "/system.slice/snap.microk8s.daemon-kubelite.service")]),
        [(14, true, false)]
    );
}

#[test]
fn pods_of_others_are_left_alone() {
    for group in [
        "/docker/abc/kubepods/besteffort/podx",
        "/system.slice/docker-abc.scope/kubelet.slice/kubelet-kubepods.slice/kubepods.slice/kubepods-pod1.slice/x",
        "/lxc.payload.k8s/kubepods/besteffort/pod6e0f/3fa9",
        "/machine.slice/machine-one.scope/kubepods/pod6e0f/3fa9",
        "/user.slice/user-1000.slice/user@1000.service/user.slice/kubepods/pod1/2",
    ] {
        assert_eq!(whose(&[in_pod(11, 1, "sleep 60", group, OF_MICROK8S)]), [(11, false, false)], "{group}");
    }
    for group in
        ["/kubepods-of-mine/pod1", "/system.slice/snap.microk8s.microk8s-1.scope", "/system.slice/kubepods.service"]
    {
        assert_eq!(whose(&[in_pod(11, 1, "sleep 60", group, OF_MICROK8S)]), [], "{group}");
    }
    // k3s, kubeadm, minikube without a driver: kubelet's control groups of this host, and a shim of their own.
    for address in ["/run/k3s/containerd/containerd.sock", "/run/containerd/containerd.sock"] {
        let all = [shim(10, "/usr/bin", address), in_pod(11, 10, "/pause", POD, "")];
        assert_eq!(whose(&all), [(10, false, false), (11, false, false)]);
    }
    assert_eq!(whose(&[in_pod(11, 1, "/pause", POD, OF_DOCKER)]), [(11, false, false)]);
    // A container whose control group has no name that tells: its own init is above the pod.
    let init = Seen { on_host: false, ..process(20, 1, "/sbin/init", "/default/abc") };
    let pod = in_pod(21, 20, "/pause", "/default/abc/kubepods/besteffort/pod6e0f/3fa9", OF_MICROK8S);
    assert_eq!(whose(&[init, pod.clone()]), [(21, false, false)]);
    // A kubelet that was told another place than the top.
    assert_eq!(whose(&[Seen { parent: 1, ..pod }]), [(21, true, false)]);
}

/// A MicroK8s in somebody's container has the same paths; a user's process may have any name.
#[test]
fn a_shim_counts_only_as_one_of_this_host_and_of_root() {
    let ours = shim(10, "/snap/microk8s/7731/bin", SOCKET);
    for not_ours in [
        Seen { on_host: false, ..ours.clone() },
        Seen { is_roots: false, ..ours.clone() },
        Seen {
            argv: vec!["grep".into(), "containerd-shim".into(), "-address".into(), SOCKET.into()],
            program: Some("/usr/bin/grep".into()),
            ..ours
        },
    ] {
        let child = in_pod(11, 10, "/pause", "/lxc.payload.c1/kubepods/pod1/2", OF_MICROK8S);
        assert_eq!(whose(&[not_ours, child]), [(11, false, false)]);
    }
}

/// Docker in a pod of ours is in the pod.
#[test]
fn the_outermost_shim_decides() {
    let inner = Seen { on_host: true, parent: 10, ..shim(11, "/usr/bin", "/run/containerd/containerd.sock") };
    let all = [shim(10, "/snap/microk8s/1/bin", SOCKET), inner, in_pod(12, 11, "nginx", POD, "")];
    assert_eq!(whose(&all), [(10, true, false), (11, true, false), (12, true, false)]);
    // Numbers in a circle, as a list that is read while processes come and go may have them.
    let circle = [process(5, 6, "a", "/x"), process(6, 5, "b", "/x")];
    assert_eq!(whose(&circle), []);
}

#[test]
fn the_pod_is_found_in_both_ways_of_writing_it() {
    let pod = |group: &str| process(1, 0, "x", group).pod().map(str::to_owned);
    assert_eq!(pod("/kubepods/besteffort/pod6e0f/3fa9").as_deref(), Some("pod6e0f"));
    assert_eq!(pod("/kubepods/pod6e0f/3fa9").as_deref(), Some("pod6e0f"));
    assert_eq!(pod("/kubepods.slice/kubepods-pod6e0f.slice/cri-containerd-1.scope").as_deref(), Some("pod6e0f"));
    assert_eq!(
        pod("/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod6e0f.slice/x.scope").as_deref(),
        Some("pod6e0f")
    );
    assert_eq!(pod("/kubepods/besteffort"), None);
}

#[test]
fn the_mount_that_covers_the_others_is_the_root() {
    let table = "1 0 8:1 / / rw - ext4 /dev/sda1 rw\n2 1 0:5 / /proc rw - proc proc rw\n3 1 0:60 / / rw - overlay overlay rw,lowerdir=x\n";
    assert!(root(table).contains("lowerdir=x"));
    assert_eq!(root(""), "");
}
