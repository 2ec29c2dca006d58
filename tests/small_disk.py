"""A small file system of its own, to be filled: a tmpfs, which only root can mount."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path


class NoMount(Exception):
    """No file system of its own can be mounted here."""


@contextlib.contextmanager
def mounted(folder: Path, size: int, *, inodes: int = 200_000, on_disk: bool = False) -> Iterator[Path]:
    """A file system of so many bytes on a new folder.

    Args:
        on_disk: in a file beside it, and not in memory: the kernel counts what processes write there.

    Raises:
        NoMount: with the reason.
    """
    folder.mkdir(parents=True)
    options = f"size={size},mode=0755,nr_inodes={inodes}"
    mount = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    if on_disk:
        image = folder.with_name(f"{folder.name}.image")
        with image.open("wb") as stream:
            stream.truncate(size)
        try:
            subprocess.run(["mkfs.ext4", "-q", "-m", "0", str(image)], capture_output=True, check=True)
        except (OSError, subprocess.CalledProcessError) as error:
            raise NoMount(f"no file system can be made: {error}") from None
        mount = ["mount", "-o", "loop", str(image), str(folder)]
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    if done.returncode:
        raise NoMount(f"no file system of its own can be mounted: {done.stderr.strip()}; run this as root")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def leave(disk: Path, free: int) -> None:
    """Fill the disk, or empty it, until so many bytes are free."""
    ballast = disk / "ballast"
    ballast.touch()
    found = os.statvfs(disk)
    wanted = ballast.stat().st_size + found.f_bavail * found.f_frsize - free
    os.truncate(ballast, min(ballast.stat().st_size, wanted))
    with ballast.open("r+b") as stream:
        os.posix_fallocate(stream.fileno(), 0, max(wanted, 1))


@contextlib.contextmanager
def read_only(disk: Path) -> Iterator[None]:
    """Nothing can be written there meanwhile, as on a disk that the kernel no longer trusts."""
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    try:
        yield
    finally:
        subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)


def fill(disk: Path) -> None:
    """Leave no byte, whoever else writes meanwhile; `leave` gives room again."""
    with (disk / "ballast").open("ab", buffering=0) as stream:
        for block in (bytes(1 << 20), bytes(1 << 12), b"\0"):
            with contextlib.suppress(OSError):
                while stream.write(block):
                    pass
