"""Whose turn it is: which of the jobs that are due is claimed next.

The urgent first: stat before routine before night. Then the source (calling AE title) that was served longest ago, so
that one that sends much keeps no other one waiting; then the oldest, and of those that are due at the same moment, as
all are that wait for one peer, the one that was tried less often. A job that has waited for `ageing_seconds` goes
before everything but stat; and where nothing but stat was segmented for a while, one of these goes even before stat.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from . import not_done
from .database import Clock, insert
from .job_states import JobKind
from .tables import attempt, instance, job, source_turn

#: of a route; smaller is sooner
STAT, ROUTINE = 0, 10
#: between the two: choosing, and what a person asked for, are 1 and 2
AGED = 5
AGEING_SECONDS = 7200.0
#: so many segmentations in a row may be stat while something aged waits
STAT_IN_A_ROW = 4


def source_of(study_id: int | None) -> Any:
    """Who sent the newest instance of a study, as an expression; empty where there is no study."""
    newest = sa.select(instance.c.calling_ae).where(instance.c.study_id == study_id)
    return sa.func.coalesce(newest.order_by(instance.c.id.desc()).limit(1).scalar_subquery(), "")


def in_order(
    tx: Connection, ready: sa.ColumnElement[bool], kinds: Collection[JobKind], ageing_seconds: float
) -> sa.Select[tuple[int]]:
    """The ids of the jobs that are ready, the next first.

    Args:
        ready: which jobs these are.
        kinds: that the caller takes.
    """
    aged = sa.and_(job.c.priority > AGED, job.c.run_after <= Clock() - ageing_seconds)
    before_stat = JobKind.SEGMENT in kinds and _nothing_but_stat(tx)
    urgency = sa.case((aged, STAT - 1 if before_stat else AGED), else_=job.c.priority)
    return (
        sa.select(job.c.id)
        .select_from(job.outerjoin(source_turn, source_turn.c.source == job.c.source))
        .where(ready)
        .order_by(urgency, sa.func.coalesce(source_turn.c.turn, 0), job.c.run_after, job.c.fencing_token, job.c.id)
    )


def _nothing_but_stat(tx: Connection) -> bool:
    last = (
        sa.select(job.c.priority)
        .join(attempt, attempt.c.job_id == job.c.id)
        .where(not_done.KIND == str(JobKind.SEGMENT))
        .order_by(attempt.c.id.desc())
        .limit(STAT_IN_A_ROW)
    )
    priorities = tx.execute(last).scalars().all()
    return len(priorities) == STAT_IN_A_ROW and max(priorities) <= STAT


def took(tx: Connection, source: str, turn: int) -> None:
    """A job of a source was claimed.

    Args:
        turn: grows from claim to claim.
    """
    if source:
        tx.execute(
            insert(tx, source_turn)
            .values(source=source, turn=turn)
            .on_conflict_do_update(index_elements=["source"], set_=dict(turn=turn))
        )
