"""A disk that fills up: callers are turned away for a while, nothing acknowledged is lost, and it recovers by itself.

On a real small file system: a tmpfs of its own, which only root can mount.
"""

from __future__ import annotations

import gc
import os
import tempfile
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE
from pynetdicom.sop_class import Verification

from db import refusals
from db.database import Database, open_database, sqlite_url
from db.tables import instance
from node.inbound.inbox import Inbox
from node.inbound.peers import Doorkeeper
from node.inbound.room import Room, Watermarks
from node.operations.sweep import sweep_home
from node.outbound.association import stand_aside
from node.receiver import Receiver
from node.study.archive import Archive
from tests import wire
from tests.answered import answered
from tests.conftest import lacking
from tests.doors import door, new_uid
from tests.small_disk import NoMount, leave, mounted, read_only
from tests.synthetic import small_series
from tests.waiting import wait_until

MB = 1_000_000
#: more images than there is room for, however quickly they come after one look at the disk
MANY = 120
#: of memory, and of SQLite; to write a row takes several
PAGE = 4096
REFUSE, RESERVE, SIZE = 40 * MB, 20 * MB, 200 * MB


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    try:
        with mounted(tmp_path / "disk", SIZE) as folder:
            folder.chmod(0o700)
            yield folder
    except NoMount as why:
        lacking("a file system of its own", str(why))


@pytest.fixture
def receiver(
    request: pytest.FixtureRequest,
    small_disk: Path,
    tmp_path: Path,
    migrated: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Callable[..., Any]]:
    """Start one whose home lies on the small disk; its database elsewhere, or there too ("rows")."""
    monkeypatch.setattr(tempfile, "tempdir", None)
    file = (small_disk if getattr(request, "param", "") == "rows" else tmp_path) / "rows.db"
    file.write_bytes(migrated.read_bytes())
    database = open_database(sqlite_url(file))
    mask = os.umask(0o077)
    archive = Archive(small_disk / "home")
    archive.prepare()
    os.umask(mask)
    started: list[Any] = []

    def start(refuse_bytes: int = REFUSE, reserve_bytes: int = RESERVE) -> Any:
        made: Any = Receiver(
            door(associations=20, idle_seconds=60, reserve_bytes=reserve_bytes, refuse_bytes=refuse_bytes),
            Doorkeeper(()),
            Inbox(archive, database),
            database,
        )
        made.port, made.archive, made.database, made.inbox = made.start(), archive, database, Inbox(archive, database)
        started.append(made)
        return made

    yield start
    for one in started:
        one.stop()
    database.dispose()


