#!/usr/bin/env bash
# Stands in for MicroK8s' inspect.sh: looks at the services, gathers a report, ends with 1 if a service is down. Like the real one it resolves the
# names of addresses in iptables' rules, and so does not end while the DNS server cannot be reached.
set -u

. "$SNAP/lib/utils.sh"

if [ "$*" = --help ] || [ "$*" = -h ]; then
    cat <<TEXT
This script will inspect your microk8s installation. It will report any issue it finds,
and create a tarball of logs and traces which can be attached to an issue filed against
the microk8s project.
TEXT
    exit 0
fi

report=$SNAP_DATA/inspection-report
code=0

check_service() {
    mkdir -p "$report/$1"
    journalctl -n 100000 -u "$1" &>"$report/$1/journal.log"
    if systemctl status "$1" &>"$report/$1/systemctl.log"; then
        echo "  Service $1 is running"
    else
        printf '\033[31m FAIL: \033[0m Service %s is not running\n' "$1"
        echo "For more details look at: sudo journalctl -u $1"
        code=1
    fi
}

# copy WHAT FILE COMMAND...
copy() {
    echo "  Copy $1 to the final report tarball"
    mkdir -p "$(dirname "$report/$2")"
    "${@:3}" &>"$report/$2"
}

rm -rf "$report"
mkdir -p "$report"
echo "Inspecting system"
echo "Inspecting Certificates"
echo "Inspecting services"
for service in cluster-agent containerd kubelite k8s-dqlite apiserver-kicker; do check_service "snap.microk8s.daemon-$service"; done
echo "  Copy service arguments to the final report tarball"
cp -r "$SNAP_DATA/args" "$report"
echo "Inspecting AppArmor configuration"

echo "Gathering system information"
copy "processes list" sys/ps ps -ef
copy "disk usage information" sys/disk_usage df -h
copy "memory usage information" sys/memory_usage free -m
copy "server uptime" sys/uptime uptime
copy "openSSL information" sys/openssl openssl version -v -d -e
copy "snap list" sys/snap-list snap list
copy "VM name (or none)" sys/vm_name systemd-detect-virt
copy "current linux distribution" sys/lsb_release cat /etc/os-release
copy "asnycio usage and limits" sys/aio-max-nr sysctl fs.aio-max-nr fs.aio-nr
copy "inotify max_user_instances and max_user_watches" sys/inotify sysctl fs.inotify
copy "network configuration" network/ip-addr ip addr
iptables -t nat -L -n -v &>"$report/network/iptables"
iptables -S &>"$report/network/iptables-S"

echo "Inspecting kubernetes cluster"
echo "  Inspect kubernetes cluster"
mkdir -p "$report/k8s"
/snap/bin/microk8s kubectl get all --all-namespaces -o wide &>"$report/k8s/get-all"
/snap/bin/microk8s kubectl cluster-info dump -A &>"$report/k8s/cluster-info-dump"
echo "Inspecting dqlite"
echo "  Inspect dqlite"
mkdir -p "$report/dqlite"
cp "$SNAP_DATA/var/kubernetes/backend"/{cluster,info}.yaml "$report/dqlite/"

echo
if iptables -L 2>&1 | grep FORWARD | grep -q DROP; then
    printf '\033[0;33m WARNING: \033[0m IPtables FORWARD policy is DROP. Consider enabling traffic forwarding with: sudo iptables -P FORWARD ACCEPT \n'
    echo "The change can be made persistent with: sudo apt-get install iptables-persistent"
fi

echo "Building the report tarball"
tarball=$report-$(date +"%Y%m%d_%H%M%S").tar.gz
tar -C "$SNAP_DATA" -czf "$tarball" inspection-report
echo "  Report tarball is at $tarball"
exit $code
