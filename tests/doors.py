"""A receiver that hostile callers try, watched for what it leaves behind."""

from __future__ import annotations

import os
import shutil
import ssl
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from db import refusals
from db.database import Database, open_database, sqlite_url
from db.tables import instance
from node.inbound.association.connection import Patience
from node.inbound.door import Door
from node.inbound.inbox import Inbox
from node.inbound.peers import Doorkeeper, KnownPeer
from node.receiver import Receiver
from node.study.archive import Archive
from node.tls.accepting import Accepting, Acceptor
from node.tls.files import Pair
from tests import wire
from tests.certificates import self_signed
from tests.descriptors import descriptors
from tests.waiting import wait_until

NUMBERS = count(1)


def new_uid() -> str:
    return f"1.2.826.0.1.3680043.10.9.2.{next(NUMBERS)}"


@dataclass(frozen=True)
class Secured:
    """What puts TLS on a connection; and what a caller has to trust."""

    acceptor: Acceptor
    trusting: ssl.SSLContext


def secured(folder: Path, handshake_seconds: float = 20) -> Secured:
    shown = self_signed(folder, "node")
    how = Accepting(pair=Pair(shown.certificate, shown.key), handshake_seconds=handshake_seconds)
    return Secured(Acceptor(how), ssl.create_default_context(cafile=str(shown.certificate)))


@dataclass
class Tried:
    """A running receiver."""

    receiver: Receiver
    port: int
    database: Database
    archive: Archive
    before: tuple[int, int] = field(default=(0, 0))
    is_over: bool = False

    def good_sender(self) -> None:
        """A well-behaved association stores an instance, whatever went before."""
        uid = new_uid()
        with wire.associated(self.port) as one:
            one.say(wire.echo() + wire.store(uid))
            assert [one.status(), one.status()] == [0, 0]
            one.say(wire.RELEASE)
            assert wire.said(one.pdu()) == "released"
        assert self.stored(uid)

    def stored(self, uid: str) -> bool:
        with self.database.read() as tx:
            row = tx.execute(sa.select(instance).where(instance.c.sop_uid == uid)).mappings().first()
        return row is not None and self.archive.at(row["path"]).stat().st_size == row["size"]

    def left(self) -> tuple[int, int]:
        """Threads, and open sockets and files of the spool."""
        held = [
            link for link in descriptors().elements() if link.startswith("socket:") or str(self.archive.spool) in link
        ]
        callers = [one for one in threading.enumerate() if one.name == "caller" or "Acceptor" in one.name]
        return len(callers), len(held)

    def settled(self) -> None:
        """A good sender is served, and everything is as it was before the first caller."""
        self.good_sender()
        wait_until("nothing is left of the callers", lambda: self.left() <= self.before)
        wait_until("they are forgotten", lambda: not self.receiver.guests.count)
        assert list(self.archive.spool.iterdir()) == []

    def counted(self) -> Counter[str]:
        """How often each code was counted so far."""
        self.receiver.ledger.flush()
        found: Counter[str] = Counter()
        with self.database.read() as tx:
            for row in refusals.callers(tx):
                found[row["code"]] += row["count"]
        return found

    def sentences(self) -> str:
        self.receiver.ledger.flush()
        with self.database.read() as tx:
            return "\n".join(f"{row['ae_title']} {row['sentence']}" for row in refusals.callers(tx))


def door(**other: Any) -> Door:
    """How a receiver listens, for a few callers of this machine."""
    usual = dict(ae_title="PLANIMETER", address="127.0.0.1", port=0, associations=5, idle_seconds=10)
    return Door(**{**usual, "max_pdu_bytes": 65536, "reserve_bytes": 0, **other})


#: of a receiver that is tried: nobody is cut off who has only to wait for a turn on a busy machine
PATIENT: dict[str, Any] = dict(
    associations=20, idle_seconds=60, max_pdu_bytes=16384, patience=Patience(request=60, pdu=60, sending=60, closing=2)
)
#: of one that is tried by slow callers: long enough for good ones, short enough to be waited for
HASTY: dict[str, Any] = dict(idle_seconds=3, patience=Patience(request=2, pdu=2, sending=5, closing=2))


@contextmanager
def trying(
    folder: Path,
    migrated: Path,
    peers: tuple[KnownPeer, ...] = (),
    listener: Any = None,
    tls: Any = None,
    over: Secured | None = None,
    database: Database | None = None,
    **other: Any,
) -> Iterator[Tried]:
    """A receiver, on SQLite where no database is given; `over`: callers of the test speak TLS."""
    if database is None:
        shutil.copyfile(migrated, folder / "rows.db")
        database = open_database(sqlite_url(folder / "rows.db"))
    archive = Archive(folder / "home")
    mask = os.umask(0o077)
    archive.prepare()
    os.umask(mask)
    tls = over.acceptor if over is not None else tls
    receiver = Receiver(
        door(**{**PATIENT, **other}), Doorkeeper(peers), Inbox(archive, database), database, listener=listener, tls=tls
    )
    made = Tried(receiver, receiver.start(), database, archive)
    if over is not None:
        assert receiver.tls_port
        made.port = wire.TlsPort.at(receiver.tls_port, over.trusting)
    try:
        made.good_sender()
        wait_until("the first caller has gone", lambda: made.left()[0] == 0)
        made.before = made.left()
        yield made
    finally:
        if not made.is_over:
            receiver.stop()
        database.dispose()
