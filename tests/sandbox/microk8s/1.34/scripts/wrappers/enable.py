"""Stands in for MicroK8s' scripts/wrappers/enable.py."""

from common import xable_command

xable_command("enable", "Enable a MicroK8s addon.")
