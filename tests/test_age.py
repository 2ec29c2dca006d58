"""What a node asks all the time goes by an index: a database with years of finished work answers as a new one."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa

from db import schema
from db.database import Database, open_database
from tests import aged, plans
from tests.questions import BOUNDED, EVERY_SECOND, WHEN_LOOKED_AT

QUESTIONS = {**EVERY_SECOND, **WHEN_LOOKED_AT}
STUDIES = 20_000
#: what could be used in the place of an index
ALSO = {
    "ix_job_claimable": ("ix_job_undone", "uq_job_open"),
    "ix_job_leased": ("ix_job_undone", "uq_job_open", "uq_job_fetching"),
    "ix_job_dead": ("ix_job_undone",),
}


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def old(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """A database with many finished studies, and a few that are not."""
    if request.param == "sqlite":
        url = f"sqlite+pysqlite:///{tmp_path_factory.mktemp('old') / 'rows.db'}"
    else:
        url = request.getfixturevalue("postgres").new_database()
    database = open_database(url)
    schema.require(database)
    with database.write() as tx:
        aged.fill(tx, STUDIES, time.time())
        aged.some_open(tx, time.time())
    with database.write() as tx:
        aged.analyse(tx)
        if not database.is_sqlite:
            # of tables that are as small as here it would rather read the whole; nobody would of large ones
            tx.execute(sa.text(f'ALTER DATABASE "{database.engine.url.database}" SET enable_seqscan = off'))
    database.engine.dispose()
    yield database
    database.dispose()


@pytest.mark.parametrize("name", QUESTIONS)
def test_no_question_goes_through_all_that_was_ever_done(old: Database, name: str) -> None:
    assert plans.all_faults(old, QUESTIONS[name]) == []


@pytest.mark.parametrize("name", BOUNDED)
def test_what_looks_through_the_latest_stops_there(old: Database, name: str) -> None:
    # PostgreSQL weighs, and the latest of so few rows are nearly all: tests/bench/age.py shows it of a million
    found = plans.all_faults(old, BOUNDED[name])
    assert not old.is_sqlite or found == []


@pytest.mark.parametrize(
    ("index", "name"),
    [
        ("ix_job_claimable", "is there work"),
        ("ix_job_leased", "rescue"),
        ("ix_study_settling", "settle"),
        ("ix_attempt_untallied", "count attempts"),
        ("ix_delivery_undone", "gauges of studies and deliveries"),
        ("ix_result_apart", "what the self-check holds"),
        ("ix_job_dead", "gauges of the queue"),
    ],
)
def test_a_question_without_its_index_is_caught(old: Database, index: str, name: str) -> None:
    """The gate, seen to fail: the index is dropped, in a transaction that is rolled back."""

    def without(tx: Any) -> object:
        for one in (index, *ALSO.get(index, ())):
            tx.execute(sa.text(f"DROP INDEX {one}"))
        return QUESTIONS[name](tx)

    assert plans.all_faults(old, without), f"{index} is not needed"