def associate(port: int, *classes: str) -> Any:
    ae = AE("CT1")
    for sop_class in classes or (CTImageStorage,):
        ae.add_requested_context(sop_class, [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
    ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = 60
    return stand_aside(ae.associate("127.0.0.1", port))


def is_let_in(port: int, *classes: str) -> bool:
    assoc, _ = answered(partial(associate, port, *classes))
    if assoc.is_established:
        assoc.release()
        return True
    answer = assoc.acceptor.primitive
    # PS3.8 9.3.4: rejected-transient, service provider (presentation), local-limit-exceeded
    assert (answer.result, answer.result_source, answer.diagnostic) == (2, 3, 2)
    return False


def rows(database: Database) -> dict[str, Any]:
    with database.read() as tx:
        return {row["sop_uid"]: row for row in tx.execute(sa.select(instance)).mappings()}


def images(count: int) -> list[Dataset]:
    """CT slices of half a megabyte."""
    return small_series((512, 512, count))


def nothing_is_lost(running: Any, acknowledged: set[str]) -> None:
    kept = rows(running.database)
    assert set(kept) == acknowledged
    for row in kept.values():
        assert running.archive.at(row["path"]).stat().st_size == row["size"]
    stored = set((running.archive.home / "store").rglob("*.dcm"))
    assert stored == {running.archive.at(row["path"]) for row in kept.values()}
    sweep_home(running.archive, running.database, running.inbox, settled_seconds=-1)  # what broke off in the middle
    assert list(running.archive.spool.iterdir()) == []
    assert len(rows(running.database)) == len(acknowledged)


@pytest.mark.filterwarnings("ignore")
def test_two_marks_and_the_way_back(small_disk: Path, receiver: Callable[..., Any]) -> None:
    running = receiver()
    slices = images(6)
    acknowledged = set()
    before = associate(running.port)

    def store(ds: Dataset) -> int:
        status = int(before.send_c_store(ds).Status)
        if status == 0x0000:
            acknowledged.add(str(ds.SOPInstanceUID))
        return status

    assert store(slices[0]) == 0x0000
    leave(small_disk, 30 * MB)
    wait_until("callers who would send are turned away", lambda: not is_let_in(running.port))
    assert is_let_in(running.port, Verification)
    assert not is_let_in(running.port, Verification, CTImageStorage)
    assert store(slices[1]) == 0x0000  # what has begun is taken
    leave(small_disk, 10 * MB)
    wait_until("objects are refused too", lambda: store(slices[2]) == 0xA700)
    leave(small_disk, 21 * MB)  # above the mark, and not by a tenth
    running._room._looked -= 10
    assert store(slices[2]) == 0xA700
    leave(small_disk, 30 * MB)
    wait_until("objects are taken again", lambda: store(slices[2]) == 0x0000)
    assert not is_let_in(running.port)
    leave(small_disk, 60 * MB)
    wait_until("callers are let in again", lambda: is_let_in(running.port))
    before.release()
    nothing_is_lost(running, acknowledged)
    running.ledger.flush()
    with running.database.read() as tx:
        counted = {row["code"]: row for row in refusals.callers(tx)}
    assert {"disk-scarce", "disk-reserve"} <= set(counted)
    assert "callers are turned away below 0.0 GB" in counted["disk-scarce"]["sentence"]


@pytest.mark.filterwarnings("ignore")
def test_a_scanner_that_keeps_sending_into_a_full_disk_loses_nothing_and_ends_by_itself(
    small_disk: Path, receiver: Callable[..., Any]
) -> None:
    running = receiver()
    acknowledged: set[str] = set()
    turned_away = threading.Event()
    left = images(MANY)
    leave(small_disk, 45 * MB)

    def scan() -> None:
        while left:
            assoc = associate(running.port)
            if not assoc.is_established:
                if assoc.is_rejected:  # else pynetdicom has lost the answer
                    turned_away.set()
                continue
            while left and assoc.is_established:
                answer = assoc.send_c_store(left[0])
                if answer.get("Status") != 0x0000:
                    break
                acknowledged.add(str(left.pop(0).SOPInstanceUID))
            if assoc.is_established:
                assoc.release()

    scanner = threading.Thread(target=scan, daemon=True)
    scanner.start()
    wait_until("the scanner is turned away", turned_away.is_set)
    assert 0 < len(acknowledged) < MANY
    (small_disk / "ballast").unlink()
    wait_until("all was sent", lambda: not scanner.is_alive())
    assert len(acknowledged) == MANY
    nothing_is_lost(running, acknowledged)


@pytest.mark.filterwarnings("ignore")
def test_a_disk_without_any_room_and_without_marks_is_no_success_and_no_loss(
    small_disk: Path, receiver: Callable[..., Any]
) -> None:
    running = receiver(refuse_bytes=0, reserve_bytes=0)
    slices = images(3)
    leave(small_disk, MB // 4)
    assoc = associate(running.port)
    assert assoc.send_c_store(slices[0]).get("Status") != 0x0000
    assoc.abort()
    leave(small_disk, 30 * MB)
    again = associate(running.port)
    assert [again.send_c_store(ds).Status for ds in slices] == [0x0000] * 3
    again.release()
    nothing_is_lost(running, {str(ds.SOPInstanceUID) for ds in slices})
    gc.collect()  # pynetdicom leaves the file that it could not write to it


@pytest.mark.filterwarnings("ignore")
def test_a_disk_that_goes_read_only_is_no_success_and_no_loss(small_disk: Path, receiver: Callable[..., Any]) -> None:
    running = receiver()
    first, second, third = images(3)
    assoc = associate(running.port)
    assert assoc.send_c_store(first).Status == 0x0000
    with read_only(small_disk):
        assert [assoc.send_c_store(ds).get("Status") for ds in (first, second, third)] == [0xA700] * 3
        assert assoc.is_established
    assert [assoc.send_c_store(ds).Status for ds in (second, third)] == [0x0000] * 2
    assoc.release()
    nothing_is_lost(running, {str(ds.SOPInstanceUID) for ds in (first, second, third)})


def test_who_cannot_be_served_is_told_so(receiver: Callable[..., Any]) -> None:
    running = receiver()
    home, away = running.archive.home, running.archive.home.with_name("away")
    with wire.associated(running.port) as before:
        home.rename(away)  # nobody can say what is free there
        running._room._looked -= 10
        before.say(wire.store(uid := new_uid()))
        assert before.status() == 0xA700
        with wire.connected(running.port) as caller:
            caller.say(wire.request())
            assert wire.said(caller.pdu()) == "reject 2 3 2"
        away.rename(home)
        before.say(wire.store(uid))
        assert before.status() == 0
    nothing_is_lost(running, {uid})


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("receiver", ["rows"], indirect=True)
def test_a_disk_with_room_for_an_image_and_none_for_its_row_is_no_success_and_no_loss(
    small_disk: Path, receiver: Callable[..., Any]
) -> None:
    running = receiver(refuse_bytes=0, reserve_bytes=0)
    first, *slices = images(6)
    assoc = associate(running.port)
    assert assoc.send_c_store(first).Status == 0x0000
    (kept,) = running.archive.home.rglob("store/**/*.dcm")
    with running.database.read() as tx:  # while somebody reads, the log of changes only grows
        tx.execute(sa.select(instance.c.id)).all()
        leave(small_disk, -(-kept.stat().st_size // PAGE) * PAGE + 2 * PAGE)
        assert assoc.send_c_store(slices[0]).Status == 0xA700
    stored = {
        file.relative_to(running.archive.home).as_posix() for file in running.archive.home.rglob("store/**/*.dcm")
    }
    assert len(stored) == 2, "the file had its name, and its row had no room"
    leave(small_disk, 30 * MB)
    assert [assoc.send_c_store(ds).Status for ds in slices] == [0x0000] * 5
    assoc.release()
    sweep_home(running.archive, running.database, running.inbox, settled_seconds=-1)
    nothing_is_lost(running, {str(ds.SOPInstanceUID) for ds in (first, *slices)})
    with running.database.read() as tx:
        assert tx.execute(sa.text("PRAGMA integrity_check")).scalar_one() == "ok"


def test_the_free_space_is_not_looked_at_for_every_object(tmp_path: Path) -> None:
    now = [0.0]
    marks = Watermarks(tmp_path, 1 << 60, 0, clock=lambda: now[0])
    assert marks.now() is Room.SCARCE
    marks.refuse_bytes = 0
    assert marks.now() is Room.SCARCE
    now[0] = 0.1
    assert marks.now() is Room.ENOUGH
