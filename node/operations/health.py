"""Whether a node can do its work, for whoever starts and watches containers and machines. No patient, no secret."""

from __future__ import annotations

import shutil
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from db import processes, schema
from db.database import Database, DatabaseError

from .metrics import ALIVE_SECONDS

#: what has to be heard of, and how it is called when it is not
SAID = {
    "receive": "no receiver has been heard of",
    "work": "no worker has been heard of",
    "schedule": "no schedule process has been heard of",
    "web": "no process of the pages has been heard of",
}
ROLES = ("receive", "work", "schedule")


@dataclass(frozen=True)
class Reason:
    """Why a node is not ready."""

    code: str
    sentence: str


def reasons(
    database: Database, home: Path, reserve_bytes: int, *, roles: Collection[str] = ROLES, machine: str = ""
) -> list[Reason]:
    """Why it is not ready; none: it is.

    Args:
        reserve_bytes: of free disk space, below which C-STORE is put off.
        roles: that have to be played.
        machine: by this one; empty: by any.
    """
    found: list[Reason] = []
    try:
        if schema.current(database) != schema.newest():
            found.append(Reason("database-version", "the database is of another version; `planimeter upgrade`"))
        else:
            with database.read() as tx:
                heard = [one for one in processes.listing(tx) if one["silent_seconds"] < ALIVE_SECONDS]
            alive = {one["role"] for one in heard if machine in ("", one["machine"])}
            where = f" on {machine}" if machine else ""
            found += [Reason(f"no-{role}", SAID[role] + where) for role in roles if role not in alive]
    except DatabaseError:
        found.append(Reason("database-away", "the database does not answer"))
    try:
        if shutil.disk_usage(home).free < reserve_bytes:
            found.append(Reason("disk-reserve", "the disk of the home folder is under its reserve"))
    except OSError:
        found.append(Reason("no-home", "the home folder is not there"))
    return found
