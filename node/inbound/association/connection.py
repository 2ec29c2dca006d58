"""Bytes of a peer, each with a deadline on a clock that nobody sets back; over a socket, with TLS or without."""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass

from . import pdu
from .pdu import HEADER_BYTES, Reason, Violation

#: a PDU that has begun is over within `Patience.pdu_seconds`, or within its length at this rate
LEAST_BYTES_PER_SECOND = 64 * 1024
FIRST_BUFFER = 4096
#: holds a CT slice with some room, so that one read brings several P-DATA-TF, and a PDU is rarely moved
BUFFER = 1 << 20
#: what is left of it for the next read, at least
LEAST_ROOM = 1 << 18
#: seconds; the system counts milliseconds in 31 bits
LONGEST_POLL = 1e6


class Ended(Exception):
    """The connection is over: closed or broken by the peer, or shut here."""

    CLOSED = "it was closed"


class TooSlow(Exception):
    """Nothing more came in time."""


@dataclass(frozen=True)
class Patience:
    """How long a peer may take, in seconds.

    Attributes:
        request: until its association request is there, whole.
        pdu: from the first byte of a PDU to its last, where its length is no reason to wait longer.
        sending: until it takes an answer; ours are small.
        closing: until it closes after our last word, so that it reads that word.
    """

    request: float = 10.0
    pdu: float = 10.0
    sending: float = 30.0
    closing: float = 2.0


PATIENCE = Patience()


