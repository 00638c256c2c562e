"""Stands in for MicroK8s' scripts/wrappers/disable.py."""

from common import xable_command

xable_command("disable", "Disable one or more MicroK8s addons.")
