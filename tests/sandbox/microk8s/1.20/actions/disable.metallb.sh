#!/usr/bin/env bash
# Stands in for MicroK8s' addon metallb.
set -e

. "$SNAP/actions/common/utils.sh"

echo "Disabling MetalLB"
"${KUBECTL[@]}" delete namespaces metallb-system
echo "MetalLB is terminating"
