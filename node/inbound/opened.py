"""The bytes of a file that is taken in."""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cached_property

from ..errors import Refused

#: what is before the pixels of nearly all images has room in it
BEGINNING = 1 << 14


@contextmanager
def mapped(descriptor: int) -> Iterator[memoryview]:
    """The bytes of an open file.

    Raises:
        Refused: it has none.
    """
    try:
        view = mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ)
    except ValueError:  # an empty file
        raise Refused("truncated", "the object is empty") from None
    with view, memoryview(view) as data:
        yield data


class Opened(ExitStack):
    """An open file: its beginning is read, and it is mapped only where somebody wants all of it.

    A map is four calls of the system, in each of which another thread may take the interpreter, and one to take the
    page tables away from all of them.

    Attributes:
        size: in bytes.
        beginning: the first bytes of it, or all where it has no more.

    Raises:
        Refused: it has no bytes.
        OSError: it cannot be read.
    """

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self._descriptor = descriptor
        self.size = os.fstat(descriptor).st_size
        if not self.size:
            raise Refused("truncated", "the object is empty")
        self.beginning = memoryview(os.pread(descriptor, BEGINNING, 0))

    @cached_property
    def data(self) -> memoryview:
        """All of it, until the end of the `with`."""
        return self.enter_context(mapped(self._descriptor))
