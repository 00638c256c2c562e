#!/usr/bin/env bash
# containerd 2.2 with its shim and ctr, from its Go module: Kubernetes 1.36 wants a containerd 2, and Debian 12 has 1.6. runc is Debian's.
# inputs: tests/sandbox/go/containerd
# packages: ca-certificates
set -euo pipefail
out=$1
cd "$(dirname "$0")/../go/containerd"
module=github.com/containerd/containerd/v2
version=$(go list -m -f '{{.Version}}' $module)
for program in containerd containerd-shim-runc-v2 ctr; do
    go build -trimpath -ldflags "-s -w -X $module/version.Version=$version" -o "$out/bin/$program" "$module/cmd/$program"
done
