"""The database's clock is set by an hour, to and fro: nothing is lost by it, and nothing waits for an hour."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from db import clock_steps, commitments, duties, jobs, studies
from db.database import Clock, DatabaseUnreachable, clock
from db.job_states import JobKind
from db.tables import commitment, input_set, job, outage, prior_fetch, study
from node import schedule
from node.app import Node
from node.clock_steps import SETTLED_SECONDS, ClockSteps
from node.duty import Duty
from node.worker import LOOPS, Worker
from tests.driving import take_in
from tests.synthetic import small_series
from tests.waiting import wait_until

HOUR = 3600.0
DAYS_OF_1970 = 2440587.5


@pytest.fixture
def set_by(node: Node) -> Iterator[list[float]]:
    """By how much the clock of the node's database is set: SQLite asks its process for the time of the day."""
    shift = [0.0]

    def julianday(_of: str) -> float:
        return (time.time() + shift[0]) / 86_400 + DAYS_OF_1970

    def settle_in(connection: Any, _record: object) -> None:
        connection.create_function("julianday", 1, julianday)

    node.database.engine.dispose()
    sa.event.listen(node.database.engine, "connect", settle_in)
    yield shift
    node.database.engine.dispose()


def stand_still(monkeypatch: pytest.MonkeyPatch) -> None:
    """The time of the day goes by only as it is set: a steady clock of the test's own stands still as well."""
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now)


class Follower:
    """The schedule process's look at the clock, as often as it is asked."""

    def __init__(self, node: Node) -> None:
        self._node, self._steps = node, ClockSteps()
        self.duty = Duty(node.database, "schedule", "here")
        self.look()

    def look(self) -> None:
        """Until one was quick enough to say something."""
        wait_until("a look says something", self._said)

    def _said(self) -> bool:
        schedule.follow(self._node, self.duty, self._steps)
        return self._steps._said


def claimed(node: Node) -> Any:
    with node.database.write() as tx:
        return jobs.claim(tx, LOOPS["work"], "gpu:1:a", 10)


def left(node: Node, column: sa.Column[float]) -> float:
    with node.database.read() as tx:
        return float(tx.execute(sa.select(column - Clock())).scalar_one())


@contextlib.contextmanager
def only_read(node: Node) -> Iterator[None]:
    """The database answers questions and takes nothing, as a standby does."""

    def settle_in(connection: Any, _record: object) -> None:
        connection.execute("PRAGMA query_only = ON")

    node.database.engine.dispose()
    sa.event.listen(node.database.engine, "connect", settle_in)
    yield
    sa.event.remove(node.database.engine, "connect", settle_in)
    node.database.engine.dispose()


@pytest.mark.parametrize("hours", [1, -1])
def test_a_step_that_could_not_be_followed_is_followed_later(node: Node, set_by: list[float], hours: int) -> None:
    follower = Follower(node)
    take_in(node, small_series())
    set_by[0] = hours * HOUR
    with only_read(node):
        follower.look()
    assert abs(left(node, study.c.last_image) + hours * HOUR) < 60
    follower.look()
    assert -60 < left(node, study.c.last_image) <= 0


@pytest.mark.parametrize("hours", [1, -1])
def test_a_study_that_arrives_is_as_quiet_as_it_was(node: Node, set_by: list[float], hours: int) -> None:
    follower = Follower(node)
    take_in(node, small_series())
    set_by[0] = hours * HOUR
    assert abs(left(node, study.c.last_image) + hours * HOUR) < 60
    follower.look()
    assert -60 < left(node, study.c.last_image) <= 0
    follower.look()
    assert -60 < left(node, study.c.last_image) <= 0


def test_what_is_written_down_by_the_old_clock_after_the_step_waits_no_hour(node: Node, set_by: list[float]) -> None:
    follower = Follower(node)
    set_by[0] = -HOUR
    follower.look()
    set_by[0] = 0.0  # as whoever began to write before the step has it
    take_in(node, small_series())
    set_by[0] = -HOUR
    assert left(node, study.c.last_image) > HOUR - 60
    schedule.settle(node)
    assert -60 < left(node, study.c.last_image) <= 0
    with node.database.read() as tx:
        assert not clock_steps.is_ahead(tx)


def test_what_waits_for_a_worker_waits_no_longer(node: Node, set_by: list[float]) -> None:
    follower = Follower(node)
    with node.database.write() as tx:
        jobs.enqueue(tx, JobKind.CHOOSE, "1.2.3", max_attempts=3)
        tx.execute(
            sa.insert(outage).values(
                destination="pacs", since=Clock(), retry_after=Clock() + 30, failures=1, reason="away"
            )
        )
    set_by[0] = -HOUR
    assert claimed(node) is None
    follower.look()
    assert left(node, outage.c.retry_after) < 60
    assert claimed(node) is not None


