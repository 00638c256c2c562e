#!/usr/bin/env bash
# What runs on the cluster, from Go modules: MetalLB with its manifest, CoreDNS, the hostpath provisioner; and the image registry.
# Each has a go.mod of its own, so that one's dependencies do not move another's.
# inputs: tests/sandbox/go/metallb tests/sandbox/go/coredns tests/sandbox/go/local-path-provisioner tests/sandbox/go/registry
# packages: ca-certificates
set -euo pipefail
out=$1
cd "$(dirname "$0")/../go"

# program MODULE-FOLDER PACKAGE NAME
program() {
    (cd "$1" && go build -trimpath -ldflags '-s -w' -o "$out/bin/$3" "$2")
}

program metallb go.universe.tf/metallb/controller metallb-controller
program metallb go.universe.tf/metallb/speaker metallb-speaker
program coredns github.com/coredns/coredns coredns
program local-path-provisioner github.com/rancher/local-path-provisioner local-path-provisioner
program registry github.com/distribution/distribution/v3/cmd/registry registry

mkdir "$out/manifests"
install -m644 "$(cd metallb && go list -m -f '{{.Dir}}' go.universe.tf/metallb)/config/manifests/metallb-native.yaml" "$out/manifests/"
