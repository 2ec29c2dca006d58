"""pynetdicom's own loop in place of ours: two threads for an association, behind the same door.

The request was read already, so that it is read again here; and the socket has deadlines and lengths that pynetdicom
does not look at. What it does with a message that breaks the protocol is its own.
"""

from __future__ import annotations

import select
import socket
import ssl
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pynetdicom import AE
from pynetdicom.presentation import PresentationContext
from pynetdicom.transport import AddressInformation, AssociationSocket

from . import pdu
from .connection import LEAST_BYTES_PER_SECOND, Connection, Patience
from .negotiation import prepared
from .pdu import HEADER_BYTES, Violation
from .request import Request

#: of one read
AT_ONCE = 1 << 17


class Socket(AssociationSocket):
    """pynetdicom's transport, with deadlines, poll, and bytes that were read before."""

    def __init__(self, assoc: Any, connected: socket.socket, ahead: bytes, longest: int, patience: Patience) -> None:
        super().__init__(assoc, client_socket=connected)
        self._ahead, self._longest = bytearray(ahead), longest
        self._is_request, self._is_header = True, True
        self._patience, self._until = patience, 0.0

    @property
    def ready(self) -> bool:
        if self._ahead:
            return True
        if self.socket is None or not self._is_connected:
            return False
        if isinstance(self.socket, ssl.SSLSocket) and self.socket.pending():
            return True
        waiting = select.poll()
        waiting.register(self.socket, select.POLLIN)
        return bool(waiting.poll(0))

    def recv(self, nr_bytes: int) -> bytearray:
        """The header of a PDU, then its body; raises OSError where it is too long or takes too long."""
        is_header, self._is_header = self._is_header, not self._is_header
        if is_header:
            self._until = time.monotonic() + self._patience.pdu
        came, self._ahead = self._ahead[:nr_bytes], self._ahead[nr_bytes:]
        while len(came) < nr_bytes:
            left = self._until - time.monotonic()
            if left <= 0 or self.socket is None:
                raise TimeoutError
            self.socket.settimeout(left)
            more = self.socket.recv(min(nr_bytes - len(came), AT_ONCE))
            if not more:
                break
            came += more
        if is_header and len(came) == HEADER_BYTES:
            self._require(*pdu.header(came))
        return came

    def _require(self, kind: int, length: int) -> None:
        if not self._is_request:
            try:
                pdu.require(kind, length, self._longest)
            except Violation as violation:
                raise OSError(violation.sentence) from violation
        self._is_request = False
        self._until = time.monotonic() + max(self._patience.pdu, length / LEAST_BYTES_PER_SECOND)

    def send(self, bytestream: bytes) -> None:
        if self.socket is not None:
            self.socket.settimeout(self._patience.sending)
        super().send(bytestream)


def serve(
    ae: AE,
    request: Request,
    offered: Sequence[PresentationContext],
    connection: Connection,
    handlers: Sequence[tuple[Any, Callable[..., Any]]],
    begun: Callable[[Callable[[], None]], None],
) -> None:
    """Serve an association to its end.

    Args:
        request: that was read of the connection.
        handlers: events of pynetdicom's, and what is called for them.
        begun: called with what ends the association, which any thread may call.
    """
    assoc, connected = prepared(ae, offered), connection.socket
    ahead = request.pdu + bytes(connection.buffered())
    assoc.set_socket(Socket(assoc, connected, ahead, ae.maximum_pdu_size, connection.patience))
    assoc.acceptor.address_info = AddressInformation.from_tuple(connected.getsockname())
    assoc.requestor.address_info = AddressInformation.from_tuple(connected.getpeername())
    for event, handler in handlers:
        assoc.bind(event, handler)
    begun(threading.Thread(target=assoc.abort, daemon=True).start)
    assoc.start()
    assoc.join()
    if assoc.dul.is_alive():
        assoc.dul.join(connection.patience.sending)
    _tidy(assoc)


def _tidy(assoc: Any) -> None:
    """Remove the file of an object that did not come to its end; pynetdicom leaves it where it is, open."""
    file = getattr(assoc.dimse.message, "_data_set_file", None)
    if file is not None:
        file.close()
        Path(file.name).unlink(missing_ok=True)
