#!/usr/bin/env bash
# Stands in for the addons that the sandbox only knows by name: those that are links to this file.
name=$(basename "$0" .sh)
echo "addon ${name#*.}: the sandbox's MicroK8s knows it by name only" >&2
exit 1
