#!/usr/bin/env python3
"""Makes the images of images.toml and pushes them to a registry: build.py --registry URL --source NAME=DIR...

Everything that could differ from one run to the next (times, owners, order, compression) is left out, so an image has the same digest
wherever it is built from the same files."""

import argparse
import hashlib
import io
import subprocess
import sys
import tarfile
import tomllib
from pathlib import Path

from registry import CONFIG, LAYER, MANIFEST, Registry, as_json, digest, split_name

HERE = Path(__file__).parent


class LayerTar:
    """A layer as an uncompressed tar file, with the folders its files need."""

    def __init__(self, owner: str):
        self.uid, self.gid = map(int, owner.split(":"))
        self.buffer = io.BytesIO()
        self.tar = tarfile.open(fileobj=self.buffer, mode="w", format=tarfile.USTAR_FORMAT)
        self.folders: set[str] = set()

    def add(self, path: str, kind: bytes, mode: int, data: bytes = b"", target: str = "") -> None:
        for parent in reversed(Path(path).parents):
            if str(parent) != "/" and str(parent) not in self.folders:
                self.entry(str(parent), tarfile.DIRTYPE, 0o755, b"", "", root=True)
        self.entry(path, kind, mode, data, target)

    def entry(self, path: str, kind: bytes, mode: int, data: bytes, target: str, root: bool = False) -> None:
        if kind == tarfile.DIRTYPE:
            self.folders.add(path)
        info = tarfile.TarInfo(path.lstrip("/"))
        info.type, info.mode, info.size, info.linkname = kind, mode, len(data), target
        info.uid, info.gid = (0, 0) if root else (self.uid, self.gid)
        self.tar.addfile(info, io.BytesIO(data))

    def bytes(self) -> bytes:
        self.tar.close()
        return self.buffer.getvalue()


def find(source: str, sources: dict[str, Path]) -> Path:
    name, _, path = source.partition(":")
    if name not in sources:
        raise SystemExit(f"build.py: {source} needs --source {name}=DIR")
    return sources[name] / path


def make_layer(spec: dict, sources: dict[str, Path]) -> bytes:
    layer = LayerTar(spec.get("owner", "0:0"))
    for path, mode in spec.get("folders", {}).items():
        layer.add(path, tarfile.DIRTYPE, int(mode, 8))
    for path, source in spec.get("files", {}).items():
        file = find(source, sources)
        layer.add(path, tarfile.REGTYPE, 0o755 if file.stat().st_mode & 0o100 else 0o644, file.read_bytes())
    for path, text in spec.get("text", {}).items():
        layer.add(path, tarfile.REGTYPE, 0o644, text.encode())
    for path, target in spec.get("links", {}).items():
        layer.add(path, tarfile.SYMTYPE, 0o777, target=target)
    if folder := spec.get("applets"):
        busybox = find(spec["files"]["/bin/busybox"], sources)
        for applet in sorted(set(subprocess.check_output([busybox, "--list"], text=True).split()) - {"busybox"}):
            layer.add(f"{folder}/{applet}", tarfile.SYMTYPE, 0o777, target="/bin/busybox")
    if ballast := spec.get("ballast"):
        data = hashlib.shake_128(ballast["path"].encode()).digest(ballast["mebibytes"] << 20)
        layer.add(ballast["path"], tarfile.REGTYPE, 0o644, data)
    return layer.bytes()


def make_config(image: dict, layers: list[bytes]) -> bytes:
    settings = {
        "Env": [f"{key}={value}" for key, value in sorted(image.get("env", {}).items())] or ["PATH=/bin"],
        "Entrypoint": image.get("entrypoint"),
        "Cmd": image.get("cmd"),
        "User": image.get("user", ""),
        "WorkingDir": image.get("workdir", "/"),
        "ExposedPorts": {port: {} for port in image.get("ports", [])} or None,
    }
    if not any(entry.startswith("PATH=") for entry in settings["Env"]):
        settings["Env"].append("PATH=/bin")
    return as_json({
        "architecture": "amd64",
        "os": "linux",
        "created": "2026-01-01T00:00:00Z",
        "config": {key: value for key, value in settings.items() if value},
        "rootfs": {"type": "layers", "diff_ids": [digest(layer) for layer in layers]},
    })


def make_manifest(config: bytes, layers: list[bytes]) -> dict:
    return {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": {"mediaType": CONFIG, "digest": digest(config), "size": len(config)},
        "layers": [{"mediaType": LAYER, "digest": digest(layer), "size": len(layer)} for layer in layers],
    }


def with_base(image: dict, bases: dict[str, dict]) -> dict:
    base = bases[image["base"]] if "base" in image else {}
    return base | image | {"env": base.get("env", {}) | image.get("env", {})}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--registry", required=True, metavar="URL")
    parser.add_argument("--source", action="append", default=[], metavar="NAME=DIR", help="where the files of images.toml come from")
    parser.add_argument("--images", type=Path, default=HERE / "images.toml", metavar="FILE", help="which images, if not those of images.toml")
    options = parser.parse_args()
    sources = {name: Path(folder) for name, _, folder in (source.partition("=") for source in options.source)}

    registry = Registry(options.registry)
    listed = tomllib.loads(options.images.read_text())
    made: dict[str, bytes] = {}
    for image in (with_base(image, listed.get("base", {})) for image in listed["image"]):
        for name in image["layers"]:
            if name not in made:
                made[name] = make_layer(listed["layer"][name], sources)
        layers = [made[name] for name in image["layers"]]
        config = make_config(image, layers)
        for name in image["names"]:
            repository, tag = split_name(name)
            for blob in [*layers, config]:
                registry.push_blob(repository, blob)
            print(registry.push_manifest(repository, tag, make_manifest(config, layers)), f"{repository}:{tag}")


if __name__ == "__main__":
    sys.exit(main())
