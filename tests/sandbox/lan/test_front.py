#!/usr/bin/env python3
"""The front's faults, on loopback: a server stands in for the fake store and the registry, and the client is 127.0.0.1."""
import http.client
import json
import pathlib
import subprocess
import sys
import tempfile
import threading
import time
import unittest
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from front import Front

FAULT = pathlib.Path(__file__).with_name("fault.py")
BLOB = bytes(range(256)) * 4096  # 1 MiB


class Behind(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        own = f"http://127.0.0.1:{self.server.server_port}"
        body = BLOB if "/download/" in self.path or "/blobs/" in self.path else json.dumps({"url": f"{own}/download/x.snap"}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Asked-Range", self.headers.get("Range", ""))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    do_HEAD = do_GET

    def do_POST(self):
        sent = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(201)
        self.send_header("Content-Length", str(len(sent)))
        self.end_headers()
        self.wfile.write(sent)

    def log_message(self, *args):
        pass


class FrontTest(unittest.TestCase):
    def setUp(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.file = pathlib.Path(scratch.name) / "127.0.0.1.json"
        behind = self.serve(ThreadingHTTPServer(("127.0.0.1", 0), Behind))
        self.store = self.serve(Front("store", ("127.0.0.1", 0), behind.server_address, scratch.name))
        self.registry = self.serve(Front("registry", ("127.0.0.1", 0), behind.server_address, scratch.name))
        self.store.RequestHandlerClass.log_message = lambda *_: None

    def serve(self, server):
        server.daemon_threads = True
        server.handle_error = lambda *_: None  # connections are broken off on purpose
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        return server

    def fault(self, *args):
        subprocess.run([sys.executable, "-B", FAULT, self.file, *args], check=True)

    def get(self, front, path, method="GET", body=None, headers=None):
        connection = http.client.HTTPConnection(*front.server_address, timeout=10)
        self.addCleanup(connection.close)
        connection.request(method, path, body, headers or {})
        reply = connection.getresponse()
        return reply.status, reply.read(), reply

    def test_passes_on(self):
        self.assertEqual(self.get(self.store, "/download/x.snap")[:2], (200, BLOB))
        self.assertEqual(self.get(self.store, "/v2/snaps/refresh", "POST", b"{}")[:2], (201, b"{}"))
        self.assertEqual(self.get(self.store, "/download/x", headers={"Range": "bytes=5-"})[2].headers["X-Asked-Range"], "bytes=5-")
        status, body, reply = self.get(self.registry, "/v2/a/blobs/sha256:1", "HEAD")
        self.assertEqual((status, body, reply.headers["Content-Length"]), (200, b"", str(len(BLOB))))

    def test_the_store_names_the_front_to_download_from(self):
        host, port = self.store.server_address
        self.assertEqual(json.loads(self.get(self.store, "/v2/snaps/info")[1]), {"url": f"http://{host}:{port}/download/x.snap"})

    def test_the_store_tells_what_is_published(self):
        body = json.loads(self.get(self.store, "/v2/snaps/info/microk8s?architecture=amd64&fields=base")[1])
        channels = {c["channel"]["name"] for c in body["channel-map"] if c["channel"]["architecture"] == "amd64"}
        self.assertLessEqual({"1.20/stable", "1.34/edge"}, channels)
        self.assertNotIn("1.19/stable", channels)

    def test_rate_is_shared_by_all_connections(self):
        self.fault("registry", "--rate", "1M")
        start = time.monotonic()
        pulls = [threading.Thread(target=self.get, args=(self.registry, f"/v2/a/blobs/{i}")) for i in range(2)]
        for pull in pulls:
            pull.start()
        for pull in pulls:
            pull.join()
        took, alone = time.monotonic() - start, len(BLOB) / 1e6
        self.assertTrue(1.8 * alone < took < 5 * alone, f"{took} s, and {alone} s for one alone")

    def test_status(self):
        self.fault("registry", "--status", "429")
        status, body, _ = self.get(self.registry, "/v2/a/manifests/1")
        self.assertEqual((status, json.loads(body)["errors"][0]["code"]), (429, "TOOMANYREQUESTS"))
        self.assertEqual(self.get(self.store, "/download/x")[0], 200, "the other service has no fault")
        self.fault("clear")
        self.assertEqual(self.get(self.registry, "/v2/a/manifests/1")[0], 200)

    def test_missing_image(self):
        self.fault("registry", "--missing", "some/app:1", "--missing", "other:2")
        for path, status in {"some/app/manifests/1": 404, "other/manifests/2?ns=docker.io": 404, "some/app/manifests/2": 200}.items():
            self.assertEqual(self.get(self.registry, f"/v2/{path}")[0], status, path)

    def test_an_image_that_docker_hub_lost_is_refused_as_it_does(self):
        path = "/v2/metallb/speaker/manifests/v0.9.3"
        status, _, reply = self.get(self.registry, f"{path}?ns=docker.io")
        self.assertEqual(status, 401)
        self.assertIn('scope="repository:metallb/speaker:pull"', reply.headers["WWW-Authenticate"])
        self.assertNotIn("error=", reply.headers["WWW-Authenticate"], "the first time it asks for a token")
        token = json.loads(self.get(self.registry, "/token?service=registry")[1])["token"]
        status, _, reply = self.get(self.registry, f"{path}?ns=docker.io", headers={"Authorization": f"Bearer {token}"})
        self.assertEqual(status, 401)
        self.assertIn('error="insufficient_scope"', reply.headers["WWW-Authenticate"])
        self.assertEqual(self.get(self.registry, f"{path}?ns=quay.io")[0], 200, "another registry has it")

    def test_delay(self):
        self.fault("store", "--delay", "0.5")
        start = time.monotonic()
        self.get(self.store, "/")
        self.assertGreater(time.monotonic() - start, 0.5)

    def test_down(self):
        self.fault("store", "--down")
        with self.assertRaises(ConnectionError):
            self.get(self.store, "/")

    def test_down_in_the_middle_of_a_download(self):
        self.fault("store", "--rate", "200K")
        threading.Timer(0.5, self.fault, ("store", "--down")).start()
        start = time.monotonic()
        with self.assertRaises((ConnectionError, http.client.IncompleteRead)):
            self.get(self.store, "/download/x.snap")
        self.assertLess(time.monotonic() - start, 3)


if __name__ == "__main__":
    unittest.main()
