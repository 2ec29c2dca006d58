"""Series that do not wait for their study: each is chosen from as soon as it is quiet and whole.

A series fires once for every quiet period that a route asks for, and again after every image that came since. That it
fired and the `choose` job are one transaction. A study that is complete is chosen from as a whole in any case.
"""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from . import job_orders, jobs
from .arrivals import Kind
from .completeness import STALE_SECONDS
from .database import Clock
from .job_states import JobKind
from .tables import instance, series, study

_here = (
    sa.select(sa.func.count(sa.distinct(instance.c.sop_uid)))
    .where(instance.c.series_id == series.c.id, instance.c.kind == Kind.IMAGE)
    .correlate(series)
    .scalar_subquery()
)
_fired = sa.func.coalesce(series.c.fired_quiet, -1.0)
_open = sa.and_(study.c.id == series.c.study_id, study.c.state == "open", series.c.last_image.is_not(None))


def _whole() -> sa.ColumnElement[bool]:
    """As many images are here as its headers announce, and as the PACS has; where neither says, whatever is here."""
    said_no_more = sa.func.coalesce(study.c.pacs_asked, 0.0) < Clock() - STALE_SECONDS
    return sa.and_(
        sa.or_(series.c.announced.is_(None), _here >= series.c.announced),
        sa.or_(series.c.pacs_images.is_(None), said_no_more, _here >= series.c.pacs_images),
    )


def _quiet(quiets: Sequence[float]) -> sa.ColumnElement[bool]:
    return sa.or_(*(sa.and_(series.c.last_image <= Clock() - each, _fired < each) for each in quiets))


def any_due(tx: Connection, quiets: Sequence[float]) -> bool:
    """Whether `fire` would find anything; asked without a write lock.

    Args:
        quiets: the quiet periods that routes ask for, in seconds; none: no series fires.
    """
    if not quiets:
        return False
    return tx.execute(sa.select(series.c.id).where(_open, _quiet(quiets), _whole()).limit(1)).first() is not None


def due_in(tx: Connection, quiets: Sequence[float]) -> float | None:
    """The seconds until the next series will be quiet; None where none is on its way there."""
    left = []
    for each in quiets:
        coming = sa.and_(_open, series.c.last_image > Clock() - each, _fired < each)
        first = sa.select(sa.func.min(series.c.last_image) + each - Clock()).where(coming)
        left.append(tx.execute(first).scalar())
    return min((max(0.0, float(one)) for one in left if one is not None), default=None)


def fire(tx: Connection, quiets: Sequence[float], max_attempts: int) -> list[str]:
    """Note every series that is quiet and whole, and queue the `choose` job of its study in the same transaction.

    Returns:
        The UIDs of the series.
    """
    if not quiets:
        return []
    due = tx.execute(
        sa.select(series.c.id, series.c.series_uid, series.c.study_id, study.c.study_uid)
        .where(_open, _quiet(quiets), _whole())
        .order_by(series.c.last_image)
        .limit(100)
        .with_for_update(skip_locked=True, of=series)
    ).all()
    longest = [(series.c.last_image <= Clock() - each, each) for each in sorted(quiets, reverse=True)]
    for row in due:
        tx.execute(sa.update(series).where(series.c.id == row.id).values(fired_quiet=sa.case(*longest, else_=_fired)))
    for study_id, study_uid in sorted({(row.study_id, row.study_uid) for row in due}):
        jobs.enqueue(tx, JobKind.CHOOSE, study_uid, max_attempts=max_attempts, study_id=study_id)
        job_orders.hurry(tx, JobKind.CHOOSE, study_uid)
    return [row.series_uid for row in due]


def quiet(tx: Connection, study_id: int) -> dict[str, float]:
    """The series of a study that fired and to which nothing came since: UID -> the longest quiet period, in seconds."""
    fired = sa.select(series.c.series_uid, series.c.fired_quiet)
    rows = tx.execute(fired.where(series.c.study_id == study_id, series.c.fired_quiet.is_not(None)))
    return {row.series_uid: float(row.fired_quiet) for row in rows}
