"""Open the database, keep its clock, and run transactions.

SQLite (the embedded default): synchronous=FULL, BEGIN IMMEDIATE for every write, a busy timeout, foreign keys; its
library and its journal are `journal`'s. What has to be said to a PostgreSQL is `link`'s.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection
from sqlalchemy.ext.compiler import compiles

from . import link
from .journal import LOG_BYTES, driver, journal_of, settle

Row = sa.RowMapping
"""a row as the functions of this package return it: by column name"""

BUSY_SECONDS = 60
#: parameters hold identifiers, and an error's text goes into the log
ENGINE: dict[str, Any] = {"pool_size": 5, "hide_parameters": True}


class DatabaseError(Exception):
    """The database cannot be used; the sentence says what to do."""


class DatabaseUnreachable(DatabaseError):
    """The database does not answer, or is locked for longer than anyone should: try again."""


class Conflict(Exception):
    """Another transaction wrote the same row first: run this one again."""


class Clock(sa.sql.expression.FunctionElement[float]):
    """The database's clock: seconds since 1970-01-01 UTC, of this statement and not of the transaction's start."""

    type = sa.Double()
    inherit_cache = True


@compiles(Clock, "sqlite")
def _clock_sqlite(_element: Clock, _compiler: Any, **_kw: Any) -> str:
    return "((julianday('now') - 2440587.5) * 86400.0)"


@compiles(Clock, "postgresql")
def _clock_postgresql(_element: Clock, _compiler: Any, **_kw: Any) -> str:
    return "CAST(extract(epoch from clock_timestamp()) AS double precision)"


@contextmanager
def translated() -> Iterator[None]:
    """What the driver raises, in this package's words."""
    try:
        yield
    except sa.exc.IntegrityError as error:
        raise Conflict(str(error.orig)) from error
    except (sa.exc.OperationalError, sa.exc.InterfaceError, sa.exc.TimeoutError) as error:
        if isinstance(getattr(error, "orig", None), link.TOO_LARGE):  # waiting does not make it smaller
            raise
        raise DatabaseUnreachable(f"the database does not answer: {getattr(error, 'orig', error)}") from error
    except sa.exc.DBAPIError as error:
        if not isinstance(error.orig, link.TURNED_AWAY):
            raise
        raise DatabaseUnreachable(f"the database {link.because(error.orig)}") from error


@dataclass(frozen=True)
class Database:
    """An open database. `write()` and `read()` are the only ways in.

    Attributes:
        journal: of SQLite, and why that one; for people.
    """

    engine: sa.Engine
    journal: str = ""

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction that writes; it commits on a clean exit and rolls back on an exception.

        Raises:
            DatabaseUnreachable, Conflict: nothing was written.
        """
        with translated(), self.engine.connect() as connection, connection.begin():
            yield connection

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A transaction that only reads: on SQLite it takes no write lock."""
        with (
            translated(),
            self.engine.connect().execution_options(planimeter_read=True) as connection,
            connection.begin(),
        ):
            yield connection

    @property
    def is_sqlite(self) -> bool:
        return self.engine.dialect.name == "sqlite"

    @property
    def product(self) -> str:
        """Which database it is, for people."""
        return f"SQLite {driver.sqlite_version}" if self.is_sqlite else "PostgreSQL"

    def dispose(self) -> None:
        self.engine.dispose()


def sqlite_url(file: Path) -> str:
    """The URL of a SQLite file."""
    return f"sqlite+pysqlite:///{file}"


def open_database(url: str) -> Database:
    """Connect, without looking at the schema (`schema.require` does that).

    Raises:
        DatabaseError: the URL is wrong or nothing answers there.
    """
    try:
        made = sa.make_url(url)
    except sa.exc.ArgumentError:
        raise DatabaseError("database.url is not a database URL such as postgresql+psycopg://user@host/name") from None
    kind = made.get_backend_name()
    if kind == "sqlite":
        return _open_sqlite(made)
    if kind != "postgresql":
        raise DatabaseError(f"database.url: {kind} is not supported; use PostgreSQL or leave it empty for SQLite")
    driven = made.set(drivername="postgresql+psycopg")
    engine = sa.create_engine(driven, pool_pre_ping=True, connect_args=link.parameters(made), **ENGINE)

    @sa.event.listens_for(engine, "connect")
    def _settle_in(connection: Any, _record: object) -> None:
        link.settle_in(connection, made)

    try:
        with engine.connect():
            pass
    except sa.exc.OperationalError as error:
        raise DatabaseError(f"PostgreSQL at {made.render_as_string()} does not answer: {error.orig}") from None
    return Database(engine)


def _open_sqlite(url: sa.URL) -> Database:
    journal = journal_of(Path(url.database or ""))
    engine = sa.create_engine(
        url, module=driver, connect_args={"timeout": BUSY_SECONDS}, poolclass=sa.pool.QueuePool, **ENGINE
    )

    @sa.event.listens_for(engine, "connect")
    def _settle_in(connection: Any, _record: object) -> None:
        connection.isolation_level = None  # transactions are begun below, not by the driver
        settle(connection, journal.mode)
        # secure_delete: what is erased is overwritten; Debian's library does so by itself
        for pragma in ("synchronous=FULL", "foreign_keys=ON", "secure_delete=ON", f"journal_size_limit={LOG_BYTES}"):
            connection.execute(f"PRAGMA {pragma}")

    @sa.event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        reading = connection.get_execution_options().get("planimeter_read", False)
        connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")

    try:
        with engine.connect():
            pass
    except sa.exc.OperationalError as error:
        raise DatabaseError(f"SQLite file {url.database} cannot be opened: {error.orig}") from None
    return Database(engine, str(journal))


def insert(tx: Connection, table: sa.Table) -> Any:
    """An INSERT that knows ON CONFLICT, in the dialect of the transaction."""
    return sqlite.insert(table) if tx.dialect.name == "sqlite" else postgresql.insert(table)


def clock(tx: Connection) -> float:
    """The database's time."""
    return float(tx.execute(sa.select(Clock())).scalar_one())


def why_journal(url: str) -> str:
    """The journal that a SQLite file has, or will have, and the reason; for `planimeter check`."""
    return str(journal_of(Path(sa.make_url(url).database or "")))
