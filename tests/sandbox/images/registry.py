"""A registry's HTTP interface, as far as images are written and looked at: blobs and manifests."""

import hashlib
import json
import urllib.error
import urllib.request

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"


def split_name(name: str) -> tuple[str, str]:
    """The repository and the tag that a registry knows an image by: its name without the host."""
    host, slash, path = name.partition("/")
    if not slash or not ("." in host or ":" in host or host == "localhost"):
        path = name
    repository, colon, tag = path.rpartition(":")
    if not colon:
        raise ValueError(f"{name}: a tag is missing")
    return repository, tag


def digest(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def as_json(value) -> bytes:
    """The one form of a value, so that its digest is the same every time."""
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def with_env(config: dict, changes: list[str]) -> dict:
    """An image's configuration with another environment."""
    env = dict(entry.split("=", 1) for entry in config["config"]["Env"])
    env |= dict(entry.split("=", 1) for entry in changes)
    config["config"]["Env"] = [f"{key}={value}" for key, value in sorted(env.items())]
    return config


class Registry:
    def __init__(self, url: str):
        self.url = url.rstrip("/")

    def ask(self, method: str, path: str, data: bytes | None = None, headers: dict[str, str] | None = None):
        target = path if "://" in path else self.url + path
        request = urllib.request.Request(target, data=data, method=method, headers=headers or {})
        try:
            return urllib.request.urlopen(request, timeout=60)
        except urllib.error.HTTPError as error:
            error.add_note(f"{method} {target}: {error.read(500).decode(errors='replace')}")
            raise

    def has_blob(self, repository: str, blob: str) -> bool:
        try:
            with self.ask("HEAD", f"/v2/{repository}/blobs/{blob}"):
                return True
        except urllib.error.HTTPError as error:
            if error.code != 404:
                raise
            return False

    def push_blob(self, repository: str, data: bytes) -> None:
        blob = digest(data)
        if self.has_blob(repository, blob):
            return
        with self.ask("POST", f"/v2/{repository}/blobs/uploads/", b"") as answer:
            place = answer.headers["Location"]
        place += ("&" if "?" in place else "?") + "digest=" + blob
        self.ask("PUT", place, data, {"Content-Type": "application/octet-stream"}).close()

    def mount_blob(self, repository: str, blob: str, source: str) -> None:
        """Makes a blob of another repository known here, without its bytes being sent."""
        with self.ask("POST", f"/v2/{repository}/blobs/uploads/?mount={blob}&from={source}", b"") as answer:
            if answer.status != 201:
                raise RuntimeError(f"the registry does not mount {blob} from {source} into {repository}")

    def blob(self, repository: str, blob: str) -> bytes:
        with self.ask("GET", f"/v2/{repository}/blobs/{blob}") as answer:
            return answer.read()

    def manifest(self, repository: str, tag: str) -> dict:
        with self.ask("GET", f"/v2/{repository}/manifests/{tag}", headers={"Accept": MANIFEST}) as answer:
            return json.load(answer)

    def push_manifest(self, repository: str, tag: str, manifest: dict) -> str:
        data = as_json(manifest)
        self.ask("PUT", f"/v2/{repository}/manifests/{tag}", data, {"Content-Type": MANIFEST}).close()
        return digest(data)
