"""Stands in for MicroK8s' scripts/wrappers/refresh_certs.py, of which it has `--check`."""

import subprocess
import sys
from datetime import datetime, timezone

from common import SNAP_DATA, exit_if_no_root

exit_if_no_root()
if sys.argv[1:] not in (["--check"], ["-c"]):
    print("microk8s refresh-certs: the sandbox's MicroK8s has '--check' only", file=sys.stderr)
    sys.exit(2)
for file, title in (("ca", "CA"), ("server", "server"), ("front-proxy-client", "front proxy client")):
    command = ["openssl", "x509", "-enddate", "-noout", "-in", SNAP_DATA / f"certs/{file}.crt"]
    text = subprocess.check_output(command, text=True).strip().removeprefix("notAfter=")
    end = datetime.strptime(text, "%b %d %H:%M:%S %Y %Z").replace(tzinfo=timezone.utc)
    print(f"The {title} certificate will expire in {(end - datetime.now(timezone.utc)).days} days.")
