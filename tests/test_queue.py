"""The live queue: what its numbers and filters say is what `status` says, page by page, and as it changes."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest
import sqlalchemy as sa

from db import deadlines, overview, queue
from db.database import Database, clock
from db.marks import Mark
from db.queue import STATES, Wanted
from db.tables import dispatch, input_set, job, study
from node.errors import Refused
from node.operations import queue as view
from node.operations.status import STYLES, state_of
from tests.crowd import MIXES, Crowd, all_alike, as_usual, at_random


def filled(database: Database, seed: int, studies: int) -> None:
    with database.write() as tx:
        crowd = Crowd(Random(seed), clock(tx))
        at_random(crowd, studies)
        crowd.write(tx)


def states(database: Database) -> dict[int, str]:
    """What `planimeter status` says of every study."""
    with database.read() as tx:
        found = overview.studies(tx)
        kinds = overview.kinds(tx, [one.row["id"] for one in found])
    return {one.row["id"]: state_of(one, kinds.get(one.row["id"], set()))[0] for one in found}


@pytest.mark.parametrize("seed", range(3))
def test_the_states_are_those_of_status_whatever_the_rows(database: Database, seed: int) -> None:
    filled(database, seed, 300)
    said = states(database)
    assert set(said.values()) <= set(STATES) <= set(STYLES)
    with database.read() as tx:
        assert {state: n for state, n in queue.counts(tx, Wanted()).items() if n} == Counter(said.values())
        for state in STATES:
            assert set(queue.page(tx, Wanted(), state, 1000)) == {one for one, is_in in said.items() if is_in == state}
    assert len(set(said.values())) >= 9, "the rows are of many kinds"


@pytest.mark.parametrize("name", ["route", "network", "destination"])
def test_filters_leave_what_they_name(database: Database, name: str) -> None:
    filled(database, 7, 200)
    value = {"route": "chest", "network": "mr_tumour", "destination": "research"}[name]
    column = input_set.c.network if name == "network" else dispatch.c[name]
    with database.read() as tx:
        query = sa.select(input_set.c.study_id).join(dispatch).where(column == value)
        expected = set(tx.execute(query).scalars())
        wanted = Wanted(**{name: value})
        assert set(queue.page(tx, wanted, "", 1000)) == expected
        said = states(database)
        of_these = Counter(said[one] for one in expected)
        assert {state: n for state, n in queue.counts(tx, wanted).items() if n} == of_these
        assert queue.page(tx, Wanted(**{name: "'; drop table study; --"}), "", 1000) == []


def test_pages_follow_one_another_there_and_back(database: Database) -> None:
    with database.write() as tx:
        crowd = Crowd(Random(0), clock(tx))
        for _ in range(120):
            crowd.study("open", 0)
        crowd.write(tx)
    first = view.page(database, Wanted())
    second = view.page(database, Wanted(), before=first.older)
    third = view.page(database, Wanted(), before=second.older)
    numbers = [[entry.id for entry in page.entries] for page in (first, second, third)]
    assert [len(page) for page in numbers] == [50, 50, 20]
    assert [number for page in numbers for number in page] == list(range(120, 0, -1))
    assert (first.newer, third.older) == (None, None)
    back = view.page(database, Wanted(), after=third.newer)
    assert [entry.id for entry in back.entries] == numbers[1]
    again = view.page(database, Wanted(), after=back.newer)
    assert [entry.id for entry in again.entries] == numbers[0]
    assert again.newer is None


def test_an_entry_says_what_happens(database: Database) -> None:
    with database.write() as tx:
        crowd = Crowd(Random(1), clock(tx))
        study_id = crowd.study("closed", 12, "Müller^Ä")
        made = crowd.input_set(study_id)
        crowd.job(study_id, "segment", "running", input_set_id=made, windows_done=3, windows_of=8)
        crowd.result(made, "SEG", "ready", ("delivered", "dead"))
        crowd.write(tx)
    (entry,) = view.page(database, Wanted()).entries
    assert (entry.state, entry.images, entry.modalities, entry.sender) == ("running", 12, "CT", "CT_1")
    assert (entry.patient_id, entry.accession) == ("Müller^Ä", "ACC000001")
    (running,) = entry.jobs
    assert running.what.startswith("segment ")
    assert (running.windows_done, running.windows_of) == (3, 8)
    assert [(one.destination, one.state, one.count) for one in entry.sent] == [
        ("pacs", "delivered", 1),
        ("research", "dead", 1),
    ]


def test_what_a_person_types_finds_the_study(database: Database) -> None:
    filled(database, 3, 50)
    with database.read() as tx:
        row = tx.execute(sa.select(study).where(study.c.id == 7)).mappings().one()
        of_result = tx.execute(sa.select(input_set.c.study_id)).scalars().first()
    assert of_result is not None
    for text in (row["study_uid"], f"  {row['accession']} ", "PAT00007"):
        assert view.search(database, text) == [7], text
    assert len(view.search(database, "1.2.826.")) == 50
    for text in ("", "1.2.3", "2.826.0.1.7", "%", "PAT%", "x" * 65, "'; drop table study; --", "nobody\0"):
        with pytest.raises(Refused) as refused:
            view.search(database, text)
        assert refused.value.code == "nothing-found"


def test_the_mark_changes_with_what_others_commit_and_with_nothing_else(database: Database) -> None:
    mark = Mark(database)
    before = mark.current()
    with database.read() as tx:
        tx.execute(sa.select(study)).all()
    if database.is_sqlite:  # a PostgreSQL server has other databases, whose transactions count too
        assert mark.current() == before
    filled(database, 1, 3)
    now = mark.current()
    assert now != before
    with database.write() as tx:
        tx.execute(sa.update(job).values(priority=2))
        assert mark.current() == now, "it is not committed yet"
    assert mark.current() != now


def test_deadlines_of_what_is_on_its_way_are_found(database: Database) -> None:
    with database.write() as tx:
        crowd = Crowd(Random(0), now := clock(tx))
        for state in ["open"] * 3 + ["closed"] * 6:
            crowd.study(state, 2)
        done, late = crowd.input_set(4, deadline=now - 60), crowd.input_set(5, deadline=now - 50)
        old = crowd.input_set(6, deadline=now - 90)
        newer, soon = crowd.input_set(6, supersedes=old, deadline=now + 30), crowd.input_set(7, deadline=now + 20)
        sets = {4: done, 5: late, 6: newer, 7: soon, 8: crowd.input_set(8)}
        for study_id, made in (*sets.items(), (6, old)):
            crowd.job(study_id, "segment", "done", input_set_id=made)
            crowd.job(study_id, "deliver", "done" if made == done else "waiting", input_set_id=made, said=False)
        crowd.job(9, "choose", "waiting", said=False)
        crowd.write(tx)
    with database.read() as tx:
        assert queue.urgent(tx, Wanted(), 9) == [(5, now - 50), (7, now + 20), (6, now + 30)]
        assert [one for one, _ in queue.urgent(tx, Wanted(), 2)] == [5, 7]
        network = tx.execute(sa.select(input_set.c.network).where(input_set.c.id == soon)).scalar_one()
        here = tx.execute(sa.select(input_set.c.study_id).where(input_set.c.network == network)).scalars().all()
        assert {one for one, _ in queue.urgent(tx, Wanted(network=network), 9)} == {5, 6, 7} & set(here)
        assert deadlines.soonest(tx, [4, 5, 6, 7, 8, 9]) == {5: now - 50, 6: now + 30, 7: now + 20}
        early = deadlines.unchosen(tx)
        assert queue.among(tx, Wanted(), [1, 2, 77]) == {1, 2}
    assert [(one.study_id, one.waits_for) for one in early] == [
        (1, "images"),
        (2, "images"),
        (3, "images"),
        (9, "choose"),
    ]
    assert {(one.modalities, one.sender) for one in early} == {(("CT",), "CT_1")}


@pytest.mark.parametrize("state", MIXES)
def test_a_day_on_which_all_studies_are_alike(database: Database, state: str) -> None:
    with database.write() as tx:
        crowd = Crowd(Random(0), clock(tx))
        as_usual(crowd, 20, 1)
        crowd.write(tx)
        all_alike(tx, Crowd(Random(0), clock(tx)), state)
    assert set(states(database).values()) == {state}
    with database.read() as tx:
        assert queue.counts(tx, Wanted())[state] == 20
        assert len(queue.page(tx, Wanted(), state, 50)) == 20


def test_weeks_of_studies_are_counted(database: Database) -> None:
    with database.write() as tx:
        crowd = Crowd(Random(0), clock(tx))
        as_usual(crowd, 1000, 0)
        crowd.write(tx)
    said = Counter(states(database).values())
    with database.read() as tx:
        assert {state: n for state, n in queue.counts(tx, Wanted()).items() if n} == said
    assert said["done"] > 700
    assert set(said) >= set(STATES) - {"discarded"}
