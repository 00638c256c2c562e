# shellcheck shell=bash
# A running machine: systemd-nspawn on a file system, in control groups of its own. Knows nothing of disks, addresses or the LAN.
# Sourced; expects RUN, the folder for what lives only as long as a machine runs: its name is that of the control groups, too.
#
# The machine's processes live below /iris-mk8s-sandbox/NAME (the folder has the name of RUN) in every control group hierarchy. That keeps two machines apart (each
# systemd and kubelet believes that it owns the whole tree), and is how all of a machine's processes are found when it has to go.

# cgroup_dirs NAME: the machine's folder in every hierarchy
cgroup_dirs() {
    awk -v name="${RUN##*/}/$1" '$3 ~ /^cgroup2?$/ && $2 ~ "^/sys/fs/cgroup" { print $2 "/" name }' /proc/self/mounts
}

# Moves the calling process into the machine's groups, which it makes.
enter_cgroups() {
    local dir parent
    for dir in $(cgroup_dirs "$1"); do
        if [ ! -d "$dir" ]; then
            mkdir -p "$dir"
            if [ -e "$dir/cgroup.controllers" ]; then  # cgroup v2: a group has only the controllers that those above it hand down
                for parent in "${dir%/*/*}" "${dir%/*}"; do hand_down "$parent"; done
            elif [ -e "$dir/cpuset.cpus" ]; then       # v1: a new group of this controller admits nobody before it has these
                for parent in "${dir%/*}" "$dir"; do
                    cat "${parent%/*}/cpuset.cpus" >"$parent/cpuset.cpus"
                    cat "${parent%/*}/cpuset.mems" >"$parent/cpuset.mems"
                done
            fi
        fi
        echo $BASHPID >"$dir/cgroup.procs"
    done
}

# hand_down GROUP: all controllers that it has go to the groups in it; what cannot be handed down stays where it is
hand_down() {
    local controller
    for controller in $(<"$1/cgroup.controllers"); do echo "+$controller" >"$1/cgroup.subtree_control"; done 2>/dev/null || true
}

APPARMOR=/sys/kernel/security/apparmor/policy/namespaces
apparmor_namespace() { echo "${RUN##*/}-$1"; }

# What the calling process becomes next lives in the machine's namespace of AppArmor, where the host has that. The host's profiles go by the paths
# of programs, and would confine those of a machine that lie at the same paths, snap-confine for one. In its own namespace there are none, and the
# machine sees no AppArmor, as one whose kernel has none.
enter_apparmor() {
    [ -d "$APPARMOR" ] || return 0
    mkdir -p "$APPARMOR/$(apparmor_namespace "$1")"
    echo "exec :$(apparmor_namespace "$1"):unconfined" >/proc/self/attr/apparmor/exec
}

# machine_leader NAME: the process that is its PID 1; fails when the machine does not run
machine_leader() {
    local pid
    pid=$(cat "$RUN/$1/leader" 2>/dev/null) || return 1
    # after a reboot of the host the number may belong to anybody
    grep -qs "/${RUN##*/}/$1/" "/proc/$pid/cgroup" || return 1
    echo "$pid"
}

# Loop devices, for snaps are mounted through them: enough for several machines, since all share the host's.
loop_devices() {
    python3 - 64 <<'PYTHON'
import fcntl, os, sys
LOOP_CTL_ADD = 0x4C80
with open("/dev/loop-control") as control:
    for i in range(int(sys.argv[1])):
        if not os.path.exists(f"/dev/loop{i}"):
            try:
                fcntl.ioctl(control, LOOP_CTL_ADD, i)
            except FileExistsError:
                pass
PYTHON
    ls -d /dev/loop-control /dev/loop[0-9]*
}

