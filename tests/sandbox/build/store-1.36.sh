#!/usr/bin/env bash
# The snap store's folder of era 1.36.
# needs: snap-1.36 snapd
# inputs: tests/sandbox/build/store.sh
# packages: squashfs-tools
set -euo pipefail
SNAP_DIR=$SNAP_1_36_DIR exec "$(dirname "$0")/store.sh" "$1"
