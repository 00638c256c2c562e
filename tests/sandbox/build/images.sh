#!/usr/bin/env bash
# The LAN's image registry, filled: builds pause and the stand-ins for IRIS and Longhorn, makes the images of images.toml and pushes them to a registry of its own,
# whose storage directory is the result. The list of digests lies beside it.
# needs: components components-1.20
# inputs: tests/sandbox/lib/fill-registry.sh tests/sandbox/images/*.py tests/sandbox/images/images.toml tests/sandbox/images/i*.sh tests/sandbox/images/registry.yml
# inputs: tests/sandbox/images/pause tests/sandbox/images/hostpath-provisioner tests/sandbox/iris tests/sandbox/longhorn/*.go tests/sandbox/longhorn/go.*
# packages: busybox-static tini python3
set -euo pipefail
out=$1
cd "$(dirname "$0")/.."
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
# shellcheck source=/dev/null # checked on its own
. lib/fill-registry.sh

(cd images/pause && go build -trimpath -ldflags '-s -w' -o "$scratch/built/pause" .)
(cd images/hostpath-provisioner && go build -trimpath -ldflags '-s -w' -o "$scratch/built/hostpath-provisioner" .)
(cd longhorn && go build -trimpath -ldflags '-s -w' -o "$scratch/built/longhorn" .)
(cd iris && go build -trimpath -ldflags '-s -w' -o "$scratch/built/iris" .)

fill_registry "$out" --source "built=$scratch/built" --source "components=$COMPONENTS_DIR" --source "components-1.20=$COMPONENTS_1_20_DIR" \
    --source debian=/ --source "images=$PWD/images" | tee "$out/digests.txt"
