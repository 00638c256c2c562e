# shellcheck shell=bash
# A running VM: QEMU on a disk image, with a kernel of its own. `exec` comes in by sshd, through one connection that stays.
# Sourced after lan.sh; expects RUN, CACHE, DISKS and LAN.

# vm_leader NAME: QEMU's process; fails when the VM does not run
vm_leader() {
    local pid
    pid=$(cat "$RUN/$1/qemu" 2>/dev/null) || return 1
    # after a reboot of the host the number may belong to anybody
    grep -qsz "file=$DISKS/$1/disk.qcow2" "/proc/$pid/cmdline" || return 1
    echo "$pid"
}

# vm_disk_create DISK: over the image that it stands on; and what this VM is told at its first boot (DISK/upper), in an initramfs
vm_disk_create() {
    local disk=$1 image upper=$1/upper
    image=$(cat "$disk/base")
    qemu-img create -q -f qcow2 -F raw -b "$image" "$disk/disk.qcow2"
    ssh-keygen -q -t ed25519 -N '' -C sandbox -f "$disk/key"
    install -m 600 "$disk/key.pub" "$upper/etc/sandbox/authorized_keys"
    mkdir -p "$upper/etc/systemd/network"
    printf '[Match]\nName=en*\n\n[Network]\nAddress=%s/24\nGateway=192.168.11.1\n' "$(cat "$disk/address")" >"$upper/etc/systemd/network/lan.network"
    mkdir "$disk/initramfs"
    mv "$upper" "$disk/initramfs/told"
    (cd "$disk/initramfs" && find . | cpio --quiet --create --format=newc --owner=0:0 | gzip | cat "${image%/*}/initramfs.gz" - >"$disk/initramfs.gz")
    rm -r "$disk/initramfs"
}

# vm_accelerator BASE: KVM where a guest really runs with it, else QEMU's own emulation. There are computers whose /dev/kvm makes VMs that hang.
vm_accelerator() {
    local answer=$RUN/kvm
    if [ ! -e "$answer" ]; then
        if [ -w /dev/kvm ] && timeout --kill-after=5 20 qemu-system-x86_64 -accel kvm -cpu host -m 256 -nographic -no-reboot -kernel "$1/vmlinuz" \
            -initrd "$1/initramfs.gz" -append 'console=ttyS0 quiet sandbox.probe' </dev/null 2>/dev/null | grep -q 'the guest runs'; then
            echo 'kvm -cpu host' >"$answer"
        else
            echo 'tcg,thread=multi,tb-size=1024 -cpu max' >"$answer"
        fi
    fi
    cat "$answer"
}

# vm_boot NAME TAP: returns as soon as QEMU runs. Not `cache=unsafe`: what the guest has synced is on the disk, what it has not is lost with QEMU.
vm_boot() {
    local name=$1 tap=$2 disk=$DISKS/$1 base accelerator pid address more=()
    base=$(dirname "$(cat "$disk/base")")
    address=$(cat "$disk/address")
    mkdir -p "$RUN/$name"
    if [ -e "$disk/disk" ]; then more=(-drive "if=virtio,format=raw,cache=writeback,file=$(cat "$disk/disk")"); fi
    read -ra accelerator <<<"$(vm_accelerator "$base")"
    ip tuntap add dev "$tap" mode tap
    lan_plug "$tap"
    setsid nsenter --net="/run/netns/$LAN" -- qemu-system-x86_64 -name "$name" -accel "${accelerator[@]}" -smp 2 -m 8192 -display none \
        -serial "file:$RUN/$name/console.log" -monitor none -kernel "$base/vmlinuz" -initrd "$disk/initramfs.gz" -append 'console=ttyS0 quiet' \
        -drive "if=virtio,format=qcow2,cache=writeback,file=$disk/disk.qcow2" -drive "if=virtio,format=raw,cache=writeback,file=$disk/data.img" "${more[@]}" \
        -netdev "tap,id=lan,ifname=$tap,script=no,downscript=no" \
        -device "virtio-net-pci,netdev=lan,mac=$(printf '52:54:00:a8:0b:%02x' "${address##*.}")" >"$RUN/$name/qemu.log" 2>&1 </dev/null &
    pid=$!
    disown
    echo "$pid" >"$RUN/$name/qemu"
    for _ in $(seq 100); do
        [ ! -s "$RUN/$name/console.log" ] || return 0
        kill -0 "$pid" 2>/dev/null || break
        sleep 0.1
    done
    if kill -0 "$pid" 2>/dev/null; then return; fi
    cat "$RUN/$name/qemu.log" >&2
    echo "sandbox: the VM $name did not start; the lines above are what QEMU said" >&2
    return 1
}

vm_ssh_options() {
    printf '%s\n' -S "$RUN/$1/ssh" -i "$DISKS/$1/key" -o BatchMode=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR \
        -F none "root@$(cat "$DISKS/$1/address")"
}

# vm_connect NAME: the connection that all commands go through, unless it is there. It ends with the VM.
vm_connect() {
    local options
    mapfile -t options < <(vm_ssh_options "$1")
    if ssh -O check "${options[@]}" 2>/dev/null; then return; fi
    setsid nsenter --net="/run/netns/$LAN" -- ssh -M -N -f -o ConnectTimeout=20 -o ServerAliveInterval=15 -o ServerAliveCountMax=4 \
        "${options[@]}" </dev/null >/dev/null 2>&1
}

# vm_exec NAME CMD...: becomes that command, as root in the VM
vm_exec() {
    local name=$1 options terminal=()
    shift
    vm_leader "$name" >/dev/null || {
        echo "sandbox: the VM $name does not run: boot it with \`sandbox up $name\`" >&2
        exit 125
    }
    vm_connect "$name" || {
        echo "sandbox: the VM $name does not answer yet; \`sandbox up $name\` waits for it, its console is $RUN/$name/console.log" >&2
        exit 125
    }
    mapfile -t options < <(vm_ssh_options "$name")
    if [ -t 0 ] && [ -t 1 ]; then terminal=(-t); fi
    exec ssh -o ControlMaster=no "${terminal[@]}" "${options[@]}" "exec $(printf '%q ' "${CLEAN_ENVIRONMENT[@]}" "$@")"
}

# vm_wait_ready NAME: its services are up, and snapd takes orders. An emulated one takes its time.
vm_wait_ready() {
    local name=$1 begin=$SECONDS
    while vm_leader "$name" >/dev/null && [ $((SECONDS - begin)) -lt 900 ]; do
    
        if (vm_exec "$name" systemctl is-active -q multi-user.target) 2>/dev/null; then
            (vm_exec "$name" timeout 600 snap wait system seed.loaded) && return
        fi
        sleep 1
    done
    tail -n 5 "$RUN/$name/console.log" >&2
    echo "sandbox: the VM $name did not get ready; the lines above are the end of its console, $RUN/$name/console.log" >&2
    return 1
}

# Cuts its power: what it has not synced is lost.
vm_kill() {
    local name=$1 pid options
    if pid=$(vm_leader "$name"); then
        kill -9 "$pid"
        for _ in $(seq 100); do kill -0 "$pid" 2>/dev/null || break; sleep 0.05; done
    fi
    if [ -e "$RUN/$name/ssh" ]; then
        mapfile -t options < <(vm_ssh_options "$name")
        ssh -O exit "${options[@]}" 2>/dev/null || true
    fi
    rm -f "$RUN/$name/qemu" "$RUN/$name/ssh"
}
