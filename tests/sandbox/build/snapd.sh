#!/usr/bin/env bash
# The snap daemon and upstream's own fake store, from Debian's source package. The daemon is built with the tag `withtestkeys`, which
# makes it trust the test keys that the fake store signs with; nothing else differs from the packaged one.
# packages: dpkg-dev gcc libc6-dev pkg-config libseccomp-dev libcap-dev libudev-dev libapparmor-dev liblzo2-dev golang-1.19-go
# packages: golang-gopkg-check.v1-dev golang-dbus-dev golang-github-boltdb-bolt-dev golang-github-coreos-go-systemd-dev
# packages: golang-github-juju-ratelimit-dev golang-github-gorilla-mux-dev golang-github-kr-pretty-dev
# packages: golang-github-mvo5-goconfigparser-dev golang-github-seccomp-libseccomp-golang-dev golang-github-jessevdk-go-flags-dev
# packages: golang-golang-x-crypto-dev golang-golang-x-xerrors-dev golang-golang-x-sys-dev golang-golang-x-net-dev
# packages: golang-gopkg-tomb.v2-dev golang-gopkg-yaml.v2-dev golang-gopkg-yaml.v3-dev golang-gopkg-macaroon.v1-dev
# packages: golang-gopkg-mgo.v2-dev golang-gopkg-retry.v1-dev golang-gopkg-tylerb-graceful.v1-dev
set -euo pipefail
out=$1
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT

# The machine's package sources, asked for source packages instead, in lists of our own: the machine's configuration stays as it is.
mkdir -p "$work/sources" "$work/lists"
for f in /etc/apt/sources.list.d/debian.sources /etc/apt/sources.list; do
    [ -e "$f" ] || continue
    sed -e 's/^Types:.*/Types: deb-src/' -e 's/^deb /deb-src /' "$f" >"$work/sources/${f##*/}"
done
apt_src() { apt-get -q -o Dir::Etc::sourcelist=/dev/null -o Dir::Etc::sourceparts="$work/sources" -o Dir::State::lists="$work/lists" "$@"; }
# files named *.list are read in the old format, *.sources in the new one
if [ -e "$work/sources/sources.list" ]; then mv "$work/sources/sources.list" "$work/sources/main.list"; fi
chmod 755 "$work"
cd "$work"
apt_src update
apt_src -o APT::Sandbox::User=root source snapd

# It builds the way Debian builds it: GOPATH mode, with the libraries that Debian packages.
mkdir -p gopath/src/github.com/snapcore
mv "$(echo snapd-*/)" gopath/src/github.com/snapcore/snapd
cd gopath/src/github.com/snapcore/snapd
export GOPATH=$work/gopath:/usr/share/gocode GO111MODULE=off GOFLAGS='' CGO_ENABLED=1 PATH=/usr/lib/go-1.19/bin:$PATH
./mkversion.sh "$(dpkg-parsechangelog -S Version | sed 's/-.*//')"
go build -tags 'withtestkeys nosecboot' -o "$out/bin/snapd" ./cmd/snapd
go build -tags 'withtestkeys nosecboot' -o "$out/bin/fakestore" ./tests/lib/fakestore/cmd/fakestore
