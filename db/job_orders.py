"""What is asked of jobs that are there: to be opened again, to come sooner or later."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.engine import Connection, RowMapping

from . import not_done, progress
from .database import Clock
from .job_states import OPEN, JobKind, JobState, Outcome, Report
from .jobs import close_attempt, open_again
from .tables import job

#: why a job is cancelled that a person did not want
CANCELLED = "cancelled"
#: what a person may cancel: what runs a network on a study
CANCELLABLE = (JobKind.SEGMENT, JobKind.SHADOW)


def reopen(tx: Connection, job_id: int) -> bool:
    """A person asks for an ended job again. False when it is open already or does not exist."""
    row = tx.execute(sa.select(job.c.state).where(job.c.id == job_id).with_for_update()).scalar()
    if row is None or row in OPEN:
        return False
    open_again(tx, job_id, dict(state=JobState.WAITING, run_after=Clock()))
    return True


def cancel(tx: Connection, job_id: int, because: str) -> bool:
    """Nobody wants an open job any more. Who works on it loses it, and what is made for it is discarded.

    False when it is not open.
    """
    row = tx.execute(sa.select(job).where(job.c.id == job_id).with_for_update()).one_or_none()
    if row is None or row.state not in OPEN:
        return False
    report = Report(code=CANCELLED, sentence=because)
    if row.state == JobState.RUNNING:
        close_attempt(tx, job_id, row.fencing_token, Outcome.RELEASED, report)
    tx.execute(
        sa.update(job)
        .where(job.c.id == job_id)
        .values(
            state=JobState.CANCELLED,
            ended=Clock(),
            lease_until=None,
            worker=None,
            again=False,
            code=report.code,
            reason=report.sentence,
            **progress.NONE,
        )
    )
    return True


def cancel_open(tx: Connection, kind: JobKind, subject: str, because: str) -> bool:
    """The same for the open job of a kind for a subject; False where there is none."""
    mine = sa.select(job.c.id).where(job.c.kind == kind, job.c.subject == subject, job.c.state.in_(OPEN))
    found = tx.execute(mine).scalar()
    return found is not None and cancel(tx, found, because)


def due_in(tx: Connection, kind: JobKind, subject_prefix: str, seconds: float, *, but: str = "") -> int:
    """Make the waiting jobs of a kind due in so many seconds: what they wait for is back, or away for so long.

    Args:
        but: those that wait for this code keep their own time.
    """
    mine = _waiting(kind, subject_prefix)
    if but:
        mine = sa.and_(mine, job.c.code.is_distinct_from(but))
    return tx.execute(sa.update(job).where(mine).values(run_after=_at_once(seconds))).rowcount


def put_off(tx: Connection, kind: JobKind, subject_prefix: str, seconds: float) -> int:
    """Waiting jobs of a kind are due in so many seconds, or later."""
    sooner = sa.and_(_waiting(kind, subject_prefix), job.c.run_after < _at_once(seconds))
    return tx.execute(sa.update(job).where(sooner).values(run_after=_at_once(seconds))).rowcount


def _at_once(seconds: float) -> sa.ScalarSelect[float]:
    """So many seconds from now, the same for all rows: `turns` decides between them, and not where they lie."""
    return sa.select(Clock() + seconds).scalar_subquery()


def _waiting(kind: JobKind, subject_prefix: str) -> sa.ColumnElement[bool]:
    return sa.and_(
        not_done.KIND == str(kind),
        not_done.WAITING,
        sa.func.substr(job.c.subject, 1, len(subject_prefix)) == subject_prefix,  # LIKE may not tell a from A
    )


def hurry(tx: Connection, kind: JobKind, subject: str) -> bool:
    """What a waiting job waited for is there: it is due now. False when none waits."""
    waits = sa.and_(job.c.kind == kind, job.c.subject == subject, job.c.state == JobState.WAITING)
    return tx.execute(sa.update(job).where(waits).values(run_after=Clock())).rowcount > 0


def is_open(tx: Connection, kind: JobKind, subject: str, but: str = "") -> bool:
    """Whether a job of this kind waits or runs for the subject.

    Args:
        but: one that waits with this code does not count.
    """
    found = sa.select(job.c.id).where(job.c.kind == kind, job.c.subject == subject, job.c.state.in_(OPEN))
    if but:
        found = found.where(sa.or_(job.c.state == JobState.RUNNING, sa.func.coalesce(job.c.code, "") != but))
    return tx.execute(found).first() is not None


def network_wanted(tx: Connection, machine: str) -> bool:
    """Whether a study waits for its network now, or has it on this machine.

    Args:
        machine: the name with which its workers' names begin.
    """
    segment = not_done.KIND == str(JobKind.SEGMENT)
    waits = sa.select(job.c.id).where(segment, not_done.WAITING, job.c.run_after <= Clock()).limit(1)
    here = job.c.worker.startswith(f"{machine}:", autoescape=True)
    runs = sa.select(job.c.id).where(segment, not_done.RUNNING, here).limit(1)
    return any(tx.execute(one).first() is not None for one in (waits, runs))


def trains(tx: Connection, machine: str) -> bool:
    """Whether a training runs on this machine, or ran until its worker was lost.

    Args:
        machine: as in `network_wanted`.
    """
    here = job.c.worker.startswith(f"{machine}:", autoescape=True)
    found = sa.select(job.c.id).where(not_done.KIND == str(JobKind.TRAIN), not_done.RUNNING, here)
    return tx.execute(found.limit(1)).first() is not None


def seconds_since(tx: Connection, kind: JobKind, least_seconds: float) -> float | None:
    """Since a job of a kind has ended last, of those that did so many seconds ago or more; None where none did."""
    long_ago = sa.and_(job.c.kind == kind, job.c.ended <= Clock() - least_seconds)
    since = tx.execute(sa.select(Clock() - sa.func.max(job.c.ended)).where(long_ago)).scalar()
    return None if since is None else float(since)


def refused_because(tx: Connection, kind: JobKind, subject: str) -> str | None:
    """Why the job of this kind for the subject was refused; None where it was not."""
    refused = sa.and_(job.c.kind == kind, job.c.subject == subject, job.c.state == JobState.REFUSED)
    return tx.execute(sa.select(job.c.reason).where(refused).order_by(job.c.id.desc()).limit(1)).scalar()


def of(tx: Connection, job_id: int) -> RowMapping | None:
    """What a job is: its kind, study_id and input_set_id; None where there is none."""
    found = sa.select(job.c.kind, job.c.study_id, job.c.input_set_id).where(job.c.id == job_id)
    return tx.execute(found).mappings().one_or_none()
