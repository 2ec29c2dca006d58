"""Whether anything was committed since one last looked: a question so cheap that a page may ask it every second.

SQLite: `PRAGMA data_version` of a connection of its own, which changes when another connection has committed.
PostgreSQL: `pg_current_snapshot()`, which changes when a transaction that wrote anything has ended, in any database
of the server: too often rather than too seldom.
"""

from __future__ import annotations

import secrets
import threading

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from .database import Database, DatabaseUnreachable


class Mark:
    """A text that changes with every commit of anybody else. Made once per process; any thread may ask."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._connection: Connection | None = None
        self._start = ""
        question = "PRAGMA data_version" if database.is_sqlite else "SELECT CAST(pg_current_snapshot() AS text)"
        self._question = sa.text(question)

    def current(self) -> str:
        """The text; equal to an earlier one where nothing was committed between.

        Raises:
            DatabaseUnreachable: the database does not answer.
        """
        with self._lock:
            try:
                if self._connection is None:
                    self._connection = self._database.engine.connect().execution_options(planimeter_read=True)
                    self._start = secrets.token_hex(4)  # data_version counts per connection, from anywhere
                found = self._connection.execute(self._question).scalar_one()
                self._connection.rollback()
            except sa.exc.DBAPIError as error:
                if self._connection is not None:
                    self._connection.invalidate()
                    self._connection.close()
                    self._connection = None
                raise DatabaseUnreachable(f"the database does not answer: {error.orig}") from error
            return f"{self._start}:{found}"
