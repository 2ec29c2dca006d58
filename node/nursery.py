"""The side of `models.nursery` that orders: a model host, or a decoder, as a process that somebody else has forked."""

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
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from models.confine.environment import cleaned

from .errors import Failed, Unavailable
from .overheard import Overheard

logger = logging.getLogger(__name__)

#: for loading the libraries, from a slow disk on a busy machine
START_SECONDS = 180.0
#: of a host whose nursery has gone before it, or stands still, nobody knows how it ended
UNKNOWN = -1
#: after a host has ended, for its nursery to say how
TOLD_SECONDS = 5.0


class Forked:
    """A process that a nursery has forked, with what of `subprocess.Popen` is used here.

    Args:
        pid: of a process that lives, or has ended a moment ago.
        news: where its end is told.
    """

    def __init__(self, pid: int, news: socket.socket) -> None:
        self.pid, self._news = pid, news
        self._lock, self._closing = threading.Lock(), threading.Lock()
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
                with self._closing:
                    if self._process is not None:
                        os.close(self._process)
                        self._process = None
                self._news.close()
            return self._status

    def _told(self, timeout: float | None) -> int:
        own = () if self._process is None else (self._process,)
        if not (ready := _readable(timeout, self._news, *own)):
            raise subprocess.TimeoutExpired("models.host", timeout or 0)
        if (self._news in ready or _readable(TOLD_SECONDS, self._news)) and (said := self._news.recv(64)):
            return int(said.split()[1])
        if own and not _readable(timeout, *own):  # the nursery has gone; the host itself may live
            raise subprocess.TimeoutExpired("models.host", timeout or 0)
        return UNKNOWN

    def kill(self) -> None:
        with self._closing, contextlib.suppress(ProcessLookupError):
            if self._process is not None:
                signal.pidfd_send_signal(self._process, signal.SIGKILL)


def _readable(timeout: float | None, *what: socket.socket | int) -> list[Any]:
    with selectors.DefaultSelector() as selector:
        for one in what:
            selector.register(one, selectors.EVENT_READ)
        return [key.fileobj for key, _ in selector.select(timeout)]


@dataclass
class Nursery:
    """Started with the first order, and again after it has died.

    Attributes:
        module: the program.
        forks: what it forks into, for the log.
        environment: beside what is passed on.
    """

    module: str = "models.nursery"
    forks: str = "model host"
    environment: Mapping[str, str] = field(default_factory=dict)
    _process: subprocess.Popen[bytes] | None = None
    _orders: socket.socket | None = None
    _stopped: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def start(self, words: list[str], lifeline: int) -> Forked:
        """A host that begins to load its bundle, or a decoder.

        Args:
            words: of the command line of `models.host`; of a decoder: as it wants them.
            lifeline: the end of a pipe, or of a line; the child ends when the other end is closed.

        Raises:
            Failed: `host-not-started`.
            Unavailable: `no-thread`.
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
        raise Failed("host-not-started", f"no {self.forks} can be started; see the log of the node")

    def _order(self, words: list[str], descriptors: list[int]) -> None:
        with self._lock:
            if self._stopped:
                raise Failed("host-not-started", "the node is about to end")
            if self._process is None or self._orders is None or self._process.poll() is not None:
                self._begin()
            assert self._orders is not None
            with self._overheard() as errors, contextlib.suppress(BrokenPipeError, ConnectionResetError):
                # where that fails, nothing is told either
                socket.send_fds(self._orders, [json.dumps(words).encode()], [*descriptors, errors.fileno()])

    def _begin(self) -> None:
        self._end()
        errors = self._overheard()
        self._orders, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with errors, theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", self.module, "--orders", str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=errors.fileno(),
                pass_fds=[theirs.fileno()],
                env=cleaned(os.environ) | dict(self.environment),  # what is forked has it all in its memory
                start_new_session=True,
            )

    def _end(self) -> None:
        if self._orders is not None:
            self._orders.close()
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._process, self._orders = None, None

    def stop(self) -> None:
        """End it, for good; the hosts that it has forked go on. An order that waits is answered with a failure."""
        with self._lock:
            self._stopped = True
            self._end()

    def _overheard(self) -> socket.socket:
        """A standard error; what is written there comes into the log until its last holder ends.

        One for each host, and a socket: a pipe can be opened once more through /proc, for reading too, whatever
        Landlock forbids, and of one that hosts had in common each could take what others say, or end it for all.

        Raises:
            Unavailable: `no-thread`.
        """
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        ours.shutdown(socket.SHUT_WR)
        try:
            threading.Thread(target=self._relay, args=(ours,), name=f"what a {self.forks} says", daemon=True).start()
        except RuntimeError as error:
            ours.close()
            theirs.close()
            raise Unavailable("no-thread", f"this machine lets the supervisor start no thread: {error}") from error
        return theirs

    def _relay(self, said: socket.socket) -> None:
        """Write what a child says into the log, line by line: libraries and bundles know no form of it."""
        Overheard(lambda line: logger.warning("%s: %s", self.forks, line)).follow(said.detach())