# machine_boot NAME ROOT CONSOLE-LOG NSPAWN-OPTION...: returns as soon as systemd runs in it
machine_boot() {
    local name=$1 root=$2 console=$3 nspawn leader='' loops
    shift 3
    mkdir -p "$RUN/$name"
    # All machines share one count of root's inotify instances with the host; one with pods takes dozens, and 128 is what a kernel begins with.
    [ "$(cat /proc/sys/fs/inotify/max_user_instances)" -ge 4096 ] || echo 4096 >/proc/sys/fs/inotify/max_user_instances
    # A machine's kernel loads these by itself, or as its snaps ask for them; a container has the host's.
    modprobe -qa loop overlay br_netfilter nf_conntrack 2>/dev/null || true
    mapfile -t loops < <(loop_devices | sed 's/^/--bind=/')
    # API_VFS_WRITABLE: kubelet and udev write to /proc/sys and /sys. TMPFS_TMP=0: a VM's /tmp is on its disk.
    (
        enter_cgroups "$name"
        enter_apparmor "$name"
        export SYSTEMD_NSPAWN_API_VFS_WRITABLE=1 SYSTEMD_NSPAWN_TMPFS_TMP=0
        exec setsid systemd-nspawn --directory="$root" --boot --machine="$name" --private-users=no --register=no --keep-unit \
            --capability=all --system-call-filter='@keyring bpf @module @mount @raw-io' --resolv-conf=off --timezone=off \
            --link-journal=no --bind=/dev/fuse --bind=/dev/kmsg "${loops[@]}" "$@"
    ) >"$console" 2>&1 </dev/null &
    nspawn=$!
    disown
    echo "$nspawn" >"$RUN/$name/nspawn"
    # It forks twice: the machine's PID 1 is the child that has become systemd, an earlier look takes one that is about to go.
    for _ in $(seq 200); do
        if leader=$(pgrep -P "$nspawn" -x systemd); then break; fi
        kill -0 "$nspawn" 2>/dev/null || break
        sleep 0.05
    done
    if [ -z "$leader" ]; then
        tail -n 5 "$console" >&2
        echo "sandbox: the machine $name did not start; the lines above are the end of its console, $console" >&2
        return 1
    fi
    echo "$leader" >"$RUN/$name/leader"
}

# What a command that comes from outside begins with.
CLEAN_ENVIRONMENT=(/usr/bin/env -i HOME=/root USER=root LOGNAME=root SHELL=/bin/bash TERM="${TERM:-dumb}" LANG=C.UTF-8
    PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/snap/bin)

# machine_exec NAME CMD...: becomes that command, as root in the machine; machine_run comes back with its exit status
machine_exec() {
    local name=$1 leader
    shift
    leader=$(machine_leader "$name") || {
        echo "sandbox: the machine $name does not run: boot it with \`sandbox up $name\`" >&2
        exit 125
    }
    enter_apparmor "$name"
    exec nsenter --target "$leader" --mount --uts --ipc --net --pid -- /usr/local/lib/sandbox/enter "${CLEAN_ENVIRONMENT[@]}" "$@"
}
machine_run() { (machine_exec "$@"); }

# machine_wait_ready NAME: its services are up, and snapd takes orders
machine_wait_ready() {
    local name=$1
    for _ in $(seq 600); do
        if machine_run "$name" systemctl is-active -q multi-user.target 2>/dev/null; then
            machine_run "$name" timeout 60 snap wait system seed.loaded && return
            break
        fi
        machine_leader "$name" >/dev/null || break
        sleep 0.1
    done
    machine_run "$name" systemctl list-jobs --no-pager >&2 || true
    echo "sandbox: the machine $name did not get ready; its console is $RUN/$name/console.log" >&2
    return 1
}

machine_pids() {
    local dirs
    mapfile -t dirs < <(cgroup_dirs "$1")
    find "${dirs[@]}" -name cgroup.procs -exec cat {} + 2>/dev/null | sort -un || true
}

# Ends a machine at once, however far it has come: its PID 1 first (the kernel ends the rest of its process namespace), then whoever is left.
machine_kill() {
    local name=$1 leader dir pids
    if leader=$(machine_leader "$name"); then kill -9 "$leader" 2>/dev/null || true; fi
    for i in $(seq 200); do
        pids=$(machine_pids "$name")
        [ -n "$pids" ] || break
        # nspawn ends by itself when its machine has died; what is still there after two seconds does not
        # shellcheck disable=SC2086 # a list of numbers
        if [ "$i" -gt 40 ]; then kill -9 $pids 2>/dev/null || true; fi
        sleep 0.05
    done
    for dir in $(cgroup_dirs "$name"); do
        if [ -d "$dir" ]; then find "$dir" -depth -type d -exec rmdir {} + 2>/dev/null || true; fi
        rmdir "${dir%/*}" 2>/dev/null || true          # the last machine takes the common folder along
    done
    rmdir "$APPARMOR/$(apparmor_namespace "$name")" 2>/dev/null || true
    rm -f "$RUN/$name/leader" "$RUN/$name/nspawn"
}
