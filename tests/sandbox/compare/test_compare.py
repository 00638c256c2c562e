#!/usr/bin/env python3
"""Tests of compare.py on snapshots made up here: what it prints, what its list of exceptions lets pass, and its exit codes."""

import json
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

COMPARE = Path(__file__).with_name("compare.py")
BEFORE = {"file": {"/etc/a": "file 1", "/etc/b": "file 2", "/etc/c": "file 3"}, "group": {"adm": "4"}}
AFTER = {"file": {"/etc/a": "file 1", "/etc/b": "file 9", "/etc/new/d": "file 4"}, "group": {"adm": "4", "microk8s": "999"}}


class Compare(unittest.TestCase):
    def compare(self, before: dict, after: dict, allow: str | None = None) -> tuple[int, list[str], str]:
        with tempfile.TemporaryDirectory() as folder:
            files = {"before": json.dumps(before), "after": json.dumps(after)} | ({"allow": allow} if allow is not None else {})
            for name, text in files.items():
                (Path(folder) / name).write_text(text)
            arguments = ["before", "after"] + (["--allow", "allow"] if allow is not None else [])
            done = subprocess.run([sys.executable, COMPARE, *arguments], cwd=folder, capture_output=True, text=True)
        return done.returncode, done.stdout.splitlines(), done.stderr

    def test_same(self):
        self.assertEqual(self.compare(BEFORE, BEFORE)[:2], (0, []))

    def test_every_difference_is_printed(self):
        code, lines, _ = self.compare(BEFORE, AFTER)
        self.assertEqual(code, 1)
        self.assertEqual(lines, ["~ file /etc/b: file 2 -> file 9", "- file /etc/c: file 3", "+ file /etc/new/d: file 4",
                                 "+ group microk8s: 999"])

    def test_a_kind_that_only_one_has(self):
        self.assertEqual(self.compare({}, {"alias": {"kubectl": "x"}})[:2], (1, ["+ alias kubectl: x"]))

    def test_exceptions(self):
        code, lines, told = self.compare(BEFORE, AFTER, "# a comment\n~ file /etc/b # it lives\n* file /etc/[cn]* # ours\n+ group microk8s # snapd keeps it\n")
        self.assertEqual((code, lines), (0, []))
        self.assertIn("0 differences, 4 more", told)

    def test_an_exception_allows_only_its_sign_and_kind(self):
        code, lines, told = self.compare(BEFORE, AFTER, "- file /etc/b # wrong sign\n+ group /etc/new/* # wrong kind\n")
        self.assertEqual((code, len(lines)), (1, 4))
        self.assertIn("line 1 of allow allows nothing", told)
        self.assertIn("line 2 of allow allows nothing", told)

    def test_an_exception_needs_a_reason(self):
        for line in ("+ file /etc/new/d", "+ file /etc/new/d #", "file /etc/new/d # no sign", "+ file # no pattern"):
            code, _, told = self.compare(BEFORE, AFTER, line)
            self.assertEqual(code, 2, line)
            self.assertIn("line 1 is not", told)

    def test_unreadable(self):
        done = subprocess.run([sys.executable, COMPARE, "/nowhere", "/nowhere"], capture_output=True, text=True)
        self.assertEqual(done.returncode, 2)


if __name__ == "__main__":
    unittest.main()
