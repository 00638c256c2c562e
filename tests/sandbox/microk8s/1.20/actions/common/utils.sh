# shellcheck shell=bash
# Stands in for MicroK8s 1.20's own actions/common/utils.sh: what its commands, services, hooks and addons share. Where 1.20 is like later versions
# it is lib/utils.sh, which this file takes first.

. "$SNAP/lib/utils.sh"

# The host's folders come before the snap's own: a kubectl of the host is what status and enable call.
use_snap_env() { export PATH="$SNAP/usr/bin:$SNAP/bin:$PATH"; }

KUBECTL=("$SNAP/kubectl" --kubeconfig="$SNAP_DATA/credentials/client.config")

exit_if_no_permissions() {
    [ ! -r "$SNAP_DATA/credentials/client.config" ] || return 0
    echo "Insufficient permissions to access MicroK8s." >&2
    cat >&2 <<TEXT
You can either try again with sudo or add the user $USER to the 'microk8s' group:

    sudo usermod -a -G microk8s $USER
    sudo chown -f -R $USER ~/.kube

The new group will be available on the user's next login.
TEXT
    exit 1
}

# set_arg NAME VALUE FILE: a new argument goes to the end of its file.
set_arg() {
    local file="$SNAP_DATA/args/$3"
    if grep -q "^--$1=" "$file"; then
        run_with_sudo sed -i "s;^--$1=.*;--$1=$2;" "$file"
    else
        run_with_sudo sed -i "$ a --$1=$2" "$file"
    fi
}

# restart_service NAME: each program of Kubernetes is a service of its own.
restart_service() { run_with_sudo snapctl restart "microk8s.daemon-$1"; }

# All addresses of the machine but those of the pod network.
get_ips() {
    local own
    own=$(ip -o -4 addr list vxlan.calico 2>/dev/null | awk '{sub("/.*", "", $4); print $4}')
    hostname -I | tr ' ' '\n' | grep -vxF -e "${own:-none}" -e '' | paste -sd' '
}

wait_for_default_route() {
    for _ in $(seq 20); do
        [ -z "$(ip route show default)$(ip -6 route show default)" ] || return 0
        echo "Waiting for default route to appear."
        sleep 6
    done
}

# use_manifest NAME apply|delete [SED-EXPRESSION]...: a failure of kubectl ends the script that called it.
use_manifest() {
    local file=$SNAP_USER_DATA/tmp/temp.$1.yaml
    mkdir -p "$SNAP_USER_DATA/tmp"
    sed -e '' "${@:3}" "$SNAP/actions/$1.yaml" >"$file"
    "${KUBECTL[@]}" "$2" -f "$file"
    rm "$file"
}

# Every addon that has an action or a manifest, so one that nobody can enable as well: registry-help.
get_all_addons() {
    find "$SNAP/actions" -maxdepth 1 ! -name coredns.yaml \( -name '*.yaml' -o -name 'enable.*.sh' \) -printf '%f\n' |
        sed 's/^enable\.//; s/\.[a-z]*$//' | sort -u
}
