"""The job table, the same suite on SQLite and PostgreSQL."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from random import Random

import pytest
import sqlalchemy as sa

from db import job_orders, jobs, lost_jobs, overview
from db.database import Database, DatabaseUnreachable, open_database
from db.job_states import OPEN, TRANSITIONS, Backoff, Claim, JobKind, JobState, LostLease, Outcome, Report
from db.tables import job
from tests.waiting import wait_until

KINDS = list(JobKind)
LONG = 3600.0


def ask(database: Database, subject: str = "1", kind: JobKind = JobKind.CHOOSE, **more: object) -> int | None:
    with database.write() as tx:
        return jobs.enqueue(tx, kind, subject, **({"max_attempts": 3} | more))  # type: ignore[arg-type]


def take(database: Database, worker: str = "w", lease: float = LONG, kinds: list[JobKind] = KINDS) -> Claim | None:
    with database.write() as tx:
        return jobs.claim(tx, kinds, worker, lease)


def must_take(database: Database, worker: str = "w", lease: float = LONG) -> Claim:
    claim = take(database, worker, lease)
    assert claim is not None
    return claim


def state(database: Database, job_id: int) -> str:
    with database.read() as tx:
        return str(tx.execute(sa.select(job.c.state).where(job.c.id == job_id)).scalar_one())


def outcomes(database: Database, job_id: int) -> list[str | None]:
    with database.read() as tx:
        return [row["outcome"] for row in overview.attempts(tx, job_id)]


def test_asking_twice_makes_one_job(database: Database) -> None:
    assert ask(database) == ask(database)
    assert take(database) is not None
    assert take(database) is None


def test_two_schedulers_make_one_periodic_job_also_after_it_was_done(database: Database) -> None:
    first = ask(database, "home", JobKind.SWEEP, due="2026-11-21T10:00Z")
    claim = must_take(database)
    with database.write() as tx:
        jobs.finish(tx, claim, JobState.DONE, Report())
    assert ask(database, "home", JobKind.SWEEP, due="2026-11-21T10:00Z") == first
    assert take(database) is None
    assert ask(database, "home", JobKind.SWEEP, due="2026-11-21T11:00Z") != first


def test_a_periodic_job_is_passed_over_while_its_predecessor_is_open(database: Database) -> None:
    ask(database, "home", JobKind.SWEEP, due="2026-11-21T10:00Z")
    assert ask(database, "home", JobKind.SWEEP, due="2026-11-21T11:00Z") is None


def done(database: Database, claim: Claim) -> None:
    with database.write() as tx:
        jobs.finish(tx, claim, JobState.DONE, Report())


@pytest.mark.parametrize("asked_before", [False, True])
def test_an_event_makes_the_periodic_job_that_waits_come_sooner(database: Database, asked_before: bool) -> None:
    if asked_before:
        ask(database, "home", JobKind.PURGE, priority=-100)
        done(database, must_take(database))
    daily = ask(database, "home", JobKind.PURGE, due="2026-11-22", priority=100)
    ask(database, "1.2.3", JobKind.CHOOSE, priority=1)
    assert ask(database, "home", JobKind.PURGE, priority=-100) == daily
    assert ask(database, "home", JobKind.PURGE, priority=50) == daily, "and not later again"
    assert must_take(database).id == daily
    assert must_take(database).kind is JobKind.CHOOSE


def test_an_event_while_a_periodic_job_runs_has_it_run_once_more(database: Database) -> None:
    daily = ask(database, "home", JobKind.PURGE, due="2026-11-22", priority=100)
    held = must_take(database)
    assert ask(database, "home", JobKind.PURGE, priority=-100) == daily
    assert take(database) is None
    done(database, held)
    done(database, must_take(database))
    assert take(database) is None
    assert ask(database, "home", JobKind.PURGE, due="2026-11-22", priority=100) == daily
    assert take(database) is None
    assert ask(database, "home", JobKind.PURGE, priority=-100) not in (None, daily)
    assert ask(database, "home", JobKind.PURGE, due="2026-11-23", priority=100) is None
    assert must_take(database).subject == "home"


def test_a_job_asked_for_while_it_runs_runs_once_more(database: Database) -> None:
    ask(database)
    claim = must_take(database)
    ask(database)
    assert take(database) is None
    with database.write() as tx:
        jobs.finish(tx, claim, JobState.DONE, Report())
    again = must_take(database)
    assert again.id == claim.id
    assert again.attempts == 1
    with database.write() as tx:
        jobs.finish(tx, again, JobState.DONE, Report())
    assert take(database) is None


def test_an_ended_job_is_opened_again_as_itself_and_forgets_its_pin(database: Database) -> None:
    ask(database)
    claim = must_take(database)
    with database.write() as tx:
        jobs.finish(tx, claim, JobState.REFUSED, Report(code="no", sentence="because"))
    assert ask(database) == claim.id
    again = must_take(database)
    assert (again.id, again.attempts, again.model_version_id) == (claim.id, 1, None)
    assert again.first_claimed > claim.first_claimed
    assert again.fencing_token > claim.fencing_token


def test_the_urgent_and_then_the_oldest_comes_first(database: Database) -> None:
    for number, priority in enumerate([10, 10, 0, 20]):
        ask(database, str(number), priority=priority)
    order = [must_take(database).subject for _ in range(4)]
    assert order == ["2", "0", "1", "3"]


def test_a_claim_takes_only_the_kinds_it_is_asked_for(database: Database) -> None:
    ask(database, kind=JobKind.DELIVER)
    assert take(database, kinds=[JobKind.CHOOSE, JobKind.SEGMENT]) is None
    assert take(database, kinds=[JobKind.DELIVER]) is not None


def test_a_delayed_job_waits_for_its_time(database: Database) -> None:
    ask(database, delay_seconds=LONG)
    assert take(database) is None
    with database.write() as tx:
        assert job_orders.due_in(tx, JobKind.CHOOSE, "1", 0) == 1
    assert take(database) is not None


def test_a_job_waits_for_the_one_it_depends_on(database: Database) -> None:
    first = ask(database, "first")
    ask(database, "second", depends_on=first)
    claim = must_take(database)
    assert claim.subject == "first"
    assert take(database) is None
    with database.write() as tx:
        jobs.finish(tx, claim, JobState.DONE, Report())
    assert must_take(database).subject == "second"


def test_a_lease_that_runs_out_gives_the_job_to_another_and_fences_the_first_off(database: Database) -> None:
    ask(database)
    slow = must_take(database, "slow", lease=0.05)

    def rescued() -> int:
        with database.write() as tx:
            return lost_jobs.rescue(tx)

    wait_until("the lease runs out", rescued)
    fast = must_take(database, "fast")
    assert (fast.id, fast.attempts) == (slow.id, 2)
    for late in (
        lambda tx: jobs.finish(tx, slow, JobState.DONE, Report()),
        lambda tx: jobs.fail(tx, slow, Report(), 0),
        lambda tx: jobs.postpone(tx, slow, Report(), 0),
        lambda tx: jobs.beat(tx, slow, LONG),
        lambda tx: jobs.pin(tx, slow, 1),
    ):
        with pytest.raises(LostLease), database.write() as tx:
            late(tx)
    with database.write() as tx:
        jobs.finish(tx, fast, JobState.DONE, Report())
    assert outcomes(database, fast.id) == ["lost", "done"]


def test_what_a_fenced_off_worker_wrote_in_that_transaction_is_not_there(database: Database) -> None:
    ask(database)
    slow = must_take(database, lease=0)
    with database.write() as tx:
        assert lost_jobs.rescue(tx) == 1
    must_take(database)
    with pytest.raises(LostLease), database.write() as tx:
        jobs.enqueue(tx, JobKind.DELIVER, "from the grave", max_attempts=1)
        jobs.finish(tx, slow, JobState.DONE, Report())
    assert take(database, kinds=[JobKind.DELIVER]) is None


def test_a_heartbeat_keeps_the_job(database: Database) -> None:
    ask(database)
    claim = must_take(database, lease=0)
    with database.write() as tx:
        jobs.beat(tx, claim, LONG)
        assert lost_jobs.rescue(tx) == 0


def test_the_jobs_of_a_worker_that_is_known_to_be_dead_wait_again_at_once(database: Database) -> None:
    for number in range(3):
        ask(database, str(number))
    held = [must_take(database, "dead"), must_take(database, "dead"), must_take(database, "alive")]
    with database.write() as tx:
        assert lost_jobs.rescue(tx, worker="dead") == 2
    assert [state(database, claim.id) for claim in held] == ["waiting", "waiting", "running"]


def test_the_job_of_a_dead_worker_keeps_its_place_in_the_queue(database: Database) -> None:
    """Promise 3: it is claimed again within 15 s, and not after everything that came meanwhile."""
    for number in range(3):
        ask(database, str(number))
    first = must_take(database, "dead")
    with database.write() as tx:
        lost_jobs.rescue(tx, worker="dead")
    assert must_take(database).id == first.id


def test_attempts_are_bounded_and_then_the_job_is_dead_and_says_why(database: Database) -> None:
    ask(database, max_attempts=3)
    for number in range(1, 4):
        claim = must_take(database)
        assert claim.attempts == number
        with database.write() as tx:
            left = jobs.fail(tx, claim, Report(code="bad", sentence=f"try {number}"), 0)
        assert left is (JobState.DEAD if number == 3 else JobState.WAITING)
    assert take(database) is None
    with database.read() as tx:
        row = tx.execute(sa.select(job)).mappings().one()
    assert (row["state"], row["code"], row["reason"]) == ("dead", "bad", "try 3")
    assert outcomes(database, claim.id) == ["failed"] * 3


def test_a_worker_that_dies_every_time_makes_the_job_dead_too(database: Database) -> None:
    ask(database, max_attempts=2)
    for _ in range(2):
        claim = must_take(database, "poisoned")
        with database.write() as tx:
            back = lost_jobs.rescue(tx, worker="poisoned")
    assert back == 0, "it may not be tried once more"
    assert take(database) is None
    with database.write() as tx:
        assert lost_jobs.any_there(tx)
        assert lost_jobs.take(tx) == claim
        assert (lost_jobs.any_there(tx), lost_jobs.take(tx)) == (False, None)
    with database.read() as tx:
        row = tx.execute(sa.select(job)).mappings().one()
    assert (row["state"], row["attempts"], row["code"]) == ("dead", 2, "worker-lost")
    assert row["reason"].endswith("; attempt 2 of 2")
    assert outcomes(database, claim.id) == ["lost"] * 2


def test_a_job_that_its_worker_still_holds_is_not_lost_at_its_last_attempt(database: Database) -> None:
    ask(database, max_attempts=1)
    claim = must_take(database, lease=0)
    with database.write() as tx:
        jobs.beat(tx, claim, LONG)
        assert not lost_jobs.any_there(tx)
        assert lost_jobs.take(tx) is None
        lost_jobs.rescue(tx)
    assert state(database, claim.id) == "running"


def test_waiting_for_something_that_is_away_uses_up_no_attempt(database: Database) -> None:
    ask(database, max_attempts=2)
    for _ in range(5):
        claim = must_take(database)
        assert claim.attempts == 1
        with database.write() as tx:
            jobs.postpone(tx, claim, Report(code="unreachable", sentence="away"), 0)
    assert outcomes(database, claim.id) == ["unavailable"] * 5


def test_a_person_opens_a_dead_job_again(database: Database) -> None:
    ask(database, max_attempts=1)
    claim = must_take(database)
    with database.write() as tx:
        jobs.fail(tx, claim, Report(), 0)
        assert job_orders.reopen(tx, claim.id)
    assert must_take(database).attempts == 1
    with database.write() as tx:
        assert not job_orders.reopen(tx, claim.id)
        assert not job_orders.reopen(tx, 999)


def test_the_first_pin_of_a_model_version_holds(database: Database) -> None:
    from db import networks

    with database.write() as tx:
        one, two = (
            networks.register(tx, network="n", version=v, weights_sha256=v, card_sha256=v, device_uid="1.2.3")
            for v in ("1", "2")
        )
    ask(database)
    claim = must_take(database, lease=0)
    with database.write() as tx:
        assert jobs.pin(tx, claim, one) == one
        assert jobs.pin(tx, claim, two) == one
        lost_jobs.rescue(tx)
    assert must_take(database).model_version_id == one


def test_every_way_out_of_running_is_in_the_transition_table(database: Database) -> None:
    ways = {
        JobState.DONE: lambda tx, claim: jobs.finish(tx, claim, JobState.DONE, Report()),
        JobState.REFUSED: lambda tx, claim: jobs.finish(tx, claim, JobState.REFUSED, Report()),
        JobState.DEAD: lambda tx, claim: jobs.finish(tx, claim, JobState.DEAD, Report()),
        JobState.CANCELLED: lambda tx, claim: jobs.finish(tx, claim, JobState.CANCELLED, Report()),
        JobState.WAITING: lambda tx, claim: jobs.fail(tx, claim, Report(), 0),
    }
    assert set(ways) == TRANSITIONS[JobState.RUNNING]
    for number, (to, way) in enumerate(ways.items()):
        ask(database, str(number), priority=-number)
        claim = must_take(database)
        with database.write() as tx:
            way(tx, claim)
        assert state(database, claim.id) == to
    assert all(TRANSITIONS[ended] == {JobState.WAITING} for ended in JobState if ended not in OPEN)


def test_the_database_refuses_a_state_that_does_not_exist(database: Database) -> None:
    ask(database)
    from db.database import Conflict

    with pytest.raises(Conflict), database.write() as tx:
        tx.execute(sa.update(job).values(state="lost in thought"))


def test_the_wait_grows_with_jitter_up_to_its_limit() -> None:
    backoff, random = Backoff(5, 60), Random(1)
    for attempts, full in [(1, 5), (2, 10), (3, 20), (4, 40), (5, 60), (50, 60)]:
        waits = [backoff.seconds(attempts, random) for _ in range(200)]
        assert full / 2 <= min(waits) < max(waits) <= full
        assert max(waits) - min(waits) > full / 4


def test_racing_workers_never_get_the_same_job(database: Database) -> None:
    count = 120
    with database.write() as tx:
        for number in range(count):
            jobs.enqueue(tx, JobKind.CHOOSE, str(number), max_attempts=3)
    taken: Counter[str] = Counter()
    lock = threading.Lock()

    def work(name: str) -> None:
        while claim := take(database, name):
            with lock:
                taken[claim.subject] += 1
            with database.write() as tx:
                jobs.finish(tx, claim, JobState.DONE, Report())

    threads = [threading.Thread(target=work, args=(f"w{n}",)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(taken) == count
    assert set(taken.values()) == {1}


WORKER = """
import sys
from db import jobs, lost_jobs
from db.database import open_database
from db.job_states import JobKind, JobState, Report
database = open_database(sys.argv[1])
while True:
    with database.write() as tx:
        claim = jobs.claim(tx, list(JobKind), sys.argv[2], 0.5)
    if claim is None:
        with database.write() as tx:
            lost_jobs.rescue(tx)
        continue
    print("claimed", claim.subject, flush=True)
    with database.write() as tx:
        jobs.finish(tx, claim, JobState.DONE, Report())
    print("done", claim.subject, flush=True)
