"""Stands in for MicroK8s' scripts/wrappers/status.py.

Stopped is asked before the options are read. Whatever the answer, the exit code is 0: only a traceback ends with 1, and only `--format yaml`
has one, when the database has not told its address yet.
"""

import argparse

from common.utils import STOPPED, available_addons, get_dqlite_info, get_status, is_cluster_ready, locked, wait_for_ready

NOT_RUNNING = "microk8s is not running. Use microk8s inspect for a deeper inspection."


def print_pretty(is_ready, enabled, disabled):
    if not is_ready:
        print(NOT_RUNNING)
        return
    print("microk8s is running")
    print("high-availability: no")
    if locked("ha-cluster"):
        print("  datastore master nodes:", " ".join(address for address, _ in get_dqlite_info()) or "none")
        print("  datastore standby nodes: none")
    print("addons:")
    for title, addons in (("enabled", enabled), ("disabled", disabled)):
        if addons:
            print(f"  {title}:")
        for addon in addons:
            print(f"    {addon['name']:<20} # {addon['description']}")


def print_yaml(is_ready, enabled, disabled):
    print("microk8s:")
    print("  running:", is_ready)
    print("high-availability:")
    print("  enabled:", locked("ha-cluster"))
    if locked("ha-cluster"):
        nodes = get_dqlite_info()
        print("  nodes:")
        for address, role in nodes:
            print(f"    - address: {address}")
            print(f"      role: {role}")
    if not is_ready:
        print("  message:", NOT_RUNNING)
        return
    print("addons:")
    for state, addons in (("enabled", enabled), ("disabled", disabled)):
        for addon in addons:
            print(f"  - name: {addon['name']}")
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
            print(f"{addon['name']}: {state}")


def print_short_yaml(is_ready, enabled, disabled):
    print("microk8s:")
    print("  running:", is_ready)
    if not is_ready:
        print("  message:", NOT_RUNNING)
        return
    print("addons:")
    for state, addons in (("enabled", enabled), ("disabled", disabled)):
        for addon in addons:
            print(f"  {addon['name']}: {state}")


def main():
    if locked("stopped.lock"):
        print(STOPPED)
        return
    parser = argparse.ArgumentParser(description="Microk8s cluster status check.", prog="microk8s status")
    parser.add_argument(
        "--format",
        help="print cluster and addon status, output can be in yaml, pretty or short",
        default="pretty",
        choices=["yaml", "short", "pretty"],
    )
    parser.add_argument("-w", "--wait-ready", action="store_true", help="wait until the cluster is in ready state")
    parser.add_argument(
        "-t", "--timeout", help="specify a timeout in seconds when waiting for the cluster to be ready.", type=int, default=0
    )
    parser.add_argument("-a", "--addon", help="check the status of an addon.", default="all")
    parser.add_argument("--yaml", action="store_true", help="DEPRECATED, use '--format yaml' instead")
    args = parser.parse_args()

    is_ready = wait_for_ready(args.timeout) if args.wait_ready else is_cluster_ready()
    addons = [addon for addon in available_addons() if args.addon in ("all", addon["name"])]
    enabled, disabled = get_status(addons, is_ready)
    if args.addon != "all":
        print("enabled" if enabled else "disabled")
    elif args.format == "pretty" and args.yaml:
        print_short_yaml(is_ready, enabled, disabled)
    else:
        {"pretty": print_pretty, "yaml": print_yaml, "short": print_short}[args.format](is_ready, enabled, disabled)


main()
