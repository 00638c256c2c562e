#!/usr/bin/env bash
# What runs on the cluster of era 1.36, from Go modules: MetalLB 0.15.3 with its manifest, and CoreDNS 1.14.
# inputs: tests/sandbox/go/metallb-1.36 tests/sandbox/go/coredns-1.36
# packages: ca-certificates
set -euo pipefail
out=$1
cd "$(dirname "$0")/../go"

# program MODULE-FOLDER PACKAGE NAME
program() {
    (cd "$1" && go build -trimpath -ldflags '-s -w' -o "$out/bin/$3" "$2")
}

program metallb-1.36 go.universe.tf/metallb/controller metallb-controller
program metallb-1.36 go.universe.tf/metallb/speaker metallb-speaker
program coredns-1.36 github.com/coredns/coredns coredns

mkdir "$out/manifests"
install -m644 "$(cd metallb-1.36 && go list -m -f '{{.Dir}}' go.universe.tf/metallb)/config/manifests/metallb-native.yaml" "$out/manifests/"
