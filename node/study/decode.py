"""Decode compressed pixels in a few children with limits; uncompressed pixels do not come here.

What is decoded together, the images of a series, has children of its own: a bad image may take over the child that it
is handed to, and the next one may be another patient's. A child is asked for a piece at a time: the only frame of a
file, or some of many. So slices are decoded in parallel, and the frames of one file too.
"""

from __future__ import annotations

import contextlib
import math
import os
import signal
import socket
import subprocess
import threading
import time
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from models.confine.rights import Demand
from models.wire import Disconnected, Receiver, SharedArray, send

from ..errors import Failed, Refused
from ..failpoints import reach
from ..nursery import UNKNOWN, Forked, Nursery

#: of wall clock and of processor time, for one piece
PIECE_SECONDS = 60.0
START_SECONDS = 60.0
END_SECONDS = 5.0
#: a piece of many frames is no more than this
PIECE_BYTES = 4 << 20
#: letters of what a decoder says is wrong
LONGEST_SENTENCE = 400
#: pieces per child that are under way or waiting for their turn; each takes two descriptors
AHEAD = 3
#: a library that has threads before it is confined would have some that are not
NO_THREADS = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}


class Compressed(Protocol):
    """A file with compressed pixels."""

    @property
    def file(self) -> Path: ...
    @property
    def frames(self) -> int: ...
    @property
    def frame_shape(self) -> tuple[int, ...]: ...
    @property
    def dtype(self) -> np.dtype[np.integer]: ...


@dataclass(frozen=True)
class Piece:
    """Frames of one file, and the memory that they are decoded into.

    Attributes:
        into: (frames, rows, columns (, samples)); without the first axis where the file has one frame.
        first_frame: from 0.
    """

    file: Path
    into: SharedArray
    first_frame: int = 0


