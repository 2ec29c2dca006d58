"""The schema: made and upgraded by migrations, the same on both databases, never by surprise."""

from __future__ import annotations

import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from db import database as databases
from db import schema
from db.database import Database, DatabaseError, open_database, sqlite_url
from db.journal import ELSEWHERE, SAFE_WAL, driver, file_system, journal_of
from db.tables import metadata
from node.errors import Refused
from node.operations import upgrade as upgrading


def test_the_migrations_make_exactly_the_declared_tables(database: Database) -> None:
    with database.read() as tx, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # alembic cannot compare every index on SQLite and says so
        assert compare_metadata(MigrationContext.configure(tx), metadata) == []
    with database.read() as tx:
        names = {index["name"] for index in sa.inspect(tx).get_indexes("job")}
    assert {"uq_job_open", "ix_job_claimable", "ix_job_leased"} <= names


def test_the_names_of_the_files_are_the_revisions_that_alembic_finds() -> None:
    config = Config()
    config.set_main_option("script_location", str(schema.MIGRATIONS))
    found = [script.revision for script in ScriptDirectory.from_config(config).walk_revisions()]
    assert schema.revisions() == found[::-1]


def test_a_second_start_finds_everything_done(database: Database) -> None:
    schema.require(database)
    assert schema.current(database) == schema.newest()


def test_a_database_of_a_newer_planimeter_is_refused(database: Database) -> None:
    with database.write() as tx:
        tx.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(DatabaseError, match="newer Planimeter"):
        schema.require(database)


def test_somebody_elses_database_is_left_alone(database_url: str) -> None:
    database = open_database(database_url)
    with database.write() as tx:
        tx.execute(sa.text("CREATE TABLE payroll (name TEXT)"))
    with pytest.raises(DatabaseError, match="payroll"):
        schema.require(database)
    database.dispose()


@pytest.mark.parametrize("url", ["nonsense", "mysql://host/db", "sqlite+pysqlite:////no/such/folder/x.db"])
def test_a_wrong_url_is_said_in_a_sentence(url: str) -> None:
    with pytest.raises(DatabaseError, match=r"database\.url|SQLite file"):
        open_database(url)


def test_sqlite_is_durable_and_safe_with_several_writers(tmp_path: object) -> None:
    database = open_database(sqlite_url(tmp_path / "x.db"))  # type: ignore[operator]
    with database.read() as tx:
        mode = tx.execute(sa.text("PRAGMA journal_mode")).scalar_one()
        assert tx.execute(sa.text("PRAGMA synchronous")).scalar_one() == 2
        assert tx.execute(sa.text("PRAGMA foreign_keys")).scalar_one() == 1
    safe = driver.sqlite_version_info >= (3, 51, 3)
    assert mode == ("wal" if safe else "truncate")
    assert ("WAL" in database.journal) is safe
    database.dispose()


def test_where_there_is_a_wheel_of_it_the_library_is_new_enough_for_a_write_ahead_log(tmp_path: Path) -> None:
    if sys.platform != "linux":
        pytest.skip("pysqlite3 is installed on Linux alone")
    assert driver.__name__ == "pysqlite3.dbapi2"
    assert journal_of(tmp_path / "x.db").mode == "wal"


def test_a_log_is_not_kept_where_it_is_not_safe(tmp_path: Path) -> None:
    old = journal_of(tmp_path / "x.db", (3, 51, 2))
    assert old.mode == "truncate"
    assert "SQLite 3.51.2 is older than 3.51.3" in str(old)
    assert journal_of(tmp_path / "x.db", (3, 51, 3)).mode == "wal"
    assert file_system(Path("/proc/self")) == "proc"
    assert file_system(tmp_path / "not" / "there") == file_system(tmp_path)
    assert "proc" not in ELSEWHERE


#: Python's own library, as where the package has no wheel
WITHOUT_THE_PACKAGE = "import sys; sys.modules['pysqlite3'] = None; "
USE = """
import sys, sqlalchemy as sa
from db.database import open_database
from db.journal import SAFE_WAL, driver
database = open_database(sys.argv[1])
with database.write() as tx:
    tx.execute(sa.text("CREATE TABLE IF NOT EXISTS kept (n INTEGER)"))
    tx.execute(sa.text("INSERT INTO kept VALUES (:n)"), {"n": int(sys.argv[2])})
with database.read() as tx:
    mode = tx.execute(sa.text("PRAGMA journal_mode")).scalar_one()
assert mode == ("wal" if driver.sqlite_version_info >= SAFE_WAL else "truncate"), mode
print(driver.__name__, mode)
if len(sys.argv) > 3:
    sys.stdin.read()  # as one that is killed: its log stays behind
    import os
    os._exit(9)
database.dispose()
"""


