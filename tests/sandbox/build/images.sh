#!/usr/bin/env bash
# The LAN's image registry, filled: builds pause and the stand-ins for IRIS and Longhorn, makes the images of images.toml and pushes them to a registry of its own,
# whose storage directory is the result. The list of digests lies beside it.
# needs: components components-1.20
# inputs: tests/sandbox/images tests/sandbox/iris tests/sandbox/longhorn/*.go tests/sandbox/longhorn/go.*
# packages: busybox-static tini python3
set -euo pipefail
out=$1
cd "$(dirname "$0")/.."
scratch=$(mktemp -d)
registry=
finish() {
    [ -z "$registry" ] || kill "$registry"
    rm -rf "$scratch"
}
trap finish EXIT

(cd images/pause && go build -trimpath -ldflags '-s -w' -o "$scratch/built/pause" .)
(cd images/hostpath-provisioner && go build -trimpath -ldflags '-s -w' -o "$scratch/built/hostpath-provisioner" .)
(cd longhorn && go build -trimpath -ldflags '-s -w' -o "$scratch/built/longhorn" .)
(cd iris && go build -trimpath -ldflags '-s -w' -o "$scratch/built/iris" .)

# A free port of the loopback, asked of the kernel.
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
cat >"$scratch/registry.yml" <<CONFIG
version: 0.1
log: {level: error, accesslog: {disabled: true}}
storage: {filesystem: {rootdirectory: $out}}
http: {addr: "127.0.0.1:$port"}
CONFIG
OTEL_TRACES_EXPORTER=none "$COMPONENTS_DIR/bin/registry" serve "$scratch/registry.yml" &
registry=$!
up=
for _ in $(seq 100); do
    if (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then up=1; break; fi
    kill -0 "$registry" || break
    sleep 0.1
done
[ -n "$up" ] || { echo "images: the registry did not start; its messages are above" >&2; exit 1; }

python3 images/build.py --registry "http://127.0.0.1:$port" --source "built=$scratch/built" --source "components=$COMPONENTS_DIR" \
    --source "components-1.20=$COMPONENTS_1_20_DIR" \
    --source debian=/ --source "images=$PWD/images" | tee "$out/digests.txt"
