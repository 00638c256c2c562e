"""Stands in for MicroK8s' scripts/wrappers/refresh-certs.py, of which it has `--check`: in 1.20 it is about the CA alone."""

import os
import subprocess
import sys
from datetime import datetime, timezone

from common.utils import SNAP_DATA, echo

if os.geteuid() != 0:
    echo("Elevated permissions is needed for this operation. Please run this command with sudo.")
    sys.exit(50)
if sys.argv[1:] not in (["--check"], ["-c"]):
    print("microk8s refresh-certs: the sandbox's MicroK8s has '--check' only", file=sys.stderr)
    sys.exit(2)
command = ["openssl", "x509", "-enddate", "-noout", "-in", SNAP_DATA / "certs/ca.crt"]
text = subprocess.check_output(command, text=True).strip().removeprefix("notAfter=")
end = datetime.strptime(text, "%b %d %H:%M:%S %Y %Z").replace(tzinfo=timezone.utc)
echo(f"The CA certificate will expire in {(end - datetime.now(timezone.utc)).days} days.")
