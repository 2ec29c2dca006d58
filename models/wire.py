"""How a worker and a model host speak: JSON lines over a Unix socket, arrays as sealed memory, by descriptor.

Never pickle, never a file that others can open. The arrays lie in memfd, or, where the system has none, in an unlinked
file of the home folder.
"""

from __future__ import annotations

import json
import mmap
import os
import socket
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

MAX_HEADER = 1 << 20


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
            descriptor = os.memfd_create("planimeter", os.MFD_CLOEXEC)
        else:
            descriptor, name = tempfile.mkstemp(dir=spare_folder)
            Path(name).unlink()
        os.ftruncate(descriptor, size)
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


def send(connection: socket.socket, message: dict[str, Any], arrays: tuple[SharedArray, ...] = ()) -> None:
    """Send a message and the arrays that go with it."""
    header = message | {"arrays": [{"shape": list(one.array.shape), "dtype": one.array.dtype.str} for one in arrays]}
    line = json.dumps(header).encode() + b"\n"
    if len(line) > MAX_HEADER:
        raise ValueError("the message is too long")
    try:
        sent = socket.send_fds(connection, [line], [one.descriptor for one in arrays])
        if sent < len(line):
            connection.sendall(line[sent:])
    except OSError as error:
        raise Disconnected(str(error)) from None


class Receiver:
    """The receiving end of a connection."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._buffer = b""
        self._descriptors: list[int] = []

    def receive(self) -> tuple[dict[str, Any], list[SharedArray]]:
        """The next message.

        Raises:
            Disconnected: the other side closed, or sent something else.
            TimeoutError: the socket's time-out passed.
        """
        while b"\n" not in self._buffer:
            try:
                data, descriptors, _flags, _address = socket.recv_fds(self._connection, 65536, 16)
            except TimeoutError:
                raise
            except OSError as error:
                raise Disconnected(str(error)) from None
            self._descriptors += descriptors
            if not data or len(self._buffer) + len(data) > MAX_HEADER:
                raise Disconnected("closed" if not data else "the message is too long")
            self._buffer += data
        line, self._buffer = self._buffer.split(b"\n", 1)
        try:
            message = json.loads(line)
            specs = message.pop("arrays")
            taken, self._descriptors = self._descriptors[: len(specs)], self._descriptors[len(specs) :]
            arrays = [
                SharedArray(descriptor, tuple(spec["shape"]), spec["dtype"])
                for descriptor, spec in zip(taken, specs, strict=True)
            ]
        except (ValueError, KeyError, TypeError) as error:
            raise Disconnected(f"not a message: {error}") from None
        return message, arrays
