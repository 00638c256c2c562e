"""Stands in for MicroK8s' scripts/wrappers/addons.py, of which it has `repo list`: the only repository is the built-in one."""

import sys

from common import available_addons

arguments = sys.argv[1:]
if arguments[:2] != ["repo", "list"]:
    print("microk8s addons: the sandbox's MicroK8s has 'repo list' only", file=sys.stderr)
    sys.exit(2)
count = len(available_addons())
if arguments[2:] == ["--format", "yaml"]:
    print(f"- addons: {count}\n  description: List of all addons included in Microk8s.\n  name: core\n  source: (built-in)\n")
else:
    print(f"{'REPO':<10} {'ADDONS'} SOURCE\n{'core':<10} {count:>6} (built-in)")
