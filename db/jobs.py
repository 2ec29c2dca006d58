"""The job table: a queue that survives whatever happens to the workers.

A job is claimed under a lease and a fencing token. The holder beats while it works; a job whose lease has run out goes
back to the queue, and whatever its former holder still says about it is refused. `job_states.TRANSITIONS` is the whole
life of a job.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, RowMapping

from . import destinations, not_done, progress, turns
from .database import Clock, insert
from .job_states import OPEN, TRANSITIONS, Claim, JobKind, JobState, LostLease, Outcome, Report
from .tables import attempt, job


def enqueue(
    tx: Connection,
    kind: JobKind,
    subject: str,
    *,
    max_attempts: int,
    priority: int = 1,
    due: str = "",
    delay_seconds: float = 0,
    **refers: int | None,
) -> int | None:
    """Ask for a job, in the transaction of the fact that calls for it.

    The same kind, subject and due time is the same job: waiting, it stays as it is; running, it will run once more;
    ended, an event's job (no due time) is opened again, while a periodic one has been done. An event makes do with
    a periodic job of that kind and subject that is open, and has it come no later than itself.

    Args:
        refers: study_id, input_set_id, depends_on.

    Returns:
        The job's id; None for a periodic job whose predecessor is still open: that due time is passed over.
    """
    fresh: dict[str, Any] = dict(
        state=JobState.WAITING,
        priority=priority,
        run_after=Clock() + delay_seconds,
        max_attempts=max_attempts,
        created=Clock(),
        source=turns.source_of(refers.get("study_id")),
        **refers,
    )
    new = insert(tx, job).values(kind=kind, subject=subject, due=due, **fresh).on_conflict_do_nothing()
    same = sa.select(job.c.id, job.c.state).where(job.c.kind == kind, job.c.subject == subject)
    is_open = job.c.state.in_(OPEN)
    in_the_way = same.where(sa.or_(is_open, job.c.due == due)).order_by(sa.desc(is_open)).limit(1).with_for_update()
    found = None
    while found is None:  # what was in the way may end just then
        if (made := tx.execute(new.returning(job.c.id)).scalar()) is not None:
            return int(made)
        if due:
            return tx.execute(same.where(job.c.due == due)).scalar()
        found = tx.execute(in_the_way).one_or_none()
    if found.state == JobState.RUNNING:
        tx.execute(sa.update(job).where(job.c.id == found.id).values(again=True))
    elif found.state == JobState.WAITING:
        sooner = sa.case((job.c.priority > priority, priority), else_=job.c.priority)
        tx.execute(sa.update(job).where(job.c.id == found.id).values(priority=sooner))
    else:
        open_again(tx, found.id, fresh)
    return int(found.id)


def open_again(tx: Connection, job_id: int, values: dict[str, Any]) -> None:
    """An ended job waits again, as if it were new."""
    tx.execute(
        sa.update(job)
        .where(job.c.id == job_id)
        .values(
            **{key: value for key, value in values.items() if key not in ("created", "source")},
            attempts=0,
            first_claimed=None,
            model_version_id=None,
            code=None,
            reason=None,
            ended=None,
        )
    )


def any_ready(tx: Connection, kinds: Collection[JobKind]) -> bool:
    """Whether a claim is worth a write lock."""
    ready = sa.select(job.c.id).where(
        not_done.WAITING,
        job.c.run_after <= Clock(),
        not_done.KIND.in_(list(kinds)),
        ~destinations.paused_job(),
    )
    return tx.execute(ready.limit(1)).first() is not None


def claim(
    tx: Connection,
    kinds: Collection[JobKind],
    worker: str,
    lease_seconds: float,
    ageing_seconds: float = turns.AGEING_SECONDS,
) -> Claim | None:
    """Take the next job of those that are due, as `turns` has it. None when there is none.

    Two workers never get the same job: PostgreSQL locks the row and others skip it; SQLite has one writer at a time.
    Of the studies that are to be fetched, one is at a time.

    Raises:
        Conflict: another worker has begun to fetch a study at the same moment.
    """
    parent = job.alias("parent")
    ready = sa.and_(
        not_done.WAITING,
        job.c.run_after <= Clock(),
        not_done.KIND.in_(list(kinds)),
        sa.or_(
            job.c.depends_on.is_(None),
            sa.exists().where(parent.c.id == job.c.depends_on, parent.c.state == JobState.DONE),
        ),
        ~destinations.paused_job(),
        sa.or_(job.c.kind != JobKind.FETCH, ~not_done.FETCHING),
    )
    in_order = turns.in_order(tx, ready, kinds, ageing_seconds)
    picked = in_order.limit(1).with_for_update(skip_locked=True, of=job).cte("picked")
    row = (
        tx.execute(
            sa.update(job)
            .where(job.c.id == sa.select(picked.c.id).scalar_subquery())
            .values(
                state=JobState.RUNNING,
                lease_until=Clock() + lease_seconds,
                worker=worker,
                attempts=job.c.attempts + 1,
                fencing_token=job.c.fencing_token + 1,
                first_claimed=sa.func.coalesce(job.c.first_claimed, Clock()),
                again=False,
                **progress.NONE,
            )
            .returning(job)
        )
        .mappings()
        .one_or_none()
    )
    if row is None:
        return None
    begun = dict(job_id=row["id"], fencing_token=row["fencing_token"], worker=worker, started=Clock(), outcome=None)
    turn = tx.execute(sa.insert(attempt).values(begun).returning(attempt.c.id)).scalar_one()
    turns.took(tx, row["source"], turn)
    return claim_of(row)


def claim_of(row: RowMapping) -> Claim:
    """A running job's row, as who holds it has it."""
    values: dict[str, Any] = {name: row[name] for name in Claim.__dataclass_fields__}
    return Claim(**values | {"kind": JobKind(row["kind"])})


