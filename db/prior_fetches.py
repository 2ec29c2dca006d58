"""Earlier studies that are fetched to be compared with: asked for once, waited for a while."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.engine import Connection, RowMapping

from . import jobs, measurements
from .database import Clock
from .job_states import OPEN, JobKind
from .tables import job, prior_fetch, study

#: before what is fetched at night; nothing else of that loop is waited for
PRIORITY = 3
#: why such a study was closed
BECAUSE = "fetched to be compared with"


def holds_other(tx: Connection, study_id: int) -> bool:
    """Whether another study of the same patient is here; true of images that name nobody, who has no other."""
    patient_id = tx.execute(sa.select(study.c.patient_id).where(study.c.id == study_id)).scalar_one()
    person = measurements.same_person(tx, patient_id)
    other = sa.select(study.c.id).where(study.c.patient_id.in_(person), study.c.id != study_id, study.c.state != "none")
    return not person or tx.execute(other.limit(1)).first() is not None


def ask(tx: Connection, study_id: int, study_uid: str, peer: str, max_attempts: int) -> bool:
    """Have an earlier study of the same patient fetched; False where that was asked for before."""
    if tx.execute(sa.select(prior_fetch.c.study_id).where(prior_fetch.c.study_id == study_id)).first() is not None:
        return False
    tx.execute(sa.insert(prior_fetch).values(study_id=study_id, peer=peer, asked=Clock()))
    jobs.enqueue(tx, JobKind.PRIOR, study_uid, max_attempts=max_attempts, priority=PRIORITY, study_id=study_id)
    return True


def of_study(tx: Connection, study_id: int) -> RowMapping | None:
    """What was asked for, or None."""
    return tx.execute(sa.select(prior_fetch).where(prior_fetch.c.study_id == study_id)).mappings().one_or_none()


def found(tx: Connection, study_id: int, prior_uid: str) -> None:
    """The earlier study that is fetched."""
    tx.execute(sa.update(prior_fetch).where(prior_fetch.c.study_id == study_id).values(prior_uid=prior_uid))


def is_prior(tx: Connection, study_uid: str) -> bool:
    """Whether a study is here only to be compared with: no person asked for it since."""
    mine = sa.select(study.c.forced, study.c.closed_because).where(study.c.study_uid == study_uid)
    fetched = sa.select(prior_fetch.c.study_id).where(prior_fetch.c.prior_uid == study_uid)
    row = tx.execute(mine).one_or_none()
    by_nobody = row is None or row.forced is None or row.closed_because == BECAUSE
    return by_nobody and tx.execute(fetched.limit(1)).first() is not None


def in_time(tx: Connection, study_id: int, most_seconds: float) -> bool:
    """Whether less than that has passed since it was asked for."""
    recent = sa.and_(prior_fetch.c.study_id == study_id, prior_fetch.c.asked > Clock() - most_seconds)
    return tx.execute(sa.select(prior_fetch.c.study_id).where(recent)).first() is not None


def on_its_way(tx: Connection, study_id: int, most_seconds: float) -> bool:
    """Whether an earlier study of the same patient is on its way, and is worth waiting for.

    Args:
        most_seconds: since it was asked for.
    """
    asked = tx.execute(
        sa.select(prior_fetch.c.prior_uid).where(
            prior_fetch.c.study_id == study_id, prior_fetch.c.asked > Clock() - most_seconds
        )
    ).scalar()
    if asked is None:
        return False
    fetching = sa.select(job.c.id).where(job.c.kind == JobKind.PRIOR, job.c.study_id == study_id, job.c.state.in_(OPEN))
    if tx.execute(fetching).first() is not None:
        return True
    at_work = sa.select(job.c.id).join(study, study.c.id == job.c.study_id)
    kinds = (JobKind.CHOOSE, JobKind.SEGMENT)
    mine = at_work.where(study.c.study_uid == asked, job.c.kind.in_(kinds), job.c.state.in_(OPEN))
    return bool(asked) and tx.execute(mine.limit(1)).first() is not None
