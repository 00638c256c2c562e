# shellcheck shell=bash
# Stands in for the part of MicroK8s' utils.sh that makes certificates and kubeconfigs: a CA of ten years, certificates of one, x509 users.
# Runs in the install hook and for `refresh-certs`; the real one also makes the server's anew when the machine's addresses change.

C=$SNAP_DATA/certs

new_ca() {
    openssl req -x509 -newkey rsa:2048 -nodes -keyout "$C/$1.key" -out "$C/$1.crt" -days 3650 -subj "/CN=$2" \
        -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign,cRLSign 2>/dev/null
}

# new_cert NAME SUBJECT CA [SANS]: of the requests MicroK8s keeps two.
new_cert() {
    openssl req -newkey rsa:2048 -nodes -keyout "$C/$1.key" -out "$C/$1.csr" -subj "$2" 2>/dev/null
    openssl x509 -req -sha256 -in "$C/$1.csr" -CA "$C/$3.crt" -CAkey "$C/$3.key" -CAcreateserial -days 365 -out "$C/$1.crt" \
        -extfile <(printf 'keyUsage=keyEncipherment,dataEncipherment,digitalSignature\nextendedKeyUsage=serverAuth,clientAuth\n%s\n' \
            "${4:+subjectAltName=$4}") 2>/dev/null
    [[ $1 =~ ^(server|front-proxy-client)$ ]] || rm "$C/$1.csr"
}

# new_kubeconfig NAME USER CERTIFICATE
new_kubeconfig() {
    cat >"$SNAP_DATA/credentials/$1.config" <<CONFIG
apiVersion: v1
clusters:
- cluster:
    certificate-authority-data: $(base64 -w0 "$C/ca.crt")
    server: https://127.0.0.1:16443
  name: microk8s-cluster
contexts:
- context:
    cluster: microk8s-cluster
    user: $2
  name: microk8s
current-context: microk8s
kind: Config
preferences: {}
users:
- name: $2
  user:
    client-certificate-data: $(base64 -w0 "$C/$3.crt")
    client-key-data: $(base64 -w0 "$C/$3.key")
CONFIG
}

# The addresses that certificates of servers name.
sans() {
    local ip sans="IP:127.0.0.1,IP:10.152.183.1"
    for ip in $(get_ips); do sans+=",IP:$ip"; done
    echo "$sans"
}

new_server_cert() {
    new_cert server /C=GB/ST=Canonical/L=Canonical/O=Canonical/OU=Canonical/CN=127.0.0.1 ca \
        "$(sans),DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,DNS:kubernetes.default.svc.cluster.local"
}

make_certs_and_kubeconfigs() {
    local node
    node=$(hostname | tr '[:upper:]' '[:lower:]')
    mkdir -p "$C" "$SNAP_DATA/credentials"
    # A key that is there stays: tokens of pods are signed with it.
    [ -e "$C/serviceaccount.key" ] || openssl genrsa -out "$C/serviceaccount.key" 2048 2>/dev/null
    new_ca ca 10.152.183.1
    [ -e "$C/front-proxy-ca.crt" ] || new_ca front-proxy-ca front-proxy-ca
    new_server_cert
    new_cert front-proxy-client /CN=front-proxy-client front-proxy-ca
    new_cert kubelet "/CN=system:node:$node/O=system:nodes" ca "DNS:$node,$(sans)"
    new_cert client /CN=admin/O=system:masters ca
    new_cert proxy /CN=system:kube-proxy ca
    new_cert scheduler /CN=system:kube-scheduler ca
    new_cert controller /CN=system:kube-controller-manager ca
    new_cert apiserver-kubelet-client /CN=kube-apiserver-kubelet-client/O=system:masters ca
    new_kubeconfig client admin client
    new_kubeconfig controller system:kube-controller-manager controller
    new_kubeconfig scheduler system:kube-scheduler scheduler
    new_kubeconfig proxy system:kube-proxy proxy
    new_kubeconfig kubelet "system:node:$node" kubelet
}
