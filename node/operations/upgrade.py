"""Bring the database of an older Planimeter up to date: never silently, and never without a copy of what was there."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from db import copies, schema
from db.database import open_database

from ..errors import Refused


def upgrade(home: Path, database_url: str, *, backed_up: bool) -> str:
    """Migrate; a sentence.

    Args:
        backed_up: somebody says that a PostgreSQL was; a SQLite file is copied beside itself.

    Raises:
        Refused: `not-backed-up`.
        DatabaseError: the database cannot be used, or is of a newer Planimeter.
    """
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    database = open_database(database_url)
    try:
        before, newest = schema.current(database), schema.newest()
        if before is not None and before not in schema.revisions():
            schema.require(database)  # says what to do
        kept = ""
        if before not in (None, newest):
            if database.is_sqlite:
                at = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
                copy = home / f"before-upgrade-{before}-{at}.db"
                copies.copy(database, copy)
                copy.chmod(0o600)
                kept = f"; what it was lies in {copy}"
            elif not backed_up:
                said = f"the database is at {before}: back it up (pg_dump), then run `planimeter upgrade --backed-up`"
                raise Refused("not-backed-up", said)
        schema.upgrade(database)
    finally:
        database.dispose()
    return f"the database is at {newest}, it was at {before or 'nothing'}{kept}"
