#!/usr/bin/env python3
"""The door through which machines reach the snap store and the image registry.

It passes every request on to the server behind it, and gives each machine, known by its source address, the faults that were ordered for
it: a slow line, an error status, a server that is gone, an image that is not there. The faults of the machine at ADDRESS stand in
FAULTS/ADDRESS.json (fault.py writes it); the file is read again all the time, so that a fault can come and go in the middle of a download.

    front.py FAULTS store=LISTEN=BACKEND registry=LISTEN=BACKEND       (addresses as HOST:PORT)
"""
import http.client
import json
import pathlib
import re
import socket
import struct
import sys
import threading
import time
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

CHUNK = 64 * 1024
# Headers that belong to one connection and not to the answer.
HOP = {"connection", "keep-alive", "transfer-encoding", "te", "trailer", "upgrade", "proxy-connection"}
INFO = re.compile(r"^/v2/snaps/info/(?P<name>[^/?]+)\?(?:.*&)?architecture=(?P<arch>\w+)")
MANIFEST = re.compile(r"^/v2/(?P<repo>.+)/manifests/(?P<tag>[^/?]+)")
# What a registry of the world does not have any more, by the host that the puller says it wants the image of. Others may have it still.
GONE = {("docker.io", "metallb/controller"), ("docker.io", "metallb/speaker")}


def snap_info(name, arch):
    """What `snap info` asks, which the fake store does not know: what is published, and where. The fake store itself gives the one snap
    that it has in every channel."""
    tracks = [f"1.{minor}" for minor in range(20, 37)] if name == "microk8s" else ["latest"]
    about = {"name": name, "snap-id": name, "summary": name, "publisher": {"id": "sandbox", "username": "sandbox", "display-name": "Sandbox"}}
    release = {"architectures": [arch], "confinement": "classic", "epoch": {"read": [0], "write": [0]}, "revision": 1, "type": "app",
               "created-at": "2026-01-01T00:00:00Z", "download": {"size": 178_000_000}}
    channel = {"architecture": arch, "released-at": "2026-01-01T00:00:00Z"}
    channels = [{**release, "version": f"v{track}", "channel": {**channel, "name": f"{track}/{risk}", "track": track, "risk": risk}}
                for track in tracks for risk in ("stable", "candidate", "beta", "edge")]
    return {"name": name, "snap-id": name, "snap": about, "channel-map": channels}


class Line:
    """A machine's line to a service: all its connections share the rate."""

    def __init__(self):
        self.lock = threading.Lock()
        self.free_at = 0.0

    def wait(self, size, rate):
        with self.lock:
            now = time.monotonic()
            self.free_at = until = max(now, self.free_at) + size / rate
        time.sleep(until - now)


class Gone(Exception):
    """The machine is to find nobody here."""


