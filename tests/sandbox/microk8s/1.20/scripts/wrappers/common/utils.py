"""Stands in for MicroK8s' scripts/wrappers/common/utils.py: what its Python commands share.

`print` here is what it is there: block-buffered when nobody has a terminal. Where the real commands flush, they call `echo`.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import yaml

SNAP = Path(os.environ["SNAP"])
SNAP_DATA = Path(os.environ["SNAP_DATA"])
PACE = float(os.environ["PACE"])
KUBECONFIG = f"--kubeconfig={SNAP_DATA}/credentials/client.config"
STOPPED = "microk8s is not running, try microk8s start"
ACTIONS = Path(__file__).absolute().parent / "../../../actions"


def echo(text="", err=False):
    print(text, file=sys.stderr if err else sys.stdout, flush=True)


def locked(name):
    return (SNAP_DATA / "var/lock" / name).is_file()


def kubectl_get(*args):
    """The kubectl that the PATH has, and only if it has none the snap's own. Its failure is an exception that most callers let through to the user."""
    env = dict(os.environ, PATH=f"{os.environ['PATH']}:{SNAP}")
    command = ("kubectl", KUBECONFIG, "get", *args)
    return subprocess.run(command, env=env, stdin=subprocess.PIPE, capture_output=True, text=True, check=True).stdout


def is_cluster_ready():
    """A test of two substrings, without a limit of time: neither CNI nor DNS count, and a cordoned node is never ready."""
    try:
        return "service/kubernetes" in kubectl_get("all", "--all-namespaces") and " Ready " in kubectl_get("nodes", "--all-namespaces")
    except (OSError, subprocess.CalledProcessError):
        return False


def wait_for_ready(timeout):
    """The limit is looked at between two questions only; 0 is for ever."""
    end = time.time() + timeout
    while not is_cluster_ready():
        if timeout and time.time() > end:
            return False
        time.sleep(2)
    return True


def get_dqlite_info():
    """Voters of the database, as (address, role). Its file is opened without a guard: before the API server's first start there is none."""
    if not locked("ha-cluster"):
        return []
    for _ in range(10):
        address = yaml.safe_load(open(SNAP_DATA / "var/kubernetes/backend/info.yaml", encoding="utf-8"))["Address"]
        result = subprocess.run([SNAP / "bin/dqlite"], capture_output=True, text=True)
        if result.returncode == 0 and address in result.stdout:
            return [(node["Address"], "voter") for node in json.loads(result.stdout)]
        time.sleep(2 * PACE)
    return []


def available_addons():
    addons = yaml.safe_load((SNAP / "addon-lists.yaml").read_text())["addons"]
    return sorted(addons, key=lambda addon: addon["name"])


def get_status(addons, is_ready):
    """Splits into enabled and disabled. Enabled is what has an object by its name, or a file; that its pod is about to go makes no difference."""
    if not is_ready:
        return [], []
    rows = kubectl_get("all", "--all-namespaces") + kubectl_get("clusterroles", "--show-kind", "--no-headers")
    enabled, disabled = [], []
    for addon in addons:
        check = addon["check_status"]
        found = check in rows or os.path.isfile(os.path.expandvars(check))
        (enabled if found else disabled).append(addon)
    return enabled, disabled


def run_action(action, name, args):
    """What becomes of the script is nobody's concern: whether it failed is not looked at."""
    wait_for_ready(30)
    subprocess.run([f"{ACTIONS}/{action}.{name}.sh", *args])
    wait_for_ready(30)


def xable(action, arguments):
    """Several addons at once if all of them are known; otherwise the first one, with the others as its arguments."""
    enabled, disabled = get_status(available_addons(), True)
    done = [addon["name"] for addon in (enabled if action == "enable" else disabled)]
    known = {script.name.split(".")[1] for script in ACTIONS.glob("enable.*.sh")}

    if len(arguments) > 1 and all(argument.split(":")[0] in known for argument in arguments):
        for argument in arguments:
            # With its range, `metallb:10.0.0.1-10.0.0.9` is never one that is done.
            if argument in done:
                echo(f"Addon {argument} is already {action}d.")
            else:
                name, *args = argument.split(":")
                run_action(action, name, args)
        return

    name, *args = arguments[0].split(":")
    if name in done:
        echo(f"Addon {name} is already {action}d.")
    elif name not in known:
        echo(f"Nothing to do for `{name}`.", err=True)
        sys.exit(1)
    elif args and arguments[1:]:
        echo(
            "Can't pass string arguments and flag arguments simultaneously!\n"
            f"{action.title()} an addon with only one argument style at a time:\n"
            "\n"
            f"    microk8s {action} foo:'bar'\n"
            "or\n"
            f"    microk8s {action} foo --bar\n"
        )
        sys.exit(1)
    else:
        run_action(action, name, args or arguments[1:])


def xable_command(action, summary):
    """The command `enable` or `disable`, with the usage and the errors of its option parser (click), which takes every --help for its own."""
    prog = f"microk8s {action}"
    arguments, options_end = [], False
    for argument in sys.argv[1:]:
        if argument == "--" and not options_end:
            options_end = True
        elif argument == "--help" and not options_end:
            print(
                f"Usage: {prog} [OPTIONS] ADDONS...\n\n  {summary}\n\n"
                "  For a list of available addons, run `microk8s status`.\n\n"
                "  To see help for individual addons, run:\n\n"
                f"      {prog} ADDON -- --help\n\n"
                "Options:\n  --help  Show this message and exit."
            )
            return
        else:
            arguments.append(argument)
    if not arguments:
        echo(f"Usage: {prog} [OPTIONS] ADDONS...\nTry '{prog} --help' for help.\n\nError: Missing argument 'ADDONS...'.", err=True)
        sys.exit(2)
    if "-h" in arguments or "--help" in arguments:
        print(f"Addon {arguments[0]} does not yet have a help message.")
        print("For more information about it, visit https://microk8s.io/docs/addons")
        return
    if locked("stopped.lock"):
        echo(STOPPED, err=True)
        sys.exit(1)
    wait_for_ready(30)
    xable(action, arguments)
