"""Exports that people ask for on the pages: what each is of, what became of it, and for how long its file is kept."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from . import doomed, jobs
from .database import Clock, Row
from .job_states import JobKind
from .tables import asked_export, job, study

ATTEMPTS = 3
#: its job is dead
FAILED = "export-failed"
#: behind the work of the day
PRIORITY = 8


def ask(tx: Connection, study_id: int, who: str, options: Sequence[str], *, results: bool) -> int:
    """Somebody wants a study; the number of the export, whose job is queued."""
    row = dict(study_id=study_id, who=who, at=Clock(), options=" ".join(sorted(options)), results=results)
    made = int(tx.execute(sa.insert(asked_export).values(row).returning(asked_export.c.id)).scalar_one())
    jobs.enqueue(tx, JobKind.EXPORT, str(made), max_attempts=ATTEMPTS, priority=PRIORITY)
    return made


def find(tx: Connection, number: int) -> Row | None:
    """One of them, with the UID of its study; None: its patient was erased meanwhile."""
    query = sa.select(asked_export, study.c.study_uid).join(study, study.c.id == asked_export.c.study_id)
    return tx.execute(query.where(asked_export.c.id == number)).mappings().one_or_none()


def of_study(tx: Connection, study_id: int) -> Sequence[Row]:
    """Those of a study, the newest first."""
    query = sa.select(asked_export).where(asked_export.c.study_id == study_id).order_by(asked_export.c.id.desc())
    return tx.execute(query).mappings().all()


def is_waiting(tx: Connection, study_id: int) -> bool:
    """Whether one of a study is still to be made."""
    waits = sa.and_(asked_export.c.study_id == study_id, asked_export.c.ended.is_(None))
    return tx.execute(sa.select(asked_export.c.id).where(waits)).first() is not None


def end(tx: Connection, number: int, *, path: str | None, size: int | None, code: str | None, sentence: str) -> None:
    """It is made, or cannot be made, once; the file that was made of a study that is not there any more goes."""
    values = dict(ended=Clock(), path=path, size=size, code=code, sentence=sentence)
    waits = sa.and_(asked_export.c.id == number, asked_export.c.ended.is_(None))
    known = tx.execute(sa.update(asked_export).where(waits).values(values)).rowcount
    if not known and path is not None and path not in paths(tx):
        doomed.add(tx, [path])


def make_again(tx: Connection, job_id: int) -> None:
    """`planimeter retry` of an `export` job: where it had failed for good, it is to be made after all."""
    number = sa.cast(sa.select(job.c.subject).where(job.c.id == job_id).scalar_subquery(), sa.Integer)
    failed = sa.and_(asked_export.c.id == number, asked_export.c.code == FAILED)
    tx.execute(sa.update(asked_export).where(failed).values(ended=None, code=None, sentence=None))


def expire(tx: Connection, seconds: float) -> int:
    """Give up the files that are so old; how many."""
    old = sa.and_(asked_export.c.path.is_not(None), asked_export.c.ended < Clock() - seconds)
    paths = list(tx.execute(sa.select(asked_export.c.path).where(old)).scalars())
    doomed.add(tx, paths)
    tx.execute(sa.update(asked_export).where(asked_export.c.path.in_(paths)).values(path=None))
    return len(paths)


def paths(tx: Connection) -> set[str]:
    """The files that are kept, below the home folder."""
    return set(tx.execute(sa.select(asked_export.c.path).where(asked_export.c.path.is_not(None))).scalars())
