"""Decode compressed pixels in a small warm pool of children with limits; uncompressed pixels do not come here."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from models.wire import Disconnected, Receiver, SharedArray, send

from ..errors import Failed, Refused

FRAME_SECONDS = 60.0
START_SECONDS = 60.0


@dataclass
class _Child:
    process: subprocess.Popen[bytes]
    connection: socket.socket
    receiver: Receiver

    @classmethod
    def start(cls) -> _Child:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        with theirs:
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", "node.study.decode_child"],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
            )
        child = cls(process, ours, Receiver(ours))
        try:
            ours.settimeout(START_SECONDS)
            child.receiver.receive()
        except (Disconnected, TimeoutError) as error:
            child.stop()
            raise Failed("decoder-not-started", f"the decoder process did not start: {error}") from None
        return child

    def decode(self, file: Path, into: SharedArray, seconds: float) -> str:
        """What was wrong; empty when nothing was.

        Raises:
            Disconnected, TimeoutError: the child is of no more use.
        """
        self.connection.settimeout(seconds)
        send(self.connection, {"file": str(file)}, (into,))
        answer, _ = self.receiver.receive()
        return "" if answer["say"] == "done" else str(answer["sentence"])

    def stop(self) -> None:
        self.connection.close()
        self.process.kill()
        self.process.wait()


@dataclass
class Decoders:
    """The pool. Children are started when they are first needed and kept warm."""

    size: int = 0
    _idle: list[_Child] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def decode(self, files: Sequence[tuple[Path, SharedArray]], *, frame_seconds: float = FRAME_SECONDS) -> None:
        """Decode each file into its array, several at a time.

        Raises:
            Refused: `undecodable-pixels` for the first that cannot be decoded within its time and memory.
            Failed: `decoder-not-started`.
        """
        workers = self.size or min(os.cpu_count() or 1, 4)
        with ThreadPoolExecutor(workers) as pool:
            for said in pool.map(lambda pair: self._one(pair[0], pair[1], frame_seconds), files):
                if said:
                    raise Refused("undecodable-pixels", f"the pixels of an image cannot be decoded: {said}")

    def _one(self, file: Path, into: SharedArray, seconds: float) -> str:
        began = time.monotonic()
        with self._borrowed() as child:
            try:
                return child.decode(file, into, seconds)
            except TimeoutError:
                child.stop()
                return f"no end after {seconds:.0f} s"
            except Disconnected:
                child.stop()
                took = time.monotonic() - began
                return f"the decoder ended after {took:.1f} s (exit status {child.process.returncode})"

    @contextlib.contextmanager
    def _borrowed(self) -> Iterator[_Child]:
        with self._lock:
            child = self._idle.pop() if self._idle else None
        if child is None:
            child = _Child.start()
        yield child
        if child.process.poll() is None:
            with self._lock:
                self._idle.append(child)

    def close(self) -> None:
        """Stop the children."""
        with self._lock:
            children, self._idle = self._idle, []
        for child in children:
            child.stop()
