"""Who reads all files of the home folder, and who removes some, do not do it at the same time.

A lock of the file system on a file of the home folder: it ends with its process, however that ends, and holds between
machines that share the folder.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import Refused, Unavailable

FILE = "run/removing.lock"
AGAIN_SECONDS = 60.0
#: in a home folder whose rows may not be in their database: a restore was killed at its last step
UNFINISHED = "restore-unfinished"


@contextmanager
def undisturbed(home: Path, *, reading: bool = False) -> Iterator[None]:
    """Files below the home folder are removed, or read, by this process.

    Args:
        reading: several may; nobody removes anything meanwhile.

    Raises:
        Unavailable: `home-in-use`.
    """
    file = home / FILE
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(descriptor, (fcntl.LOCK_SH if reading else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            other = "files are being removed" if reading else "a backup reads the files, or another purge is at work"
            raise Unavailable("home-in-use", f"{other}; try again later", AGAIN_SECONDS) from None
        yield
    finally:
        os.close(descriptor)


def require_finished(home: Path) -> None:
    """Raises:
    Refused: `restore-unfinished`: a restore was killed at its last step.
    """
    if (home / UNFINISHED).exists():
        raise Refused(
            "restore-unfinished",
            f"a restore was killed before it was done: remove {home}, or empty it where it is a volume, and restore it "
            "again",
        )
