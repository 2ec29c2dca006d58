"""The receiver's ports: TLS on one of them, and one that several receivers share."""

from __future__ import annotations

import ipaddress
import os
import shutil
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from db import audit_trail, pauses, quotas, refusals
from db.database import Clock, Database, open_database, sqlite_url
from db.tables import caller
from node.addresses import home_of
from node.inbound.association.connection import Patience
from node.inbound.guests import Guest, Guests, Limits, Seat
from node.inbound.inbox import Inbox
from node.inbound.ledger import Ledger
from node.inbound.listener import bound
from node.inbound.peers import Doorkeeper, KnownPeer
from node.inbound.quotas import Quota
from node.receiver import Receiver
from node.study.archive import Archive
from tests import wire
from tests.doors import Tried, door, new_uid, secured, trying
from tests.waiting import wait_until


@pytest.fixture(scope="module", params=["own", "pynetdicom"])
def over_tls(
    tmp_path_factory: pytest.TempPathFactory, migrated: Path, request: pytest.FixtureRequest
) -> Iterator[tuple[Tried, int, ssl.SSLContext]]:
    """A receiver with a port for TLS beside the other, for few connections."""
    folder = tmp_path_factory.mktemp("tls")
    tls = secured(folder, 60)
    with trying(folder, migrated, tls=tls.acceptor, connections_per_address=6, loop=request.param) as made:
        assert made.receiver.tls_port
        yield made, made.receiver.tls_port, tls.trusting


def store_over_tls(port: int, trusting: ssl.SSLContext) -> str:
    uid = new_uid()
    with wire.connected(port) as plain, trusting.wrap_socket(plain.socket, server_hostname="127.0.0.1") as wrapped:
        caller = wire.Wire(wrapped)
        caller.say(wire.request())
        assert wire.said(caller.pdu()) == "accept"
        padding = wire.explicit(0x28, 0x4000, "LT", "x" * 60_000)
        data = wire.instance(uid, padding)
        parts = [data[at : at + 16000] for at in range(0, len(data), 16000)]
        pdvs = [wire.pdv(1, 2 if part is parts[-1] else 0, part) for part in parts]
        caller.say(wire.p_data(wire.pdv(1, 3, wire.store_command(uid))) + b"".join(map(wire.p_data, pdvs)))
        assert caller.status() == 0
        caller.say(wire.RELEASE)
        assert wire.said(caller.pdu()) == "released"
    return uid


def test_an_object_comes_over_tls(over_tls: Any) -> None:
    tried, port, trusting = over_tls
    for _ in range(3):
        assert tried.stored(store_over_tls(port, trusting))
    tried.settled()


def test_who_shakes_no_hand_keeps_nobody_waiting(over_tls: Any) -> None:
    """Six at a time: those that say nothing give way, in the middle of their handshakes."""
    tried, port, trusting = over_tls
    before = tried.counted()
    with ExitStack() as silent:
        callers = [silent.enter_context(wire.connected(port)) for _ in range(20)]
        callers[-1].say(b"\x16\x03\x01")
        assert tried.stored(store_over_tls(port, trusting))
        tried.good_sender()
    assert (tried.counted() - before)["gave-way"] >= 10
    tried.settled()


@pytest.mark.parametrize(
    ("said", "code"), [(wire.request(), "plain-on-tls-port"), (b"GET / HTTP/1.1\r\n\r\n", "not-tls")]
)
def test_who_does_not_speak_tls_is_closed_and_counted(over_tls: Any, said: bytes, code: str) -> None:
    tried, _, _ = over_tls
    is_closed_and_counted(tried, said, code)


@pytest.mark.parametrize("loop", ["own", "pynetdicom"])
def test_who_says_nothing_where_tls_is_spoken_is_closed_and_counted(tmp_path: Path, migrated: Path, loop: str) -> None:
    with trying(tmp_path, migrated, tls=secured(tmp_path, 2).acceptor, loop=loop) as tried:
        is_closed_and_counted(tried, b"", "tls-stalled")


