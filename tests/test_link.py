"""A machine that stands still, or is not there any more, in the midst of a transaction on PostgreSQL."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from random import Random

import pytest
import sqlalchemy as sa

from db import jobs, link, lost_jobs, schema
from db.database import Database, DatabaseUnreachable, open_database
from db.job_states import Claim, JobKind, JobState, LostLease, Report
from db.shortcut import Shortcut
from db.tables import job
from tests.conftest import lacking
from tests.machines import Network
from tests.postgres import Postgres
from tests.running import begun
from tests.test_shortcut import another, wrote
from tests.waiting import wait_until

LONG = 3600.0
KINDS = [JobKind.SEGMENT]
#: an address of loopback's that nobody else listens at: each process of the tests has its own
ADDRESS = f"127.{os.getpid() % 250 + 1}.{os.getpid() // 250 % 250 + 1}.{os.getpid() // 62_500 % 250 + 1}"


@contextmanager
def listening(address: str) -> Iterator[tuple[Postgres, str]]:
    programs = Postgres.find()
    if programs is None:
        lacking("PostgreSQL", "apt-get install postgresql")
    assert programs is not None
    with Postgres(programs, in_memory=True, address=address) as server:
        yield server, server.new_database()


@contextmanager
def opened(url: str) -> Iterator[Database]:
    database = open_database(url)
    try:
        yield database
    finally:
        database.dispose()


def filled(database: Database) -> None:
    """Some jobs of one sender."""
    with database.write() as tx:
        for number in range(4):
            jobs.enqueue(tx, JobKind.SEGMENT, str(number), max_attempts=3)
        tx.execute(sa.update(job).values(source="CT1"))


def claim(database: Database, worker: str, lease: float = LONG) -> Claim:
    with database.write() as tx:
        found = jobs.claim(tx, KINDS, worker, lease)
    assert found is not None
    return found


def said(database: Database, *names: str) -> list[str]:
    with database.read() as tx:
        return [str(tx.exec_driver_sql(f"SHOW {name}").scalar()) for name in names]


# ------------------------------------------------------------------ one that stands still


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_who_stands_still_in_a_transaction_keeps_nobody_waiting(database: Database, database_url: str) -> None:
    filled(database)
    held = claim(database, "frozen", lease=0.2)
    taken: list[Claim] = []
    with opened(database_url) as other, ExitStack() as after:
        with pytest.raises(DatabaseUnreachable, match="stood still"), database.write() as tx:
            tx.exec_driver_sql("SET LOCAL idle_in_transaction_session_timeout = '500ms'")  # not half a minute
            assert jobs.claim(tx, KINDS, "frozen", LONG)
            jobs.beat(tx, held, LONG)
            thread = threading.Thread(target=lambda: taken.append(claim(other, "other")))
            thread.start()
            after.callback(thread.join)
            wait_until("the other machine claims a job of that sender", lambda: taken)
            tx.execute(sa.select(1))
        wait_until("the frozen one's lease runs out", lambda: rescued(other) or state(other, held.id) == "waiting")
        # thawed, it goes on where it was, and nobody believes it
        with pytest.raises(LostLease), database.write() as tx:
            jobs.finish(tx, held, JobState.DONE, Report())
        again = claim(other, "other")
        with pytest.raises(LostLease), database.write() as tx:
            jobs.beat(tx, held, LONG)
        assert again.fencing_token > held.fencing_token or again.id != held.id
        with other.read() as tx:
            of_the_frozen = sa.select(sa.func.count()).where(job.c.worker == "frozen")
            assert tx.execute(of_the_frozen).scalar() == 0


def rescued(database: Database) -> int:
    with database.write() as tx:
        return lost_jobs.rescue(tx)


def state(database: Database, job_id: int) -> str:
    with database.read() as tx:
        return str(tx.execute(sa.select(job.c.state).where(job.c.id == job_id)).scalar_one())


def test_a_transaction_that_reads_files_has_its_time(database: Database) -> None:
    with database.write() as tx:
        link.take_time(tx)
        if not database.is_sqlite:
            assert tx.exec_driver_sql("SHOW idle_in_transaction_session_timeout").scalar() == "15min"
    if not database.is_sqlite:
        assert said(database, "idle_in_transaction_session_timeout") == ["30s"]


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_the_short_way_says_so_too_when_nothing_may_be_written(database: Database) -> None:
    wrote(database, another(1))
    name = database.engine.dialect.identifier_preparer.quote(str(database.engine.url.database))
    with database.write() as tx:
        tx.exec_driver_sql(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    database.engine.dispose()
    with pytest.raises(DatabaseUnreachable):
        Shortcut(database).record([another(2)])


# ------------------------------------------------------------------ what both ends are told


def test_both_ends_soon_give_up_one_that_is_not_there_any_more() -> None:
    with listening(ADDRESS) as (server, url):
        names = ("tcp_keepalives_idle", "tcp_keepalives_interval", "tcp_keepalives_count", "tcp_user_timeout")
        with opened(server.over_tcp(url)) as database:
            assert said(database, *names, "idle_in_transaction_session_timeout", "jit") == [
                *("5", "2", "3", "15000"),
                *("30s", "off"),
            ]
            assert waits(database) == (5, 2, 3, 15000)
        with opened(server.over_tcp(url) + "?keepalives_idle=70&options=-c%20tcp_keepalives_idle%3D80") as database:
            assert said(database, "tcp_keepalives_idle", "tcp_keepalives_count") == ["80", "3"]
            assert waits(database) == (70, 2, 3, 15000)
        with opened(url) as database:  # a Unix socket has no such thing
            assert said(database, *names) == ["0", "0", "0", "0"]
            assert said(database, "idle_in_transaction_session_timeout") == ["30s"]


def waits(database: Database) -> tuple[int, ...]:
    """What this end's kernel was told: idle, interval, count, user timeout in ms."""
    options = (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT, socket.TCP_USER_TIMEOUT)
    with database.engine.connect() as connection:
        number = connection.connection.driver_connection.fileno()  # type: ignore[union-attr]
        with socket.socket(fileno=os.dup(number)) as same:
            return tuple(same.getsockopt(socket.IPPROTO_TCP, one) for one in options)


