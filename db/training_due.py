"""Whether a training is due: whether one is under way, and how many persons have come since the last one."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.engine import Connection, RowMapping

from .job_states import OPEN as OPEN_JOB
from .job_states import JobKind
from .labels import usable
from .tables import data_set_member, job, patient, training_run
from .training_runs import OPEN


def under_way(tx: Connection) -> RowMapping | None:
    """The run that waits, trains or waits to be evaluated, of whatever network; or None."""
    query = sa.select(training_run).where(training_run.c.state.in_([one.value for one in OPEN]))
    return tx.execute(query.order_by(training_run.c.id).limit(1)).mappings().one_or_none()


def new_patients(tx: Connection, network: str) -> int:
    """How many persons of the train bucket have a label to learn from, and no run of the network was about them yet.

    A run that failed was about them too: what made it fail would make the next one fail, every night. So was one that a
    person stopped: it would begin again at once.
    """
    person = sa.func.coalesce(patient.c.alias_of, patient.c.id)
    known = (
        sa.select(person)
        .join(data_set_member, data_set_member.c.patient_id == patient.c.id)
        .join(training_run, training_run.c.data_set_id == data_set_member.c.data_set_id)
        .where(training_run.c.network == network)
    )
    there = {row["patient_id"] for row in usable(tx, network) if row["bucket"] == "train"}
    return len(there - set(tx.execute(known).scalars()))


def asked_for(tx: Connection) -> bool:
    """Whether a training job of any network waits or runs."""
    open_job = sa.and_(job.c.kind == JobKind.TRAIN, job.c.state.in_(OPEN_JOB))
    return tx.execute(sa.select(job.c.id).where(open_job)).first() is not None
