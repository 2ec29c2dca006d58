"""The database is slow, takes no writes, or has no connection left: senders come again, and nothing is lost."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from psycopg import sql
from sqlalchemy.engine import make_url

from db.database import Database, DatabaseError, DatabaseUnreachable, open_database
from node.inbound.association.connection import Patience
from tests import wire
from tests.doors import Tried, new_uid, trying
from tests.postgres import Postgres
from tests.waiting import wait_until

OUT_OF_RESOURCES = 0xA700
CONNECTIONS = 3


@pytest.fixture(scope="module")
def tried(
    tmp_path_factory: pytest.TempPathFactory, migrated: Path, postgres: Postgres, migrated_on_postgres: str
) -> Iterator[Tried]:
    """A receiver on PostgreSQL, with few connections and little patience."""
    url = postgres.new_database(migrated_on_postgres)
    engine = sa.create_engine(url, pool_size=CONNECTIONS, max_overflow=0, pool_timeout=0.5, pool_pre_ping=True)
    how: dict[str, Any] = dict(database=Database(engine), idle_seconds=60, patience=Patience())
    with trying(tmp_path_factory.mktemp("tried"), migrated, **how) as made:
        yield made


def asked(tried: Tried, said: bytes) -> int | str:
    with wire.associated(tried.port) as caller:
        caller.say(said)
        return caller.status()


def free_connection(tried: Tried) -> sa.Connection | None:
    try:
        return tried.database.engine.connect()
    except sa.exc.TimeoutError:  # the receiver looks after its own affairs
        return None


def is_well(tried: Tried) -> None:
    """As `Tried.settled`, but for the sockets: connections to the database are such."""
    tried.good_sender()
    wait_until("they are forgotten", lambda: not tried.receiver.guests.count)
    assert list(tried.archive.spool.iterdir()) == []


def test_where_no_connection_is_left_a_sender_comes_again(tried: Tried) -> None:
    uid = new_uid()
    with ExitStack() as held:
        wait_until("the receiver has them all back", lambda: tried.database.engine.pool.checkedout() == 0)  # type: ignore[attr-defined]
        for _ in range(CONNECTIONS):
            held.enter_context(wait_until("one is free", partial(free_connection, tried)))
        with pytest.raises(DatabaseUnreachable), tried.database.read():
            pass
        assert asked(tried, wire.store(uid)) == OUT_OF_RESOURCES
    assert asked(tried, wire.store(uid)) == 0
    assert tried.stored(uid)
    is_well(tried)


def test_a_database_that_takes_no_writes_is_one_that_is_away(tried: Tried) -> None:
    """As after a failover to a standby."""
    uid, url = new_uid(), tried.database.engine.url
    name = sql.Identifier(str(url.database))
    with psycopg.connect(
        host=str(make_url(str(url)).query["host"]), user="planimeter", dbname="postgres", autocommit=True
    ) as server:
        server.execute(sql.SQL("ALTER DATABASE {} SET default_transaction_read_only = on").format(name))
        tried.database.engine.dispose()
        try:
            assert asked(tried, wire.store(uid)) == OUT_OF_RESOURCES
            with pytest.raises(DatabaseUnreachable, match="takes no writes"), tried.database.write() as tx:
                tx.execute(sa.text("DELETE FROM instance"))
        finally:
            server.execute(sql.SQL("ALTER DATABASE {} RESET default_transaction_read_only").format(name))
            tried.database.engine.dispose()
    assert asked(tried, wire.store(uid)) == 0
    assert tried.stored(uid)
    is_well(tried)


def test_a_slow_database_is_waited_for(tried: Tried) -> None:
    """No Success before the row is there, and no failure because it takes long."""
    uid = new_uid()
    with wire.associated(tried.port) as caller:
        with tried.database.write() as tx:
            tx.execute(sa.text("LOCK TABLE instance IN ACCESS EXCLUSIVE MODE"))
            caller.say(wire.store(uid))
            caller.socket.settimeout(1)
            with pytest.raises(TimeoutError):
                caller.socket.recv(1)
            caller.socket.settimeout(30)
        assert caller.status() == 0
    assert tried.stored(uid)
    is_well(tried)


def test_a_database_that_is_down_at_the_start_is_said_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(DatabaseError, match="does not answer"):
        open_database(f"postgresql+psycopg://planimeter@/nowhere?host={tmp_path}")
