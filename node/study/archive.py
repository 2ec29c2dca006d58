"""Files on disk: what was received and what was made. Names are our own; nothing of a peer becomes a path.

A file appears under its name complete and durable, or not at all: written beside, fdatasync, rename, fsync of folder.
Paths in the database are relative to the home folder, so that machines which share it may mount it where they like.
"""

from __future__ import annotations

import os
import random
import shutil
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

from db.database import Row

from ..errors import Refused

SUFFIX = ".dcm"
#: of names that nobody has: without a call of the system for each; a process that is forked begins anew
_RANDOM = random.Random()  # noqa: S311 - no secrets: the folders are private
os.register_at_fork(after_in_child=_RANDOM.seed)


class _Shelves:
    """Folders of days, and of shelves in them, whose names this process knows to be durable; of one day at a time.

    That a folder is there says nothing of that: whoever made it may have failed to synchronize the one above, may have
    died before, or is about to.
    """

    def __init__(self) -> None:
        self._day, self._safe, self._lock = "", frozenset[Path](), threading.Lock()

    def knows(self, shelf: Path) -> bool:
        """Whether its name was durable when it was made; it may have gone since."""
        return shelf in self._safe

    def make(self, shelf: Path) -> None:
        """Make a folder of a day and a shelf, and its name durable.

        Raises:
            OSError: it is not; the next one tries again.
        """
        if shelf in self._safe and shelf.is_dir():
            return
        day = shelf.parent
        is_known = day in self._safe and day.is_dir()
        shelf.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not is_known:
            sync_folder(day.parent)
        sync_folder(day)
        with self._lock:
            others = self._safe if self._day == day.name else frozenset[Path]()
            self._day, self._safe = day.name, others | {day, shelf}


