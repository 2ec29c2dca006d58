"""The short way of rows does what the long one does, for what is usual; everything else it leaves alone."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian

from db import recording
from db.arrivals import Arrival, Kind, Seen
from db.database import Conflict, Database, DatabaseUnreachable
from db.shortcut import Shortcut
from db.tables import instance, patient, series, study
from node.audit.transfer import Transfer, unheard
from node.inbound.inbox import Inbox, Source
from tests.kept import SMALL, House
from tests.synthetic import as_files, small_series

CT = Source("CT1", "10.0.0.1")
FIRST = Arrival(
    sop_uid="1.1",
    sop_class="1.2.840.10008.5.1.4.1.1.2",
    study_uid="2",
    series_uid="3",
    modality="CT",
    kind=Kind.IMAGE,
    transfer_syntax="1.2.840.10008.1.2.1",
    patient_id="P ",
    issuer="",
    birth_date="19700101",
    accession="A1",
    digest="d1",
    path="store/1",
    size=5,
    calling_ae="CT1",
    address="10.0.0.1",
    announced=3,
)


def another(number: int, **changed: Any) -> Arrival:
    """The next image of the same series."""
    given = {"sop_uid": f"1.{number}", "digest": f"d{number}", "path": f"store/{number}"}
    return replace(FIRST, **(given | changed))


def wrote(database: Database, *arrivals: Arrival) -> list[Seen]:
    """Arrivals that come the long way."""
    with database.write() as tx:
        return recording.record(tx, arrivals)


def rows(database: Database, *but: str) -> dict[str, list[dict[str, Any]]]:
    """All that there is, without some columns."""
    found = {}
    with database.read() as tx:
        for table in (patient, study, series, instance):
            kept = [column for column in table.c if column.name not in but]
            found[table.name] = [dict(row) for row in tx.execute(sa.select(*kept).order_by(table.c.id)).mappings()]
    return found


def set_study(database: Database, **values: Any) -> None:
    if values:
        with database.write() as tx:
            tx.execute(sa.update(study).values(**values))


CASES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "the next image": ({}, {}),
    "of a study that is closed": ({"state": "closed"}, {}),
    "of a study that a person must look at": ({"state": "held", "held_because": "so"}, {}),
    "that announces more": ({}, {"announced": 9}),
    "that announces less": ({}, {"announced": 2}),
    "that announces nothing": ({}, {"announced": None}),
    "with another accession number": ({}, {"accession": "A2"}),
    "without an accession number": ({}, {"accession": ""}),
    "neither has an accession number": ({"accession": ""}, {"accession": ""}),
    "with another birth date": ({}, {"birth_date": "19800101"}),
}


@pytest.mark.parametrize("case", CASES)
def test_both_ways_leave_the_same_rows(database: Database, case: str) -> None:
    of_study, of_image = CASES[case]
    made = []
    for _ in range(2):
        wrote(database, FIRST)
        set_study(database, **of_study)
        if not made:
            assert wrote(database, another(2, **of_image)) == [Seen.NEW]
        else:
            assert Shortcut(database).record([another(2, **of_image)]) == [True]
        made.append(rows(database, "id", "study_id", "series_id", "patient_id", "arrived", "last_image"))
        times = rows(database)
        assert times["study"][0]["last_image"] >= times["instance"][1]["arrived"] > times["instance"][0]["arrived"]
        assert times["series"][0]["last_image"] >= times["instance"][1]["arrived"]
        assert {row["patient_id"] for row in times["instance"]} == {times["patient"][0]["id"]}
        with database.write() as tx:
            for table in (instance, series, study, patient):
                tx.execute(sa.delete(table))
    assert made[0] == made[1]


@pytest.mark.parametrize(
    "changed",
    [
        {"study_uid": "7"},
        {"series_uid": "7"},
        {"patient_id": "Q"},
        {"issuer": "here"},
        {"sop_uid": "1.1"},
        {"sop_uid": "1.1", "digest": "d1"},
    ],
    ids=str,
)
def test_what_is_not_usual_is_left_alone(database: Database, changed: dict[str, Any]) -> None:
    wrote(database, FIRST)
    before = rows(database)
    assert Shortcut(database).record([another(2, **changed)]) == [False]
    assert rows(database) == before


def test_the_first_accession_number_of_a_study_goes_the_long_way(database: Database) -> None:
    wrote(database, replace(FIRST, accession=""))
    assert Shortcut(database).record([another(2)]) == [False]
    assert wrote(database, another(2)) == [Seen.NEW]
    assert Shortcut(database).record([another(3)]) == [True]
    assert rows(database)["study"][0]["accession"] == "A1"


def test_of_several_at_once_the_usual_ones_are_written(database: Database) -> None:
    wrote(database, FIRST, replace(FIRST, sop_uid="8.1", study_uid="8", digest="d8", path="store/8"))
    came = [
        another(5, study_uid="8"),
        another(4),
        another(1),
        another(3, series_uid="unknown"),
        another(2),
        another(2, digest="of another sender", path="store/2b"),
    ]
    written = Shortcut(database).record(came)
    assert written == [True, True, False, False, True, False]
    assert {row["path"] for row in rows(database)["instance"]} == {
        "store/1",
        "store/8",
        "store/5",
        "store/4",
        "store/2",
    }


def test_a_row_that_may_not_be_is_not_written_nor_are_those_beside_it(database: Database) -> None:
    wrote(database, FIRST)
    shortcut, before = Shortcut(database), rows(database)
    with pytest.raises(Conflict):
        shortcut.record([another(2), another(3, path="store/1"), another(4)])
    assert rows(database) == before
    assert shortcut.record([another(2)]) == [True]


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_after_the_server_ended_its_connection_it_makes_another_one(database: Database) -> None:
    wrote(database, FIRST)
    shortcut = Shortcut(database)
    assert shortcut.record([another(2)]) == [True]
    others = sa.func.pg_terminate_backend(sa.column("pid"))
    activity = sa.table("pg_stat_activity", sa.column("pid"), sa.column("datname"))
    mine = sa.and_(activity.c.datname == sa.func.current_database(), activity.c.pid != sa.func.pg_backend_pid())
    with database.write() as tx:
        tx.execute(sa.select(others).select_from(activity).where(mine))
    with pytest.raises(DatabaseUnreachable):
        shortcut.record([another(3)])
    assert shortcut.record([another(3)]) == [True]


# ------------------------------------------------------------------- the inbox


@pytest.fixture
def house(database: Database, tmp_path: Path) -> House:
    return House(database, tmp_path / "home")


def take(inbox: Inbox, ds: Dataset, folder: Path, transfer: Transfer) -> Seen:
    (file,) = as_files([ds], folder)
    return inbox.take(file.rename(inbox.archive.new_spool_file()), ExplicitVRLittleEndian, CT, transfer=transfer)


def stored(house: House) -> set[str]:
    """The files of the store."""
    return {str(file.relative_to(house.home)) for file in (house.home / "store").rglob("*.dcm")}


@contextmanager
def counted(database: Database) -> Iterator[list[object]]:
    """Transactions that are begun the long way."""
    begun: list[object] = []

    def note(connection: sa.Connection) -> None:
        begun.append(connection)

    sa.event.listen(database.engine, "begin", note)
    yield begun
    sa.event.remove(database.engine, "begin", note)


def test_after_its_first_image_a_series_goes_the_short_way(house: House, tmp_path: Path) -> None:
    transfer, images = unheard(), small_series((6, 5, 5))
    assert take(house.inbox, images[0], tmp_path, transfer) is Seen.NEW
    with counted(house.database) as begun:
        assert {take(house.inbox, ds, tmp_path, transfer) for ds in images[1:]} == {Seen.NEW}
    assert not begun
    assert stored(house) == {row["path"] for row in house.rows(instance)}
    assert len(stored(house)) == 5


def test_several_associations_share_the_short_way(house: House, tmp_path: Path) -> None:
    """Each has its thread; the connection is one."""
    images, first = small_series((6, 5, 13)), unheard()
    assert take(house.inbox, images[0], tmp_path, first) is Seen.NEW

    def send(number: int) -> set[Seen]:
        transfer, folder = unheard(), tmp_path / str(number)
        folder.mkdir()
        transfer.lately_new = True
        return {take(house.inbox, ds, folder, transfer) for ds in images[1 + number :: 4]}

    with counted(house.database) as begun, ThreadPoolExecutor(4) as threads:
        assert list(threads.map(send, range(4))) == [{Seen.NEW}] * 4
    assert not begun
    assert stored(house) == {row["path"] for row in house.rows(instance)}
    assert len(stored(house)) == 13


def test_what_comes_again_is_known_again_although_something_new_was_awaited(house: House, tmp_path: Path) -> None:
    transfer, images = unheard(), small_series(SMALL)
    for ds in images:
        assert take(house.inbox, ds, tmp_path, transfer) is Seen.NEW
    kept = stored(house)
    assert [take(house.inbox, ds, tmp_path, transfer) for ds in images] == [Seen.SAME] * 3
    assert stored(house) == kept
    images[0].PixelData = b"\1" * len(images[0].PixelData)
    assert take(house.inbox, images[0], tmp_path, transfer) is Seen.REVISION
    assert [row["revision"] for row in house.rows(instance)] == [1, 1, 1, 2]
    assert len(stored(house)) == 4


@dataclass(frozen=True)
class Forgetful(Database):
    """The answer to its first commit of a row is lost."""

    lost: list[None] = field(default_factory=list)

    @contextmanager
    def write(self) -> Iterator[Any]:
        with super().write() as tx:
            yield tx
        if not self.lost:
            self.lost.append(None)
            raise DatabaseUnreachable("the connection broke before the answer")


def test_a_file_stays_when_the_answer_to_the_commit_of_its_row_is_lost(database: Database, tmp_path: Path) -> None:
    house = House(Forgetful(database.engine, database.journal), tmp_path / "home")
    (ds,) = small_series((6, 5, 1))
    assert take(house.inbox, ds, tmp_path, unheard()) is Seen.SAME
    (row,) = house.rows(instance)
    assert stored(house) == {row["path"]}
