"""Studies that are fetched from a PACS: what of them is here, and the jobs that get the rest."""

from __future__ import annotations

from collections.abc import Iterable

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from . import jobs
from .job_states import OPEN, JobKind
from .tables import instance, job, series, study

#: behind all that a person waits for
PRIORITY = 90


def subject(peer: str, study_uid: str) -> str:
    """Of the job that fetches a study from a peer."""
    return f"{peer}/{study_uid}"


def here(tx: Connection, study_uid: str, series_uid: str = "") -> int:
    """How many objects of a study, or of one series of it, are here, whatever they are."""
    of_study = sa.select(sa.func.count(sa.distinct(instance.c.sop_uid))).join(study, study.c.id == instance.c.study_id)
    found = of_study.where(study.c.study_uid == study_uid, instance.c.purged.is_(None))
    if series_uid:
        found = found.join(series, series.c.id == instance.c.series_id).where(series.c.series_uid == series_uid)
    return int(tx.execute(found).scalar_one())


def ask(tx: Connection, peer: str, study_uid: str, max_attempts: int, delay_seconds: float) -> bool:
    """Ask for a study to be fetched; False where that has been asked for, and has not ended."""
    what = subject(peer, study_uid)
    mine = sa.select(job.c.id).where(job.c.kind == JobKind.FETCH, job.c.subject == what, job.c.state.in_(OPEN))
    if tx.execute(mine).first() is not None:
        return False
    jobs.enqueue(tx, JobKind.FETCH, what, max_attempts=max_attempts, priority=PRIORITY, delay_seconds=delay_seconds)
    return True


def in_no_hurry(tx: Connection, study_uid: str, peers: Iterable[str]) -> bool:
    """Whether a study was fetched from one of these peers by a job: nobody waits for it."""
    subjects = [subject(peer, study_uid) for peer in peers]
    found = sa.select(job.c.id).where(job.c.kind == JobKind.FETCH, job.c.subject.in_(subjects))
    return bool(subjects) and tx.execute(found.limit(1)).first() is not None
