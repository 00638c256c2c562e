#!/usr/bin/env bash
# The snap store's folder: the era's snaps with their declarations and revisions, signed by the fake store with upstream's test keys. What MicroK8s
# stands on is there, too: empty stand-ins, as in the machine, for whoever downloads a snap with all that it needs.
# needs: snap snapd
# packages: squashfs-tools
set -euo pipefail
out=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export SNAPPY_TESTING=1 SNAPPY_USE_STAGING_STORE=0

# base NAME VERSION TYPE
base() {
    local tree=$work/$1
    mkdir -p "$tree"/{meta,usr/lib/snapd}
    printf 'name: %s\nversion: "%s"\ntype: %s\nsummary: empty stand-in\ndescription: empty stand-in\narchitectures: [amd64]\n' "$@" >"$tree/meta/snap.yaml"
    echo VERSION=1 >"$tree/usr/lib/snapd/info"
    mksquashfs "$tree" "$work/$1_$2.snap" -noappend -comp xz -all-root -quiet -no-progress
}
base core 16 os
base core22 22 base
base snapd 2.57 snapd

for snap in "$SNAP_DIR"/*.snap "$work"/*.snap; do
    [ -e "$snap" ] || { echo "no snaps in $SNAP_DIR"; continue; }
    cp --reflink=auto "$snap" "$out/"
    for assertion in new-snap-declaration new-snap-revision; do
        "$SNAPD_DIR/bin/fakestore" "$assertion" --dir "$out" "$out/${snap##*/}"
    done
done
