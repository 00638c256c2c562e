# shellcheck shell=bash
# Stands in for MicroK8s' own actions/common/utils.sh: what its commands, services and hooks share. It runs with `set -u`, and names $USER
# unguarded, as the real one does: a caller without USER and without permission gets bash's complaint instead of the advice.

use_snap_env() {
    export PATH="$SNAP/usr/bin:$SNAP/bin:$REAL_PATH"
    export LC_ALL=C.UTF-8 LANG=C.UTF-8
    export XDG_RUNTIME_DIR="$SNAP_COMMON/run"
    mkdir -p "$XDG_RUNTIME_DIR"
}

# MicroK8s sleeps for fixed times in many places. Here it sleeps for the part of them that $PACE says, so that tests are short.
pause() { sleep "$(awk "BEGIN {print $1 * $PACE}")"; }

# Permission is whether the caller can read the admin's kubeconfig, so before the install hook has made it even root is refused.
exit_if_no_permissions() {
    [ ! -r "$SNAP_DATA/credentials/client.config" ] || return 0
    echo "Insufficient permissions to access MicroK8s." >&2
    cat >&2 <<TEXT
You can either try again with sudo or add the user $USER to the 'microk8s' group:

    sudo usermod -a -G microk8s $USER
    sudo chown -R $USER ~/.kube

After this, reload the user groups either via a reboot or by running 'newgrp microk8s'.
TEXT
    exit 1
}

exit_if_stopped() {
    [ -e "$SNAP_DATA/var/lock/stopped.lock" ] || return 0
    echo "microk8s is not running, try microk8s start" >&2
    exit 1
}

# Root goes through sudo too, and so opens a session.
run_with_sudo() { sudo -E PATH="$PATH" "$@"; }

# What MicroK8s keeps of a program's arguments is read as words of bash: quotes, variables and comments count.
# shellcheck disable=SC2034,SC2155
read_args() { declare -ga args="($(cat "$SNAP_DATA/args/$1"))"; }

# set_arg NAME VALUE FILE, drop_arg NAME FILE: a new argument goes on top of its file.
set_arg() {
    local file="$SNAP_DATA/args/$3"
    if grep -q "^--$1=" "$file"; then
        run_with_sudo sed -i "s@^--$1=.*@--$1=$2@" "$file"
    else
        run_with_sudo sed -i "1i--$1=$2" "$file"
    fi
}
drop_arg() { run_with_sudo sed -i "/--$1[= ]/d" "$SNAP_DATA/args/$2"; }

# restart_service NAME: all programs of Kubernetes live in kubelite.
restart_service() {
    local service=kubelite
    [[ $1 =~ ^(apiserver|kubelet|proxy|scheduler|controller-manager)$ ]] || service=$1
    run_with_sudo snapctl restart "microk8s.daemon-$service"
}

# The address of the interface that has the default route.
get_default_ip() {
    local dev
    dev=$(ip route show default | sed -n 's/.* dev \([^ ]*\).*/\1/p;q')
    ip -o -4 addr list ${dev:+"$dev"} | awk '{sub("/.*", "", $4); print $4; exit}'
}

# All addresses of the machine but those of the pod network.
get_ips() {
    local own
    own=$(ip -o -4 addr list cni0 2>/dev/null | awk '{sub("/.*", "", $4); print $4}')
    hostname -I | tr ' ' '\n' | grep -vxF -e "${own:-none}" -e '' | paste -sd' '
}

# Prints the first resolv.conf that has only servers other than this machine; nothing if there is none.
find_resolv_conf() {
    local file
    for file in /etc/resolv.conf /run/systemd/resolve/resolv.conf; do
        if grep -q '^nameserver' "$file" 2>/dev/null && ! grep -qE '^nameserver +(127\.|::1)' "$file"; then
            echo "$file"
            return
        fi
    done
}

is_apiserver_ready() {
    [ "$(curl -s -m 5 --cert "$SNAP_DATA/certs/server.crt" --key "$SNAP_DATA/certs/server.key" --cacert "$SNAP_DATA/certs/ca.crt" \
        https://127.0.0.1:16443/readyz 2>/dev/null)" = ok ]
}

# Up to 60 s for a node that is Ready; that it did not come is nobody's failure.
wait_for_node() {
    local end=$((SECONDS + 60))
    until "$SNAP/kubectl" --kubeconfig="$SNAP_DATA/credentials/client.config" get no 2>/dev/null | grep -q " Ready"; do
        [ $SECONDS -lt $end ] || return 0
        sleep 2
    done
}

containers() { "$SNAP/microk8s-ctr.wrapper" "$@" | awk 'NR > 1 {print $1}'; }

# Three lists of tasks and containers, as MicroK8s makes them: without containerd each of them complains on stderr.
remove_all_containers() {
    local name
    for name in $(containers task ls); do "$SNAP/microk8s-ctr.wrapper" task kill -s SIGKILL "$name" &>/dev/null || true; done
    for name in $(containers task ls); do "$SNAP/microk8s-ctr.wrapper" task delete --force "$name" &>/dev/null || true; done
    for name in $(containers containers ls); do "$SNAP/microk8s-ctr.wrapper" container delete "$name" &>/dev/null || true; done
    run_with_sudo iptables-legacy -t nat -F CNI-HOSTPORT-DNAT &>/dev/null || true
}

# MicroK8s sends SIGKILL to the control groups of its services. Where systemd cannot read those, it is the shims themselves that must end.
kill_all_container_shims() {
    run_with_sudo systemctl kill snap.microk8s.daemon-kubelite.service --signal=SIGKILL &>/dev/null || true
    run_with_sudo systemctl kill snap.microk8s.daemon-containerd.service --signal=SIGKILL &>/dev/null || true
    run_with_sudo pkill -KILL -f "^[^ ]*containerd-shim.*-address $SNAP_COMMON/run/containerd.sock" &>/dev/null || true
}

start_all_containers() {
    local name
    for name in $(containers task ls); do "$SNAP/microk8s-ctr.wrapper" task resume "$name" &>/dev/null || true; done
}
