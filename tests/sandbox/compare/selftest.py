#!/usr/bin/env python3
"""Proves on a machine that a comparison finds what is left behind: selftest.py NAME

Leaves one thing of each kind in the machine NAME on purpose, looks for each among the differences, takes all away again, and looks for
silence."""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from compare import differences

HERE = Path(__file__).parent
SANDBOX = HERE.parents[2] / "scripts" / "sandbox"

# What is left, by its kind and key in a snapshot; how it comes; how it goes.
LEFTOVERS = [
    ("+ file /etc/leftover", "touch /etc/leftover", "rm /etc/leftover"),
    ("~ file /etc/hostname", "cp -p /etc/hostname /run/h; echo x >>/etc/hostname", "cp -p /run/h /etc/hostname; rm /run/h"),
    ("~ file /etc/issue", "chmod 600 /etc/issue", "chmod 644 /etc/issue"),
    ("+ file /var/lib/leftover/deep/file", "mkdir -p /var/lib/leftover/deep; echo x >/var/lib/leftover/deep/file", "rm -r /var/lib/leftover"),
    ("+ file /home/ubuntu/.kube", "mkdir /home/ubuntu/.kube", "rmdir /home/ubuntu/.kube"),
    ("+ file /usr/local/bin/leftover", "ln -s /bin/true /usr/local/bin/leftover", "rm /usr/local/bin/leftover"),
    ("+ group leftover", "groupadd leftover", "groupdel leftover"),
    ("~ group users", "cp -p /etc/group /etc/gshadow /run; gpasswd -a ubuntu users", "cp -p /run/group /run/gshadow /etc; rm /run/group /run/gshadow"),
    ("+ unit-file leftover.service", "printf '[Service]\\nExecStart=/bin/sleep 7777\\n' >/run/systemd/system/leftover.service; systemctl daemon-reload", "rm /run/systemd/system/leftover.service; systemctl daemon-reload"),
    ("+ unit leftover-run.service", "systemd-run -q --unit=leftover-run sleep 8888", "systemctl stop leftover-run"),
    ("+ process sleep 9", "setsid sleep 9 9 99999 >/dev/null 2>&1 & echo $! >/run/leftover.pid", "kill $(cat /run/leftover.pid); rm /run/leftover.pid"),
    ("+ firewall iptables-nft filter: -A FORWARD -d 10.9.8.7/32 -j DROP", "iptables-nft -A FORWARD -d 10.9.8.7 -j DROP", "iptables-nft -D FORWARD -d 10.9.8.7 -j DROP"),
    ("+ firewall iptables-legacy nat: :LEFTOVER -", "iptables-legacy -t nat -N LEFTOVER", "iptables-legacy -t nat -X LEFTOVER"),
    ("+ mount /mnt tmpfs leftover", "mount -t tmpfs leftover /mnt", "umount /mnt"),
    ("+ link leftover0", "ip link add leftover0 type bridge", "ip link delete leftover0"),
    ("+ address lo 10.9.8.7/32", "ip address add 10.9.8.7/32 dev lo", "ip address delete 10.9.8.7/32 dev lo"),
    ("+ route blackhole 10.9.8.0/24", "ip route add blackhole 10.9.8.0/24", "ip route delete blackhole 10.9.8.0/24"),
    ("+ ipset leftover", "ipset create leftover hash:ip", "ipset destroy leftover"),
    ("+ netns leftover", "ip netns add leftover", "ip netns delete leftover; umount /run/netns"),
    ("~ sysctl net/ipv4/conf/all/route_localnet", "sysctl -qw net.ipv4.conf.all.route_localnet=1", "sysctl -qw net.ipv4.conf.all.route_localnet=0"),
    ("+ socket tcp 127.0.0.1:7777 python3", "setsid python3 -c 'import socket, time; s = socket.create_server((\"127.0.0.1\", 7777)); time.sleep(9999)' >/dev/null 2>&1 & echo $! >/run/leftover-socket.pid; sleep 1", "kill $(cat /run/leftover-socket.pid); rm /run/leftover-socket.pid"),
    ("~ snap-setting refresh", "snap set system refresh.retain=3", "snap unset system refresh.retain"),
    ("+ snap leftover x1", "snap install --dangerous /run/leftover.snap", "snap remove --purge leftover"),
    ("+ alias kubectl9", "snap alias leftover.run kubectl9", "true"),  # It goes with its snap.
]

# What the commands above leave for good.
STAYS = ["~ file /etc/group-", "~ file /etc/gshadow-", "+ file /var/lib/snapd/sequence/leftover.json"]


def sandbox(name: str, *command: str, stdin=subprocess.DEVNULL) -> str:
    done = subprocess.run([SANDBOX, "exec", name, *command], stdin=stdin, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"selftest: {' '.join(command)}: exit {done.returncode}\n{done.stderr}")
    return done.stdout


def snapshot(name: str) -> dict:
    with open(HERE / "snapshot.py") as script:
        return json.loads(sandbox(name, "python3", "-", stdin=script))


def put_snap(name: str) -> None:
    """A snap with one command, made here: the machine has nothing to make snaps with."""
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "tree"
        (tree / "meta").mkdir(parents=True)
        (tree / "meta" / "snap.yaml").write_text("name: leftover\nversion: '1'\nbase: core22\nsummary: s\ndescription: d\napps: {run: {command: run}}\n")
        (tree / "run").write_text("#!/bin/sh\n")
        (tree / "run").chmod(0o755)
        subprocess.run(["mksquashfs", tree, Path(folder) / "leftover.snap", "-quiet", "-no-progress", "-all-root"], check=True, stdout=subprocess.DEVNULL)
        subprocess.run([SANDBOX, "put", name, Path(folder) / "leftover.snap", "/run/leftover.snap"], check=True)


def main() -> int:
    [name] = sys.argv[1:]
    put_snap(name)
    started = time.monotonic()
    before = snapshot(name)
    print(f"a snapshot took {time.monotonic() - started:.1f} s and holds {sum(map(len, before.values()))} entries")
    if idle := differences(before, snapshot(name)):
        print("it does not stand still:", *idle, sep="\n  ")
        return 1

    for _, come, _ in LEFTOVERS:
        sandbox(name, "bash", "-c", come)
    found = [str(d) for d in differences(before, snapshot(name))]
    missed = [want for want, _, _ in LEFTOVERS if not any(line.startswith(want) for line in found)]
    for _, _, go in reversed(LEFTOVERS):
        sandbox(name, "bash", "-c", go)
    left = [str(d) for d in differences(before, snapshot(name)) if f"{d.sign} {d.kind} {d.key}" not in STAYS]

    print(f"{len(LEFTOVERS) - len(missed)} of {len(LEFTOVERS)} leftovers were found among {len(found)} differences")
    for want in missed:
        print("not found:", want)
    for line in left:
        print("still different when all was taken away:", line)
    return 1 if missed or left else 0


if __name__ == "__main__":
    sys.exit(main())
