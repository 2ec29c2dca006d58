"""A DICOMweb server that misbehaves on demand: a real HTTP server of STOW-RS and QIDO-RS on a free port."""

from __future__ import annotations

import json
import ssl
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from typing import Any

from pydicom import dcmread
from pydicom.dataset import Dataset


@dataclass(frozen=True)
class Asked:
    """One request, as it came."""

    method: str
    path: str
    headers: dict[str, str]


class FakeStow:
    """Keeps what it is sent. Its knobs may be turned while it runs.

    Attributes:
        status: what it answers to every request, stored or not; 0 for what is right.
        answer: what it says with that, and as what.
        queries: what it answers to queries; 0 for what is right.
        location: where it redirects to.
        failed: SOP Instance UID -> Failure Reason; it does not store these, and answers 409.
        warned: SOP Instance UID -> Warning Reason; it stores these, and answers 202.
        gateway: SOP Instance UID -> what a gateway before it answers, as it did not do so in time.
        cut: it ends the connection: "before" it has read the object, or "after".
        silent: it reads, and never answers.
        files: the bytes of what it stored.
        asked: the requests.
    """

    def __init__(self, certificate: tuple[Path, Path] | None = None) -> None:
        self.status = 0
        self.answer: tuple[str, bytes] = ("text/plain", b"")
        self.queries = 0
        self.location = ""
        self.failed: dict[str, int] = {}
        self.warned: dict[str, int] = {}
        self.gateway: dict[str, int] = {}
        self.cut = ""
        self.silent = False
        self.files: list[bytes] = []
        self.asked: list[Asked] = []
        self.released = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self._scheme = "http"
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*certificate)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
            self._scheme = "https"

    @property
    def url(self) -> str:
        return f"{self._scheme}://127.0.0.1:{self._server.server_address[1]}/dicom-web"

    def __enter__(self) -> FakeStow:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Be gone: connections are refused from now on."""
        self.released.set()
        self._server.shutdown()
        self._server.server_close()

    def take(self, part: bytes) -> tuple[int, dict[str, Any]]:
        """Store one object, or do not; the HTTP status, and the Store Instances Response."""
        ds = dcmread(BytesIO(part), stop_before_pixels=True)
        uid = str(ds.SOPInstanceUID)
        if uid in self.gateway:
            return self.gateway[uid], {}
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = ds.SOPClassUID, uid
        response = Dataset()
        if uid in self.failed:
            item.FailureReason = self.failed[uid]
            response.FailedSOPSequence = [item]
            return 409, response.to_json_dict()
        self.files.append(part)
        response.ReferencedSOPSequence = [item]
        if uid not in self.warned:
            return 200, response.to_json_dict()
        item.WarningReason = self.warned[uid]
        return 202, response.to_json_dict()


def _handler(server: FakeStow) -> type[BaseHTTPRequestHandler]:
    return type("Handler", (_Handler,), {"server_of_the_test": server})


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_of_the_test: FakeStow

    def do_GET(self) -> None:
        knobs = self._asked()
        if knobs.queries or knobs.status:
            self._answer(knobs.queries or knobs.status, *knobs.answer)
        else:
            self._answer(200, "application/dicom+json", b"[]")

    def do_POST(self) -> None:
        knobs = self._asked()
        if knobs.cut == "before":
            self.close_connection = True
            return
        if knobs.status == 413:
            self.close_connection = True
            self._answer(knobs.status, *knobs.answer)
            return
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if knobs.cut == "after":
            self.close_connection = True
        elif knobs.silent:
            knobs.released.wait(60)
        elif knobs.status:
            self._answer(knobs.status, *knobs.answer)
        else:
            boundary = self.headers["Content-Type"].rsplit("boundary=", 1)[1].encode()
            assert body.startswith(b"--" + boundary + b"\r\nContent-Type: application/dicom\r\n\r\n")
            (part,) = body.split(b"--" + boundary)[1:-1]
            status, response = knobs.take(part.split(b"\r\n\r\n", 1)[1][:-2])
            self._answer(status, "application/dicom+json", json.dumps(response).encode())

    def _asked(self) -> FakeStow:
        self.server_of_the_test.asked.append(Asked(self.command, self.path, dict(self.headers)))
        return self.server_of_the_test

    def _answer(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        if self.server_of_the_test.location:
            self.send_header("Location", self.server_of_the_test.location)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Nothing on the screen."""
