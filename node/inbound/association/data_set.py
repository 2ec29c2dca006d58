"""Where the data set of a message goes: into a file of the spool, into memory, or nowhere."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from struct import Struct

import xxhash
from pynetdicom import PYNETDICOM_IMPLEMENTATION_UID, PYNETDICOM_IMPLEMENTATION_VERSION

from ...errors import NodeError

#: the system takes so many pieces in one write
MOST_PIECES = 1024
#: bytes; of more, xxhash gives the interpreter away, which takes longer than the digest of them
AT_ONCE = 1 << 16
_SHORT = Struct("<HH2sH")
_LONG = Struct("<HH2sHL")


def file_meta(sop_class: str, sop_instance: str, transfer_syntax: str) -> bytes:
    """Preamble and file meta information of our own writing (PS3.10 7.1)."""
    elements = b"".join(
        (
            _LONG.pack(2, 0x0001, b"OB", 0, 2) + b"\0\1",
            _text(0x0002, b"UI", sop_class),
            _text(0x0003, b"UI", sop_instance),
            _text(0x0010, b"UI", transfer_syntax),
            _text(0x0012, b"UI", PYNETDICOM_IMPLEMENTATION_UID),
            _text(0x0013, b"SH", PYNETDICOM_IMPLEMENTATION_VERSION),
        )
    )
    return b"\0" * 128 + b"DICM" + _SHORT.pack(2, 0, b"UL", 4) + len(elements).to_bytes(4, "little") + elements


def _text(element: int, vr: bytes, value: str) -> bytes:
    encoded = value.encode("ascii")
    encoded += (b"\0" if vr == b"UI" else b" ") * (len(encoded) % 2)
    return _SHORT.pack(2, element, vr, len(encoded)) + encoded


class Nowhere:
    """A data set that nobody wants is read and forgotten.

    Attributes:
        status, comment: what its request is answered.
    """

    def __init__(self, status: int, comment: str = "") -> None:
        self.status, self.comment = status, comment

    def write(self, data: memoryview) -> None:
        """Forget it."""

    def pause(self) -> None:
        """Nothing is kept back."""

    def discard(self) -> None:
        """Nothing was kept."""


class InMemory:
    """A data set that is small.

    Attributes:
        data: what came, up to the limit.
        is_whole: whether that is all of it.
    """

    def __init__(self, limit: int) -> None:
        self.data, self._limit, self.is_whole = bytearray(), limit, True

    def write(self, data: memoryview) -> None:
        self.is_whole = self.is_whole and len(self.data) + len(data) <= self._limit
        if self.is_whole:
            self.data += data

    def pause(self) -> None:
        """Nothing is kept back."""

    def discard(self) -> None:
        self.data.clear()


class Spooled:
    """A data set on its way into a file, with the digest of the bytes so far.

    Attributes:
        path: the file, from the first byte on.
        size: of the data set, in bytes, whether they could be kept or not.
        error: why it cannot be kept; from then on nothing is written.
        is_taken: somebody moved or removed the file.
    """

    def __init__(self, path: Path, meta: bytes, transfer_syntax: str, room: Callable[[int], None]) -> None:
        """Make the file.

        Args:
            meta: what stands before the data set.
            room: called with the size so far, again and again; raises NodeError where that is too much.
        """
        self.path, self.size = path, 0
        self.error: OSError | NodeError | None = None
        self.is_taken = False
        self._room, self._pieces, self._waiting = room, [memoryview(meta)], len(meta)
        self._digest = xxhash.xxh3_128(transfer_syntax.encode())
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            self._descriptor: int | None = os.open(path, flags, 0o600)
        except OSError as error:
            self._descriptor, self.error = None, error

    def write(self, data: memoryview) -> None:
        self.size += len(data)
        if self.error is None:
            for at in range(0, len(data), AT_ONCE):
                self._digest.update(data[at : at + AT_ONCE])
            self._pieces.append(data)
            self._waiting += len(data)
            if len(self._pieces) == MOST_PIECES:
                self.pause()

    def pause(self) -> None:
        """Write what holds only until the next bytes are read."""
        pieces, expected = self._pieces, self._waiting
        if not pieces or self.error is not None or self._descriptor is None:
            return
        self._pieces, self._waiting = [], 0
        try:
            self._room(self.size)
            written = os.writev(self._descriptor, pieces)
            if written < expected:  # the disk is full, or a signal came
                left = memoryview(b"".join(pieces))[written:]
                while left:
                    left = left[os.write(self._descriptor, left) :]
        except (OSError, NodeError) as error:
            self.error = error

    def close(self) -> None:
        """Give the descriptor back; the file stays, for whoever has its path.

        What the disk says at the end of it is no news: what had to be safe was synchronized. The number is given up
        even so, and may be another association's file by now: it is closed once.
        """
        if self._descriptor is not None:
            descriptor, self._descriptor = self._descriptor, None
            with contextlib.suppress(OSError):
                os.close(descriptor)

    @property
    def descriptor(self) -> int:
        """Of the open file, to read and write."""
        assert self._descriptor is not None
        return self._descriptor

    @property
    def digest(self) -> str:
        """XXH3-128 over transfer syntax and data set, as `Inbox` has it."""
        return str(self._digest.hexdigest())

    def discard(self) -> None:
        """It does not come to its end, or nobody took it: the file goes."""
        self._pieces = []
        self.close()
        if not self.is_taken:
            with contextlib.suppress(OSError):  # an answer is owed; what a read-only disk keeps, the sweep removes
                self.path.unlink()
