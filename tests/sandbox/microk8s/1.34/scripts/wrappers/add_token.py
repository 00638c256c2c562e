"""Stands in for MicroK8s' scripts/wrappers/add_token.py: prints how another node would join. Nothing listens for that node."""

import argparse
import hashlib
import json
import secrets
import sys

from common import SNAP_DATA

default_ip, all_ips, *arguments = sys.argv[1:]
parser = argparse.ArgumentParser(description="Produce a connection string for a node to join the cluster.", prog="microk8s add-node")
parser.add_argument("--token-ttl", "-l", type=int, default=-1)
parser.add_argument("--token", "-t")
parser.add_argument("--format", default="pretty", choices=["pretty", "short", "token", "token-check", "json"])
args = parser.parse_args(arguments)

token = args.token or secrets.token_hex(16)
if len(token) < 32:
    print("Invalid token size.  It must be 32 characters long.")
    sys.exit(1)
check = hashlib.sha256((SNAP_DATA / "certs/server.crt").read_bytes()).hexdigest()[:12]
urls = [f"{ip}:25000/{token}/{check}" for ip in all_ips.split()]
join = f"microk8s join {default_ip}:25000/{token}/{check}"

if args.format == "json":
    print(json.dumps({"token": f"{token}/{check}", "urls": urls}, indent=2))
elif args.format in ("token", "token-check"):
    print(token if args.format == "token" else f"{token}/{check}")
elif args.format == "short":
    print(join)
else:
    print(f"From the node you wish to join to this cluster, run the following:\n{join}\n")
    print(f"Use the '--worker' flag to join a node as a worker not running the control plane, eg:\n{join} --worker\n")
    print("If the node you are adding is not reachable through the default interface you can use one of the following:")
    for url in urls:
        print(f"microk8s join {url}")
