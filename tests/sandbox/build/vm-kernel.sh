#!/usr/bin/env bash
# The kernel of VMs: Debian's cloud kernel as it is, its modules, and an initramfs that holds what mounts the disk.
# inputs: tests/sandbox/vm/init
# packages: kmod busybox-static cpio
set -euo pipefail
out=$1
here=$(cd "$(dirname "$0")/.." && pwd)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
chmod 755 "$scratch"
cd "$scratch"

# The package that is meant carries the version in its name.
newest() { apt-cache depends --no-recommends --no-suggests linux-image-cloud-amd64 | sed -n 's/^ *Depends: \(linux-image-.*\)/\1/p'; }
fetch() { apt-get download "$(newest)"; }
fetch || { apt-get update -q; fetch; }                 # the lists may be too old to know what the mirror has today
dpkg-deb --extract linux-image-*.deb kernel
version=$(ls kernel/lib/modules)
mkdir "$out/modules"
mv "kernel/lib/modules/$version" "$out/modules/"
mkdir -p kernel/lib/modules && ln -s "$out/modules/$version" kernel/lib/modules/
depmod -b "$scratch/kernel" "$version"
cp "kernel/boot/vmlinuz-$version" "$out/vmlinuz"

# What it takes to read the disk; ext4 is built in.
mkdir -p initramfs/{bin,modules}
cp /bin/busybox initramfs/bin/
install -m755 "$here/vm/init" initramfs/init
modprobe --dirname "$scratch/kernel" --set-version "$version" --show-depends --all virtio_pci virtio_blk |
    awk '$1 == "insmod" && !seen[$2]++ { print $2 }' | while read -r module; do
        cp "$module" initramfs/modules/
        basename "$module" >>initramfs/modules/order
    done
(cd initramfs && find . | cpio --quiet --create --format=newc --owner=0:0 | gzip >"$out/initramfs.gz")
