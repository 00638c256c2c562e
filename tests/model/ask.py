#!/usr/bin/env python3
"""Asks a machine what the modelled host answers too, and prints each answer as a line of JSON. `record` calls it.

    ask.py look PHASE      what a probe reads: commands, snapd, files, settings, objects
    ask.py run COMMAND...  runs a command and tells how it ended
"""

import http.client
import json
import os
import re
import socket
import subprocess
import sys

COMMANDS = [
    ["getent", "passwd", "ubuntu"],
    ["getent", "passwd", "nobody-here"],
    ["getent", "group", "microk8s"],
    ["systemctl", "is-active", "iscsid.socket"],
    ["systemctl", "is-enabled", "iscsid.socket"],
    ["dpkg-query", "--show", "--showformat=${db:Status-Abbrev}", "open-iscsi"],
    ["microk8s", "status", "--addon", "dns"],
    ["microk8s", "status", "--addon", "registry"],
    ["microk8s", "status", "--addon", "metallb"],
    ["microk8s", "status", "--addon", "nosuch"],
]

SNAPD = [
    "/v2/snaps/microk8s",
    "/v2/changes?select=in-progress&for=microk8s",
    "/v2/aliases",
    "/v2/apps?names=microk8s&select=service",
    "/v2/snaps/system/conf?keys=refresh.hold",
    "/v2/snaps/system/conf?keys=seed.loaded",
]

KINDS = {
    "nodes": "/api/v1/nodes",
    "namespaces": "/api/v1/namespaces",
    "daemonsets": "/apis/apps/v1/daemonsets",
    "deployments": "/apis/apps/v1/deployments",
    "statefulsets": "/apis/apps/v1/statefulsets",
    "pods": "/api/v1/pods",
    "services": "/api/v1/services",
    "persistentvolumeclaims": "/api/v1/persistentvolumeclaims",
    "storageclasses": "/apis/storage.k8s.io/v1/storageclasses",
    "ipaddresspools": "/apis/metallb.io/v1beta1/ipaddresspools",
    "l2advertisements": "/apis/metallb.io/v1beta1/l2advertisements",
}

PATHS = """/etc/cni/net.d /etc/sysctl.d/10-microk8s.conf /opt/cni/bin /run/containerd /run/netns /usr/libexec/kubernetes
/var/lib/calico /var/lib/cni /var/lib/kubelet /var/log/containers /var/log/pods /var/snap/microk8s /var/snap/microk8s/common
/var/snap/microk8s/common/default-storage /var/snap/microk8s/common/etc/launcher/install.yaml /var/snap/microk8s/current/args/kubelet
/var/snap/microk8s/current/var/lock /var/snap/microk8s/current/var/lock/stopped.lock /var/snap/microk8s/current/credentials/client.config
/snap/microk8s/current /snap/bin/microk8s /snap/bin/kubectl /snap/bin/microk8s.kubectl""".split()

SETTINGS = """kernel/panic kernel/panic_on_oops net/ipv4/conf/all/forwarding net/ipv4/conf/all/route_localnet net/ipv4/ip_forward
net/netfilter/nf_conntrack_tcp_timeout_close_wait net/netfilter/nf_conntrack_tcp_timeout_established vm/overcommit_memory""".split()

ENVIRONMENT = {"PATH": "/snap/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C", "HOME": "/root", "USER": "root"}


def tell(**answer):
    print(json.dumps(answer), flush=True)


def run(argv):
    """Exit code (none: no such program) and output."""
    try:
        ended = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, env=ENVIRONMENT)
    except FileNotFoundError:
        return None, ""
    return ended.returncode, ended.stdout


def snapd(path):
    class Socket(http.client.HTTPConnection):
        def connect(self):
            self.sock = socket.socket(socket.AF_UNIX)
            self.sock.connect("/run/snapd.socket")

    connection = Socket("snapd")
    connection.request("GET", path)
    answer = connection.getresponse()
    return answer.status, json.loads(answer.read())["result"]


def api(path):
    code, text = run(["microk8s", "kubectl", "get", "--raw", path])
    return json.loads(text).get("items") if code == 0 else None


def brief(item):
    """An object by name; a pod by who made it, since its own name is made by chance; and whether it works."""
    meta, status = item["metadata"], item.get("status", {})
    name = "node" if "nodeInfo" in status else meta["name"]
    for owner in meta.get("ownerReferences", []):
        if owner["kind"] == "ReplicaSet":
            name = re.sub("-[^-]*$", "", owner["name"])
        elif owner["kind"] != "Node":
            name = owner["name"]
    ready = next((c["status"] for c in status.get("conditions", []) if c["type"] == "Ready"), None)
    return {"namespace": meta.get("namespace", ""), "name": name, "ready": ready}


def look(phase):
    tell(ask="phase", what=phase)
    for argv in COMMANDS:
        code, text = run(argv)
        tell(ask="command", what=argv, code=code, stdout=text)
    for path in SNAPD:
        status, result = snapd(path)
        tell(ask="snapd", what=path, status=status, result=result)
    for path in PATHS:
        kind = "link" if os.path.islink(path) else "directory" if os.path.isdir(path) else "file" if os.path.exists(path) else None
        tell(ask="path", what=path, kind=kind)
    for name in SETTINGS:
        path = f"/proc/sys/{name}"
        tell(ask="setting", what=name, value=open(path).read().strip() if os.path.exists(path) else None)
    for command in ["iptables-save", "ip6tables-save"]:
        tables = {}
        for line in run([command])[1].splitlines():
            if line.startswith("*"):
                table = line[1:]
            elif line.startswith(":KUBE-"):
                tables.setdefault(table, []).append(line.split()[0][1:])
        tell(ask="tables", what=command, tables=sorted(tables))
    links = json.loads(run(["ip", "-j", "link"])[1])
    tell(ask="links", what="of pods", there=any(re.match("cni0|cali|vxlan.calico", link["ifname"]) for link in links))
    if os.path.exists("/snap/bin/microk8s"):
        for plural, path in KINDS.items():
            items = api(path)
            tell(ask="objects", what=plural, items=items and sorted((brief(i) for i in items), key=str))


if sys.argv[1] == "look":
    look(sys.argv[2])
else:
    code, _ = run(sys.argv[2:])
    tell(ask="run", what=sys.argv[2:], code=code)
