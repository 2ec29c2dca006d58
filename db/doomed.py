"""Files that are to go: given up by their rows in one transaction, unlinked after it, forgotten when they are gone."""

from __future__ import annotations

from collections.abc import Collection

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from .database import Clock, insert
from .tables import doomed_file

#: parameters of one statement
AT_ONCE = 500


def add(tx: Connection, paths: Collection[str]) -> None:
    """Give up files or folders, in the transaction of the rows that named them.

    Args:
        paths: below the home folder.
    """
    rows = [dict(path=path) for path in sorted(paths)]
    for n in range(0, len(rows), AT_ONCE):
        values = [row | dict(since=Clock()) for row in rows[n : n + AT_ONCE]]
        tx.execute(insert(tx, doomed_file).values(values).on_conflict_do_nothing())


def add_from(tx: Connection, paths: sa.Select[tuple[str]]) -> None:
    """The same of all that a query gives."""
    query = paths.add_columns(Clock())
    tx.execute(sa.insert(doomed_file).from_select(["path", "since"], query))


def listing(tx: Connection, limit: int = AT_ONCE) -> list[str]:
    """Some of them, the oldest first."""
    return list(tx.execute(sa.select(doomed_file.c.path).order_by(doomed_file.c.since).limit(limit)).scalars())


def has(tx: Connection, path: str) -> bool:
    """Whether a file is to go."""
    return tx.execute(sa.select(doomed_file.c.path).where(doomed_file.c.path == path)).first() is not None


def gone(tx: Connection, paths: Collection[str]) -> None:
    """They are not on the disk any more."""
    tx.execute(sa.delete(doomed_file).where(doomed_file.c.path.in_(list(paths))))
