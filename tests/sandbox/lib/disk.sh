# shellcheck shell=bash
# A machine's disk: what it wrote over the file system that all machines start from. It outlives a power cut.
# Sourced; expects CURRENT, RUN, DISKS (the folder of all disks) and fail, which ends the program with a message.

# kind NAME: `vm` or `machine`, which is a container. The functions that run one begin with it.
kind() { if [ -e "$DISKS/$1/disk.qcow2" ]; then echo vm; else echo machine; fi; }

# disk_create NAME KIND ERA ADDRESS GIBIBYTES: of a container (KIND is machine) or a VM (vm), unless it is there already, with a data disk of that size. Without an address, the first free one from 192.168.11.49 on.
disk_create() {
    local name=$1 kind=$2 era=$3 address=$4 data=$5 disk=$DISKS/$1 new=$DISKS/.new-$1 used last part
    if [ -d "$disk" ]; then
        [ "$kind" = "$(kind "$name")" ] || [ "$kind" = machine ] || fail "the machine $name is a container: take it down to make a VM of that name"
        [ -z "$address" ] || [ "$address" = "$(cat "$disk/address")" ] || fail "the machine $name has the address $(cat "$disk/address") already: take it down to give it another"
        return
    fi
    [ -n "${STORE_PORTS[$era]:-}" ] || fail "there is no era $era: this sandbox has $(printf '%s\n' "${!STORE_PORTS[@]}" | sort -r | paste -sd' ')"
    if [ "$kind" = vm ]; then part=vm/disk.img; else part=machine/root; fi
    [ -e "$CURRENT/$part" ] || fail "nothing to boot: run \`sandbox build --era $era$([ "$kind" = machine ] || echo ' --vm')\` first"
    used=$(cat "$DISKS"/*/address 2>/dev/null || true)
    if [ -z "$address" ]; then
        last=49
        while grep -qx "192.168.11.$last" <<<"$used"; do last=$((last + 1)); done
        [ $last -lt 100 ] || fail 'all addresses from 192.168.11.49 to .99 are in use: take machines down'
        address=192.168.11.$last
    elif [[ ! $address =~ ^192\.168\.11\.[0-9]+$ ]] || grep -qx "$address" <<<"$used"; then
        fail "$address is not to be had: it must lie in 192.168.11.0/24 and belong to no other machine"
    fi
    rm -rf "$new"
    mkdir -p "$new"/{upper/etc/sandbox,work,containerd,snap}
    readlink -f "$CURRENT/$part" >"$new/base"
    echo "$era" >"$new/era"
    echo "$address" | tee "$new/address" >"$new/upper/etc/sandbox/address"
    echo "$name" >"$new/upper/etc/hostname"
    # kube-apiserver reaches the kubelet by the host's name: it must stand for the address, not for 127.0.1.1
    {
        printf '127.0.0.1 localhost\n%s %s\n' "$address" "$name"
        # the internet's image registries, as far as one may look whether they are there
        echo '192.168.11.2 registry-1.docker.io quay.io registry.k8s.io k8s.gcr.io containers.intersystems.com'
    } >"$new/upper/etc/hosts"
    # the era is in what the store has: a machine asks its own
    mkdir -p "$new/upper/etc/systemd/system/snapd.service.d"
    sed "s/192.168.11.2:[0-9]*/192.168.11.2:${STORE_PORTS[$era]}/" "$SANDBOX/machine/etc/systemd/system/snapd.service.d/store.conf" \
        >"$new/upper/etc/systemd/system/snapd.service.d/store.conf"
    tr -d - </proc/sys/kernel/random/uuid >"$new/upper/etc/machine-id"
    # What is slow is told to what stands in for MicroK8s: this computer may be such a VM itself.
    if [ -e /etc/sandbox/emulated ] || { [ "$kind" = vm ] && [[ $(vm_accelerator "$CURRENT/vm") == tcg* ]]; }; then touch "$new/upper/etc/sandbox/emulated"; fi
    # ext4, as Longhorn wants it: overlayfs does not tell where a file lies. What is not written to takes no room.
    truncate -s "${data}G" "$new/data.img"
    mkfs.ext4 -q -F -L data -m 0 -E lazy_itable_init=1,lazy_journal_init=1,root_owner=0:0 "$new/data.img" || fail "no file system of $data gibibytes could be made"
    if [ "$kind" = vm ]; then
        rmdir "$new"/{work,containerd,snap}
        vm_disk_create "$new"
    fi
    mv "$new" "$disk"
}

disk_mount() {
    local disk=$DISKS/$1
    mkdir -p "$RUN/$1/root" "$RUN/$1/data"
    mount -t overlay "sandbox-$1" -o "lowerdir=$(cat "$disk/base"),upperdir=$disk/upper,workdir=$disk/work" "$RUN/$1/root"
    mount -o loop "$disk/data.img" "$RUN/$1/data"
    rmdir "$RUN/$1/data/lost+found" 2>/dev/null || true
}

disk_unmount() {
    local part
    for part in "$RUN/$1/data" "$RUN/$1/root"; do
        for _ in $(seq 40); do
            mountpoint -q "$part" || continue 2
            umount "$part" 2>/dev/null || sleep 0.05
        done
        umount -l "$part"
    done
}
