"""The side of `models.nursery` that orders: a model host as a process that somebody else has forked."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import selectors
import signal
import socket
import subprocess
import sys
import threading
from dataclasses import dataclass, field

from models.confine.environment import cleaned

from .errors import Failed
from .overheard import Overheard

logger = logging.getLogger(__name__)

#: for loading the libraries, from a slow disk on a busy machine
START_SECONDS = 180.0
#: of a host whose nursery has gone before it, nobody knows how it ended
UNKNOWN = -1


class Forked:
    """A process that a nursery has forked, with what of `subprocess.Popen` is used here.

    Args:
        pid: of a process that lives, or has ended a moment ago.
        news: where its end is told.
    """

    def __init__(self, pid: int, news: socket.socket) -> None:
        self.pid, self._news = pid, news
        self._lock = threading.Lock()
        self._status: int | None = None
        self._process: int | None = None
        with contextlib.suppress(ProcessLookupError):
            self._process = os.pidfd_open(pid)

    def poll(self) -> int | None:
        """The exit status, negative for a signal; None while it lives."""
        try:
            return self.wait(0)
        except subprocess.TimeoutExpired:
            return None

    def wait(self, timeout: float | None = None) -> int:
        """Raises:
        subprocess.TimeoutExpired: it lives.
        """
        with self._lock:
            if self._status is None:
                self._status = self._told(timeout)
                if self._process is not None:
                    os.close(self._process)
                    self._process = None
                self._news.close()
            return self._status

    def _told(self, timeout: float | None) -> int:
        self._wait_for(self._news, timeout)
        if said := self._news.recv(64):
            return int(said.split()[1])
        if self._process is not None:  # the nursery has gone; the host itself may live
            self._wait_for(self._process, timeout)
        return UNKNOWN

    def _wait_for(self, what: socket.socket | int, timeout: float | None) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(what, selectors.EVENT_READ)
            if not selector.select(timeout):
                raise subprocess.TimeoutExpired("models.host", timeout or 0)

    def kill(self) -> None:
        with self._lock, contextlib.suppress(ProcessLookupError):
            if self._process is not None:
                signal.pidfd_send_signal(self._process, signal.SIGKILL)


@dataclass
class Nursery:
    """Started with the first order, and again after it has died."""

    _process: subprocess.Popen[bytes] | None = None
    _orders: socket.socket | None = None
    _errors: int = -1
    _stopped: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def start(self, words: list[str], lifeline: int) -> Forked:
        """A host that begins to load its bundle.

        Args:
            words: of the command line of `models.host`.
            lifeline: the end of a pipe; the host ends when the other end is closed.

        Raises:
            Failed: `host-not-started`.
        """
        for _ in range(2):  # a nursery that has died is noticed by the first order after it
            news, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            with theirs:
                try:
                    self._order(words, [lifeline, theirs.fileno()])
                except BaseException:
                    news.close()
                    raise
            news.settimeout(START_SECONDS)
            with contextlib.suppress(TimeoutError):
                if said := news.recv(64):
                    news.settimeout(None)
                    return Forked(int(said.split()[1]), news)
            news.close()
        raise Failed("host-not-started", "no process can be started for the network; see the log of the node")

    def _order(self, words: list[str], descriptors: list[int]) -> None:
        with self._lock:
            if self._stopped:
                raise Failed("host-not-started", "the node is about to end")
            if self._process is None or self._orders is None or self._process.poll() is not None:
                self._begin()
            assert self._orders is not None
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # then nothing is told either
                socket.send_fds(self._orders, [json.dumps(words).encode()], [*descriptors, self._errors])

    def _begin(self) -> None:
        self._end()
        self._orders, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        said, self._errors = os.pipe()
        threading.Thread(target=_relay, args=(said,), name="what hosts say", daemon=True).start()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "models.nursery", "--orders", str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=self._errors,
                pass_fds=[theirs.fileno()],
                env=cleaned(os.environ),  # what is forked has it all in its memory
                start_new_session=True,
            )

    def _end(self) -> None:
        if self._orders is not None:
            self._orders.close()
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        if self._errors >= 0:
            os.close(self._errors)
        self._process, self._orders, self._errors = None, None, -1

    def stop(self) -> None:
        """End it, for good; the hosts that it has forked go on. An order that waits is answered with a failure."""
        with self._lock:
            self._stopped = True
            self._end()


def _relay(descriptor: int) -> None:
    """Write what hosts say on standard error into the log, line by line: libraries and bundles know no form of it."""
    Overheard(lambda line: logger.warning("model host: %s", line)).follow(descriptor)
