#!/usr/bin/env bash
# Stands in for MicroK8s' addon dns.
set -e

. "$SNAP/actions/common/utils.sh"

echo "Disabling DNS"
echo "Reconfiguring kubelet"
echo "Removing DNS manifest"
if "${KUBECTL[@]}" get po -n kube-system 2>&1 | grep -q coredns; then use_manifest coredns delete; fi
pause 15
drop_arg cluster-domain kubelet
drop_arg cluster-dns kubelet
restart_service kubelet
pause 15
echo "DNS is disabled"
