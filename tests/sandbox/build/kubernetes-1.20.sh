#!/usr/bin/env bash
# Kubernetes 1.20, every component in one program, from Debian's source package: the Go modules of that time no longer build by themselves,
# but the package holds all of them. It builds the way Debian builds it, in GOPATH mode and with Debian's Go.
# inputs: tests/sandbox/go/kubernetes-1.20 tests/sandbox/lib/source-package.sh
# packages: dpkg-dev golang-1.19-go golang-github-modern-go-reflect2-dev
set -euo pipefail
out=$1
here=$(cd "$(dirname "$0")/.." && pwd)
# shellcheck source=/dev/null # checked on its own
. "$here/lib/source-package.sh"
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT

source_package "$work" kubernetes --download-only
export GOPATH=$work/gopath GO111MODULE=off GOFLAGS='' PATH=/usr/lib/go-1.19/bin:$PATH
tree=$GOPATH/src/k8s.io/kubernetes
mkdir -p "$tree"
tar -xf "$work"/kubernetes_*.orig.tar.gz -C "$tree" --strip-components=1
# the version that Debian calls 1.20.5+really1.20.2
version=$(echo "$work"/kubernetes_*.orig.tar.gz | sed 's/.*really\(.*\)\.orig.*/\1/')
cd "$tree"

# The vendored reflect2 walks maps in a way that Go 1.18 and later do not allow: the API server would crash.
rm -rf vendor/github.com/modern-go/reflect2
cp -r /usr/share/gocode/src/github.com/modern-go/reflect2 vendor/github.com/modern-go/

# The package lacks the OpenAPI definitions, which Kubernetes' makefile generates from what carries this mark.
pkg=k8s.io/kubernetes
go build -trimpath -o "$work/openapi-gen" $pkg/vendor/k8s.io/kube-openapi/cmd/openapi-gen
# vendor's folders are links, which only -R follows
marked=$(grep -Rl --include='*.go' '+k8s:openapi-gen=' pkg cmd plugin vendor/k8s.io | grep -vE 'code-generator|sample-|_test\.go' |
    xargs -n 1 dirname | LC_ALL=C sort -u | sed "s#^#$pkg/#" | paste -sd,)
"$work/openapi-gen" --logtostderr -i "$marked" -p $pkg/pkg/generated/openapi -O zz_generated.openapi \
    -h hack/boilerplate/boilerplate.generatego.txt -r /dev/null

cp -r "$here/go/kubernetes-1.20" cmd/kubelite
v=$pkg/vendor/k8s.io/component-base/version
IFS=. read -r major minor _ <<<"$version"
go build -trimpath -ldflags "-s -w -X $v.gitVersion=v$version -X $v.gitMajor=$major -X $v.gitMinor=$minor" -o "$out/bin/kubelite" $pkg/cmd/kubelite
