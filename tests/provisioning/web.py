#!/usr/bin/env python3
"""A web server of releases, with its troubles. The first part of a path says which one, the rest is a file below FOLDER:

    /good/FILE     the file
    /wrong/FILE    a package or tarball with one byte that was changed
    /cut/FILE      a package or tarball of which half comes, and then the connection ends
    /slow/FILE     a package or tarball that takes a minute
    /gone/FILE     no package or tarball: 404
    /unsigned/FILE no signature: 404
    /forged/FILE   digests that are those of /wrong, with the signature of the good ones

The install line says that it comes from there, as one that was released with `--url`.

    web.py FOLDER ADDRESS PORT       prints its port (0 takes a free one) when it listens
"""
import hashlib
import pathlib
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def changed(data):
    at = len(data) // 2
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1:]


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        _, trouble, name = self.path.split("/", 2)
        file = self.server.folder / name
        package = file.suffix in (".deb", ".gz")
        absent = trouble == "gone" and package or trouble == "unsigned" and file.suffix == ".minisig"
        if absent or not file.is_file():
            self.send_error(404)
            return
        data = file.read_bytes()
        if trouble in ("wrong", "forged") and package:
            data = changed(data)
        if trouble == "forged" and file.name == "SHA256SUMS":
            lines = [(line.split()[1], file.parent) for line in data.decode().splitlines()]
            data = "".join(f"{hashlib.sha256(changed((folder / n).read_bytes())).hexdigest()}  {n}\n" for n, folder in lines).encode()
        if name == "install":
            data = data.replace(b"\nRELEASES=\n", f"\nRELEASES=http://{self.headers['Host']}/{trouble}\n".encode())
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if trouble == "cut" and package:
            data = data[:len(data) // 2]
        pieces = 600 if trouble == "slow" and package else 1
        size = -(-len(data) // pieces)
        try:
            for at in range(0, len(data), size):
                self.wfile.write(data[at:at + size])
                if pieces > 1:
                    time.sleep(0.1)
        except ConnectionError:
            pass  # Whoever read it lost its power.

    def log_message(self, form, *args):
        pass


def main():
    folder, address, port = sys.argv[1:]
    server = ThreadingHTTPServer((address, int(port)), Handler)
    server.folder = pathlib.Path(folder)
    print(server.server_port, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