def test_a_live_worker_keeps_its_job_and_a_dead_one_loses_it(
    node: Node, set_by: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_still(monkeypatch)
    with node.database.write() as tx:
        jobs.enqueue(tx, JobKind.CHOOSE, "1.2.3", max_attempts=3)
    held, steady = claimed(node), [0.0]
    steps, duty = ClockSteps(lambda: steady[0]), Duty(node.database, "schedule", "here")

    def rescued() -> str:
        schedule.rescue(node, duty, steps)
        with node.database.read() as tx:
            return str(tx.execute(sa.select(job.c.state)).scalar_one())

    def later(seconds: float) -> None:
        steady[0] += seconds
        set_by[0] += seconds

    assert rescued() == "running"
    set_by[0] += HOUR
    assert rescued() == "running", "it was not heard of since the clock was set"
    with node.database.write() as tx:
        jobs.beat(tx, held, SETTLED_SECONDS + 10)
    later(SETTLED_SECONDS + 1)
    assert rescued() == "running"
    later(20)
    assert rescued() == "waiting"


def test_a_worker_that_beats_seldom_has_its_time_to_be_heard(
    node: Node, set_by: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_still(monkeypatch)
    with node.database.write() as tx:
        jobs.enqueue(tx, JobKind.CHOOSE, "1.2.3", max_attempts=3)
    claimed(node)
    seldom = replace(node, work=replace(node.work, heartbeat_seconds=SETTLED_SECONDS))
    worker, steady = Worker(seldom, "gpu:2:b"), [0.0]
    worker._steps._steady = lambda: steady[0]

    def looks() -> str:
        worker._rescued = float("-inf")
        worker._rescue()
        with node.database.read() as tx:
            return str(tx.execute(sa.select(job.c.state)).scalar_one())

    assert looks() == "running"
    set_by[0] += HOUR
    assert looks() == "running"
    for seconds, then in ((1.5 * SETTLED_SECONDS, "running"), (SETTLED_SECONDS, "waiting")):
        steady[0] += seconds
        set_by[0] += seconds
        assert looks() == then


def test_a_lease_of_before_does_not_last_an_hour(node: Node, set_by: list[float]) -> None:
    with node.database.write() as tx:
        jobs.enqueue(tx, JobKind.CHOOSE, "1.2.3", max_attempts=3)
        assert duties.take(tx, "schedule", "there", 50)
    follower = Follower(node)
    claimed(node)
    set_by[0] = -HOUR
    follower.look()
    assert left(node, job.c.lease_until) < 60
    with node.database.read() as tx:
        assert duties.holder(tx, "schedule") == "there"
        lasts = tx.execute(sa.text("SELECT lease_until FROM duty")).scalar_one() - clock(tx)
    assert lasts < 60


class Unsure(Duty):
    """It was this process's, and could not be prolonged in time."""

    @property
    def held(self) -> bool:
        return False


@pytest.mark.parametrize("ours", [True, False])
def test_a_step_is_not_forgotten_by_who_may_be_on_duty_again(node: Node, set_by: list[float], ours: bool) -> None:
    follower = Follower(node)
    take_in(node, small_series())
    set_by[0] = HOUR
    on_duty, follower.duty = follower.duty, Unsure(node.database, "schedule", "here")
    if not ours:
        follower.duty = StandBy(node.database, "schedule", "here")
    follower.look()
    assert left(node, study.c.last_image) < -HOUR + 60
    follower.duty = on_duty
    follower.look()
    assert (left(node, study.c.last_image) > -60) is ours, "whoever was on duty has followed it"


class StandBy(Unsure):
    """It is another process's."""

    @property
    def was_ours(self) -> bool:
        return False


@pytest.mark.parametrize("hours", [1, -1])
def test_a_study_that_waits_for_a_series_waits_as_long_as_it_would(node: Node, set_by: list[float], hours: int) -> None:
    follower, images = Follower(node), small_series()
    take_in(node, images)
    with node.database.write() as tx:
        assert studies.close(tx, str(images[0].StudyInstanceUID), "no image for 0 s", 3)
    set_by[0] = hours * HOUR
    follower.look()
    assert -60 < left(node, study.c.last_image) <= 0


def test_what_was_asked_of_a_pacs_was_asked_before_now(node: Node, set_by: list[float]) -> None:
    """Else it is not asked again, or is believed, or waited for, for that hour."""
    follower = Follower(node)
    take_in(node, small_series())
    with node.database.write() as tx:
        tx.execute(sa.update(study).values(pacs_asked=Clock(), pacs_since=Clock()))
        tx.execute(sa.insert(prior_fetch).values(study_id=1, peer="pacs", asked=Clock()))
        read = dict(study_id=1, network="ct_lungs", slot="", members_hash="a", because="", created=Clock())
        input_set_id = tx.execute(sa.insert(input_set).values(read).returning(input_set.c.id)).scalar_one()
        commitments.ask(tx, "2.25.1", "pacs", input_set_id, 300)
        jobs.enqueue(tx, JobKind.COMMIT, "pacs/1", max_attempts=3, input_set_id=input_set_id)
        assert jobs.claim(tx, LOOPS["send"], "w", 10)
    set_by[0] = -HOUR
    follower.look()
    asked = (study.c.pacs_asked, study.c.pacs_since, prior_fetch.c.asked, commitment.c.asked, job.c.first_claimed)
    assert [column.key for column in asked if left(node, column) > 0] == []
    assert 0 < left(node, commitment.c.deadline) <= 300
    with node.database.read() as tx:
        since = tx.execute(sa.select(job.c.first_claimed)).scalar_one()
        assert commitments.tries(tx, input_set_id, "pacs", since) == 1


def test_a_deadline_stays_the_hour_of_the_day_that_it_was(node: Node, set_by: list[float]) -> None:
    take_in(node, small_series())
    with node.database.write() as tx:
        values = dict(
            network="ct_lungs", slot="", members_hash="a", because="", created=Clock(), deadline=Clock() + 600
        )
        tx.execute(sa.insert(input_set).values(study_id=1, **values))
        before = tx.execute(sa.select(input_set.c.deadline)).scalar_one()
        clock_steps.follow(tx, -HOUR)
        assert tx.execute(sa.select(input_set.c.deadline)).scalar_one() == before


def test_only_a_step_is_a_step() -> None:
    steady, wall = [100.0], [5000.0]
    steps = ClockSteps(lambda: steady[0])
    assert steps.look(lambda: wall[0]) == 0
    for _ in range(100):  # slewed
        steady[0] += 1
        wall[0] += 1.1
        assert steps.look(lambda: wall[0]) == 0
    wall[0] -= 60
    assert steps.look(lambda: wall[0]) == pytest.approx(-60)
    assert steps.look(lambda: wall[0]) == 0

    def slow() -> float:
        steady[0] += 5
        return wall[0] + 500

    assert steps.look(slow) == 0, "who knows when it was read"


def test_a_look_that_said_nothing_settles_nothing() -> None:
    """A virtual machine goes on: its clock was set, and the first question takes its time."""
    steady, wall = [100.0], [5000.0]
    steps = ClockSteps(lambda: steady[0])

    def takes(seconds: float) -> Callable[[], float]:
        def read() -> float:
            steady[0] += seconds
            wall[0] += seconds
            return wall[0]

        return read

    assert steps.is_settled(takes(0))
    wall[0] += HOUR
    assert not steps.is_settled(takes(2))
    assert not steps.is_settled(takes(0)), "now it is known that it was set"
    steady[0] += SETTLED_SECONDS + 1
    wall[0] += SETTLED_SECONDS + 1
    assert steps.is_settled(takes(0))
    assert not steps.is_settled(takes(2))
    assert steps.is_settled(takes(0)), "it was slow, and nothing else"


@pytest.mark.parametrize("how", ["fails", "stands still", "fails elsewhere"])
def test_after_a_database_that_was_away_all_who_live_are_heard_first(how: str) -> None:
    """Nobody could prolong a lease meanwhile: all of them have run out."""
    steady = [100.0]
    steps = ClockSteps(lambda: steady[0])

    def fails() -> float:
        raise DatabaseUnreachable("it is away")

    def stands_still() -> float:
        steady[0] += 60
        return steady[0]

    def quick() -> float:
        return steady[0]

    assert steps.is_settled(quick)
    if how == "fails":
        with pytest.raises(DatabaseUnreachable):
            steps.is_settled(fails)
    elif how == "stands still":
        assert not steps.is_settled(stands_still)
    else:
        steps.disturb()
    for _ in range(5):
        assert not steps.is_settled(quick)
        steady[0] += SETTLED_SECONDS / 5
    steady[0] += 0.1
    assert steps.is_settled(quick)


def test_what_is_due_by_the_clock_is_due_when_that_was_set_back(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """The schedule process begins its timetable anew: the next look would come an hour late."""
    real, shift = time.time, [0.0]
    stopping, over, steps = threading.Event(), threading.Event(), ClockSteps()
    with Duty(node.database, "schedule", "here") as duty:

        def settle() -> None:
            schedule._keep_settling(node, stopping, duty, steps)
            over.set()

        monkeypatch.setattr(time, "time", lambda: real() + shift[0])
        thread = threading.Thread(target=settle)
        thread.start()
        try:
            wait_until("it has looked at both clocks", lambda: steps._said)
            assert not over.wait(0.1)
            shift[0] = -HOUR
            assert over.wait(60)
        finally:
            stopping.set()
            thread.join()


def test_a_clock_that_is_set_by_years_is_not_counted_through(node: Node) -> None:
    """A machine that began in 1970 hears what time it is: all that was missed is passed over in one step.

    Else nothing settles until ten million times a year are counted, for each thing that is due every three seconds.
    """
    with Duty(node.database, "schedule", "here") as duty:
        scheduler = schedule._scheduler(node, duty, schedule.watch_of(node), ClockSteps())
        try:
            due = scheduler.get_jobs()
            now = datetime.now(UTC) + timedelta(days=20_000)
            behind = [one for one in due if one.trigger.get_next_fire_time(one.next_run_time, now) <= now]
            soon = [one for one in due if one.trigger.get_next_fire_time(None, now) > now + timedelta(hours=1)]
        finally:
            scheduler.shutdown()
    assert len(due) > 5
    assert not behind
    assert not soon
