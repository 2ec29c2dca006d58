"""How much a process may put into its own folders: the kernel counts a file, and nobody the files.

Whoever started the process looks from time to time, and ends it. What it has open and has no name for any more counts;
what is only mapped into its memory is seen by the free space of the disk alone.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

#: caches of compiled kernels and of volumes, of the largest bundles that we know, are a tenth of it
MOST_BYTES = 16 << 30
MOST_FILES = 50_000
#: folders within folders
DEEPEST = 64
#: a full disk is not the doing of a process that holds no more
TRIFLE_BYTES = 64 << 20
#: of a small file system, such as one in memory, so much stays free, and not all of the reserve
SHARE_FREE = 0.1
LOOK_SECONDS = 1.0
#: of one processor, that looking may take
SHARE_LOOKING = 0.05


class Unseen(Exception):
    """The process has hidden what it holds: too deep, or behind modes; the sentence says so."""


@dataclass(frozen=True)
class Held:
    """What lies in folders: bytes on the disk, not those of holes, and files and folders."""

    bytes: int = 0
    files: int = 0


@dataclass(frozen=True, kw_only=True)
class Room:
    """What a process may hold.

    Attributes:
        most_bytes, most_files: in all of its folders together.
        reserve_bytes: that stay free on their disks, or a tenth of a disk where that is less.
    """

    most_bytes: int = MOST_BYTES
    most_files: int = MOST_FILES
    reserve_bytes: int = 0

    def beside(self, there: Held) -> Room:
        """Of a folder that held something before: as much again may be made of it, and so much more."""
        most_bytes, most_files = self.most_bytes + 2 * there.bytes, self.most_files + 2 * there.files
        return Room(most_bytes=most_bytes, most_files=most_files, reserve_bytes=self.reserve_bytes)

    def exceeded(self, folders: tuple[Path, ...], process: int | None = None, before: Held | None = None) -> str:
        """Why a process has to end, in words that go on after "it"; "": it may go on.

        Args:
            folders: that it may write into; they need not be there.
            process: its number, while it lives.
            before: what lay there when it began.
        """
        try:
            found = held(folders, process, self.most_files)
        except Unseen as error:
            return str(error)
        if found.files > self.most_files:
            return f"made more than {self.most_files} files"
        if found.bytes > self.most_bytes:
            return f"wrote {found.bytes / 1e9:.1f} GB, and may hold {self.most_bytes / 1e9:.1f} GB"
        made = max(found.bytes - (before.bytes if before else 0), _written(process) if process is not None else 0)
        if made > TRIFLE_BYTES:
            for folder in folders:
                if (lacking := self._lacking(folder)) is not None:
                    return f"wrote {made / 1e9:.1f} GB, and the disk has only {lacking / 1e9:.1f} GB left"
        return ""

    def _lacking(self, folder: Path) -> int | None:
        """What is free, in bytes, where that is too little; None: it is enough."""
        try:
            usage = shutil.disk_usage(folder)
        except FileNotFoundError:
            return None
        return usage.free if usage.free < min(self.reserve_bytes, usage.total * SHARE_FREE) else None


def held(folders: tuple[Path, ...], process: int | None = None, most_files: int = MOST_FILES) -> Held:
    """What lies in folders, and what a process has open of it without a name; no more than `most_files` are counted.

    Raises:
        Unseen
    """
    size = files = 0
    for one in itertools.islice(_within(folders), most_files + 1):
        size, files = size + one.st_blocks * 512, files + 1
    if process is not None:
        size += _nameless(process, folders)
    return Held(size, files)


def _within(folders: tuple[Path, ...]) -> Iterator[os.stat_result]:
    waiting = [(str(folder), 0) for folder in folders]
    while waiting:
        folder, depth = waiting.pop()
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    if depth == DEEPEST:
                        raise Unseen(f"made folders within folders, more than {DEEPEST} deep")
                    with contextlib.suppress(FileNotFoundError):  # it goes on with its work
                        yield entry.stat(follow_symlinks=False)
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append((entry.path, depth + 1))
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            raise Unseen(f"made folders that cannot be looked into ({error.strerror})") from None


def _nameless(process: int, folders: tuple[Path, ...]) -> int:
    """Bytes of files on the disks of these folders that have no name any more, and that a process has open."""
    disks, sizes = set(), {}
    for folder in folders:
        with contextlib.suppress(FileNotFoundError):
            disks.add(folder.stat().st_dev)
    with contextlib.suppress(FileNotFoundError, PermissionError, ProcessLookupError):  # it has ended
        for open_one in Path(f"/proc/{process}/fd").iterdir():
            with contextlib.suppress(OSError):
                found = open_one.stat()
                if stat.S_ISREG(found.st_mode) and not found.st_nlink and found.st_dev in disks:
                    sizes[found.st_dev, found.st_ino] = found.st_blocks * 512
    return sum(sizes.values())


def _written(process: int) -> int:
    """Bytes that a process has written to disks since it began, seen or not (proc_pid_io(5)); 0: not known.

    What is mapped and has neither a name nor a descriptor, or is under way in a socket, can be seen nowhere.
    """
    with contextlib.suppress(OSError, ValueError):
        said = dict(line.split(": ") for line in Path(f"/proc/{process}/io").read_text(encoding="ascii").splitlines())
        return int(said["write_bytes"]) - int(said["cancelled_write_bytes"])
    return 0


def remove(folder: Path) -> None:
    """Take a folder away that a stranger's process has filled, however deep, once that has ended; what cannot go stays.

    Each folder within is brought to the top before it is emptied: neither paths nor calls grow with the depth.
    """
    names = (f".gone-{secrets.token_hex(8)}-{number}" for number in itertools.count())
    with contextlib.suppress(OSError):
        folder.chmod(0o700)
        top = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            while inside := os.listdir(top):  # noqa: PTH208 - a path may be too long
                for name in inside:
                    _flatten(name, top, names)
        finally:
            os.close(top)
        folder.rmdir()


def _flatten(name: str, top: int, names: Iterator[str]) -> None:
    """Take a file away; or a folder, after what folders are in it were brought to the top."""
    if not _is_folder(name, top):
        os.unlink(name, dir_fd=top)
        return
    os.chmod(name, 0o700, dir_fd=top)
    within = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=top)
    try:
        for one in os.listdir(within):  # noqa: PTH208
            if _is_folder(one, within):
                os.chmod(one, 0o700, dir_fd=within)  # its entry ".." is written
                os.rename(one, next(names), src_dir_fd=within, dst_dir_fd=top)
            else:
                os.unlink(one, dir_fd=within)
    finally:
        os.close(within)
    os.rmdir(name, dir_fd=top)


def _is_folder(name: str, within: int) -> bool:
    return stat.S_ISDIR(os.stat(name, dir_fd=within, follow_symlinks=False).st_mode)
