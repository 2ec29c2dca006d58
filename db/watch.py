"""What became of what a network read, study by study: measured, delivered, corrected, refused. Trials are left out."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from .database import Row
from .job_states import JobKind, JobState
from .tables import delivery, input_set, job, label, measurement, model_version, result, study
from .trials import no_trial


def measured(tx: Connection, network: str, since: float) -> Sequence[Row]:
    """What was measured of each input set whose results were made since a time, oldest first.

    What a newer version measured of an older study, for comparison alone, has no result and does not count.

    Columns: input_set_id, version, created, segments, flags, and `delivered`: when the first of its results reached a
    destination; None where none did.
    """
    mine = sa.and_(
        result.c.input_set_id == measurement.c.input_set_id,
        result.c.model_version_id == measurement.c.model_version_id,
    )
    sent = (
        sa.select(sa.func.min(delivery.c.delivered))
        .join(result, result.c.id == delivery.c.result_id)
        .where(mine, delivery.c.state.in_(["delivered", "committed"]))
        .correlate(measurement)
        .scalar_subquery()
    )
    columns = (measurement.c.input_set_id, measurement.c.created, measurement.c.segments, measurement.c.flags)
    query = (
        sa.select(*columns, model_version.c.version, sent.label("delivered"))
        .join(input_set, input_set.c.id == measurement.c.input_set_id)
        .join(study, study.c.id == input_set.c.study_id)
        .join(model_version, model_version.c.id == measurement.c.model_version_id)
        .where(input_set.c.network == network, measurement.c.created >= since, no_trial())
        .where(sa.exists().where(mine))
        .order_by(measurement.c.created)
    )
    return tx.execute(query).mappings().all()


def returned(tx: Connection, network: str, since: float) -> Sequence[Row]:
    """The outlines that came back of input sets that were made since a time, oldest first: input_set_id, state,
    comparison. Superseded ones are corrections too; rejected and quarantined ones say nothing of the network.
    """
    query = (
        sa.select(label.c.input_set_id, label.c.state, label.c.comparison)
        .join(input_set, input_set.c.id == label.c.input_set_id)
        .where(label.c.network == network, label.c.came == "received", input_set.c.created >= since)
        .where(label.c.state.in_(["ready", "superseded", "accepted"]))
        .order_by(label.c.id)
    )
    return tx.execute(query).mappings().all()


def refused(tx: Connection, network: str, since: float) -> Sequence[Row]:
    """The jobs of a network that were refused or died since a time: ended, state, code."""
    query = (
        sa.select(job.c.ended, job.c.state, job.c.code)
        .join(input_set, input_set.c.id == job.c.input_set_id)
        .join(study, study.c.id == input_set.c.study_id)
        .where(job.c.kind == JobKind.SEGMENT, job.c.state.in_([JobState.REFUSED, JobState.DEAD]))
        .where(input_set.c.network == network, job.c.ended >= since, no_trial())
    )
    return tx.execute(query).mappings().all()


def names(tx: Connection) -> list[str]:
    """The networks that have read anything."""
    return list(tx.execute(sa.select(input_set.c.network).distinct().order_by(input_set.c.network)).scalars())
