"""Files of what is learnt: private to this user, and on the disk before anything says that they are there."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedRandom
from pathlib import Path

from ..study.archive import sync_folder

__all__ = ["fresh", "put", "sync_folder", "write"]


@contextmanager
def fresh(file: Path) -> Iterator[BufferedRandom]:
    """A new file to be written; its bytes are durable at the end, its name once `sync_folder` was called.

    Raises:
        FileExistsError: it is there.
    """
    with os.fdopen(os.open(file, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600), "w+b") as stream:
        yield stream
        stream.flush()
        os.fsync(stream.fileno())


def write(file: Path, data: bytes) -> None:
    """A new file with these bytes."""
    with fresh(file) as stream:
        stream.write(data)


def put(file: Path, data: bytes) -> None:
    """A file with these bytes, complete and durable under its name or not there; what was there goes."""
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    beside = file.with_name(f".{file.name}-{secrets.token_hex(8)}")
    write(beside, data)
    beside.replace(file)
    sync_folder(file.parent)
