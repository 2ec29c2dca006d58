"""The places that a peer's associations take, over all receivers that share a home folder.

A place is a file whose lock an association holds: so it is free again when its process dies, however that dies, and
nobody has to count, expire or repair anything. It is how `operations.at_rest` keeps machines apart, too.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from pathlib import Path


class Places:
    """Below a folder, which is made where it is not there."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def take(self, peer: str, most: int) -> int | None:
        """A free place among so many, to be given back by `leave`; None: there is none.

        Raises:
            OSError: the file system has no locks, or the folder cannot be used.
        """
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        named = hashlib.sha256(peer.encode()).hexdigest()[:16]
        for number in range(most):
            descriptor = os.open(self._folder / f"{named}-{number}", os.O_RDWR | os.O_CREAT, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                os.close(descriptor)
                if not isinstance(error, BlockingIOError):
                    raise
            else:
                return descriptor
        return None

    def leave(self, place: int) -> None:
        """Somebody else may have it."""
        os.close(place)
