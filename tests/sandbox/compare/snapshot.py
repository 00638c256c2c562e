#!/usr/bin/env python3
"""Writes down what a machine is: files, snaps, users, units, processes, mounts, network. Runs inside the machine, as root, and
prints JSON: {kind: {key: value}}. compare.py tells two of them apart.

What changes while nobody does anything is left out here, each with its reason; what a tool leaves behind is not: that is for
compare.py's list of exceptions."""

import fnmatch
import grp
import hashlib
import json
import os
import pwd
import re
import stat
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

TREES = ["/etc", "/var", "/home", "/root", "/usr/local"]

# Not looked at at all.
LEFT_OUT = {
    "/var/log/journal": "the journal grows by itself",
    "/var/cache/apt": "apt's own timers refresh it",
    "/var/lib/apt/lists": "apt's own timers refresh it",
    "/var/lib/apt/daily_lock": "apt's own timers make it",
    "/var/lib/systemd/timers": "a stamp for each timer that has run",
    "/var/lib/private/systemd": "state of systemd's own services",
    "/var/tmp": "systemd gives each service a folder with a random name in it",
    "/var/log/wtmp": "logins, this script's own among them",
    "/var/log/btmp": "logins",
    "/var/log/lastlog": "logins",
    "/var/lib/snapd/state.lock": "snapd makes it when it first has something to do",
    "/var/cache/snapd": "names of the store's snaps, fetched by a timer of snapd's",
    "/var/lib/snapd/system-key": "snapd writes it at its start",
}
# Known by name, mode and owner, but not by content. The keys are shell patterns.
CONTENT_LIVES = {
    "/var/lib/snapd/state.json": "snapd's memory of what it did; what came of it is looked at as snaps, aliases and settings",
    "/var/lib/systemd/random-seed": "new at every boot",
    "/var/lib/systemd/catalog/database": "the journal's catalogue is rebuilt",
    "/etc/resolv.conf": "the network's business",
    "/var/snap/microk8s/*/var/kubernetes/backend/*": "the cluster's datastore; a node renews its lease every few seconds",
    "/var/log/pods/*": "what containers write",
}
LIVES = re.compile("|".join(map(fnmatch.translate, CONTENT_LIVES)))
# Services that D-Bus starts when somebody asks, snapd among them, and that end by themselves.
ON_DEMAND = ("systemd-hostnamed", "systemd-timedated", "systemd-localed")
PASSING = (*ON_DEMAND, "(udev-worker)")  # udev's helpers end when there is nothing to do.
LOGIN_ENDS = "/lib/systemd/systemd-user-runtime-dir "  # takes a login's folder away, some seconds after its end.
# Files above this are volumes of a storage system: reading them takes longer than what is to be compared.
BY_SIZE_ONLY = 1 << 30
# Those that belong to the machine alone; a container shares others, such as vm.overcommit_memory, with its host.
SYSCTLS = [
    "net/ipv4/ip_forward", "net/ipv4/conf/all/forwarding", "net/ipv4/conf/all/rp_filter", "net/ipv4/conf/all/route_localnet",
    "net/ipv4/conf/all/arp_ignore", "net/ipv4/conf/default/rp_filter", "net/ipv6/conf/all/forwarding",
    "net/bridge/bridge-nf-call-iptables", "net/netfilter/nf_conntrack_tcp_timeout_established",
    "net/netfilter/nf_conntrack_tcp_timeout_close_wait", "net/ipv4/vs/conntrack",
]


def run(*command: str) -> list[str]:
    """The lines of a command's output. One that fails or is not there has none, and says so."""
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=120, env={**os.environ, "LC_ALL": "C"})
    except FileNotFoundError:
        return [f"(no {command[0]} on this machine)"]
    if result.returncode != 0:
        return [f"({' '.join(command)} failed: {result.stderr.strip()[:200]})"]
    return result.stdout.splitlines()


def counted(entries) -> dict[str, str]:
    """Entries that may come several times, with how often they do."""
    return {entry: f"{times} times" if times > 1 else "there" for entry, times in Counter(entries).items()}


def file_content(path: str, size: int) -> str:
    if size > BY_SIZE_ONLY:
        return f"{size} bytes"
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return f"{size} bytes, sha256 {digest.hexdigest()}"


def owner(info: os.stat_result) -> str:
    """By number: names are looked at as users and groups."""
    return f"{stat.S_IMODE(info.st_mode):04o} {info.st_uid}:{info.st_gid}"


