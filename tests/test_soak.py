"""Faults of the plan in their short form; and the oracle of all of them, which says what was planted."""

from __future__ import annotations

import copy
import re
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa
from pydicom.dataset import Dataset

from db.database import open_database, sqlite_url
from db.tables import delivery, instance, result
from node.app import Node
from tests.conftest import find_program, lacking
from tests.driving import only_study, take_in, work_off
from tests.fake_pacs import FakePacs
from tests.kept import House
from tests.postgres import Postgres
from tests.running import RunningNode
from tests.soak import commit_kills, oracle, order, page, racing, receiver_kills
from tests.soak.oracle import Receipts, Received
from tests.soak.plan import PLAN
from tests.soak.senders import Crew, Studies, at_work
from tests.soak.tally import Tally, Trials
from tests.synthetic import small_series
from tests.waiting import wait_until

# ------------------------------------------------------------------------ the oracle


def acknowledged(images: list[Dataset]) -> Receipts:
    """What their sender knows."""
    receipts = Receipts()
    for ds in images:
        receipts.acknowledge(ds.SOPInstanceUID, oracle.digest_of(ds))
    return receipts


@pytest.fixture
def stored(tmp_path: Path, migrated: Path) -> Iterator[tuple[House, Receipts]]:
    """A house that was sent a study."""
    shutil.copyfile(migrated, tmp_path / "rows.db")
    database = open_database(sqlite_url(tmp_path / "rows.db"))
    house, images = House(database, tmp_path / "home"), small_series()
    house.take_in(images)
    yield house, acknowledged(images)
    database.dispose()


@pytest.fixture
def served(node: Node) -> tuple[Node, Receipts]:
    """A node that was sent a study, which is done."""
    images = small_series()
    take_in(node, images)
    work_off(node)
    assert only_study(node)["state"] == "done"
    return node, acknowledged(images)


def store(house: House, receipts: Receipts) -> Tally:
    return oracle.of_store(house.home, sqlite_url(house.home.with_name("rows.db")), receipts)


def results(node: Node, held: list[Received], **more: Any) -> Tally:
    return oracle.of_results(node.archive.home, "", {"pacs": held}, **more)


def counts(tally: Tally) -> tuple[int, int, int, int]:
    return tally.lost, tally.partial, tally.duplicates, tally.missing


def file_of(node: Node | House, table: sa.Table = instance) -> Path:
    with node.database.read() as tx:
        return node.archive.at(tx.execute(sa.select(table.c.path).order_by(table.c.id)).scalars().all()[0])


def test_where_nothing_is_wrong_the_oracle_complains_of_nothing(served: tuple[Node, Receipts], pacs: FakePacs) -> None:
    node, receipts = served
    tally = oracle.of_store(node.archive.home, "", receipts)
    held = oracle.received_by(pacs.objects)
    tally.add(results(node, held, predicted={one.sop_uid for one in held} | unsent(node)))
    assert tally.is_clean, tally.complaints
    assert (tally.acknowledged, tally.delivered) == (8, 3)


def unsent(node: Node) -> set[str]:
    """Results that stand, and that this destination does not want."""
    with node.database.read() as tx:
        sent = sa.select(delivery.c.result_id)
        return set(tx.execute(sa.select(result.c.sop_uid).where(result.c.id.not_in(sent))).scalars())


def forget(house: House, _file: Path) -> None:
    """As a database from an old backup that the sweep cannot make good: row and file are gone."""
    with house.database.write() as tx:
        path = tx.execute(sa.select(instance.c.path).limit(1)).scalar_one()
        tx.execute(sa.delete(instance).where(instance.c.path == path))
    house.archive.at(path).unlink()


def cut_off(_house: House, file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-7])


def change_a_pixel(_house: House, file: Path) -> None:
    data = file.read_bytes()
    file.write_bytes(data[:-1] + bytes((data[-1] ^ 1,)))


def strew(_house: House, file: Path) -> None:
    """Half a file under a name of the store, which nobody knows."""
    (file.parent / f"{'0' * 32}.dcm").write_bytes(file.read_bytes()[:400])


def double(house: House, file: Path) -> None:
    """The same object once more, with a row of its own."""
    other = file.with_name(f"{'1' * 32}.dcm")
    other.write_bytes(file.read_bytes())
    with house.database.write() as tx:
        row = dict(tx.execute(sa.select(instance)).mappings().first() or {})
        path = other.relative_to(house.home).as_posix()
        del row["id"]
        tx.execute(sa.insert(instance).values(**row | dict(revision=2, digest="another", path=path)))


