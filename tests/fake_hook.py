"""A webhook that misbehaves on demand: a real HTTP server on a free port."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, cast


class FakeHook:
    """Keeps what it is sent.

    Attributes:
        status: what it answers.
        location: where it redirects to, with a status of 3xx.
        silent: it reads, and never answers.
        taken: what it was sent, as JSON; `headers` and `bodies` likewise.
    """

    def __init__(self) -> None:
        self.status = 204
        self.location = ""
        self.silent = False
        self.taken: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.bodies: list[bytes] = []
        self.released = threading.Event()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.daemon_threads = True
        self._server.knobs = self

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/hook/a-token-that-is-nobodys-business"

    def __enter__(self) -> FakeHook:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.released.set()
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    knobs: FakeHook


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        knobs = cast(_Server, self.server).knobs
        body = self.rfile.read(int(self.headers["Content-Length"]))
        knobs.headers.append(dict(self.headers))
        knobs.bodies.append(body)
        if knobs.silent:
            knobs.released.wait(60)
        if 200 <= knobs.status < 300:
            knobs.taken.append(json.loads(body))
        self.send_response(knobs.status)
        if knobs.location:
            self.send_header("Location", knobs.location)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Nothing on the screen."""
