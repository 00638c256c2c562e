#!/usr/bin/env bash
# Stands in for MicroK8s' addon metallb: it looks at its range with a pattern only, asks for one where there is none, and applies the pool last.
set -e

. "$SNAP/actions/common/utils.sh"

if "${KUBECTL[@]}" get ns metallb-system >/dev/null 2>&1; then
    echo "MetalLB already enabled."
    exit 0
fi

echo "Enabling MetalLB"
read -ra ranges <<<"$1"
if [ ${#ranges[@]} -eq 0 ]; then
    read -rp "Enter each IP address range delimited by comma (e.g. '10.64.140.43-10.64.140.49,192.168.0.105-192.168.0.111'): " input
    if [ -z "$input" ]; then
        echo "You have to input an IP Range value when asked, or provide it as an argument to the enable command, eg:"
        echo "  microk8s enable metallb:10.64.140.43-10.64.140.49,192.168.0.105-192.168.0.111"
        echo "You can also use CIDR notation, eg."
        echo "  microk8s enable metallb:192.168.1.240/24"
        exit 1
    fi
    ranges=("$input")
fi

number='[0-9]+'
address="$number\.$number\.$number\.$number"
addresses=
for range in $(tr , " " <<<"${ranges[*]}"); do
    if ! [[ $range =~ ^$address-$address$ || $range =~ ^$number\.$number\.$number\.[0-9]{1,3}/[0-9]{1,3}$ ]]; then
        echo "Your input value ($range) is not a valid IP Range"
        exit 1
    fi
    addresses+="\n      - $range"
done

echo "Applying Metallb manifest"
secret=$(openssl rand -base64 128 | base64 -w0)
sed "s@\$SECRET@$secret@; s@\$ADDRESSES@addresses:$addresses@" "$SNAP/actions/metallb.yaml" | "${KUBECTL[@]}" apply -f -
echo "MetalLB is enabled"
