"""Moving to another PACS: what stands goes there as the same bytes, once, whatever is repeated."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from db.database import Clock, Database
from db.tables import delivery, measurement, result
from node.app import Node
from node.errors import Refused
from node.operations import resend, verdicts
from node.outbound.target import Target
from tests.driving import only_study, take_in, work_off
from tests.fake_pacs import FakePacs
from tests.kept import House
from tests.running import planimeter
from tests.synthetic import small_series

NEW = Target("new", "NEW", "127.0.0.1", 104)


@pytest.fixture
def house(database: Database, tmp_path: Path) -> House:
    return House(database, tmp_path / "home")


def planned(house: House, target: Target = NEW, **which: Any) -> list[resend.Run]:
    values: dict[str, Any] = dict(since=None, study_uid=None, network=None)
    return resend.plan(house.database, target, **values | which)


def forms_of(house: House, runs: list[resend.Run]) -> list[tuple[str, str]]:
    rows = {row["id"]: (row["kind"], row["options"]) for row in house.rows(result)}
    return [rows[one] for run in runs for one in run.ids]


def test_what_stands_and_was_sent_is_queued_once(house: House) -> None:
    house.done(pacs="delivered")
    house.done(pacs="committed")
    runs = planned(house)
    assert [len(run.ids) for run in runs] == [2, 2]
    for _ in range(2):
        resend.resend(house.database, NEW, runs, 3)
    assert len(house.rows(delivery, delivery.c.destination == "new")) == 4
    assert planned(house) == []
    assert {row["state"] for row in house.rows(delivery, delivery.c.destination == "pacs")} == {
        "delivered",
        "committed",
    }


def test_what_stands_no_more_when_it_is_queued_is_not(house: House) -> None:
    """An archive of years takes its time to be queued: meanwhile a person takes one back, and bytes go by retention."""
    uids = [house.done(pacs="delivered") for _ in range(3)]
    runs = planned(house)
    wrong, purged, stands = (run.ids for run in runs)
    verdicts.withdraw(house.database, str(wrong[0]), "ann", "wrong", 3)
    with house.database.write() as tx:
        tx.execute(sa.update(result).where(result.c.id.in_(purged)).values(path=None))
    resend.resend(house.database, NEW, runs, 3)
    assert [row["result_id"] for row in house.rows(delivery, delivery.c.destination == "new")] == list(stands)
    assert len(uids) == len(runs)


def test_what_was_never_sent_or_does_not_stand_or_is_not_kept_stays(house: House) -> None:
    house.done()  # by a silent route
    house.done(pacs="held")
    one = house.input_set(house.study())
    for state in ("superseded", "withdrawn", "discarded", "held"):
        house.result(one, state=state, pacs="delivered")
    house.result(one, "KOS", "113001", pacs="delivered")
    gone = house.result(one, pacs="delivered")
    with house.database.write() as tx:
        tx.execute(sa.update(result).where(result.c.id == gone).values(path=None))
    assert planned(house) == []


def test_days_studies_and_networks_choose(house: House) -> None:
    old, new = house.done(days=10, pacs="delivered"), house.done(pacs="delivered")
    house.result(house.input_set(new, "lung"), pacs="delivered")
    with house.database.read() as tx:
        yesterday = tx.execute(sa.select(Clock() - 86_400)).scalar_one()
    assert {run.study_uid for run in planned(house, since=yesterday)} == {new}
    assert {run.study_uid for run in planned(house, study_uid=old)} == {old}
    assert len(planned(house, network="lung")) == 1
    assert resend.day("2026-01-02") - resend.day("2026-01-01") == 86_400
    with pytest.raises(Refused, match="no day"):
        resend.day("last week")


def test_each_destination_gets_the_forms_that_it_is_configured_for(house: House) -> None:
    one = house.input_set(house.study())
    made = [("SEG", "BINARY"), ("SEG", "LABELMAP"), ("SEG", "BINARY-MARKED"), ("SR", "TID1411")]
    made += [("SR", "TID1411-LABELMAP"), ("SR", "TID1411-COMPREHENSIVE"), ("SR", "TID1411-MARKED"), ("PDF", "REPORT")]
    for kind, options in made:
        house.result(one, kind, options, pacs="delivered")
    assert forms_of(house, planned(house)) == [("SEG", "BINARY"), ("SR", "TID1411")]
    shows = dataclasses.replace(NEW, label_map=True, objects=frozenset({"SEG", "SR", "PDF"}))
    assert forms_of(house, planned(house, shows)) == [
        ("SEG", "LABELMAP"),
        ("SR", "TID1411-LABELMAP"),
        ("PDF", "REPORT"),
    ]
    with house.database.write() as tx:
        said = [{"code": "touches-edge", "segment": 1, "sentence": "It touches the edge."}]
        values = dict(input_set_id=one, model_version_id=house_version(tx), study_date="", segments=[], flags=said)
        tx.execute(sa.insert(measurement).values(**values, created=Clock()))
    marks = dataclasses.replace(NEW, flagged="mark")
    assert forms_of(house, planned(house, marks)) == [("SEG", "BINARY-MARKED"), ("SR", "TID1411-MARKED")]
    holds = dataclasses.replace(NEW, flagged="hold")
    resend.resend(house.database, holds, planned(house, holds), 3)
    (states,) = {(row["state"], row["reason"]) for row in house.rows(delivery, delivery.c.destination == "new")}
    assert states == ("held", "It touches the edge.")


def house_version(tx: Any) -> int:
    return int(tx.execute(sa.select(result.c.model_version_id).limit(1)).scalar_one())


def test_the_new_pacs_gets_the_bytes_that_the_old_one_got_and_the_images(node: Node, pacs: FakePacs) -> None:
    take_in(node, small_series())
    work_off(node)
    with FakePacs() as new:
        target = Target("new", new.ae_title, "127.0.0.1", new.port)
        node.targets["new"] = target
        for _ in range(2):
            runs = resend.plan(node.database, target, since=None, study_uid=None, network=None)
            resend.resend(node.database, target, runs, 3)
            work_off(node)
        assert only_study(node)["state"] == "done"
        assert sorted(new.calls.elements()) == sorted(pacs.calls.elements())
        assert len(new.calls) == 3
        by_uid = {str(ds.SOPInstanceUID): ds for ds in pacs.objects}
        assert all(ds == by_uid[str(ds.SOPInstanceUID)] for ds in new.objects)
        with node.database.read() as tx:
            (study_id,) = tx.execute(sa.text("SELECT id FROM study")).scalars()
        given = (node.database, node.archive, node.trail, target, [study_id], "PLANIMETER", 5)
        assert resend.send_originals(*given) == 0
        assert len(new.calls) == 11


def test_the_command_asks_for_a_destination_that_is_configured(tmp_path: Path) -> None:
    given = ("resend", "--to", "new", "--home", tmp_path / "home")
    no = planimeter(*given, check=False)
    assert (no.returncode, "new is no [[peer]] with a `destination`" in no.stderr) == (1, True)
    config = tmp_path / "c.toml"
    config.write_text('[[peer]]\nname = "new"\nae_title = "NEW"\ndestination = { host = "127.0.0.1", port = 9 }\n')
    assert "0 objects of 0 studies" in planimeter(*given, "--config", config, "--dry-run").stdout
