"""The place where a node lives: who may run there, on which file system, and whose it is.

Machines that share a home folder and a PostgreSQL work together. A SQLite file belongs to one machine: its locks are
not safe on a network file system. On one machine each role is played once.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from db import processes
from db.database import Database

from .errors import Refused

MOUNTS = Path("/proc/self/mountinfo")
#: file systems of other machines, as the kernel calls them (proc_pid_mountinfo(5))
REMOTE = frozenset(
    {
        *(
            "nfs",
            "nfs4",
            "cifs",
            "smb3",
            "smbfs",
            "ceph",
            "glusterfs",
            "lustre",
            "beegfs",
            "gpfs",
            "afs",
            "orangefs",
            "ocfs2",
            "gfs2",
        ),
        *(
            "fuse.glusterfs",
            "fuse.ceph",
            "fuse.ceph-fuse",
            "fuse.sshfs",
            "fuse.s3fs",
            "fuse.rclone",
            "fuse.juicefs",
            "fuse.moosefs",
        ),
    }
)
#: a machine that has been heard of within this may still be there, and is waited for
HEARD_SECONDS = 15.0
LOOK_SECONDS = 0.5


def file_system(folder: Path, mounts: str) -> str:
    """The type of the file system that a folder is on; empty where that is not known.

    Args:
        mounts: as in /proc/self/mountinfo.
    """
    found, longest = "", -1
    place = os.path.realpath(folder)
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        parts = before.split(" ")
        if len(parts) < 5 or not after:
            continue
        at = parts[4].encode("latin-1", "replace").decode("unicode_escape")  # blanks are \040 there
        inside = place == at or place.startswith(at.rstrip("/") + "/")
        if inside and len(at) >= longest:
            found, longest = after.split(" ")[0], len(at)
    return found


def remote(folder: Path) -> str:
    """The type of the network file system that a folder is on; empty where it is of this machine."""
    try:
        kind = file_system(folder, MOUNTS.read_text(encoding="utf-8", errors="replace"))
    except OSError:
        return ""
    return kind if kind in REMOTE else ""


def require_safe(home: Path, *, sqlite: bool, kind: str | None = None) -> None:
    """Raises:
    Refused: `sqlite-shared`: the rows would be on a network file system.

    Args:
        kind: of the file system, as `remote` says; None: it is looked up.
    """
    kind = remote(home) if kind is None else kind
    if sqlite and kind:
        raise Refused(
            "sqlite-shared",
            f"{home} is on a network file system ({kind}), where SQLite's locks are not safe: name a PostgreSQL "
            "(`url` in [database]), or take a folder of this machine",
        )


def foreign_owner(home: Path) -> tuple[int, int] | None:
    """The user id that the folder belongs to, and ours, where these are two: machines share a folder by numbers."""
    owner, ours = home.stat().st_uid, os.geteuid()
    return None if owner == ours else (owner, ours)


def take(home: Path, machine: str, roles: Iterable[str]) -> None:
    """Play these roles on this machine, alone, until this process ends.

    Raises:
        Refused: `already-running`.
    """
    folder = home / "run"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    for role in sorted(set(roles)):
        # it is never closed: the lock ends with the process, however that ends
        descriptor = os.open(folder / f"{machine}.{role}.lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise Refused(
                "already-running",
                f"{machine} runs `{role}` on {home} already; where that is another machine of the same name, give "
                "one of them another name (PLANIMETER_MACHINE)",
            ) from None


def require_alone(database: Database, machine: str) -> None:
    """On SQLite no other machine may run on these rows. One that was heard of a moment ago is waited for.

    Raises:
        Refused: `other-machine`.
    """
    if not database.is_sqlite:
        return
    first: dict[str, float] = {}
    while others := _others(database, machine):
        for name, beat in others:
            if first.setdefault(name, beat) != beat:
                raise Refused(
                    "other-machine",
                    f"{name} runs on this database, which is a SQLite file, and so for one machine: stop it, or give "
                    "both a PostgreSQL (`url` in [database])",
                )
        time.sleep(LOOK_SECONDS)


def _others(database: Database, machine: str) -> Sequence[tuple[str, float]]:
    with database.read() as tx:
        return [
            (row["name"], float(row["beat"]))
            for row in processes.listing(tx)
            if row["machine"] not in ("", machine) and row["silent_seconds"] < HEARD_SECONDS
        ]
