"""What was learnt of a network's memory: its peak, and the first rung of the ladder on which a volume of a size fitted.

One small file per network in the node's home, by device, so that the next study of that size begins where the last one
ended, also after a restart. It is never needed: a file that is lost or broken costs one climb down.
"""

from __future__ import annotations

import contextlib
import json
import logging
import math
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .memory import Room
from .rungs import Rung

logger = logging.getLogger(__name__)

WEEK_SECONDS = 7 * 24 * 3600.0
#: of a file, many times what all devices and sizes take; it is the host's to write, and the supervisor's to read
MOST_BYTES = 1 << 20
#: with so much more free memory than there was, what did not fit may fit
MORE = 1.25


def size_class(shape: Sequence[int]) -> int:
    """Volumes whose numbers of voxels differ by less than a factor of 1.4 are of one class."""
    return math.ceil(2 * math.log2(max(1, math.prod(shape))))


@dataclass
class Experience:
    """With one network on one device.

    Attributes:
        file: None: nothing is kept.
        room: of the device, as it was when this was opened.
        now: the clock, in seconds since 1970.
    """

    file: Path | None
    room: Room
    now: Callable[[], float] = time.time

    def first(self, size: int, rungs: Sequence[Rung], free: int) -> Rung:
        """The rung to begin with.

        What did not fit at a smaller size does not fit now. A week later, after a change of the driver or of torch, one
        rung higher is tried again; where there is much more free memory than there was, all of them.

        Args:
            size: `size_class` of the volume.
            rungs: those that there are.
            free: bytes.
        """
        places = [0]
        for known, note in self._sizes(self._read()).items():
            if int(known) > size or note["rung"] not in rungs or free > MORE * note["free"]:
                continue
            places.append(max(0, rungs.index(Rung(note["rung"])) - int(self._is_old(note))))
        return rungs[max(places)]

    def note(self, size: int, rung: Rung, rungs: Sequence[Rung], free: int) -> None:
        """A volume of this size was finished on this rung."""
        everything = self._read()
        mine = everything.setdefault(_name(self.room), {})
        kept = {
            known: note
            for known, note in self._sizes(everything).items()
            if int(known) > size or (note["rung"] in rungs and rungs.index(Rung(note["rung"])) <= rungs.index(rung))
        }  # a smaller one that needed more is disproved
        mine["sizes"] = kept
        before = kept.get(str(size))
        if before is None or before["rung"] != rung or self._is_old(before):
            kept[str(size)] = {"rung": rung, "free": free, "runtime": self.room.runtime, "when": self.now()}
        if rung is rungs[0]:
            kept.pop(str(size))
        self._write(everything)

    def _is_old(self, note: dict[str, Any]) -> bool:
        return bool(note["runtime"] != self.room.runtime or self.now() - note["when"] > WEEK_SECONDS)

    def _sizes(self, everything: dict[str, Any]) -> dict[str, Any]:
        found = everything.get(_name(self.room), {}).get("sizes", {})
        return dict(found)

    def _read(self) -> dict[str, Any]:
        return read(self.file) if self.file is not None else {}

    def _write(self, everything: dict[str, Any]) -> None:
        if self.file is not None:
            _write(self.file, everything)


def note_peak(file: Path | None, room: Room) -> None:
    """Keep what the host held at once in its last run, in bytes."""
    if file is None:
        return
    everything = read(file)
    everything.setdefault(_name(room), {})["peak"] = room.peak
    _write(file, everything)


def _name(room: Room) -> str:
    return f"{room.device}, {room.total >> 20} MB"


def _write(file: Path, everything: dict[str, Any]) -> None:
    draft = file.with_suffix(f".{os.getpid()}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        draft.write_text(json.dumps(everything, indent=1) + "\n", encoding="utf-8")
        draft.replace(file)
    except OSError as error:
        logger.warning("what a network needs of memory is not kept: %s", error)
        with contextlib.suppress(OSError):
            draft.unlink()


def read(file: Path) -> dict[str, Any]:
    """Everything that a file says, by device; empty where it is not there, or broken, or far too long."""
    try:
        with file.open("rb") as stream:
            said = stream.read(MOST_BYTES + 1)
        found = json.loads(said) if len(said) <= MOST_BYTES else {}
        for device in found.values():
            for size, note in device.get("sizes", {}).items():
                int(size), Rung(note["rung"]), float(note["free"]), float(note["when"]), str(note["runtime"])
            int(device.get("peak", 0))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        return {}
    return dict(found)


def last_peak(file: Path) -> int | None:
    """Bytes that a network's host held at once in its last run, on whichever device it needed most; None: not known."""
    peaks = [int(device["peak"]) for device in read(file).values() if "peak" in device]
    return max(peaks, default=None)
