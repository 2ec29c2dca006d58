"""Make and upgrade the schema: Alembic migrations, forward only, never silently."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.engine import Connection

from .database import Database, DatabaseError

MIGRATIONS = Path(__file__).with_name("migrations")


def _config(tx: Connection | None = None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["connection"] = tx
    return config


def newest() -> str:
    """The revision that this version of Planimeter works with."""
    return ScriptDirectory.from_config(_config()).get_current_head() or ""


def current(database: Database) -> str | None:
    """The revision of the database; None when it is empty."""
    with database.read() as tx:
        return MigrationContext.configure(tx).get_current_revision()


def upgrade(database: Database) -> None:
    """Bring the schema to `newest`, in one transaction."""
    with database.write() as tx:
        if tx.dialect.name == "postgresql":  # two nodes that start at once: one migrates, the other finds it done
            tx.execute(sa.text("SELECT pg_advisory_xact_lock(7562)"))
        command.upgrade(_config(tx), "head")


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
    known = {script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions()}
    if found in known:
        raise DatabaseError("the database was made by an older Planimeter: back it up, then run `planimeter upgrade`")
    raise DatabaseError("the database was made by a newer Planimeter: install that version again")