def is_closed_and_counted(tried: Tried, said: bytes, code: str) -> None:
    before = tried.counted()
    assert tried.receiver.tls_port
    with wire.connected(tried.receiver.tls_port) as caller:
        caller.say(said)
        while caller.read(100):  # an alert, perhaps
            pass
    wait_until("it is counted", lambda: (tried.counted() - before)[code] == 1)
    tried.settled()


def test_what_is_wrong_is_wrong_over_tls_too(over_tls: Any) -> None:
    tried, port, trusting = over_tls
    with wire.connected(port) as plain, trusting.wrap_socket(plain.socket, server_hostname="127.0.0.1") as wrapped:
        caller = wire.Wire(wrapped)
        caller.say(wire.pdu(1, b"", 0xFFFFFFFF))
        assert wire.said(caller.pdu()) == "abort 6"
    tried.settled()


# --------------------------------------------------------------------------- shared


def test_receivers_share_a_port_and_one_that_is_full_leaves_callers_to_the_other(
    tmp_path: Path, migrated: Path
) -> None:
    listening = bound("127.0.0.1", 0)
    with trying(tmp_path, migrated, listener=listening, associations=1, idle_seconds=30) as first:
        how = door(associations=1, idle_seconds=30, max_pdu_bytes=16384)
        second = Receiver(how, Doorkeeper(()), first.receiver._inbox, first.database, listener=listening.dup())
        second.start()
        try:
            with ExitStack() as held:
                callers = [held.enter_context(insisting(first.port)) for _ in range(2)]
                assert first.receiver.guests.is_full and second.guests.is_full
                with wire.connected(first.port) as third:
                    third.say(wire.request())
                    assert wire.said(third.pdu()) == "reject 2 3 2"
                for caller in callers:
                    caller.say(wire.echo())
                    assert caller.status() == 0
        finally:
            second.stop()
        wait_until("the first has room again", lambda: not first.receiver.guests.is_full)
        first.good_sender()


