# shellcheck shell=bash
# The LAN: a network namespace with a bridge. Seen from a machine it holds the client PC, which is also the router (192.168.11.1), and the
# services of the internet that a machine needs (192.168.11.2): the snap store, the image registry and the Debian packages, each behind front.py.
# Sourced; expects SANDBOX, CURRENT, RUN and INSTANCE. Nothing leaves the namespace.

LAN=iris-mk8s-lan$INSTANCE
# The port of each era's snap store on 192.168.11.2; the fake store behind it listens on the loopback, one port further.
declare -A STORE_PORTS=([current]=8080 [1.36]=8136 [1.20]=8120)
# An era with images of its own has an image registry of its own; the others share the one on port 5000.
declare -A REGISTRY_PORTS=([1.36]=5136)
in_lan() { nsenter --net="/run/netns/$LAN" -- "$@"; }

lan_exists() { [ -e "/run/netns/$LAN" ]; }

# lan_service NAME CMD...: starts it in the LAN unless it runs
lan_service() {
    local name=$1 pid
    shift
    pid=$(cat "$RUN/lan/$name.pid" 2>/dev/null || true)
    if [ -n "$pid" ] && ip netns pids "$LAN" | grep -qx "$pid"; then return; fi
    SNAPPY_TESTING=1 SNAPPY_USE_STAGING_STORE=0 OTEL_TRACES_EXPORTER=none \
        setsid nsenter --net="/run/netns/$LAN" -- "$@" >>"$RUN/lan/$name.log" 2>&1 </dev/null &
    echo $! >"$RUN/lan/$name.pid"
    disown
}

# listens NAME PORT ADDRESS: waits until the service does
listens() {
    for _ in $(seq 200); do
        if in_lan bash -c "</dev/tcp/$3/$2" 2>/dev/null; then return; fi
        kill -0 "$(cat "$RUN/lan/$1.pid")" 2>/dev/null || break
        sleep 0.05
    done
    tail -n 5 "$RUN/lan/$1.log" >&2
    echo "sandbox: the LAN's service $1 does not answer on $3:$2; the lines above are the end of $RUN/lan/$1.log" >&2
    return 1
}

# lan_registry NAME PART PORT: an image registry on the loopback, of what the part holds
lan_registry() {
    cat >"$RUN/lan/$1.yml" <<YAML
version: 0.1
log: {level: warn, accesslog: {disabled: true}}
storage: {filesystem: {rootdirectory: $CURRENT/$2}, maintenance: {readonly: {enabled: true}}}
http: {addr: "127.0.0.1:$3", relativeurls: true}
YAML
    lan_service "$1" "$CURRENT/components/bin/registry" serve "$RUN/lan/$1.yml"
}

