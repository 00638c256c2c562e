#!/usr/bin/env bash
# The machine's file system: what an Ubuntu VM has, and the programs that MicroK8s brings along (containerd, runc, CNI plugins, etcd),
# from the Debian mirror that this machine itself uses. Nothing is configured here.
# packages: debootstrap mount
set -euo pipefail
out=$1
suite=bookworm
packages=(
    # what makes it a machine that people log in to
    systemd systemd-sysv dbus dbus-user-session libpam-systemd udev kmod login passwd sudo procps psmisc less
    iproute2 iptables iputils-ping ca-certificates curl openssl jq python3 python3-yaml
    snapd
    # what MicroK8s' snap brings along, and what its programs call
    containerd runc containernetworking-plugins etcd-server etcd-client conntrack socat ethtool ipset
    # the images of the sandbox's registry are made of it
    busybox-static
)
# shellcheck disable=SC2016 # apt expands it
mirrors() { apt-get indextargets --format '$(SITE)' 'Created-By: Packages' "Codename: $suite" 'Component: main'; }
[ -n "$(mirrors)" ] || apt-get update -q              # apt knows only the sources whose lists it has
mirror=$(mirrors | head -n 1)
[ -n "$mirror" ] || { echo "no Debian mirror with the suite $suite among this machine's package sources: the sandbox is built on Debian $suite" >&2; exit 1; }
debootstrap --variant=minbase --include="$(IFS=,; echo "${packages[*]}")" "$suite" "$out/root" "$mirror"
chroot "$out/root" apt-get clean
rm -rf "$out"/root/var/lib/apt/lists/* "$out"/root/var/log/{bootstrap,dpkg,alternatives}.log
