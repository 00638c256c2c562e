#!/usr/bin/env bash
# The image registry of era 1.36: what the other eras have, and the images of 1.36.toml.
# needs: images components components-1.36
# inputs: tests/sandbox/lib/fill-registry.sh tests/sandbox/images/*.py tests/sandbox/images/1.36.toml
# packages: python3
set -euo pipefail
out=$1
cd "$(dirname "$0")/.."
# shellcheck source=/dev/null # checked on its own
. lib/fill-registry.sh

cp -r "$IMAGES_DIR/docker" "$out/"
fill_registry "$out" --images images/1.36.toml --source "components-1.36=$COMPONENTS_1_36_DIR" | tee "$out/digests.txt"