@dataclass
class _Child:
    process: Forked
    connection: socket.socket
    receiver: Receiver

    @classmethod
    def start(cls, nursery: Nursery, confine: Demand = Demand.BEST) -> _Child:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            with theirs:
                process = nursery.start([confine], theirs.fileno())
        except (OSError, Failed) as error:
            ours.close()
            why = error.sentence if isinstance(error, Failed) else error.strerror
            raise Failed("decoder-not-started", f"the decoder process did not start: {why}") from None
        except BaseException:
            ours.close()
            raise
        child = cls(process, ours, Receiver(ours))
        try:
            ours.settimeout(START_SECONDS)
            child.receiver.hear(time.monotonic() + START_SECONDS)
        except (Disconnected, TimeoutError) as error:
            child.stop()
            raise Failed("decoder-not-started", f"the decoder process did not start: {error}") from None
        return child

    def decode(self, piece: Piece, seconds: float) -> str:
        """What was wrong; empty when nothing was.

        Raises:
            Disconnected, TimeoutError: the child is of no more use.
            OSError: the file cannot be opened.
        """
        self.connection.settimeout(seconds)
        request = {"first_frame": piece.first_frame, "seconds": seconds}
        with piece.file.open("rb") as stream:
            send(self.connection, request, (piece.into,), (stream.fileno(),))
        reach("decoding")
        answer = self.receiver.hear(time.monotonic() + seconds)
        return "" if answer.get("say") == "done" else str(answer.get("sentence"))[:LONGEST_SENTENCE]

    def ended(self) -> str:
        """How a child ended that closed its line."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(END_SECONDS)
        self.stop()
        status = self.process.wait()
        if status == UNKNOWN:
            return "nobody knows how"
        return signal.Signals(-status).name if status < 0 else f"exit status {status}"

    def stop(self) -> None:
        self.receiver.close()
        self.connection.close()
        self.process.kill()
        self.process.wait()


@dataclass
class Decoders:
    """The pool. Children are forked when they are needed, and end with what is decoded together.

    Attributes:
        size: how many may be at work; 0 for as many as there are processors, but no more than four.
        confine: what is wanted of the kernel, so that a child can do no harm.
        piece_bytes: of frames of one file that are asked for at a time.
    """

    size: int = 0
    confine: Demand = Demand.BEST
    piece_bytes: int = PIECE_BYTES
    _nursery: Nursery = field(default_factory=lambda: Nursery("node.study.decode_child", "decoder", NO_THREADS))
    _places: threading.BoundedSemaphore = field(init=False)

    def __post_init__(self) -> None:
        self.size = self.size or min(os.cpu_count() or 1, 4)
        self._places = threading.BoundedSemaphore(self.size)

    def decode(self, files: Sequence[tuple[Path, SharedArray]], *, frame_seconds: float = PIECE_SECONDS) -> None:
        """Decode each file into its array, several at a time.

        Raises:
            Refused: `undecodable-pixels` for the first that cannot be decoded within its time and memory.
            Failed: `decoder-not-started`.
        """
        for _ in self.run((Piece(file, into) for file, into in files), seconds=frame_seconds):
            pass

    def arrays(self, images: Sequence[Compressed]) -> Generator[NDArray[np.integer], None, None]:
        """The decoded values of each image: (frames,) rows, columns (, samples). Close it where it is left early.

        Raises:
            Refused, Failed: as `decode`.
        """
        made: set[SharedArray] = set()

        def pieces() -> Iterator[Piece]:
            for image in images:
                for first, count in _pieces(image, self.piece_bytes):
                    leading = (count,) if image.frames > 1 else ()
                    into = SharedArray.make((*leading, *image.frame_shape), image.dtype)
                    made.add(into)
                    yield Piece(image.file, into, first)

        done = self.run(pieces())

        def next_array() -> NDArray[np.integer]:
            into = next(done).into
            made.remove(into)
            into.close()
            return into.array

        try:
            for image in images:
                if image.frames == 1:
                    yield next_array()
                    continue
                values = np.empty((image.frames, *image.frame_shape), image.dtype)
                for first, count in _pieces(image, self.piece_bytes):
                    values[first : first + count] = next_array()
                yield values
        finally:
            done.close()
            for array in made:
                array.close()

    def run(self, pieces: Iterable[Piece], *, seconds: float = PIECE_SECONDS) -> Generator[Piece, None, None]:
        """Decode pieces, some ahead of what is asked for; each comes back, in its order, when it is there.

        Args:
            pieces: taken one by one, as children become free.
            seconds: for each piece.

        Raises:
            Refused, Failed: as `decode`. What is under way ends first, also where the generator is closed.
        """
        source = iter(pieces)
        waiting: deque[tuple[Piece, Future[str]]] = deque()
        idle: deque[_Child] = deque()
        with ThreadPoolExecutor(self.size, "decode") as threads:
            try:
                while True:
                    for piece in islice(source, AHEAD * self.size - len(waiting)):
                        waiting.append((piece, threads.submit(self._one, piece, seconds, idle)))
                    if not waiting:
                        return
                    piece, future = waiting.popleft()
                    if said := future.result():
                        raise Refused("undecodable-pixels", f"the pixels of an image cannot be decoded: {said}")
                    yield piece
            finally:
                threads.shutdown(wait=True, cancel_futures=True)
                for child in idle:
                    child.stop()

    def _one(self, piece: Piece, seconds: float, idle: deque[_Child]) -> str:
        with self._places:
            try:
                child = idle.pop()
            except IndexError:
                child = _Child.start(self._nursery, self.confine)
            usable = False
            began = time.monotonic()
            try:
                said = child.decode(piece, seconds)
                usable = True
            except TimeoutError:
                said = f"no end after {seconds:.0f} s"
            except Disconnected:
                said = f"the decoder ended after {time.monotonic() - began:.1f} s ({child.ended()})"
            finally:
                if usable:
                    idle.append(child)
                else:
                    child.stop()
            return said

    def close(self) -> None:
        """No child is forked any more."""
        self._nursery.stop()


def _pieces(image: Compressed, piece_bytes: int) -> Iterator[tuple[int, int]]:
    """The first frame of each piece, and their number."""
    at_most = max(1, piece_bytes // (math.prod(image.frame_shape) * image.dtype.itemsize))
    for first in range(0, image.frames, at_most):
        yield first, min(at_most, image.frames - first)
