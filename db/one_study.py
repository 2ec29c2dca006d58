"""Everything that the rows say of one study: what came, what was chosen, tried, made, sent and decided."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.engine import Connection, RowMapping

from .tables import (
    attempt,
    commitment,
    delivery,
    dispatch,
    input_member,
    input_set,
    instance,
    job,
    model_version,
    patient,
    result,
    series,
    study,
    verdict,
)


def find(tx: Connection, study_uid: str) -> RowMapping | None:
    """The study with its patient; None where there is none."""
    query = (
        sa.select(study, patient.c.patient_id.label("patient"), patient.c.issuer)
        .join(patient, patient.c.id == study.c.patient_id)
        .where(study.c.study_uid == study_uid)
    )
    return tx.execute(query).mappings().one_or_none()


def has(tx: Connection, study_uid: str, input_set_id: int) -> bool:
    """Whether an input set is one of a study."""
    mine = sa.select(input_set.c.id).join(study, study.c.id == input_set.c.study_id)
    return tx.execute(mine.where(study.c.study_uid == study_uid, input_set.c.id == input_set_id)).first() is not None


def arrivals(tx: Connection, study_id: int) -> Sequence[RowMapping]:
    """Per kind of object and sender: how many came, from when to when."""
    columns = (instance.c.kind, instance.c.calling_ae, instance.c.address)
    query = (
        sa.select(
            *columns,
            sa.func.count(sa.distinct(instance.c.sop_uid)).label("objects"),
            sa.func.sum(instance.c.size).label("size"),
            sa.func.min(instance.c.arrived).label("first"),
            sa.func.max(instance.c.arrived).label("last"),
        )
        .where(instance.c.study_id == study_id)
        .group_by(*columns)
        .order_by(sa.func.min(instance.c.arrived))
    )
    return tx.execute(query).mappings().all()


def series_of(tx: Connection, study_id: int) -> Sequence[RowMapping]:
    """The series, in the order in which they came: how many objects, how many came again, how large, one file."""
    query = (
        sa.select(
            series,
            sa.func.count(sa.distinct(instance.c.sop_uid)).label("objects"),
            sa.func.count().label("revisions"),
            sa.func.sum(instance.c.size).label("size"),
            sa.func.min(instance.c.path).label("path"),
        )
        .join(instance, instance.c.series_id == series.c.id)
        .where(series.c.study_id == study_id)
        .group_by(series.c.id)
        .order_by(series.c.id)
    )
    return tx.execute(query).mappings().all()


def jobs(tx: Connection, study_id: int) -> Sequence[RowMapping]:
    """The jobs, oldest first, with their network and model version."""
    query = (
        sa.select(job, input_set.c.network, model_version.c.version)
        .outerjoin(input_set, input_set.c.id == job.c.input_set_id)
        .outerjoin(model_version, model_version.c.id == job.c.model_version_id)
        .where(job.c.study_id == study_id)
        .order_by(job.c.id)
    )
    return tx.execute(query).mappings().all()


def attempts(tx: Connection, study_id: int, most: int) -> Sequence[RowMapping]:
    """The newest attempts at all jobs of a study, oldest first."""
    query = (
        sa.select(attempt)
        .join(job, job.c.id == attempt.c.job_id)
        .where(job.c.study_id == study_id)
        .order_by(attempt.c.id.desc())
    )
    return tx.execute(query.limit(most)).mappings().all()[::-1]


def input_sets(tx: Connection, study_id: int) -> Sequence[RowMapping]:
    """What networks were to read, oldest first: how many images of which series, and what took its place."""
    newer = input_set.alias("newer")
    members = sa.select(sa.func.count()).where(input_member.c.input_set_id == input_set.c.id).scalar_subquery()
    replaced = sa.select(sa.func.min(newer.c.id)).where(newer.c.supersedes == input_set.c.id).scalar_subquery()
    query = (
        sa.select(input_set, members.label("members"), replaced.label("replaced_by"))
        .where(input_set.c.study_id == study_id)
        .order_by(input_set.c.id)
    )
    return tx.execute(query).mappings().all()


def read_series(tx: Connection, study_id: int) -> dict[int, dict[str, list[str]]]:
    """Input set -> channel -> the series that it reads."""
    query = (
        sa.select(input_set.c.id, input_member.c.channel, series.c.series_uid)
        .join(input_member, input_member.c.input_set_id == input_set.c.id)
        .join(instance, instance.c.sop_uid == input_member.c.sop_uid)
        .join(series, series.c.id == instance.c.series_id)
        .where(input_set.c.study_id == study_id)
        .distinct()
        .order_by(input_set.c.id, input_member.c.channel, series.c.series_uid)
    )
    found: dict[int, dict[str, list[str]]] = {}
    for row in tx.execute(query):
        found.setdefault(row.id, {}).setdefault(row.channel, []).append(row.series_uid)
    return found


def dispatches(tx: Connection, study_id: int) -> Sequence[RowMapping]:
    """Which route sends which input set where."""
    mine = sa.select(dispatch).join(input_set, input_set.c.id == dispatch.c.input_set_id)
    return tx.execute(mine.where(input_set.c.study_id == study_id).order_by(dispatch.c.id)).mappings().all()


def results(tx: Connection, study_id: int) -> Sequence[RowMapping]:
    """What was made, oldest first, with its model version."""
    query = (
        sa.select(result, model_version.c.version)
        .join(input_set, input_set.c.id == result.c.input_set_id)
        .join(model_version, model_version.c.id == result.c.model_version_id)
        .where(input_set.c.study_id == study_id)
        .order_by(result.c.id)
    )
    return tx.execute(query).mappings().all()


def deliveries(tx: Connection, study_id: int) -> Sequence[RowMapping]:
    """What was to be sent where, oldest first."""
    query = (
        sa.select(
            delivery, result.c.kind, result.c.options, result.c.input_set_id, result.c.state.label("result_state")
        )
        .join(result, result.c.id == delivery.c.result_id)
        .join(input_set, input_set.c.id == result.c.input_set_id)
        .where(input_set.c.study_id == study_id)
        .order_by(delivery.c.id)
    )
    return tx.execute(query).mappings().all()


def commitments(tx: Connection, study_id: int) -> Sequence[RowMapping]:
    """Storage commitment that was asked for, oldest first."""
    mine = sa.select(commitment).join(input_set, input_set.c.id == commitment.c.input_set_id)
    return tx.execute(mine.where(input_set.c.study_id == study_id).order_by(commitment.c.asked)).mappings().all()


def verdicts(tx: Connection, study_id: int) -> Sequence[RowMapping]:
    """What people decided about results, oldest first."""
    query = (
        sa.select(verdict, result.c.input_set_id)
        .join(result, result.c.id == verdict.c.result_id)
        .join(input_set, input_set.c.id == result.c.input_set_id)
        .where(input_set.c.study_id == study_id)
        .order_by(verdict.c.id)
    )
    return tx.execute(query).mappings().all()