KINDS = {stat.S_IFDIR: "folder", stat.S_IFREG: "file", stat.S_IFLNK: "link", stat.S_IFIFO: "pipe", stat.S_IFSOCK: "socket",
         stat.S_IFCHR: "device", stat.S_IFBLK: "device"}


def files() -> dict[str, str]:
    found: dict[str, str] = {}
    contents: list[tuple[str, int]] = []

    def look(path: str) -> bool:
        """Notes one entry and tells whether it is a folder to go into."""
        if path in LEFT_OUT:
            return False
        try:
            info = os.lstat(path)
        except FileNotFoundError:
            return False
        kind = KINDS[stat.S_IFMT(info.st_mode)]
        found[path] = f"{kind} {owner(info)}"
        if kind == "link":
            found[path] = f"link to {os.readlink(path)}"
        elif kind == "file" and not LIVES.match(path):
            contents.append((path, info.st_size))
        return kind == "folder"

    folders = [tree for tree in TREES if look(tree)]
    while folders:
        folder = folders.pop()
        folders += [entry.path for entry in os.scandir(folder) if look(entry.path)]

    def content(item: tuple[str, int]) -> tuple[str, str]:
        try:
            return item[0], file_content(*item)
        except FileNotFoundError:
            return item[0], "gone while it was read"

    # The largest first: otherwise one thread is left with it at the end.
    with ThreadPoolExecutor(8) as pool:
        for path, text in pool.map(content, sorted(contents, key=lambda item: -item[1])):
            found[path] += ", " + text
    return found


def snaps() -> dict[str, str]:
    rows = [line.split() for line in run("snap", "list", "--all")[1:]]
    return {f"{row[0]} {row[2]}": " ".join(row[1:]) for row in rows if len(row) > 2}


def aliases() -> dict[str, str]:
    rows = [line.split() for line in run("snap", "aliases")[1:]]
    return {row[1]: f"{row[0]} {row[2]}" for row in rows if len(row) > 2}


def snap_settings() -> dict[str, str]:
    text = "\n".join(run("snap", "get", "-d", "system"))
    try:
        settings = json.loads(text)
    except ValueError:
        return {"all": text}
    return {key: json.dumps(value, sort_keys=True) for key, value in settings.items()}


def users() -> dict[str, str]:
    return {u.pw_name: f"{u.pw_uid}:{u.pw_gid} {u.pw_dir} {u.pw_shell}" for u in pwd.getpwall()}


def groups() -> dict[str, str]:
    return {g.gr_name: f"{g.gr_gid} members: {' '.join(sorted(g.gr_mem))}".rstrip() for g in grp.getgrall()}


def unit_files() -> dict[str, str]:
    rows = [line.split() for line in run("systemctl", "list-unit-files", "--no-legend", "--no-pager")]
    return {row[0]: row[1] for row in rows if len(row) > 1}


# Units of these kinds follow from mounts, devices and logins, which are looked at themselves.
RUNNING = "--type=service,socket,timer,path,target"


def units() -> dict[str, str]:
    lines = run("systemctl", "list-units", "--state=active,failed", RUNNING, "--plain", "--no-legend", "--no-pager", "--full")
    # A login's own manager comes and goes with it.
    passing = ("user@", "user-runtime-dir@", *ON_DEMAND)
    return {row[0]: row[2] for row in map(str.split, lines) if len(row) > 2 and not row[0].startswith(passing)}


def ancestors() -> set[int]:
    """This script and what called it."""
    chain, pid = set(), os.getpid()
    while pid > 1:
        chain.add(pid)
        with open(f"/proc/{pid}/stat") as file:
            pid = int(file.read().rpartition(")")[2].split()[1])
    return chain


def processes() -> dict[str, str]:
    mine, lines = ancestors(), []
    for pid in map(int, filter(str.isdigit, os.listdir("/proc"))):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                command = file.read().replace(b"\0", b" ").decode(errors="replace").strip()
        except (FileNotFoundError, ProcessLookupError):
            continue
        # A name in brackets is systemd's own child that has not become its service yet.
        beginning = command.startswith("(") and command.endswith(")") and command != "(sd-pam)"
        passing = command.endswith(PASSING) or command.startswith(LOGIN_ENDS)
        if command and pid not in mine and not passing and not beginning:
            # Arguments that are only a number are one of a process, a session or a descriptor, and differ every time.
            lines.append(re.sub(r"(?<= )\d{3,7}(?= |$)", "N", command))
    return counted(lines)


