"""Files on disk: what was received and what was made. Names are our own; nothing of a peer becomes a path.

A file appears under its name complete and durable, or not at all: written beside, fdatasync, rename, fsync of folder.
Paths in the database are relative to the home folder, so that machines which share it may mount it where they like.
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from db.database import Row

from ..errors import Refused

SUFFIX = ".dcm"


@dataclass(frozen=True)
class Archive:
    """The folders below the home folder."""

    home: Path

    @property
    def spool(self) -> Path:
        """Where instances arrive; on the same filesystem as the store."""
        return self.home / "spool"

    def prepare(self) -> None:
        """Make the folders, private to this user; a new file of this process is private too."""
        os.umask(0o077)
        for folder in (self.home, self.spool, self.home / "store", self.home / "results", self.home / "run"):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if self.home.stat().st_uid == os.getuid():
            self.home.chmod(0o700)

    def free_bytes(self) -> int:
        """Free space for this user on the filesystem of the home folder."""
        return shutil.disk_usage(self.home).free

    def at(self, path: str) -> Path:
        """The file of a path that the database holds."""
        return self.home / path

    def new_spool_file(self) -> Path:
        """A name in the spool that nobody has."""
        return self.spool / f"{secrets.token_hex(16)}{SUFFIX}"

    def new_path(self, kind: str, shelf: str = "") -> str:
        """A path that nobody has, for a file of today.

        Args:
            kind: "store" or "results".
            shelf: the folder of the day, two hexadecimal digits; empty: any.
        """
        name = shelf + secrets.token_hex(16)[len(shelf) :]
        return f"{kind}/{datetime.now(UTC):%Y-%m-%d}/{name[:2]}/{name}{SUFFIX}"

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
            try:
                _make(target.parent)
                spooled.rename(target)
            except OSError as error:
                failed[path] = error
            else:
                folders.setdefault(target.parent, []).append(path)
        for folder, paths in folders.items():
            try:
                sync_folder(folder)
            except OSError as error:  # it is not tried again: the kernel says so once, and forgets
                failed |= dict.fromkeys(paths, error)
        return failed

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
            yield from folder.rglob(f"*{SUFFIX}")


def _make(folder: Path) -> None:
    """The folder of a day and a shelf."""
    if not folder.is_dir():
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for above in (folder.parent, folder.parent.parent):
            sync_folder(above)


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
