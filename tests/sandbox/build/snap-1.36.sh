#!/usr/bin/env bash
# The snap of era 1.36's store: the stand-in for MicroK8s 1.36, which is that for 1.34 with the differences in microk8s/1.36.sed.
# needs: kubernetes-1.36 components-1.36 containerd
# inputs: tests/sandbox/microk8s/1.34 tests/sandbox/microk8s/1.36.sed tests/sandbox/microk8s/shared tests/sandbox/build/snap.sh
# packages: squashfs-tools
set -euo pipefail
VERSION=1.36 KUBERNETES_DIR=$KUBERNETES_1_36_DIR COMPONENTS_DIR=$COMPONENTS_1_36_DIR exec "$(dirname "$0")/snap.sh" "$1"
