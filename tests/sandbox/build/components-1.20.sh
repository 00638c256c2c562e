#!/usr/bin/env bash
# What runs on the cluster of era 1.20, from Go modules: MetalLB 0.9 and CoreDNS 1.8. MetalLB's manifest is part of MicroK8s there.
# inputs: tests/sandbox/go/metallb-0.9 tests/sandbox/go/coredns-1.8
# packages: ca-certificates
set -euo pipefail
out=$1
cd "$(dirname "$0")/../go"

# program MODULE-FOLDER PACKAGE NAME
program() {
    (cd "$1" && go build -trimpath -ldflags '-s -w' -o "$out/bin/$3" "$2")
}

program metallb-0.9 go.universe.tf/metallb/controller metallb-controller
program metallb-0.9 go.universe.tf/metallb/speaker metallb-speaker
program coredns-1.8 github.com/coredns/coredns coredns
