"""A service to stand behind the front door; runs inside a container: stub_service.py NAME PORT...

Answers every HTTP request with JSON of what arrived; health addresses with what /state holds;
an upgrade request becomes an echo of the first bytes; port 5432 answers raw bytes.
"""

from __future__ import annotations

import json
import os
import socket
import socketserver
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

NAME = sys.argv[1] if len(sys.argv) > 1 else ""
HEALTH = {"/jupyter/hub/vixtract/health", "/cronicle/api/app/status"}


class Handler(BaseHTTPRequestHandler):
    """Echo in JSON."""

    protocol_version = "HTTP/1.1"

    def answer(self) -> None:
        """Answer any method."""
        length = int(self.headers.get("Content-Length") or 0)
        received = len(self.rfile.read(length))
        path = self.path.split("?")[0]
        if self.headers.get("Upgrade") == "websocket":
            self.echo()
        elif path in HEALTH and Path("/state").exists():
            self.reply(200, json.loads(Path("/state").read_text(encoding="utf-8")))
        elif "/slow" in path:
            time.sleep(30)
        else:
            status = int(self.headers.get("X-Want-Status") or 200)
            headers = {name.lower(): value for name, value in self.headers.items()}
            seen = {"service": NAME, "port": self.server.server_address[1], "path": self.path}
            self.reply(
                status,
                {
                    **seen,
                    "method": self.command,
                    "headers": headers,
                    "received": received,
                    "address": socket.gethostname(),
                },
            )

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = do_OPTIONS = answer

    def reply(self, status: int, body: object) -> None:
        """Send JSON with the headers that the front door has to take off or leave."""
        data = json.dumps(body).encode()
        self.send_response(status)
        if "bare" not in self.path:
            self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Access-Control-Allow-Origin", "*")
        self.send_header("Content-Security-Policy", "frame-ancestors 'self'")
        if "cookie" in self.path:
            self.send_header("Set-Cookie", "session=1; Path=/jupyter/; HttpOnly")
        if "accel" in self.path:
            self.send_header("X-Accel-Redirect", "/_errors/404")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def echo(self) -> None:
        """Accept an upgrade and send the first bytes back."""
        self.send_response(101)
        self.send_header("Upgrade", "websocket")
        self.send_header("Connection", "Upgrade")
        self.end_headers()
        self.wfile.write(b"echo:" + self.connection.recv(100))
        self.close_connection = True

    def log_message(self, *arguments: object) -> None:
        """Say nothing."""


class Raw(socketserver.BaseRequestHandler):
    """Answer bytes with the same bytes and the container's name."""

    def handle(self) -> None:
        """Echo once."""
        data = self.request.recv(100)
        self.request.sendall(
            data + b" from " + NAME.encode() + b" " + socket.gethostname().encode()
        )


if __name__ == "__main__":
    for port in map(int, sys.argv[2:]):
        if port == 5432:
            server = socketserver.ThreadingTCPServer(("0.0.0.0", port), Raw)
        else:
            server = ThreadingHTTPServer(("0.0.0.0", port), Handler)
        threading.Thread(target=server.serve_forever).start()
    os.write(1, b"ready\n")
