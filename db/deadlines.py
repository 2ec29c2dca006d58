"""By when results are to be delivered, and what will be late or is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from . import not_done
from .database import Clock
from .job_states import JobKind
from .tables import input_set, job, study

#: what stands between an input set and its delivery
WORK = (JobKind.SEGMENT, JobKind.DELIVER)


@dataclass(frozen=True)
class Due:
    """An input set whose results are not all delivered.

    Attributes:
        deadline: seconds since 1970, on the database's clock.
        left_seconds: until then; less than 0: so late it is.
        waits_for: the kind of the job that is open: "segment", or "deliver".
    """

    input_set_id: int
    study_uid: str
    network: str
    deadline: float
    left_seconds: float
    waits_for: str


def note(tx: Connection, input_set_id: int, deadline: float | None, *, new: bool) -> None:
    """Keep by when the results of an input set are to be delivered.

    Args:
        deadline: seconds since 1970; None: no route says.
        new: it is worked on from now; else what was promised before stays.
    """
    mine = sa.update(input_set).where(input_set.c.id == input_set_id)
    if deadline is None or new:
        tx.execute(mine.values(deadline=deadline))
    else:
        tx.execute(mine.where(input_set.c.deadline.is_(None)).values(deadline=deadline))


def due(tx: Connection, within_seconds: float) -> Sequence[Due]:
    """What is open and whose deadline has passed, or comes in so many seconds; the most urgent first.

    What a newer input set took the place of is not waited for. A job that is dead waits for a person and is no part of
    the queue.
    """
    newer = input_set.alias("newer")
    left = (input_set.c.deadline - Clock()).label("left_seconds")
    found = (
        sa.select(
            input_set.c.id,
            study.c.study_uid,
            input_set.c.network,
            input_set.c.deadline,
            left,
            sa.func.max(job.c.kind).label("waits_for"),
        )
        .join(job, job.c.input_set_id == input_set.c.id)
        .join(study, study.c.id == input_set.c.study_id)
        .where(
            not_done.OPEN,
            not_done.KIND.in_([str(kind) for kind in WORK]),
            input_set.c.deadline <= Clock() + within_seconds,
        )
        .where(~sa.exists().where(newer.c.supersedes == input_set.c.id))
        .group_by(input_set.c.id, study.c.study_uid, input_set.c.network, input_set.c.deadline)
        .order_by(input_set.c.deadline, input_set.c.id)
    )
    return [Due(*row) for row in tx.execute(found)]


def overdue(tx: Connection) -> Sequence[Due]:
    """What should have been delivered by now, and is not; the latest first."""
    return due(tx, 0.0)
