#!/usr/bin/env python3
"""What a package tells beside the program: the changelog in Debian's format, and the licences of the libraries that the program has in it.

    documents.py changelog VERSION SECONDS       the entries of CHANGELOG.md; SECONDS since 1970 date what has no date yet
    documents.py licences                        name, version and licence of each crate, then each licence's text once, with its crates
"""
import collections
import datetime
import email.utils
import json
import pathlib
import re
import subprocess
import sys
import textwrap

REPO = pathlib.Path(__file__).resolve().parent.parent
UTC = datetime.timezone.utc
PERSON = "The iris-mk8s authors <iris-mk8s@example.com>"
HEADING = re.compile(r"^## (\S+)(?: - (\d{4}-\d\d-\d\d))?$", re.MULTILINE)


def changelog(version, seconds):
    """What stands under `Unreleased` is what this version is about to bring."""
    _, *parts = HEADING.split((REPO / "CHANGELOG.md").read_text())
    now = datetime.datetime.fromtimestamp(int(seconds), UTC)
    for name, day, text in zip(parts[0::3], parts[1::3], parts[2::3]):
        at = datetime.datetime.fromisoformat(f"{day}T00:00:00+00:00") if day else now
        print(f"iris-mk8s ({(version if name == 'Unreleased' else name).replace('-', '~')}) stable; urgency=medium\n")
        for point in re.findall(r"^- (.*(?:\n  .*)*)", text, re.MULTILINE):
            print(textwrap.fill(" ".join(point.split()), 76, initial_indent="  * ", subsequent_indent="    "))
        print(f"\n -- {PERSON}  {email.utils.format_datetime(at)}\n")


def crates():
    """The packages that are compiled into the program for this platform, without the program itself."""
    metadata = json.loads(subprocess.run(
        ["cargo", "metadata", "--locked", "--offline", "--format-version", "1", "--filter-platform", "x86_64-unknown-linux-gnu"],
        cwd=REPO, check=True, capture_output=True).stdout)
    packages = {package["id"]: package for package in metadata["packages"]}
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    found, ahead = set(), [metadata["resolve"]["root"]]
    while ahead:
        for dep in nodes[ahead.pop()]["deps"]:
            if dep["pkg"] not in found and any(kind["kind"] is None for kind in dep["dep_kinds"]):
                found.add(dep["pkg"])
                ahead.append(dep["pkg"])
    return sorted((packages[i] for i in found), key=lambda package: (package["name"], package["version"]))


def licences():
    print("The program has these libraries in it, and the standard library of Rust (MIT or Apache-2.0, https://www.rust-lang.org).\n")
    texts = collections.defaultdict(list)
    for package in crates():
        title = f"{package['name']} {package['version']}"
        print(f"{title}: {package['license'] or package['license_file']}")
        folder = pathlib.Path(package["manifest_path"]).parent
        for file in sorted(folder.iterdir()):
            if file.is_file() and re.match(r"(?i)(licen[cs]e|copying|notice|copyright|unlicense)", file.name):
                texts[re.sub(r"\s+\n", "\n", file.read_text(errors="replace")).strip()].append(title)
    for text, titles in sorted(texts.items(), key=lambda item: item[1]):
        print(f"\n{'-' * 78}\n{', '.join(titles)}\n\n{text}")


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["changelog", version, seconds]:
            changelog(version, seconds)
        case ["licences"]:
            licences()
        case _:
            sys.exit(__doc__)
