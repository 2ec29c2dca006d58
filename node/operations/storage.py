"""What lies on the disk, what would go next, when it was backed up last: for the page, and for whoever asks."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from db import doomed, events, retention
from db.database import Database

from ..study.archive import Archive
from . import backup, purge
from .retention import Plan, Policy, plan

NAMES = {
    "image": "images",
    "label": "outlines that came (SEG, RTSTRUCT)",
    "ours": "results of ours that came back",
    "other": "other received objects",
    "results": "results",
}
FOLDERS = {
    "labels": "masks of labels",
    "shadows": "masks of candidates",
    "learning": "cases, training runs",
    "networks": "network versions",
    "models": "installed networks",
    "spool": "arriving",
}


@dataclass(frozen=True)
class Kind:
    """What takes space; `files` is None where nobody counts them."""

    name: str
    files: int | None
    bytes: int


@dataclass(frozen=True)
class Past:
    """Something that was done to what is kept: a backup, a purge."""

    at: float
    who: str
    said: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Disk:
    """The file system of the home folder, in bytes; below `refuse` callers are turned away, below `reserve` objects."""

    total: int
    free: int
    refuse: int
    reserve: int

    @property
    def state(self) -> str:
        """A word: up, waiting or down."""
        if self.free < self.reserve:
            return "down"
        return "waiting" if self.free < self.refuse else "up"

    @property
    def sentence(self) -> str:
        if self.free < self.reserve:
            return "Objects are refused (0xA700) until there is room; the senders try again."
        if self.free < self.refuse:
            return "New callers who would send are turned away until there is room; they try again."
        return "There is room."


@dataclass(frozen=True, kw_only=True)
class Storage:
    """Everything that the page shows.

    Attributes:
        purged: studies whose images are not kept any more.
        leaving: files that were given up and are still to be unlinked.
        next: when what is old enough goes by itself, seconds since 1970; None: never.
    """

    disk: Disk
    kinds: tuple[Kind, ...]
    purged: int
    leaving: int
    plan: Plan
    policy: Policy
    next: float | None
    last_purge: Past | None
    last_backup: Past | None


def look(archive: Archive, database: Database, policy: Policy, now: datetime) -> Storage:
    """As of now.

    Args:
        now: with its time zone; the hours of the policy are by it.
    """
    with database.read() as tx:
        known = retention.usage(tx)
        leaving = len(doomed.listing(tx))
        past = {what: _last(tx, what) for what in (purge.RECORDED, backup.RECORDED)}
    usage = shutil.disk_usage(archive.home)
    kinds = [Kind(name, *known[key]) for key, name in NAMES.items() if key in known]
    kinds += [Kind(name, None, _size(archive.home / folder)) for folder, name in FOLDERS.items()]
    kinds.append(Kind("database", None, sum(file.stat().st_size for file in archive.home.glob("planimeter.db*"))))
    return Storage(
        disk=Disk(total=usage.total, free=usage.free, refuse=policy.refuse_bytes, reserve=policy.reserve_bytes),
        kinds=tuple(sorted((one for one in kinds if one.bytes), key=lambda one: -one.bytes)),
        purged=known["purged studies"][0],
        leaving=leaving,
        plan=plan(database, policy),
        policy=policy,
        next=now.timestamp() + policy.wait_seconds(now.time()) if policy.removes_anything else None,
        last_purge=past[purge.RECORDED],
        last_backup=past[backup.RECORDED],
    )


def _last(tx: Any, what: str) -> Past | None:
    row = events.last(tx, what)
    return Past(row["at"], row["who"], json.loads(row["details"])) if row else None


def _size(folder: Path) -> int:
    return sum(_sizes(str(folder)))


def _sizes(folder: str) -> Iterator[int]:
    try:
        with os.scandir(folder) as found:
            for one in found:
                if one.is_dir(follow_symlinks=False):
                    yield from _sizes(one.path)
                else:
                    yield one.stat(follow_symlinks=False).st_size
    except FileNotFoundError:  # somebody removed it meanwhile
        return
