"""The database's clock was set: what waits by it waits as long as it would have."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from . import not_done
from .database import Clock, clock
from .job_states import JobKind
from .tables import alarm_message, commitment, delivery, duty, job, outage, prior_fetch, series, study

#: machines that share a database differ by less, and what is written down takes less
MOST_AHEAD_SECONDS = 3.0


def follow(tx: Connection, step_seconds: float) -> None:
    """Move what was written before the step along.

    To be asked once for each step, soon after it: what was written since is told from what was written before by half
    of the step. Set back, a wait that began since may be cut short, and nothing worse. Leases that the step made look
    as if they had run out are not touched: whoever holds one prolongs it.
    """
    now = clock(tx)
    if step_seconds > 0:
        before = now - step_seconds / 2
        _move(tx, study, study.c.last_image, step_seconds, _not_chosen_from(), study.c.last_image < before)
        _move(tx, series, series.c.last_image, step_seconds, _arriving(), series.c.last_image < before)
        return
    _move(tx, job, job.c.run_after, step_seconds, not_done.WAITING, job.c.run_after > now)
    _move(tx, outage, outage.c.retry_after, step_seconds, outage.c.retry_after > now)
    unsent = alarm_message.c.sent.is_(None)
    _move(tx, alarm_message, alarm_message.c.send_after, step_seconds, unsent, alarm_message.c.send_after > now)
    catch_up(tx)
    late = now - step_seconds / 2
    _move(tx, job, job.c.lease_until, step_seconds, not_done.RUNNING, job.c.lease_until > late)
    _move(tx, duty, duty.c.lease_until, step_seconds, duty.c.lease_until > late)
    of_asked = commitment.c.state == "asked"
    _move(tx, commitment, commitment.c.deadline, step_seconds, of_asked, commitment.c.deadline > late)
    # what was, was before now, and in the order in which it was
    _no_later(tx, study, study.c.last_image, now, _not_chosen_from())
    for of_pacs in (study.c.pacs_asked, study.c.pacs_since):
        _no_later(tx, study, of_pacs, now, study.c.state == "open")
    _no_later(tx, prior_fetch, prior_fetch.c.asked, now)
    _no_later(tx, job, job.c.first_claimed, now, not_done.OPEN)
    _no_later(tx, delivery, delivery.c.delivered, now)
    _no_later(tx, commitment, commitment.c.asked, now)


def is_ahead(tx: Connection) -> bool:
    """Whether the newest image of a study that arrives is said to come in some time. No write lock."""
    soon = Clock() + MOST_AHEAD_SECONDS
    of_study = sa.select(study.c.id).where(study.c.state == "open", study.c.last_image > soon)
    of_series = sa.select(series.c.id).where(_arriving(), series.c.last_image > soon)
    return any(tx.execute(asked.limit(1)).first() is not None for asked in (of_study, of_series))


def catch_up(tx: Connection) -> None:
    """What came by a clock that was set back since came now: who had begun to write it down may end after `follow`."""
    now = clock(tx)
    _no_later(tx, study, study.c.last_image, now, study.c.state == "open")
    _no_later(tx, series, series.c.last_image, now, _arriving())


def _not_chosen_from() -> sa.ColumnElement[bool]:
    """Of a study: it arrives, or waits for a series that belongs to it."""
    waits = sa.select(job.c.study_id).where(not_done.KIND == str(JobKind.CHOOSE), not_done.WAITING)
    return sa.or_(study.c.state == "open", study.c.id.in_(waits))


def _arriving() -> sa.ColumnElement[bool]:
    return series.c.study_id.in_(sa.select(study.c.id).where(study.c.state == "open"))


def _move(
    tx: Connection,
    table: sa.Table,
    column: sa.Column[float],
    seconds: float,
    *which: sa.ColumnElement[bool] | sa.TextClause,
) -> None:
    tx.execute(sa.update(table).where(*which).values({column.name: column + seconds}))


def _no_later(
    tx: Connection,
    table: sa.Table,
    column: sa.Column[float],
    now: float,
    *which: sa.ColumnElement[bool] | sa.TextClause,
) -> None:
    tx.execute(sa.update(table).where(column > now, *which).values({column.name: now}))
