"""What comes first on a new connection, before pynetdicom reads it: what is not DICOM is named and counted."""

from __future__ import annotations

import contextlib
import socket
import struct
import time
from collections.abc import Callable

from pynetdicom.transport import RequestHandler

from ..errors import Refused
from ..tls.accepting import HANDSHAKE, Acceptor
from .ledger import Ledger
from .peers import printable

FIRST_BYTES_SECONDS = 10
LONGEST_REQUEST = 1 << 20


def checked(ledger: Ledger, tls: Acceptor | None = None) -> Callable[..., RequestHandler]:
    """A request handler that looks at the first bytes before pynetdicom does, and counts what is not DICOM.

    Args:
        tls: of a port for TLS: whoever gets through its handshake speaks with pynetdicom.
    """

    class _Checked(RequestHandler):
        def handle(self) -> None:
            self.request: socket.socket
            connection = self.request
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            code, sentence = _first_bytes(connection) if tls is None else self._secured(tls)
            if code:
                ledger.count(str(self.client_address[0]), "", code, sentence)
                self.server.shutdown_request(connection)
                return
            super().handle()

        def _secured(self, tls: Acceptor) -> tuple[str, str]:
            try:
                self.request = tls.secure(self.request)
            except Refused as refusal:
                return refusal.code, refusal.sentence
            return "", ""

    return _Checked


def _peek(connection: socket.socket, count: int, seconds: float) -> bytes:
    """The first bytes, left where they are; fewer when the other side ends before.

    MSG_WAITALL does not wait on a socket with a time-out, so the kernel's own time-out is used.
    """
    deadline = time.monotonic() + seconds
    connection.settimeout(None)
    try:
        while (left := deadline - time.monotonic()) > 0:
            whole = int(left)
            limit = struct.pack("ll", whole, int((left - whole) * 1e6) + 1)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
            with contextlib.suppress(BlockingIOError):
                return connection.recv(count, socket.MSG_PEEK | socket.MSG_WAITALL)
    finally:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", 0, 0))
    raise TimeoutError


def _first_bytes(connection: socket.socket) -> tuple[str, str]:
    """("", "") when an A-ASSOCIATE-RQ of sane length begins here (PS3.8 9.3.2); else why not."""
    try:
        head = _peek(connection, 6, FIRST_BYTES_SECONDS)
    except TimeoutError:
        return "no-request", f"the connection sent no association request within {FIRST_BYTES_SECONDS} s"
    except OSError as error:
        return "no-request", f"the connection broke before a request: {error.strerror}"
    if not head:
        return "no-request", "the connection was closed without a request (a health check, or a port scan)"
    if head[0] == HANDSHAKE:
        return "tls-on-plain-port", "the caller speaks TLS on the port without it: give it the port in [tls]"
    if head[0] != 0x01 or len(head) < 6 or head[1] != 0:
        shown = printable(head.decode("ascii", "replace"))
        return "not-dicom", f"the connection does not speak DICOM: it began with {shown!r}"
    if int.from_bytes(head[2:6], "big") > LONGEST_REQUEST:
        return "request-too-long", "the association request announces more than 1 MiB"
    return "", ""
