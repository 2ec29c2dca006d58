"""How far the network of a running job is: for people who wait, and gone when the job ends."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from .job_states import Claim, JobState, LostLease
from .tables import job

NONE: dict[str, Any] = dict(windows_done=None, windows_of=None)


def note(tx: Connection, held: Claim, windows_done: int | None, windows_of: int | None) -> None:
    """Write it into the job's row; None and None: no network runs for it.

    Raises:
        LostLease: the job has gone to somebody else, whose progress stands there.
    """
    mine = sa.and_(
        job.c.id == held.id, job.c.fencing_token == held.fencing_token, job.c.state == JobState.RUNNING.value
    )
    noted = sa.update(job).where(mine).values(windows_done=windows_done, windows_of=windows_of).returning(job.c.id)
    if tx.execute(noted).scalar() is None:
        raise LostLease(f"job {held.id}: the lease went to another worker")
