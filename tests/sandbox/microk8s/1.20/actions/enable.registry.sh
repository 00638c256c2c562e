#!/usr/bin/env bash
# Stands in for MicroK8s' addon registry: it enables storage first, whether that is enabled or not.
set -e

. "$SNAP/actions/common/utils.sh"

refuse() {
    echo 'The only authorized argument is "size", eg  microk8s.enable registry:size=30Gi'
    echo 'The "size" value should match the regex: ([a-zA-Z]+=[a-zA-Z0-9]+(,|))'
    exit 1
}

size=20Gi
if [ -z "$1" ]; then
    echo "The registry will be created with the default size of 20Gi."
    echo 'You can use the "size" argument while enabling the registry, eg microk8s.enable registry:size=30Gi'
else
    [[ $1 =~ ^size=(.+) ]] || refuse
    size=${BASH_REMATCH[1]}
    if ! [[ $size =~ ^([2-9][0-9]+|[1-9][0-9]{2,})Gi$ ]]; then
        echo "The size of the registry should be higher or equal to 20Gi and match the regex: (^[2-9][0-9]{1,}|^[1-9][0-9]{2,})(Gi\$)"
        exit 1
    fi
fi
"$SNAP/microk8s-enable.wrapper" storage
[ -z "$1" ] || echo "Enabling the private registry"
echo "Applying registry manifest"
use_manifest registry apply -e "s@\\\$DISKSIZE@$size@"
echo "The registry is enabled"
[ -z "$1" ] || echo "The size of the persistent volume is $size"
