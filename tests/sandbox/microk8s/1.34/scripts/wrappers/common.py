"""Stands in for MicroK8s' scripts/wrappers/common/utils.py: what its Python commands share.

`print` here is what it is there: block-buffered when nobody has a terminal, so a command that is killed may have said nothing. Where the real
commands flush, they call `echo`.
"""

import fcntl
import grp
import json
import os
import subprocess
import sys
import time
from pathlib import Path

SNAP = Path(os.environ["SNAP"])
SNAP_DATA = Path(os.environ["SNAP_DATA"])
SNAP_COMMON = Path(os.environ["SNAP_COMMON"])
KUBECTL = str(SNAP / "microk8s-kubectl.wrapper")
PACE = float(os.environ["PACE"])
STOPPED = "microk8s is not running, try microk8s start"


def echo(text="", err=False):
    print(text, file=sys.stderr if err else sys.stdout, flush=True)


def locked(name):
    return (SNAP_DATA / "var/lock" / name).exists()


def exit_if_no_root():
    if os.geteuid() != 0:
        echo("Elevated permissions is needed for this operation. Please run this command with sudo.")
        sys.exit(50)


def ensure_started():
    if locked("stopped.lock"):
        echo(STOPPED, err=True)
        sys.exit(1)


def kubectl(*args):
    """Output of kubectl; a failure of it is an exception that most callers let through to the user."""
    return subprocess.run([KUBECTL, *args], stdin=subprocess.PIPE, capture_output=True, text=True, check=True).stdout


def is_cluster_ready(with_ready_node=True):
    """A test of substrings, without a limit of time: neither CNI nor DNS count, and a cordoned node is never ready."""
    try:
        return "service/kubernetes" in kubectl("get", "all", "--all-namespaces") and (
            not with_ready_node or " Ready " in kubectl("get", "nodes", "--all-namespaces")
        )
    except subprocess.CalledProcessError:
        return False


def wait_for_ready(timeout, with_ready_node=True):
    """The limit is looked at between two questions only; 0 is for ever."""
    end = time.time() + timeout
    while not is_cluster_ready(with_ready_node):
        if timeout and time.time() > end:
            return False
        time.sleep(2)
    return True


def available_addons():
    """Every addon of every repository, sorted by repository and name."""
    addons = []
    for repository in sorted((SNAP_COMMON / "addons").iterdir()):
        for addon in json.loads((repository / "addons.json").read_text()):
            addons.append({**addon, "repository": repository.name})
    return sorted(addons, key=lambda addon: (addon["repository"], addon["name"]))


def get_status(addons, is_ready):
    """Splits into enabled and disabled. Enabled is what has an object by its name, or a file; whether it works is not asked."""
    if not is_ready:
        return [], []
    rows = kubectl("get", "all,ingress", "--all-namespaces")
    rows += kubectl("get", "clusterroles", "--show-kind", "--no-headers")
    enabled, disabled = [], []
    for addon in addons:
        check = addon["check_status"]
        found = check in rows or Path(os.path.expandvars(check)).is_file()
        (enabled if found else disabled).append(addon)
    return enabled, disabled


def run_script(action, repository, addon, args):
    return subprocess.run([SNAP_COMMON / "addons" / repository / "addons" / addon / action, *args])


def parse_one(argument, addons):
    """`(repository/)addon(:argument)*` as (repository, addon, arguments)."""
    name, *args = argument.split(":")
    parts = name.split("/")
    if len(parts) > 2:
        echo(f"Invalid addon name {name}")
        sys.exit(1)
    if len(parts) == 2:
        return parts[0], parts[1], args
    repositories = [addon["repository"] for addon in addons if addon["name"] == name]
    if not repositories:
        echo(f"Addon {name} was not found in any repository", err=True)
        sys.exit(1)
    echo(f"Infer repository {repositories[0]} for addon {name}", err=True)
    return repositories[0], name, args


def parse_addons(arguments, addons):
    """Several addons only if every name is known: one that is not makes everything after the first an argument of the first."""
    names = {addon["name"] for addon in addons} | {f"{addon['repository']}/{addon['name']}" for addon in addons}
    if {argument.split(":")[0] for argument in arguments} < names:
        return [parse_one(argument, addons) for argument in arguments]
    repository, name, args = parse_one(arguments[0], addons)
    if args and arguments[1:]:
        echo(
            "Can't pass string arguments and flag arguments simultaneously!\n"
            "Enable or disable addons with only one argument style at a time:\n"
            "\n"
            "    microk8s enable foo:'bar'\n"
            "or\n"
            "    microk8s enable foo --bar\n"
        )
        sys.exit(1)
    return [(repository, name, arguments[1:])]


def xable(action, arguments):
    """Enables or disables under the lock of all addons, for which it waits without a word; a nested call already has it."""
    if os.environ.get("MICROK8S_ADDONS_SKIP_LOCK") == "1":
        return xable_unlocked(action, arguments)
    path = SNAP_DATA / "var/lock/.microk8s-addon-lock"
    with open(path, "w") as lock:
        try:
            os.chmod(path, 0o660)
            os.chown(path, -1, grp.getgrnam("microk8s").gr_gid)
        except (OSError, KeyError):
            pass
        fcntl.lockf(lock, fcntl.LOCK_EX)
        os.environ["MICROK8S_ADDONS_SKIP_LOCK"] = "1"
        xable_unlocked(action, arguments)


def xable_unlocked(action, arguments):
    addons = available_addons()
    enabled, disabled = get_status(addons, True)
    known = [(addon["repository"], addon["name"]) for addon in addons]
    done = [(addon["repository"], addon["name"]) for addon in (enabled if action == "enable" else disabled)]
    wanted = parse_addons(arguments, addons)
    if len(wanted) > 1:
        echo(
            "WARNING: Do not enable or disable multiple addons in one command.\n"
            "         This form of chained operations on addons will be DEPRECATED in the future.\n"
            f"         Please, {action} one addon at a time: 'microk8s {action} <addon>'"
        )
    for repository, name, args in wanted:
        if (repository, name) not in known:
            echo(f"Addon {repository}/{name} not found")
            continue
        if (repository, name) in done:
            echo(f"Addon {repository}/{name} is already {action}d")
            continue
        wait_for_ready(30, with_ready_node=False)
        result = run_script(action, repository, name, args)
        if result.returncode:
            sys.exit(result.returncode)
        wait_for_ready(30, with_ready_node=False)


def xable_command(action, summary):
    """The command `enable` or `disable`, with the usage and the errors of its option parser (click)."""
    prog = f"microk8s {action}"
    arguments, options_end = [], False
    for argument in sys.argv[1:]:
        if argument == "--" and not options_end:
            options_end = True
        elif argument in ("-h", "--help") and not options_end:
            print(
                f"Usage: {prog} [OPTIONS] ADDONS...\n\n  {summary}\n\n"
                "  For a list of available addons, run `microk8s status`.\n\n"
                "  To see help for individual addons, run:\n\n"
                f"      {prog} ADDON -- --help\n\n"
                "Options:\n  -h, --help  Show this message and exit."
            )
            return
        else:
            arguments.append(argument)
    if not arguments:
        echo(f"Usage: {prog} [OPTIONS] ADDONS...\nTry '{prog} -h' for help.\n\nError: Missing argument 'ADDONS...'.", err=True)
        sys.exit(2)
    if "-h" in arguments or "--help" in arguments:
        print(f"Addon {arguments[0]} does not yet have a help message.")
        print("For more information about it, visit https://microk8s.io/docs/addons")
        return
    ensure_started()
    wait_for_ready(30, with_ready_node=False)
    xable(action, arguments)
