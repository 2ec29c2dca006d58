"""A backup made into a home folder again: verified to the last byte before anything is touched, whole or not at all.

It is unpacked beside the home folder and given its name at the end; or, where that is a file system of its own, as a
container's volume is, or nobody may write beside it, within it, and moved up. With PostgreSQL the rows are written in
one transaction that is committed right after that. A node does not start on a home folder where not all of this has
happened.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress

from db import copies, schema
from db.database import Database, open_database, sqlite_url

from ..errors import Refused
from ..study.archive import sync_folder
from .at_rest import UNFINISHED
from .backup_format import ABOUT, CONFIG, FILES, ROWS, SUMS, About, hashed, opened, read_about, read_sums

DATABASE_FILE = "planimeter.db"
RESTORED_CONFIG = "restored-planimeter.toml"
#: what may lie in an empty file system
OF_THE_SYSTEM = "lost+found"


@dataclass(frozen=True, kw_only=True)
class Restored:
    """What was restored."""

    about: About
    older: bool
    has_config: bool


def verify(file: Path, console: Console | None = None) -> tuple[About, dict[str, str]]:
    """Read all of a backup; what it says of itself, and the SHA-256 of its members.

    Raises:
        Refused: `backup-damaged`, `backup-newer`.
    """
    about, sums, found = None, None, dict[str, str]()
    with Progress(console=console or Console(stderr=True), transient=True) as shown, opened(file) as entries:
        task = shown.add_task("verifying", total=file.stat().st_size)
        for entry in entries:
            if sums is not None:
                raise Refused("backup-damaged", f"something follows its {SUMS}")
            if entry.name in (ABOUT, SUMS):
                data = entry.stream.read()
                about = read_about(data) if entry.name == ABOUT else about
                sums = read_sums(data) if entry.name == SUMS else None
                if entry.name == ABOUT:
                    found[ABOUT] = hashlib.sha256(data).hexdigest()
                continue
            found[entry.name] = hashed(entry, None, lambda count: shown.advance(task, count))
    if sums is None:
        raise Refused("backup-damaged", f"the backup was cut: it has no {SUMS} at its end")
    if about is None or ROWS not in found:
        raise Refused("backup-damaged", "it has no rows")
    _compare(found, sums)
    if about.schema not in schema.revisions():
        raise Refused("backup-newer", f"its rows are those of a newer Planimeter ({about.node_version}): install that")
    return about, sums


def _compare(found: dict[str, str], sums: dict[str, str]) -> None:
    for name in sorted(set(found) ^ set(sums)):
        raise Refused("backup-damaged", f"{name} is {'not in its sums' if name in found else 'missing'}")
    for name, sha256 in found.items():
        if sums[name] != sha256:
            raise Refused("backup-damaged", f"{name} is not as it was written")


def restore(file: Path, home: Path, database_url: str) -> Restored:
    """Restore a backup.

    Args:
        home: a folder that is empty or not there, or where an empty file system is mounted.
        database_url: of an empty PostgreSQL database; empty: SQLite in the home folder.

    Raises:
        Refused: `home-not-empty`, `no-room`, `backup-damaged`, `backup-newer`.
        DatabaseError: the database is not empty, or cannot be used.
    """
    within = home.is_dir() and (home.is_mount() or not os.access(home.parent, os.W_OK))
    beside = (home if within else home.parent) / f".{home.name}.restoring"
    given = {OF_THE_SYSTEM, beside.name} if within else set()
    if home.exists() and (not home.is_dir() or {one.name for one in home.iterdir()} - given):
        raise Refused("home-not-empty", f"{home} is not empty: name a folder that is, or that is not there")
    target = open_database(database_url) if database_url else None
    try:
        if target is not None:
            copies.require_empty(target)
        about, sums = verify(file)
        beside.parent.mkdir(parents=True, exist_ok=True)
        if shutil.disk_usage(beside.parent).free < about.bytes:
            raise Refused("no-room", f"{about.bytes / 1e9:.1f} GB are needed at {beside.parent}")
        shutil.rmtree(beside, ignore_errors=True)  # of one that was killed
        try:
            _unpack(file, sums, beside)
            older = about.schema != schema.newest()
            if target is None:
                _appear(beside, home)
                (home / UNFINISHED).unlink(missing_ok=True)
            else:
                _into(target, beside, home)
        finally:
            shutil.rmtree(beside, ignore_errors=True)
    finally:
        if target is not None:
            target.dispose()
    return Restored(about=about, older=older and target is None, has_config=CONFIG in sums)


def _unpack(file: Path, sums: dict[str, str], to: Path) -> None:
    to.mkdir(mode=0o700)
    with Progress(console=Console(stderr=True), transient=True) as shown, opened(file) as entries:
        task = shown.add_task("restoring", total=file.stat().st_size)
        for entry in entries:
            name = _place(entry.name)
            if name is None:
                continue
            target = to / name
            target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:
                if hashed(entry, stream, _advance(shown, task)) != sums[entry.name]:
                    raise Refused("backup-damaged", f"{entry.name} changed while it was read")
    for folder in ("spool", "store", "results", "run"):
        (to / folder).mkdir(exist_ok=True, mode=0o700)
    os.sync()  # all of it, before it has its name


def _advance(shown: Progress, task: Any) -> Callable[[int], Any]:
    return lambda count: shown.advance(task, count)


def _place(name: str) -> str | None:
    """Where a member belongs, below the home folder; None for those that are only about the backup."""
    if name.startswith(FILES):
        return name.removeprefix(FILES)
    return {ROWS: DATABASE_FILE, CONFIG: RESTORED_CONFIG}.get(name)


def _appear(beside: Path, home: Path) -> None:
    if beside.parent != home:
        beside.rename(home)  # over an empty folder, or where none is
        sync_folder(home.parent)
        return
    (home / UNFINISHED).touch(mode=0o600)  # it does not appear at once: until it is whole no node starts on it
    sync_folder(home)
    for one in beside.iterdir():
        one.replace(home / one.name)
    beside.rmdir()
    sync_folder(home)


def _into(target: Database, beside: Path, home: Path) -> None:
    rows = beside / DATABASE_FILE
    copied = open_database(sqlite_url(rows))
    schema.upgrade(copied)
    copied.dispose()
    schema.require(target)
    with target.write() as tx:
        copies.load(rows, tx)
        for leftover in beside.glob(f"{DATABASE_FILE}*"):
            leftover.unlink()
        (beside / UNFINISHED).touch(mode=0o600)
        _appear(beside, home)
    (home / UNFINISHED).unlink()
