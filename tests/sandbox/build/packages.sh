#!/usr/bin/env bash
# The LAN's package source: Debian's own packages open-iscsi and multipath-tools (what Longhorn needs), cloud-init and openssh-server (what makes
# an image of a cloud or of Vagrant), systemd-container and squashfs-tools (what a sandbox in a VM needs), with all that they need and the machine does not have, and an index of them. They are what the mirror has
# on the day.
# needs: rootfs
# packages: apt-utils
set -euo pipefail
out=$1
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
mkdir -p "$scratch"/archives/partial "$out/debian"
# For the machine, not for the computer that builds: apt takes what is installed there as installed.
fetch() {
    apt-get install --quiet --yes --download-only --no-install-recommends -o Debug::NoLocking=true \
        -o Dir::State::status="$ROOTFS_DIR/root/var/lib/dpkg/status" -o Dir::State::extended_states="$scratch/extended_states" \
        -o Dir::Cache::archives="$scratch/archives" -o APT::Sandbox::User=root open-iscsi multipath-tools cloud-init openssh-server \
        systemd-container squashfs-tools
}
fetch || { apt-get update --quiet; fetch; }            # the lists may be too old to know what the mirror has today
mv "$scratch"/archives/*.deb "$out/debian/"
cd "$out/debian"
apt-ftparchive packages . >Packages
ls -l
