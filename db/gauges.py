"""What stands now, counted, for metrics, alarms and health; no question reads more rows than it has to count."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from . import not_done
from .database import Clock, Row
from .job_states import JobKind, JobState
from .tables import attempt, delivery, event, input_set, job, study

#: of the ended jobs these are what the rate of refusals is judged by
REMEMBERED_JOBS = 1000
REMEMBERED_ATTEMPTS = 200
LOOKED_THROUGH = 5000
#: and of as many jobs that were made last
JOBS_LOOKED_THROUGH = 20_000
KIND = not_done.KIND


def _waits_since() -> sa.ColumnElement[float]:
    """Since when a job has waited: of one that was asked for again, since its study was closed or it was reopened."""
    since = sa.case((job.c.created > sa.func.coalesce(study.c.closed, 0), job.c.created), else_=study.c.closed)
    fresh = sa.and_(job.c.attempts == 0, job.c.first_claimed.is_(None), job.c.run_after > since)
    return sa.case((fresh, job.c.run_after), else_=since)


def queue(tx: Connection) -> Sequence[Row]:
    """The waiting jobs that are due: `kind`, `priority`, `count`, `oldest_seconds`."""
    query = (
        sa.select(
            KIND.label("kind"),
            job.c.priority,
            sa.func.count().label("count"),
            (Clock() - sa.func.min(_waits_since())).label("oldest_seconds"),
        )
        .select_from(job.outerjoin(study, study.c.id == job.c.study_id))
        .where(not_done.WAITING)
        .group_by(KIND, job.c.priority)
    )
    return tx.execute(query).mappings().all()


def late(
    tx: Connection, kinds: Sequence[JobKind], above: int, up_to: int, seconds: float, not_to: Sequence[str] = ()
) -> Row:
    """Waiting jobs that have waited for longer: `count`, `oldest_seconds`.

    Args:
        above, up_to: their priority is in (above, up_to].
        not_to: destinations whose jobs do not count.
    """
    age = Clock() - _waits_since()
    query = (
        sa.select(sa.func.count().label("count"), sa.func.max(age).label("oldest_seconds"))
        .select_from(job.outerjoin(study, study.c.id == job.c.study_id))
        .where(not_done.WAITING, KIND.in_([str(kind) for kind in kinds]))
        .where(job.c.priority > above, job.c.priority <= up_to, age > seconds)
        .where(*(~job.c.subject.startswith(f"{name}/", autoescape=True) for name in not_to))
    )
    return tx.execute(query).mappings().one()


def running(tx: Connection) -> dict[str, int]:
    """Jobs that a worker holds, by kind."""
    return dict(Counter(tx.execute(sa.select(KIND).where(not_done.RUNNING)).scalars()))


def dead(tx: Connection) -> Sequence[Row]:
    """The dead letters: `kind`, `subject`, `network` and `ended`."""
    query = (
        sa.select(job.c.kind, job.c.subject, input_set.c.network, job.c.ended)
        .select_from(job.outerjoin(input_set, input_set.c.id == job.c.input_set_id))
        .where(not_done.DEAD)
    )
    return tx.execute(query).mappings().all()


def unfinished_deliveries(tx: Connection) -> dict[tuple[str, str], int]:
    """Objects that are not delivered, by destination and state: waiting, held, dead."""
    query = (
        sa.select(delivery.c.destination, delivery.c.state, sa.func.count().label("n"))
        .where(not_done.UNDONE_DELIVERY)
        .group_by(delivery.c.destination, delivery.c.state)
    )
    return {(row.destination, row.state): int(row.n) for row in tx.execute(query)}


def studies_open(tx: Connection) -> int:
    """Studies whose images are arriving."""
    return int(tx.execute(sa.select(sa.func.count()).where(study.c.state == "open")).scalar_one())


def _newest(tx: Connection, table: sa.Table) -> int:
    """The largest id: as a number in the next question, so that PostgreSQL knows how few rows come after it."""
    return int(tx.execute(sa.select(sa.func.max(table.c.id))).scalar() or 0)


def ended_jobs(tx: Connection, kind: JobKind) -> Sequence[Row]:
    """The latest jobs of a kind that are done or refused, newest first: `source`, `network`, `state`."""
    since = _newest(tx, job) - JOBS_LOOKED_THROUGH
    query = (
        sa.select(job.c.source, input_set.c.network, job.c.state)
        .select_from(job.outerjoin(input_set, input_set.c.id == job.c.input_set_id))
        .where(KIND == str(kind), job.c.state.in_([JobState.DONE.value, JobState.REFUSED.value]))
        .where(job.c.id > since)
        .order_by(job.c.id.desc())
        .limit(REMEMBERED_JOBS)
    )
    return tx.execute(query).mappings().all()


def last_runs(tx: Connection) -> Sequence[Row]:
    """The latest attempts of networks that have ended, newest first: `network`, `outcome`, `code`, `age_seconds`."""
    since = _newest(tx, attempt) - LOOKED_THROUGH
    query = (
        sa.select(
            input_set.c.network, attempt.c.outcome, attempt.c.code, (Clock() - attempt.c.ended).label("age_seconds")
        )
        .select_from(
            attempt.join(job, job.c.id == attempt.c.job_id).join(input_set, input_set.c.id == job.c.input_set_id)
        )
        .where(KIND == str(JobKind.SEGMENT), attempt.c.ended.is_not(None), attempt.c.id > since)
        .order_by(attempt.c.id.desc())
        .limit(REMEMBERED_ATTEMPTS)
    )
    return tx.execute(query).mappings().all()


def last_event_seconds(tx: Connection, what: str) -> float | None:
    """How long ago an event of the record was; None: never."""
    at = tx.execute(
        sa.select(Clock() - event.c.at).where(event.c.what == what).order_by(event.c.number.desc()).limit(1)
    )
    found = at.scalar()
    return None if found is None else float(found)
