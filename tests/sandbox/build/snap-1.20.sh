#!/usr/bin/env bash
# The snap of era 1.20's store: the stand-in for MicroK8s 1.20, packed without compression, so that its download has about the size of the real one.
# needs: kubernetes-1.20
# inputs: tests/sandbox/microk8s/1.20 tests/sandbox/microk8s/shared
# packages: squashfs-tools
set -euo pipefail
out=$1
here=$(cd "$(dirname "$0")/../microk8s" && pwd)
root=$(mktemp -d)/microk8s
trap 'rm -rf "${root%/*}"' EXIT

cp -r "$here/1.20" "$root"
cp -r "$here/shared/lib" "$root/lib"

install -m755 "$KUBERNETES_1_20_DIR/bin/kubelite" "$root/bin/kubernetes"
for name in kube-apiserver kube-controller-manager kube-scheduler kube-proxy kubelet kubectl; do ln -s bin/kubernetes "$root/$name"; done

# Calico's CRDs by name only, in the API version of that time: it needs no schema.
while read -r plural scope kind; do
    cat <<CRD
---
apiVersion: apiextensions.k8s.io/v1beta1
kind: CustomResourceDefinition
metadata: {name: $plural.crd.projectcalico.org}
spec: {scope: $scope, group: crd.projectcalico.org, version: v1, names: {kind: $kind, plural: $plural, singular: ${kind,,}}}
CRD
done <"$root/cni/crds.txt" >"$root/cni/crds.yaml"
sed -e "/^\\\$CRDS/{r $root/cni/crds.yaml" -e 'd}' "$root/cni/calico.yaml" >"$root/cni/cni.yaml"
rm "$root"/cni/{calico.yaml,crds.txt,crds.yaml}

mksquashfs "$root" "$out/microk8s_1.20.snap" -noappend -all-root -no-xattrs -noI -noD -noF -noX -quiet -no-progress
