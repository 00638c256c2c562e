#!/usr/bin/env bash
# Stands in for MicroK8s' addon dns. Kubelet gets its restart last, through sudo: who may not use that is left with a DNS that no pod is told of.
set -e

. "$SNAP/actions/common/utils.sh"

echo "Enabling DNS"
nameservers=${1:-8.8.8.8,8.8.4.4}
if [ "$nameservers" != /etc/resolv.conf ]; then
    for nameserver in ${nameservers//,/ }; do
        if ! [[ $nameserver =~ ^[0-9]+\.[0-9]+\.[0-9]+\.[0-9]+$ ]]; then
            echo "Your input value ($nameserver) is not a valid IP address"
            exit 1
        fi
    done
fi

echo "Applying manifest"
use_manifest coredns apply -e "s@\\\$NAMESERVERS@${nameservers//,/ }@"
pause 5
echo "Restarting kubelet"
set_arg cluster-domain cluster.local kubelet
set_arg cluster-dns 10.152.183.10 kubelet
restart_service kubelet
echo "DNS is enabled"