@dataclass(frozen=True)
class Archive:
    """The folders below the home folder."""

    home: Path
    _shelves: _Shelves = field(default_factory=_Shelves, compare=False, repr=False)

    @cached_property
    def spool(self) -> Path:
        """Where instances arrive; on the same filesystem as the store."""
        return self.home / "spool"

    def prepare(self) -> None:
        """Make the folders, private to this user, and their names durable; a new file of this process is private too.

        A process that was here before may have died in between: they are synchronized whether they are new or not.
        """
        os.umask(0o077)
        for folder in (self.home, self.spool, self.home / "store", self.home / "results", self.home / "run"):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if self.home.stat().st_uid == os.getuid():
            self.home.chmod(0o700)
        sync_folder(self.home)
        if not self.home.is_mount():
            with suppress(PermissionError):  # whoever may not read the folder above has not made this one in it
                sync_folder(self.home.parent)

    def free_bytes(self) -> int:
        """Free space for this user on the filesystem of the home folder."""
        return shutil.disk_usage(self.home).free

    def at(self, path: str) -> Path:
        """The file of a path that the database holds."""
        return self.home / path

    def new_spool_file(self) -> Path:
        """A name in the spool that nobody has."""
        return self.spool / f"{_new_name()}{SUFFIX}"

    def new_path(self, kind: str, shelf: str = "") -> str:
        """A path that nobody has, for a file of today.

        Args:
            kind: "store" or "results".
            shelf: the folder of the day, two hexadecimal digits; empty: any.
        """
        name = shelf + _new_name()[len(shelf) :]
        return f"{kind}/{datetime.now(UTC).date().isoformat()}/{name[:2]}/{name}{SUFFIX}"

    def begin_sync(self, descriptor: int) -> None:
        """What is in an open file begins to go to the disk, so that `sync` has to wait for less."""
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)  # it writes what is new, and keeps what it writes

    def sync(self, descriptor: int) -> None:
        """What is in an open file is on the disk from now on."""
        os.fdatasync(descriptor)

    def keep(self, spooled: Path, descriptor: int) -> str:
        """Move a spooled file into the store, durably.

        Args:
            spooled: its path in the spool.
            descriptor: of the same file, open.

        Returns:
            Its path, relative to the home folder.
        """
        self.sync(descriptor)
        return self._publish(spooled, self.new_path("store"))

    def write_result(self, data: bytes) -> str:
        """Keep the bytes of a result, durably; its path relative to the home folder."""
        spooled = self.new_spool_file()
        path = self.new_path("results")
        try:
            with spooled.open("xb") as stream:
                stream.write(data)
                stream.flush()
                os.fdatasync(stream.fileno())
            return self._publish(spooled, path)
        except OSError:  # on a full disk the half of it would be in the way of everybody
            spooled.unlink(missing_ok=True)
            self.discard(path)
            raise

    def publish(self, files: Iterable[tuple[Path, str]]) -> dict[str, OSError]:
        """Give files their names, durably: each folder is synchronized once for all of them.

        Args:
            files: in the spool, with what is in them on the disk already; and the path that each gets.

        Returns:
            Of each that is not safe under its name: its path, and why.
        """
        failed: dict[str, OSError] = {}
        folders: dict[Path, list[str]] = {}
        for spooled, path in files:
            target = self.at(path)
            folder = target.parent
            try:
                self._name(spooled, target, folder)
            except OSError as error:
                failed[path] = error
            else:
                folders.setdefault(folder, []).append(path)
        for folder, paths in folders.items():
            try:
                sync_folder(folder)
            except OSError as error:  # it is not tried again: the kernel says so once, and forgets
                failed |= dict.fromkeys(paths, error)
        return failed

    def _name(self, spooled: Path, target: Path, folder: Path) -> None:
        if self._shelves.knows(folder):
            with suppress(FileNotFoundError):  # the folder went; or it is the file, which is said below
                spooled.rename(target)
                return
        self._shelves.make(folder)
        spooled.rename(target)

    def _publish(self, spooled: Path, path: str) -> str:
        for error in self.publish([(spooled, path)]).values():
            raise error
        return path

    def discard(self, path: str) -> None:
        """Remove a file that no row names."""
        with suppress(FileNotFoundError):
            self.at(path).unlink()

    def remove(self, path: str) -> None:
        """Remove a file or a folder that no row names, and the folders that it leaves empty."""
        there = self.at(path)
        if there.is_dir() and not there.is_symlink():
            shutil.rmtree(there)
        else:
            self.discard(path)
        kind, day = Path(path).parts[:2]
        if kind in ("store", "results") and day < datetime.now(UTC).strftime("%Y-%m-%d"):  # nothing is put there now
            with suppress(OSError):  # it is not empty
                there.parent.rmdir()
                there.parent.parent.rmdir()

    def recent(self, kind: str, days: int) -> Iterator[Path]:
        """The files that were published today or in the days before."""
        folders = sorted((self.home / kind).iterdir(), reverse=True)[: days + 1]
        for folder in folders:
            for where, _, names in os.walk(folder):  # what goes meanwhile is passed over
                yield from (Path(where, name) for name in names if name.endswith(SUFFIX))


def _new_name() -> str:
    """128 random bits, in hexadecimal digits.

    A machine that is set back to a snapshot has the same ones before it again, and what it stored since may lie on
    another machine's disk, under their names: the time, which takes no call of the system, tells them apart.
    """
    return f"{_RANDOM.getrandbits(128) ^ time.time_ns():032x}"


def sync_folder(folder: Path) -> None:
    """A rename is durable once the folder is."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def require_kept(rows: Iterable[Row]) -> None:
    """Images are read only where all of them are kept.

    Args:
        rows: of instances.

    Raises:
        Refused: `images-purged`.
    """
    gone = sum(row["purged"] is not None for row in rows)
    if gone:
        raise Refused(
            "images-purged",
            f"{gone} images of it are not kept any more (retention); fetch or send the study again, then "
            "`planimeter reprocess`",
        )
