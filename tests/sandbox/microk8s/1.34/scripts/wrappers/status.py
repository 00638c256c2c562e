"""Stands in for MicroK8s' scripts/wrappers/status.py.

Stopped is asked before the options are read: exit 0, one sentence in every format. Not ready is exit 1.
"""

import argparse
import socket
import sys
import time

from common import SNAP_DATA, STOPPED, available_addons, get_status, is_cluster_ready, locked, wait_for_ready

NOT_RUNNING = "microk8s is not running. Use microk8s inspect for a deeper inspection."


def datastore_nodes():
    """The datastore's nodes, once it answers; it is asked ten times, which takes long when it is down."""
    socket_path = str(SNAP_DATA / "var/kubernetes/backend/kine.sock:12379")
    for _ in range(10):
        try:
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(socket_path)
            return ["127.0.0.1:19001"]
        except OSError:
            time.sleep(2)
    return []


def print_pretty(is_ready, enabled, disabled):
    if not is_ready:
        print(NOT_RUNNING)
        return
    print("microk8s is running")
    print("high-availability: no")
    print("  datastore master nodes:", " ".join(datastore_nodes()) or "none")
    print("  datastore standby nodes: none")
    print("addons:")
    for title, addons in (("enabled", enabled), ("disabled", disabled)):
        if addons:
            print(f"  {title}:")
        for addon in addons:
            print(f"    {addon['name']:<20} # ({addon['repository']}) {addon['description']}")


def print_yaml(is_ready, enabled, disabled):
    print("microk8s:")
    print("  running:", is_ready)
    print("high-availability:")
    print("  enabled:", locked("ha-cluster"))
    print("  nodes:")
    for address in datastore_nodes():
        print(f"    - address: {address}")
        print("      role: voter")
    if not is_ready:
        print("  message:", NOT_RUNNING)
        return
    print("addons:")
    for state, addons in (("enabled", enabled), ("disabled", disabled)):
        for addon in addons:
            print(f"  - name: {addon['name']}")
            print(f"    repository: {addon['repository']}")
            print(f"    description: {addon['description']}")
            print(f"    version: {addon['version']:<1}")
            print(f"    status: {state}")


def print_short(is_ready, enabled, disabled):
    if not is_ready:
        print(NOT_RUNNING)
        return
    print("microk8s is running")
    print("addons:")
    for state, addons in (("enabled", enabled), ("disabled", disabled)):
        for addon in addons:
            print(f"{addon['repository']}/{addon['name']}: {state}")


def print_short_yaml(is_ready, enabled, disabled):
    print("microk8s:")
    print("  running:", is_ready)
    if not is_ready:
        print("  message:", NOT_RUNNING)
        return
    print("addons:")
    for state, addons in (("enabled", enabled), ("disabled", disabled)):
        for addon in addons:
            print(f"  {addon['repository']}/{addon['name']}: {state}")


def main():
    if locked("stopped.lock"):
        print(STOPPED)
        return 0
    parser = argparse.ArgumentParser(description="Microk8s cluster status check.", prog="microk8s status")
    parser.add_argument(
        "--format",
        help="print cluster and addon status, output can be in yaml, pretty or short",
        default="pretty",
        choices=["yaml", "pretty", "short"],
    )
    parser.add_argument("-w", "--wait-ready", action="store_true", help="wait until the cluster is in ready state")
    parser.add_argument(
        "-t", "--timeout", help="specify a timeout in seconds when waiting for the cluster to be ready.", type=int, default=0
    )
    parser.add_argument("-a", "--addon", help="check the status of an addon.", default="all")
    parser.add_argument("--yaml", action="store_true", help="DEPRECATED, use '--format yaml' instead")
    args = parser.parse_args()

    is_ready = wait_for_ready(args.timeout) if args.wait_ready else is_cluster_ready()
    addons = available_addons()
    if args.addon != "all":
        addons = [addon for addon in addons if args.addon in (addon["name"], f"{addon['repository']}/{addon['name']}")]
    enabled, disabled = get_status(addons, is_ready)
    if args.addon != "all":
        print("enabled" if enabled else "disabled")
    elif args.format == "pretty" and args.yaml:
        print_short_yaml(is_ready, enabled, disabled)
    else:
        {"pretty": print_pretty, "yaml": print_yaml, "short": print_short}[args.format](is_ready, enabled, disabled)
    return 0 if is_ready else 1


sys.exit(main())