class Connection:
    """One connection. `shut` may be called by another thread; the rest is for the thread that serves it.

    Attributes:
        touched: when something came or was sent, by `clock`.
    """

    def __init__(
        self, connected: socket.socket, patience: Patience = PATIENCE, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.socket, self.patience, self.clock = connected, patience, clock
        self._readable: select.poll | None = None  # of a socket without TLS: it is read without asking first
        if not isinstance(connected, ssl.SSLSocket):
            connected.setblocking(False)
            self._readable = select.poll()
            self._readable.register(connected, select.POLLIN)
        self._view = memoryview(bytearray(FIRST_BUFFER))
        self._begin = self._end = 0
        self.touched = self._begun = self._looked = clock()

    # ------------------------------------------------------------------ reading

    def buffered(self) -> memoryview:
        """What came and was not taken; holds until `more`."""
        return self._view[self._begin : self._end]

    def pdu(self, longest: int) -> tuple[int, memoryview] | None:
        """Take the next PDU, if all of it is there: its type and its body, which holds until `more`.

        Args:
            longest: P-DATA-TF that we offered to take.

        Raises:
            Violation: a peer may not send this one; noticed as soon as its header is there.
        """
        begin = self._begin + HEADER_BYTES
        if begin > self._end:
            return None
        kind, length = pdu.header(self._view, self._begin)
        pdu.require(kind, length, longest)
        if begin + length > self._end:
            return None
        self._begin, self._begun = begin + length, self.touched
        return kind, self._view[begin : begin + length]

    def more(self, until: float) -> None:
        """Wait for more bytes, at least one. What is here already is taken, however late we come for it: who was busy
        elsewhere meanwhile, with a disk that stalled, is not the peer.

        Args:
            until: when at the latest, by `clock`; a PDU that has begun may have a deadline before.

        Raises:
            TooSlow, Ended.
        """
        there, now = self._end - self._begin, self.clock()
        self._begun = min(now, self._begun + now - self._looked)
        if there >= HEADER_BYTES:
            _, length = pdu.header(self._view, self._begin)
            until = min(until, self._begun + max(self.patience.pdu, length / LEAST_BYTES_PER_SECOND))
        elif there:
            until = min(until, self._begun + self.patience.pdu)
        self._make_room()
        got = self._receive(until)
        self.touched = self._looked = self.clock()
        if not there:
            self._begun = self.touched
        self._end += got

    def request(self) -> bytes:
        """The A-ASSOCIATE-RQ with which a connection has to begin, whole.

        Raises:
            Violation: another PDU, or one that is too long.
            NotDicom: what came is no PDU.
            TooSlow, Ended.
        """
        until = self.clock() + self.patience.request
        while not (whole := self._request()):
            self.more(until)
        return whole

    def _request(self) -> bytes:
        head = bytes(self.buffered()[:HEADER_BYTES])
        if head and not pdu.Type.ASSOCIATE_RQ <= head[0] <= pdu.Type.ABORT:
            raise NotDicom(bytes(self.buffered()[:64]))
        if head and head[0] == pdu.Type.ABORT:
            raise Ended("it was aborted")
        if head and head[0] != pdu.Type.ASSOCIATE_RQ:
            name = pdu.Type(head[0]).name
            raise Violation(Reason.UNEXPECTED_PDU, "bad-pdu", f"the connection began with {name}, not with a request")
        if len(head) < HEADER_BYTES:
            return b""
        _, length = pdu.header(head)
        if length > pdu.LONGEST_REQUEST:
            raise Violation(
                Reason.INVALID_PARAMETER, "request-too-long", "the association request announces more than 1 MiB"
            )
        if self._end - self._begin < HEADER_BYTES + length:
            return b""
        whole = bytes(self.buffered()[: HEADER_BYTES + length])
        self._begin += len(whole)
        return whole

    def widen(self) -> None:
        """Get ready for data sets; until here a connection costs little memory."""
        self._grow(BUFFER)

    def _grow(self, size: int) -> None:
        there = self.buffered()
        wider = memoryview(bytearray(size))
        wider[: len(there)] = there
        self._view, self._begin, self._end = wider, 0, len(there)

    def _make_room(self) -> None:
        """Have some room behind what is left; a request grows its buffer as it comes, whatever it announced."""
        if self._begin == self._end:
            self._begin = self._end = 0
        elif self._begin and len(self._view) - self._end < LEAST_ROOM:
            left = self.buffered()
            self._view[: len(left)] = left
            self._begin, self._end = 0, len(left)
        if self._end == len(self._view):
            self._grow(2 * len(self._view))

    def _receive(self, until: float) -> int:
        try:
            got = self._read(until)
        except (TimeoutError, BlockingIOError, ssl.SSLWantReadError):
            raise TooSlow from None
        except (OSError, ValueError) as error:  # ValueError: TLS on a connection that was shut
            raise Ended(getattr(error, "strerror", None) or type(error).__name__) from error
        if not got:
            raise Ended(Ended.CLOSED)
        return got

    def _read(self, until: float) -> int:
        """What is here already is taken without asking for it, whatever time it is."""
        room = self._view[self._end :]
        if self._readable is None:
            self.socket.settimeout(max(until - self.clock(), 0.0))
            return self.socket.recv_into(room)
        while True:
            with contextlib.suppress(BlockingIOError):
                return self.socket.recv_into(room)
            left = max(until - self.clock(), 0.0)
            if not self._readable.poll(min(left, LONGEST_POLL) * 1000) and left <= LONGEST_POLL:
                raise TimeoutError

    # ------------------------------------------------------------------ writing

    def send(self, data: bytes) -> None:
        """Send all of it at once.

        Raises:
            TooSlow, Ended.
        """
        try:
            self._write(data)
        except TimeoutError:
            raise TooSlow from None
        except (OSError, ValueError) as error:
            raise Ended(getattr(error, "strerror", None) or type(error).__name__) from error
        self.touched = self.clock()

    def _write(self, data: bytes) -> None:
        """Nearly always the system takes all of it at once."""
        sent = 0
        if self._readable is not None:
            with contextlib.suppress(BlockingIOError):
                sent = self.socket.send(data)
            if sent == len(data):
                return
        self.socket.settimeout(self.patience.sending)
        try:
            self.socket.sendall(data[sent:])
        finally:
            if self._readable is not None:
                self.socket.setblocking(False)

    def finish(self, last: bytes = b"") -> None:
        """Say the last word, give the peer time to read it, and close; without a last word, close at once.

        Bytes that nobody reads would have the system reset the connection, and the last word with it.
        """
        with contextlib.suppress(TooSlow, Ended, OSError, ValueError), contextlib.ExitStack() as closing:
            closing.callback(self.close)
            if last:
                self.send(last)
                self._part()

    def _part(self) -> None:
        until = self.clock() + self.patience.closing
        if isinstance(self.socket, ssl.SSLSocket):
            self.socket.settimeout(self.patience.closing)
            self.socket = self.socket.unwrap()
        self.socket.shutdown(socket.SHUT_WR)
        self._begin = self._end = 0
        for _ in range(256):
            self._receive(until)

    def close(self) -> None:
        """Close at once."""
        with contextlib.suppress(OSError):
            self.socket.close()


class NotDicom(Exception):
    """What came first is no PDU.

    Attributes:
        began: its first bytes.
    """

    def __init__(self, began: bytes) -> None:
        super().__init__(began)
        self.began = began


def shut(connected: socket.socket, how: int = socket.SHUT_RDWR) -> None:
    """Have whoever waits at a socket notice that it is over; from any thread, also where TLS is on it."""
    with contextlib.suppress(OSError):
        socket.socket.shutdown(connected, how)  # SSLSocket's own would take TLS away from under its reader
