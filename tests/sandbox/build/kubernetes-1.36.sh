#!/usr/bin/env bash
# Kubernetes of MicroK8s 1.36 from its Go module, every component in one program. It runs only on a machine with cgroup v2.
# inputs: tests/sandbox/go/kubelite tests/sandbox/go/kubelite-1.36 tests/sandbox/build/kubernetes.sh
# packages: ca-certificates
set -euo pipefail
MODFILE=../kubelite-1.36/go.mod exec "$(dirname "$0")/kubernetes.sh" "$1"
