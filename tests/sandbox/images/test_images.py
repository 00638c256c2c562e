#!/usr/bin/env python3
"""Tests of the image builder: names, layers that come out the same, and the list itself."""

import io
import os
import tarfile
import tempfile
import tomllib
import unittest
from importlib.machinery import SourceFileLoader
from pathlib import Path

import build
from registry import digest, split_name

HERE = Path(__file__).parent
push = SourceFileLoader("push", str(HERE / "push")).load_module()


class Images(unittest.TestCase):
    def test_names(self):
        for name, want in {
            "docker.io/library/busybox:1.28": ("library/busybox", "1.28"),
            "registry.k8s.io/pause:3.10": ("pause", "3.10"),
            "intersystemsdc/iris-community:2022.1.0.209.0-zpm": ("intersystemsdc/iris-community", "2022.1.0.209.0-zpm"),
            "localhost:32000/simple:latest": ("simple", "latest"),
        }.items():
            self.assertEqual(split_name(name), want)
        with self.assertRaises(ValueError):
            split_name("docker.io/library/busybox")

    def test_a_layer_is_the_same_every_time(self):
        spec = {"owner": "51773:51773", "files": {"/usr/bin/tool": "here:tool"}, "links": {"/tool": "/usr/bin/tool"},
                "folders": {"/tmp": "1777"}, "ballast": {"path": "/data", "mebibytes": 1}}
        digests = set()
        for time in (1, 2):
            with tempfile.TemporaryDirectory() as folder:
                tool = Path(folder) / "tool"
                tool.write_text("#!/bin/sh\n")
                tool.chmod(0o755)
                os.utime(tool, (time, time))
                layer = build.make_layer(spec, {"here": Path(folder)})
            digests.add(digest(layer))
        self.assertEqual(len(digests), 1)
        entries = {entry.name: entry for entry in tarfile.open(fileobj=io.BytesIO(layer))}
        self.assertEqual((entries["usr/bin/tool"].uid, entries["usr/bin/tool"].mode), (51773, 0o755))
        self.assertEqual((entries["usr/bin"].uid, entries["tmp"].mode), (0, 0o1777))
        self.assertEqual(entries["tool"].linkname, "/usr/bin/tool")

    def test_the_list(self):
        listed = tomllib.loads((HERE / "images.toml").read_text())
        names = []
        for image in listed["image"]:
            names += image["names"]
            full = build.with_base(image, listed["base"])
            for layer in full["layers"]:
                self.assertIn(layer, listed["layer"])
            config = build.make_config(full, [])
            if image.get("base", "").startswith("longhorn-"):
                self.assertIn(b"LONGHORN_STANDIN_VERSION=" + image["base"].replace("longhorn-", "v").encode(), config)
            elif "base" in image:
                self.assertIn(b"IRIS_STANDIN_LICENSE_EXPIRES=", config)
                self.assertIn(b"ISC_PACKAGE_INSTALLDIR=/usr/irissys", config)
        self.assertEqual(len(names), len(set(names)))

    def test_changes_when_published_again(self):
        config = {"config": {"Env": ["A=1", "B=x=y"]}}
        self.assertEqual(push.with_env(config, ["A=2", "C=3"])["config"]["Env"], ["A=2", "B=x=y", "C=3"])


if __name__ == "__main__":
    unittest.main()
