"""Stands in for MicroK8s' scripts/wrappers/reset.py: disables the addons, takes the CNI away first and everything else after it, restarts.

Storage is always destroyed, PersistentVolumes stay, and every failure on the way is silent.
"""

import subprocess
import sys
import time

from common import (
    KUBECTL,
    PACE,
    SNAP,
    SNAP_COMMON,
    SNAP_DATA,
    available_addons,
    ensure_started,
    exit_if_no_root,
    get_status,
    wait_for_ready,
)

USAGE = """Usage: microk8s reset [OPTIONS]

  Return the MicroK8s node to the default initial state.

  This process may take some time. All addons will be disabled and the
  configuration will be reinitialized.

Options:
  --destroy-storage  Also destroy storage. (default: true)
  -h, --help         Show this message and exit."""


def quietly(*command):
    subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def names(*args):
    result = subprocess.run([KUBECTL, *args], stdin=subprocess.PIPE, capture_output=True, text=True)
    return result.stdout.split() if result.returncode == 0 else []


def parse_options(arguments):
    for argument in arguments:
        if argument in ("-h", "--help"):
            print(USAGE)
            sys.exit(0)
        if argument.startswith("--destroy-storage="):
            print("Error: Option '--destroy-storage' does not take a value.", file=sys.stderr)
            sys.exit(2)
        if argument != "--destroy-storage":
            kind = "No such option: " if argument.startswith("-") else "Got unexpected extra argument "
            what = argument if argument.startswith("-") else f"({argument})"
            print(f"{USAGE.splitlines()[0]}\nTry 'microk8s reset -h' for help.\n\nError: {kind}{what}", file=sys.stderr)
            sys.exit(2)


def exit_if_multinode():
    nodes = names("get", "no", "-o", "name")
    if not nodes:
        print("Failed to query the cluster nodes.")
        sys.exit(1)
    if len(nodes) > 1:
        print("This is a multi-node MicroK8s deployment. Reset is applicable for single node clusters.")
        print("Please remove all joined nodes before calling reset.")
        sys.exit(0)


def disable_addons():
    print("Disabling all addons")
    addons = available_addons()
    _, disabled = get_status(addons, True)
    for addon in addons:
        if addon["name"] in ("ha-cluster", "community"):
            continue
        print(f"Disabling addon : {addon['repository']}/{addon['name']}")
        if addon in disabled:
            continue
        wait_for_ready(30)
        script = SNAP_COMMON / "addons" / addon["repository"] / "addons" / addon["name"] / "disable"
        quietly(script, *(["destroy-storage"] if addon["name"] in ("hostpath-storage", "storage") else []))
        wait_for_ready(30)
    print("All addons are disabled.")


def cni(operation, title):
    print(title)
    quietly(KUBECTL, operation, "-f", str(SNAP_DATA / "args/cni-network/cni.yaml"))


def clean_namespace(namespace):
    print(f"Cleaning resources in namespace {namespace}")
    # First what makes the others anew.
    for kind in ("replicationcontrollers", "daemonsets", "deployments", "statefulsets"):
        quietly(KUBECTL, "delete", "--all", kind, "-n", namespace, "--timeout=60s")
    kinds = names("api-resources", "-o", "name", "--verbs=delete", "--namespaced=true")
    # One call for all of them: the real one makes a call for each, and so takes minutes.
    quietly(KUBECTL, "delete", "--all", ",".join(kinds), "-n", namespace, "--timeout=3s")


def remove_all(title, kind, keep=()):
    print(f"Removing {title}")
    for name in names("get", kind, "-o=name"):
        if not any(part in name for part in keep):
            quietly(KUBECTL, "delete", name, "--timeout=60s")


def restart():
    print("Restarting cluster")
    subprocess.run([SNAP / "microk8s-stop.wrapper"])
    time.sleep(5 * PACE)
    subprocess.run([SNAP / "microk8s-start.wrapper"])
    wait_for_ready(30)
    ensure_started()


def main():
    parse_options(sys.argv[1:])
    exit_if_no_root()
    ensure_started()
    wait_for_ready(30)
    exit_if_multinode()

    disable_addons()
    cni("delete", "Deleting the CNI")
    namespaces = [name.removeprefix("namespace/") for name in names("get", "ns", "-o=name")]
    for namespace in namespaces:
        clean_namespace(namespace)
    print("Removing CRDs")
    quietly(KUBECTL, "delete", "--all", "customresourcedefinitions.apiextensions.k8s.io", "--timeout=60s")
    remove_all("PriorityClasses", "priorityclasses", keep=("system-cluster-critical", "system-node-critical"))
    remove_all("StorageClasses", "storageclasses", keep=("microk8s-hostpath",))
    for title in (
        "MutatingWebhookConfigurations",
        "ValidatingAdmissionPolicies",
        "ValidatingAdmissionPolicyBindings",
        "ValidatingWebhookConfigurations",
        "CertificateSigningRequests",
    ):
        remove_all(title, title.lower())
    for namespace in namespaces:
        if namespace not in ("default", "kube-public", "kube-system", "kube-node-lease"):
            print(f"Removing namespace/{namespace}")
            quietly(KUBECTL, "delete", f"namespace/{namespace}", "--timeout=60s")
    restart()
    cni("apply", "Setting up the CNI")


main()
