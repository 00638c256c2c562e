"""Stands in for MicroK8s' scripts/wrappers/version.py: what snapd says, running or not."""

import os

print(f"MicroK8s {os.environ['SNAP_VERSION']} revision {os.environ['SNAP_REVISION']}")
