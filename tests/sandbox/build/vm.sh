#!/usr/bin/env bash
# The disk that every VM starts from: the machine's file system without what stands in for a kernel of its own, with the modules of that kernel,
# a network of its own and sshd, by which `scripts/sandbox exec` comes in.
# needs: rootfs machine packages vm-kernel
# inputs: tests/sandbox/vm
# packages: e2fsprogs qemu-system-x86 qemu-utils openssh-client cpio
set -euo pipefail
out=$1
here=$(cd "$(dirname "$0")/.." && pwd)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
root=$scratch/root
cp -a "$MACHINE_DIR/root" "$root"

for program in iscsiadm multipath; do chroot "$root" dpkg-divert --quiet --local --no-rename --remove "/sbin/$program"; done
systemctl --root="$root" disable -q sandbox-host
rm -r "$root"/etc/dpkg/dpkg.cfg.d/sandbox "$root"/etc/systemd/system/{sandbox-host.service,systemd-modules-load.service.d,iscsid.service.d,multipathd.service.d,multipathd.socket.d} \
    "$root/usr/local/lib/sandbox"
# What the stand-ins took the places of.
ln -sf ../bin/kmod "$root/usr/sbin/modprobe"
ln -sf ../bin/kmod "$root/usr/sbin/lsmod"
ln -sf kmod "$root/usr/bin/lsmod"
cp -a "$ROOTFS_DIR/root/usr/bin/systemd-detect-virt" "$root/usr/bin/systemd-detect-virt"

mkdir "$root/srv/packages"
cp "$PACKAGES_DIR"/debian/{openssh-server,openssh-sftp-server,runit-helper,ucf,sensible-utils}_*.deb "$root/srv/packages/"
chroot "$root" sh -c 'DEBIAN_FRONTEND=noninteractive dpkg --install /srv/packages/*.deb'
rm -r "$root/srv/packages"

cp -r --no-preserve=ownership "$here/vm/root/." "$root/"
mkdir -p "$root/var/lib/longhorn" "$root/lib/modules"
cp -a "$VM_KERNEL_DIR"/modules/* "$root/lib/modules/"
systemctl --root="$root" enable -q systemd-networkd
# It waits for all links, and one of a pod never is online.
systemctl --root="$root" disable -q systemd-networkd-wait-online
: >"$root/etc/machine-id"

truncate -s 20G "$out/disk.img"
mke2fs -q -t ext4 -L root -d "$root" "$out/disk.img"
cp "$VM_KERNEL_DIR"/{vmlinuz,initramfs.gz} "$out/"
