"""Accept connections: one thread that never waits for what a peer does, and a thread for each connection."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import select
import socket
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import Refused
from .association.connection import shut
from .guests import Guest, Guests
from .ledger import Ledger

logger = logging.getLogger(__name__)

BACKLOG = 128
#: what lies in a connection without an answer for so long, and a peer that does not answer at all, end it
UNANSWERED_SECONDS = 60
#: a receiver that is full leaves callers to another one at the same port for so long
ELSEWHERE_SECONDS = 0.5
#: for each association that it has, a receiver leaves callers to the others for so long, so that they share the work
TURN_SECONDS, LONGEST_TURN_SECONDS = 0.0005, 0.004
#: after an accept that failed, so that one that fails again and again takes no processor
TROUBLE_SECONDS = 0.01
#: until the thread of a connection runs
BEGIN_SECONDS = 5.0
#: of this process or this machine: they pass
EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})

#: Puts TLS on a connection that was accepted: wraps it, and does the handshake within a deadline of its own. It is
#: called on the connection's thread. It raises Refused (which is counted) or OSError (ssl.SSLError is one).
Secure = Callable[[socket.socket], socket.socket]


@dataclass(frozen=True)
class Port:
    """Where callers come in.

    Attributes:
        socket: bound, listening.
        secure: puts TLS on; None: in the clear.
    """

    socket: socket.socket
    secure: Secure | None = None

    @property
    def number(self) -> int:
        """The TCP port."""
        return int(self.socket.getsockname()[1])


def bound(address: str, port: int) -> socket.socket:
    """A socket that listens.

    Raises:
        OSError: the address or port cannot be had.
    """
    if ":" not in address:
        return socket.create_server((address, port), backlog=BACKLOG)
    return socket.create_server((address, port), family=socket.AF_INET6, backlog=BACKLOG, dualstack_ipv6=True)


class Listener:
    """Accepts, until it is stopped.

    Args:
        serve: called on a thread of its own with each connection; it need not close it.
        shared: other processes accept from the same sockets.
    """

    def __init__(
        self,
        ports: Sequence[Port],
        guests: Guests,
        ledger: Ledger,
        serve: Callable[[Guest, socket.socket], None],
        *,
        shared: bool = False,
    ) -> None:
        self._ports = {port.socket.fileno(): port for port in ports}
        self._guests, self._ledger, self._serve, self._shared = guests, ledger, serve, shared
        self._woken, self._wake = os.pipe()
        self._spare: int | None = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="receiver accepting", daemon=True)

    def start(self) -> None:
        for port in self._ports.values():
            port.socket.setblocking(False)  # another process may have been quicker
        self._thread.start()

    def stop(self) -> None:
        """Accept no more; the sockets are closed."""
        self._over.set()
        os.write(self._wake, b"x")
        self._thread.join()
        for port in self._ports.values():
            port.socket.close()
        for descriptor in (self._woken, self._wake, self._spare):
            if descriptor is not None:
                os.close(descriptor)

    def _run(self) -> None:
        waiting = select.poll()
        for descriptor in (*self._ports, self._woken):
            waiting.register(descriptor, select.POLLIN)
        while not self._over.is_set():
            ready = waiting.poll()
            if self._shared and self._guests.is_full:
                self._guests.wait_for_a_seat(ELSEWHERE_SECONDS)
            elif self._shared and self._guests.count:
                self._over.wait(min(self._guests.count * TURN_SECONDS, LONGEST_TURN_SECONDS))
            for descriptor, _ in ready:
                if descriptor in self._ports:
                    try:
                        self._accept(self._ports[descriptor])
                    except Exception:  # the edge of this thread: whatever comes, the next one is accepted
                        logger.exception("a connection could not be accepted")
                        self._over.wait(TROUBLE_SECONDS)

    def _accept(self, port: Port) -> None:
        try:
            connected, address = port.socket.accept()
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno in EXHAUSTED:
                self._turn_away_for_want_of_descriptors(port)
            self._over.wait(TROUBLE_SECONDS)  # else it had gone before it was accepted
            return
        guest = _guest(connected, str(address[0]))
        if not self._guests.enter(guest):
            sentence = "so many connections of this address are open that another one was closed at once"
            self._ledger.count(guest.address, "", "too-many-connections", sentence)
            connected.close()
            return
        if not self._begins(port, guest, connected):
            self._guests.give_up(guest)
            connected.close()
            self._ledger.count(guest.address, "", "too-many-connections", "this machine has no thread for it")

    def _begins(self, port: Port, guest: Guest, connected: socket.socket) -> bool:
        """Give a connection a thread of its own; whether that runs."""
        try:
            caller = _Caller(target=self._keep, args=(port, guest, connected), name="caller", daemon=True)
            caller.start()
        except (RuntimeError, MemoryError):  # no thread can be had, or no memory to ask for one
            return False
        return caller.runs

    def _turn_away_for_want_of_descriptors(self, port: Port) -> None:
        """Give up the descriptor that was kept for this, accept with it, and close: callers would wait otherwise."""
        if self._spare is not None:
            os.close(self._spare)
            self._spare = None
        with contextlib.suppress(OSError):
            connected, address = port.socket.accept()
            connected.close()
            sentence = "this machine or process has no more file descriptors (see `ulimit -n`)"
            self._ledger.count(str(address[0]), "", "too-many-connections", sentence)
        with contextlib.suppress(OSError):
            self._spare = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)

    def _keep(self, port: Port, guest: Guest, connected: socket.socket) -> None:
        """One connection, on its own thread, to its end."""
        try:
            self._serve(guest, self._secured(port, guest, connected))
        except _Unsecured:
            pass
        except Exception:  # the edge of this thread
            logger.exception("a connection broke down")
        finally:
            self._guests.leave(guest)
            connected.close()

    def _secured(self, port: Port, guest: Guest, connected: socket.socket) -> socket.socket:
        prepare(connected)
        if port.secure is None:
            return connected
        with connected.dup() as same:  # TLS takes `connected` apart, and a handshake can be cut too
            guest.cut = guest.end = lambda: shut(same)
            try:
                secured = port.secure(connected)
            except Refused as refusal:
                code, sentence = refusal.code, refusal.sentence
            except OSError as error:
                code, sentence = "tls-failed", f"TLS could not be agreed on: {error.strerror or type(error).__name__}"
            else:
                guest.cut = lambda: shut(secured)
                guest.end = lambda: shut(secured, socket.SHUT_RD)
                return secured
        self._ledger.count(guest.address, "", *(GAVE_WAY if guest.gave_way else (code, sentence)))
        raise _Unsecured


class _Caller(threading.Thread):
    """One that may find no memory for its first step: it never says that it runs, and whoever starts it would wait for
    that for ever.

    Attributes:
        runs: whether it began; known when `start` returns.
    """

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self._started = _Begun()  # what `Thread.start` waits for

    @property
    def runs(self) -> bool:
        return self._started.is_set()


class _Begun(threading.Event):
    """Is not awaited for ever."""

    def wait(self, timeout: float | None = None) -> bool:
        return super().wait(BEGIN_SECONDS if timeout is None else timeout)


class _Unsecured(Exception):
    """It was counted why."""


GAVE_WAY = (
    "gave-way",
    "the connection had not asked for an association yet, and was closed to let another one in: too many were open",
)


def _guest(connected: socket.socket, address: str) -> Guest:
    return Guest(address, cut=lambda: shut(connected), end=lambda: shut(connected, socket.SHUT_RD))


def prepare(connected: socket.socket) -> None:
    """Answers go out at once, and a peer that has gone without a word is noticed."""
    with contextlib.suppress(OSError):
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in (
            ("TCP_KEEPIDLE", UNANSWERED_SECONDS // 2),
            ("TCP_KEEPINTVL", UNANSWERED_SECONDS // 6),
            ("TCP_KEEPCNT", 3),
            ("TCP_USER_TIMEOUT", UNANSWERED_SECONDS * 1000),
        ):
            if hasattr(socket, option):
                connected.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
