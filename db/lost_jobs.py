"""The jobs whose workers died: they go back into the queue, and where their attempts are used up somebody ends them."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from . import jobs, not_done, progress
from .database import Clock
from .job_states import Claim, JobState, Outcome, Report
from .tables import job

LOST = "worker-lost"
WORKER_GONE = "the worker died, or was cut off from the database"
#: of a running job: it may not be tried once more
_USED_UP = sa.and_(job.c.attempts >= job.c.max_attempts, job.c.again.is_(False))
_DEAD = sa.and_(not_done.RUNNING, job.c.lease_until < Clock(), _USED_UP)


def rescue(tx: Connection, *, worker: str | None = None) -> int:
    """Put the jobs of dead workers back into the queue, where they were; how many.

    Those whose attempts are used up are left for `take`.

    Args:
        worker: one that is known to be dead, so its jobs need not wait. Otherwise all jobs whose lease has run out.
    """
    gone = job.c.worker == worker if worker is not None else job.c.lease_until < Clock()
    if worker is not None:  # nobody prolongs it any more
        tx.execute(sa.update(job).where(not_done.RUNNING, gone, _USED_UP).values(lease_until=0))
    left = sa.select(job).where(not_done.RUNNING, gone, ~_USED_UP)
    rows = tx.execute(left.with_for_update(skip_locked=True)).all()
    for row in rows:
        tx.execute(
            sa.update(job)
            .where(job.c.id == row.id)
            .values(
                state=JobState.WAITING,
                ended=None,
                lease_until=None,
                worker=None,
                again=False,
                **progress.NONE,
                **(dict(attempts=0, first_claimed=None, model_version_id=None) if row.again else {}),
                **_said_of(row),
            )
        )
        jobs.close_attempt(tx, row.id, row.fencing_token, Outcome.LOST, Report(code=LOST, sentence=WORKER_GONE))
    return len(rows)


def any_there(tx: Connection) -> bool:
    """Whether `take` would find any; asked without a write lock."""
    return tx.execute(sa.select(job.c.id).where(_DEAD).limit(1)).first() is not None


def take(tx: Connection) -> Claim | None:
    """End one of them, which is dead then; None where there is none.

    What else a dead job means is the caller's, in the same transaction: only who knows all kinds of jobs takes one.
    """
    found = sa.select(job).where(_DEAD).order_by(job.c.id).limit(1)
    row = tx.execute(found.with_for_update(skip_locked=True)).mappings().one_or_none()
    if row is None:
        return None
    held, said = jobs.claim_of(row), _said_of(row)
    jobs.finish(tx, held, JobState.DEAD, Report(code=said["code"], sentence=said["reason"]))
    gone = Report(code=LOST, sentence=WORKER_GONE)
    jobs.close_attempt(tx, held.id, held.fencing_token, Outcome.LOST, gone)
    return held


def _said_of(of: Any) -> dict[str, str]:
    """What is said of a job, a row or a claim, whose worker is gone."""
    return dict(code=LOST, reason=f"{WORKER_GONE}; attempt {of.attempts} of {of.max_attempts}")