@contextmanager
def insisting(port: int) -> Iterator[wire.Wire]:
    """An association, as a sender gets it that comes again when it is told to: the other may be slow to notice."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        with wire.connected(port) as caller:
            caller.say(wire.request())
            if wire.said(caller.pdu()) == "accept":
                yield caller
                return
    raise AssertionError("it was never accepted")


# --------------------------------------------------------------------------- both loops


@pytest.mark.parametrize(
    "said",
    [
        wire.pdu(4, b"", 0xFFFFFFFF),
        wire.store(new_uid(), wire.instance("1.2.3", wire.explicit(0x28, 0x4000, "LT", "x" * 20_000))),
        wire.pdu(9, b""),
    ],
    ids=["4 GiB", "longer than agreed", "unknown"],
)
def test_both_loops_look_at_lengths(said: bytes, over_tls: Any) -> None:
    tried, _, _ = over_tls
    with wire.associated(tried.port) as caller:
        caller.say(said)
        assert wire.said(caller.pdu()).split()[0] in ("abort", "closed")
    tried.settled()


@pytest.mark.parametrize("loop", ["own", "pynetdicom"])
def test_both_loops_have_deadlines(tmp_path: Path, migrated: Path, loop: str) -> None:
    hasty = Patience(request=60, pdu=2, sending=60)
    with trying(tmp_path, migrated, loop=loop, patience=hasty) as tried:
        with ExitStack() as held:
            callers = [held.enter_context(wire.associated(tried.port)) for _ in range(2)]
            for caller, cut in zip(callers, (-1, 3), strict=True):
                caller.say(wire.store(new_uid())[:cut])
            for caller in callers:
                assert wire.said(caller.pdu()).split()[0] in ("abort", "closed")
        tried.settled()


# --------------------------------------------------------------------------- the end


@pytest.mark.parametrize("loop", ["own", "pynetdicom"])
def test_when_it_is_stopped_associations_are_aborted_and_nothing_is_left(
    tmp_path: Path, migrated: Path, loop: str
) -> None:
    with trying(tmp_path, migrated, loop=loop, idle_seconds=60, patience=Patience()) as tried, ExitStack() as held:
        waiting = held.enter_context(wire.connected(tried.port))
        idle, inside = (held.enter_context(wire.associated(tried.port)) for _ in range(2))
        inside.say(wire.p_data(wire.pdv(1, 3, wire.store_command(new_uid()))) + wire.p_data(wire.pdv(1, 0, b"x" * 99)))
        idle.say(wire.echo())
        assert idle.status() == 0
        tried.receiver.stop(0)
        assert waiting.pdu() == b""
        assert wire.said(idle.pdu()).startswith("abort")
        assert wire.said(inside.pdu()).startswith("abort")
        assert not tried.receiver.guests.count
        wait_until("its files have gone", lambda: not list(tried.archive.spool.iterdir()))
        tried.is_over = True


def test_who_ends_by_itself_is_waited_for(tmp_path: Path, migrated: Path) -> None:
    with trying(tmp_path, migrated, idle_seconds=60, patience=Patience()) as tried:
        with wire.associated(tried.port) as caller:
            stopping = threading.Thread(target=tried.receiver.stop, args=(60,))
            stopping.start()
            wait_until("nobody is let in", lambda: not listens(tried.port))
            caller.say(wire.store(uid := new_uid()) + wire.RELEASE)
            assert caller.status() == 0
            assert wire.said(caller.pdu()) == "released"
        stopping.join()
        assert tried.stored(uid)
        tried.is_over = True


@pytest.mark.parametrize("loop", ["own", "pynetdicom"])
def test_the_first_caller_finds_it_paused_and_the_hour_counted(tmp_path: Path, migrated: Path, loop: str) -> None:
    shutil.copyfile(migrated, tmp_path / "rows.db")
    database = open_database(sqlite_url(tmp_path / "rows.db"))
    with database.write() as tx:
        quotas.add(tx, {"ct": (2, 1000)})
    two = Quota(instances=2)
    peer = KnownPeer("ct", "CT1", ipaddress.ip_network("127.0.0.0/8"), may_send=True, may_send_labels=False, quota=two)
    with first_caller(tmp_path, database, (peer,), loop) as answer:
        assert answer == "reject 2 3 2"
    with database.write() as tx:
        pauses.set_paused(tx, "receive", True, "somebody")
    with first_caller(tmp_path, database, (), loop) as answer:
        assert answer == "reject 2 3 1"
    database.dispose()


@contextmanager
def first_caller(folder: Path, database: Database, peers: tuple[KnownPeer, ...], loop: str) -> Iterator[str]:
    """What a receiver answers that has just begun to listen."""
    archive, mask = Archive(folder / "home"), os.umask(0o077)
    archive.prepare()
    os.umask(mask)
    receiver = Receiver(door(loop=loop), Doorkeeper(peers), Inbox(archive, database), database)
    port = receiver.start()
    try:
        with wire.connected(port) as caller:
            caller.say(wire.request())
            yield wire.said(caller.pdu())
    finally:
        receiver.stop(1)


def test_a_database_that_is_away_keeps_no_receiver_from_listening(tmp_path: Path) -> None:
    (there := tmp_path / "there").mkdir()
    database = open_database(sqlite_url(there / "rows.db"))
    database.dispose()
    shutil.rmtree(there)
    with first_caller(tmp_path, database, (), "own") as answer:
        assert answer == "accept"
    database.dispose()


def listens(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), 1):
            return True
    except OSError:
        return False


# --------------------------------------------------------------------------- the limits


def test_who_gives_way() -> None:
    cut: list[str] = []

    def guest(name: str, address: str) -> Guest:
        return Guest(address, cut=lambda: cut.append(name), end=lambda: None)

    guests = Guests(Limits(per_address=3, waiting=4, associations=2))
    first, *more = (guest(f"a{number}", "10.0.0.1") for number in range(6))
    assert guests.enter(first) and guests.sit(first) is Seat.TAKEN
    assert [guests.enter(one) for one in more[:2]] == [True, True]
    assert guests.enter(more[2]) and cut == ["a1"], "the oldest that waits, of the address with too many"
    assert guests.sit(more[0]) is Seat.GONE
    others = [guest(f"b{number}", f"10.0.1.{number}") for number in range(3)]
    assert [guests.enter(one) for one in others] == [True] * 3
    assert cut == ["a1", "a2"], "the oldest of the address with the most that wait"
    assert guests.sit(others[0]) is Seat.TAKEN
    assert guests.sit(others[1]) is Seat.FULL
    guests.leave(first)
    assert guests.sit(others[1]) is Seat.TAKEN
    for one in (*more[:3], *others):
        guests.leave(one)
    assert guests.count == 0


def test_an_address_of_associations_alone_lets_nobody_in() -> None:
    guests = Guests(Limits(per_address=1, waiting=4, associations=2))
    inside = Guest("10.0.0.1", cut=lambda: None, end=lambda: None)
    assert guests.enter(inside) and guests.sit(inside) is Seat.TAKEN
    assert not guests.enter(Guest("10.0.0.1", cut=lambda: None, end=lambda: None))
    assert guests.count == 1


@pytest.mark.parametrize(
    ("address", "home"),
    [
        ("10.0.0.1", "10.0.0.1"),
        ("::ffff:10.0.0.1", "10.0.0.1"),
        ("2001:db8:1:2:3::4", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("a name", "a name"),
    ],
)
def test_what_counts_as_one_address(address: str, home: str) -> None:
    assert home_of(address) == home


# ------------------------------------------------------------------ who is turned away


def turned_away(database: Database) -> dict[tuple[str, str, str], int]:
    with database.read() as tx:
        return {(row["address"], row["ae_title"], row["code"]): row["count"] for row in refusals.callers(tx)}


def test_who_calls_himself_something_new_each_time_fills_nothing(database: Database) -> None:
    with database.write() as tx:
        audit_trail.switch(tx, on=True)
    ledger = Ledger(database, {"CT1", *(f"PEER{number}" for number in range(30))})
    for number in range(3000):
        ledger.count("10.0.0.1", f"A{number}", "unknown-caller", f"who is A{number}?")
        ledger.count(f"2001:db8::{number:x}", f"A{number}", "unknown-caller", "who?")
        if not number % 1000:
            ledger.flush()
    for number in range(30):
        ledger.count("10.0.0.1", f"PEER{number}", "quota-hour", "enough")
    ledger.flush()
    found = turned_away(database)
    assert len(found) == 2 * 21 + 30
    assert found["10.0.0.1", "A0", "unknown-caller"] == 1
    assert found["10.0.0.1", "*", "unknown-caller"] == 3000 - 20
    assert found["2001:db8::/64", "*", "unknown-caller"] == 3000 - 20
    with database.read() as tx:
        (said,) = [
            row["sentence"] for row in refusals.callers(tx) if row["address"] == "10.0.0.1" and row["ae_title"] == "*"
        ]
        told = audit_trail.backlog(tx)
    assert said == "and others: more than 20 AE titles of this address; the last one: who is A2999?"
    assert told is not None
    assert told.waiting == 2


def test_beyond_a_thousand_callers_there_are_others_and_peers_are_still_told_apart(database: Database) -> None:
    ledger = Ledger(database, {"CT1"})
    for number in range(1500):
        ledger.count(f"10.0.{number // 250}.{number % 250}", "X", "unknown-caller", "who?")
    ledger.count("10.9.9.9", "CT1", "quota-hour", "enough")
    ledger.count("10.0.0.0", "X", "unknown-caller", "who?")
    ledger.flush()
    found = turned_away(database)
    assert len(found) == 1000 + 1 + 1
    assert found["*", "*", "too-many-callers"] == 500
    assert found["10.9.9.9", "CT1", "quota-hour"] == 1
    assert found["10.0.0.0", "X", "unknown-caller"] == 2


def test_who_was_turned_away_long_ago_is_forgotten_and_all_but_the_latest(database: Database) -> None:
    with database.write() as tx:
        for number in range(30):
            refusals.count_caller(tx, f"10.0.0.{number}", "X", "unknown-caller", "who?")
            aged = sa.update(caller).where(caller.c.address == f"10.0.0.{number}")
            tx.execute(aged.values(last=Clock() - 3600.0 * number))
        assert refusals.forget_callers(tx, 24 * 3600.0 - 60, 100) == 6
        assert refusals.forget_callers(tx, 24 * 3600.0, 10) == 14
        assert refusals.forget_callers(tx, 24 * 3600.0, 10) == 0
        left = [row["address"] for row in refusals.callers(tx)]
    assert left == [f"10.0.0.{number}" for number in range(10)]
