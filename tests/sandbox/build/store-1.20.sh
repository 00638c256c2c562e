#!/usr/bin/env bash
# The snap store's folder of era 1.20. It is a store of its own because the fake store gives out one snap per name, whatever channel is asked for.
# needs: snap-1.20 snapd
# inputs: tests/sandbox/build/store.sh
# packages: squashfs-tools
set -euo pipefail
SNAP_DIR=$SNAP_1_20_DIR exec "$(dirname "$0")/store.sh" "$1"