"""


def test_killed_workers_lose_no_job_and_double_none(database: Database, database_url: str) -> None:
    count = 60
    with database.write() as tx:
        for number in range(count):
            jobs.enqueue(tx, JobKind.CHOOSE, str(number), max_attempts=100)
    random = Random(3)

    def start(name: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", WORKER, database_url, name]
        return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, text=True)

    workers = [start("0"), start("1")]
    kills = 0

    def finished() -> bool:
        with database.read() as tx:
            done = tx.execute(sa.select(sa.func.count()).where(job.c.state == JobState.DONE)).scalar_one()
        return bool(done == count)

    def all_done() -> bool:
        nonlocal kills
        if kills < 8 and random.random() < 0.1:
            victim = random.randrange(2)
            os.kill(workers[victim].pid, signal.SIGKILL)
            workers[victim].wait()
            kills += 1
            workers[victim] = start(f"again {kills}")
        return finished()

    try:
        wait_until("all jobs are done", all_done, 120)
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()
    with database.read() as tx:
        ended = Counter(row.job_id for row in tx.execute(sa.text("SELECT job_id FROM attempt WHERE outcome = 'done'")))
    assert len(ended) == count
    assert set(ended.values()) == {1}


def test_a_claim_that_does_not_answer_is_told_apart_from_an_empty_queue(postgres: object) -> None:
    url = postgres.new_database()  # type: ignore[attr-defined]
    from db import schema

    opened = open_database(url)
    schema.require(opened)
    opened.engine.dispose()
    gone = open_database(url)
    postgres.stop()  # type: ignore[attr-defined]
    try:
        with pytest.raises(DatabaseUnreachable):
            take(gone)
    finally:
        postgres.start()  # type: ignore[attr-defined]
    assert take(gone) is None
    gone.dispose()
    assert Outcome.LOST


def test_a_job_asked_for_while_its_last_worker_died_runs_again(database: Database) -> None:
    ask(database, max_attempts=1)
    claim = must_take(database)
    ask(database)
    with database.write() as tx:
        assert lost_jobs.rescue(tx, worker=claim.worker) == 1
    again = must_take(database)
    assert (again.id, again.attempts) == (claim.id, 1)


def test_a_job_asked_for_while_its_last_attempt_failed_is_not_dead(database: Database) -> None:
    ask(database, max_attempts=1)
    claim = must_take(database)
    ask(database)
    with database.write() as tx:
        assert jobs.fail(tx, claim, Report(code="no", sentence="because"), 0) is JobState.WAITING
    claim = must_take(database)
    ask(database)
    with database.write() as tx:
        assert jobs.finish(tx, claim, JobState.REFUSED, Report()) is JobState.WAITING


def test_what_waits_for_years_waits_the_longest_wait() -> None:
    backoff = Backoff(5, 900)
    assert 450 <= backoff.seconds(5000, Random(1)) <= 900


def test_what_is_put_off_comes_no_sooner_than_it_would(database: Database) -> None:
    ask(database, "pacs/1", JobKind.DELIVER)
    ask(database, "pacs/2", JobKind.DELIVER)
    with database.write() as tx:
        job_orders.due_in(tx, JobKind.DELIVER, "pacs/1", 600)
        assert job_orders.put_off(tx, JobKind.DELIVER, "pacs/", 60) == 1
        assert job_orders.due_in(tx, JobKind.DELIVER, "pacs/", 0, but="no-room") == 2


def test_a_waiting_job_is_made_to_come_sooner_or_later(database: Database) -> None:
    ask(database, "pacs/1", JobKind.DELIVER)
    ask(database, "other/1", JobKind.DELIVER)
    with database.write() as tx:
        assert job_orders.due_in(tx, JobKind.DELIVER, "pacs/", 60) == 1
    assert must_take(database).subject == "other/1"
    assert take(database) is None
    with database.write() as tx:
        assert not job_orders.hurry(tx, JobKind.DELIVER, "pacs/")
        assert job_orders.hurry(tx, JobKind.DELIVER, "pacs/1")
    assert must_take(database).subject == "pacs/1"


def test_destinations_whose_names_differ_in_their_case_alone_put_each_other_not_off(database: Database) -> None:
    ask(database, "PACS/1", JobKind.DELIVER)
    ask(database, "pacs/2", JobKind.DELIVER)
    ask(database, "p_cs/3", JobKind.DELIVER)
    with database.write() as tx:
        assert job_orders.put_off(tx, JobKind.DELIVER, "p_cs/", 60) == 1
        assert job_orders.put_off(tx, JobKind.DELIVER, "pacs/", 60) == 1
    assert must_take(database).subject == "PACS/1"
    assert take(database) is None