def beat(tx: Connection, held: Claim, lease_seconds: float) -> None:
    """Prolong the lease.

    Raises:
        LostLease: it has gone to somebody else.
    """
    _change(tx, held, lease_until=Clock() + lease_seconds)


def pin(tx: Connection, held: Claim, model_version_id: int) -> int:
    """Fix the model version of a job at its first claim; a later claim gets the one that was fixed."""
    _change(tx, held, model_version_id=sa.func.coalesce(job.c.model_version_id, model_version_id))
    return int(tx.execute(sa.select(job.c.model_version_id).where(job.c.id == held.id)).scalar_one())


def finish(tx: Connection, held: Claim, state: JobState, report: Report) -> JobState:
    """End a job for good, in the transaction of what it made.

    Returns:
        The state it is in now: waiting, where it was asked for again meanwhile.

    Raises:
        LostLease: the transaction must be rolled back.
    """
    outcome = {
        JobState.DONE: Outcome.DONE,
        JobState.REFUSED: Outcome.REFUSED,
        JobState.DEAD: Outcome.FAILED,
        JobState.CANCELLED: Outcome.RELEASED,
    }
    now = _leave(tx, held, state, code=report.code, reason=report.sentence)
    close_attempt(tx, held.id, held.fencing_token, outcome[state], report)
    return now


def fail(tx: Connection, held: Claim, report: Report, wait_seconds: float) -> JobState:
    """An attempt went wrong: wait and try again, or, when the attempts are used up, leave the job dead; its state."""
    state = JobState.DEAD if held.attempts >= held.max_attempts else JobState.WAITING
    now = _leave(tx, held, state, code=report.code, reason=report.sentence, run_after=Clock() + wait_seconds)
    close_attempt(tx, held.id, held.fencing_token, Outcome.FAILED, report)
    return now


def postpone(
    tx: Connection, held: Claim, report: Report, wait_seconds: float, outcome: Outcome = Outcome.UNAVAILABLE
) -> None:
    """Give a job back without using up an attempt: what it needs is away, or its worker is being stopped."""
    _leave(
        tx,
        held,
        JobState.WAITING,
        code=report.code,
        reason=report.sentence,
        run_after=Clock() + wait_seconds,
        attempts=job.c.attempts - 1,
    )
    close_attempt(tx, held.id, held.fencing_token, outcome, report)


def _leave(tx: Connection, held: Claim, state: JobState, **values: Any) -> JobState:
    """From running to `state`; a job that was asked for again while it ran waits instead of ending; the state now."""
    assert state in TRANSITIONS[JobState.RUNNING]
    ended = state not in OPEN
    final: dict[str, Any] = dict(state=state, ended=Clock() if ended else None, lease_until=None, worker=None)
    final |= progress.NONE
    if ended:
        once_more = job.c.again.is_(True)
        final["state"] = sa.case((once_more, JobState.WAITING.value), else_=state.value)
        final["attempts"] = sa.case((once_more, 0), else_=job.c.attempts)
        final["first_claimed"] = sa.case((once_more, sa.null()), else_=job.c.first_claimed)
        final["model_version_id"] = sa.case((once_more, sa.null()), else_=job.c.model_version_id)
        final["again"] = False
    return _change(tx, held, **(final | values))


def _change(tx: Connection, held: Claim, **values: Any) -> JobState:
    mine = sa.and_(
        job.c.id == held.id, job.c.fencing_token == held.fencing_token, job.c.state == JobState.RUNNING.value
    )
    state = tx.execute(sa.update(job).where(mine).values(**values).returning(job.c.state)).scalar()
    if state is None:
        raise LostLease(f"job {held.id}: the lease went to another worker")
    return JobState(state)


def close_attempt(tx: Connection, job_id: int, token: int, outcome: Outcome, report: Report) -> None:
    """Note how an attempt ended."""
    tx.execute(
        sa.update(attempt)
        .where(attempt.c.job_id == job_id, attempt.c.fencing_token == token)
        .values(
            ended=Clock(),
            outcome=outcome,
            code=report.code,
            sentence=report.sentence,
            seconds=report.seconds,
            peak_memory_mb=report.peak_memory_mb,
        )
    )
