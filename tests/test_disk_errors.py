"""The system fails a call: the disk is broken, read-only, full by quota, or there are no more files. Never a Success,
never a loss, and the next object is taken. The errors are real, made by strace in a receiver that runs.
"""

from __future__ import annotations

import os
import resource
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from db import refusals
from db.database import Database, open_database, sqlite_url
from db.tables import instance
from node.inbound.association.data_set import Spooled, file_meta
from tests import wire
from tests.conftest import find_program
from tests.doors import new_uid
from tests.receiver_process import ReceiverProcess
from tests.waiting import wait_until

#: what fails with which error: as a file of the spool is made, written, made safe, named, and its row is committed
FAULTS = {
    "no more files of the process": ("openat", "EMFILE"),
    "no more files of the system": ("openat", "ENFILE"),
    "a read-only file system, at the file": ("openat", "EROFS"),
    "no quota for another file": ("openat", "EDQUOT"),
    "no more inodes": ("openat", "ENOSPC"),
    "a full disk": ("writev", "ENOSPC"),
    "a full quota": ("writev", "EDQUOT"),
    "a broken disk": ("writev", "EIO"),
    "a broken disk, when data are made safe": ("fsync,fdatasync", "EIO"),
    "a full quota, when data are made safe": ("fsync,fdatasync", "EDQUOT"),
    "a read-only file system, at the name": ("rename,renameat,renameat2", "EROFS"),
    "a broken disk, when data begin to go there": ("fadvise64", "EIO"),
    "a broken disk, when the beginning of an object is read": ("pread64", "EIO"),
    "no room for a name": ("rename,renameat,renameat2", "ENOSPC"),
    "a broken disk, when files are closed": ("close", "EIO"),
    "a broken disk under the database": ("pwrite64", "EIO"),
    "a full quota under the database": ("pwrite64", "EDQUOT"),
}


@pytest.fixture(scope="module")
def receiver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReceiverProcess]:
    made = ReceiverProcess(tmp_path_factory.mktemp("disk") / "home")
    made.start()
    yield made
    made.kill()


@pytest.fixture(scope="module")
def database(receiver: ReceiverProcess) -> Iterator[Database]:
    opened = open_database(sqlite_url(receiver.home / "planimeter.db"))
    yield opened
    opened.dispose()


@contextmanager
def failing(receiver: ReceiverProcess, calls: str, error: str) -> Iterator[None]:
    """These system calls of the receiver fail meanwhile."""
    strace = find_program("strace", "apt-get install strace")
    assert receiver._process is not None
    command = [strace, "-f", "-o", "/dev/null", "-p", str(receiver._process.pid), "-e", f"trace={calls}"]
    tracing: Any = subprocess.Popen(
        [*command, "-e", f"inject={calls}:error={error}"], stderr=subprocess.PIPE, text=True
    )
    try:
        first = tracing.stderr.readline()
        assert "attached" in first, f"nothing can be traced here: {first}"
        yield
    finally:
        tracing.send_signal(signal.SIGINT)
        tracing.wait(60)
        tracing.stderr.close()


def stored(database: Database, receiver: ReceiverProcess, uid: str) -> bool:
    with database.read() as tx:
        row = tx.execute(sa.select(instance).where(instance.c.sop_uid == uid)).mappings().first()
    return row is not None and (receiver.home / row["path"]).stat().st_size == row["size"]


@pytest.mark.parametrize("fault", FAULTS)
def test_a_call_that_fails_is_no_success_and_no_loss(receiver: ReceiverProcess, database: Database, fault: str) -> None:
    uid, other = new_uid(), new_uid()
    with wire.associated(receiver.port) as caller:
        caller.say(wire.store(other))
        assert caller.status() == 0
        with failing(receiver, *FAULTS[fault]):
            caller.say(wire.store(uid))
            assert caller.status() == 0xA700
            assert not stored(database, receiver, uid)
        caller.say(wire.store(uid) + wire.RELEASE)
        assert caller.status() == 0
        assert wire.said(caller.pdu()) == "released"
    assert stored(database, receiver, uid) and stored(database, receiver, other)
    assert list((receiver.home / "spool").iterdir()) == []
    assert not receiver.has_died()


