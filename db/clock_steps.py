"""The database's clock was set: what waits by it waits as long as it would have."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from . import not_done
from .database import clock
from .tables import alarm_message, duty, job, outage, series, study


def follow(tx: Connection, step_seconds: float) -> None:
    """Move what was written before the step along.

    To be asked once for each step, soon after it: what was written since is told from what was written before by half
    of the step. Set back, a wait that began since may be cut short, and nothing worse. Leases that the step made look
    as if they had run out are not touched: whoever holds one prolongs it.
    """
    now = clock(tx)
    if step_seconds > 0:
        before = now - step_seconds / 2
        _move(tx, study, study.c.last_image, step_seconds, study.c.state == "open", study.c.last_image < before)
        _move(tx, series, series.c.last_image, step_seconds, _arriving(), series.c.last_image < before)
        return
    _move(tx, job, job.c.run_after, step_seconds, not_done.WAITING, job.c.run_after > now)
    _move(tx, outage, outage.c.retry_after, step_seconds, outage.c.retry_after > now)
    unsent = alarm_message.c.sent.is_(None)
    _move(tx, alarm_message, alarm_message.c.send_after, step_seconds, unsent, alarm_message.c.send_after > now)
    tx.execute(sa.update(study).where(study.c.state == "open", study.c.last_image > now).values(last_image=now))
    tx.execute(sa.update(series).where(_arriving(), series.c.last_image > now).values(last_image=now))
    late = now - step_seconds / 2
    _move(tx, job, job.c.lease_until, step_seconds, not_done.RUNNING, job.c.lease_until > late)
    _move(tx, duty, duty.c.lease_until, step_seconds, duty.c.lease_until > late)


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
