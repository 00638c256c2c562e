"""Stands in for MicroK8s' scripts/wrappers/enable.py."""

from common.utils import xable_command

xable_command("enable", "Enables a MicroK8s addon.")
