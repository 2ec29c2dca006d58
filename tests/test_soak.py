"""Faults of the plan in their short form; and the oracle of all of them, which says what was planted."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa

from db.tables import delivery, instance, result
from node.app import Node
from tests.driving import only_study, take_in, work_off
from tests.fake_pacs import FakePacs
from tests.soak import oracle
from tests.soak.oracle import Receipts, Received
from tests.soak.tally import Tally
from tests.synthetic import small_series

# ------------------------------------------------------------------------ the oracle


@pytest.fixture
def stored(node: Node) -> tuple[Node, Receipts]:
    """A node that was sent a study, and what its sender knows."""
    receipts = Receipts()
    images = small_series()
    take_in(node, images)
    for ds in images:
        receipts.acknowledge(ds.SOPInstanceUID, oracle.digest_of(ds))
    return node, receipts


@pytest.fixture
def served(stored: tuple[Node, Receipts]) -> tuple[Node, Receipts]:
    """The same, and the study is done."""
    work_off(stored[0])
    assert only_study(stored[0])["state"] == "done"
    return stored


def store(node: Node, receipts: Receipts) -> Tally:
    return oracle.of_store(node.archive.home, "", receipts)


def results(node: Node, held: list[Received], **more: Any) -> Tally:
    return oracle.of_results(node.archive.home, "", {"pacs": held}, **more)


def counts(tally: Tally) -> tuple[int, int, int, int]:
    return tally.lost, tally.partial, tally.duplicates, tally.missing


def file_of(node: Node, table: sa.Table = instance) -> Path:
    with node.database.read() as tx:
        return node.archive.at(tx.execute(sa.select(table.c.path).order_by(table.c.id)).scalars().all()[0])


def test_where_nothing_is_wrong_the_oracle_complains_of_nothing(served: tuple[Node, Receipts], pacs: FakePacs) -> None:
    node, receipts = served
    tally = store(node, receipts)
    held = oracle.received_by(pacs.objects)
    tally.add(results(node, held, predicted={one.sop_uid for one in held} | unsent(node)))
    assert tally.is_clean, tally.complaints
    assert (tally.acknowledged, tally.delivered) == (8, 3)


def unsent(node: Node) -> set[str]:
    """Results that stand, and that this destination does not want."""
    with node.database.read() as tx:
        sent = sa.select(delivery.c.result_id)
        return set(tx.execute(sa.select(result.c.sop_uid).where(result.c.id.not_in(sent))).scalars())


def forget(node: Node, _file: Path) -> None:
    """As a database from an old backup that the sweep cannot make good: row and file are gone."""
    with node.database.write() as tx:
        path = tx.execute(sa.select(instance.c.path).limit(1)).scalar_one()
        tx.execute(sa.delete(instance).where(instance.c.path == path))
    node.archive.at(path).unlink()


def cut_off(_node: Node, file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-7])


def change_a_pixel(_node: Node, file: Path) -> None:
    data = file.read_bytes()
    file.write_bytes(data[:-1] + bytes((data[-1] ^ 1,)))


def strew(_node: Node, file: Path) -> None:
    """Half a file under a name of the store, which nobody knows."""
    (file.parent / f"{'0' * 32}.dcm").write_bytes(file.read_bytes()[:400])


def double(node: Node, file: Path) -> None:
    """The same object once more, with a row of its own."""
    other = file.with_name(f"{'1' * 32}.dcm")
    other.write_bytes(file.read_bytes())
    with node.database.write() as tx:
        row = dict(tx.execute(sa.select(instance)).mappings().first() or {})
        path = other.relative_to(node.archive.home).as_posix()
        del row["id"]
        tx.execute(sa.insert(instance).values(**row | dict(revision=2, digest="another", path=path)))


@pytest.mark.parametrize(
    ("plant", "found"),
    [
        (forget, (1, 0, 0, 0)),
        (lambda _node, file: file.unlink(), (1, 1, 0, 0)),
        (cut_off, (1, 1, 0, 0)),
        (change_a_pixel, (1, 1, 0, 0)),
        (strew, (0, 1, 0, 0)),
        (double, (0, 0, 1, 0)),
    ],
    ids=["lost", "no file", "cut off", "changed", "half a file", "twice"],
)
def test_the_oracle_says_what_is_wrong_with_a_store(
    stored: tuple[Node, Receipts], plant: Any, found: tuple[int, int, int, int]
) -> None:
    node, receipts = stored
    plant(node, file_of(node))
    tally = store(node, receipts)
    assert counts(tally) == found, tally.complaints
    assert not tally.is_clean


def test_the_oracle_lets_the_sweep_take_in_an_orphan_and_asks_for_no_more(stored: tuple[Node, Receipts]) -> None:
    node, receipts = stored
    with node.database.write() as tx:
        tx.execute(
            sa.delete(instance).where(instance.c.path == file_of(node).relative_to(node.archive.home).as_posix())
        )
    receipts.acknowledged.clear()  # of an acknowledged one the row should not have gone, swept or not
    tally = store(node, receipts)
    assert tally.is_clean, tally.complaints
    assert tally.figures["orphans"] == 1


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
