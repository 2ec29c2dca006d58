"""The jobs whose workers died until their attempts were used up: `jobs.rescue` leaves them to whoever ends them."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from . import jobs, not_done
from .database import Clock
from .job_states import Claim, JobState, Outcome, Report
from .tables import job

_LOST = sa.and_(not_done.RUNNING, job.c.lease_until < Clock(), jobs.USED_UP)


def any_there(tx: Connection) -> bool:
    """Whether `take` would find any; asked without a write lock."""
    return tx.execute(sa.select(job.c.id).where(_LOST).limit(1)).first() is not None


def take(tx: Connection) -> Claim | None:
    """End one of them, which is dead then; None where there is none.

    What else a dead job means is the caller's, in the same transaction: only who knows all kinds of jobs takes one.
    """
    found = sa.select(job).where(_LOST).order_by(job.c.id).limit(1)
    row = tx.execute(found.with_for_update(skip_locked=True)).mappings().one_or_none()
    if row is None:
        return None
    held, said = jobs.claim_of(row), jobs.lost(row)
    jobs.finish(tx, held, JobState.DEAD, Report(code=said["code"], sentence=said["reason"]))
    gone = Report(code=jobs.LOST, sentence=jobs.WORKER_GONE)
    jobs.close_attempt(tx, held.id, held.fencing_token, Outcome.LOST, gone)
    return held
