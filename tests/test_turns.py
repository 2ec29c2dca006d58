"""Whose turn it is in the queue, the same on SQLite and PostgreSQL; and what becomes of a job that nobody wants."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import groupby

import pytest
import sqlalchemy as sa

from db import job_orders, jobs, recording, turns
from db.database import Clock, Database
from db.job_states import Claim, JobKind, JobState, LostLease, Report
from db.tables import attempt, job, study
from node import giving_up
from node.app import Node
from node.errors import Refused
from node.operations import control
from node.worker import Worker
from tests.driving import jobs_of, only_study, take_in, work_off
from tests.fake_pacs import FakePacs
from tests.synthetic import small_series
from tests.test_settling import arrival

STAT, ROUTINE, NIGHT = 0, 10, 20
HOUR = 3600.0


def from_source(database: Database, source: str, number: int) -> int:
    """A study of which one image came from a source; its row."""
    with database.write() as tx:
        recording.record(tx, [replace(arrival(study_uid=f"1.8.{number}"), calling_ae=source)])
        return int(tx.execute(sa.select(study.c.id).where(study.c.study_uid == f"1.8.{number}")).scalar_one())


def ask(database: Database, subject: str, priority: int = ROUTINE, study_id: int | None = None) -> None:
    with database.write() as tx:
        jobs.enqueue(tx, JobKind.SEGMENT, subject, max_attempts=3, priority=priority, study_id=study_id)


def wait_since(database: Database, subject: str, seconds: float) -> None:
    with database.write() as tx:
        tx.execute(sa.update(job).where(job.c.subject == subject).values(run_after=Clock() - seconds))


def take(database: Database, ageing_seconds: float = HOUR) -> str:
    with database.write() as tx:
        claim = jobs.claim(tx, [JobKind.SEGMENT], "w", HOUR, ageing_seconds)
    assert claim is not None
    return claim.subject


def test_one_stat_study_behind_a_thousand_is_next(database: Database) -> None:
    with database.write() as tx:
        for number in range(1000):
            jobs.enqueue(tx, JobKind.SEGMENT, f"routine {number}", max_attempts=3, priority=ROUTINE)
    ask(database, "urgent", STAT)
    assert take(database) == "urgent"
    assert take(database) == "routine 0"


def test_a_source_that_sends_a_hundred_keeps_another_one_waiting_for_one_job_at_most(database: Database) -> None:
    for number in range(1, 101):
        ask(database, f"many {number}", study_id=from_source(database, "CT_1", number))
    assert [take(database) for _ in range(5)] == [f"many {number}" for number in range(1, 6)]
    ask(database, "few", study_id=from_source(database, "MR_1", 101))
    assert take(database) == "few"
    assert take(database) == "many 6"


def test_two_busy_sources_take_turns(database: Database) -> None:
    for number in range(1, 9):
        source = "CT_1" if number < 5 else "MR_1"
        ask(database, f"{source} {number}", study_id=from_source(database, source, number))
    taken = [take(database).split()[0] for _ in range(8)]
    assert max(len(list(group)) for _, group in groupby(taken)) == 1


def test_two_studies_that_never_get_through_keep_no_third_one_waiting(database: Database) -> None:
    """All that wait for one peer are due at the same moment: whoever was tried less often goes first."""
    with database.write() as tx:
        for number in (1, 2, 3):
            jobs.enqueue(tx, JobKind.FETCH, f"archive/{number}", max_attempts=3)
            jobs.enqueue(tx, JobKind.DELIVER, f"pacs/{number}", max_attempts=3)
    for kind, peer, later in (
        (JobKind.FETCH, "archive/", job_orders.due_in),
        (JobKind.DELIVER, "pacs/", job_orders.put_off),
    ):
        tried = []
        for _ in range(4):
            with database.write() as tx:
                claim = jobs.claim(tx, [kind], "w", HOUR)
            assert claim is not None
            tried.append(claim.subject)
            with database.write() as tx:
                later(tx, kind, peer, 0)
            with database.write() as tx:
                jobs.postpone(tx, claim, Report(code="no-room"), 0)
        assert f"{peer}3" in tried


@pytest.mark.parametrize("later", [job_orders.due_in, job_orders.put_off])
def test_what_waits_for_one_peer_is_due_at_one_moment(database: Database, later: Callable[..., int]) -> None:
    with database.write() as tx:
        for number in range(50):
            jobs.enqueue(tx, JobKind.FETCH, f"archive/{number}", max_attempts=3)
        assert later(tx, JobKind.FETCH, "archive/", HOUR) == 50
        assert len(tx.execute(sa.select(job.c.run_after).distinct()).all()) == 1


def test_fairness_never_lets_routine_pass_stat(database: Database) -> None:
    for number in range(1, 4):
        ask(database, f"stat {number}", STAT, from_source(database, "ED", number))
    ask(database, "routine", ROUTINE, from_source(database, "MR_1", 4))
    assert [take(database) for _ in range(4)] == ["stat 1", "stat 2", "stat 3", "routine"]


def test_what_has_waited_long_goes_before_everything_but_stat(database: Database) -> None:
    ask(database, "night", NIGHT)
    for number in range(3):
        ask(database, f"routine {number}", ROUTINE)
    ask(database, "stat", STAT)
    assert take(database) == "stat"
    assert take(database) == "routine 0"
    wait_since(database, "night", 2 * HOUR)
    assert [take(database) for _ in range(3)] == ["night", "routine 1", "routine 2"]


def test_an_endless_row_of_stat_studies_does_not_starve_the_rest(database: Database) -> None:
    ask(database, "old", NIGHT)
    wait_since(database, "old", 2 * HOUR)
    taken = []
    for number in range(turns.STAT_IN_A_ROW + 2):
        ask(database, f"stat {number}", STAT)
        taken.append(take(database))
    assert taken.index("old") == turns.STAT_IN_A_ROW
    assert taken[-1].startswith("stat")


def test_a_cancelled_job_is_taken_from_whoever_works_on_it(database: Database) -> None:
    ask(database, "1")
    with database.write() as tx:
        held = jobs.claim(tx, [JobKind.SEGMENT], "w", HOUR)
    assert held is not None
    with database.write() as tx:
        assert job_orders.cancel(tx, held.id, "cancelled by ann")
    assert not _finishes(database, held)
    with database.write() as tx:
        assert not job_orders.cancel(tx, held.id, "again")
        row = tx.execute(sa.select(job)).mappings().one()
        ended = tx.execute(sa.select(attempt)).mappings().one()
    assert (row["state"], row["code"], row["reason"]) == ("cancelled", "cancelled", "cancelled by ann")
    assert (ended["outcome"], ended["code"]) == ("released", "cancelled")
    with database.write() as tx:
        assert job_orders.reopen(tx, held.id)
        again = jobs.claim(tx, [JobKind.SEGMENT], "w", HOUR)
    assert again is not None
    assert not _finishes(database, held)
    assert _finishes(database, again)


def _finishes(database: Database, held: Claim) -> bool:
    try:
        with database.write() as tx:
            jobs.finish(tx, held, JobState.DONE, Report())
    except LostLease:
        return False
    return True


def test_what_is_made_for_a_cancelled_job_is_not_kept_and_a_person_may_want_it_after_all(
    node: Node, pacs: FakePacs
) -> None:
    take_in(node, small_series())
    work_off(node, JobKind.CHOOSE)
    with node.database.write() as tx:
        held = jobs.claim(tx, [JobKind.SEGMENT], "w", HOUR)
    assert held is not None
    assert "is cancelled" in giving_up.cancel(node, held.id, "ann")
    Worker(node, "w").attempt(held)
    assert work_off(node) == 0
    cancelled = only_study(node)
    assert (cancelled["state"], cancelled["reason"]) == ("cancelled", "cancelled: cancelled by ann")
    assert not pacs.objects
    assert not [file for file in (node.archive.home / "results").rglob("*") if file.is_file()]
    control.retry(node.database, held.id)
    work_off(node)
    assert only_study(node)["state"] == "done"
    (segment,) = jobs_of(node, JobKind.SEGMENT)
    with pytest.raises(Refused, match="takes back what it made"):
        giving_up.cancel(node, segment["id"], "ann")
    choose = jobs_of(node, JobKind.CHOOSE)[0]
    for job_id, said in ((choose["id"], "runs no network"), (999, "there is no job 999")):
        with pytest.raises(Refused, match=said):
            giving_up.cancel(node, job_id, "ann")
