"""Watch: week by week what became of what a network read, and a review where its input drifts."""

from __future__ import annotations

import json
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa

from db import events, networks, reviews, trials
from db.database import Database, clock
from db.tables import appearance
from node.app import Node
from node.cli import main
from node.errors import Refused
from node.operations.watch import looking, weeks
from node.operations.watch.looking import Policy
from node.schedule import ask_for_watch
from tests.driving import jobs_of, only_study, take_in, work_off
from tests.synthetic import small_series
from tests.watched import DAY, WEEK, Ward, appearance_of

POLICY = Policy(reference_persons=30, fewest_persons=20, accepted_days=14)


def this_week(now: float) -> float:
    return weeks.begins(weeks.monday(datetime.fromtimestamp(now).astimezone().date()))


# ------------------------------------------------------------------- weeks


@pytest.fixture
def five_weeks(database: Database) -> tuple[Database, float]:
    """Three weeks ago ten studies; last week two; and what came of them."""
    with database.write() as tx:
        now, ward = clock(tx), Ward(tx)
        then, last = this_week(now) - 3 * WEEK + DAY, this_week(now) - DAY
        ward.live(at=then - WEEK)
        old = [ward.read(then + n, delivered=then + n + 60) for n in range(8)]
        ward.read(then + 8, segments=[{"value": 1, "volume_ml": 0.0, "area_mm2": 0.0}], flags=["volume-implausible"])
        ward.read(then + 9, flags=["touches-edge", "touches-edge", "low-confidence"])  # silent: it was not sent
        ward.comes_back(old[0], then + DAY, dice=0.8)
        ward.comes_back(old[1], then + DAY, dice=0.9)
        ward.comes_back(old[2], then + DAY, state="accepted", dice=1.0)
        ward.comes_back(old[3], then + DAY, state="quarantined")
        ward.read(last, delivered=last)
        ward.refused(ward.read(last, delivered=None), last, "slices-missing")
        tried = ward.read(last, delivered=None, study_uid="2.25.77")
        trials.begin(tx, "2.25.77", "ct_lungs", "physicist")
        ward.refused(tried, last, "slices-missing")
    return database, now


def test_a_week_says_what_became_of_what_was_read_in_it(five_weeks: tuple[Database, float]) -> None:
    database, now = five_weeks
    with database.read() as tx:
        found = weeks.of_network(tx, "ct_lungs", now, 5, accepted_days=14)
    this, last, _, then, _ = found
    assert (this.results, this.acceptance_rate) == (0, None)
    assert (then.results, then.delivered, then.empty, then.flagged) == (10, 8, 1, 2)
    assert then.flags == {"volume-implausible": 1, "touches-edge": 1, "low-confidence": 1}
    assert (then.accepted, then.unchanged, then.corrected, then.pending) == (6, 1, 2, 0)
    assert then.acceptance_rate == 0.75
    assert then.dice is not None
    assert (then.dice.number, then.dice.median) == (2, 0.85)
    assert then.volumes_ml[1].number == 9
    assert then.versions == ("1.2.0",)
    assert (last.results, last.pending, last.accepted, last.refused) == (2, 1, 0, {"slices-missing": 1})


def test_what_nobody_corrected_yet_is_neither_accepted_nor_corrected(five_weeks: tuple[Database, float]) -> None:
    database, now = five_weeks
    with database.read() as tx:
        then = weeks.of_network(tx, "ct_lungs", now, 5, accepted_days=60)[3]
    assert (then.accepted, then.corrected, then.pending, then.acceptance_rate) == (
        1,
        2,
        5,
        None,
    )  # a rate of what came first would be too low


