"""Stands in for MicroK8s' scripts/wrappers/refresh_certs.py, of which it has `--check` and `--cert`."""

import shutil
import subprocess
import sys
from datetime import datetime, timezone

from common import SNAP, SNAP_DATA, echo, exit_if_no_root

TITLES = {"ca.crt": "CA", "server.crt": "server", "front-proxy-client.crt": "front proxy client"}
# What makes each of them anew, by the functions of the install hook. A new authority takes all others along.
MAKES = {
    "ca.crt": "make_certs_and_kubeconfigs",
    "server.crt": "new_server_cert",
    "front-proxy-client.crt": "new_cert front-proxy-client /CN=front-proxy-client front-proxy-ca",
}


def check():
    for file, title in TITLES.items():
        command = ["openssl", "x509", "-enddate", "-noout", "-in", SNAP_DATA / f"certs/{file}"]
        text = subprocess.check_output(command, text=True).strip().removeprefix("notAfter=")
        end = datetime.strptime(text, "%b %d %H:%M:%S %Y %Z").replace(tzinfo=timezone.utc)
        print(f"The {title} certificate will expire in {(end - datetime.now(timezone.utc)).days} days.")


def refresh(cert):
    backup = SNAP_DATA / "certs-backup"
    echo(f"Taking a backup of the current certificates under {backup}/")
    for folder in ("certs", "credentials"):
        shutil.copytree(SNAP_DATA / folder, backup / folder, dirs_exist_ok=True)
    echo("Creating new certificates")
    lib = SNAP / "lib"
    modes = 'chmod -R ug+rwX,o-rwX "$SNAP_DATA"/{certs,credentials}'
    script = f'set -eu; . {lib}/utils.sh; use_snap_env; . {lib}/certs.sh; {MAKES[cert]}; {modes}'
    if cert == "ca.crt":
        echo("Creating new kubeconfig file")
    subprocess.check_call(["bash", "-c", script])
    services = ("kubelite",) if cert == "front-proxy-client.crt" else ("kubelite", "cluster-agent")
    for service in services:
        echo(f"Restarting service {service}.")
        subprocess.check_call(["snapctl", "restart", f"microk8s.daemon-{service}"])
    if cert == "ca.crt":
        echo("\nThe CA certificates have been replaced. Kubernetes will restart the pods of your workloads.")
        echo("Any worker nodes you may have in your cluster need to be removed and re-joined to become aware of the new CA.\n")


exit_if_no_root()
match sys.argv[1:]:
    case ["--check" | "-c"]:
        check()
    case ["--cert" | "-e", cert] if cert in MAKES:
        refresh(cert)
    case _:
        print("microk8s refresh-certs: the sandbox's MicroK8s has '--check' and '--cert' only", file=sys.stderr)
        sys.exit(2)
