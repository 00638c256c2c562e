#!/usr/bin/env bash
# Stands in for MicroK8s' inspect.sh: looks at the services, gathers a report, ends with 1 if a service is down.
set -u

. "$SNAP/actions/common/utils.sh"

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
    journalctl -n 3000 -u "$1" &>"$report/$1/journal.log"
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
echo "Inspecting Certificates"
echo "Inspecting services"
for service in cluster-agent containerd apiserver apiserver-kicker control-plane-kicker proxy kubelet scheduler controller-manager; do
    check_service "snap.microk8s.daemon-$service"
done
echo "  Copy service arguments to the final report tarball"
cp -r "$SNAP_DATA/args" "$report"
echo "Inspecting AppArmor configuration"
echo "Gathering system information"
copy "processes list" sys/ps ps -ef
copy "snap list" sys/snap-list snap list
copy "VM name (or none)" sys/vm_name systemd-detect-virt
copy "disk usage information" sys/disk_usage df -h
copy "memory usage information" sys/memory_usage free -m
copy "server uptime" sys/uptime uptime
copy "current linux distribution" sys/lsb_release cat /etc/os-release
copy "openSSL information" sys/openssl openssl version -v -d -e
copy "network configuration" network/ip-addr ip addr
echo "Inspecting kubernetes cluster"
echo "  Inspect kubernetes cluster"
mkdir -p "$report/k8s"
for what in all pv pvc; do /snap/bin/microk8s kubectl get "$what" --all-namespaces -o wide &>"$report/k8s/get-$what"; done
echo "Inspecting juju"
echo "  Inspect Juju"
echo "Inspecting kubeflow"
echo "  Inspect Kubeflow"
echo
echo "Building the report tarball"
tarball=$SNAP_DATA/inspection-report-$(date +%Y%m%d_%H%M%S).tar.gz
tar -C "$SNAP_DATA" -czf "$tarball" inspection-report
echo "  Report tarball is at $tarball"
exit $code