@pytest.mark.parametrize(
    ("segments", "empty"),
    [
        ([{"value": 1, "volume_ml": 0.0}, {"value": 2, "volume_ml": 1.0}], False),
        ([{"value": 1, "volume_ml": None, "area_mm2": 12.0}], False),
        ([{"value": 1, "volume_ml": None, "area_mm2": 0.0}], True),
        ([{"finding": 1, "label": "Nodule", "number": 0}], True),
        ([{"finding": 1, "label": "Nodule", "number": 1}], False),
        ([{"finding": 1, "label": "Pneumonia", "probability": 0.01, "present": False}], False),
    ],
)
def test_an_empty_result_is_one_in_which_nothing_was_found(segments: Any, empty: bool) -> None:
    assert weeks.is_empty(segments) is empty


# ------------------------------------------------------------------- drift


def reads(database: Database, persons: int, at: float, **looks: Any) -> None:
    random = np.random.default_rng(int(at))
    with database.write() as tx:
        ward = Ward(tx)
        number = tx.execute(sa.select(sa.func.count()).select_from(appearance)).scalar_one()
        live = networks.live(tx, "ct_lungs")
        ward.version, ward.number = live["id"] if live else ward.live(at=at), number
        for n in range(persons):
            ward.read(at + n, looks=appearance_of(random, **looks))


def look(database: Database, now: float) -> str:
    return looking.look_at(database, "ct_lungs", POLICY, now)


def test_a_new_protocol_opens_one_review_that_only_a_person_closes(database: Database) -> None:
    with database.read() as tx:
        now = clock(tx)
    monday = this_week(now)
    reads(database, 30, monday - 4 * WEEK)
    assert look(database, now - 3 * WEEK) == ""
    reads(database, 25, monday - 3 * WEEK)
    assert look(database, now - 2 * WEEK) == ""
    reads(database, 25, monday - 2 * WEEK, thickness_mm=1.0)
    assert "CT slice thickness (KS 1.00): median 2.5 mm before, 1 mm now" in look(database, now - WEEK)
    reads(database, 25, monday - WEEK, thickness_mm=1.0)
    assert look(database, now) == ""  # it is open already
    with database.read() as tx:
        (review,) = reviews.open_reviews(tx)
        looks = [(row["persons"], row["reference_persons"]) for row in reviews.looks(tx, "ct_lungs", 9)]
        live = networks.live(tx, "ct_lungs")
        recorded = [row["what"] for row in events.listing(tx, "ct_lungs")]
        assert live is not None and live["version"] == "1.2.0"
    assert looks == [(25, 30), (25, 30), (25, 30)]
    assert recorded[0] == "review opened"
    assert "promote" not in recorded

    with pytest.raises(Refused, match="needs a reason"):
        looking.close(database, review["id"], "physicist", " ")
    said = looking.close(database, review["id"], "physicist", "new protocol, results looked at", renew=True)
    assert "gathered anew" in said
    with pytest.raises(Refused, match="closed before, by physicist"):
        looking.close(database, review["id"], "other", "again")
    with database.read() as tx:
        assert reviews.open_reviews(tx) == []
        assert events.listing(tx, "ct_lungs")[0]["who"] == "physicist"
        renewed = looking.reference(tx, "ct_lungs", POLICY)
        assert events.verify(tx) is None
    assert (renewed.complete, renewed.persons) == (False, ())


def test_a_version_that_was_trained_here_is_compared_with_whom_it_was_trained_on(database: Database) -> None:
    random = np.random.default_rng(2)
    with database.write() as tx:
        now, ward = clock(tx), Ward(tx)
        before = ward.live()
        data_set_id, test_set_id = (ward.data_set(purpose) for purpose in ("training", "test"))
        for n in range(25):
            made = ward.read(now - 9 * WEEK, looks=appearance_of(random, kernel="B70f"))
            ward.member(data_set_id, ward.comes_back(made, now - 9 * WEEK), "train" if n < 22 else "validation")
        trained = ward.live("1.2.0+001", parent=before)
        ward.run(data_set_id, test_set_id, trained)
        found = looking.reference(tx, "ct_lungs", POLICY)
        assert (found.what, len(found.persons), found.complete) == (looking.OF_TRAINING, 22, True)
        assert found.since > now - DAY  # from its release on
        few = looking.reference(tx, "ct_lungs", Policy(reference_persons=20, fewest_persons=23, accepted_days=14))
        assert few.what == looking.OF_FIRST


