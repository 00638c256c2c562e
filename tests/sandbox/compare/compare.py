#!/usr/bin/env python3
"""Tells two snapshots of a machine apart: compare.py BEFORE AFTER [--allow FILE]

Prints every difference, `+` for what came, `-` for what went, `~` for what changed, and exits 1 if there is one that FILE does not allow.
FILE has one exception a line, `SIGN KIND PATTERN # reason`: a sign or `*` for any, a kind of snapshot.py, a shell pattern for the key (`*`
matches slashes too). An exception without a reason is an error; one that matched nothing is told, so that the list stays short."""

import argparse
import json
import re
import sys
from fnmatch import fnmatchcase
from typing import NamedTuple

RULE_LINE = re.compile(r"(?P<sign>[+~*-])\s+(?P<kind>[a-z-]+)\s+(?P<pattern>\S.*?)\s+#\s*(?P<reason>\S.*)")


class Difference(NamedTuple):
    sign: str
    kind: str
    key: str
    value: str

    def __str__(self) -> str:
        return f"{self.sign} {self.kind} {self.key}: {self.value}"


class Rule(NamedTuple):
    line: int
    sign: str
    kind: str
    pattern: str

    def allows(self, difference: Difference) -> bool:
        return self.sign in ("*", difference.sign) and self.kind == difference.kind and fnmatchcase(difference.key, self.pattern)


def differences(before: dict, after: dict) -> list[Difference]:
    found = []
    for kind in sorted(before.keys() | after.keys()):
        old, new = before.get(kind, {}), after.get(kind, {})
        for key in sorted(old.keys() | new.keys()):
            if key not in old:
                found.append(Difference("+", kind, key, new[key]))
            elif key not in new:
                found.append(Difference("-", kind, key, old[key]))
            elif old[key] != new[key]:
                found.append(Difference("~", kind, key, f"{old[key]} -> {new[key]}"))
    return found


def read_exceptions(text: str) -> list[Rule]:
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        m = RULE_LINE.fullmatch(line.strip())
        if not m:
            raise ValueError(f"line {number} is not `SIGN KIND PATTERN # reason`: {line}")
        found.append(Rule(number, m["sign"], m["kind"], m["pattern"]))
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before")
    parser.add_argument("after")
    parser.add_argument("--allow", metavar="FILE")
    options = parser.parse_args()
    try:
        with open(options.before) as a, open(options.after) as b:
            found = differences(json.load(a), json.load(b))
        exceptions = []
        if options.allow:
            with open(options.allow) as file:
                exceptions = read_exceptions(file.read())
    except (OSError, ValueError) as error:
        print(f"compare: {error}", file=sys.stderr)
        return 2

    used, residue = set(), []
    for difference in found:
        allowing = [e for e in exceptions if e.allows(difference)]
        used.update(allowing)
        if not allowing:
            residue.append(difference)
            print(difference)
    for e in exceptions:
        if e not in used:
            print(f"compare: line {e.line} of {options.allow} allows nothing that is there: {e.sign} {e.kind} {e.pattern}", file=sys.stderr)
    print(f"compare: {len(residue)} differences, {len(found) - len(residue)} more that are allowed", file=sys.stderr)
    return 1 if residue else 0


if __name__ == "__main__":
    sys.exit(main())