ELSEWHERE = """
import sys, threading
import sqlalchemy as sa
from db import jobs
from db.database import DatabaseUnreachable, open_database
from db.job_states import JobKind

database = open_database(sys.argv[1])

def asks():
    try:
        with database.read() as tx:
            tx.execute(sa.select(sa.func.pg_sleep(3600)))
    except DatabaseUnreachable:
        print("gave up", flush=True)

waits = threading.Thread(target=asks)
with database.write() as tx:
    assert jobs.claim(tx, [JobKind.SEGMENT], "elsewhere", 3600)
    waits.start()
    print("holds", flush=True)
    waits.join()
"""


@pytest.mark.slow
def test_a_machine_that_loses_its_power_in_a_transaction_is_soon_let_go() -> None:
    """And a machine whose PostgreSQL loses its power notices that as soon."""
    with Network() as network:
        if not network.separate:
            lacking("a network of its own", "run as root, with iproute2")
        with listening(network.address) as (server, url), opened(url) as database:
            schema.require(database)
            filled(database)
            _, before = network.join("elsewhere")
            # without this, what is ended were ended for standing still
            there = server.over_tcp(url) + "?options=-c%20idle_in_transaction_session_timeout%3D0"
            words = [*before, sys.executable, "-P", "-c", ELSEWHERE, there]
            with begun(words, stdout=subprocess.PIPE, text=True) as process:
                assert process.stdout is not None
                assert process.stdout.readline() == "holds\n"
                network.cut()
                assert claim(database, "here").worker == "here"
                assert process.stdout.readline() == "gave up\n"


def test_what_fits_no_index_is_no_database_that_is_away() -> None:
    noise = "".join(Random(1).choices("0123456789abcdefghijklmnopqrstuvwxyz", k=20_000))
    refused = pytest.raises(sa.exc.OperationalError, match="index row")
    with listening(ADDRESS) as (_, url), opened(url) as database, refused, database.write() as tx:
        tx.exec_driver_sql("CREATE TABLE words (word text UNIQUE)")
        tx.execute(sa.text("INSERT INTO words VALUES (:noise)"), {"noise": noise})
