"""What was erased and can still be read in the files of the database: free pages, and SQLite's write-ahead log."""

from __future__ import annotations

from typing import Any

import psycopg

from .database import Database, DatabaseError
from .journal import driver


def scrub(database: Database) -> None:
    """Rewrite the database file without what was deleted: pages that are free still hold what was in them.

    Raises:
        DatabaseError: it is in use for too long.
    """
    raw = database.engine.raw_connection()
    try:
        if database.is_sqlite:
            connection: Any = raw.driver_connection
            connection.execute("VACUUM")
            _empty_log(connection)
        else:
            connection = raw.driver_connection
            connection.rollback()
            connection.autocommit = True
            connection.execute("VACUUM")
            connection.autocommit = False
    except (driver.Error, psycopg.Error) as error:
        said = (
            "the rows are gone, and what they held may still be read in the database's file: it could not be rewritten"
        )
        raise DatabaseError(f"{said} ({error}); stop the node and rewrite it by VACUUM") from None
    finally:
        raw.close()


def empty_log(database: Database) -> bool:
    """Bring what SQLite's write-ahead log holds into the file, and cut it: it has pages as they were before.

    Returns:
        False: others read it for too long; it is overwritten by and by.
    """
    if not database.is_sqlite:
        return True
    raw = database.engine.raw_connection()
    try:
        _empty_log(raw.driver_connection)
    except driver.OperationalError:
        return False
    finally:
        raw.close()
    return True


def _empty_log(connection: Any) -> None:
    busy, _, _ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    if busy:
        raise driver.OperationalError("others read its write-ahead log")
