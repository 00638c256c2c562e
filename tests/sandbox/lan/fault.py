#!/usr/bin/env python3
"""Writes the faults that a machine gets from the LAN's services; front.py applies them, and says what they look like on the wire.

    fault.py FILE store    [--rate R] [--status N] [--down] [--delay S]
    fault.py FILE registry [--rate R] [--status N] [--down] [--delay S] [--missing REPO:TAG]...
    fault.py FILE packages [--rate R] [--status N] [--down] [--delay S]
    fault.py FILE clear
    fault.py FILE show

A service's faults replace those it had before. R is in bytes a second, with K, M or G for 1000, 1000² or 1000³.
"""
import argparse
import json
import os
import pathlib
import re


def rate(text):
    m = re.fullmatch(r"(\d+(?:\.\d+)?)([KMG]?)", text.upper())
    value = float(m[1]) * {"": 1, "K": 1e3, "M": 1e6, "G": 1e9}[m[2]] if m else 0
    if value <= 0:
        raise argparse.ArgumentTypeError(f"{text}: wanted bytes a second, such as 500K or 5M")
    return value


def arguments():
    parser = argparse.ArgumentParser(prog="sandbox fault NAME", allow_abbrev=False)
    parser.add_argument("file", type=pathlib.Path, help=argparse.SUPPRESS)
    commands = parser.add_subparsers(dest="command", required=True)
    for service in ("store", "registry", "packages"):
        p = commands.add_parser(service, allow_abbrev=False)
        p.add_argument("--rate", type=rate, help="bytes a second, such as 500K or 5M, shared by all connections")
        p.add_argument("--status", type=int, help="every request gets this HTTP status")
        p.add_argument("--down", action="store_true", help="every connection is reset, running ones too")
        p.add_argument("--delay", type=float, metavar="SECONDS", help="before each answer")
        if service == "registry":
            p.add_argument("--missing", action="append", metavar="REPO:TAG", help="this image is not there")
    commands.add_parser("clear", help="no faults")
    commands.add_parser("show", help="print the faults")
    return parser.parse_args()


def main():
    args = arguments()
    faults = json.loads(args.file.read_text()) if args.file.exists() else {}
    if args.command == "show":
        print(json.dumps(faults))
    elif args.command == "clear":
        args.file.unlink(missing_ok=True)
    else:
        faults[args.command] = {k: v for k, v in vars(args).items() if k not in ("file", "command") and v}
        # The front may read at any moment: it must find the old file or the new one.
        args.file.parent.mkdir(parents=True, exist_ok=True)
        new = args.file.with_suffix(f".{os.getpid()}")
        new.write_text(json.dumps(faults))
        new.rename(args.file)


if __name__ == "__main__":
    main()
