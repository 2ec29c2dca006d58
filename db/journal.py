"""Which SQLite this process uses, and which journal its files get.

A write-ahead log (WAL) takes one sync for a commit, a rollback journal two or three, and with it nobody who reads waits
for the one who writes. Before SQLite 3.51.3 two connections that write and check-point at the same time can corrupt it
(the WAL-reset bug), and several processes write here, so it is for newer libraries alone. Python's own is as old as its
system; the package pysqlite3 brings a newer one. The log's index is memory that the processes of one machine share: a
file on a network's file system keeps the rollback journal.
"""

from __future__ import annotations

import sqlite3
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

try:
    from pysqlite3 import dbapi2 as newer
except ImportError:  # there is no wheel for this platform
    newer = sqlite3

SAFE_WAL = (3, 51, 3)
#: the driver, with the same interface whichever it is
driver: Any = max(newer, sqlite3, key=lambda one: one.sqlite_version_info)
#: file systems of other machines, as the kernel names them
ELSEWHERE = frozenset(
    {"9p", "afs", "beegfs", "ceph", "cifs", "gfs2", "glusterfs", "gpfs", "lustre", "nfs", "nfs4", "ocfs2", "smb3"}
)
#: how long a file may be in use by others before it is known that its journal cannot be changed now
CHANGE_SECONDS = 15.0
#: the log is cut back to this when all of it is in the file
LOG_BYTES = 64 << 20


@dataclass(frozen=True)
class Journal:
    """How SQLite keeps a file safe.

    Attributes:
        mode: as `PRAGMA journal_mode` has it.
        because: why, for people.
    """

    mode: str
    because: str

    def __str__(self) -> str:
        return f"{'WAL' if self.mode == 'wal' else 'rollback journal'} ({self.because})"


def journal_of(file: Path, version: tuple[int, ...] = driver.sqlite_version_info) -> Journal:
    """The journal of a SQLite file.

    Args:
        version: of the library.
    """
    name = f"SQLite {'.'.join(map(str, version))}"
    if version < SAFE_WAL:
        safe = ".".join(map(str, SAFE_WAL))
        return Journal("truncate", f"{name} is older than {safe}, whose write-ahead log is safe with several writers")
    if (kind := file_system(file.parent)) in ELSEWHERE:
        return Journal("truncate", f"{name}; the file lies on {kind}, where a write-ahead log does not work")
    return Journal("wal", name)


def file_system(folder: Path) -> str:
    """The kind of file system that a folder lies on, or will; empty where the kernel does not say."""
    try:
        lines = Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    folder, best, kind = folder.absolute().resolve(), "", ""
    for line in lines:  # proc(5): ... mount point at 5, "-", type
        before, _, after = line.partition(" - ")
        at = before.split(" ")[4].encode().decode("unicode_escape")
        if len(at) >= len(best) and folder.is_relative_to(at):
            best, kind = at, after.split(" ")[0]
    return kind.removeprefix("fuse.")


def settle(connection: Any, mode: str) -> None:
    """Have a connection, and its file, use a journal; a file that had another one is changed over.

    Raises:
        OperationalError of the driver: other processes use the file with another one.
    """
    deadline = time.monotonic() + CHANGE_SECONDS
    while True:
        try:
            (found,) = connection.execute(f"PRAGMA journal_mode={mode}").fetchone()
        except driver.OperationalError:
            if time.monotonic() > deadline:
                raise
        else:
            if found == mode:
                return
            if time.monotonic() > deadline:
                raise driver.OperationalError(f"others use it with the journal {found}: stop them first")
        time.sleep(0.05)