def test_a_file_that_the_system_does_not_close_is_closed_once(tmp_path: Path) -> None:
    """The number of it may be another association's file by then."""
    spooled = Spooled(tmp_path / "spooled", file_meta("1.2", "1.2.3", wire.EXPLICIT), wire.EXPLICIT, lambda _: None)
    number = spooled.descriptor
    os.close(number)  # so the system has an error for whoever closes it again
    spooled.discard()
    other = os.open(os.devnull, os.O_RDONLY)
    os.dup2(other, number)
    spooled.discard()
    assert os.fstat(number).st_rdev == os.fstat(other).st_rdev
    for descriptor in {number, other}:
        os.close(descriptor)
    assert not spooled.path.exists()


@pytest.mark.parametrize("error", ["EIO", "ESTALE"])
def test_a_disk_that_does_not_say_what_is_free_takes_nothing_and_ends_no_association(
    receiver: ReceiverProcess, error: str
) -> None:
    with wire.associated(receiver.port) as caller:

        def answer() -> Any:
            caller.say(wire.store(new_uid()))
            status = caller.status()
            assert isinstance(status, int), "the association ended"
            return status

        assert answer() == 0
        with failing(receiver, "statfs", error):  # it is not asked at every object
            wait_until("nothing is taken", lambda: answer() == 0xA700)
        assert answer() == 0
    assert not receiver.has_died()


def test_a_disk_that_does_not_say_what_is_free_lets_in_nobody_who_would_send(
    receiver: ReceiverProcess, database: Database
) -> None:
    def answer(*contexts: bytes) -> str:
        with wire.connected(receiver.port) as caller:
            caller.say(wire.request(*contexts))
            return wire.said(caller.pdu())

    def turned_away() -> str:
        with database.read() as tx:
            rows = [row for row in refusals.callers(tx) if row["code"] == "disk-scarce"]
        return str(rows[0]["sentence"]) if rows else ""

    with failing(receiver, "statfs", "EIO"):
        wait_until("callers are turned away", lambda: answer() != "accept")  # it is not asked at every caller
        assert answer() == "reject 2 3 2"
        assert answer(wire.context(wire.ECHOING, wire.VERIFICATION, (wire.IMPLICIT,))) == "accept"
    wait_until("they are let in again", lambda: answer() == "accept")
    wait_until("it is counted, with its reason", lambda: "Input/output error" in turned_away(), 60)
    assert not receiver.has_died()


def test_where_no_connection_can_be_accepted_the_next_one_is(receiver: ReceiverProcess, database: Database) -> None:
    with failing(receiver, "accept4", "ENFILE"), wire.connected(receiver.port, 1) as caller:
        caller.say(wire.request())
        with pytest.raises(TimeoutError):
            caller.pdu()
    with wire.associated(receiver.port) as caller:
        caller.say(wire.store(uid := new_uid()))
        assert caller.status() == 0
    assert stored(database, receiver, uid)

    def counted() -> set[str]:
        with database.read() as tx:
            return {row["code"] for row in refusals.callers(tx)}

    wait_until("what failed is counted", lambda: "not-stored" in counted(), 60)


def test_a_thread_that_finds_no_memory_keeps_nobody_out(receiver: ReceiverProcess, database: Database) -> None:
    """It ends before it says that it runs."""
    threads = Path(f"/proc/{receiver.pid}/task")
    with wire.associated(receiver.port) as caller:
        together = len(list(threads.iterdir()))
        caller.say(wire.RELEASE)
        assert wire.said(caller.pdu()) == "released"
    wait_until("its thread has ended", lambda: len(list(threads.iterdir())) < together)  # the next one gets its stack
    resource.prlimit(receiver.pid, resource.RLIMIT_AS, (1, resource.RLIM_INFINITY))
    try:
        with wire.connected(receiver.port, 60) as caller:
            caller.say(wire.request())
            assert not caller.pdu(), "it is closed"
    finally:
        resource.prlimit(receiver.pid, resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    with wire.associated(receiver.port) as caller:
        caller.say(wire.store(uid := new_uid()))
        assert caller.status() == 0
    assert stored(database, receiver, uid)
    assert not receiver.has_died()
