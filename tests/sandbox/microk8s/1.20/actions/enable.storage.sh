#!/usr/bin/env bash
# Stands in for MicroK8s' addon storage.
set -e

. "$SNAP/actions/common/utils.sh"

echo "Enabling default storage class"
run_with_sudo mkdir -p "$SNAP_COMMON/default-storage"
use_manifest storage apply
echo "Storage will be available soon"
