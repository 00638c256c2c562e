# shellcheck shell=bash
# Debian's source packages, from the machine's own package sources. Sourced by the scripts of parts that are built from one.

# source_package DIR NAME OPTION...: `apt-get source OPTION... NAME` in DIR, with lists of our own: the machine's configuration stays as it is.
source_package() {
    local dir=$1 name=$2 file
    shift 2
    mkdir -p "$dir/sources" "$dir/lists"
    for file in /etc/apt/sources.list.d/debian.sources /etc/apt/sources.list; do
        [ -e "$file" ] || continue
        sed -e 's/^Types:.*/Types: deb-src/' -e 's/^deb /deb-src /' "$file" >"$dir/sources/${file##*/}"
    done
    # files named *.list are read in the old format, *.sources in the new one
    if [ -e "$dir/sources/sources.list" ]; then mv "$dir/sources/sources.list" "$dir/sources/main.list"; fi
    chmod 755 "$dir"
    local apt=(apt-get -q -o Dir::Etc::sourcelist=/dev/null -o Dir::Etc::sourceparts="$dir/sources" -o Dir::State::lists="$dir/lists")
    "${apt[@]}" update
    (cd "$dir" && "${apt[@]}" -o APT::Sandbox::User=root source "$@" "$name")
}