def mounts() -> dict[str, str]:
    found = []
    with open("/proc/self/mountinfo") as file:
        for line in file:
            before, _, after = line.rstrip("\n").partition(" - ")
            point = before.split()[4].encode().decode("unicode_escape")
            kind, source = after.split()[:2]
            # Sizes of temporary file systems follow the machine's memory, numbers of loop devices the order of mounting.
            found.append(f"{point} {kind} {re.sub(r'/dev/loop[0-9]+', '/dev/loopN', source)}")
    # A login's run-time folder comes and goes with it.
    return counted(entry for entry in found if not entry.startswith("/run/user/"))


def links() -> dict[str, str]:
    found = {}
    for line in run("ip", "-json", "-details", "link"):
        for link in json.loads(line):
            detail = link.get("linkinfo", {}).get("info_kind", link.get("link_type", ""))
            found[link["ifname"]] = f"{detail} mtu {link['mtu']} master {link.get('master', 'none')} {'up' if 'UP' in link['flags'] else 'down'}"
    return found


def addresses() -> dict[str, str]:
    found = []
    for line in run("ip", "-json", "address"):
        for link in json.loads(line):
            # Link-local addresses follow from the hardware's, which is drawn anew at every boot.
            found += [f"{link['ifname']} {a['local']}/{a['prefixlen']}" for a in link["addr_info"] if a["scope"] != "link"]
    return counted(found)


def routes() -> dict[str, str]:
    return counted(line.strip() for table in (["-4"], ["-6"]) for line in run("ip", *table, "route", "show", "table", "all")
                   if "fe80::" not in line and "multicast" not in line)


def firewall() -> dict[str, str]:
    """The rules of both kinds of iptables, without counters."""
    found = []
    for program in ("iptables-nft-save", "iptables-legacy-save", "ip6tables-nft-save", "ip6tables-legacy-save"):
        table = ""
        for line in run(program):
            if line.startswith("*"):
                table = line[1:]
            # A built-in chain that accepts is what there is before anybody looks at its table.
            elif line and not line.startswith(("#", "COMMIT")) and not re.match(r":[A-Z]+ ACCEPT ", line):
                rule = re.sub(r" \[[0-9]+:[0-9]+\]$", "", line)
                found.append(f"{program.removesuffix('-save')} {table}: {rule}")
    return counted(found)


def ipsets() -> dict[str, str]:
    return counted(run("ipset", "list", "-name"))


def network_namespaces() -> dict[str, str]:
    return counted(os.listdir("/run/netns") if os.path.isdir("/run/netns") else [])


def sysctls() -> dict[str, str]:
    found = {}
    for name in SYSCTLS:
        try:
            with open(f"/proc/sys/{name}") as file:
                found[name] = file.read().strip()
        except FileNotFoundError:
            found[name] = "not there"
    return found


def sockets() -> dict[str, str]:
    """Who listens: TCP and UDP with the program's name, and sockets of the file system by path."""
    found = []
    for line in run("ss", "-Hlntup"):
        row = line.split()
        program = re.search(r'"([^"]+)"', line)
        found.append(f"{row[0]} {row[4]} {program[1] if program else 'kernel'}")
    for line in run("ss", "-Hlx"):
        path = line.split()[4]
        # A socket without a name is nobody's to find. A login's sockets come and go with it; those that begin with @ and a number are systemd's private ones.
        if path != "*" and not path.startswith("/run/user/") and not re.match(r"@[0-9a-f]{8}", path):
            found.append("unix " + path)
    return counted(found)


PARTS = {
    "file": files, "snap": snaps, "alias": aliases, "snap-setting": snap_settings, "user": users, "group": groups,
    "unit-file": unit_files, "unit": units, "process": processes, "mount": mounts, "link": links, "address": addresses,
    "route": routes, "firewall": firewall, "ipset": ipsets, "netns": network_namespaces, "sysctl": sysctls, "socket": sockets,
}


def main() -> None:
    with ThreadPoolExecutor(len(PARTS)) as pool:
        # Processes first and alone: the other parts start some.
        processes_now = processes()
        results = {kind: pool.submit(part) for kind, part in PARTS.items() if kind != "process"}
    machine = {kind: result.result() for kind, result in results.items()} | {"process": processes_now}
    json.dump(machine, sys.stdout, indent=1, sort_keys=True)
    print()


if __name__ == "__main__":
    main()
