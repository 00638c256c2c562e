#!/usr/bin/env bash
# Stands in for MicroK8s' addon dns.
set -e

. "$SNAP/actions/common/utils.sh"

echo "Disabling DNS"
echo "Reconfiguring kubelet"
echo "Removing DNS manifest"
if "${KUBECTL[@]}" get po -n kube-system 2>&1 | grep -q coredns; then use_manifest coredns delete; fi
# MicroK8s sleeps for 15 seconds, in which the pods go.
for _ in $(seq 15); do
    "${KUBECTL[@]}" get po -n kube-system | grep -q coredns || break
    sleep 1
done
drop_arg cluster-domain kubelet
drop_arg cluster-dns kubelet
restart_service kubelet
# Not shortened: kubelet takes ten seconds to come back, and a pod that is deleted meanwhile may never go.
sleep 15
echo "DNS is disabled"
