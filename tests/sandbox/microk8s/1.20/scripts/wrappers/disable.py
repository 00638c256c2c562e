"""Stands in for MicroK8s' scripts/wrappers/disable.py."""

from common.utils import xable_command

xable_command("disable", "Disables one or more MicroK8s addons.")
