"""A copy of all rows as of one moment, in a SQLite file, and back into an empty database of either kind.

The copy of a SQLite database is made by its backup interface in one step, with what its write-ahead log holds; with a
rollback journal writers wait for that long. Of PostgreSQL it is what one REPEATABLE READ transaction sees, table by
table; nobody waits, and no program of PostgreSQL is needed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from contextlib import closing
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from . import link, retention, schema
from .database import Clock, Database, DatabaseError, open_database, sqlite_url
from .journal import driver
from .tables import doomed_file, instance, label, metadata, result, study

#: rows of one statement
AT_ONCE = 1000
#: who was signed in is not carried on
FORGOTTEN = ("session",)


def copy(database: Database, to: Path) -> None:
    """All rows as of now, in a new SQLite file."""
    if database.is_sqlite:
        with closing(database.engine.raw_connection()) as pooled, closing(driver.connect(to)) as made:
            pooled.driver_connection.backup(made)  # type: ignore[union-attr]
        return
    copied = open_database(sqlite_url(to))
    schema.require(copied)
    try:
        whole = database.engine.connect().execution_options(isolation_level="REPEATABLE READ", stream_results=True)
        with whole as source, source.begin(), copied.engine.connect() as target:
            link.take_time(source)
            target.exec_driver_sql("PRAGMA foreign_keys=OFF")
            target.rollback()  # the pragma holds outside of a transaction alone, and for this connection
            with target.begin():
                for table in metadata.sorted_tables:
                    _insert(target, table, source.execute(sa.select(table)).mappings().partitions(AT_ONCE))
    finally:
        copied.dispose()


def _insert(tx: Connection, table: sa.Table, parts: Iterable[Iterable[sa.RowMapping]]) -> None:
    for part in parts:
        tx.execute(sa.insert(table), [dict(row) for row in part])


def require_empty(database: Database) -> None:
    """Raises:
    DatabaseError: there is something in it, other than our tables without a row.
    """
    with database.read() as tx:
        there = set(sa.inspect(tx).get_table_names())
        ours = {table.name: table for table in metadata.sorted_tables} | {schema.VERSION.name: None}
        full = sorted(there - set(ours))
        for name, table in ours.items():
            if table is not None and name in there and tx.execute(sa.select(sa.literal(1)).select_from(table)).first():
                full.append(name)
    if full:
        raise DatabaseError(f"the database is not empty: there is the table {full[0]}; name one that is")


def load(file: Path, tx: Connection) -> None:
    """Put the rows of a copy into a database that has the schema and no rows.

    Rows that refer to rows of the same table get that in a second step: no order of theirs is sure.
    """
    link.take_time(tx)  # it waits for the files that belong to the rows, too
    source = open_database(sqlite_url(file))
    try:
        with source.read() as rows:
            for table in metadata.sorted_tables:
                own = [one.parent for one in table.foreign_keys if one.column.table is table]
                if not own:
                    _insert(tx, table, rows.execute(sa.select(table)).mappings().partitions(AT_ONCE))
                    continue
                without = [sa.null().label(one.name) if one in own else one for one in table.c]
                _insert(tx, table, rows.execute(sa.select(*without)).mappings().partitions(AT_ONCE))
                for column in own:
                    _refer(tx, table, column, rows)
    finally:
        source.dispose()
    if tx.dialect.name == "postgresql":
        _count_on(tx)


def _refer(tx: Connection, table: sa.Table, column: sa.Column[int], rows: Connection) -> None:
    found = rows.execute(sa.select(table.c.id.label("row_id"), column.label("to_id")).where(column.is_not(None)))
    change = sa.update(table).where(table.c.id == sa.bindparam("row_id")).values({column: sa.bindparam("to_id")})
    for part in found.mappings().partitions(AT_ONCE):
        tx.execute(change, [dict(row) for row in part])


def _count_on(tx: Connection) -> None:
    """New ids begin behind those that came."""
    for table in metadata.sorted_tables:
        if "id" in table.c and table.c.id.autoincrement is True:
            last = sa.select(sa.func.max(table.c.id)).scalar_subquery()
            sequence = sa.func.pg_get_serial_sequence(table.name, "id")
            tx.execute(sa.select(sa.func.setval(sequence, sa.func.coalesce(last, 1), last.is_not(None))))


# ------------------------------------------------- what a copy says of its files


def finished_images(tx: Connection, committing: Collection[str]) -> set[str]:
    """The files of images of studies that are done, which nothing here needs any more."""
    stays = retention.blocked(tx, committing)
    wanted = sa.select(instance.c.path, instance.c.study_id).where(
        instance.c.purged.is_(None), instance.c.path.not_in(sa.select(label.c.source_path))
    )
    return {row.path for row in tx.execute(wanted) if row.study_id not in stays}


def paths(tx: Connection) -> set[str]:
    """The files of instances and results that the rows name."""
    kept = sa.select(instance.c.path).where(instance.c.purged.is_(None))
    of_results = sa.select(result.c.path).where(result.c.path.is_not(None))
    return set(tx.execute(kept).scalars()) | set(tx.execute(of_results).scalars())


def without(tx: Connection, left_out: Collection[str]) -> None:
    """Let a copy say that these files are not with it, as after a purge; and forget who was signed in."""
    named = sorted(left_out)
    for n in range(0, len(named), AT_ONCE):
        some = named[n : n + AT_ONCE]
        tx.execute(sa.update(instance).where(instance.c.path.in_(some)).values(purged=Clock()))
        tx.execute(sa.update(result).where(result.c.path.in_(some)).values(path=None))
    gone = sa.select(instance.c.study_id).where(instance.c.path.in_(sa.select(_left_out(tx, named).c.path)))
    tx.execute(sa.update(study).where(study.c.id.in_(gone)).values(purged=Clock()))
    tx.execute(sa.delete(doomed_file))
    for name in FORGOTTEN:
        if name in metadata.tables:
            tx.execute(sa.delete(metadata.tables[name]))


def _left_out(tx: Connection, named: Collection[str]) -> sa.Table:
    table = sa.Table("left_out", sa.MetaData(), sa.Column("path", sa.Text, primary_key=True), prefixes=["TEMPORARY"])
    table.create(tx, checkfirst=False)
    rows = [dict(path=path) for path in named]
    for n in range(0, len(rows), AT_ONCE):
        tx.execute(sa.insert(table), rows[n : n + AT_ONCE])
    return table