class Front(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, service, listen, backend, faults):
        self.service, self.backend, self.faults = service, backend, pathlib.Path(faults)
        self.lines, self.lines_lock = {}, threading.Lock()
        super().__init__(listen, Handler)

    def fault(self, address):
        try:
            return json.loads((self.faults / f"{address}.json").read_text()).get(self.service, {})
        except FileNotFoundError:
            return {}

    def line(self, address):
        with self.lines_lock:
            return self.lines.setdefault(address, Line())

    def verify_request(self, request, client_address):
        return not self.fault(client_address[0]).get("down")

    def shutdown_request(self, request):
        try:
            down = self.fault(request.getpeername()[0]).get("down")
        except OSError:  # the machine has hung up
            down = False
        if down:
            # A reset, as from a host on which nobody listens; the ordinary way of closing would look like an answer cut short.
            request.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            request.close()
        else:
            super().shutdown_request(request)

    def handle_error(self, request, client_address):
        # A client that hangs up in the middle is everyday life: snapd cancels downloads, tests kill machines.
        print(f"{self.service} {client_address[0]} broken off: {sys.exc_info()[1]!r}", flush=True)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 300

    def answer(self):
        fault = self.server.fault(self.client_address[0])
        if fault.get("down"):
            raise Gone
        time.sleep(fault.get("delay", 0))
        if status := fault.get("status"):
            return self.refuse(status, "TOOMANYREQUESTS" if status == 429 else "UNAVAILABLE", f"sandbox fault: status {status}")
        if (m := MANIFEST.match(self.path)) and f"{m['repo']}:{m['tag']}" in fault.get("missing", []):
            return self.refuse(404, "MANIFEST_UNKNOWN", "manifest unknown")
        url = urllib.parse.urlsplit(self.path)
        if self.server.service == "registry" and url.path == "/token":
            return self.reply(200, {"token": "anonymous"})
        if m and (urllib.parse.parse_qs(url.query).get("ns", [""])[0], m["repo"]) in GONE:
            return self.refuse_as_docker_hub(m["repo"])
        if self.server.service == "store" and (m := INFO.match(self.path)):
            return self.reply(200, snap_info(m["name"], m["arch"]))
        self.forward()

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = answer

    def refuse_as_docker_hub(self, repository):
        """What is not there may be somebody's secret: whoever has no token is sent for one, and with it is told that it does not suffice."""
        challenge = f'Bearer realm="http://{self.headers["Host"]}/token",service="registry",scope="repository:{repository}:pull"'
        if "Authorization" in self.headers:
            challenge += ',error="insufficient_scope"'
        body = {"errors": [{"code": "UNAUTHORIZED", "message": "authentication required"}]}
        self.reply(401, body, {"WWW-Authenticate": challenge})

    def refuse(self, status, code, message):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.server.service == "registry":
            body = {"errors": [{"code": code, "message": message}]}
        else:
            body = {"error-list": [{"code": code.lower(), "message": message}]}
        self.reply(status, body)

    def reply(self, status, body, headers={}):
        body = json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", "Content-Length": len(body), **headers}.items():
            self.send_header(name, str(value))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def forward(self):
        host, port = self.server.backend
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        behind = http.client.HTTPConnection(host, port, timeout=300)
        try:
            headers = {k: v for k, v in self.headers.items() if k.lower() not in HOP}
            behind.request(self.command, self.path, body or None, headers)
            reply = behind.getresponse()
            if self.server.service == "store" and "/download/" not in self.path:
                self.pass_on_rewritten(reply, f"http://{host}:{port}")
            else:
                self.pass_on(reply)
        finally:
            behind.close()

    def pass_on_rewritten(self, reply, own_url):
        """What the fake store says of itself: it gives its own address as the place to download from, which machines cannot reach."""
        body = reply.read().replace(own_url.encode(), f"http://{self.headers['Host']}".encode())
        self.start(reply, len(body))
        self.write(body)

    def pass_on(self, reply):
        self.start(reply, reply.length if self.command != "HEAD" else None)
        if self.command == "HEAD" or reply.status in (204, 304):
            return
        while data := reply.read(self.chunk()):
            self.write(data)

    def start(self, reply, length):
        self.send_response_only(reply.status, reply.reason)
        self.log_request(reply.status)
        for name, value in reply.getheaders():
            if name.lower() not in HOP and (name.lower() != "content-length" or length is None):
                self.send_header(name, value)
        if length is not None:
            self.send_header("Content-Length", str(length))
        elif self.command != "HEAD" and reply.status not in (204, 304):
            self.send_header("Connection", "close")
        self.end_headers()

    def chunk(self):
        """Small enough that a slow line moves several times a second."""
        rate = self.server.fault(self.client_address[0]).get("rate")
        return min(CHUNK, max(1, int(rate / 8))) if rate else CHUNK

    def write(self, data):
        fault = self.server.fault(self.client_address[0])
        if fault.get("down"):
            raise Gone
        if rate := fault.get("rate"):
            self.server.line(self.client_address[0]).wait(len(data), rate)
        self.wfile.write(data)

    def log_message(self, form, *args):
        print(f"{self.server.service} {self.client_address[0]} {form % args}", flush=True)


def host_port(text):
    host, _, port = text.rpartition(":")
    return host, int(port)


def main():
    faults, *services = sys.argv[1:]
    for spec in services:
        service, listen, backend = spec.split("=")
        front = Front(service, host_port(listen), host_port(backend), faults)
        threading.Thread(target=front.serve_forever, name=service).start()


if __name__ == "__main__":
    main()
