"""How a worker and a model host speak: JSON lines over a Unix socket, arrays as sealed memory, by descriptor.

Never pickle, never a file that others can open. The arrays lie in memfd, or, where the system has none, in an unlinked
file of the home folder. Memory that comes from another process is sealed against shrinking: a process that maps what
another one cuts off is ended by the kernel.
"""

from __future__ import annotations

import fcntl
import json
import mmap
import os
import socket
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

MAX_HEADER = 1 << 20
#: descriptors that are taken at a time, and so the most of a message
AT_ONCE = 16
#: nobody who has the descriptor can make the memory smaller or larger, or take these seals off
SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL if hasattr(fcntl, "F_SEAL_SHRINK") else 0


class Disconnected(Exception):
    """The other side is gone."""


class SharedArray:
    """An array in memory that another process can map."""

    def __init__(self, descriptor: int, shape: tuple[int, ...], dtype: DTypeLike) -> None:
        self.descriptor = descriptor
        size = max(1, int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize)
        if os.fstat(descriptor).st_size < size:
            raise ValueError(f"{size} bytes are announced, {os.fstat(descriptor).st_size} are there")
        self._map = mmap.mmap(descriptor, size)
        self.array: NDArray[Any] = np.frombuffer(self._map, dtype, count=int(np.prod(shape))).reshape(shape)

    @classmethod
    def make(cls, shape: tuple[int, ...], dtype: DTypeLike, spare_folder: Path | None = None) -> SharedArray:
        """A new array of zeros."""
        size = max(1, int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize)
        if hasattr(os, "memfd_create"):
            descriptor = os.memfd_create("planimeter", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
            os.ftruncate(descriptor, size)
            fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, SEALS)
        else:
            descriptor, name = tempfile.mkstemp(dir=spare_folder)
            Path(name).unlink()
            os.ftruncate(descriptor, size)
        return cls(descriptor, shape, dtype)

    @classmethod
    def received(cls, descriptor: int, shape: tuple[int, ...], dtype: DTypeLike) -> SharedArray:
        """What another process has sent.

        Raises:
            ValueError: it is not as large as is said, or could be made smaller while it is read.
        """
        if hasattr(os, "memfd_create") and fcntl.fcntl(descriptor, fcntl.F_GET_SEALS) & SEALS != SEALS:
            raise ValueError("the memory is not sealed")
        return cls(descriptor, shape, dtype)

    @classmethod
    def of(cls, array: NDArray[Any]) -> SharedArray:
        """A copy of an array."""
        made = cls.make(array.shape, array.dtype)
        made.array[...] = array
        return made

    def close(self) -> None:
        """Close the descriptor; the memory goes when the last array over it does."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1


def send(
    connection: socket.socket,
    message: dict[str, Any],
    arrays: tuple[SharedArray, ...] = (),
    files: tuple[int, ...] = (),
) -> None:
    """Send a message, the arrays that go with it, and open files, which the other side gets as `files`."""
    header = message | {"arrays": [{"shape": list(one.array.shape), "dtype": one.array.dtype.str} for one in arrays]}
    header |= {"files": len(files)} if files else {}
    line = json.dumps(header).encode() + b"\n"
    if len(line) > MAX_HEADER:
        raise ValueError("the message is too long")
    try:
        sent = socket.send_fds(connection, [line], [*(one.descriptor for one in arrays), *files])
        if sent < len(line):
            connection.sendall(line[sent:])
    except OSError as error:
        raise Disconnected(str(error)) from None


class Receiver:
    """The receiving end of a connection.

    Args:
        takes_files: whether descriptors of open files are taken; else a message with any is none.
    """

    def __init__(self, connection: socket.socket, *, takes_files: bool = False) -> None:
        self._connection, self._takes_files = connection, takes_files
        self._buffer = b""
        self._descriptors: list[int] = []

    def receive(self, until: float | None = None) -> tuple[dict[str, Any], list[SharedArray]]:
        """The next message; its `files` are the numbers of descriptors that belong to whoever receives it.

        Args:
            until: when all of it has to be there, by `time.monotonic`, however it comes; None: each part of it has the
                socket's time-out.

        Raises:
            Disconnected: the other side closed, or sent something else.
            TimeoutError: it was not there in time.
        """
        try:
            return self._received(until)
        except Disconnected:
            self.close()
            raise

    def hear(self, until: float | None = None) -> dict[str, Any]:
        """The next message, for whoever wants its words alone; as `receive`."""
        message, arrays = self.receive(until)
        for one in arrays:
            one.close()
        return message

    def close(self) -> None:
        """Close what came and belongs to no message: a stranger's process may send as many descriptors as it likes."""
        unasked, self._descriptors = self._descriptors, []
        for one in unasked:
            os.close(one)

    def _received(self, until: float | None) -> tuple[dict[str, Any], list[SharedArray]]:
        while b"\n" not in self._buffer:
            self._wait_until(until)
            try:
                data, descriptors, _flags, _address = socket.recv_fds(self._connection, 65536, AT_ONCE)
            except TimeoutError:
                raise
            except OSError as error:
                raise Disconnected(str(error)) from None
            self._descriptors += descriptors
            if not data or len(self._buffer) + len(data) > MAX_HEADER:
                raise Disconnected("closed" if not data else "the message is too long")
            if len(self._descriptors) > 2 * AT_ONCE:  # of this message, and of the one that has come with its end
                raise Disconnected("more descriptors came than a message has")
            self._buffer += data
        self._wait_until(until)
        line, self._buffer = self._buffer.split(b"\n", 1)
        try:
            message = json.loads(line)
            specs = message.pop("arrays")
            arrays = [
                SharedArray.received(descriptor, tuple(spec["shape"]), spec["dtype"])
                for descriptor, spec in zip(self._descriptors[: len(specs)], specs, strict=True)
            ]
            self._descriptors = self._descriptors[len(specs) :]
            if count := int(message.pop("files", 0)) if self._takes_files else 0:
                message["files"], self._descriptors = self._descriptors[:count], self._descriptors[count:]
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError, OSError) as error:
            raise Disconnected(f"not a message: {error}") from None
        return message, arrays

    def _wait_until(self, until: float | None) -> None:
        """Who sends a little now and then, or without end, would else be waited for without end."""
        if until is not None:
            if (left := until - time.monotonic()) <= 0:
                raise TimeoutError
            self._connection.settimeout(left)
