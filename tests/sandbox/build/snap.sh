#!/usr/bin/env bash
# needs: kubernetes components
# inputs: tests/sandbox/microk8s
# packages: squashfs-tools
#
# The store's snap: the stand-in for MicroK8s 1.34; snap-1.36.sh packs that version by this script. Called as `snap.sh OUTDIR`.
# MicroK8s is packed without compression: it is quick, and its download has about the size of the real one.
set -euo pipefail
here=$(cd "$(dirname "$0")/../microk8s" && pwd)
out=$1
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

# cut_manifest FILE CRDS REST: MicroK8s applies MetalLB's CRDs first, in a call of their own.
cut_manifest() {
    awk -v crds="$2" -v rest="$3" 'BEGIN {RS = "---\n"} NF {print "---\n" $0 > (/\nkind: CustomResourceDefinition\n/ ? crds : rest)}' "$1"
}

# crd PLURAL GROUP KIND: a CRD of Calico by name only, of which any object is valid.
crd() {
    local scope=Cluster
    [[ $1 != networkpolicies && $1 != networksets ]] || scope=Namespaced
    cat <<CRD
---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata:
  name: $1.$2
  annotations: {api-approved.kubernetes.io: unapproved}
spec:
  group: $2
  scope: $scope
  names: {plural: $1, singular: ${3,,}, kind: $3, listKind: $3List}
  versions:
    - name: v1
      served: true
      storage: true
      schema:
        openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}
CRD
}

pack_microk8s() {
    local version=$1 root=$tmp/microk8s-$1 metallb name plural group kind
    cp -r "$here/1.34" "$root"
    cp -r "$here/shared/lib" "$root/lib"
    # Another version is the same but for the lines that its list of differences changes, and with containerd of its own where the host's is too old.
    if [ "$version" != 1.34 ]; then
        find "$root" -type f -exec sed -i -f "$here/$version.sed" {} +
        cp -r "$CONTAINERD_DIR/bin/." "$root/bin/"
    fi

    install -m755 "$KUBERNETES_DIR/bin/kubelite" "$root/bin/kubernetes"
    for name in kube-apiserver kube-controller-manager kube-scheduler kube-proxy kubelet kubectl; do ln -s bin/kubernetes "$root/$name"; done

    metallb=$root/addons/core/addons/metallb
    cut_manifest "$COMPONENTS_DIR/manifests/metallb-native.yaml" "$metallb/crd.yaml" "$metallb/metallb.yaml"

    while read -r plural group kind; do crd "$plural" "$group" "$kind"; done <"$root/cni/crds.txt" >"$root/cni/cni.yaml"
    { echo ---; cat "$root/cni/calico.yaml"; } >>"$root/cni/cni.yaml"
    rm "$root/cni/calico.yaml" "$root/cni/crds.txt"

    mksquashfs "$root" "$out/microk8s_$version.snap" -noappend -all-root -no-xattrs -noI -noD -noF -noX -quiet -no-progress
}

pack_microk8s "${VERSION:-1.34}"

ls -l "$out"
