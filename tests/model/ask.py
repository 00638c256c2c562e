#!/usr/bin/env python3
"""Asks a machine everything that the modelled host answers too, and writes each answer as a line of JSON.

    ask.py look PHASE      what a probe reads: commands, snapd, files, objects
    ask.py run COMMAND...  runs a command and writes down how it ended, then what it left
"""

import http.client
import json
import os
import socket
import subprocess
import sys
import time

COMMANDS = [
    ["getent", "passwd", "ubuntu"],
    ["getent", "passwd", "nobody-here"],
    ["getent", "group", "microk8s"],
    ["systemd-detect-virt", "--container"],
    ["ip", "-j", "-d", "addr"],
    ["ip", "-j", "-d", "route"],
    ["ip", "-j", "link"],
    ["iptables-save"],
    ["ip6tables-save"],
    ["microk8s", "status", "--addon", "dns"],
    ["microk8s", "status", "--addon", "nosuch"],
]

SNAPD = [
    "/v2/system-info",
    "/v2/snaps/microk8s",
    "/v2/changes?select=in-progress&for=microk8s",
    "/v2/aliases",
    "/v2/apps?names=microk8s&select=service",
    "/v2/snaps/system/conf?keys=refresh.hold",
]

KINDS = {
    "nodes": "/api/v1/nodes",
    "namespaces": "/api/v1/namespaces",
    "daemonsets": "/apis/apps/v1/daemonsets",
    "deployments": "/apis/apps/v1/deployments",
    "statefulsets": "/apis/apps/v1/statefulsets",
    "pods": "/api/v1/pods",
    "services": "/api/v1/services",
    "secrets": "/api/v1/namespaces/default/secrets",
    "persistentvolumeclaims": "/api/v1/persistentvolumeclaims",
    "persistentvolumes": "/api/v1/persistentvolumes",
    "storageclasses": "/apis/storage.k8s.io/v1/storageclasses",
    "ipaddresspools": "/apis/metallb.io/v1beta1/ipaddresspools",
    "l2advertisements": "/apis/metallb.io/v1beta1/l2advertisements",
}

PATHS = """/etc/apparmor.d/cri-containerd.apparmor.d /etc/cni /etc/sysctl.d/10-microk8s.conf /opt/cni /run/calico /run/containerd /run/flannel
/run/netns /run/xtables.lock /usr/libexec/kubernetes /var/lib/calico /var/lib/cni /var/lib/kubelet /var/log/calico /var/log/containers /var/log/pods
/var/snap/microk8s /root/snap/microk8s /root/snap /root/.kube/cache /root/.kube /home/ubuntu/snap/microk8s /home/ubuntu/snap /home/ubuntu/.kube/cache
/home/ubuntu/.kube /var/snap/microk8s/current/var/lock/stopped.lock /var/snap/microk8s/current/credentials/client.config /snap/bin/microk8s
/snap/bin/kubectl /snap/bin/microk8s.kubectl /var/lib/iris-mk8s /var/lib/iris-mk8s/password /var/lib/iris-mk8s/before.json /var/log/iris-mk8s""".split()

DIRECTORIES = ["/var/snap/microk8s/common/etc/launcher", "/var/lib/iris-mk8s"]

SETTINGS = """fs/inotify/max_user_instances fs/inotify/max_user_watches kernel/keys/root_maxbytes kernel/keys/root_maxkeys kernel/panic
kernel/panic_on_oops net/bridge/bridge-nf-call-ip6tables net/bridge/bridge-nf-call-iptables net/ipv4/conf/all/forwarding
net/ipv4/conf/all/route_localnet net/ipv4/ip_forward net/ipv4/vs/conntrack net/ipv6/conf/all/forwarding net/netfilter/nf_conntrack_max
net/netfilter/nf_conntrack_tcp_be_liberal net/netfilter/nf_conntrack_tcp_timeout_close_wait net/netfilter/nf_conntrack_tcp_timeout_established
vm/overcommit_memory vm/panic_on_oom""".split()

ENVIRONMENT = {"PATH": "/snap/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C", "HOME": "/root", "USER": "root"}


def tell(**answer):
    print(json.dumps(answer), flush=True)


def command(argv):
    try:
        ended = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, env=ENVIRONMENT)
    except FileNotFoundError:
        return tell(ask="command", what=argv, missing=True)
    tell(ask="command", what=argv, code=ended.returncode, stdout=ended.stdout, stderr=ended.stderr)


def snapd(path):
    class Socket(http.client.HTTPConnection):
        def connect(self):
            self.sock = socket.socket(socket.AF_UNIX)
            self.sock.connect("/run/snapd.socket")

    connection = Socket("snapd")
    connection.request("GET", path)
    answer = connection.getresponse()
    body = json.loads(answer.read())
    tell(ask="snapd", what=path, status=answer.status, result=body["result"])


def objects(plural, path):
    got = subprocess.run(["microk8s", "kubectl", "get", "--raw", path], stdin=subprocess.DEVNULL, capture_output=True, text=True, env=ENVIRONMENT)
    items = json.loads(got.stdout).get("items") if got.returncode == 0 else None
    tell(ask="objects", what=plural, items=items)


def look(phase):
    tell(ask="phase", what=phase)
    for argv in COMMANDS:
        command(argv)
    for path in SNAPD:
        snapd(path)
    for path in PATHS:
        kind = "link" if os.path.islink(path) else "directory" if os.path.isdir(path) else "file" if os.path.exists(path) else None
        tell(ask="path", what=path, kind=kind)
    for path in DIRECTORIES:
        tell(ask="names", what=path, names=sorted(os.listdir(path)) if os.path.isdir(path) else [])
    for name in SETTINGS:
        path = f"/proc/sys/{name}"
        tell(ask="setting", what=path, value=open(path).read().strip() if os.path.exists(path) else None)
    if os.path.exists("/snap/bin/microk8s"):
        for plural, path in KINDS.items():
            objects(plural, path)


def run(argv):
    begun = time.monotonic()
    try:
        ended = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, env=ENVIRONMENT)
        code, stdout, stderr = ended.returncode, ended.stdout, ended.stderr
    except FileNotFoundError:
        code, stdout, stderr = None, "", ""
    tell(ask="run", what=argv, code=code, stdout=stdout, stderr=stderr, seconds=round(time.monotonic() - begun, 1))


if sys.argv[1] == "look":
    look(sys.argv[2])
else:
    run(sys.argv[2:])