# lan_up [ERA]: with the store of the era
lan_up() {
    local era=${1:-current} port
    mkdir -p "$RUN/lan/faults"
    if ! lan_exists; then
        ip netns add "$LAN"
        ip -n "$LAN" link set lo up
        # Left to itself, a bridge takes the lowest address of its ports: it would change as machines come and go, and the others would
        # send to one that is gone until their neighbour tables age.
        ip -n "$LAN" link add br0 address 02:00:c0:a8:0b:01 type bridge
        ip -n "$LAN" address add 192.168.11.1/24 dev br0
        ip -n "$LAN" address add 192.168.11.2/24 dev br0
        ip -n "$LAN" link set br0 up
        # What a machine sends elsewhere is refused at once: a connection to the internet fails, instead of waiting to time out.
        ip -n "$LAN" route add unreachable default
        in_lan sysctl -qw net.ipv4.ip_forward=1
    fi
    lan_service fakestore "$CURRENT/snapd/bin/fakestore" run --dir "$CURRENT/store" --addr 127.0.0.1:8081
    lan_registry registry images 5001
    lan_service front python3 -B "$SANDBOX/lan/front.py" "$RUN/lan/faults" store=192.168.11.2:8080=127.0.0.1:8081 registry=192.168.11.2:5000=127.0.0.1:5001
    lan_service debian python3 -m http.server 8091 --bind 127.0.0.1 --directory "$CURRENT/packages/debian"
    lan_service front-packages python3 -B "$SANDBOX/lan/front.py" "$RUN/lan/faults" packages=192.168.11.2:8090=127.0.0.1:8091
    # Registries by their own names (/etc/hosts of the machines): who asks whether somebody is there only connects.
    lan_service internet python3 -B "$SANDBOX/lan/front.py" "$RUN/lan/faults" registry=192.168.11.2:443=127.0.0.1:5001
    listens fakestore 8081 127.0.0.1
    listens registry 5001 127.0.0.1
    listens front 8080 192.168.11.2
    listens front 5000 192.168.11.2
    listens debian 8091 127.0.0.1
    listens front-packages 8090 192.168.11.2
    if [ "$era" != current ]; then
        port=${STORE_PORTS[$era]}
        lan_service "fakestore-$era" "$CURRENT/snapd/bin/fakestore" run --dir "$CURRENT/store-$era" --addr "127.0.0.1:$((port + 1))"
        lan_service "front-$era" python3 -B "$SANDBOX/lan/front.py" "$RUN/lan/faults" "store=192.168.11.2:$port=127.0.0.1:$((port + 1))"
        listens "fakestore-$era" $((port + 1)) 127.0.0.1
        listens "front-$era" "$port" 192.168.11.2
    fi
    port=${REGISTRY_PORTS[$era]:-}
    if [ -n "$port" ]; then
        lan_registry "registry-$era" "images-$era" $((port + 1))
        lan_service "front-registry-$era" python3 -B "$SANDBOX/lan/front.py" "$RUN/lan/faults" "registry=192.168.11.2:$port=127.0.0.1:$((port + 1))"
        listens "registry-$era" $((port + 1)) 127.0.0.1
        listens "front-registry-$era" "$port" 192.168.11.2
    fi
}

# link m|h ADDRESS: the name of the cable's end in the bridge, for a machine or a host
link() { echo "$1-${2##*.}$INSTANCE"; }

# lan_plug LINK: a machine's or host's end of the cable goes into the bridge
lan_plug() {
    ip link set "$1" netns "$LAN"
    ip -n "$LAN" link set "$1" master br0 up
}

lan_unplug() {
    ip link delete "$1" 2>/dev/null || ip -n "$LAN" link delete "$1" 2>/dev/null || true
}

lan_down() {
    local f pid
    lan_exists || return 0
    for f in "$RUN"/lan/*.pid; do
        pid=$(cat "$f")
        if ip netns pids "$LAN" | grep -qx "$pid"; then kill "$pid"; fi
    done
    ip netns delete "$LAN"
    rm -rf "$RUN/lan"
}

# Other hosts of the LAN, as peers for tests: a network namespace each. A silent one answers ARP and nothing else.
host_add() {
    local name=$1 address=$2 ns prefix=24
    if [ "${3:-}" = --arp-only ]; then prefix=32; fi   # without a route to the LAN there is no answer but ARP's
    ns=$(host_namespace "$name")
    ip netns add "$ns"
    ip link add "$(link h "$address")" type veth peer name eth0 netns "$ns"
    lan_plug "$(link h "$address")"
    ip -n "$ns" link set lo up
    ip -n "$ns" link set eth0 up
    ip -n "$ns" address add "$address/$prefix" dev eth0
    nsenter --net="/run/netns/$ns" -- sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.eth0.rp_filter=0
}

host_namespace() { echo "iris-mk8s-host$INSTANCE-$1"; }

host_del() { ip netns delete "$(host_namespace "$1")"; }

hosts() { ip netns list | sed -n "s/^$(host_namespace "")\([a-z0-9-]*\).*/\1/p"; }
