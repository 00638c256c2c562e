#!/usr/bin/env bash
# Kubernetes from its Go module, every component in one program. The version is the one of MicroK8s 1.34; kubernetes-1.36.sh asks for another.
# inputs: tests/sandbox/go/kubelite
# packages: ca-certificates
set -euo pipefail
out=$1
cd "$(dirname "$0")/../go/kubelite"
modfile=${MODFILE:-go.mod}
version=$(go list -modfile="$modfile" -m -f '{{.Version}}' k8s.io/kubernetes)
IFS=. read -r major minor _ <<<"${version#v}"
# Kubernetes' own build stamps the version this way; without it, the API server calls itself v0.0.0.
p=k8s.io/component-base/version
go build -modfile="$modfile" -trimpath -ldflags "-s -w -X $p.gitVersion=$version -X $p.gitMajor=$major -X $p.gitMinor=$minor" -o "$out/bin/kubelite" .
