"""Make and upgrade the schema: Alembic migrations, forward only, never silently.

Every process compares revisions when it starts, and only one that migrates needs Alembic: it is brought in there.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from . import link
from .database import Database, DatabaseError, translated

MIGRATIONS = Path(__file__).with_name("migrations")
#: Alembic's own table
VERSION = sa.table("alembic_version", sa.column("version_num", sa.Text))


def revisions() -> list[str]:
    """Every revision, oldest first: each migration's file begins with its own."""
    return sorted(file.name.split("_")[0] for file in (MIGRATIONS / "versions").glob("[0-9]*_*.py"))


def newest() -> str:
    """The revision that this version of Planimeter works with."""
    return revisions()[-1]


def current(database: Database) -> str | None:
    """The revision of the database; None when it is empty."""
    with database.read() as tx:
        if not sa.inspect(tx).has_table(VERSION.name):
            return None
        return tx.execute(sa.select(VERSION.c.version_num)).scalar()


def upgrade(database: Database) -> None:
    """Bring the schema to `newest`, in one transaction.

    Raises:
        DatabaseError: a row would refer to one that is not there; nothing was changed.
    """
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    with _unreferenced(database) as tx:
        if tx.dialect.name == "postgresql":  # two nodes that start at once: one migrates, the other finds it done
            tx.execute(sa.text("SELECT pg_advisory_xact_lock(7562)"))
        link.take_time(tx)
        config.attributes["connection"] = tx
        command.upgrade(config, "head")


@contextmanager
def _unreferenced(database: Database) -> Iterator[Connection]:
    """A transaction that writes; on SQLite, references are looked at when it ends.

    A migration that makes a table anew there drops the old one, whose rows others refer to. The switch has to be set
    before the transaction begins (https://sqlite.org/lang_altertable.html, section 7).
    """
    if not database.is_sqlite:
        with database.write() as tx:
            yield tx
        return
    with translated(), database.engine.connect() as tx:
        raw = tx.connection.driver_connection
        assert raw is not None
        raw.execute("PRAGMA foreign_keys=OFF")
        try:
            with tx.begin():
                yield tx
                if broken := tx.exec_driver_sql("PRAGMA foreign_key_check").first():
                    raise DatabaseError(
                        f"the upgrade was not done: a row of {broken[0]} refers to one that is not there"
                    )
        finally:
            raw.execute("PRAGMA foreign_keys=ON")


def require(database: Database) -> None:
    """Make the schema in an empty database; refuse one of another version.

    Raises:
        DatabaseError: the schema is older (run `planimeter upgrade`) or newer than this Planimeter.
    """
    found = current(database)
    if found == newest():
        return
    if found is None:
        with database.read() as tx:
            foreign = [name for name in sa.inspect(tx).get_table_names() if name != "alembic_version"]
        if not foreign:
            upgrade(database)
            return
        if current(database) is None:  # another process may have made the schema meanwhile
            raise DatabaseError(f"the database holds tables of something else: {', '.join(sorted(foreign)[:5])}")
        require(database)
        return
    if found in revisions():
        raise DatabaseError("the database was made by an older Planimeter: back it up, then run `planimeter upgrade`")
    raise DatabaseError("the database was made by a newer Planimeter: install that version again")
