"""Whether there is room for what comes: two marks of free space, each with a way back.

Below the upper one nobody new is let in who would send; below the lower one nothing is taken at all. Between them
ends well what has begun. A scanner that is told so keeps its queue and comes again.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

#: how long a look at the file system holds, however many objects come
LOOK_SECONDS = 0.1
#: so much more than the mark has to be free until it counts as room again
BACK = 1.1
#: files that can still be made; some file systems have no such limit and say 0 of 0
FEWEST_FILES = {"refuse": 20_000, "reserve": 10_000}


class Room(StrEnum):
    """How much there is."""

    ENOUGH = "enough"
    SCARCE = "scarce"
    """new associations that would send are rejected"""
    NONE = "none"
    """objects are refused too"""


@dataclass
class Watermarks:
    """Of one file system.

    Attributes:
        refuse_bytes, reserve_bytes: the upper mark and the lower one; 0: none.
    """

    folder: Path
    refuse_bytes: int
    reserve_bytes: int
    clock: Callable[[], float] = time.monotonic
    free_bytes: int = 0
    _room: Room = Room.ENOUGH
    _looked: float = -LOOK_SECONDS
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def now(self) -> Room:
        """How much room there is, as of a moment ago."""
        with self._lock:
            if self.clock() - self._looked >= LOOK_SECONDS:
                self._look()
                self._looked = self.clock()
            return self._room

    def _look(self) -> None:
        found = os.statvfs(self.folder)
        self.free_bytes = found.f_bavail * found.f_frsize
        files = found.f_favail if found.f_files else None
        was = self._room
        if self._below("reserve", self.reserve_bytes, files, is_below=was is Room.NONE):
            self._room = Room.NONE
        elif self._below("refuse", self.refuse_bytes, files, is_below=was is not Room.ENOUGH):
            self._room = Room.SCARCE
        else:
            self._room = Room.ENOUGH

    def _below(self, mark: str, wanted: int, files: int | None, *, is_below: bool) -> bool:
        if not wanted:
            return False
        factor = BACK if is_below else 1.0
        return self.free_bytes < wanted * factor or (files is not None and files < FEWEST_FILES[mark] * factor)

    @property
    def sentence(self) -> str:
        """What is free, and the marks."""
        return (
            f"{self.free_bytes / 1e9:.1f} GB are free; callers are turned away below {self.refuse_bytes / 1e9:.1f} GB, "
            f"objects below {self.reserve_bytes / 1e9:.1f} GB, the reserve"
        )