@pytest.mark.parametrize(
    ("plant", "found"),
    [
        (forget, (1, 0, 0, 0)),
        (lambda _house, file: file.unlink(), (1, 1, 0, 0)),
        (cut_off, (1, 1, 0, 0)),
        (change_a_pixel, (1, 1, 0, 0)),
        (strew, (0, 1, 0, 0)),
        (double, (0, 0, 1, 0)),
    ],
    ids=["lost", "no file", "cut off", "changed", "half a file", "twice"],
)
def test_the_oracle_says_what_is_wrong_with_a_store(
    stored: tuple[House, Receipts], plant: Any, found: tuple[int, int, int, int]
) -> None:
    house, receipts = stored
    plant(house, file_of(house))
    tally = store(house, receipts)
    assert counts(tally) == found, tally.complaints
    assert not tally.is_clean


def test_the_oracle_lets_the_sweep_take_in_an_orphan_and_asks_for_no_more(stored: tuple[House, Receipts]) -> None:
    house, receipts = stored
    with house.database.write() as tx:
        tx.execute(sa.delete(instance).where(instance.c.path == file_of(house).relative_to(house.home).as_posix()))
    receipts.acknowledged.clear()  # of an acknowledged one the row should not have gone, swept or not
    tally = store(house, receipts)
    assert tally.is_clean, tally.complaints
    assert tally.figures["files without a row, which the sweep took in"] == 1


def test_the_oracle_says_what_is_wrong_with_results(served: tuple[Node, Receipts], pacs: FakePacs) -> None:
    node, _ = served
    held = oracle.received_by(pacs.objects)
    assert counts(results(node, held[1:])) == (0, 0, 0, 1), "one is missing"
    assert counts(results(node, [*held, held[0]])) == (0, 0, 0, 0), "the same twice"
    changed = copy.deepcopy(pacs.objects[0])
    changed.SeriesDescription = "otherwise"
    assert counts(results(node, [*held, *oracle.received_by([changed])])) == (0, 0, 1, 0), "two contents"
    assert counts(results(node, [*held[1:], *oracle.received_by([changed])])) == (0, 1, 0, 0), "not what is kept"
    assert counts(results(node, [*held, Received("1.2.3", "of nobody")])) == (0, 0, 1, 0)
    assert counts(results(node, [*held, Received(held[0].sop_uid, None)])) == (0, 1, 0, 0)
    stand = {one.sop_uid for one in held} | unsent(node)
    assert counts(results(node, held, predicted=stand | {"1.2.3"})) == (0, 0, 0, 1)
    assert counts(results(node, held, predicted=stand - {held[0].sop_uid})) == (0, 0, 1, 0)
    assert counts(results(node, held, studies=["1.2.3"])) == (0, 0, 0, 1), "a study that is not there"


def test_the_oracle_says_which_deliveries_jobs_and_files_are_not_right(
    served: tuple[Node, Receipts], pacs: FakePacs
) -> None:
    node, _ = served
    held = oracle.received_by(pacs.objects)
    kept = file_of(node, result)
    whole = kept.read_bytes()
    kept.write_bytes(whole[:-1])
    assert counts(results(node, held)) == (0, 1, 0, 0)
    kept.write_bytes(whole)
    with node.database.write() as tx:
        tx.execute(sa.update(delivery).where(delivery.c.id == 1).values(state="waiting"))
    assert counts(results(node, held)) == (0, 0, 0, 2), "a delivery, and the study with it"
    with node.database.write() as tx:
        tx.execute(sa.delete(delivery))
    assert counts(results(node, held)) == (0, 0, 0, 1), "nothing was sent where a route says so"
    images = small_series()
    images[0].PixelData = np.zeros_like(images[0].pixel_array).tobytes()
    take_in(node, images)
    assert counts(results(node, held)) == (0, 0, 0, 2), "and a study without an end"


# ------------------------------------------------------------------ faults, a few times


def few(folder: Path, count: int = 1) -> Trials:
    return Trials(folder, count, Random(3), lambda: None, threading.Event())


def test_a_process_that_waits_to_be_started_again_keeps_nobody_waiting(
    start_node: Callable[..., RunningNode], tmp_path: Path
) -> None:
    """And the senders of its receiver lose nothing."""
    node = start_node(home=tmp_path / "home")
    crew, studies = Crew(lambda: node.port), Studies((24, 24, 12))
    with at_work(crew, [studies.next()[1] for _ in range(4)], Random(3)):
        wait_until("something was acknowledged", lambda: crew.receipts.count > 5)
        node.kill_child("receive")
        node.kill_child("schedule")
    assert crew.receipts.count == 48
    wait_until("both were seen to have died", lambda: node.log.count("is started again") == 2)
    said = [line for line in node.lines if "is started again" in line or "listens on" in line]
    died = [number for number, line in enumerate(said) if "is started again" in line]
    assert died == [1, 2], "seen at once, though the receiver was not there yet"
    node.stop()
    tally = oracle.of_store(node.home, "", crew.receipts)
    assert tally.is_clean, tally.complaints


