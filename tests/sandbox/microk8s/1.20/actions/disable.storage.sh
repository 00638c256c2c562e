#!/usr/bin/env bash
# Stands in for MicroK8s' addon storage: it asks whether the data may go after everything else has gone, and without an answer fails.
set -e

. "$SNAP/actions/common/utils.sh"

echo "Disabling default storage"
use_manifest storage delete
pause 5
echo "Storage removed"
if [ "$1" != destroy-storage ]; then
    read -rp "Remove PVC storage at $SNAP_COMMON/default-storage ? (Y/N): " answer
    [[ $answer =~ ^[yY]([eE][sS])?$ ]] || exit 1
fi
run_with_sudo rm -rf "$SNAP_COMMON/default-storage"
echo "Storage space reclaimed"
