# shellcheck shell=bash
# Sourced by the scripts of the parts that are the storage of an image registry.

# fill_registry OUT BUILD-OPTION...: starts a registry on the folder OUT, and has images/build.py push its images there. Expects COMPONENTS_DIR.
fill_registry() (
    out=$1
    shift
    scratch=$(mktemp -d)
    registry=
    finish() {
        [ -z "$registry" ] || kill "$registry"
        rm -rf "$scratch"
    }
    trap finish EXIT

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

    python3 "$(dirname "${BASH_SOURCE[0]}")/../images/build.py" --registry "http://127.0.0.1:$port" "$@"
)
