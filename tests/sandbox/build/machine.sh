#!/usr/bin/env bash
# What every new machine starts from: the root file system with our files, the rebuilt snap daemon and the first user, booted once so that
# snapd is seeded and has the base snaps. Without them, the first `snap install` would have to download them.
# needs: rootfs snapd
# inputs: tests/sandbox/machine tests/sandbox/lib/machine.sh
# packages: squashfs-tools
set -euo pipefail
root=$1/root
here=$(cd "$(dirname "$0")/.." && pwd)
RUN=$(mktemp -d -t iris-mk8s-sandbox-XXXXXX)
# shellcheck source=/dev/null # checked on its own
. "$here/lib/machine.sh"
name=build-$$
trap 'machine_kill "$name"; rm -rf "$RUN"' EXIT

cp -a "$ROOTFS_DIR/root" "$root"
# kmod's own modprobe stays at hand under its name, and a copy must not go through the link. What open-iscsi and multipath-tools
# bring later makes way for stand-ins.
mkdir -p "$root/usr/local/lib/sandbox/kmod"
ln -s /bin/kmod "$root/usr/local/lib/sandbox/kmod/modprobe"
ln -sf ../sbin/modprobe "$root/usr/bin/lsmod"
ln -sf modprobe "$root/usr/sbin/lsmod"
cp -r --no-preserve=ownership --remove-destination "$here/machine/." "$root/"
for program in iscsiadm multipath; do chroot "$root" dpkg-divert --quiet --local --no-rename --divert "/sbin/$program.real" --add "/sbin/$program"; done
chmod 440 "$root"/etc/sudoers.d/sandbox
install -m755 "$SNAPD_DIR/bin/snapd" "$root/usr/lib/snapd/snapd"
chroot "$root" useradd -m -s /bin/bash -G adm,sudo -c Ubuntu ubuntu
# Debian starts the daemons that it installs: these two are there for MicroK8s to run its own of them
systemctl --root="$root" disable -q containerd etcd apt-daily.timer apt-daily-upgrade.timer e2scrub_all.timer
systemctl --root="$root" enable -q sandbox-host
echo sandbox-build >"$root/etc/hostname"
printf '127.0.0.1 localhost\n127.0.1.1 sandbox-build\n' >"$root/etc/hosts"

# base_snap NAME VERSION TYPE: an empty one. snapd wants a base before any other snap, and looks into `core` for its own version.
base_snap() {
    local tree=$RUN/$1
    mkdir -p "$tree"/{meta,usr/lib/snapd}
    printf 'name: %s\nversion: "%s"\ntype: %s\nsummary: empty stand-in\ndescription: empty stand-in\narchitectures: [amd64]\n' "$@" >"$tree/meta/snap.yaml"
    echo VERSION=1 >"$tree/usr/lib/snapd/info"
    mksquashfs "$tree" "$root/srv/$1.snap" -noappend -comp xz -all-root -quiet -no-progress
}
base_snap core 16 os
base_snap core22 22 base

machine_boot "$name" "$root" "$RUN/console.log" --private-network
machine_wait_ready "$name"
machine_run "$name" snap install --dangerous /srv/core.snap /srv/core22.snap
leader=$(machine_leader "$name")
kill -s RTMIN+4 "$leader"                              # systemd: power off
for _ in $(seq 100); do kill -0 "$leader" 2>/dev/null || break; sleep 0.1; done
machine_kill "$name"

# What makes one machine differ from another is made anew in each.
rm -rf "$root"/srv/*.snap "$root"/var/log/journal/* "$root"/var/lib/systemd/random-seed
: >"$root/etc/machine-id"