def test_a_week_is_looked_at_once_and_too_few_persons_wait(database: Database) -> None:
    with database.read() as tx:
        now = clock(tx)
    monday = this_week(now)
    reads(database, 30, monday - 4 * WEEK)
    reads(database, 12, monday - 3 * WEEK)
    assert look(database, now - 2 * WEEK) == ""
    reads(database, 12, monday - 2 * WEEK, kernel="Br64")
    look(database, now - WEEK)
    look(database, now - WEEK)
    with database.read() as tx:
        assert [row["persons"] for row in reviews.looks(tx, "ct_lungs", 9)] == [24]


def test_who_comes_often_is_one_person_and_a_trial_is_nobody(database: Database) -> None:
    with database.write() as tx:
        now, ward = clock(tx), Ward(tx)
        ward.live()
        random = np.random.default_rng(1)
        once = ward.read(now - WEEK, looks=appearance_of(random))
        person = tx.execute(sa.text(f"SELECT patient_id FROM study WHERE id = {once}")).scalar_one()
        for n in range(50):
            ward.read(now - WEEK + n, looks=appearance_of(random), person=person)
        ward.read(now, looks=appearance_of(random), study_uid="2.25.77")
        trials.begin(tx, "2.25.77", "ct_lungs", "physicist")
        assert len(looking.reference(tx, "ct_lungs", POLICY).persons) == 1


# ----------------------------------------------------- from image to screen


def test_what_a_study_looks_like_is_kept_when_it_is_read(node: Node) -> None:
    take_in(node, small_series())
    only_study(node)
    ask_for_watch(node)
    ask_for_watch(node)
    work_off(node)
    with node.database.read() as tx:
        (row,) = tx.execute(sa.select(appearance)).mappings().all()
    (seen,) = row["channels"]
    assert seen["unit"] == "HU"
    assert set(seen["numbers"]) == {"pixel_spacing_mm", "slice_spacing_mm", "slice_thickness_mm"}
    assert sum(seen["values"]) == pytest.approx(1000, abs=0.2)
    assert len(json.dumps(row["channels"])) < 1000
    assert [one["state"] for one in jobs_of(node, "watch")] == ["done"]


def test_the_terminal_shows_the_weeks_and_closes_a_review(
    node: Node, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    home = ("--home", str(node.archive.home))
    with node.database.write() as tx:
        now, ward = clock(tx), Ward(tx)
        ward.live()
        ward.comes_back(ward.read(now - 60, delivered=now), now)
        opened = reviews.open_one(tx, "ct_lungs", "what it reads has changed", None)
    assert main(["watch", *home]) == 0
    shown = capsys.readouterr().out
    assert "ct_lungs, week by week" in shown
    assert "review 1 is open" in shown
    assert main(["watch", "ct_lungs", "--json", *home]) == 0
    (watched,) = json.loads(capsys.readouterr().out)["networks"]
    assert watched["weeks"][0]["corrected"] == 1
    assert watched["weeks"][0]["week"] == weeks.named(datetime.now().astimezone().date())
    assert watched["reviews"][0]["id"] == opened
    assert main(["watch", "--close", str(opened), *home]) == 1
    assert "--reason" in capsys.readouterr().err
    assert main(["watch", "--close", str(opened), "--reason", "looked at", *home]) == 0
    assert main(["watch", "no_such", *home]) == 1
    assert "no network called no_such" in capsys.readouterr().err


def test_a_week_begins_on_monday_also_where_the_clocks_change() -> None:
    day = date(2026, 3, 29)
    assert (weeks.monday(day).isoformat(), weeks.named(day)) == ("2026-03-23", "2026-W13")
    assert weeks.begins(weeks.monday(day) + timedelta(weeks=1)) - weeks.begins(weeks.monday(day)) in (
        WEEK,
        WEEK - 3600,
    )
