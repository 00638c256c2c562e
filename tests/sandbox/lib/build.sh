# shellcheck shell=bash
# Builds the sandbox's parts, each once: a part's result lies under a key that is a hash of everything it is made of.
# Sourced by scripts/sandbox, which sets REPO, SANDBOX (tests/sandbox), CACHE and CURRENT (the folder of links to the results in use). The README explains what a part's script looks like.

# In the order of their needs; Kubernetes first, because it takes longest.
PARTS=(kubernetes kubernetes-1.20 components components-1.20 snapd rootfs packages machine snap snap-1.20 store store-1.20 images)
# What only machines with cgroup v2 can use: VMs, and containers where the computer has it. Elsewhere they are built when they are asked for.
CGROUP2_PARTS=(kubernetes-1.36 components-1.36 containerd snap-1.36 store-1.36 images-1.36)
VM_PARTS=(vm-kernel vm)

script_of() { echo "$SANDBOX/build/$1.sh"; }

# header PART FIELD: the words of `# FIELD: ...` in the part's script, on one line
header() { sed -n "s/^# $2: *//p" "$(script_of "$1")" | tr '\n' ' '; }

declare -A KEY
key_of() {
    local part=$1 need input
    {
        for need in $(header "$part" needs); do echo "$need ${KEY[$need]}"; done
        cd "$REPO" || exit
        for input in "tests/sandbox/build/$part.sh" $(header "$part" inputs); do
            find "$input" -name __pycache__ -prune -o \( -type f -o -type l \) -printf '%M %p %l\n' | LC_ALL=C sort
            find "$input" -name __pycache__ -prune -o -type f -print0 | LC_ALL=C sort -z | xargs -0 --no-run-if-empty sha256sum
        done
    } | sha256sum | cut -c1-16
}

# install_packages NAME...: those that are missing, from the machine's own package sources
install_packages() {
    local missing=() p
    for p in "$@"; do
        [ "$(dpkg-query -W -f '${db:Status-Abbrev}' "$p" 2>/dev/null)" = 'ii ' ] || missing+=("$p")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends "${missing[@]}" && return
    # the lists may be too old to know the version that the mirror has today
    apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends "${missing[@]}"
}

# build_part PART RESULT: runs its script in a scratch folder, which becomes RESULT when it succeeds
build_part() {
    local part=$1 result=$2 log=$CACHE/log/$1.log need started=$SECONDS scratch
    local -a vars=() needs packages
    read -ra needs <<<"$(header "$part" needs)"
    read -ra packages <<<"$(header "$part" packages)"
    for need in "${needs[@]}"; do
        vars+=("$(tr 'a-z.-' 'A-Z__' <<<"${need}")_DIR=$CACHE/parts/$need/${KEY[$need]}")
    done
    scratch=$result.partial
    rm -rf "$scratch"; mkdir -p "$scratch" "$CACHE/downloads"
    printf 'sandbox: building %-12s' "$part" >&2
    if ! { install_packages "${packages[@]}" && env "${vars[@]}" CACHE="$CACHE" CGO_ENABLED=0 GOFLAGS=-mod=readonly GOGC="${GOGC:-400}" \
            DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8 "$(script_of "$part")" "$scratch"; } </dev/null >"$log" 2>&1; then
        printf ' failed after %d s\n' $((SECONDS - started)) >&2
        tail -n 25 "$log" >&2
        echo "sandbox: the part $part could not be built; the lines above are the end of $log. Cure the cause and run the build again: what is built already is kept." >&2
        return 1
    fi
    mv "$scratch" "$result"                            # the move is what makes it a result: a build that was cut off leaves none
    printf ' %4d s\n' $((SECONDS - started)) >&2
}

# needed_by PART...: these parts and all that they need, in their order
needed_by() {
    local wanted=" $* " part at found=() all=("${PARTS[@]}" "${CGROUP2_PARTS[@]}" "${VM_PARTS[@]}")
    for ((at = ${#all[@]} - 1; at >= 0; at--)); do
        part=${all[at]}
        [[ $wanted == *" $part "* ]] || continue
        wanted+="$(header "$part" needs) "
        found=("$part" "${found[@]}")
    done
    echo "${found[@]}"
}

# What an era's snap store and image registry have.
declare -A ERA_PARTS=([current]='store images' [1.36]='store-1.36 images-1.36' [1.20]='store-1.20 images')

# What the sandbox itself runs on, and the client PC's programs
RUNS_ON=(systemd-container util-linux iproute2 procps python3 squashfs-tools iputils-ping curl)

# build_all [--era E] [--vm]: every part of containers, or those that the machines of one era need; those of VMs, too
build_all() {
    local part result era wanted=()
    while [ $# -gt 0 ]; do
        case $1 in
        --era)
            [ -n "${ERA_PARTS[${2:-}]:-}" ] || { echo "sandbox: there is no era ${2:-}; there are ${!ERA_PARTS[*]}" >&2; return 2; }
            read -ra era <<<"${ERA_PARTS[$2]}"
            wanted+=(machine packages "${era[@]}")
            shift
            ;;
        --vm) wanted+=(vm) ;;
        *) echo "sandbox: build takes --era E and --vm, not $1" >&2; return 2 ;;
        esac
        shift
    done
    if [ ${#wanted[@]} -gt 0 ]; then
        read -ra PARTS <<<"$(needed_by "${wanted[@]}")"
    elif [ -e /sys/fs/cgroup/cgroup.controllers ]; then
        PARTS+=("${CGROUP2_PARTS[@]}")
    fi
    mkdir -p "$CURRENT" "$CACHE/log"
    install_packages "${RUNS_ON[@]}" >"$CACHE/log/packages.log" 2>&1 || { tail "$CACHE/log/packages.log" >&2; return 1; }
    for part in "${PARTS[@]}"; do
        KEY[$part]=$(key_of "$part")
        result=$CACHE/parts/$part/${KEY[$part]}
        if [ ! -d "$result" ]; then
            command -v go >/dev/null || { echo 'sandbox: no Go on this machine: install Go 1.26 or later, and put its bin folder on the PATH' >&2; return 1; }
            mkdir -p "$CACHE/parts/$part"
            build_part "$part" "$result"
            if [ "$(key_of "$part")" != "${KEY[$part]}" ]; then
                rm -rf "$result"
                echo "sandbox: what $part is built from changed meanwhile: run the build again" >&2
                return 1
            fi
        fi
        touch "$result"
        ln -sfn "../parts/$part/${KEY[$part]}" "$CURRENT/$part"
    done
    forget_old
}

# Of each part, the three results used last stay (to go back to another branch costs nothing), those that a checkout uses now, and those that a
# machine's disk stands on.
forget_old() {
    local part result
    for part in "${PARTS[@]}"; do
        find "$CACHE/parts/$part" -mindepth 1 -maxdepth 1 -printf '%T@ %p\n' | sort -rn | tail -n +4 | while read -r _ result; do
            # Another checkout may use it, without having built lately.
            if readlink "$CACHE"/current*/"$part" | grep -qx "../parts/$part/${result##*/}"; then continue; fi
            if ! grep -qs "^$result/" "$CACHE"/machines*/*/base; then rm -rf "$result"; fi
        done
    done
}
