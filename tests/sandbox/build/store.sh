#!/usr/bin/env bash
# The snap store's folder: the era's snaps with their declarations and revisions, signed by the fake store with upstream's test keys.
# needs: snap snapd
# packages: squashfs-tools
set -euo pipefail
out=$1
export SNAPPY_TESTING=1 SNAPPY_USE_STAGING_STORE=0
for snap in "$SNAP_DIR"/*.snap; do
    [ -e "$snap" ] || { echo "no snaps in $SNAP_DIR: a store without any"; break; }
    cp --reflink=auto "$snap" "$out/"
    for assertion in new-snap-declaration new-snap-revision; do
        "$SNAPD_DIR/bin/fakestore" "$assertion" --dir "$out" "$out/${snap##*/}"
    done
done