@pytest.mark.parametrize("kept", [commit_kills.with_log, commit_kills.with_journal], ids=["log", "rollback journal"])
def test_a_commit_that_is_killed_loses_nothing(tmp_path: Path, kept: Callable[..., Tally]) -> None:
    tally = kept(few(tmp_path), slices=20)
    assert tally.is_clean, tally.complaints
    assert (tally.trials, tally.acknowledged) == (1, 80)


@pytest.mark.slow
def test_kills_of_a_receiver_on_postgresql_lose_nothing(tmp_path: Path) -> None:
    if Postgres.find() is None:
        lacking("PostgreSQL", "apt-get install postgresql")
    tally = receiver_kills.on_postgresql(few(tmp_path, 2), slices=20)
    assert tally.is_clean, tally.complaints


def test_senders_that_race_with_one_another_make_one_job_of_each_input_set(tmp_path: Path) -> None:
    tally = racing.rounds(few(tmp_path), associations=3)
    assert tally.is_clean, tally.complaints
    assert tally.delivered


def test_many_at_once_are_answered_only_when_each_is_safe(tmp_path: Path) -> None:
    find_program("strace", "apt-get install strace")
    tally = order.proof(few(tmp_path))
    assert tally.is_clean, tally.complaints
    assert tally.acknowledged == 48


TRACE = """\
7 fdatasync(5</h/spool/a.dcm>) = 0
7 rename("/h/spool/a.dcm", "/h/store/2026-01-01/0f/0f000000000000000000000000000000.dcm") = 0
7 fsync(6</h/store/2026-01-01/0f> <unfinished ...>
8 sendto(9<TCP:[1]>, "other", 5, 0, NULL, 0) = 5
7 <... fsync resumed>) = 0
7 pwrite64(3</h/planimeter.db-wal>, "..1.2.3..", 9, 0) = 9
7 fsync(3</h/planimeter.db-wal>) = 0
7 sendto(8<TCP:[2]>, "..1.2.3..", 9, 0, NULL, 0) = 9
"""


def test_a_step_out_of_order_is_seen_in_a_trace(tmp_path: Path) -> None:
    paths = {"1.2.3": "store/2026-01-01/0f/0f000000000000000000000000000000.dcm"}
    lines = TRACE.splitlines(keepends=True)

    def are_in_order(lines: list[str]) -> bool:
        file = tmp_path / "trace"
        file.write_text("".join(lines))
        return order.steps_of(order.calls_of(file), paths)["1.2.3"].are_in_order

    assert are_in_order(lines)
    for lacking_one in (0, 1, 2, 5, 6, 7):
        assert not are_in_order(lines[:lacking_one] + lines[lacking_one + 1 :]), lines[lacking_one]
    for earlier, later in ((0, 1), (1, 4), (4, 5), (5, 6), (6, 7)):
        swapped = list(lines)
        swapped[earlier], swapped[later] = swapped[later], swapped[earlier]
        assert not are_in_order(swapped), lines[earlier]


# ---------------------------------------------------------------------------- the page


def test_every_fault_of_the_plan_has_its_row_and_tests_that_exist() -> None:
    said = page.PAGE.read_text()
    written = {
        name
        for file in Path(__file__).parent.glob("test_*.py")
        for name in re.findall(r"^(?:async )?def (test_\w+)", file.read_text(), re.MULTILINE)
    }
    words = page.WORDS.read_text()
    assert set(re.findall(r"`(test_[a-z_]+)`", words)) <= written
    for fault in PLAN:
        rows = re.findall(rf"^\| `{fault.name}` \| (.*)$", said, re.MULTILINE)
        assert len(rows) == 2, f"{fault.name} has counts and a command: run `python -P -m tests.soak.page`"
        assert "not run yet" in rows[0] or re.search(r"\d", rows[0].split("|")[1]), fault.name
        assert f"make soak ARGS={fault.name}`" in rows[1]
        files = {name.partition("::")[0] for name in fault.tests if name.startswith("tests/")}
        assert all((page.ROOT / file).is_file() for file in files), fault.name
        assert {name.rpartition("::")[2].partition("[")[0] for name in fault.tests} - files <= written, fault.name
    shown = re.findall(r"^\| `([a-z-]+)` \|", said, re.MULTILINE)
    assert set(shown) == {fault.name for fault in PLAN}


def test_the_page_shows_what_went_wrong_and_what_was_not_run() -> None:
    fault, other = PLAN[:2]
    told = Tally(lost=2, trials=3, acknowledged=1200, recoveries=[1.0, 2.0], complaints=["it is not there"]).as_json()
    words = page.page("{table}\n{machine}\n{notes}\n{commands}", {fault.name: {**told, "cores": 2, "python": "3"}})
    (row,) = re.findall(rf"^\| `{fault.name}` \| .* 1,200 .*$", words, re.MULTILINE)
    assert "3 of 200" in row
    assert "**2**" in row
    assert "1.0 s, 2.0 s" in row
    assert "1 complaints**, the first: it is not there" in words
    assert re.search(rf"^\| `{other.name}` \| .*not run yet", words, re.MULTILINE)