def use(url: str, number: int, *, package: bool = True, die: bool = False) -> str:
    command = [sys.executable, "-P", "-c", ("" if package else WITHOUT_THE_PACKAGE) + USE, url, str(number)]
    done = subprocess.run(command + ["die"] * die, input="", capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == (9 if die else 0), done.stderr
    return done.stdout.split()[0]


def test_a_database_goes_over_to_the_log_and_back_with_all_that_was_committed(tmp_path: Path) -> None:
    url = sqlite_url(tmp_path / "x.db")
    assert use(url, 1, package=False) == "sqlite3"
    first = use(url, 2)
    assert use(url, 3, die=True) == first
    if driver.__name__ != "sqlite3":
        assert (tmp_path / "x.db-wal").stat().st_size > 0, "what was committed last is in the log alone"
    use(url, 4, package=False)
    assert not (tmp_path / "x.db-wal").exists() or sqlite3_is_new()
    use(url, 5)
    database = open_database(url)
    with database.read() as tx:
        assert list(tx.execute(sa.text("SELECT n FROM kept ORDER BY n")).scalars()) == [1, 2, 3, 4, 5]
        assert tx.execute(sa.text("PRAGMA integrity_check")).scalar_one() == "ok"
    database.dispose()


def sqlite3_is_new() -> bool:
    import sqlite3

    return sqlite3.sqlite_version_info >= SAFE_WAL


def test_whoever_has_an_old_library_does_not_write_beside_others_who_have_a_new_one(tmp_path: Path) -> None:
    if sqlite3_is_new() or driver.__name__ == "sqlite3":
        pytest.skip("there are no two libraries here, one older than 3.51.3")
    url = sqlite_url(tmp_path / "x.db")
    database = open_database(url)
    with database.write() as tx:
        tx.execute(sa.text("CREATE TABLE kept (n INTEGER)"))
    impatient = WITHOUT_THE_PACKAGE + "import db.journal, db.database; db.journal.CHANGE_SECONDS = 0; "
    impatient += "db.database.BUSY_SECONDS = 0; "
    command = [sys.executable, "-P", "-c", impatient + USE, url, "1"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 1
    assert "cannot be opened" in done.stderr
    with database.read() as tx:
        assert tx.execute(sa.text("SELECT count(*) FROM kept")).scalar_one() == 0
    database.dispose()


def test_the_clock_is_the_databases_and_moves_within_a_transaction(database: Database) -> None:
    with database.write() as tx:
        first = databases.clock(tx)
        later = [databases.clock(tx) for _ in range(200)][-1]
    assert later > first > 1_700_000_000


def as_of(database: Database, revision: str) -> None:
    """The rows as an older Planimeter left them."""
    config = Config()
    config.set_main_option("script_location", str(schema.MIGRATIONS))
    with database.write() as tx:
        if database.is_sqlite:
            there = sa.MetaData()
            there.reflect(tx)
            there.drop_all(tx)
        else:
            tx.execute(sa.text("DROP SCHEMA public CASCADE"))
            tx.execute(sa.text("CREATE SCHEMA public"))
        config.attributes["connection"] = tx
        command.upgrade(config, revision)


def test_an_upgrade_keeps_a_copy_of_a_sqlite_file_and_asks_for_one_of_a_postgresql(
    database: Database, tmp_path: Path
) -> None:
    url = database.engine.url.render_as_string(hide_password=False)
    assert "it was at" in upgrading.upgrade(tmp_path, url, backed_up=False)
    assert list(tmp_path.glob("before-upgrade-*")) == []
    as_of(database, "0012")
    with pytest.raises(DatabaseError, match="older Planimeter"):
        schema.require(database)
    if not database.is_sqlite:
        with pytest.raises(Refused, match="not-backed-up"):
            upgrading.upgrade(tmp_path, url, backed_up=False)
        assert schema.current(database) == "0012"
    said = upgrading.upgrade(tmp_path, url, backed_up=not database.is_sqlite)
    assert "it was at 0012" in said
    schema.require(database)
    kept = list(tmp_path.glob("before-upgrade-0012-*.db"))
    assert len(kept) == (1 if database.is_sqlite else 0)
    for file in kept:
        copied = open_database(sqlite_url(file))
        assert schema.current(copied) == "0012"
        copied.dispose()
